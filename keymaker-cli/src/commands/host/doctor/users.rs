//! What IAM users meet once they are let in: the shell and the home that this host gives them, and whether any of them may
//! use sudo where the settings say that some may.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use keymaker_core::directory_file::{Directory, Verdict};
use keymaker_core::home::others_may_move;
use keymaker_core::local_files::number_of;
use keymaker_core::name::GroupName;
use keymaker_core::paths;
use keymaker_core::roots_folder::{self, FolderError};

use super::super::get::MAX_GROUP_RECORD;
use super::super::probe::{home_base, text_setting};
use super::super::published::of_each_published;
use super::super::who_was;
use super::files::room;
use super::finding::FaultCause;
use super::{Findings, configure, former_names};

/// Looks at those who may log in.
pub fn look(found: &mut Findings) {
    groups_made_again(found);
    large_numbers(found);
    let sudo = number_of(Path::new(paths::GROUP), paths::KEYMAKER_SUDO).ok().flatten();
    let users = of_each_published(|user| {
        let may_sudo = user.groups().any(|gid| Some(gid) == sudo);
        let base = Path::new(user.home).parent().unwrap_or(Path::new("/")).to_owned();
        (user.verdict == Verdict::Allowed).then(|| (user.iam_user_name.to_owned(), user.shell.into(), base, may_sudo))
    });
    // A directory that cannot be read is told with the files.
    let users: Vec<(String, PathBuf, PathBuf, bool)> = users.into_iter().flatten().flatten().collect();
    let home_base = home_base();
    former_names::look(found, &home_base);
    let bases: BTreeSet<&Path> = users
        .iter()
        .map(|(_, _, base, _)| base.as_path())
        .chain([home_base.as_path()])
        .collect();
    bases.into_iter().for_each(|base| homes_in(found, base));
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
        let shell = shell.display().to_string();
        let is_set = text_setting(paths::KEYMAKERD_TOML, "default_shell").is_some_and(|set| set == shell);
        found.fault(
            format!("{shell} is not there, the shell of {}", those(&whose)),
            "sshd lets nobody in whose shell it does not find",
            if is_set {
                // In its place, since a line that goes waits for an administrator.
                format!(
                    "sed -i 's|^default_shell.*|default_shell = \"/bin/bash\"|' {}; systemctl reload keymakerd; keymaker sync  # or install it",
                    paths::KEYMAKERD_TOML
                )
            } else {
                without_tag("shell", &whose)
            },
        );
    }
    for (base, whose) in bases {
        found.fault(
            format!(
                "{} is not there, where the home of {} would be",
                base.display(),
                those(&whose)
            ),
            "they get no home",
            if **base == home_base {
                format!("mkdir -p -m 0755 {}", home_base.display())
            } else {
                without_tag("home", &whose)
            },
        );
    }
    let sudoers = users.iter().filter(|(.., may_sudo)| *may_sudo).count();
    sudo_group(found, users.len(), sudoers);
}

/// Whether homes are made there, as the PAM module sees it, and stay where they are.
fn homes_in(found: &mut Findings, base: &Path) {
    let shown = base.display().to_string();
    room(found, &shown, "new users get no home");
    match roots_folder::find(base, 0) {
        Err(FolderError::NotOnlyRoots(folder)) => {
            let folder = folder.display();
            found.fault(
                format!("{folder} is not root's alone, so no home is made in {shown}"),
                "whoever can put another folder in its place decides what everybody's shell obeys",
                format!("chown root {folder}; chmod go-w {folder}"),
            );
        }
        Ok(folder) if folder.shared => shared_homes(found, &folder.path),
        // One that is not there is told with its users; one that cannot be looked at now, nobody can tell anything about.
        Ok(_) | Err(FolderError::NotAPath | FolderError::Io(..)) => {}
    }
}

/// What does not fit the seven octal digits of an old tar archive.
const LARGEST_IN_USTAR: u32 = 0o777_7777;

fn large_numbers(found: &mut Findings) {
    let large = of_each_published(|user| user.uid.get() > LARGEST_IN_USTAR);
    if large.is_ok_and(|large| large.contains(&true)) {
        found.note(format!(
            "IAM users have numbers above {LARGEST_IN_USTAR}, which tar archives of the old form cannot hold (automake, Maven, makeself); if \
            that is in the way, keymaker assign-uids gives small ones: docs/ids.md"
        ));
    }
}

/// Terraform, for one, makes a group again in IAM where only its path changes: it is another group, with another number.
fn groups_made_again(found: &mut Findings) {
    let (Ok(directory), Ok(Some(map))) = (Directory::open(Path::new(paths::DIRECTORY)), who_was::map()) else {
        return;
    };
    let number = |name: &str| {
        let name = GroupName::parse(name.as_bytes()).ok()?;
        let mut buffer = vec![0; MAX_GROUP_RECORD];
        let group = directory.group_by_name(name, &mut buffer).ok()??;
        (!group.private).then_some(group.gid.get())
    };
    for (name, now, former) in who_was::groups_made_again(&map, number) {
        found.note(format!(
            "the group {name} was made again in IAM, and its gid is {now}: files of gid {former} are those of the former group, and \
            nobody is in it. If the two are the same people: find / -xdev -gid {former} -exec chgrp -h {name} {{}} +, or, in \
            {}, group_ids = {{ {name} = {former} }}",
            paths::KEYMAKERD_TOML
        ));
    }
}

fn shared_homes(found: &mut Findings, base: &Path) {
    let Ok(metadata) = std::fs::metadata(base) else { return };
    let (base, mode) = (base.display(), metadata.mode() & 0o7777);
    if others_may_move(&metadata) {
        found.fault(
            format!("others than root may move homes away in {base} (mode {mode:04o})"),
            "they keep the homes' users out, and a shell obeys what lies in the place of its user's home",
            format!("chmod go-w {base}"),
        );
    } else {
        found.note(format!(
            "others than root may write to {base} (mode {mode:04o}): who makes a folder of a user's name there before the user \
            first logs in keeps that user out"
        ));
    }
}

fn those(names: &[String]) -> String {
    match names {
        [one] => one.clone(),
        [first, ..] => format!("{first} and {} more", names.len() - 1),
        [] => String::new(),
    }
}

/// Nothing of the tag stands in a command that somebody may paste: whoever may tag a user wrote it.
fn without_tag(tag: &str, whose: &[String]) -> String {
    let untag = |name: &String| format!("aws iam untag-user --user-name {name} --tag-keys {tag}; ");
    let untag: String = whose.iter().map(untag).collect();
    format!("{untag}keymaker sync  # with an administrator's AWS credentials; or install or make what the tag names")
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
