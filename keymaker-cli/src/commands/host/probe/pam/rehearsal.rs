//! What PAM's account stack of sshd says about a user, by asking it: with a copy of the stack in which only modules are
//! left that look and change nothing. No session is opened, and nothing is logged (`pam-account`).

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::super::{limited_to, output_of};
use super::{Entry, PamLine, entries, stack};

const PROGRAM: &str = "/usr/libexec/keymaker/pam-account";
const FOLDER: &str = "/etc/pam.d";
const SERVICE: &str = "sshd";
const ACCOUNT: &str = "account";
/// How long all modules together may take, in seconds: some ask a server.
const LONGEST: &str = "10";

/// Modules whose account hook looks and changes nothing.
const ASKED: [&str; 13] = [
    "pam_access.so",
    "pam_deny.so",
    "pam_listfile.so",
    "pam_localuser.so",
    "pam_nologin.so",
    "pam_permit.so",
    "pam_shells.so",
    "pam_sss.so",
    "pam_succeed_if.so",
    "pam_systemd_home.so",
    "pam_time.so",
    "pam_unix.so",
    "pam_usertype.so",
];
/// Those whose answer is success for whoever comes so far: our own, and the one that counts failures of others, sets
/// the count to nothing and refuses nobody (`pam_faillock(8)`).
const SUCCEEDING: [&str; 2] = ["pam_keymaker.so", "pam_faillock.so"];

/// What the stack says.
#[derive(Debug, PartialEq, Eq)]
pub enum StackSays {
    /// It lets the user in.
    LetsIn,
    /// It refuses: the module that does, where one alone does, and PAM's words.
    Refuses(Option<String>, String),
    /// It says different things for different addresses.
    DependsOnAddress,
}

/// Asks for a user who comes from each of these addresses. An error: nobody could be asked.
pub fn ask(user: &str, origins: &[String]) -> Result<StackSays, String> {
    let said = answers(user, origins, None)?;
    let refusal = said.iter().find(|answer| !answer.is_success());
    let Some(refusal) = refusal else {
        return Ok(StackSays::LetsIn);
    };
    if said.iter().any(PamAnswer::is_success) {
        return Ok(StackSays::DependsOnAddress);
    }
    let mut modules: Vec<String> = account_lines()
        .iter()
        .map(|line| line.module_name().to_owned())
        .collect();
    modules.dedup();
    let refuses = |module: &String| {
        let without = answers(user, origins, Some(module)).unwrap_or_default();
        !without.is_empty() && without.iter().all(PamAnswer::is_success)
    };
    let culprit = modules.into_iter().find(refuses);
    Ok(StackSays::Refuses(culprit, refusal.words.clone()))
}

/// The lines of the stack whose modules are not asked, since they may change something.
pub fn not_asked() -> Vec<PamLine> {
    let mut lines = account_lines();
    lines.retain(|line| !ASKED.contains(&line.module_name()) && !SUCCEEDING.contains(&line.module_name()));
    lines
}

/// The lines of the stack.
pub fn account_lines() -> Vec<PamLine> {
    stack(Path::new(FOLDER), SERVICE, ACCOUNT)
}

struct PamAnswer {
    code: u32,
    words: String,
}

impl PamAnswer {
    fn is_success(&self) -> bool {
        self.code == 0
    }
}

fn answers(user: &str, origins: &[String], but: Option<&str>) -> Result<Vec<PamAnswer>, String> {
    let copy =
        StackCopy::make(but).map_err(|error| format!("a copy of {FOLDER} could not be made in /run: {error}"))?;
    let mut command = limited_to(LONGEST, PROGRAM);
    command
        .args([SERVICE.as_ref(), copy.0.as_os_str(), user.as_ref()])
        .args(origins);
    let said = output_of(PROGRAM, &mut command)?;
    let answer = |line: &str| {
        let (code, words) = line.split_once(' ').unwrap_or((line, ""));
        Some(PamAnswer {
            code: code.parse().ok()?,
            words: words.to_owned(),
        })
    };
    let answers: Option<Vec<PamAnswer>> = said.lines().map(answer).collect();
    answers
        .filter(|answers| answers.len() == origins.len())
        .ok_or_else(|| format!("{PROGRAM} says what is no answer: {said}"))
}

/// The copy, which goes with its owner.
struct StackCopy(PathBuf);

impl StackCopy {
    fn make(but: Option<&str>) -> io::Result<Self> {
        let copy = Self(format!("/run/keymaker-why.{}", std::process::id()).into());
        // Of root's alone, and new: nobody else can write in /run.
        fs::DirBuilder::new().mode(0o700).create(&copy.0)?;
        for entry in fs::read_dir(FOLDER)?.flatten() {
            if let Ok(text) = fs::read(entry.path()) {
                fs::write(
                    copy.0.join(entry.file_name()),
                    rehearsed(&String::from_utf8_lossy(&text), but),
                )?;
            }
        }
        Ok(copy)
    }
}

impl Drop for StackCopy {
    fn drop(&mut self) {
        // What stays is root's, holds no secret, and goes with the next boot.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The account lines of a file, with `pam_permit` in place of the modules that are not asked: the controls, and so the
/// jumps, stay what they are.
fn rehearsed(text: &str, but: Option<&str>) -> String {
    let lines = entries(text, ACCOUNT).into_iter().map(|entry| match entry {
        Entry::Include(file) => format!("@include {file}\n"),
        Entry::Line(line) => {
            let is_asked = ASKED.contains(&line.module_name()) && but != Some(line.module_name());
            let PamLine {
                control,
                module,
                arguments,
            } = &line;
            if line.includes() || is_asked {
                format!("{ACCOUNT} {control} {module} {arguments}\n")
            } else {
                format!("{ACCOUNT} {control} pam_permit.so\n")
            }
        }
    });
    lines.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_modules_that_change_nothing_are_asked() {
        let text = "auth required pam_unix.so\n@include common\naccount include other\n\
            account [success=1 default=ignore] pam_unix.so broken_shadow\naccount required /lib/security/pam_access.so x\\\n  y\n\
            -account required pam_faillock.so\naccount required pam_exec.so /bin/rm\n\
            account [success=ok default=die] pam_keymaker.so # ours\n";
        let kept =
            "@include common\naccount include other \naccount [success=1 default=ignore] pam_unix.so broken_shadow\n";
        let replaced = "account required pam_permit.so\naccount required pam_permit.so\naccount [success=ok default=die] pam_permit.so\n";
        let access = "account required /lib/security/pam_access.so x   y\n";
        assert_eq!(rehearsed(text, None), format!("{kept}{access}{replaced}"));
        let without = format!("{kept}account required pam_permit.so\n{replaced}");
        assert_eq!(rehearsed(text, Some("pam_access.so")), without);
    }
}
