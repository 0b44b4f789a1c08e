//! The gate at PAM: its account stack for sshd is asked, its session stack is read. Called by [`super::run`] for a user
//! whom sshd takes.

use std::fs;
use std::net::IpAddr;
use std::path::Path;

use keymaker_core::directory_file::User;

use super::super::probe::pam::rehearsal::{self, StackSays};
use super::super::probe::pam::{self, PamLine};
use super::super::probe::{self, sshd::SshdSettings};
use super::{Shut, Walk};

const GATE: &str = "pam";
const LIMITS: &str = "/etc/security/limits.conf";

/// Walks it.
pub(super) fn lets(
    walk: &mut Walk,
    user: &User<'_>,
    settings: Option<&SshdSettings>,
    from: Option<IpAddr>,
) -> Result<(), Shut> {
    if settings.is_some_and(|settings| settings.get("usepam") != Some("yes")) {
        walk.open(
            GATE,
            "sshd does not ask PAM (UsePAM no), so nobody makes the user a home: keymaker doctor",
        );
        return Ok(());
    }
    if !probe::is_root() {
        walk.untold(GATE, "only root can ask PAM");
        return Ok(());
    }
    let mut doubts = Vec::new();
    let unasked = rehearsal::not_asked();
    doubts.extend(
        unasked
            .iter()
            .map(|line| format!("{} may change something, so it is not asked", line.module_name())),
    );
    let origins = from.map_or_else(origins, |address| vec![address.to_string()]);
    match rehearsal::ask(user.name.as_str(), &origins) {
        Ok(StackSays::LetsIn) => {}
        Ok(StackSays::DependsOnAddress) => {
            doubts.push("it depends on where the login comes from (keymaker why --from ADDRESS says more)".to_owned())
        }
        // What is not asked counts as passed, and could lead past the line that refuses.
        Ok(StackSays::Refuses(..)) if unasked.iter().any(PamLine::may_jump) => {}
        Ok(StackSays::Refuses(module, words)) => return refused(walk, module.as_deref(), &words),
        Err(why) => doubts.push(format!("the account stack of sshd could not be asked: {why}")),
    }
    let session = pam::stack(Path::new("/etc/pam.d"), "sshd", "session");
    if let Some(line) = pam::refuses_everybody(&session) {
        let why = format!(
            "the session stack of sshd refuses everybody: {} {}",
            line.control, line.module
        );
        return walk.closed(
            GATE,
            why,
            "grep -rn pam_deny /etc/pam.d  # and take the line out of sshd's stack",
        );
    }
    doubts.extend(session_doubts(&session));
    if !doubts.is_empty() {
        walk.untold(GATE, doubts.join("; "));
        return Ok(());
    }
    // Whoever is refused by it is refused above; to others it does no harm that it is not asked.
    let stacks = [("account", rehearsal::account_lines()), ("session", session)];
    let defeated = stacks
        .iter()
        .find_map(|(kind, lines)| Some((kind, pam::what_defeats_us(lines)?)));
    let note = defeated.map_or(String::new(), |(kind, defeat)| {
        let said = defeat.said();
        format!("; but the {kind} stack does not obey pam_keymaker.so, since {said}: keymaker doctor")
    });
    walk.open(GATE, format!("the account stack of sshd lets the user in{note}"));
    Ok(())
}

fn refused(walk: &mut Walk, module: Option<&str>, words: &str) -> Result<(), Shut> {
    let Some(module) = module else {
        let why = format!("the account stack of sshd refuses the user: {words}");
        return walk.closed(
            GATE,
            why,
            "grep -n account /etc/pam.d/sshd  # and the files that it includes",
        );
    };
    let remedy = match module {
        "pam_nologin.so" => "rm -f /etc/nologin /run/nologin".to_owned(),
        "pam_access.so" => "let the user in by a line of /etc/security/access.conf".to_owned(),
        "pam_time.so" => "let the user in by a line of /etc/security/time.conf, or wait".to_owned(),
        _ => format!("grep -rn {module} /etc/pam.d  # shows what it goes by"),
    };
    walk.closed(GATE, format!("{module} refuses the user: {words}"), remedy)
}

/// Addresses by which `pam_access` could decide: two that no rule is likely to name, and what its rules name.
fn origins() -> Vec<String> {
    const MOST: usize = 30;
    let mut origins = vec!["127.0.0.1".to_owned(), "192.0.2.1".to_owned()];
    let lines = rehearsal::account_lines();
    for line in lines.iter().filter(|line| line.module_name() == "pam_access.so") {
        let named = line
            .arguments
            .split_whitespace()
            .find_map(|argument| argument.strip_prefix("accessfile="));
        let file = Path::new(named.unwrap_or("/etc/security/access.conf"));
        let text = file
            .is_file()
            .then(|| fs::read_to_string(file))
            .and_then(Result::ok)
            .unwrap_or_default();
        let rules = text.lines().filter(|rule| !rule.trim_start().starts_with('#'));
        let named = rules
            .filter_map(|rule| rule.splitn(3, ':').nth(2))
            .flat_map(str::split_whitespace);
        origins.extend(named.filter_map(origin_in));
    }
    origins.dedup();
    origins.truncate(MOST);
    origins
}

/// An address that a word of access.conf(5) names; `None` for a terminal or a keyword.
fn origin_in(word: &str) -> Option<String> {
    let (address, _) = word.split_once('/').unwrap_or((word, ""));
    if address.starts_with('.') {
        return Some(format!("host{address}"));
    }
    if let Some(network) = address.strip_suffix('.') {
        let missing = 3_usize.checked_sub(network.matches('.').count())?;
        return Some(format!("{network}{}", ".0".repeat(missing)));
    }
    let is_address = address.contains('.') || address.contains("::");
    is_address.then(|| address.to_owned())
}

/// What a session may end at, and cannot be asked without opening one.
fn session_doubts(session: &[PamLine]) -> Vec<String> {
    let unknown = session
        .iter()
        .filter(|line| !line.is_optional() && !pam::is_known_in_sessions(line));
    let mut doubts: Vec<String> = unknown
        .map(|line| format!("{} could end the session", line.module_name()))
        .collect();
    doubts.dedup();
    let counts_logins = session
        .iter()
        .any(|line| line.module_name() == "pam_limits.so")
        .then(limit_of_logins);
    doubts.extend(counts_logins.flatten());
    doubts
}

/// A line of limits.conf(5) that allows so many logins and no more.
fn limit_of_logins() -> Option<String> {
    let folder = fs::read_dir("/etc/security/limits.d").into_iter().flatten().flatten();
    let files = folder.map(|entry| entry.path()).chain([LIMITS.into()]);
    let is_limit = |line: &str| {
        let mut words = line.split_whitespace().take_while(|word| !word.starts_with('#'));
        matches!(words.nth(2), Some("maxlogins" | "maxsyslogins"))
    };
    for file in files {
        let text = fs::read_to_string(&file).unwrap_or_default();
        if let Some(line) = text.lines().find(|line| is_limit(line)) {
            return Some(format!("{} counts logins: {}", file.display(), line.trim()));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_networks_of_access_conf_are_asked_about_and_terminals_are_not() {
        let origin = |word| origin_in(word).unwrap_or_default();
        assert_eq!(origin("10.1.0.0/16"), "10.1.0.0");
        assert_eq!(
            (origin("10.1."), origin("2001:db8::/32")),
            ("10.1.0.0".into(), "2001:db8::".into())
        );
        assert_eq!(origin(".example.org"), "host.example.org");
        for word in ["ALL", "LOCAL", "tty1", ":0", "cron", "EXCEPT"] {
            assert_eq!(origin(word), "", "{word}");
        }
    }
}
