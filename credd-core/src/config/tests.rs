//! What credd.toml may say, and what is said of what it may not.

use super::*;
use test_folder::TestFolder;

fn parse(text: &str) -> Result<Config, String> {
    Config::parse(text, Path::new("credd.toml")).map_err(|error| error.to_string())
}

// H11
#[test]
fn an_empty_file_means_the_defaults_and_a_missing_one_is_an_error() {
    assert_eq!(parse("").unwrap(), Config::default());
    assert!(matches!(
        Config::read(Path::new("/nonexistent/credd.toml")),
        Err(ConfigError::Unreadable(..))
    ));
}

#[test]
fn what_is_printed_is_read_back_as_the_same() {
    let text = "exempt_uids = [\"root\", 33]\nuser_chains = { postgres = [] }\nuid_chains = { \"900-999\" = [] }\n\
                containers = [\"172.17.0.0/16\", \"fd00::/8\"]\n\
                [[rules]]\ngroup = \"ops\"\nallow = [\"user-data\"]\n[[rules]]\nuids = \"7\"\ndeny = [\"meta-data/tags\"]\n";
    let config = parse(text).unwrap();
    assert_eq!(parse(&config.print().unwrap()).unwrap(), config);
    assert_eq!(parse(&Config::default().print().unwrap()).unwrap(), Config::default());
    assert_eq!(config.rules().len(), 2);
}

#[test]
fn the_table_of_keys_is_what_the_parser_takes() {
    let error = toml::from_str::<Config>("no_such_key = 1").unwrap_err();
    let mut taken: Vec<&str> = error.message().split('`').skip(3).step_by(2).collect();
    let mut known = KEYS.map(|key| key.name);
    taken.sort();
    known.sort();
    assert_eq!(taken, known);
}

#[test]
fn every_mistake_is_an_error_that_names_line_key_and_remedy() {
    for (text, parts) in [
        (
            "\nexempt_uid = []",
            &["credd.toml:2: there is no key exempt_uid; did you mean exempt_uids?"][..],
        ),
        (
            "what = 1",
            &["credd.toml:1: there is no key what; see credd.toml(5), or remove the line"],
        ),
        (
            "\nauthz_ttl = \"1h\"",
            &["credd.toml:2: authz_ttl: invalid type", "; it takes seconds"],
        ),
        ("region = 'x'\nmode = \"on\"", &["credd.toml:2", "enforce", "observe"]),
        ("default_chain = [\"UserRole\"]", &["credd.toml:1", "user_role"]),
        ("nft_port = 8080", &["credd.toml:1", "nft_port", "1023"]),
        ("nft_port = 989", &["credd.toml:1", "nft_port", "container endpoint"]),
        ("token_hop_limit = 0", &["token_hop_limit", "64"]),
        (
            "\n\nuid_chains = { \"1-5\" = [], \"5-9\" = [] }",
            &["credd.toml:3", "1-5 and 5-9 overlap"],
        ),
        ("uid_chains = { \"9-1\" = [] }", &["credd.toml:1", "9-1"]),
        (
            "\nuid_chains = { \"900\" = [], \"900-900\" = [\"instance_role\"] }",
            &["credd.toml:2", "900 and 900-900 overlap"],
        ),
        (
            "uid_chains = { \"0900\" = [], \"900\" = [\"instance_role\"] }",
            &["0900 and 900 overlap"],
        ),
        (
            "uid_chains = { \"1-100\" = [], \"7\" = [], \"200\" = [] }",
            &["1-100 and 7 overlap"],
        ),
        (
            "role_name_pattern = \"team/user-{username}\"",
            &["role_name_pattern", "no slash", "role_path"],
        ),
        (
            "role_name_pattern = \"user {username}\"",
            &["role_name_pattern", "letters"],
        ),
        ("role_path = \"/a b/\"", &["role_path", "no blank"]),
        (
            "iam_name_pattern = \"team/{username}\"",
            &["iam_name_pattern", "no slash"],
        ),
        (
            "default_chain = [\"instance_role\"]\ndeny_actions = []",
            &["credd.toml:2", "deny_actions"],
        ),
        ("default_chain = [\"shared_role\"]", &["shared_role", "ARN"]),
        (
            "[[rules]]\nuser = \"a\"\nallow = [\"meta-data/iam\"]",
            &["credd.toml:1", "rules", "exempt_uids"],
        ),
        (
            "[[rules]]\nuser = \"a\"\nallow = [\"meta-data/nix\"]",
            &["rules", "no such path", "meta-data/nix"],
        ),
        (
            "[[rules]]\nuser = \"a\"\ngroup = \"b\"\nallow = [\"user-data\"]",
            &["rules", "one of user, uids and group"],
        ),
        ("[[rules]]\nwho = \"a\"", &["credd.toml:2: rules: unknown field `who`"]),
        (
            "role_name_pattern = \"everybody\"",
            &["role_name_pattern", "{username}"],
        ),
        (
            "id_resolver_account = \"210987654321\"",
            &["id_resolver_account", "id_resolver_iam_role"],
        ),
        (
            "id_resolver_iam_role = \"R\"",
            &["id_resolver_account", "twelve digits"],
        ),
        ("deny_actions = [\"all\"]", &["deny_actions", "iam:*"]),
        (
            "metadata_endpoint = \"http://imds.example/\"",
            &["metadata_endpoint", "IP address"],
        ),
        ("containers = [\"172.17.0.0/33\"]", &["credd.toml:1", "172.17.0.0/33"]),
        ("exempt_uids = [", &["credd.toml:1: this is not TOML: "]),
    ] {
        let sentence = parse(text).unwrap_err();
        for part in parts {
            assert!(sentence.contains(part), "{text}: {sentence} lacks {part}");
        }
    }
}

// P18
#[test]
fn the_first_chain_that_matches_counts_and_an_empty_one_is_a_chain() {
    let config = parse(
        "user_chains = { eve = [] }\nuid_chains = { \"2000-2999\" = [\"instance_role\"] }\n\
         group_chains = { devs = [\"restricted_instance_role\"] }",
    )
    .unwrap();
    let account = |user: &str| Account {
        user: Some(user.into()),
        groups: vec!["devs".into()],
        is_doubtful: false,
    };
    let chain = |uid, account: Account| config.chain(uid, &account).map(<[Method]>::to_vec);
    assert_eq!(chain(2001, account("eve")), Ok(vec![]));
    assert_eq!(chain(2001, account("alice")), Ok(vec![Method::InstanceRole]));
    assert_eq!(chain(3001, account("alice")), Ok(vec![Method::RestrictedInstanceRole]));
    assert_eq!(chain(3001, Account::default()), Ok(vec![Method::UserRole]));
}

// P13
#[test]
fn no_chain_is_passed_over_for_want_of_a_name_or_a_group() {
    let by_user = parse("user_chains = { zed = [] }\ndefault_chain = [\"instance_role\"]").unwrap();
    let by_group = parse("group_chains = { devs = [] }\nuid_chains = { 7 = [\"user_role\"] }").unwrap();
    let plain = parse("default_chain = [\"instance_role\"]").unwrap();
    let nameless = Account::unknown();
    let named = Account {
        user: Some("ann".into()),
        ..Account::unknown()
    };
    assert_eq!(by_user.chain(5, &nameless), Err(AccountDoubt));
    assert_eq!(by_user.chain(5, &named), Ok([Method::InstanceRole].as_slice()));
    assert_eq!(by_group.chain(5, &named), Err(AccountDoubt));
    assert_eq!(by_group.chain(7, &named), Ok([Method::UserRole].as_slice()));
    assert_eq!(plain.chain(5, &nameless), Ok([Method::InstanceRole].as_slice()));
}

// P19
#[test]
fn a_proxys_password_is_never_printed() {
    let config = parse("https_proxy = \"http://me:hunter2@proxy:3128\"").unwrap();
    assert!(!config.print().unwrap().contains("hunter2"));
    assert!(!format!("{config:?}").contains("hunter2"));
    assert_eq!(config.https_proxy.unwrap().expose(), "http://me:hunter2@proxy:3128");
}

// P18
#[test]
fn only_settings_that_shape_no_answer_leave_what_was_issued_in_force() {
    let with = |text: &str| parse(text).unwrap();
    for text in [
        "",
        "default_chain = []",
        "user_chains = { a = [\"instance_role\"] }",
        "rules = [{ allow = [\"user-data\"] }]",
        "authz_ttl = 5",
        "directory = \"none\"",
        "require_imds_v2 = false",
        "metrics_file = \"/run/keymaker-credd/credd.prom\"",
    ] {
        assert!(with("").issues_like(&with(text)), "{text}");
    }
    for text in [
        "role_name_pattern = \"x-{username}\"",
        "role_path = \"/p/\"",
        "iam_name_pattern = \"x-{username}\"",
        "compress_user_policy = true",
        "id_resolver_account = \"210987654321\"\nid_resolver_iam_role = \"R\"",
        "deny_actions = []",
        "shared_role = \"arn:aws:iam::123456789012:role/everybody\"",
        "session_tags = true",
        "region = \"eu-west-1\"",
        "sts_endpoint = \"https://sts.example.com\"",
        "iam_endpoint = \"https://iam.example.com\"",
        "metadata_endpoint = \"http://127.0.0.1\"",
        "https_proxy = \"http://proxy:3128\"",
        "ca_bundle = \"/x\"",
    ] {
        assert!(!with("").issues_like(&with(text)), "{text}");
        assert!(!with(text).issues_like(&with("")), "{text}");
    }
    assert!(!with("ca_bundle = \"/x\"").issues_like(&with("ca_bundle = \"/x\"")));
}

// P3
#[test]
fn a_directory_that_was_in_use_stays_required_when_the_settings_of_keymakerd_are_gone() {
    let folder = TestFolder::new();
    let (settings, published) = (folder.join("keymakerd.toml"), folder.join("directory"));
    let traces = [&settings, &published];
    assert!(!DirectoryNeed::Auto.is_required(&traces) && DirectoryNeed::Required.is_required(&traces));
    fs::write(&settings, "").unwrap();
    assert!(DirectoryNeed::Auto.is_required(&traces));
    fs::write(&published, "").unwrap();
    fs::remove_file(&settings).unwrap();
    assert!(DirectoryNeed::Auto.is_required(&traces) && !DirectoryNeed::None.is_required(&traces));
    // What cannot be looked for may be there.
    assert!(DirectoryNeed::Auto.is_required(&[published.join("below a file")]));
}

#[test]
fn deny_actions_that_no_chain_needs_may_be_empty() {
    assert!(parse("deny_actions = []").is_ok());
    let many: Vec<String> = (0..200).map(|number| format!("\"service{number}:Action\"")).collect();
    let many = format!(
        "default_chain = [\"instance_role\"]\ndeny_actions = [{}]",
        many.join(",")
    );
    assert!(
        parse(&many).unwrap_err().contains("deny_actions"),
        "more than STS takes"
    );
}
