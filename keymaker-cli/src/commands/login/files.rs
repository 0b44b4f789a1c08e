//! The files in ~/.ssh/keymaker: how one is written, put in place and taken away, and which go because nobody has used them for days.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::error::LoginError;

/// Puts this text into a new file in its place, for nobody else to read.
pub fn write(file: &Path, text: &str) -> Result<(), LoginError> {
    remove(file)?;
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file);
    let put = made.and_then(|mut file| file.write_all(text.as_bytes()));
    put.map_err(|error| LoginError::File(file.to_owned(), error))
}

/// Takes it away, if it is there.
pub fn remove(file: &Path) -> Result<(), LoginError> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(LoginError::File(file.to_owned(), error)),
        _ => Ok(()),
    }
}

/// Puts it where another was.
pub fn rename(from: &Path, to: &Path) -> Result<(), LoginError> {
    fs::rename(from, to).map_err(|error| LoginError::File(to.to_owned(), error))
}

/// Takes away what nobody has used for days: no key serves longer than one, and each session of AWS's has another place. What cannot be read or
/// removed stays. Called under the lock of the folder.
pub fn remove_the_unused(folder: &Path, now: SystemTime) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let is_ours = entry.file_name().to_str().is_some_and(|name| name.starts_with("id-"));
        let written = entry.metadata().ok().filter(fs::Metadata::is_file);
        let written = written.and_then(|metadata| metadata.modified().ok());
        let age = written.and_then(|written| now.duration_since(written).ok());
        if is_ours && age.is_some_and(|age| age > UNUSED) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

const UNUSED: Duration = Duration::from_secs(3 * 86_400);

#[cfg(test)]
mod tests {
    use super::*;
    use test_folder::TestFolder;

    #[test]
    fn what_nobody_has_used_for_days_goes_and_nothing_else() {
        let folder = TestFolder::new();
        let at = |name: &str, days: u64| {
            let file = fs::File::create(folder.join(name)).unwrap();
            file.set_modified(SystemTime::now() - Duration::from_secs(days * 86_400 + 60))
                .unwrap();
        };
        for name in ["id-old", "id-old.pub", "id-old-cert.pub", "id-old.new", "lock", "notes"] {
            at(name, 3);
        }
        for name in ["id-young", "id-young.pub"] {
            at(name, 2);
        }
        fs::create_dir(folder.join("id-folder")).unwrap();
        remove_the_unused(&folder, SystemTime::now());
        let mut left: Vec<_> = fs::read_dir(&*folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        assert_eq!(left, ["id-folder", "id-young", "id-young.pub", "lock", "notes"]);
    }
}
