//! The sshd that runs, with the options of its command line: what it would do for one user (`sshd -T -C`). Only root
//! can ask it.

pub mod admission;
mod command_line;
pub mod configuration;
pub mod keys;
pub mod pattern;

pub use command_line::{Started, read_at, started};

use std::net::IpAddr;

use super::{limited, run};

const SSHD: &str = "/usr/sbin/sshd";

/// sshd's effective settings, in its order: keyword in small letters, value. A keyword may come several times.
pub struct SshdSettings(Vec<(String, String)>);

impl SshdSettings {
    /// What `sshd -T` prints.
    pub fn parse(text: &str) -> Self {
        let pairs = text.lines().filter_map(|line| line.split_once(' '));
        Self(
            pairs
                .map(|(keyword, value)| (keyword.to_owned(), value.to_owned()))
                .collect(),
        )
    }

    /// The value of a keyword that has one.
    pub fn get(&self, keyword: &str) -> Option<&str> {
        self.all(keyword).next()
    }

    /// All values of a keyword that may come several times, such as allowusers.
    pub fn all(&self, keyword: &str) -> impl Iterator<Item = &str> {
        let pairs = self.0.iter().filter(move |(name, _)| name == keyword);
        pairs.map(|(_, value)| value.as_str())
    }
}

/// The settings for a login of this user from this address, or else from this host, by an sshd that was started with
/// these options.
pub fn effective(user: &str, from: Option<IpAddr>, options: &[String]) -> Result<SshdSettings, String> {
    let connection = match from {
        // What sshd takes for a client's name, unless UseDNS has it ask for one.
        Some(address) => format!("user={user},host={address},addr={address}"),
        None => format!("user={user},host=localhost,addr=127.0.0.1"),
    };
    let mut arguments: Vec<&str> = options.iter().map(String::as_str).collect();
    arguments.extend(["-T", "-C", &connection]);
    run(SSHD, &arguments).map(|text| SshdSettings::parse(&text))
}

/// The version of OpenSSH that this host's sshd says it is.
pub fn version() -> Option<(u32, u32)> {
    // On standard error; some have no such option, and say it with their complaint.
    let said = limited(SSHD).arg("-V").output().ok()?;
    version_in(&String::from_utf8_lossy(&[said.stderr, said.stdout].concat()))
}

fn version_in(said: &str) -> Option<(u32, u32)> {
    let (_, version) = said.split_once("OpenSSH_")?;
    let mut numbers = version.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// What of the settings is not as IAM users need it: keyword, what it says, what it should say.
pub fn wrong(settings: &SshdSettings) -> Vec<(&'static str, String, &'static str)> {
    let value = |keyword: &str| settings.get(keyword).unwrap_or("none").to_owned();
    let mut wrong = Vec::new();
    // What the drop-in says where PAM is not asked, and rightly so.
    let no_keys = value("usepam") != "yes" && value("authorizedkeyscommand") == "none";
    let mut expect = |keyword: &'static str, right: &'static str, holds: fn(&str) -> bool| {
        let value = value(keyword);
        if !holds(&value) {
            wrong.push((keyword, value, right));
        }
    };
    expect("pubkeyauthentication", "yes", |value| value == "yes");
    expect("usepam", "yes", |value| value == "yes");
    if !no_keys {
        expect(
            "authorizedkeyscommand",
            "/usr/libexec/keymaker/keymaker-keys %u %U %f",
            |value| value.starts_with("/usr/libexec/keymaker/keymaker-keys "),
        );
    }
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

    const RIGHT: &str = "pubkeyauthentication yes\nusepam yes\n\
        authorizedkeyscommand /usr/libexec/keymaker/keymaker-keys %u %U %f\nauthorizedkeyscommanduser keymaker-keys\n\
        authorizedkeysfile none\nauthenticationmethods publickey,keyboard-interactive publickey\n";

    #[test]
    fn every_line_of_a_keyword_counts() {
        let settings = SshdSettings::parse("allowusers a\nport 22\nallowusers b c@10.*\n");
        assert_eq!(settings.all("allowusers").collect::<Vec<_>>(), ["a", "b c@10.*"]);
        assert_eq!((settings.get("port"), settings.get("denyusers")), (Some("22"), None));
    }

    #[test]
    fn where_pam_is_not_asked_no_keys_is_right_and_only_pam_is_wrong() {
        let command = "/usr/libexec/keymaker/keymaker-keys %u %U %f";
        let keyless = RIGHT.replace("usepam yes", "usepam no").replace(command, "none");
        assert_eq!(
            wrong(&SshdSettings::parse(&keyless)),
            [("usepam", "no".to_owned(), "yes")]
        );
        let asked = RIGHT.replace(command, "none");
        assert_eq!(wrong(&SshdSettings::parse(&asked))[0].0, "authorizedkeyscommand");
    }

    #[test]
    fn the_version_is_read_with_and_without_an_option_for_it() {
        for (said, version) in [
            (
                "OpenSSH_9.2p1 Debian-2+deb12u3, OpenSSL 3.0.15 3 Sep 2024\n",
                Some((9, 2)),
            ),
            ("OpenSSH_10.0p2, OpenSSL 3.5.1", Some((10, 0))),
            (
                "unknown option -- V\nOpenSSH_8.0p1, OpenSSL 1.1.1k  FIPS\nusage: sshd\n",
                Some((8, 0)),
            ),
            ("dropbear", None),
            ("OpenSSH_x", None),
        ] {
            assert_eq!(version_in(said), version, "{said}");
        }
    }

    // P8
    #[test]
    fn whatever_would_let_another_key_in_is_wrong() {
        assert_eq!(wrong(&SshdSettings::parse(RIGHT)), []);
        let open = RIGHT
            .replace("authorizedkeysfile none", "authorizedkeysfile .ssh/authorized_keys")
            .replace("publickey,keyboard-interactive publickey", "any");
        assert_eq!(wrong(&SshdSettings::parse(&open)).len(), 2);
    }
}
