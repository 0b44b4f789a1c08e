//! A PAM stack as libpam would run it: its lines in order, what it includes among them.

pub mod rehearsal;

use std::path::Path;

/// The control that the packages give our module.
pub const CONTROL: &str = "[success=ok ignore=ignore module_unknown=ignore default=die]";
const MODULE: &str = "pam_keymaker.so";
/// libpam gives up at 32.
const DEEPEST: u8 = 32;

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PamLine {
    /// Such as `required` or `[success=1 default=ignore]`.
    pub control: String,
    /// The module's file.
    pub module: String,
    /// What it is given.
    pub arguments: String,
}

/// The lines of one type (`account`, `session`) of a service, whose file lies in `folder`.
pub fn stack(folder: &Path, service: &str, kind: &str) -> Vec<PamLine> {
    let mut lines = Vec::new();
    collect(folder, service, kind, DEEPEST, &mut lines);
    lines
}

fn collect(folder: &Path, service: &str, kind: &str, depth: u8, lines: &mut Vec<PamLine>) {
    let Some(depth) = depth.checked_sub(1) else { return };
    let text = std::fs::read_to_string(folder.join(service)).unwrap_or_default();
    for entry in entries(&text, kind) {
        match entry {
            Entry::Include(file) => collect(folder, &file, kind, depth, lines),
            Entry::Line(line) if line.includes() => collect(folder, &line.module, kind, depth, lines),
            Entry::Line(line) => lines.push(line),
        }
    }
}

impl PamLine {
    /// Whether it stands for the lines of a file.
    fn includes(&self) -> bool {
        self.control == "include" || self.control == "substack"
    }

    /// Whether nothing that the module answers ends in a refusal.
    pub fn is_optional(&self) -> bool {
        self.control == "optional" || self.control == "sufficient" || self.control.contains("default=ignore")
    }

    /// Whether the module's success can lead past other lines.
    pub fn may_jump(&self) -> bool {
        !matches!(self.control.as_str(), "required" | "requisite" | "optional") && self.after_success() != Some(0)
    }

    /// How many lines are passed over after the module's success; `None`: all.
    fn after_success(&self) -> Option<usize> {
        if self.control == "sufficient" {
            return None;
        }
        let words = || self.control.trim_matches(['[', ']']).split_whitespace();
        let action = |of: &str| words().find_map(|word| word.strip_prefix(of));
        match action("success=").or_else(|| action("default=")) {
            Some("done") => None,
            action => Some(action.and_then(|action| action.parse().ok()).unwrap_or(0)),
        }
    }

    /// The module's file without its folder.
    pub fn module_name(&self) -> &str {
        self.module.rsplit('/').next().unwrap_or_default()
    }
}

enum Entry {
    /// `@include FILE`
    Include(String),
    Line(PamLine),
}

/// The lines of one file that are of this type.
fn entries(text: &str, kind: &str) -> Vec<Entry> {
    let joined = text.replace("\\\n", " ");
    let entry = |line: &str| {
        let line = line.split('#').next().unwrap_or_default().trim();
        if let Some(included) = line.strip_prefix("@include") {
            return Some(Entry::Include(included.trim().to_owned()));
        }
        let (word, rest) = line.split_once(char::is_whitespace)?;
        if word.trim_start_matches('-') != kind {
            return None;
        }
        let rest = rest.trim();
        let end = if rest.starts_with('[') {
            rest.find(']').map(|at| at + 1)
        } else {
            rest.find(char::is_whitespace)
        };
        let (control, rest) = rest.split_at_checked(end?)?;
        let (module, arguments) = rest.trim().split_once(char::is_whitespace).unwrap_or((rest.trim(), ""));
        Some(Entry::Line(PamLine {
            control: control.to_owned(),
            module: module.to_owned(),
            arguments: arguments.trim().to_owned(),
        }))
    };
    joined.lines().filter_map(entry).collect()
}

/// The line at which a stack refuses everybody, if all its other modules succeed.
pub fn refuses_everybody(stack: &[PamLine]) -> Option<&PamLine> {
    let mut at = 0;
    while let Some(line) = stack.get(at) {
        if line.module_name() != "pam_deny.so" {
            at += 1 + line.after_success()?;
        } else if line.is_optional() {
            at += 1;
        } else {
            return Some(line);
        }
    }
    None
}

/// Whether a session's module is one of those that distributions have in sshd's stack, and that end no session on a
/// host that works.
pub fn is_known_in_sessions(line: &PamLine) -> bool {
    let name = line
        .module_name()
        .strip_prefix("pam_")
        .and_then(|name| name.strip_suffix(".so"));
    name.is_some_and(|name| KNOWN_IN_SESSIONS.contains(&name))
}

const KNOWN_IN_SESSIONS: [&str; 20] = [
    "deny",
    "env",
    "keyinit",
    "keymaker",
    "lastlog",
    "lastlog2",
    "limits",
    "loginuid",
    "mail",
    "mkhomedir",
    "motd",
    "namespace",
    "oddjob_mkhomedir",
    "permit",
    "selinux",
    "sss",
    "succeed_if",
    "systemd",
    "umask",
    "unix",
];

/// What keeps our module's answer from counting in this stack; `None` where it counts.
pub fn what_defeats_us(stack: &[PamLine]) -> Option<Defeat> {
    let Some(at) = stack.iter().position(|line| line.module.ends_with(MODULE)) else {
        return Some(Defeat::Absent);
    };
    let before = stack.iter().take(at);
    let mut ending = before.filter(|line| line.control == "sufficient" || line.control.contains("success=done"));
    if let Some(line) = ending.next() {
        return Some(Defeat::DecidedBefore(format!("{} {}", line.control, line.module)));
    }
    let ours = stack
        .get(at)
        .map(|line| line.control.split_whitespace().collect::<Vec<_>>().join(" "));
    match ours {
        Some(control) if control == CONTROL || control == "required" || control == "requisite" => None,
        control => Some(Defeat::OtherControl(control.unwrap_or_default())),
    }
}

/// Why our module's answer does not count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Defeat {
    /// it is not in the stack
    Absent,
    /// a line before it can end the stack
    DecidedBefore(String),
    /// its control is not the packaged one
    OtherControl(String),
}

impl Defeat {
    /// In words.
    pub fn said(&self) -> String {
        match self {
            Self::Absent => "it is not there".to_owned(),
            Self::DecidedBefore(line) => format!("'{line}' comes before it and can end the stack"),
            Self::OtherControl(control) => format!("its control is {control}, not {CONTROL}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(control: &str, module: &str) -> PamLine {
        PamLine {
            control: control.to_owned(),
            module: module.to_owned(),
            arguments: String::new(),
        }
    }

    #[test]
    fn includes_are_followed_and_controls_kept_whole() {
        let folder = std::env::temp_dir().join(format!("keymaker-pam-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(
            folder.join("sshd"),
            "account required pam_nologin.so\n@include common\nsession optional x.so\n",
        )
        .unwrap();
        std::fs::write(
            folder.join("common"),
            format!("account\t{CONTROL}\tpam_keymaker.so # ours\n"),
        )
        .unwrap();
        let read = stack(&folder, "sshd", "account");
        std::fs::remove_dir_all(&folder).unwrap();
        assert_eq!(
            read,
            [line("required", "pam_nologin.so"), line(CONTROL, "pam_keymaker.so")]
        );
    }

    #[test]
    fn a_stack_refuses_everybody_where_pam_deny_is_not_passed_over() {
        let deny = line("requisite", "pam_deny.so");
        let debian = [line("[default=1]", "pam_permit.so"), deny.clone()];
        assert_eq!(refuses_everybody(&debian), None);
        assert_eq!(refuses_everybody(std::slice::from_ref(&deny)), Some(&deny));
        assert_eq!(refuses_everybody(&[line("optional", "pam_deny.so")]), None);
        assert_eq!(
            refuses_everybody(&[line("sufficient", "pam_permit.so"), deny.clone()]),
            None
        );
        assert_eq!(
            refuses_everybody(&[line("required", "pam_env.so"), deny.clone()]),
            Some(&deny)
        );
    }

    // P7
    #[test]
    fn a_line_that_ends_the_stack_before_us_defeats_us() {
        let ours = line(CONTROL, "pam_keymaker.so");
        assert_eq!(what_defeats_us(std::slice::from_ref(&ours)), None);
        assert_eq!(what_defeats_us(&[]), Some(Defeat::Absent));
        let before = line("sufficient", "pam_localuser.so");
        assert!(matches!(
            what_defeats_us(&[before, ours]),
            Some(Defeat::DecidedBefore(_))
        ));
        assert!(matches!(
            what_defeats_us(&[line("optional", "pam_keymaker.so")]),
            Some(Defeat::OtherControl(_))
        ));
    }
}
