//! What a file that is gone, empty or cut does to a host: nothing that opens.

use super::*;
use crate::config::KEYS;

/// Every line that narrows, none of them the default.
const NARROW: &str = "role_settings = false\nrequire_iam_group = \"ops\"\nuser_path_prefix = \"/staff/\"\nonly_group_members = true\n\
    linux_user_suffix = \"@x\"\ndotted_names = false\nreserved_names = [\"boss\"]\nlinux_group_prefix = \"unix-\"\n\
    local_groups = [\"adm\"]\ntags = [\"expires\"]\ndefault_shell = \"/usr/sbin/nologin\"\nauthz_ttl = 10\nmax_stale = 300\n\
    max_stale_running = 0\n\
    sync_interval = 60\nend_sessions = true\nid_resolver_account = \"210987654321\"\nid_resolver_iam_role = \"R\"\n\
    ca_bundle = \"/etc/ca.pem\"\nlogin_by = [\"proof\"]\nlogin_audience = \"fleet\"\nlogin_token_max = 120\n\
    login_bound = true\nlogin_proof_group = \"people\"\nlogin_not_before = 1800000000\n\
    login_issuers = [\"https://1.example\"]\nlogin_keys_file = \"/etc/keys.json\"\n";

fn table(text: &str) -> Table {
    let path = "keymakerd.toml".as_ref();
    KeymakerdConfig::parse(text, path).unwrap();
    text.parse().unwrap()
}

fn after(text: &str) -> (FileSettings, KeymakerdConfig) {
    let mut file = FileSettings::default();
    let config = file.take(table(text)).unwrap();
    (file, config)
}

// P3
#[test]
fn a_file_that_is_gone_empty_or_cut_at_any_line_opens_nothing() {
    let (file, narrow) = after(NARROW);
    assert!(file.gone().is_empty());
    let lines: Vec<&str> = NARROW.lines().collect();
    for kept in 0..=lines.len() {
        let mut cut = file.clone();
        // The pair of the resolver goes together: half of it is an error.
        let text: String = lines[..kept].iter().map(|line| format!("{line}\n")).collect();
        let Ok(config) = KeymakerdConfig::parse(&text, "keymakerd.toml".as_ref()) else {
            continue;
        };
        let _checked = config;
        assert_eq!(cut.take(text.parse().unwrap()).unwrap(), narrow, "{text}");
        assert_eq!(cut.gone().len(), lines.len() - kept, "{text}");
        let said = cut
            .gone()
            .iter()
            .all(|gone| gone.to_string().contains("keymaker accept-settings"));
        assert!(said);
        // Read again, and again from the disk.
        let json = serde_json::to_string(&cut).unwrap();
        let mut again: FileSettings = serde_json::from_str(&json).unwrap();
        assert_eq!(again.take(text.parse().unwrap()).unwrap(), narrow, "{text}");
    }
}

#[test]
fn an_administrator_says_otherwise_by_accepting_or_by_another_value() {
    let (mut file, narrow) = after(NARROW);
    let other = file.take(table("require_iam_group = \"\"\nmax_stale = 7200")).unwrap();
    assert_eq!((other.require_iam_group.as_deref(), other.max_stale), (Some(""), 7200));
    assert_eq!(other.user_path_prefix, narrow.user_path_prefix);
    assert!(file.gone().iter().all(|gone| gone.key != "require_iam_group"));
    file.accept();
    assert!(file.gone().is_empty());
    let accepted = file.last().unwrap().unwrap();
    assert_eq!((accepted.user_path_prefix.as_str(), accepted.max_stale), ("/", 7200));
    file.take(Table::new()).unwrap();
    assert_eq!(file.gone().len(), 2, "{:?}", file.gone());
}

#[test]
fn what_only_gave_something_is_gone_with_its_line() {
    let (mut file, _) = after(
        "sudo_iam_group = \"admins\"\ntags = [\"keys\", \"expires\"]\nlocal_groups = [\"docker\", \"adm\"]\nmax_stale = 200000\n\
         enumerate = true\nlogin_by = [\"iam-keys\", \"proof\"]\nlogin_token_max = 3600\nhttps_proxy = \"http://proxy:1\"\nonly_group_members = false",
    );
    let config = file.take(Table::new()).unwrap();
    let expected = "tags = [\"expires\"]\nlocal_groups = [\"adm\"]";
    assert_eq!(
        config,
        KeymakerdConfig::parse(expected, "keymakerd.toml".as_ref()).unwrap()
    );
    assert_eq!(file.gone().len(), 2);
}

#[test]
fn a_value_that_does_not_go_with_what_stands_on_changes_nothing() {
    let (mut file, narrow) = after("max_stale = 300\nsync_interval = 60");
    let error = file.take(table("sync_interval = 1000")).unwrap_err().to_string();
    assert!(error.contains("max_stale"), "{error}");
    assert_eq!(file.last().unwrap().unwrap(), narrow);
}

#[test]
fn every_key_that_narrows_is_one_that_there_is() {
    let (file, _) = after(NARROW);
    let known = |key: &str| KEYS.iter().any(|known| known.name == key);
    assert!(file.read.keys().all(|key| known(key)));
}

// P19
#[test]
fn no_value_of_the_file_is_in_its_debug_output() {
    let (file, _) = after("https_proxy = \"http://bob:p4ss@proxy:1\"");
    let shown = format!("{file:?}");
    assert!(shown.contains("https_proxy") && !shown.contains("p4ss"), "{shown}");
}
