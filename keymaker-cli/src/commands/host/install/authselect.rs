//! Enterprise Linux: PAM stacks and nsswitch.conf are authselect's, which writes them from the profile that is
//! selected. Ours is a copy of the one that was selected, with our lines in it. Nothing else of authselect's is ever
//! edited, and what was changed by hand is kept.

use std::fs;
use std::path::{Path, PathBuf};

use keymaker_core::nsswitch;

use super::super::probe::{pam::CONTROL, run};
use super::files;

const PROFILES: &str = "/etc/authselect/custom";
const OURS: &str = "custom/keymaker";
const STACKS: [&str; 2] = ["system-auth", "password-auth"];
const DATABASES: [&str; 3] = ["passwd", "group", "initgroups"];
/// The profile that ours was made of, in the first word.
const FORMER: &str = "/var/lib/keymaker-install/authselect";
/// What in a template makes the whole line, or what comes after it, conditional (authselect-profiles(5)).
const CONDITIONS: [&str; 5] = ["{continue if ", "{stop if ", "{include if ", "{exclude if ", "{imply "];

/// Whether authselect is installed.
pub fn is_here() -> bool {
    Path::new("/usr/bin/authselect").exists()
}

/// Whether authselect writes nsswitch.conf and the PAM stacks here: a profile is selected.
pub fn rules() -> bool {
    is_here() && Path::new("/etc/authselect/authselect.conf").exists()
}

/// Whether [`join`] made a profile that [`part`] has not taken back.
pub fn has_joined() -> bool {
    Path::new(FORMER).exists()
}

/// The profile selected in place of ours, where authselect rules.
pub fn other_profile() -> Option<String> {
    let selected = rules().then(selected)?.ok()?;
    (selected.profile != OURS).then_some(selected.profile)
}

/// Selects a copy of the present profile that has our lines; where ours is selected already, a copy of what that was
/// made of.
pub fn join() -> Result<(), String> {
    let present = selected().map_err(|why| {
        format!("authselect has no profile selected ({why}): select one that 'authselect list' names, then try again")
    })?;
    let base = if present.profile == OURS {
        former().ok_or_else(|| {
            format!("{FORMER} does not say which profile {OURS} was made of: select that one with authselect, then try again")
        })?
    } else {
        present.profile
    };
    // Before ours goes, which may be the one selected.
    run("authselect", &["show", &base])?;
    files::remove_folder(&folder())?;
    run("authselect", &["create-profile", "keymaker", "-b", &base])?;
    // PAM first: where this breaks off, no name may resolve whom PAM does not judge.
    for stack in STACKS {
        edit(stack, with_our_lines)?;
    }
    edit("nsswitch.conf", names_with_us)?;
    files::write(Path::new(FORMER), format!("{base}\n").as_bytes(), 0o644)?;
    select(OURS, &present.features)?;
    in_force().or_else(|why| {
        select(&base, &present.features)?;
        Err(format!(
            "{why} even with Keymaker's profile, so authselect's {base} is selected again"
        ))
    })
}

/// Selects what ours was made of, with the features of now; what somebody selected in place of ours stays.
pub fn part() -> Result<(), String> {
    let Some(former) = former() else {
        return Ok(());
    };
    let selected = rules().then(selected).transpose()?;
    if let Some(features) = selected.and_then(Selected::features_of_ours) {
        select(&former, &features)?;
    }
    files::remove_folder(&folder())?;
    files::remove(Path::new(FORMER))
}

/// What authselect writes from.
#[derive(Debug, PartialEq, Eq)]
struct Selected {
    profile: String,
    features: Vec<String>,
}

fn selected() -> Result<Selected, String> {
    Ok(Selected::parse(&run("authselect", &["current", "--raw"])?))
}

impl Selected {
    /// Of `authselect current --raw`: the profile and its features, in one line.
    fn parse(raw: &str) -> Self {
        let mut words = raw.split_whitespace().map(str::to_owned);
        Self {
            profile: words.next().unwrap_or_default(),
            features: words.collect(),
        }
    }

    fn features_of_ours(self) -> Option<Vec<String>> {
        (self.profile == OURS).then_some(self.features)
    }
}

fn former() -> Option<String> {
    let text = fs::read_to_string(FORMER).ok()?;
    text.split_whitespace().next().map(str::to_owned)
}

fn folder() -> PathBuf {
    Path::new(PROFILES).join("keymaker")
}

fn edit(name: &str, edit: fn(&str) -> String) -> Result<(), String> {
    let path = folder().join(name);
    let text = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    files::write(&path, edit(&text).as_bytes(), 0o644)
}

/// Not where authselect finds that its files were changed by hand: from 1.5 on, it overwrites them without --force too.
fn select(profile: &str, features: &[String]) -> Result<(), String> {
    run("authselect", &["check"]).map_err(|why| {
        format!("authselect's files were changed by hand, and selecting {profile} would overwrite them: {why}: undo or keep them ('man authselect'), then try again")
    })?;
    let features = features.iter().map(String::as_str);
    let arguments: Vec<_> = ["select", profile].into_iter().chain(features).collect();
    run("authselect", &arguments).map(|_| ())
}

/// keymaker where it belongs in each line of a template for nsswitch.conf.
fn names_with_us(template: &str) -> String {
    let with_us = |line: &str| {
        if !DATABASES
            .iter()
            .any(|database| nsswitch::raw_line(line, database).is_some())
        {
            return format!("{line}\n");
        }
        let conditions = CONDITIONS.iter().filter_map(|condition| line.find(condition));
        let (services, condition) = line.split_at(conditions.min().unwrap_or(line.len()));
        let services = nsswitch::with_keymaker(services.trim_end());
        let gap = if condition.is_empty() { "" } else { " " };
        format!("{services}{gap}{condition}\n")
    };
    template.lines().map(with_us).collect()
}

/// Account before the first line that could end the stack, session after the last.
fn with_our_lines(text: &str) -> String {
    let line = |kind: &str| format!("{kind:<11} {CONTROL} pam_keymaker.so");
    let is = |kind: &'static str| move |line: &&str| line.trim_start_matches('-').starts_with(kind);
    let mut lines: Vec<&str> = text.lines().filter(|line| !line.contains("pam_keymaker.so")).collect();
    let (account, session) = (line("account"), line("session"));
    let last = lines
        .iter()
        .rposition(|line| is("session")(line))
        .map_or(lines.len(), |at| at + 1);
    lines.insert(last, &session);
    let first = lines.iter().position(|line| is("account")(line)).unwrap_or(0);
    lines.insert(first, &account);
    lines.into_iter().map(|line| format!("{line}\n")).collect()
}

/// Whether what authselect wrote has us: a profile may take a line from elsewhere, or have words that nobody foresaw.
fn in_force() -> Result<(), String> {
    let text = |path: String| fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"));
    names_lack(&text("/etc/nsswitch.conf".to_owned())?).map_or(Ok(()), Err)?;
    for stack in STACKS {
        if !text(format!("/etc/pam.d/{stack}"))?.contains("pam_keymaker.so") {
            return Err(format!("/etc/pam.d/{stack} does not name pam_keymaker.so"));
        }
    }
    Ok(())
}

/// The first line of an nsswitch.conf in which glibc would not ask us, or not in our place.
fn names_lack(text: &str) -> Option<String> {
    let wrong = |database: &&str| match nsswitch::raw_line(text, database) {
        Some(line) => nsswitch::with_keymaker(line) != line,
        // Without a line initgroups, the line group decides.
        None => *database != "initgroups",
    };
    let database = DATABASES.into_iter().find(|database| wrong(database))?;
    Some(format!(
        "the line {database} of /etc/nsswitch.conf lacks keymaker in its place (where it comes from \
         /etc/authselect/user-nsswitch.conf, put it there)"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keymaker_joins_the_names_of_every_profile_of_authselect() {
        // What the profiles say, from authselect 1.2 (Enterprise Linux 8 and 9) to 1.7, with and without each feature;
        // and one of one's own.
        let sssd = "{if \"with-files-domain\":sss files|files sss} systemd";
        let tlog = "{if \"with-tlog\":sss }files {if \"with-altfiles\":altfiles }{if not \"with-tlog\":sss }systemd";
        let merging =
            "files [SUCCESS=merge] {if \"with-altfiles\":altfiles [SUCCESS=merge] }winbind [SUCCESS=merge] systemd";
        for (before, after) in [
            (
                format!("passwd:     {sssd}   {{exclude if \"with-custom-passwd\"}}"),
                format!("passwd:     {sssd} keymaker {{exclude if \"with-custom-passwd\"}}"),
            ),
            (format!("group:      {tlog}"), format!("group:      {tlog} keymaker")),
            (format!("group: {merging}"), format!("group: {merging} keymaker")),
            (
                "initgroups: files nis  {exclude if \"with-custom-initgroups\"}".to_owned(),
                "initgroups: files [SUCCESS=continue] nis keymaker {exclude if \"with-custom-initgroups\"}".to_owned(),
            ),
            (
                "passwd: files {continue if \"with-more\"}".to_owned(),
                "passwd: files keymaker {continue if \"with-more\"}".to_owned(),
            ),
            (
                "sudoers:    files sss           {include if \"with-sudo\"}".to_owned(),
                "sudoers:    files sss           {include if \"with-sudo\"}".to_owned(),
            ),
        ] {
            assert_eq!(names_with_us(&before), format!("{after}\n"));
            assert_eq!(names_with_us(&after), format!("{after}\n"));
        }
    }

    #[test]
    fn an_nsswitch_conf_without_us_is_never_called_joined() {
        let joined = "passwd: files systemd keymaker\ngroup: files [SUCCESS=merge] systemd keymaker\n";
        assert_eq!(names_lack(joined), None);
        for lacking in [
            "",
            "passwd: files systemd\ngroup: files keymaker\n",
            "passwd: files keymaker\n",
            // Added since.
            "passwd: files keymaker\ngroup: files keymaker\npasswd: files\n",
            // Rendered from a word that we had put into an operator, or behind one.
            "passwd: keymaker sss files systemd\ngroup: files keymaker\n",
        ] {
            assert!(names_lack(lacking).is_some(), "{lacking}");
        }
        assert!(names_lack(&format!("{joined}initgroups: files keymaker\n")).is_some());
    }

    #[test]
    fn what_was_selected_after_ours_stays_selected() {
        let later = Selected::parse("winbind with-mkhomedir");
        assert_eq!(later.features_of_ours(), None);
        let ours = Selected::parse("custom/keymaker with-faillock with-mkhomedir\n");
        assert_eq!(ours.features_of_ours().unwrap(), ["with-faillock", "with-mkhomedir"]);
        assert_eq!(Selected::parse("sssd").features, [""; 0]);
    }

    #[test]
    fn our_lines_stand_where_nothing_ends_the_stack_before_them() {
        let text = "auth required pam_env.so\naccount required pam_unix.so\naccount sufficient pam_localuser.so\n\
                    session optional pam_keyinit.so revoke\n-session optional pam_systemd.so\n";
        let lines = with_our_lines(text);
        let modules: Vec<&str> = lines.lines().filter_map(|line| line.split("pam_").nth(1)).collect();
        assert_eq!(
            modules,
            [
                "env.so",
                "keymaker.so",
                "unix.so",
                "localuser.so",
                "keyinit.so revoke",
                "systemd.so",
                "keymaker.so"
            ]
        );
        assert!(
            lines
                .lines()
                .filter(|line| line.contains("pam_keymaker.so"))
                .all(|line| line.contains(CONTROL))
        );
        assert_eq!(with_our_lines(&lines), lines);
    }
}
