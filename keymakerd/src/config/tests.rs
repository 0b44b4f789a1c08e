//! What keymakerd.toml may say, and what is said about a bad one.

use std::path::Path;

use toml::{Table, Value};

use super::keys::KEYS;
use super::*;

const SAMPLE: &str = include_str!("../../../dist/etc/keymakerd.toml");
const MAN_PAGE: &str = include_str!("../../../docs/man/keymakerd.toml.5");

fn parse(text: &str) -> Result<KeymakerdConfig, ConfigError> {
    KeymakerdConfig::parse(text, Path::new("/etc/keymaker/keymakerd.toml"))
}

/// The sentence about a bad file.
fn sentence(text: &str) -> String {
    parse(text).unwrap_err().to_string()
}

/// The sample's settings, of which each stands behind a `#`.
fn sample() -> String {
    let is_setting = |line: &&str| line.starts_with(|c: char| c.is_ascii_lowercase()) && line.contains(" = ");
    let settings = SAMPLE
        .lines()
        .filter_map(|line| line.strip_prefix('#'))
        .filter(is_setting);
    settings.map(|line| format!("{line}\n")).collect()
}

#[test]
fn an_absent_or_empty_file_means_the_defaults() {
    assert_eq!(
        KeymakerdConfig::read(Path::new("/nonexistent/keymakerd.toml")).unwrap(),
        Table::new()
    );
    assert_eq!(parse(SAMPLE).unwrap(), KeymakerdConfig::default());
    assert_eq!(checks::first_problem(&KeymakerdConfig::default()), None);
    assert_eq!(KeymakerdConfig::default().id_scheme(), IdScheme::Wide(IdRange::WIDE));
}

#[test]
fn a_file_that_cannot_be_read_is_an_error_and_not_the_defaults() {
    let error = KeymakerdConfig::read(Path::new("/proc/self")).unwrap_err();
    assert!(matches!(error, ConfigError::Unreadable(..)), "{error}");
}

#[test]
fn the_sample_file_shows_every_key_in_the_order_of_the_table() {
    let text = sample();
    let shown: Vec<&str> = text.lines().filter_map(|line| line.split(" = ").next()).collect();
    assert_eq!(shown, KEYS.map(|key| key.name));
    parse(&text).unwrap();
}

#[test]
fn the_man_page_explains_every_key_in_the_order_of_the_table() {
    let explained: Vec<&str> = MAN_PAGE
        .split(".TP\n.B ")
        .skip(1)
        .filter_map(|entry| entry.lines().next())
        .collect();
    assert_eq!(explained, KEYS.map(|key| key.name));
}

#[test]
fn the_sample_file_shows_the_defaults() {
    let sample: Table = sample().parse().unwrap();
    let defaults: Table = KeymakerdConfig::default().print().unwrap().parse().unwrap();
    let sorted = |value: &Value| match value {
        Value::Array(list) => {
            let mut list: Vec<String> = list.iter().map(Value::to_string).collect();
            list.sort();
            list.join(" ")
        }
        Value::Table(_) => "a table, empty by default".to_owned(),
        value => value.to_string(),
    };
    for (key, value) in &defaults {
        let shown = if key == "user_path_prefix" {
            continue;
        } else {
            &sample[key]
        };
        assert_eq!(sorted(shown), sorted(value), "{key}");
    }
    assert_eq!(
        sample["linux_group_prefix"].as_str(),
        Some(crate::settings::DEFAULT_GROUP_PREFIX)
    );
    let wide = [IdRange::WIDE.first, IdRange::WIDE.last].map(|id| Value::Integer(id.into()));
    assert_eq!(sample["id_range"], Value::Array(wide.to_vec()));
}

#[test]
fn the_table_of_keys_is_what_the_parser_takes() {
    let error = toml::from_str::<KeymakerdConfig>("no_such_key = 1").unwrap_err();
    let mut taken: Vec<&str> = error.message().split('`').skip(3).step_by(2).collect();
    let mut known = KEYS.map(|key| key.name);
    taken.sort();
    known.sort();
    assert_eq!(taken, known);
}

#[test]
fn what_is_printed_is_a_file_of_the_same_meaning() {
    for text in [String::new(), sample(), "[group_ids]\ndevs = 5001\n".to_owned()] {
        let config = parse(&text).unwrap();
        let printed = KeymakerdConfig {
            local_groups_stand: true,
            ..config.clone()
        };
        assert_eq!(parse(&config.print().unwrap()).unwrap(), printed);
    }
}

// P1
#[test]
fn what_is_printed_gives_no_local_group_that_the_file_does_not_give() {
    for (text, given) in [
        ("linux_group_prefix = \"\"", false),
        ("linux_group_prefix = \"\"\nlocal_groups = [\"sudo\"]", true),
    ] {
        let config = parse(text).unwrap();
        let printed = parse(&config.print().unwrap()).unwrap();
        assert_eq!(config.gives_local_group("sudo", ""), given, "{text}");
        assert_eq!(printed.gives_local_group("sudo", ""), given, "{text}");
    }
}

// P19
#[test]
fn a_proxy_password_is_not_shown() {
    let config = parse("https_proxy = \"http://bob:p@ss@proxy:3128\"").unwrap();
    assert_eq!(
        config.https_proxy.as_ref().unwrap().expose(),
        "http://bob:p@ss@proxy:3128"
    );
    for shown in [config.print().unwrap(), format!("{config:?}")] {
        assert!(
            !shown.contains("p@ss") && shown.contains("http://(hidden)@proxy:3128"),
            "{shown}"
        );
    }
}

#[test]
fn a_sentence_about_a_bad_file_names_file_line_key_and_remedy() {
    for (text, expected) in [
        (
            "# one\nmax_stale = \"1h\"",
            "/etc/keymaker/keymakerd.toml:2: max_stale: invalid type: string \"1h\", expected u32; it takes seconds, at least",
        ),
        (
            "\nuser_suffix = \"\"",
            "/etc/keymaker/keymakerd.toml:2: there is no key user_suffix; did you mean linux_user_suffix?",
        ),
        ("keymaker_require_iam_group = \"\"", "did you mean require_iam_group?"),
        ("enumarate = true", "did you mean enumerate?"),
        ("athuz_ttl = 1", "see keymakerd.toml(5), or remove the line"),
        ("auhtz_ttl = 1", "did you mean authz_ttl?"),
        ("gradee = 1", "did you mean grade?"),
        ("what = 1", "see keymakerd.toml(5), or remove the line"),
        ("grade = 1\ngrade = 1", "keymakerd.toml:2: this is not TOML: "),
        ("grade 1", "keymakerd.toml:1: this is not TOML: "),
        (
            "grade = 1\n\n[group_ids]\ndevs = \"x\"",
            "keymakerd.toml:4: group_ids: invalid type",
        ),
        (
            "tags = [\"uid\",\n\"sheell\"]",
            "keymakerd.toml:2: tags: unknown variant `sheell`",
        ),
        (
            "grade = 1\nauthz_ttl = 0",
            "keymakerd.toml:2: authz_ttl: 0 is out of range; it takes seconds, 1 to 3600",
        ),
    ] {
        let sentence = sentence(text);
        assert!(sentence.contains(expected), "{text:?} gave {sentence:?}");
    }
}

#[test]
fn values_that_make_no_sense_are_refused_by_their_key() {
    for (key, text) in [
        ("authz_ttl", "authz_ttl = 3601"),
        ("sync_interval", "sync_interval = 9"),
        ("max_stale", "max_stale = 599"),
        ("max_stale", "max_stale = 2592001"),
        ("max_stale", "authz_ttl = 3000\nmax_stale = 2999\nsync_interval = 10"),
        ("grade", "grade = 2"),
        ("id_range", "id_range = [10000, 10998]"),
        ("id_range", "id_range = [20000, 10000]"),
        ("id_range", "id_range = [500000, 600000]"),
        ("id_range", "id_range = [60000, 70000]"),
        ("id_range", "id_range = [10000, 20000]\nid_scheme = \"keymaker\""),
        ("tags", "tags = [\"uid\"]"),
        ("tag_uid_range", "tag_uid_range = [1879048192, 1879048192]"),
        (
            "tag_uid_range",
            "tag_uid_range = [30000, 40000]\nid_scheme = \"keymaker\"",
        ),
        ("tag_uid_range", "tag_uid_range = [999, 2000]"),
        ("tag_uid_range", "tag_uid_range = [2000, 1999]"),
        ("group_ids", "group_ids = { devs = 999 }"),
        ("group_ids", "group_ids = { devs = 5001, ops = 5001 }"),
        ("group_ids", "group_ids = { Devs = 5001 }"),
        ("local_groups", "local_groups = [\"su do\"]"),
        ("reserved_names", "reserved_names = [\"\"]"),
        ("require_iam_group", "require_iam_group = \"a/b\""),
        ("sudo_iam_group", "sudo_iam_group = \"\""),
        ("linux_group_prefix", "linux_group_prefix = \"a b\""),
        ("linux_user_suffix", "linux_user_suffix = \"/x\""),
        ("default_shell", "default_shell = \"bash\""),
        ("default_shell", "default_shell = \"/bin/bash:x\""),
        ("home_base", "home_base = \"/home/\""),
        ("home_base", "home_base = \"/ho\\nme\""),
        ("user_path_prefix", "user_path_prefix = \"/staff\""),
        ("login_by", "login_by = []"),
        ("login_by", "login_by = [\"password\"]"),
        ("login_audience", "login_audience = \"\""),
        ("login_audience", "login_audience = \"a b\""),
        ("login_token_max", "login_token_max = 59"),
        ("login_token_max", "login_token_max = 3601"),
        ("login_proof_group", "login_proof_group = \"a/b\""),
        ("login_issuers", "login_issuers = [\"http://1.example\"]"),
        ("login_issuers", "login_issuers = [\"https://1.example/\"]"),
        ("login_keys_file", "login_keys_file = \"keys.json\""),
        ("id_resolver_account", "id_resolver_account = \"210987654321\""),
        (
            "id_resolver_account",
            "id_resolver_account = \"1\"\nid_resolver_iam_role = \"R\"",
        ),
        (
            "id_resolver_account",
            "id_resolver_account = \"\"\nid_resolver_iam_role = \"R\"",
        ),
        ("id_resolver_iam_role", "id_resolver_iam_role = \"R\""),
        ("metrics_file", "metrics_file = \"keymakerd.prom\""),
        ("metrics_file", "metrics_file = \"/run/keymaker/metrics\""),
    ] {
        match parse(text) {
            Err(ConfigError::BadValue { key: found, .. }) => assert_eq!(found, key, "{text}"),
            other => panic!("{text}: {other:?}"),
        }
    }
    let many: Vec<String> = (0..32).map(|n| format!("\"g{n}\"")).collect();
    assert!(sentence(&format!("local_groups = [{}]", many.join(","))).contains("too many"));
}

#[test]
fn the_tag_uid_counts_only_where_it_is_enabled() {
    let range = "tag_uid_range = [200000, 299999]";
    assert_eq!(parse(range).unwrap().tag_uid_range(), None);
    let enabled = parse(&format!("{range}\ntags = [\"uid\"]")).unwrap();
    assert_eq!(enabled.tag_uid_range(), Some(id_range([200_000, 299_999])));
}
