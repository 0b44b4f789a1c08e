//! What a user began here, and goes on without a login: by which services, and whether there is any.
//!
//! PAM asks where AWS has been silent for longer than `max_stale` (`login`), and `keymaker why` to say so. Nobody but root and keymakerd
//! can write what is looked at, but for a crontab, which has to be its user's own in a folder that only root and cron's own programs can
//! list or change.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::directory_file::User;

/// The PAM services that continue something: sudo in a session, jobs of cron and at, a user manager, an action that polkit asks about.
pub const CONTINUING: [&str; 7] = ["cron", "crond", "atd", "systemd-user", "sudo", "sudo-i", "polkit-1"];

/// Whether this PAM service continues something, and begins nothing.
pub fn is_continuing(service: &[u8]) -> bool {
    CONTINUING.iter().any(|known| known.as_bytes() == service)
}

/// Whether the user had a session here, has a lingering manager, or has a crontab. What cannot be looked at is not there.
pub fn has_begun_anything(user: &User<'_>, root: &Path) -> bool {
    let found = |folder: &str| root.join(folder).join(user.name.as_str()).symlink_metadata();
    let own_crontab = |folder| found(folder).is_ok_and(|file| file.is_file() && file.uid() == user.uid.get());
    user.seen_here || found(LINGER).is_ok_and(|file| file.is_file()) || CRONTABS.into_iter().any(own_crontab)
}

/// Where systemd-logind keeps whose manager lingers, below the root: root's folder, a file a name.
pub const LINGER: &str = "var/lib/systemd/linger";
/// Where crontabs lie, by Debian's cron and by cronie, below the root.
const CRONTABS: [&str; 2] = ["var/spool/cron/crontabs", "var/spool/cron"];

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{chown, symlink};

    use super::*;
    use crate::directory_file::records::tests_support::{UID, with_alice, with_seen};
    use test_folder::TestFolder;

    fn has(root: &Path) -> bool {
        with_alice(|alice| has_begun_anything(alice, root))
    }

    // P9
    #[test]
    fn only_a_session_a_lingering_manager_or_an_own_crontab_is_something_begun() {
        let root = TestFolder::new();
        assert!(!has(&root));
        assert!(with_seen(|alice| has_begun_anything(alice, &root)));
        for folder in [LINGER, "var/spool/cron/crontabs"] {
            fs::create_dir_all(root.join(folder)).unwrap();
        }
        let lingers = root.join(LINGER).join("alice");
        fs::write(&lingers, "").unwrap();
        assert!(has(&root));
        fs::remove_file(lingers).unwrap();
        for folder in CRONTABS {
            let crontab = root.join(folder).join("alice");
            symlink("/etc/passwd", &crontab).unwrap();
            assert!(!has(&root), "a link");
            fs::remove_file(&crontab).unwrap();
            fs::write(&crontab, "").unwrap();
            assert!(!has(&root), "another's");
            // Only root may give files away.
            if chown(&crontab, Some(UID), None).is_ok() {
                assert!(has(&root));
            }
            fs::remove_file(&crontab).unwrap();
        }
    }

    #[test]
    fn nothing_that_begins_a_session_continues_one() {
        for service in ["sshd", "login", "remote", "su", "su-l", "runuser", "sudo2", ""] {
            assert!(!is_continuing(service.as_bytes()), "{service}");
        }
        assert!(CONTINUING.iter().all(|service| is_continuing(service.as_bytes())));
    }
}
