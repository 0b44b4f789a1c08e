//! What stands in a user's passwd entry besides name and number: from enabled tags where those may say so, else from
//! the settings. Called by `composition` only.

use std::collections::BTreeSet;

use keymaker_aws::UID_TAG;
use keymaker_core::id::Uid;
use keymaker_core::name::UserName;

use crate::config::{KeymakerdConfig, Tag};
use crate::directory::facts::UserFacts;
use crate::local_accounts::LocalAccounts;

/// No tag puts a home below these; `home_base` may.
const SYSTEM_FOLDERS: [&str; 12] = [
    "bin", "boot", "dev", "etc", "proc", "root", "run", "sbin", "sys", "tmp", "usr", "var",
];

/// 0 where the facts are as fresh as the contact, so that the file rests while all is well.
pub fn lag(user: &UserFacts, contact: Option<u64>) -> u64 {
    if contact.is_some_and(|contact| user.answered_at >= contact) {
        0
    } else {
        user.answered_at.max(1)
    }
}

/// The tag's, where it is a path that nobody else has; else `home_base/NAME`.
pub fn home(config: &KeymakerdConfig, name: UserName, user: &UserFacts, taken: &mut BTreeSet<String>) -> String {
    let own = format!("{}/{name}", config.home_base);
    let tagged = user
        .tag("home")
        .filter(|_| config.tags.contains(&Tag::Home))
        .filter(|path| is_path(path));
    let tagged =
        tagged.filter(|path| !taken.contains(*path) && !is_home_of_another(config, name, path) && !is_of_system(path));
    let home = tagged.map_or(own, str::to_owned);
    taken.insert(home.clone());
    home
}

/// Whether this is an absolute path with one reading. An empty tag is none, and nor is the root folder.
fn is_path(path: &str) -> bool {
    path.strip_prefix('/')
        .is_some_and(|below| below.split('/').all(|part| !matches!(part, "" | "." | "..")))
}

/// `home_base/X` is X's, whoever asks for it.
fn is_home_of_another(config: &KeymakerdConfig, name: UserName, path: &str) -> bool {
    let below = path
        .strip_prefix(&config.home_base)
        .and_then(|rest| rest.strip_prefix('/'));
    below.is_some_and(|below| below != name.as_str()) || path == config.home_base
}

/// Where a folder of somebody's own would let them act as root: as /etc/systemd/system/ssh.service.d, say.
fn is_of_system(path: &str) -> bool {
    let top = path.split('/').nth(1).unwrap_or_default();
    SYSTEM_FOLDERS.contains(&top) || top.starts_with("lib")
}

/// The tag's, where this host allows it to anybody (/etc/shells); else `default_shell`.
pub fn shell<'a>(config: &'a KeymakerdConfig, local: &LocalAccounts, user: &'a UserFacts) -> &'a str {
    let tagged = user.tag("shell").filter(|_| config.tags.contains(&Tag::Shell));
    tagged
        .filter(|shell| local.allows_shell(shell))
        .unwrap_or(&config.default_shell)
}

/// A sentence for each enabled tag that says another home or shell than the entry has.
pub fn tags_not_taken(config: &KeymakerdConfig, user: &UserFacts, home: &str, shell: &str) -> Vec<String> {
    let tags = [
        (
            Tag::Home,
            "home",
            home,
            "is no home here (an absolute path outside the folders of the system and of others)",
        ),
        (Tag::Shell, "shell", shell, "is no shell of /etc/shells"),
    ];
    let said = tags.into_iter().filter_map(|(tag, name, taken, why)| {
        let wanted = user
            .tag(name)
            .filter(|wanted| config.tags.contains(&tag) && *wanted != taken)?;
        Some(format!(
            "the tag {name} of {} says {wanted:?}, which {why}; it is {taken}",
            user.name
        ))
    });
    said.collect()
}

/// The number that the user's tags ask for, where tags are read.
pub fn uid_tag<'u>(config: &KeymakerdConfig, user: &'u UserFacts) -> Option<&'u str> {
    let wanted = user.tag(UID_TAG).or_else(|| user.tag("uid"));
    wanted.filter(|_| config.tags.contains(&Tag::Uid))
}

/// That it is not the user's, since they have been here with another one.
pub fn uid_tag_not_taken(config: &KeymakerdConfig, user: &UserFacts, uid: Uid) -> Option<String> {
    let wanted = uid_tag(config, user).filter(|wanted| *wanted != uid.to_string())?;
    config.tag_uid_range()?;
    Some(format!(
        "the tag uid of {} says {wanted:?}, and files on this host carry {uid}, which stays",
        user.name
    ))
}

/// What `pam_umask(8)` takes from this field: a session's file mode, priority and limit.
const READ_BY_PAM_UMASK: [&str; 3] = ["umask=", "pri=", "ulimit="];

/// The tag's, without what a passwd line cannot hold and what a program acts on; else the IAM user name, as the Python
/// keymaker had it.
pub fn gecos(config: &KeymakerdConfig, user: &UserFacts) -> String {
    let tagged = user.tag("gecos").filter(|_| config.tags.contains(&Tag::Gecos));
    let clean = |c: &char| *c != ':' && !c.is_control();
    let clean: String = tagged.unwrap_or(&user.name).chars().filter(clean).collect();
    let mut gecos = without_settings(&clean);
    gecos.truncate(gecos.floor_char_boundary(255));
    gecos
}

fn without_settings(gecos: &str) -> String {
    let is_setting = |field: &str| {
        let field = field.to_ascii_lowercase();
        READ_BY_PAM_UMASK.iter().any(|setting| field.starts_with(setting))
    };
    gecos
        .split(',')
        .filter(|field| !is_setting(field))
        .collect::<Vec<_>>()
        .join(",")
}

#[cfg(test)]
mod tests {
    use super::{is_path, without_settings};

    #[test]
    fn no_tag_tells_pam_umask_anything() {
        let gecos = without_settings("pri=-20,Alice A.,,UMASK=000,room 7,ulimit=9,x pri=1");
        assert_eq!(gecos, "Alice A.,,room 7,x pri=1");
    }

    #[test]
    fn a_home_is_an_absolute_path_that_leads_nowhere_else() {
        assert!(is_path("/srv/alice") && is_path("/a") && is_path("/..a/b."));
        for text in [
            "",
            "/",
            "//",
            "srv",
            "srv/alice",
            "/srv//alice",
            "/srv/",
            "/srv/../etc",
            "/./srv",
            "/..",
        ] {
            assert!(!is_path(text), "{text:?}");
        }
    }
}
