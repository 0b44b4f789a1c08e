//! The sshd that runs, with the options of its command line: what it would do for one user (`sshd -T -C`). Only root can ask it.

use std::collections::BTreeMap;

use super::run;

const SSHD: &str = "/usr/sbin/sshd";

/// sshd's effective settings: keyword in small letters → value.
pub type Settings = BTreeMap<String, String>;

/// The settings for a login of this user from this host.
pub fn effective(user: &str) -> Result<Settings, String> {
    let connection = format!("user={user},host=localhost,addr=127.0.0.1");
    let options = listener_options().unwrap_or_default();
    let mut arguments: Vec<&str> = options.iter().map(String::as_str).collect();
    arguments.extend(["-T", "-C", &connection]);
    let text = run(SSHD, &arguments)?;
    let pairs = text.lines().filter_map(|line| line.split_once(' '));
    Ok(pairs
        .map(|(keyword, value)| (keyword.to_owned(), value.to_owned()))
        .collect())
}

/// The options -o and -f of the sshd that listens; `None` where none does. sshd writes its command line into its title.
pub fn listener_options() -> Option<Vec<String>> {
    let mut titles = std::fs::read_dir("/proc").ok()?.flatten().filter_map(|entry| {
        let bytes = std::fs::read(entry.path().join("cmdline")).ok()?;
        let text = String::from_utf8_lossy(&bytes).replace('\0', " ");
        text.trim()
            .strip_prefix("sshd: ")?
            .split_once(" [listener]")
            .map(|(line, _)| line.to_owned())
    });
    titles.next().map(|title| options_of(&title))
}

fn options_of(title: &str) -> Vec<String> {
    let mut words = title.split_whitespace().skip(1);
    let mut options = Vec::new();
    while let Some(word) = words.next() {
        let takes_value = matches!(word, "-o" | "-f");
        if takes_value || word.starts_with("-o") || word.starts_with("-f") {
            options.push(word.to_owned());
        }
        options.extend(takes_value.then(|| words.next().unwrap_or_default().to_owned()));
    }
    options
}

/// What of the settings is not as IAM users need it: keyword, what it says, what it should say.
pub fn wrong(settings: &Settings) -> Vec<(&'static str, String, &'static str)> {
    let value = |keyword: &str| settings.get(keyword).cloned().unwrap_or_else(|| "none".to_owned());
    let mut wrong = Vec::new();
    let mut expect = |keyword: &'static str, right: &'static str, holds: fn(&str) -> bool| {
        let value = value(keyword);
        if !holds(&value) {
            wrong.push((keyword, value, right));
        }
    };
    expect("pubkeyauthentication", "yes", |value| value == "yes");
    expect("usepam", "yes", |value| value == "yes");
    expect(
        "authorizedkeyscommand",
        "/usr/libexec/keymaker/keymaker-keys %u %U",
        |value| value.starts_with("/usr/libexec/keymaker/keymaker-keys "),
    );
    expect("authorizedkeyscommanduser", "keymaker-keys", |value| {
        value == "keymaker-keys"
    });
    expect("authorizedkeysfile", "none", |value| value == "none");
    expect("trustedusercakeys", "none", |value| value == "none");
    expect("authenticationmethods", "publickey", |value| {
        value
            .split_whitespace()
            .all(|list| list.split([',', ':']).next() == Some("publickey"))
    });
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_listeners_options_are_read_from_its_title() {
        let title = "/usr/sbin/sshd -D -o AuthorizedKeysCommand=/x -oUsePAM=no -f /etc/other";
        assert_eq!(
            options_of(title),
            ["-o", "AuthorizedKeysCommand=/x", "-oUsePAM=no", "-f", "/etc/other"]
        );
    }

    // P8
    #[test]
    fn whatever_would_let_another_key_in_is_wrong() {
        let mut settings: Settings = [
            ("pubkeyauthentication", "yes"),
            ("usepam", "yes"),
            ("authorizedkeyscommand", "/usr/libexec/keymaker/keymaker-keys %u %U"),
            ("authorizedkeyscommanduser", "keymaker-keys"),
            ("authorizedkeysfile", "none"),
            ("authenticationmethods", "publickey,keyboard-interactive publickey"),
        ]
        .map(|(keyword, value)| (keyword.to_owned(), value.to_owned()))
        .into();
        assert_eq!(wrong(&settings), []);
        settings.insert("authorizedkeysfile".to_owned(), ".ssh/authorized_keys".to_owned());
        settings.insert("authenticationmethods".to_owned(), "any".to_owned());
        assert_eq!(wrong(&settings).len(), 2);
    }
}
