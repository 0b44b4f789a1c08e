//! The gates of a user who is in the directory, in the order in which a login meets them. Called by [`super::run`].

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use keymaker_core::directory_file::{Directory, Header, User};
use keymaker_core::home::{self, FormerFolder, HomeState};
use keymaker_core::keys_file::{KeysFile, PublishedKey};
use keymaker_core::login::{self, Doubt, LoginDecision, Refusal};
use keymaker_core::name::UserName;
use keymaker_core::running::{CONTINUING, has_begun_anything};
use keymaker_core::{nsswitch, paths, roots_folder, sys};
use serde_json::Value;

use super::super::doctor::former_names;
use super::super::get::group_names;
use super::super::status::ago;
use super::super::{probe, release};
use super::{Shut, Walk, proof};

pub(super) fn decision(walk: &mut Walk, directory: &Directory, user: &User<'_>) -> Result<(), Shut> {
    let header = directory.header();
    let contact = login::last_contact(Path::new(paths::CONTACT));
    let decision = LoginDecision::about(user, &header, contact, SystemTime::now()).and_home(user);
    let sentence = || {
        let sentence = decision.sentence(user.name, header.required_group).to_string();
        let LoginDecision::CannotTell(doubt) = decision else {
            return sentence.trim_start_matches("keymaker: ").to_owned();
        };
        format!(
            "this host cannot verify whether {} may still log in: {doubt}{}",
            user.name,
            going_on(user, &header, contact, decision)
        )
    };
    let remedy = match decision {
        LoginDecision::Allowed => {
            let group = match header.required_group {
                "" => "no group is required".to_owned(),
                group => format!("in the required IAM group {group}"),
            };
            let said = format!("{group}; {}", as_of(user, contact));
            walk.open("permission", said);
            return Ok(());
        }
        LoginDecision::Refused(Refusal::NotInRequiredGroup) => {
            format!(
                "aws iam add-user-to-group --user-name {} --group-name {}",
                user.iam_user_name, header.required_group
            )
        }
        LoginDecision::Refused(Refusal::NameHeldByAnother | Refusal::HomeOfAnother) => {
            match release::who_keeps_the_home(user, directory) {
                Some(_) if is_roots_folder(user.home) => {
                    format!(
                        "chmod go-w {0}  # or chown -h {1}: {0}, if it is to be the user's",
                        user.home, user.name
                    )
                }
                Some(whose) => format!(
                    "{} belongs to {whose}, not to a former IAM user: give the IAM user another name, or another home (tag home)",
                    user.home
                ),
                None => format!("keymaker release {}", user.name),
            }
        }
        LoginDecision::Refused(Refusal::Expired) => "change the tag expires of the IAM user".to_owned(),
        LoginDecision::Refused(_) => "create the user in IAM again, if that is what you want".to_owned(),
        LoginDecision::CannotTell(Doubt::SettingsUnread) => {
            "allow iam:GetRole to this host's role, or set role_settings = false in keymakerd.toml; then: keymaker sync"
                .to_owned()
        }
        LoginDecision::CannotTell(_) => "keymaker doctor says what keeps IAM from answering".to_owned(),
    };
    let gate = match decision {
        LoginDecision::CannotTell(_) => "freshness",
        _ => "permission",
    };
    walk.closed(gate, sentence(), remedy)
}

/// Why sudo works although ssh does not, or does not work either.
fn going_on(user: &User<'_>, header: &Header<'_>, contact: Option<SystemTime>, decision: LoginDecision) -> String {
    let (LoginDecision::CannotTell(Doubt::OutOfContact), Some(contact)) = (decision, contact) else {
        return String::new();
    };
    let services = CONTINUING.join(", ");
    let is_silent = super::status().get("aws_is_silent").and_then(Value::as_bool);
    let why_not = if decision.of_running(user, header, Some(contact), SystemTime::now()) != LoginDecision::Allowed {
        "IAM last answered longer than max_stale_running ago, or too long before that about this user"
    } else if !has_begun_anything(user, Path::new("/")) {
        "the user never had a session here, and has no lingering manager or crontab"
    } else if is_silent != Some(true) {
        "keymakerd does not say that AWS is silent: AWS answers and refuses, or this host cannot ask"
    } else {
        let ends = contact + Duration::from_secs(header.max_stale_running.into());
        let hours = ends.duration_since(SystemTime::now()).unwrap_or_default().as_secs() / 3600;
        return format!(
            "; what the user began here goes on meanwhile, for another {hours} h (max_stale_running): {services}"
        );
    };
    format!("; what the user began here does not go on ({services}): {why_not}")
}

/// How old what is published about the user is: existence, name, tags and groups at most, and everybody's.
fn as_of(user: &User<'_>, contact: Option<SystemTime>) -> String {
    let now = SystemTime::now();
    let ago_or_never = |time: Option<SystemTime>| time.map_or("never".to_owned(), |time| ago(time, now));
    match user.answered_at {
        0 => format!("IAM answered about everybody {}", ago_or_never(contact)),
        answered_at => format!(
            "IAM answered about the user {}, about everybody {}",
            ago(login::unix_time(answered_at), now),
            ago_or_never(contact)
        ),
    }
}

/// Of root's folder others may not write to, nobody says that it is another's.
fn is_roots_folder(home: &str) -> bool {
    std::fs::symlink_metadata(home).is_ok_and(|found| found.is_dir() && found.uid() == 0)
}

pub(super) fn resolves(walk: &mut Walk, name: UserName, user: &User<'_>) -> Result<(), Shut> {
    let uid = user.uid.get();
    if let Ok(Some(other)) = sys::name_of_uid(uid)
        && other != name.as_str().as_bytes()
    {
        let other = String::from_utf8_lossy(&other).into_owned();
        return walk.closed(
            "uid",
            format!("another service of nsswitch.conf gives {uid} to {other:?}, and that service wins"),
            format!("getent passwd {uid}  # shows who has it"),
        );
    }
    match sys::resolve_user(name.as_str()) {
        Ok(Some(entry)) if entry.uid == uid => {
            walk.open(
                "uid",
                format!("{uid}, as glibc resolves the name; 'keymaker who-was {uid}' names its owner"),
            );
            Ok(())
        }
        Ok(found) => {
            let found = found.map_or("to nobody".to_owned(), |entry| format!("to uid {}", entry.uid));
            let text = nsswitch::read(Path::new(paths::NSSWITCH)).unwrap_or_default();
            let ours = nsswitch::line(&text, "passwd").is_some_and(|line| line.position("keymaker").is_some());
            let cause = if ours {
                ""
            } else {
                "; /etc/nsswitch.conf does not name keymaker"
            };
            walk.closed(
                "uid",
                format!("{uid} in the directory, but the name resolves {found}{cause}"),
                "keymaker doctor",
            )
        }
        Err(error) => walk.closed(
            "uid",
            format!("the name could not be resolved: {error}"),
            "keymaker doctor",
        ),
    }
}

pub(super) fn groups(walk: &mut Walk, directory: &Directory, user: &User<'_>) -> Result<(), Shut> {
    let uid = user.uid.get();
    let members = sys::group_list(user.name.as_str(), uid).unwrap_or_default();
    let marker = directory.header().keymaker_users_gid;
    if marker == 0 || !members.contains(&marker) {
        let why = "glibc does not give the group keymaker-users, by which sshd knows IAM users";
        return walk.closed("groups", why, "keymaker doctor");
    }
    let names = group_names(directory, user.name).unwrap_or_default();
    walk.open("groups", format!("keymaker-users {}", names.join(" ")));
    Ok(())
}

/// Returns them, where they can be told.
pub(super) fn keys(walk: &mut Walk, directory: &Directory, user: &User<'_>) -> Result<Vec<PublishedKey>, Shut> {
    let iam_name = user.iam_user_name;
    let upload = format!("keymaker upload-key FILE --user {iam_name}");
    let keys = match KeysFile::open(Path::new(paths::KEYS)).and_then(|file| file.user(user.name)) {
        Ok(Some(keys)) if keys.are_of(user) => keys,
        Ok(Some(_)) => {
            return walk.closed(
                "keys",
                "the published keys are those of another IAM user",
                "keymaker sync",
            );
        }
        Ok(None) if !probe::is_root() => {
            walk.untold(
                "keys",
                "this host has not fetched them yet; it does so at a login, or when root runs 'keymaker why'",
            );
            return Ok(Vec::new());
        }
        Ok(None) => {
            let why = "this host has never fetched the user's keys, and could not do so just now";
            return walk.closed("keys", why, "keymaker doctor");
        }
        Err(error) => return walk.closed("keys", format!("{}: {error}", paths::KEYS), "keymaker doctor"),
    };
    let decision = LoginDecision::Allowed.and_keys(&keys, &directory.header(), SystemTime::now());
    if let LoginDecision::CannotTell(doubt) = decision {
        return walk.closed("keys", doubt.to_string(), "keymaker doctor");
    }
    let header = directory.header();
    let aside = keys_aside(user, &header);
    let without_keys = keys.keys.is_empty() || header.without_iam_keys;
    if without_keys && user.proofs_from.is_some() {
        let said = format!(
            "none that opens a login here; by proof, without any (keymaker ssh; keymaker why {} --proof FILE){aside}",
            user.name
        );
        walk.open("keys", said);
        return Ok(Vec::new());
    }
    if without_keys && header.instance_connect {
        let said = format!("none that opens a login here; by one that EC2 Instance Connect pushes{aside}");
        walk.open("keys", said);
        return Ok(Vec::new());
    }
    if header.without_iam_keys {
        let (why, remedy) = proof::no_proof_counts(user);
        return walk.closed(
            "keys",
            format!("no key in IAM opens a login here (login_by), and {why}{aside}"),
            remedy,
        );
    }
    if keys.keys.is_empty() {
        let why = format!("IAM has no active SSH key for {iam_name}{aside}");
        return walk.closed(
            "keys",
            why,
            format!("{upload}, or keymaker enable-key ID --user {iam_name}"),
        );
    }
    let shown = keys.keys.iter().map(|key| {
        let key_type = key.line.split(' ').next().unwrap_or_default();
        format!("{} {key_type} {} (active)", key.id, key.fingerprint)
    });
    // Published in steps, of an hour at most.
    let as_of = ago(login::unix_time(keys.answered_at), SystemTime::now());
    let shown = shown.collect::<Vec<_>>().join(", ");
    walk.open(
        "keys",
        format!("{shown}; IAM answered about them at most {as_of}{aside}"),
    );
    Ok(keys.keys)
}

/// What `ssh-copy-id` left, where the caller can see it.
fn keys_aside(user: &User<'_>, header: &Header<'_>) -> String {
    let file = Path::new(user.home).join(".ssh/authorized_keys");
    let is_there = std::fs::symlink_metadata(file).is_ok();
    match is_there {
        true if header.without_iam_keys => "; ~/.ssh/authorized_keys counts for nothing here".to_owned(),
        true => format!("; {}", login::ONLY_IAM),
        false => String::new(),
    }
}

/// As the PAM module sees it.
pub(super) fn home(walk: &mut Walk, user: &User<'_>) {
    let (path, said) = (Path::new(user.home), tag_not_taken("home", user));
    let found = match home::state(path, user.uid.get()) {
        Ok(HomeState::Theirs) if is_roots_folder(user.home) => "exists, and is root's alone".to_owned(),
        Ok(HomeState::Theirs) => "exists and belongs to the user".to_owned(),
        Ok(HomeState::NotAFolder | HomeState::OfAnother) => "is no folder".to_owned(),
        Ok(HomeState::Absent) => match roots_folder::find(path.parent().unwrap_or(path), 0) {
            Ok(_) => match former_home(path.parent().unwrap_or(path), user.former_names(), user.uid.get()) {
                Some((from, true)) => format!(
                    "does not exist; {}, the user's under a former name, will be moved there at the first login",
                    from.display()
                ),
                Some((from, false)) => format!(
                    "will be made at the first login; {}, the user's under a former name, stays where it is, since others may write \
                     to it or it is a file system of its own",
                    from.display()
                ),
                None => "will be made at the first login".to_owned(),
            },
            Err(error) => format!("will not be made: {error}"),
        },
        Err(error) => return walk.untold("home", format!("{} cannot be looked at: {error}", user.home)),
    };
    let left = former_names::left_of(user.uid.get(), user.name.as_str());
    let left: String = left
        .iter()
        .map(|left| format!("; {}: {}", left.what(), left.remedy()))
        .collect();
    walk.open("home", format!("{} {found}{said}{left}", user.home));
}

/// The folder of the last former name that has one of the user's, and whether the PAM module moves it.
fn former_home(base: &Path, names: impl Iterator<Item = UserName>, uid: u32) -> Option<(PathBuf, bool)> {
    let homes = std::fs::metadata(base).ok()?;
    let mut folders = names.map(|name| base.join(name.as_str())).filter_map(|path| {
        let found = std::fs::symlink_metadata(&path).ok()?;
        Some((path, home::former_folder(&found, &homes, uid)))
    });
    let (path, is) = folders.find(|(_, is)| *is != FormerFolder::NotTheirs)?;
    Some((path, is == FormerFolder::Moves))
}

/// What keymakerd says of a tag of the user's that decides nothing here.
fn tag_not_taken(tag: &str, user: &User<'_>) -> String {
    let begins = format!("the tag {tag} of {} says ", user.iam_user_name);
    let status = super::status();
    let tags = status.get("unusable_tags").and_then(Value::as_array);
    let mut tags = tags.into_iter().flatten().filter_map(Value::as_str);
    tags.find(|said| said.starts_with(&begins))
        .map_or(String::new(), |said| format!("; {said}"))
}

pub(super) fn shell(walk: &mut Walk, user: &User<'_>) -> Result<(), Shut> {
    const BY_ANYBODY: u32 = 0o111;
    // passwd(5): an empty field.
    let shell = match user.shell {
        "" => "/bin/sh",
        shell => shell,
    };
    let ends_every_login = |shell: &Path| shell.ends_with("nologin") || shell.ends_with("false");
    let (why, remedy) = match std::fs::metadata(shell) {
        Err(_) => ("is not there", "install it"),
        Ok(found) if !found.is_file() => ("is no file", "put a program there"),
        Ok(found) if found.mode() & BY_ANYBODY == 0 => ("is not executable", "chmod +x it"),
        Ok(_) if ends_every_login(Path::new(shell)) => ("ends every login", "give the user a shell by the tag shell"),
        Ok(_) => {
            walk.open("shell", format!("{shell}{}", tag_not_taken("shell", user)));
            return Ok(());
        }
    };
    let remedy = format!("{remedy}, or set default_shell in keymakerd.toml");
    walk.closed("shell", format!("{shell} {why}"), remedy)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;
    use test_folder::TestFolder;

    #[test]
    fn the_home_that_will_be_moved_is_the_one_that_the_module_takes() {
        let base = TestFolder::new();
        let names = ["third", "second", "first"].map(|name| UserName::parse(name.as_bytes()).unwrap());
        let found = || former_home(&base, names.into_iter(), sys::own_uid());
        assert_eq!(found(), None);
        fs::create_dir(base.join("other")).unwrap();
        fs::write(base.join("third"), "").unwrap();
        assert_eq!(found(), None);
        for name in ["first", "second"] {
            fs::create_dir(base.join(name)).unwrap();
            fs::set_permissions(base.join(name), Permissions::from_mode(0o700)).unwrap();
            assert_eq!(found(), Some((base.join(name), true)));
        }
        fs::set_permissions(base.join("second"), Permissions::from_mode(0o770)).unwrap();
        assert_eq!(found(), Some((base.join("second"), false)));
    }
}
