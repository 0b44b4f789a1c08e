//! Turns the settings of ec2userkeyd, the predecessor, into a credd.toml, and says what could not be carried over.
//!
//! `keymaker migrate` writes it, or prints it for the administrator to read. Where the two differ, the narrower meaning
//! is taken and the difference is said; nothing is left out silently.

mod old_file;

use std::collections::BTreeMap;

use credd_core::config::{UidRange, is_role_path, makes_names};

use self::old_file::{Ini, entries, is_truth, words};

/// The file as credd.toml, with what was not carried over as comments at its head.
pub fn from_ec2userkeyd(text: &str) -> String {
    let settings = Ini::parse(text);
    let mut import = Import::default();
    import.chains(&settings);
    import.patterns(&settings);
    import.instance_role(&settings);
    for key in settings.keys().filter(|key| !KNOWN.contains(key)) {
        import.note(&format!("{key}: credd has nothing like it"));
    }
    import.print()
}

#[derive(Default)]
struct Import {
    notes: Vec<String>,
    lines: Vec<String>,
}

impl Import {
    /// TOML forbids control characters in a comment.
    fn note(&mut self, text: &str) {
        self.notes.push(text.replace(char::is_control, "\u{fffd}"));
    }

    fn print(&self) -> String {
        let head = "# Made from the settings of ec2userkeyd. Not carried over, or with another meaning:\n";
        let notes: String = self.notes.iter().map(|note| format!("# - {note}\n")).collect();
        let lines: String = self.lines.iter().map(|line| format!("{line}\n")).collect();
        format!("{head}{notes}\n{lines}")
    }

    fn chains(&mut self, settings: &Ini) {
        let default = settings.get("general.credential_methods").unwrap_or(DEFAULT_METHODS);
        let chain = self.methods(default);
        if chain.contains("\"instance_role\"") {
            self.note("default_chain: instance_role applies to everybody who has no role; credd always restricts it by deny_actions");
        }
        self.note("an error ends a chain: only a method that does not apply goes on to the next");
        self.lines.push(format!("default_chain = {chain}"));
        let users = entries(settings.get("general.per_user_credential_methods").unwrap_or(""));
        let users: BTreeMap<&str, String> = users
            .iter()
            .map(|(user, methods)| (*user, self.methods(&methods.join(" "))))
            .collect();
        self.lines.extend(table(
            "user_chains",
            users.iter().map(|(user, chain)| ((*user).to_owned(), chain.as_str())),
        ));
        self.uid_chains(settings.get("general.per_uid_credential_methods").unwrap_or(""));
    }

    /// There the last of overlapping ranges counted; here ranges must not overlap, so they are cut.
    fn uid_chains(&mut self, text: &str) {
        let mut cut: BTreeMap<UidRange, String> = BTreeMap::new();
        for (range, methods) in entries(text).into_iter().rev() {
            match range.parse::<UidRange>() {
                Ok(range) => {
                    let taken: Vec<UidRange> = cut.keys().copied().collect();
                    let chain = self.methods(&methods.join(" "));
                    cut.extend(without(range, &taken).into_iter().map(|free| (free, chain.clone())));
                }
                Err(why) => self.note(&format!("general.per_uid_credential_methods: {why}")),
            }
        }
        self.lines.extend(table(
            "uid_chains",
            cut.iter().map(|(range, chain)| (range.to_string(), chain.as_str())),
        ));
    }

    /// A TOML array; an unknown method was an error there at the first request, and is left out here.
    fn methods(&mut self, text: &str) -> String {
        let mut names = vec![];
        for method in words(text) {
            match METHODS.iter().find(|(old, _)| *old == method) {
                Some((_, new)) => names.push(format!("\"{new}\"")),
                None => self.note(&format!("the method {method}: there is no method of that name")),
            }
        }
        format!("[{}]", names.join(", "))
    }

    fn patterns(&mut self, settings: &Ini) {
        let roles = [
            "method_UserRole.role_name_pattern",
            "method_CreateUserRole.role_name_pattern",
        ];
        self.pattern("role_name_pattern", settings, roles);
        let users = [
            "method_RestrictedInstanceRole.iam_name_pattern",
            "method_CreateUserRole.iam_name_pattern",
        ];
        self.pattern("iam_name_pattern", settings, users);
        if settings.is_true("method_RestrictedInstanceRole.compress_user_policy") {
            self.lines.push("compress_user_policy = true".to_owned());
        }
        if settings.get("method_CreateUserRole.instance_role_linked").is_some() {
            self.note("instance_role_linked: roles are made by 'keymaker sync-roles'; choose their trust there");
        }
    }

    fn pattern(&mut self, key: &str, settings: &Ini, old: [&str; 2]) {
        let [first, second] = old.map(|name| settings.get(name));
        if let (Some(first), Some(second)) = (first, second)
            && first != second
        {
            self.note(&format!(
                "{key}: {} says {second}; there is one pattern for both methods",
                old.join(" and ")
            ));
        }
        let mut pattern = first.or(second);
        if let Some((path, name)) = pattern.and_then(|pattern| pattern.rsplit_once('/'))
            && key == "role_name_pattern"
            && let path = path.trim_matches('/')
            && let path = if path.is_empty() {
                "/".to_owned()
            } else {
                format!("/{path}/")
            }
            && !path.contains("{username}")
            && is_role_path(&path)
        {
            self.lines.push(format!("role_path = {}", quoted(&path)));
            pattern = Some(name);
        }
        match pattern {
            Some(pattern) if !makes_names(pattern) => self.note(&format!(
                "{key}: {pattern} does not make a name in IAM (letters, digits and +=,.@_- only; a path goes into \
                role_path); the default applies"
            )),
            Some(pattern) if pattern.matches("{username}").count() == 1 => {
                self.lines.push(format!("{key} = {}", quoted(pattern)));
            }
            Some(pattern) => self.note(&format!(
                "{key}: {pattern} does not contain {{username}} once; the default applies"
            )),
            None => {}
        }
    }

    fn instance_role(&mut self, settings: &Ini) {
        if !settings.is_true("method_InstanceRole.fail_safe") {
            self.note("fail_safe was off: unrestricted credentials were handed out where a role could not be restricted; never here");
        }
        for (key, action) in [
            ("deny_assumerole", "sts:*"),
            ("deny_secretsmanager", "secretsmanager:*"),
        ] {
            if settings
                .get(&format!("method_InstanceRole.{key}"))
                .is_some_and(|value| !is_truth(value))
            {
                self.note(&format!(
                    "{key} was off: remove {action} from deny_actions if you still want that"
                ));
            }
        }
        for (key, why) in OTHERWISE {
            if settings.get(key).is_some() {
                self.note(&format!("{key}: {why}"));
            }
        }
    }
}

/// What of `range` is in none of the `taken` ones, which are in order and do not overlap.
fn without(range: UidRange, taken: &[UidRange]) -> Vec<UidRange> {
    let (mut free, mut first) = (vec![], Some(range.first));
    for other in taken
        .iter()
        .filter(|other| other.first <= range.last && other.last >= range.first)
    {
        if let Some(first) = first.filter(|first| *first < other.first) {
            free.push(UidRange {
                first,
                last: other.first - 1,
            });
        }
        first = other.last.checked_add(1);
    }
    free.extend(first.filter(|first| *first <= range.last).map(|first| UidRange {
        first,
        last: range.last,
    }));
    free
}

fn table<'a>(key: &str, chains: impl Iterator<Item = (String, &'a str)>) -> Option<String> {
    let entries: Vec<String> = chains
        .map(|(name, chain)| format!("{} = {chain}", as_key(name)))
        .collect();
    (!entries.is_empty()).then(|| format!("{key} = {{ {} }}", entries.join(", ")))
}

/// A name as TOML writes it before an equals sign: bare, or in quotes that a key may have.
fn as_key(name: String) -> String {
    let table = toml::Table::from_iter([(name, toml::Value::from(0))]);
    table.to_string().trim_end().trim_end_matches(" = 0").to_owned()
}

fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

/// What counted where the file said nothing.
const DEFAULT_METHODS: &str = "UserRole, RestrictedInstanceRole, InstanceRole";

const METHODS: [(&str, &str); 4] = [
    ("UserRole", "user_role"),
    ("CreateUserRole", "create_user_role"),
    ("RestrictedInstanceRole", "restricted_instance_role"),
    ("InstanceRole", "instance_role"),
];

/// Settings without a counterpart, and what stands in their place.
const OTHERWISE: [(&str, &str); 5] = [
    (
        "general.daemon_port",
        "systemd holds the metadata address itself; see capture and nft_port",
    ),
    (
        "general.iptables",
        "capture is policy routing and nftables, both families",
    ),
    (
        "general.log_level",
        "every issuance and refusal is in the journal; more is by 'keymaker log-level debug'",
    ),
    ("general.log_console", "the log goes to the journal"),
    ("general.log_syslog", "the log goes to the journal"),
];

const KNOWN: &[&str] = &[
    "general.credential_methods",
    "general.per_user_credential_methods",
    "general.per_uid_credential_methods",
    "general.daemon_port",
    "general.iptables",
    "general.log_level",
    "general.log_console",
    "general.log_syslog",
    "method_UserRole.role_name_pattern",
    "method_CreateUserRole.iam_name_pattern",
    "method_CreateUserRole.role_name_pattern",
    "method_CreateUserRole.instance_role_linked",
    "method_RestrictedInstanceRole.iam_name_pattern",
    "method_RestrictedInstanceRole.compress_user_policy",
    "method_InstanceRole.fail_safe",
    "method_InstanceRole.deny_assumerole",
    "method_InstanceRole.deny_secretsmanager",
];

#[cfg(test)]
mod tests {
    use super::*;
    use credd_core::accounts::Account;
    use credd_core::config::{Config, Method};
    use std::path::Path;

    fn import(text: &str) -> (Config, String) {
        let printed = from_ec2userkeyd(text);
        let config = Config::parse(&printed, Path::new("imported")).unwrap_or_else(|why| panic!("{why}\n{printed}"));
        (config, printed)
    }

    fn named(user: &str) -> Account {
        Account {
            user: Some(user.into()),
            groups: vec![],
            is_doubtful: false,
        }
    }

    #[test]
    fn a_whole_file_becomes_settings_that_credd_takes() {
        let (config, printed) = import(
            "[general]\ndaemon_port = 808\ncredential_methods = UserRole\n\
             per_user_credential_methods = joe:UserRole, InstanceRole,\n    jane:CreateUserRole\n\
             per_uid_credential_methods: 0-499:InstanceRole\n# comment\n; another\n\
             [method_UserRole]\nrole_name_pattern = box-{username}\n\
             [method_RestrictedInstanceRole]\ncompress_user_policy = yes\niam_name_pattern = {username}@corp\n\
             [method_InstanceRole]\nfail_safe = False\ndeny_secretsmanager = no\n[method_UserKeysSecretsManager]\nx = 1\n",
        );
        assert_eq!(config.default_chain, [Method::UserRole]);
        let chain = |uid, name| config.chain(uid, &named(name)).unwrap();
        assert_eq!(chain(1000, "joe"), [Method::UserRole, Method::InstanceRole]);
        assert_eq!(chain(1000, "jane"), [Method::CreateUserRole]);
        assert_eq!(chain(33, "www-data"), [Method::InstanceRole]);
        assert_eq!(config.role_name_pattern, "box-{username}");
        assert_eq!(config.iam_name_pattern, "{username}@corp");
        assert!(config.compress_user_policy);
        for said in [
            "daemon_port",
            "fail_safe was off",
            "secretsmanager:*",
            "method_UserKeysSecretsManager.x",
        ] {
            assert!(printed.contains(said), "{said}: {printed}");
        }
    }

    #[test]
    fn a_path_before_the_name_of_a_role_is_the_roles_path() {
        let (config, _) = import("[method_UserRole]\nrole_name_pattern = people/here/u-{username}\n");
        assert_eq!(
            (config.role_path.as_str(), config.role_name_pattern.as_str()),
            ("/people/here/", "u-{username}")
        );
        for path in ["a b", "{username}", "\u{e9}", "/"] {
            let (config, printed) = import(&format!(
                "[method_UserRole]\nrole_name_pattern = {path}/u-{{username}}\n"
            ));
            assert_eq!(config.role_path, "/", "{printed}");
        }
    }

    #[test]
    fn a_list_without_spaces_is_not_lost_as_it_was() {
        let (config, _) =
            import("[general]\nper_user_credential_methods = joe:UserRole,InstanceRole,jane:UserRole,eve:\n");
        let chain = |name| config.chain(1, &named(name)).unwrap();
        assert_eq!(chain("joe"), [Method::UserRole, Method::InstanceRole]);
        assert_eq!(chain("jane"), [Method::UserRole]);
        // Empty meant "not set".
        assert_eq!(chain("eve"), config.default_chain);
    }

    #[test]
    fn of_overlapping_uid_ranges_the_last_one_counts_as_it_did() {
        let (config, _) = import(
            "[general]\nper_uid_credential_methods = 0-999:InstanceRole, 100-199:UserRole, 150:CreateUserRole\n",
        );
        let chain = |uid| config.chain(uid, &Account::default()).unwrap().to_vec();
        for (uid, method) in [
            (0, Method::InstanceRole),
            (99, Method::InstanceRole),
            (100, Method::UserRole),
            (149, Method::UserRole),
            (150, Method::CreateUserRole),
            (151, Method::UserRole),
            (199, Method::UserRole),
            (200, Method::InstanceRole),
            (999, Method::InstanceRole),
        ] {
            assert_eq!(chain(uid), [method], "{uid}");
        }
        assert_eq!(chain(1000), config.default_chain);
    }

    #[test]
    fn what_is_wrong_there_is_said_and_nothing_is_made_up_for_it() {
        let (config, printed) = import(
            "[general]\ncredential_methods = UserRole, Magic\nper_uid_credential_methods = x-y:UserRole\n\
             [method_UserRole]\nrole_name_pattern = 'everybody'\n",
        );
        assert_eq!(config.default_chain, [Method::UserRole]);
        assert_eq!(config.role_name_pattern, Config::default().role_name_pattern);
        assert!(
            ["Magic", "x-y", "everybody"].iter().all(|said| printed.contains(said)),
            "{printed}"
        );
    }

    #[test]
    fn a_control_character_in_a_note_leaves_settings_that_credd_takes() {
        let (_, printed) = import("[general]\nodd\x01key = 1\ncredential_methods = User\x7fRole\n");
        assert!(
            printed.contains("odd\u{fffd}key") && printed.contains("User\u{fffd}Role"),
            "{printed}"
        );
    }

    #[test]
    fn a_users_name_with_any_quotes_is_a_key_that_credd_takes() {
        let (config, printed) =
            import("[general]\nper_user_credential_methods = a\"b:UserRole,'x\\y:UserRole,alice:UserRole\n");
        let users: Vec<&str> = config.user_chains.keys().map(String::as_str).collect();
        assert_eq!(users, ["'x\\y", "a\"b", "alice"], "{printed}");
    }

    #[test]
    fn an_empty_file_means_the_predecessors_defaults_and_says_so() {
        let (config, printed) = import("");
        assert_eq!(
            config.default_chain,
            [Method::UserRole, Method::RestrictedInstanceRole, Method::InstanceRole]
        );
        assert!(printed.contains("credd always restricts it"));
    }
}
