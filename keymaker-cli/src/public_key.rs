//! The public key that a user means to upload: found in the agent or a file, checked and fingerprinted before anything
//! is sent.
//!
//! Called by `upload-key`. No private key is read into this program: of OpenSSH's form only the public half, which stands
//! before it in the clear; of others ssh-keygen(1) extracts it, and asks for a passphrase.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use aws_smithy_types::base64;
use keymaker_aws::ssh_key_tags::TYPES;
use ssh_key::{HashAlg, PublicKey};

/// A public key and where it comes from.
#[derive(Debug)]
pub struct FoundPublicKey {
    /// `TYPE BASE64`, without the comment.
    pub line: String,
    /// `SHA256:…`, as ssh-keygen -l prints it.
    pub fingerprint: String,
    /// As [`kind`] has it.
    pub kind: String,
    /// The size of an RSA key.
    pub bits: Option<usize>,
    /// The agent, or the file.
    pub source: String,
}

impl FoundPublicKey {
    /// Whether IAM's store of keys takes it.
    pub fn is_rsa(&self) -> bool {
        self.bits.is_some()
    }
}

/// Why there is no key to upload.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublicKeyError {
    #[error(
        "no key to upload: neither the agent nor ~/.ssh has one; name a file (keymaker upload-key FILE), or make a key: \
         ssh-keygen -t rsa -b 4096"
    )]
    NoneFound,
    #[error("{0} has {1} keys that fit (ssh-add -L, ls ~/.ssh): say which one, by keymaker upload-key FILE")]
    Several(&'static str, usize),
    #[error("{0}: {1}")]
    Unreadable(PathBuf, String),
    #[error(
        "{0} is not an SSH key: name the .pub file of a key pair, one line that begins with ssh-rsa or ssh-ed25519"
    )]
    NotAKey(String),
    #[error(
        "IAM's store of SSH keys takes RSA keys only, and this one is of type {0}. Put it into a tag of the IAM user with \
         --as-tag (hosts heed it whose keymakerd.toml has tags = [\"keys\"], and no others), or make one for the store: \
         ssh-keygen -t rsa -b 4096"
    )]
    OnlyAsTag(String),
    #[error(
        "no file was named, and {found} has a key of yours, which would log you in as {user}: keymaker upload-key FILE --user {user}, with {user}'s \
         public key in FILE"
    )]
    NotTheirs { user: String, found: String },
    #[error("a tag of IAM has no room for this key ({0}): leave --as-tag out for an RSA key, or use an Ed25519 key")]
    NoRoomInTag(String),
    #[error("keys of type {0} open nothing here: make one with ssh-keygen -t rsa -b 4096, or ssh-keygen -t ed25519")]
    NotTaken(String),
    #[error("this RSA key has {0} bits, and IAM takes none below 2048: make one with ssh-keygen -t rsa -b 4096")]
    TooShort(usize),
    #[error("ssh-keygen does not read {0}: {1}")]
    NotExtracted(PathBuf, String),
}

/// The key of `file`; else the one key of the agent, else of ~/.ssh: an RSA key where there is one, unless it is for a
/// tag.
pub fn find(file: Option<&Path>, for_tag: bool) -> Result<FoundPublicKey, PublicKeyError> {
    if let Some(path) = file {
        return from_file(path);
    }
    let agent = agent_keys();
    let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    let kinds = if for_tag { &[false][..] } else { &[true, false] };
    for &rsa in kinds {
        if let Some(line) = the_one_of("the agent", lines(&agent, rsa))? {
            return check(line, "the agent");
        }
        let files = FILES.iter().filter(|(_, of_rsa)| *of_rsa == rsa);
        let files = files
            .map(|(name, _)| home.join(".ssh").join(name))
            .filter(|file| file.exists());
        if let Some(file) = the_one_of("~/.ssh", files.collect())? {
            return from_file(&file);
        }
    }
    Err(PublicKeyError::NoneFound)
}

/// ssh-keygen's own names (`ssh_config(5)`, `IdentityFile`), and whether the key is RSA.
const FILES: [(&str, bool); 5] = [
    ("id_rsa.pub", true),
    ("id_ecdsa.pub", false),
    ("id_ecdsa_sk.pub", false),
    ("id_ed25519.pub", false),
    ("id_ed25519_sk.pub", false),
];

/// What `ssh-add -L` prints; nothing where there is no agent or no ssh-add.
fn agent_keys() -> String {
    let listed = Command::new("ssh-add").arg("-L").stderr(Stdio::null()).output();
    listed.map_or_else(
        |_| String::new(),
        |output| String::from_utf8_lossy(&output.stdout).into_owned(),
    )
}

/// The agent's keys of RSA, or those that a tag takes.
fn lines(agent: &str, rsa: bool) -> Vec<&str> {
    let kind = |line: &str| line.split(' ').next().unwrap_or_default().to_owned();
    let fits = |line: &&str| {
        let kind = kind(line);
        if rsa {
            kind == "ssh-rsa"
        } else {
            TYPES.contains(&kind.as_str())
        }
    };
    agent.lines().filter(fits).collect()
}

fn the_one_of<T>(place: &'static str, mut found: Vec<T>) -> Result<Option<T>, PublicKeyError> {
    match found.len() {
        0 | 1 => Ok(found.pop()),
        several => Err(PublicKeyError::Several(place, several)),
    }
}

fn from_file(path: &Path) -> Result<FoundPublicKey, PublicKeyError> {
    let unreadable = |error: std::io::Error| PublicKeyError::Unreadable(path.to_owned(), error.to_string());
    let source = path.display().to_string();
    let mut first = String::new();
    let mut file = BufReader::new(File::open(path).map_err(unreadable)?);
    file.read_line(&mut first).map_err(unreadable)?;
    let converted: Option<&[&str]> = match first.trim_end() {
        "-----BEGIN OPENSSH PRIVATE KEY-----" => {
            if let Some(key) = public_half(file) {
                return judge(key, &source);
            }
            Some(&["-y"])
        }
        "---- BEGIN SSH2 PUBLIC KEY ----" => Some(&["-i", "-m", "RFC4716"]),
        "-----BEGIN PUBLIC KEY-----" => Some(&["-i", "-m", "PKCS8"]),
        "-----BEGIN RSA PUBLIC KEY-----" => Some(&["-i", "-m", "PEM"]),
        private if private.contains("PRIVATE KEY") => Some(&["-y"]),
        _ => None,
    };
    match converted {
        Some(how) => check(&converted_by_ssh_keygen(path, how)?, &source),
        None => check(&std::fs::read_to_string(path).map_err(unreadable)?, &source),
    }
}

/// The public key that stands before a private one (OpenSSH, `PROTOCOL.key`: the magic word, the names of cipher and key
/// derivation, its options, the number of keys, the public key, the private ones). Nothing is read beyond it.
fn public_half(file: impl BufRead) -> Option<PublicKey> {
    let (mut text, mut lines) = (String::new(), file.lines());
    loop {
        text += lines.next()?.ok()?.trim();
        let whole = text.len() - text.len() % 4;
        let bytes = base64::decode(text.get(..whole)?).ok()?;
        let mut rest = bytes.as_slice();
        if let Some(blob) = public_blob(&mut rest) {
            return PublicKey::from_bytes(blob).ok();
        }
        // A key of 16,384 bits, its numbers and names; what has not come by then is something else.
        if text.len() > 8192 {
            return None;
        }
    }
}

fn public_blob<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    *rest = rest.strip_prefix(b"openssh-key-v1\0")?;
    for _cipher_derivation_options in 0..3 {
        string(rest)?;
    }
    *rest = rest.get(4..)?;
    string(rest)
}

/// RFC 4251, 5: a length of 32 bits, and as many bytes.
fn string<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, behind) = rest.split_at_checked(4)?;
    let length = u32::from_be_bytes(length.try_into().ok()?);
    let (found, behind) = behind.split_at_checked(length.try_into().ok()?)?;
    *rest = behind;
    Some(found)
}

/// It asks for the passphrase of an encrypted private key at the terminal.
fn converted_by_ssh_keygen(path: &Path, how: &[&str]) -> Result<String, PublicKeyError> {
    let failed = |why: String| PublicKeyError::NotExtracted(path.to_owned(), why);
    let output = Command::new("ssh-keygen")
        .args(how)
        .arg("-f")
        .arg(path)
        .stdin(Stdio::inherit())
        .output()
        .map_err(|error| failed(error.to_string()))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(failed(
            String::from_utf8_lossy(&output.stderr).trim().replace('\n', " "),
        ))
    }
}

/// The key, if IAM would take it.
pub fn check(text: &str, source: &str) -> Result<FoundPublicKey, PublicKeyError> {
    let key = PublicKey::from_openssh(text.trim()).map_err(|_| PublicKeyError::NotAKey(source.to_owned()))?;
    judge(key, source)
}

fn judge(mut key: PublicKey, source: &str) -> Result<FoundPublicKey, PublicKeyError> {
    let (kind, bits) = (kind(&key), rsa_bits(&key));
    match bits {
        Some(bits) if bits < 2048 => return Err(PublicKeyError::TooShort(bits)),
        None if !TYPES.contains(&kind.as_str()) => return Err(PublicKeyError::NotTaken(kind)),
        _ => {}
    }
    key.set_comment("");
    let line = key
        .to_openssh()
        .map_err(|_| PublicKeyError::NotAKey(source.to_owned()))?;
    Ok(FoundPublicKey {
        line: line.trim().to_owned(),
        fingerprint: key.fingerprint(HashAlg::Sha256).to_string(),
        kind,
        bits,
        source: source.to_owned(),
    })
}

/// `ssh-ed25519`, `ssh-rsa 4096`.
pub fn kind(key: &PublicKey) -> String {
    let kind = key.algorithm().as_str().to_owned();
    rsa_bits(key).map_or_else(|| kind.clone(), |bits| format!("{kind} {bits}"))
}

/// The size of an RSA key; `None` of another.
pub fn rsa_bits(key: &PublicKey) -> Option<usize> {
    let number = key.key_data().rsa()?.n.as_positive_bytes().unwrap_or_default();
    let first = number.first();
    Some(first.map_or(0, |first| number.len() * 8 - first.leading_zeros() as usize))
}

#[cfg(test)]
mod tests {
    use super::*;
    use test_folder::TestFolder;

    const RSA1024: &str = include_str!("../testdata/rsa1024.pub");
    const RSA2048: &str = include_str!("../testdata/rsa2048.pub");
    const ED25519: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJVIdsHq0Z9wh8xz9aLmBwWbJY8mNUvXwzNlZQK9iJ0w me";

    #[test]
    fn a_key_that_iam_would_not_take_is_refused_with_the_remedy() {
        let refused = |text: &str| check(text, "x").unwrap_err();
        assert_eq!(refused(RSA1024), PublicKeyError::TooShort(1024));
        assert_eq!(refused("ssh-rsa rubbish"), PublicKeyError::NotAKey("x".to_owned()));
        assert_eq!(refused(""), PublicKeyError::NotAKey("x".to_owned()));
        assert!(refused(RSA1024).to_string().contains("ssh-keygen -t rsa"));
    }

    #[test]
    fn a_key_is_sent_without_its_comment() {
        let found = check(&format!("{} me@laptop", RSA2048.trim()), "x").unwrap();
        assert_eq!(found.line.split(' ').count(), 2);
        assert_eq!((found.bits, found.kind.as_str()), (Some(2048), "ssh-rsa 2048"));
        assert!(found.fingerprint.starts_with("SHA256:"));
        let found = check(ED25519, "x").unwrap();
        assert!(!found.is_rsa() && ED25519.starts_with(&found.line));
    }

    #[test]
    fn the_agents_one_key_of_a_kind_is_taken_and_several_are_a_question() {
        let rsa = RSA2048.trim();
        let one = |agent: &str, rsa| the_one_of("the agent", lines(agent, rsa)).map(|found| found.is_some());
        assert_eq!(one("The agent has no identities.\n", true), Ok(false));
        assert_eq!(one(ED25519, true), Ok(false));
        assert_eq!(one(&format!("{ED25519}\n{rsa}"), true), Ok(true));
        assert_eq!(one(&format!("{ED25519}\n{rsa}"), false), Ok(true));
        let several = Err(PublicKeyError::Several("the agent", 2));
        assert_eq!(one(&format!("{rsa}\n{rsa}"), true), several);
    }

    /// By the real ssh-keygen; without it there is nothing to compare with.
    #[test]
    fn every_form_that_ssh_keygen_writes_is_read_and_nobody_is_asked_where_the_public_half_stands_in_the_clear() {
        let folder = TestFolder::new();
        let key = folder.join("key");
        let path = key.display().to_string();
        let keygen = |arguments: &[&str]| {
            let output = Command::new("ssh-keygen")
                .args(arguments)
                .stdin(Stdio::null())
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{arguments:?}: {said}");
            output.stdout
        };
        let kinds = ["rsa 2048", "rsa 4096", "ed25519 256", "ecdsa 256", "ecdsa 521"];
        for (kind, passphrase) in kinds.iter().flat_map(|kind| [(kind, ""), (kind, "secret")]) {
            let _ = std::fs::remove_file(&key);
            let (name, bits) = kind.split_once(' ').unwrap();
            keygen(&["-q", "-t", name, "-b", bits, "-N", passphrase, "-f", &path]);
            // So that nothing but the private key can have been read.
            let public = folder.join("public");
            std::fs::rename(folder.join("key.pub"), &public).unwrap();
            let line = std::fs::read_to_string(&public).unwrap();
            let found = from_file(&key).unwrap();
            assert!(line.starts_with(&found.line), "{kind}");
            for form in ["RFC4716", "PKCS8", "PEM"] {
                if name == "ed25519" && form != "RFC4716" {
                    continue;
                }
                let other = folder.file(
                    "other",
                    keygen(&["-e", "-m", form, "-f", &public.display().to_string()]),
                );
                let found = from_file(&other).unwrap();
                assert!(line.starts_with(&found.line), "{kind} as {form}");
            }
        }
    }

    #[test]
    fn a_private_key_that_is_cut_off_or_something_else_has_no_public_half() {
        let begins = "b3BlbnNzaC1rZXktdjEAAAAABG5vbmU";
        for text in ["", "AAAA\n", begins, "!!!!", &"A".repeat(9000)] {
            assert!(public_half(text.as_bytes()).is_none(), "{text}");
        }
    }
}
