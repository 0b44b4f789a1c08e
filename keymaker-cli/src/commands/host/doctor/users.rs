//! What IAM users meet once they are let in: the shell and the home that this host gives them, and whether any of them may
//! use sudo where the settings say that some may.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use keymaker_core::directory_file::Verdict;
use keymaker_core::local_files::number_of;
use keymaker_core::paths;

use super::super::probe::text_setting;
use super::super::published::of_each_published;
use super::finding::FaultCause;
use super::{Findings, configure};

/// Looks at those who may log in.
pub fn look(found: &mut Findings) {
    let sudo = number_of(Path::new(paths::GROUP), paths::KEYMAKER_SUDO).ok().flatten();
    let users = of_each_published(|user| {
        let may_sudo = user.groups().any(|gid| Some(gid) == sudo);
        let base = Path::new(user.home).parent().unwrap_or(Path::new("/")).to_owned();
        (user.verdict == Verdict::Allowed).then(|| (user.iam_user_name.to_owned(), user.shell.into(), base, may_sudo))
    });
    // A directory that cannot be read is told with the files.
    let users: Vec<(String, PathBuf, PathBuf, bool)> = users.into_iter().flatten().flatten().collect();
    if users.is_empty() {
        return;
    }
    let mut missing = [BTreeMap::new(), BTreeMap::new()];
    for (name, shell, base, _) in &users {
        for (place, path) in missing.iter_mut().zip([shell, base]) {
            if !path.exists() {
                place.entry(path).or_insert_with(Vec::new).push(name.clone());
            }
        }
    }
    let [shells, bases] = missing;
    for (shell, whose) in shells {
        let shell = shell.display();
        found.fault(
            format!("{shell} is not there, the shell of {}", those(&whose)),
            "sshd lets nobody in whose shell it does not find",
            remedy("default_shell", &shell.to_string(), &whose, "shell"),
        );
    }
    for (base, whose) in bases {
        let base = base.display();
        found.fault(
            format!("{base} is not there, where the home of {} would be", those(&whose)),
            "they get no home",
            format!("mkdir -p -m 0755 {base}"),
        );
    }
    let sudoers = users.iter().filter(|(.., may_sudo)| *may_sudo).count();
    sudo_group(found, users.len(), sudoers);
}

fn those(names: &[String]) -> String {
    match names {
        [one] => one.clone(),
        [first, ..] => format!("{first} and {} more", names.len() - 1),
        [] => String::new(),
    }
}

/// Where the settings say it, they say the default instead. Else a tag says it.
fn remedy(key: &str, value: &str, whose: &[String], tag: &str) -> String {
    match text_setting(paths::KEYMAKERD_TOML, key) {
        // In its place, since a line that goes waits for an administrator.
        Some(set) if set == value => format!(
            "sed -i 's|^{key}.*|{key} = \"/bin/bash\"|' {}; systemctl reload keymakerd; keymaker sync  # or install {value}",
            paths::KEYMAKERD_TOML
        ),
        _ => format!(
            "aws iam untag-user --user-name {} --tag-keys {tag} && keymaker sync  # with an administrator's AWS credentials; or install {value}",
            whose.first().map_or("NAME", String::as_str)
        ),
    }
}

/// IAM does not have the group, or it is empty, or nobody of it may log in here.
fn sudo_group(found: &mut Findings, users: usize, sudoers: usize) {
    let Some(group) = text_setting(paths::KEYMAKERD_TOML, "sudo_iam_group").filter(|_| sudoers == 0) else {
        return;
    };
    found
        .fault(
            format!(
                "of the {users} users who may log in here, none is in the IAM group {group}, which sudo_iam_group names"
            ),
            "nobody from IAM may use sudo on this host",
            configure::somebody_in(&group),
        )
        .of(&[
            FaultCause::Accounts,
            FaultCause::KeymakerdToml,
            FaultCause::Keymakerd,
            FaultCause::Aws,
        ]);
}
