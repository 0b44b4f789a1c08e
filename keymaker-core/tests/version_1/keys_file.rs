//! `/var/lib/keymaker/public/keys`: the public keys of each user, and when IAM last answered about them.
//!
//! The keys command and PAM's session check read it; only keymakerd writes it. A record, found by the user's login name:
//!
//! ```text
//! 0  uid u32 · 4 answered_at u64 (unix time) · 12 keys u32
//! 16 the login name and IAM's UserId, then for each key its IAM id, its line and its fingerprint, each followed by a zero byte
//! ```
// Frozen: what programs that began before the upgrade have in memory. Never changed with the source that it was copied from.

use std::path::Path;

use crate::directory_file::User;
use crate::id::Uid;
use crate::name::UserName;
use crate::public_key::{MAX_LINE, SshPublicKey};
use crate::published_file::format::{Key, u32_at, u64_at};
use crate::published_file::reader::{PublishedFile, ReadError};

const MAGIC: [u8; 8] = *b"KMKEYS\0\x01";
const USER_NAMES: usize = 0;
const MAX_KEYS: usize = 32;
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
    /// IAM's UserId, likewise.
    pub iam_user_id: String,
    /// When IAM last answered about these keys: unix time, moved forward at most hourly.
    pub answered_at: u64,
    /// The active keys.
    pub keys: Vec<PublishedKey>,
}

/// One active key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishedKey {
    /// IAM's SSHPublicKeyId (`APKA…`), or the name of the tag that carries the key.
    pub id: String,
    /// `TYPE BASE64`, checked by [`SshPublicKey::parse`].
    pub line: String,
    /// `SHA256:BASE64` as OpenSSH prints it, for the log: keymakerd computes it, so that nothing inside sshd has to hash.
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
        let texts = str::from_utf8(record.get(16..)?).ok()?.strip_suffix('\0')?;
        let mut texts = texts.split('\0');
        let name = UserName::parse(texts.next()?.as_bytes()).ok()?;
        let iam_user_id = texts.next()?.to_owned();
        let mut keys = Vec::new();
        for _ in 0..count {
            let id = texts.next()?.to_owned();
            let line = SshPublicKey::parse(texts.next()?)?.line().to_owned();
            let fingerprint = texts.next().filter(|text| is_fingerprint(text))?.to_owned();
            keys.push(PublishedKey { id, line, fingerprint });
        }
        if texts.next().is_some() {
            return None;
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
        let Some(slot) = self.file.find(USER_NAMES, Key::Name(name.as_str()))? else {
            return Ok(None);
        };
        if slot.len as usize > MAX_RECORD {
            return Err(ReadError::Damaged);
        }
        let mut buffer = vec![0; slot.len as usize];
        let user = UserKeys::parse(self.file.record(slot, &mut buffer)?).ok_or(ReadError::Damaged)?;
        Ok((user.name == name).then_some(user))
    }
}

/// Whether this is what ssh-keygen(1) `-l` prints for a key: the unpadded base64 of 32 bytes.
fn is_fingerprint(text: &str) -> bool {
    let base64 = text.strip_prefix("SHA256:").unwrap_or_default().as_bytes();
    base64.len() == 43
        && base64
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/'))
}
