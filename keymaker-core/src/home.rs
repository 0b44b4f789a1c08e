//! Whose the folder is that stands where a user's home belongs. The login decision, the PAM module, doctor and why ask this, so
//! that none of them takes for a home what another refuses.

use std::fs::{self, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use crate::sys;

/// What stands there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HomeState {
    /// nothing
    Absent,
    /// the user's folder, or one of root's that neither group nor others may write (sshd wants it so for `ChrootDirectory`)
    Theirs,
    /// something of the user's that is no folder
    NotAFolder,
    /// what belongs to another, or somebody who may write the folder of homes can have put there: a link, a file system of
    /// their own
    OfAnother,
}

/// What stands at the path of the home of the user with this number.
pub fn state(path: &Path, uid: u32) -> io::Result<HomeState> {
    let shared = match path.parent().map(fs::metadata).transpose() {
        Ok(base) => base.filter(others_may_write),
        Err(error) => return absent(error),
    };
    let found = match &shared {
        // A link here is root's, who says where this home lies.
        None => fs::metadata(path),
        Some(base) => match OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_PATH | libc::O_NOFOLLOW)
            .open(path)
        {
            Ok(entry) => {
                let found = entry.metadata()?;
                let mounted_by_a_user = found.dev() != base.dev() && sys::is_fuse(&entry).unwrap_or(true);
                if found.is_symlink() || mounted_by_a_user {
                    return Ok(HomeState::OfAnother);
                }
                Ok(found)
            }
            Err(error) => Err(error),
        },
    };
    match found {
        Ok(found) => Ok(of(&found, uid)),
        Err(error) => absent(error),
    }
}

/// Whether others than the folder's owner may change which names are in it. (A mode's group is the mask of an ACL, so it
/// covers everybody whom one names.)
pub fn others_may_write(folder: &Metadata) -> bool {
    folder.mode() & 0o022 != 0
}

/// Whether they may also move or remove what belongs to somebody else.
pub fn others_may_move(folder: &Metadata) -> bool {
    others_may_write(folder) && folder.mode() & libc::S_ISVTX == 0
}

/// What a folder that bears a former name of a renamed user is to them, who have no home yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FormerFolder {
    /// nothing
    NotTheirs,
    /// their home, which stays: others may have put there what a shell of the user's would run, or it is a file system of its own
    Stays,
    /// their home, which is moved to the present name
    Moves,
}

/// The same of what lies in the folder `base` of homes, no link followed.
pub fn former_folder(found: &Metadata, base: &Metadata, uid: u32) -> FormerFolder {
    match found.is_dir() && found.uid() == uid {
        false => FormerFolder::NotTheirs,
        true if others_may_write(found) || found.dev() != base.dev() => FormerFolder::Stays,
        true => FormerFolder::Moves,
    }
}

fn of(found: &Metadata, uid: u32) -> HomeState {
    let roots_alone = found.uid() == 0 && found.is_dir() && !others_may_write(found);
    match found.uid() == uid {
        true if !found.is_dir() => HomeState::NotAFolder,
        theirs if theirs || roots_alone => HomeState::Theirs,
        _ => HomeState::OfAnother,
    }
}

fn absent(error: io::Error) -> io::Result<HomeState> {
    match error.kind() {
        io::ErrorKind::NotFound => Ok(HomeState::Absent),
        _ => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::Permissions;
    use std::os::unix::fs::{PermissionsExt, chown, symlink};
    use test_folder::TestFolder;

    const ALICE: u32 = 1_900_000_000;

    fn folder(path: &Path, owner: u32, mode: u32) {
        fs::create_dir(path).unwrap();
        chown(path, Some(owner), Some(owner)).unwrap();
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    // P2
    #[test]
    fn a_home_is_its_users_or_roots_alone_and_no_link_where_others_may_put_one() {
        if sys::own_uid() != 0 {
            println!("not run: only root makes folders of others");
            return;
        }
        let host = TestFolder::new();
        for (name, owner, mode, expected) in [
            ("hers", ALICE, 0o777, HomeState::Theirs),
            ("roots", 0, 0o755, HomeState::Theirs),
            ("closed", 0, 0o700, HomeState::Theirs),
            ("groups", 0, 0o775, HomeState::OfAnother),
            ("everybodys", 0, 0o1757, HomeState::OfAnother),
            ("mallorys", 4343, 0o755, HomeState::OfAnother),
        ] {
            folder(&host.join(name), owner, mode);
            symlink(name, host.join(format!("{name}.link"))).unwrap();
            for base in [0o755, 0o2775, 0o1777, 0o777] {
                fs::set_permissions(&*host, Permissions::from_mode(base)).unwrap();
                assert_eq!(state(&host.join(name), ALICE).unwrap(), expected, "{name} in {base:o}");
                let link = if base == 0o755 { expected } else { HomeState::OfAnother };
                let found = state(&host.join(format!("{name}.link")), ALICE).unwrap();
                assert_eq!(found, link, "a link to {name} in {base:o}");
            }
        }
        fs::write(host.join("file"), "").unwrap();
        chown(host.join("file"), Some(ALICE), None).unwrap();
        for (name, expected) in [
            ("file", HomeState::NotAFolder),
            ("none", HomeState::Absent),
            ("none/home", HomeState::Absent),
        ] {
            assert_eq!(state(&host.join(name), ALICE).unwrap(), expected, "{name}");
        }
        assert!(state(&host.join("file/home"), ALICE).is_err());
    }

    // P2
    #[test]
    fn a_folder_of_a_former_name_moves_only_where_it_is_the_users_alone_and_of_one_disk_with_the_others() {
        let host = TestFolder::new();
        let (uid, base) = (sys::own_uid(), fs::metadata(&*host).unwrap());
        let elsewhere = fs::metadata("/proc").unwrap();
        fs::write(host.join("file"), "").unwrap();
        symlink(&*host, host.join("link")).unwrap();
        for (name, mode, expected) in [
            ("private", 0o700, FormerFolder::Moves),
            ("readable", 0o755, FormerFolder::Moves),
            ("groups", 0o770, FormerFolder::Stays),
            ("everybodys", 0o702, FormerFolder::Stays),
            ("file", 0o644, FormerFolder::NotTheirs),
            ("link", 0o777, FormerFolder::NotTheirs),
        ] {
            let path = host.join(name);
            if fs::symlink_metadata(&path).is_err() {
                fs::create_dir(&path).unwrap();
                fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            }
            let found = fs::symlink_metadata(&path).unwrap();
            assert_eq!(former_folder(&found, &base, uid), expected, "{name}");
            assert_eq!(former_folder(&found, &base, uid + 1), FormerFolder::NotTheirs, "{name}");
            let mounted = match expected {
                FormerFolder::NotTheirs => expected,
                _ => FormerFolder::Stays,
            };
            assert_eq!(former_folder(&found, &elsewhere, uid), mounted, "{name}");
        }
    }
}
