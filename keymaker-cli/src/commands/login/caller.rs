//! Whose the AWS credentials are: asked once for an access key, then kept beside the proof, so that a new token takes one call of STS and not two.
//!
//! What belongs to an access key never changes, and a file that says something else opens nothing: AWS compares the `UserId` in the tag with
//! its own (`aws:userid`), and hosts compare it with the directory's. Of the credentials only the id is kept, which is no secret.

use std::fs;
use std::path::Path;

use super::error::LoginError;
use super::files;

/// The IAM user of an access key.
#[derive(Debug, PartialEq, Eq)]
pub struct KeyHolder {
    /// What it is kept by.
    pub access_key_id: String,
    /// Twelve digits.
    pub account: String,
    /// What policies call `aws:userid`.
    pub user_id: String,
}

impl KeyHolder {
    /// As it was kept for this access key.
    pub fn read(file: &Path, access_key_id: &str) -> Option<Self> {
        let text = fs::read_to_string(file).ok()?;
        // Without its end it was cut.
        let words: Vec<&str> = text.strip_suffix('\n')?.split(' ').collect();
        let [of, account, user_id] = words[..] else { return None };
        (of == access_key_id).then(|| Self {
            access_key_id: of.to_owned(),
            account: account.to_owned(),
            user_id: user_id.to_owned(),
        })
    }

    /// Keeps it. Called under the lock of the folder.
    pub fn write(&self, file: &Path) -> Result<(), LoginError> {
        let text = format!("{} {} {}\n", self.access_key_id, self.account, self.user_id);
        files::write(file, &text)
    }

    /// Keeps it no longer.
    pub fn forget(file: &Path) -> Result<(), LoginError> {
        files::remove(file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use test_folder::TestFolder;

    fn caller() -> KeyHolder {
        KeyHolder {
            access_key_id: "AKIAALICE00000000000".to_owned(),
            account: "123456789012".to_owned(),
            user_id: "AIDAALICE00000000000".to_owned(),
        }
    }

    #[test]
    fn who_asks_is_kept_for_one_access_key_and_forgotten() {
        let folder = TestFolder::new();
        let file = folder.join("id-1.caller");
        assert_eq!(KeyHolder::read(&file, "AKIAALICE00000000000"), None);
        caller().write(&file).unwrap();
        caller().write(&file).unwrap();
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(KeyHolder::read(&file, "AKIAALICE00000000000"), Some(caller()));
        assert_eq!(KeyHolder::read(&file, "AKIABOB0000000000000"), None);
        for cut in [
            "",
            "AKIAALICE00000000000",
            "AKIAALICE00000000000 1\n",
            "AKIAALICE00000000000 1 2 3\n",
            "AKIAALICE00000000000 1 AIDA",
        ] {
            fs::write(&file, cut).unwrap();
            assert_eq!(KeyHolder::read(&file, "AKIAALICE00000000000"), None, "{cut}");
        }
        KeyHolder::forget(&file).unwrap();
        KeyHolder::forget(&file).unwrap();
        assert!(!file.exists());
    }
}
