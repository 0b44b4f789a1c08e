//! Whether logins go by us: PAM stacks, sshd's settings with its command line, what a predecessor left.

use std::path::Path;
use std::time::{Duration, Instant};

use keymaker_core::directory_file::Verdict;
use keymaker_core::local_files::members_named_by;
use keymaker_core::paths;

use super::super::install::authselect;
use super::super::migrate::ec2userkeyd;
use super::super::probe::sshd::admission::{Admission, admits_user};
use super::super::probe::sshd::{self, Started, configuration};
use super::super::probe::{local_line, pam, run};
use super::super::published::{of_each_published, published_names};
use super::super::remedy::NEW_DROP_IN;
use super::finding::FaultCause;
use super::{Findings, JOIN, penalties, proofs, typed_names};

const DROP_IN: &str = "/etc/ssh/sshd_config.d/50-keymaker.conf";

/// What stands first counts, and above every Match for everybody. An sshd before 8.2 may not know the word, and would not start with it.
const INCLUDE: &str = "(echo 'Include /etc/ssh/sshd_config.d/*.conf'; cat /etc/ssh/sshd_config) | sshd -t -f /dev/stdin && \
     sed -i '1i Include /etc/ssh/sshd_config.d/*.conf' /etc/ssh/sshd_config && sshd -t && systemctl reload ssh";

/// Looks at how users get in.
pub fn look(found: &mut Findings) {
    pam_stacks(found);
    sshd_settings(found);
    nologin(found);
    predecessor(found);
    typed_names::look(found);
}

fn pam_stacks(found: &mut Findings) {
    let stacks = [
        (
            "account",
            "/etc/pam.d/common-account",
            "PAM lets in users who may not log in (required group, deleted, stale)",
        ),
        (
            "session",
            "/etc/pam.d/common-session /etc/pam.d/common-session-noninteractive",
            "IAM users get no home, and a key that is not the user's goes unnoticed",
        ),
    ];
    // Where no such program puts our lines together, they are the administrator's.
    let pam_auth_update = Path::new("/usr/sbin/pam-auth-update").exists();
    for (kind, common, why) in stacks {
        if let Some(defeat) = pam::what_defeats_us(&pam::stack(Path::new("/etc/pam.d"), "sshd", kind)) {
            found.fault(
                format!(
                    "the {kind} stack of sshd does not obey pam_keymaker.so: {}",
                    defeat.said()
                ),
                why,
                match defeat {
                    _ if authselect::rules() => JOIN.to_owned(),
                    pam::Defeat::DecidedBefore(_) if pam_auth_update => {
                        format!("sed -i '1i {kind} {} pam_keymaker.so' /etc/pam.d/sshd", pam::CONTROL)
                    }
                    // Not by pam-auth-update: it leaves stacks alone that were edited by hand, and its --force loses what
                    // was edited.
                    _ => format!(
                        "sed -i --follow-symlinks -e '1i {kind} {} pam_keymaker.so' -e '/^-\\?{kind}.*pam_keymaker/d' {}",
                        pam::CONTROL,
                        if pam_auth_update { common } else { "/etc/pam.d/sshd" }
                    ),
                },
            );
        }
    }
    let folders = ["x86_64-linux-gnu/security", "aarch64-linux-gnu/security", "security"];
    let places = folders.iter().flat_map(|folder| {
        [
            format!("/usr/lib/{folder}"),
            format!("/lib/{folder}"),
            format!("/lib64/{folder}"),
        ]
    });
    if !places
        .into_iter()
        .any(|folder| Path::new(&folder).join("pam_keymaker.so").exists())
    {
        found.fault(
            "pam_keymaker.so is in no folder where libpam looks",
            "the PAM stacks skip it: they refuse nobody, and nobody gets a home",
            "apt-get install -y --reinstall libpam-keymaker",
        );
    }
}

fn sshd_settings(found: &mut Findings) {
    let options = match started() {
        Ok(Started::Listening(options) | Started::AtAConnection(options)) => options,
        Ok(Started::Not) => {
            found
                .fault("sshd does not run", "nobody can log in", "systemctl enable --now ssh")
                .is(FaultCause::Sshd);
            return;
        }
        Err(why) => {
            found.note(format!("sshd's settings cannot be determined: {why}"));
            return;
        }
    };
    if let Err(why) = run("/usr/sbin/sshd", &["-t"]) {
        let remedy = match bad_line(&why) {
            Some((file, line)) => format!(
                "sed -i '{line}s/^/#/' {file}; sshd -t && systemctl reload ssh  # or correct the line; as a comment it has no effect"
            ),
            None => "sshd -t && systemctl reload ssh  # after correcting what it names".to_owned(),
        };
        let what = format!("sshd does not accept its configuration: {why}");
        let why = "sshd does not come back after the next restart or boot";
        found.fault(what, why, remedy).is(FaultCause::Sshd);
        return;
    }
    let Some(user) = published_names().ok().and_then(|names| names.into_iter().next()) else {
        return;
    };
    let settings = match sshd::effective(&user, None, &options) {
        Ok(settings) => settings,
        Err(why) => {
            let what = format!("sshd -T fails: {why}");
            found.fault(what, "its settings cannot be determined", "sshd -T");
            return;
        }
    };
    let wrong = sshd::wrong(&settings);
    let keyless = settings
        .get("authorizedkeyscommand")
        .is_none_or(|command| command == "none");
    let missing = wrong.iter().any(|(keyword, ..)| *keyword == "authorizedkeyscommand");
    if !missing && configuration::of(&options).reads_for_everybody(Path::new(DROP_IN)) == Some(false) {
        found.fault(
            "sshd_config includes /etc/ssh/sshd_config.d below a Match, and so for some logins only",
            "for the others keys in IAM let nobody log in, but keys in a home do",
            INCLUDE,
        );
    }
    for (keyword, is, right) in wrong {
        let ours = matches!(
            keyword,
            "authorizedkeyscommanduser" | "authorizedkeysfile" | "trustedusercakeys" | "authenticationmethods"
        );
        if missing && ours {
            continue;
        }
        found.fault(
            format!("sshd has {keyword} {is} for IAM users, not {right}"),
            match keyword {
                "usepam" if keyless => {
                    "IAM users get no keys and cannot log in: without PAM nothing refuses users who may not log in, \
                    or makes a home"
                }
                "usepam" => {
                    "PAM refuses nobody, and nobody gets a home: a refused user's key runs what is in their \
                    home"
                }
                "pubkeyauthentication" => "no key lets anybody log in",
                "authorizedkeyscommand" => "keys in IAM let nobody log in, but keys in a home do",
                _ => "something other than a key from IAM lets them log in",
            },
            remedy_for(keyword, &options),
        )
        .of(&[FaultCause::Accounts, FaultCause::Published, FaultCause::Names]);
    }
    penalties::look(&settings, found);
    proofs::at_sshd(found, &settings, &options);
    admission(found, &options);
}

/// Users whom sshd is asked about: each takes it some milliseconds.
const ASKED_ABOUT: usize = 10;

/// `AllowUsers` and its like. That some are shut out may be wanted; that nobody gets in is not.
fn admission(found: &mut Findings, options: &[String]) {
    let users = of_each_published(|user| (user.verdict == Verdict::Allowed).then(|| user.name.to_string()));
    let users: Vec<String> = users.into_iter().flatten().flatten().collect();
    let mut shut_out = Vec::new();
    for user in users.iter().take(ASKED_ABOUT) {
        let settings = sshd::effective(user, None, options).ok();
        match settings.and_then(|settings| admits_user(&settings, user, None).ok()) {
            Some(Admission::ShutsOut(rule)) => shut_out.push((user.clone(), rule)),
            _ => return,
        }
    }
    let Some((_, rule)) = shut_out.first() else { return };
    let names: Vec<String> = shut_out.iter().map(|(user, _)| user.clone()).collect();
    let (why, remedy) = rule.said(&configuration::of(options).lines, &names);
    found
        .fault(
            format!("sshd shuts out IAM users: {why}"),
            "nobody from IAM can log in, whatever IAM says",
            remedy,
        )
        .of(&[FaultCause::Accounts, FaultCause::Published, FaultCause::Names]);
}

/// The file and the line of which sshd complains: `FILE: line 3: …` or `FILE line 3: …`.
fn bad_line(why: &str) -> Option<(&str, &str)> {
    let (before, after) = why.split_once(" line ")?;
    let file = before.rsplit([' ', ';']).next()?;
    let file = file.strip_suffix(':').unwrap_or(file);
    let line = after.split(|c: char| !c.is_ascii_digit()).next()?;
    (file.starts_with('/') && !line.is_empty()).then_some((file, line))
}

/// `pam_nologin(8)`: while one of them is there, only root gets in.
fn nologin(found: &mut Findings) {
    let files = [
        ("/etc/nologin", "rm /etc/nologin"),
        (
            "/run/nologin",
            "systemctl restart systemd-user-sessions; rm -f /run/nologin",
        ),
    ];
    let stack = pam::stack(Path::new("/etc/pam.d"), "sshd", "account");
    let asked = stack.iter().any(|line| line.module.ends_with("pam_nologin.so"));
    for (file, remedy) in files.into_iter().filter(|(file, _)| asked && Path::new(file).exists()) {
        found.fault(
            format!("{file} is there"),
            "sshd lets nobody in but root: that is meant for the time of a boot, a shutdown or an administrator's work",
            remedy,
        );
    }
}

/// A reload is a moment without a listener.
fn started() -> Result<Started, String> {
    const MOMENT: Duration = Duration::from_secs(1);
    let until = Instant::now() + MOMENT;
    loop {
        match sshd::started() {
            Ok(Started::Not) if Instant::now() < until => std::thread::sleep(MOMENT / 20),
            known => return known,
        }
    }
}

fn remedy_for(keyword: &str, options: &[String]) -> String {
    if options
        .iter()
        .any(|option| option.to_ascii_lowercase().contains(&format!("{keyword}=")))
    {
        return "systemctl revert ssh; systemctl restart ssh  # the option is on sshd's command line".to_owned();
    }
    match keyword {
        "usepam" | "pubkeyauthentication" if sshd_config_says(keyword) => {
            // With PAM, the drop-in gives keys again.
            format!(
                "sed -i -E 's/^[[:space:]]*{keyword}[[:space:]=]+\"?no\"?/{keyword} yes/I' /etc/ssh/sshd_config \
                 /etc/ssh/sshd_config.d/*.conf && {NEW_DROP_IN}"
            )
        }
        // Without a word, sshd does without PAM; what stands first counts.
        "usepam" => format!("sed -i '1i UsePAM yes' /etc/ssh/sshd_config && {NEW_DROP_IN}"),
        "authorizedkeyscommand" if Path::new(DROP_IN).exists() && !drop_in_counts(options) => INCLUDE.to_owned(),
        _ => match rival(keyword) {
            Some(file) => {
                format!(
                    "sed -i -E 's/^[[:space:]]*{keyword}(user)?[[:space:]=]/#&/I' {file} && sshd -t && systemctl reload ssh"
                )
            }
            None => NEW_DROP_IN.to_owned(),
        },
    }
}

fn sshd_config_says(keyword: &str) -> bool {
    let folder = std::fs::read_dir("/etc/ssh/sshd_config.d")
        .into_iter()
        .flatten()
        .flatten();
    let files = folder.map(|entry| entry.path()).chain(["/etc/ssh/sshd_config".into()]);
    let mut texts = files.filter_map(|file| std::fs::read_to_string(file).ok());
    texts.any(|text| {
        let mut lines = text.lines().map(str::trim_start);
        lines.any(|line| {
            line.get(..keyword.len())
                .is_some_and(|word| word.eq_ignore_ascii_case(keyword))
        })
    })
}

/// The file whose Match block sets this before ours, where ours is as it was made: the first that matches counts
/// (`sshd_config(5)`).
fn rival(keyword: &str) -> Option<String> {
    let lines = |file: &Path| std::fs::read_to_string(file).unwrap_or_default();
    let sets = |line: &str| {
        line.split([' ', '\t', '='])
            .find(|word| !word.is_empty())
            .is_some_and(|word| word.eq_ignore_ascii_case(keyword))
    };
    let made = lines(Path::new("/usr/share/keymaker/50-keymaker.conf"));
    let wanted = made.lines().find(|line| sets(line))?;
    lines(Path::new(DROP_IN)).lines().find(|line| *line == wanted)?;
    let folder = std::fs::read_dir("/etc/ssh/sshd_config.d").ok()?;
    let mut files: Vec<_> = folder.flatten().map(|entry| entry.path()).collect();
    files.push("/etc/ssh/sshd_config".into());
    let in_match = |file: &&std::path::PathBuf| {
        let text = lines(file);
        let block = text
            .lines()
            .skip_while(|line| !line.trim_start().to_ascii_lowercase().starts_with("match "));
        block.skip(1).any(sets)
    };
    let mut others = files.iter().filter(|file| file.as_path() != Path::new(DROP_IN));
    others.find(in_match).map(|file| file.display().to_string())
}

/// Whether sshd reads our drop-in for every login.
fn drop_in_counts(options: &[String]) -> bool {
    configuration::of(options).reads_for_everybody(Path::new(DROP_IN)) == Some(true)
}

/// The Python keymaker's, which answers in our place.
fn predecessor(found: &mut Findings) {
    let left = [
        ("/etc/pam.d/sshd", "keymaker-create-account"),
        ("/etc/cron.d/keymaker-group-sync", "keymaker"),
        ("/etc/ssh/sshd_config", "keymaker-get-public-keys"),
    ];
    for (file, mark) in left {
        if std::fs::read_to_string(file).is_ok_and(|text| text.contains(mark)) {
            found.fault(
                format!("{file} still has what the Python keymaker put there"),
                "it makes local accounts, which win over the users from IAM",
                "keymaker migrate",
            );
        }
    }
    if !ec2userkeyd::rules().is_empty() {
        found.fault(
            "iptables still has ec2userkeyd's rules for 169.254.169.254",
            "each user's request for credentials goes to its port, where credd does not answer",
            "keymaker migrate",
        );
    }
    if let Some(line) = local_line(paths::GROUP, paths::KEYMAKER_USERS) {
        for member in members_named_by(line.as_bytes()).1.map(String::from_utf8_lossy) {
            found.fault(
                format!("{member} is in keymaker-users by /etc/group"),
                "sshd takes this local user for one from IAM, and does not accept their own keys",
                format!("gpasswd -d {member} {}", paths::KEYMAKER_USERS),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_of_which_sshd_complains_is_read_from_both_spellings() {
        for (why, at) in [
            (
                "/etc/ssh/sshd_config.d/00-x.conf: line 3: Bad configuration option: Nonsense; /etc/ssh/sshd_config.d/00-x.conf: terminating",
                Some(("/etc/ssh/sshd_config.d/00-x.conf", "3")),
            ),
            (
                "Deprecated option; /etc/ssh/sshd_config line 12: unsupported option \"maybe\".",
                Some(("/etc/ssh/sshd_config", "12")),
            ),
            ("sshd: no hostkeys available -- exiting.", None),
            ("a line 4 of nothing", None),
        ] {
            assert_eq!(bad_line(why), at, "{why}");
        }
    }
}
