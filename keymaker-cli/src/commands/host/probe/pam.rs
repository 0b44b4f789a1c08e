//! A PAM stack as libpam would run it: its lines in order, what it includes among them.

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
    for line in text.replace("\\\n", " ").lines() {
        let line = line.split('#').next().unwrap_or_default().trim();
        if let Some(included) = line.strip_prefix("@include") {
            collect(folder, included.trim(), kind, depth, lines);
            continue;
        }
        let Some((word, rest)) = line.split_once(char::is_whitespace) else {
            continue;
        };
        if word.trim_start_matches('-') != kind {
            continue;
        }
        let rest = rest.trim();
        let end = if rest.starts_with('[') {
            rest.find(']').map(|at| at + 1)
        } else {
            rest.find(char::is_whitespace)
        };
        let Some((control, rest)) = end.and_then(|end| rest.split_at_checked(end)) else {
            continue;
        };
        let module = rest.split_whitespace().next().unwrap_or_default();
        match control {
            "include" | "substack" => collect(folder, module, kind, depth, lines),
            _ => lines.push(PamLine {
                control: control.to_owned(),
                module: module.to_owned(),
            }),
        }
    }
}

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
