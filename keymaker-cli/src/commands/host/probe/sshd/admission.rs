//! `DenyUsers`, `AllowUsers`, `DenyGroups` and `AllowGroups`, as sshd goes through them: in this order, the first that
//! refuses decides (`sshd_config(5)`).
//!
//! A pattern `user@host` depends on where a login comes from, which nobody knows beforehand, unless they ask about one
//! address.

use std::net::IpAddr;

use keymaker_core::paths;

use super::configuration::ConfigLine;
use super::{SshdSettings, pattern, run};

/// Whether the four let a user in.
#[derive(Debug, PartialEq, Eq)]
pub enum Admission {
    /// They do, from everywhere.
    LetsIn,
    /// They do not, from nowhere.
    ShutsOut(AdmissionRule),
    /// It depends on where the login comes from.
    DependsOnAddress(AdmissionRule),
}

/// What decides.
#[derive(Debug, PartialEq, Eq)]
pub struct AdmissionRule {
    /// One of the four, as `sshd_config(5)` spells it.
    pub keyword: &'static str,
    /// The pattern that matches; of a list that names nobody of the kind, all of it.
    pub pattern: String,
}

impl AdmissionRule {
    /// Where it stands among these lines, in words.
    pub fn place(&self, lines: &[ConfigLine]) -> String {
        let line = self.line(lines);
        line.map_or_else(
            || "sshd's command line".to_owned(),
            |line| format!("line {} of {}", line.number, line.file.display()),
        )
    }

    /// Why these are shut out, and what lets them in.
    pub fn said(&self, lines: &[ConfigLine], names: &[String]) -> (String, String) {
        let Self { keyword, pattern } = self;
        let (place, names) = (self.place(lines), names.join(" "));
        if keyword.starts_with("Deny") {
            let why = format!("{keyword} {pattern} shuts {names} out ({place})");
            let remedy = format!(
                "take {pattern} out of {place}, if {names} is to log in; then: sshd -t && systemctl reload ssh"
            );
            return (why, remedy);
        }
        let missing = match *keyword {
            "AllowGroups" => paths::KEYMAKER_USERS,
            _ => names.as_str(),
        };
        let remedy = match self.line(lines).filter(|line| !line.value.contains('#')) {
            Some(ConfigLine { file, number, .. }) => {
                format!(
                    "sed -i '{number}s/$/ {missing}/' {} && sshd -t && systemctl reload ssh",
                    file.display()
                )
            }
            None => format!("add {missing} to {keyword} in {place}; then: sshd -t && systemctl reload ssh"),
        };
        (format!("{keyword} {pattern} does not name {names} ({place})"), remedy)
    }

    fn line<'l>(&self, lines: &'l [ConfigLine]) -> Option<&'l ConfigLine> {
        lines.iter().find(|line| {
            let names = |pattern| {
                line.value
                    .split_whitespace()
                    .any(|word| word.trim_matches('"') == pattern)
            };
            line.keyword.eq_ignore_ascii_case(self.keyword) && self.pattern.split_whitespace().any(names)
        })
    }
}

/// Goes through the four, for a user of this name, with the groups that sshd asks for: those of every service. Without an
/// address: from wherever the user comes.
pub fn admits_user(settings: &SshdSettings, user: &str, from: Option<IpAddr>) -> Result<Admission, String> {
    let groups = run("id", &["-Gnz", user])?;
    let groups: Vec<String> = groups.split_terminator('\0').map(str::to_owned).collect();
    Ok(admits(settings, user, &groups, from))
}

/// Goes through the four, for a user with these groups.
fn admits(settings: &SshdSettings, user: &str, groups: &[String], from: Option<IpAddr>) -> Admission {
    let mut depends = None;
    for keyword in ["DenyUsers", "AllowUsers", "DenyGroups", "AllowGroups"] {
        let allows = keyword.starts_with("Allow");
        let named = |pattern: &str| {
            if keyword.ends_with("Users") {
                user_named(user, pattern, from)
            } else if groups.iter().any(|group| pattern::matches(group, pattern)) {
                Named::Yes
            } else {
                Named::No
            }
        };
        let patterns: Vec<&str> = settings.all(&keyword.to_ascii_lowercase()).collect();
        let first = |wanted| patterns.iter().find(|pattern| named(pattern) == wanted);
        let rule = |pattern: &str| AdmissionRule {
            keyword,
            pattern: pattern.to_owned(),
        };
        match (first(Named::Yes), first(Named::ByAddress)) {
            (Some(pattern), _) if !allows => return Admission::ShutsOut(rule(pattern)),
            (Some(_), _) => {}
            (None, Some(pattern)) => depends = depends.or_else(|| Some(rule(pattern))),
            (None, None) if allows && !patterns.is_empty() => return Admission::ShutsOut(rule(&patterns.join(" "))),
            (None, None) => {}
        }
    }
    depends.map_or(Admission::LetsIn, Admission::DependsOnAddress)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Named {
    Yes,
    No,
    ByAddress,
}

/// `!` has no meaning here before the name: sshd takes it for a character of it.
fn user_named(user: &str, pattern: &str, from: Option<IpAddr>) -> Named {
    // sshd takes the first @ before OpenSSH 9.8 and the last one since then; no name of ours has one.
    let (name, host) = match pattern.split_once('@') {
        Some((name, host)) => (name, Some(host)),
        None => (pattern, None),
    };
    match (pattern::matches(user, name), host, from) {
        (false, _, _) => Named::No,
        (true, None, _) => Named::Yes,
        (true, Some(_), None) => Named::ByAddress,
        (true, Some(hosts), Some(from)) if pattern::list_names_address(hosts, from) => Named::Yes,
        (true, Some(_), Some(_)) => Named::No,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn says(text: &str) -> String {
        says_from(text, None)
    }

    fn says_from(text: &str, from: Option<&str>) -> String {
        let groups = ["alice", "keymaker-users", "devs"].map(str::to_owned);
        let from = from.map(|address| address.parse().unwrap());
        match admits(&SshdSettings::parse(text), "alice", &groups, from) {
            Admission::LetsIn => "in".to_owned(),
            Admission::ShutsOut(AdmissionRule { keyword, pattern }) => format!("out: {keyword} {pattern}"),
            Admission::DependsOnAddress(AdmissionRule { keyword, pattern }) => format!("depends: {keyword} {pattern}"),
        }
    }

    #[test]
    fn the_four_lists_decide_as_sshd_goes_through_them() {
        for (text, said) in [
            ("", "in"),
            ("denyusers bob\ndenyusers ali*", "out: DenyUsers ali*"),
            ("denyusers bob", "in"),
            ("denyusers !alice", "in"),
            ("allowusers bob\nallowusers carol", "out: AllowUsers bob carol"),
            ("allowusers bob\nallowusers a?ice", "in"),
            ("allowusers !bob", "out: AllowUsers !bob"),
            ("allowusers alice\ndenyusers *", "out: DenyUsers *"),
            ("denygroups wheel\ndenygroups dev*", "out: DenyGroups dev*"),
            ("allowgroups wheel\nallowgroups adm", "out: AllowGroups wheel adm"),
            ("allowgroups wheel\nallowgroups keymaker-users", "in"),
            ("allowgroups domain users", "out: AllowGroups domain users"),
            ("allowusers alice\nallowgroups wheel", "out: AllowGroups wheel"),
            ("denyusers alice@10.*", "depends: DenyUsers alice@10.*"),
            ("denyusers bob@10.*", "in"),
            ("allowusers alice@10.0.0.0/8", "depends: AllowUsers alice@10.0.0.0/8"),
            ("allowusers alice@10.0.0.0/8\nallowusers alice", "in"),
            // What shuts out from everywhere is more than what does from somewhere.
            ("denyusers alice@10.*\nallowgroups wheel", "out: AllowGroups wheel"),
        ] {
            assert_eq!(says(text), said, "{text}");
        }
    }

    #[test]
    fn about_one_address_nothing_is_left_open() {
        for (text, from, said) in [
            ("denyusers alice@10.*", "10.1.2.3", "out: DenyUsers alice@10.*"),
            ("denyusers alice@10.*", "11.1.2.3", "in"),
            ("allowusers alice@10.0.0.0/8", "10.1.2.3", "in"),
            (
                "allowusers alice@10.0.0.0/8",
                "2001:db8::1",
                "out: AllowUsers alice@10.0.0.0/8",
            ),
            (
                "allowusers bob@10.0.0.0/8",
                "10.1.2.3",
                "out: AllowUsers bob@10.0.0.0/8",
            ),
            (
                "denyusers *@2001:db8::/32",
                "2001:db8::1",
                "out: DenyUsers *@2001:db8::/32",
            ),
        ] {
            assert_eq!(says_from(text, Some(from)), said, "{text} from {from}");
        }
    }
}
