//! `/var/lib/keymaker/public/keys`: the public keys of each user, and when IAM last answered about them.
//!
//! The keys command and PAM's session check read it; only keymakerd writes it. A record, found by the user's login
//! name:
//!
//! ```text
//! 0  uid u32 · 4 answered_at u64 (unix time) · 12 keys u32
//! 16 the login name and IAM's UserId, then for each key its IAM id, its line and its fingerprint, each followed by a zero byte
//! ```
//! A reader skips what a later writer puts behind that.

use std::path::Path;

use crate::directory_file::{RecordError, User};
use crate::id::Uid;
use crate::name::UserName;
use crate::public_key::{MAX_LINE, SshPublicKey};
use crate::published_file::format::put;
use crate::published_file::format::{HashKey, Key, META_LEN, u32_at, u64_at};
use crate::published_file::reader::{PublishedFile, ReadError};
use crate::published_file::writer::{BuildError, Built, FileBuilder};

const MAGIC: [u8; 8] = *b"KMKEYS\0\x01";
const USER_NAMES: usize = 0;
/// How many keys a user's record holds. IAM's store has five a user, tags up to 50.
pub const MAX_KEYS: usize = 32;
const MAX_RECORD: usize = 512 + MAX_KEYS * (MAX_LINE + 256);

/// The open keys file.
#[derive(Debug)]
pub struct KeysFile {
    file: PublishedFile,
}

/// One user's keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserKeys {
    /// The login name.
    pub name: UserName,
    /// The user id; must be the directory's, or the keys are another person's.
    pub uid: Uid,
    /// IAM's `UserId`, likewise.
    pub iam_user_id: String,
    /// When IAM last answered about these keys: unix time, moved forward in steps, an hour at most.
    pub answered_at: u64,
    /// The active keys.
    pub keys: Vec<PublishedKey>,
}

/// One active key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishedKey {
    /// IAM's `SSHPublicKeyId` (`APKA…`), or the name of the tag that carries the key.
    pub id: String,
    /// `TYPE BASE64`, checked by [`SshPublicKey::parse`].
    pub line: String,
    /// `SHA256:BASE64` as OpenSSH prints it, for the log: keymakerd computes it, so that nothing inside sshd has to
    /// hash.
    pub fingerprint: String,
}

impl UserKeys {
    /// Whether these are the keys of that user of the directory, and not of a predecessor in the name or the uid (P2).
    pub fn are_of(&self, user: &User<'_>) -> bool {
        self.name == user.name && self.uid == user.uid && self.iam_user_id == user.iam_user_id
    }

    /// Reads a record; `None` where it is damaged, or holds a line that is more than a key.
    pub fn parse(record: &[u8]) -> Option<Self> {
        let count = u32_at(record, 12)?;
        let mut texts = Texts(record.get(16..)?);
        let name = UserName::parse(texts.next()?.as_bytes()).ok()?;
        let iam_user_id = texts.next()?.to_owned();
        let mut keys = Vec::new();
        for _ in 0..count {
            let id = texts.next()?.to_owned();
            let line = SshPublicKey::parse(texts.next()?)?.line().to_owned();
            let fingerprint = texts.next().filter(|text| is_fingerprint(text))?.to_owned();
            keys.push(PublishedKey { id, line, fingerprint });
        }
        Some(Self {
            name,
            uid: Uid::new(u32_at(record, 0)?)?,
            iam_user_id,
            answered_at: u64_at(record, 4)?,
            keys,
        })
    }
}

impl KeysFile {
    /// Opens the keys file at `path`.
    pub fn open(path: &Path) -> Result<Self, ReadError> {
        Ok(Self {
            file: PublishedFile::open(path, MAGIC)?,
        })
    }

    /// The AWS account and the EC2 instance for which the file was made.
    pub fn origin(&self) -> (String, String) {
        let text = |from: usize, to: usize| {
            let field = self.file.meta().get(from..to).unwrap_or_default();
            String::from_utf8_lossy(field).trim_end_matches('\0').to_owned()
        };
        (text(0, 12), text(12, 44))
    }

    /// The keys of this user; `None` where they were never fetched.
    pub fn user(&self, name: UserName) -> Result<Option<UserKeys>, ReadError> {
        for slot in self.file.candidates(USER_NAMES, Key::Name(name.as_str()))? {
            if slot.len as usize > MAX_RECORD {
                return Err(ReadError::Damaged);
            }
            let mut buffer = vec![0; slot.len as usize];
            let user = UserKeys::parse(self.file.record(slot, &mut buffer)?).ok_or(ReadError::Damaged)?;
            if user.name == name {
                return Ok(Some(user));
            }
        }
        Ok(None)
    }
}

/// Texts, each followed by a zero byte.
struct Texts<'r>(&'r [u8]);

impl<'r> Iterator for Texts<'r> {
    type Item = &'r str;

    fn next(&mut self) -> Option<&'r str> {
        let end = self.0.iter().position(|byte| *byte == 0)?;
        let (text, rest) = self.0.split_at_checked(end)?;
        self.0 = rest.get(1..)?;
        str::from_utf8(text).ok()
    }
}

/// Whether this is what ssh-keygen(1) `-l` prints for a key: the unpadded base64 of 32 bytes.
pub fn is_fingerprint(text: &str) -> bool {
    let base64 = text.strip_prefix("SHA256:").unwrap_or_default().as_bytes();
    base64.len() == 43
        && base64
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/'))
}

/// Builds the bytes of a keys file.
pub struct KeysBuilder {
    file: FileBuilder,
}

impl KeysBuilder {
    /// An empty keys file of this account and instance.
    pub fn new(account: &str, instance_id: &str) -> Self {
        let mut meta = [0; META_LEN];
        put(&mut meta, 0, account.as_bytes().get(..12).unwrap_or(account.as_bytes()));
        put(
            &mut meta,
            12,
            instance_id.as_bytes().get(..32).unwrap_or(instance_id.as_bytes()),
        );
        Self {
            file: FileBuilder::new(MAGIC, meta),
        }
    }

    /// Adds a user's keys. What is not a key and nothing else is an error, never written (P10).
    pub fn user(&mut self, user: &UserKeys) -> Result<(), RecordError> {
        if user.keys.len() > MAX_KEYS {
            return Err(RecordError::TooMany);
        }
        let mut record = Vec::new();
        record.extend(user.uid.get().to_le_bytes());
        record.extend(user.answered_at.to_le_bytes());
        record.extend((user.keys.len() as u32).to_le_bytes());
        let texts = [user.name.as_str(), &user.iam_user_id];
        let keys = user.keys.iter();
        let keys = keys.flat_map(|key| [key.id.as_str(), &key.line, &key.fingerprint]);
        for text in texts.into_iter().chain(keys) {
            if text.contains(|c: char| c.is_control()) || text.len() > MAX_LINE {
                return Err(RecordError::BadText);
            }
            record.extend(text.as_bytes());
            record.push(0);
        }
        if UserKeys::parse(&record).as_ref() != Some(user) {
            return Err(RecordError::BadText);
        }
        self.file.add(&record, &[(USER_NAMES, Key::Name(user.name.as_str()))])?;
        Ok(())
    }

    /// The bytes of the file, under a new key.
    pub fn build(&self, generation: u64) -> Result<Vec<u8>, BuildError> {
        Ok(self.file.build(generation)?.bytes)
    }

    /// The same under a given key, for anybody who compares bytes.
    pub fn build_with(&self, generation: u64, key: HashKey) -> Result<Vec<u8>, BuildError> {
        Ok(self.file.build_with(generation, key)?.bytes)
    }

    /// What is to follow `former`, the bytes of a published keys file; `None` where that says the same already.
    pub fn build_after(&self, former: &[u8]) -> Result<Option<Built>, BuildError> {
        self.file.build_after(former)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use test_folder::TestFolder;

    fn alice(lines: &[&str]) -> UserKeys {
        UserKeys {
            name: UserName::parse(b"alice").unwrap(),
            uid: Uid::new(1_900_000_000).unwrap(),
            iam_user_id: "AIDAALICE".to_owned(),
            answered_at: 1_800_000_000,
            keys: lines
                .iter()
                .map(|line| PublishedKey {
                    id: "APKA1".to_owned(),
                    line: (*line).to_owned(),
                    fingerprint: FINGERPRINT.to_owned(),
                })
                .collect(),
        }
    }

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJVIdsHq0Z9wh8xz9aLmBwWbJY8mNUvXwzNlZQK9iJ0w";

    // As ssh-keygen -l prints it for that key.
    const FINGERPRINT: &str = "SHA256:edV/F4HdipXmCHb1s/PWblk7mQtkHYFqQ1SGxELZntQ";

    #[test]
    fn keys_come_back_as_they_were_written() {
        let folder = TestFolder::new();
        let mut builder = KeysBuilder::new("123456789012", "i-1");
        builder.user(&alice(&[KEY, KEY])).unwrap();
        let path = folder.file("keys", builder.build(1).unwrap());
        let file = KeysFile::open(&path).unwrap();
        assert_eq!(file.origin(), ("123456789012".to_owned(), "i-1".to_owned()));
        assert_eq!(
            file.user(UserName::parse(b"alice").unwrap()).unwrap(),
            Some(alice(&[KEY, KEY]))
        );
        assert_eq!(file.user(UserName::parse(b"bob").unwrap()).unwrap(), None);
    }

    #[test]
    fn what_a_later_writer_puts_behind_a_record_is_skipped() {
        let mut builder = KeysBuilder::new("", "");
        builder.user(&alice(&[KEY])).unwrap();
        let folder = TestFolder::new();
        let path = folder.file("keys", builder.build(1).unwrap());
        let file = PublishedFile::open(&path, MAGIC).unwrap();
        let mut buffer = [0; 1024];
        let record = file.find(USER_NAMES, Key::Name("alice"), &mut buffer, |_| true);
        let longer = [record.unwrap().unwrap(), &mut [0xff, 0, 0xff]].concat();
        assert_eq!(UserKeys::parse(&longer), Some(alice(&[KEY])));
        assert_eq!(
            UserKeys::parse(&longer[..longer.len() - 4]),
            None,
            "cut in its last text"
        );
    }

    /// An ssh-rsa line of exactly this length.
    fn rsa_of(len: usize) -> String {
        let base64 = "AAAAB3NzaC1yc2E".to_owned() + &"A".repeat(len - "ssh-rsa ".len() - 15);
        format!("ssh-rsa {base64}")
    }

    #[test]
    fn the_longest_keys_fit_and_a_larger_record_is_never_read() {
        let longest = rsa_of(MAX_LINE);
        let mut user = alice(&vec![longest.as_str(); MAX_KEYS]);
        for key in &mut user.keys {
            // As long as the key of an IAM tag may be.
            key.id = "k".repeat(128);
        }
        let read = |user: &UserKeys| {
            let mut builder = KeysBuilder::new("", "");
            builder.user(user).unwrap();
            let folder = TestFolder::new();
            let path = folder.file("keys", builder.build(1).unwrap());
            KeysFile::open(&path).unwrap().user(user.name)
        };
        assert_eq!(read(&user).unwrap(), Some(user.clone()));
        // What no user has: a reader would have to make room for it inside sshd.
        for key in &mut user.keys {
            key.id = "k".repeat(256);
        }
        assert!(matches!(read(&user), Err(ReadError::Damaged)));
    }

    // P2
    #[test]
    fn the_keys_of_a_predecessor_in_the_name_or_in_the_uid_are_nobodys() {
        use crate::directory_file::records::tests_support::with_alice;
        let keys = UserKeys {
            iam_user_id: "AIDA".to_owned(),
            ..alice(&[KEY])
        };
        let are_hers = |keys: UserKeys| with_alice(|user| keys.are_of(user));
        assert!(are_hers(keys.clone()));
        assert!(!are_hers(UserKeys {
            name: UserName::parse(b"alicia").unwrap(),
            ..keys.clone()
        }));
        assert!(!are_hers(UserKeys {
            uid: Uid::new(1_900_000_001).unwrap(),
            ..keys.clone()
        }));
        assert!(!are_hers(UserKeys {
            iam_user_id: "AIDB".to_owned(),
            ..keys
        }));
    }

    // P10
    #[test]
    fn a_line_that_is_more_than_a_key_is_never_written() {
        let mut builder = KeysBuilder::new("", "");
        for line in [
            format!("{KEY}\n{KEY}"),
            format!("{KEY}\0{KEY}"),
            format!("{KEY} x"),
            format!("restrict {KEY}"),
        ] {
            assert_eq!(builder.user(&alice(&[&line])), Err(RecordError::BadText), "{line:?}");
        }
    }

    #[test]
    fn an_id_that_would_forge_a_line_or_fill_the_record_is_never_written() {
        let mut builder = KeysBuilder::new("", "");
        for id in ["APKA1\n", "\u{7f}", &"k".repeat(MAX_LINE + 1)] {
            let mut user = alice(&[KEY]);
            user.keys[0].id = id.to_owned();
            assert_eq!(builder.user(&user), Err(RecordError::BadText), "{id:?}");
            let mut user = alice(&[KEY]);
            user.iam_user_id = id.to_owned();
            assert_eq!(builder.user(&user), Err(RecordError::BadText), "{id:?}");
        }
    }

    #[test]
    fn what_is_not_a_fingerprint_is_never_written() {
        let mut builder = KeysBuilder::new("", "");
        for fingerprint in [
            "",
            "SHA256:",
            "MD5:00:11",
            &format!("{FINGERPRINT}="),
            &format!(" {FINGERPRINT}"),
        ] {
            let mut user = alice(&[KEY]);
            user.keys[0].fingerprint = fingerprint.to_owned();
            assert_eq!(builder.user(&user), Err(RecordError::BadText), "{fingerprint:?}");
        }
    }
}
