//! What is on disk: the public files that everybody reads and the private ones that only keymakerd does.
//!
//! Private files are written before the public ones that rest on them: no uid is ever published whose owner is not on
//! record (P2).

use std::fs::{DirBuilder, File, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use keymaker_core::directory_file::{Directory, MAX_USER_RECORD, RecordError, Verdict};
use keymaker_core::published_file::writer::{BuildError, replace_file, replace_published};
use keymaker_core::sys;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::directory::entitlement::ids::IdMap;
use crate::directory::entitlement::neighbours::NameOrId;
use crate::settings::KeptSettings;

/// Room for a group of every user that one directory holds.
pub(super) const LARGEST_GROUP: usize = 8 << 20;

/// Where the files lie.
#[derive(Clone, Debug)]
pub struct Store {
    /// World-readable: directory, keys, contact.
    pub public: PathBuf,
    /// Only keymakerd's: ids.json, settings.json, facts.json.
    pub private: PathBuf,
    /// status.json.
    pub run: PathBuf,
    /// While a test holds it, nothing comes of what is put on disk.
    #[cfg(test)]
    pub stuck: std::sync::Arc<tokio::sync::Mutex<()>>,
}

/// Why something could not be read from or written to disk.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("{0} cannot be read: {1}")]
    Unreadable(PathBuf, io::Error),
    #[error(
        "{0} is damaged ({1}); restore a backup, or remove it and public/directory: this host then starts \
         afresh"
    )]
    Damaged(PathBuf, String),
    #[error(
        "{0} is missing or older than the users that are published by it; restore its last state, or also \
         remove public/directory: new ids are then drawn"
    )]
    IdsLost(PathBuf),
    #[error(
        "{0} is missing, so it is not known which settings were in force here; restore its last state, or \
         also remove public/directory: the present settings then apply"
    )]
    SettingsLost(PathBuf),
    #[error(
        "another keymakerd is using {0}; 'systemctl status keymakerd' shows it, stop it before you start one by hand"
    )]
    InUse(PathBuf),
    #[error(
        "{0} belongs to uid {1}, and this process runs as uid {2}: start keymakerd by 'systemctl start keymakerd'; if \
         the files were restored as another user's: chown -R keymakerd: /var/lib/keymaker"
    )]
    OfAnother(PathBuf, u32, u32),
    #[error("{0} cannot be written: {1}; is the disk full?")]
    Unwritable(PathBuf, io::Error),
    #[error("the directory cannot be laid out: {0}; the published files stay as they are")]
    Unbuildable(BuildError),
    #[error("the issuer's keys for logins by proof cannot be published: {0}")]
    Issuers(RecordError),
}

impl Store {
    /// Makes the two folders where they are missing: anybody who empties /var/lib/keymaker means to start afresh.
    pub fn make_folders(&self) -> Result<(), StoreError> {
        for (folder, mode) in [(&self.public, 0o755), (&self.private, 0o700)] {
            match DirBuilder::new().mode(mode).create(folder) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                    return Err(StoreError::Unwritable(folder.clone(), error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Keeps every other keymakerd away from these files for as long as the answer lives: two would give one id to two
    /// users (P2). `None` where there is no folder to keep it from.
    pub fn hold(&self) -> Result<Option<File>, StoreError> {
        let unreadable = |error| StoreError::Unreadable(self.private.clone(), error);
        let folder = match File::open(&self.private) {
            Ok(folder) => folder,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(unreadable(error)),
        };
        let (owner, own) = (folder.metadata().map_err(unreadable)?.uid(), sys::own_uid());
        if owner != own {
            return Err(StoreError::OfAnother(self.private.clone(), owner, own));
        }
        match folder.try_lock() {
            Ok(()) => Ok(Some(folder)),
            Err(TryLockError::WouldBlock) => Err(StoreError::InUse(self.private.clone())),
            Err(TryLockError::Error(error)) => Err(unreadable(error)),
        }
    }

    /// Reads a private file; `None` where there is none.
    pub fn load<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, StoreError> {
        let path = self.private.join(name);
        match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map(Some)
                .map_err(|error| StoreError::Damaged(path, error.to_string())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(StoreError::Unreadable(path, error)),
        }
    }

    /// The settings that held last. They are written before the first directory, so where only the directory is left,
    /// they were lost: what waits for an administrator would apply unseen (P3).
    pub fn load_settings(&self) -> Result<KeptSettings, StoreError> {
        match self.load("settings.json")? {
            None if self.directory_exists()? => Err(StoreError::SettingsLost(self.private.join("settings.json"))),
            settings => Ok(settings.unwrap_or_default()),
        }
    }

    /// An error is not "no directory": then what was lost would count as never there.
    fn directory_exists(&self) -> Result<bool, StoreError> {
        let path = self.public.join("directory");
        path.try_exists().map_err(|error| StoreError::Unreadable(path, error))
    }

    /// The id map. It is written before the directory that rests on it, so where only the directory is left, it was
    /// lost: ids drawn again could give somebody's uid, name or home to another (P2).
    pub fn load_ids(&self) -> Result<IdMap, StoreError> {
        let lost = || StoreError::IdsLost(self.private.join("ids.json"));
        match self.load::<IdMap>("ids.json")? {
            None if self.directory_exists()? => Err(lost()),
            Some(ids) if self.publishes_one_unknown_to(&ids) => Err(lost()),
            ids => Ok(ids.unwrap_or_default()),
        }
    }

    /// Whether somebody is in the directory who is not in this map: it is older, or another host's.
    fn publishes_one_unknown_to(&self, ids: &IdMap) -> bool {
        let Some(directory) = self.directory() else {
            return false;
        };
        let mut record = [0; MAX_USER_RECORD];
        let mut from = 0;
        while let Ok(Some((next, user))) = directory.next_user(from, &mut record) {
            let has_an_id = !user.tombstone && user.verdict != Verdict::NoEntry;
            if has_an_id && ids.kept_id(user.iam_user_id).is_none() {
                return true;
            }
            from = next;
        }
        false
    }

    /// Writes a private file where its content has changed.
    pub fn save(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        let path = self.private.join(name);
        if std::fs::read(&path).is_ok_and(|old| old == bytes) {
            return Ok(());
        }
        replace_file(&path, bytes, 0o600).map_err(|error| StoreError::Unwritable(path, error))
    }

    /// Writes a public file.
    pub fn publish(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        let path = self.public.join(name);
        replace_published(&path, bytes, 0o644).map_err(|error| StoreError::Unwritable(path, error))
    }

    /// The bytes of a public file as they are; empty where there is none.
    pub fn published(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.public.join(name)).unwrap_or_default()
    }

    /// The directory as it was left, if it is whole.
    pub fn directory(&self) -> Option<Directory> {
        Directory::open(&self.public.join("directory")).ok()
    }

    /// The same, read at once, for the audit. What decides reads record by record: a place that cannot be read is no reason to
    /// take the rest for empty.
    pub fn whole_directory(&self) -> Option<Directory> {
        Directory::open_whole(&self.public.join("directory")).ok()
    }

    /// The names and numbers that are published to resolve, of users and groups.
    pub fn published_keys(&self) -> Vec<NameOrId> {
        let mut keys = Vec::new();
        let Some(directory) = self.directory() else {
            return keys;
        };
        let mut record = [0; MAX_USER_RECORD];
        let mut from = 0;
        while let Ok(Some((next, user))) = directory.next_user(from, &mut record) {
            if !user.tombstone {
                keys.extend([NameOrId::Name(user.name.to_string()), NameOrId::Id(user.uid.get())]);
            }
            from = next;
        }
        let mut record = vec![0; LARGEST_GROUP];
        let mut from = 0;
        while let Ok(Some((next, group))) = directory.next_group(from, &mut record) {
            keys.extend([NameOrId::Name(group.name.to_string()), NameOrId::Id(group.gid.get())]);
            from = next;
        }
        keys
    }

    /// Records that everything answered at this unix time.
    pub fn touch_contact(&self, at: u64) -> Result<(), StoreError> {
        let path = self.public.join("contact");
        let unwritable = |error| StoreError::Unwritable(path.clone(), error);
        if !path.exists() {
            replace_file(&path, b"", 0o644).map_err(unwritable)?;
        }
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(at);
        File::options()
            .write(true)
            .open(&path)
            .and_then(|file| file.set_modified(time))
            .map_err(unwritable)
    }

    /// When everything last answered, unix time; `None`: not since this instance was made. A time later than `now`
    /// counts for nothing.
    pub fn contact(&self, now: u64) -> Option<u64> {
        let modified = keymaker_core::login::last_contact(&self.public.join("contact"))?;
        modified
            .duration_since(SystemTime::UNIX_EPOCH)
            .ok()
            .map(|age| age.as_secs())
            .filter(|at| *at <= now)
    }

    /// From now on there is no contact, so nobody of ours may log in until there is again.
    pub fn forget_contact(&self) -> Result<(), StoreError> {
        remove(&self.public.join("contact"))
    }

    /// Forgets everything: this host becomes an image.
    pub fn reset(&self) -> Result<(), StoreError> {
        for name in ["contact", "issuers", "keys", "directory"] {
            remove(&self.public.join(name))?;
        }
        for name in [
            "facts.json",
            "issuers.json",
            "settings.json",
            "ids.json",
            "neighbours.json",
        ] {
            remove(&self.private.join(name))?;
        }
        Ok(())
    }

    /// The program that was writing ended before it was done.
    pub fn interrupted(&self) -> StoreError {
        StoreError::Unwritable(self.public.clone(), io::ErrorKind::Interrupted.into())
    }

    /// Writes the status for everybody to read. It is a report: nothing is decided by it, and no failure of it matters.
    pub fn write_status(&self, status: &impl Serialize) {
        let path = self.run.join("status.json");
        let written = serde_json::to_vec_pretty(status).map_err(io::Error::from);
        if let Err(error) = written.and_then(|bytes| write_beside(&path, &bytes)) {
            tracing::warn!(%error, path = %path.display(), "could not write the status: {error}");
        }
    }
}

/// As `replace_file`, without waiting for the disk: /run is memory, and the status is written at every change.
fn write_beside(path: &Path, bytes: &[u8]) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let aside = path.with_extension("new");
    std::fs::write(&aside, bytes)?;
    std::fs::set_permissions(&aside, PermissionsExt::from_mode(0o644))?;
    std::fs::rename(&aside, path)
}

fn remove(path: &Path) -> Result<(), StoreError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(StoreError::Unwritable(path.to_owned(), error)),
        _ => Ok(()),
    }
}
