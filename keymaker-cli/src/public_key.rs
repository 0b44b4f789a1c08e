//! The public key that a user means to upload: found in the agent or a file, checked and fingerprinted before anything
//! is sent.
//!
//! Called by `upload-key`. A private key is never read into this program: ssh-keygen(1) extracts its public half.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use ssh_key::{HashAlg, PublicKey};

/// A public key and where it comes from.
#[derive(Debug)]
pub struct FoundPublicKey {
    /// `ssh-rsa BASE64`, without the comment.
    pub line: String,
    /// `SHA256:…`, as ssh-keygen -l prints it.
    pub fingerprint: String,
    /// The size of an RSA key.
    pub bits: usize,
    /// The agent, or the file.
    pub source: String,
}

/// Why there is no key to upload.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublicKeyError {
    #[error(
        "no RSA key to upload: the agent has none and ~/.ssh/id_rsa.pub is not there; name a file with \
         --identity FILE, or make a key: ssh-keygen -t rsa -b 4096"
    )]
    NoneFound,
    #[error("the agent has {0} RSA keys (ssh-add -L): say which one with --identity FILE")]
    Several(usize),
    #[error("{0}: {1}")]
    Unreadable(PathBuf, String),
    #[error("{0} is not an SSH key: name the .pub file of a key pair, one line that begins with ssh-rsa")]
    NotAKey(String),
    #[error(
        "IAM keeps RSA keys only, and this is one of type {0}: make one with ssh-keygen -t rsa -b 4096, or, \
         where the hosts take keys from tags (tags = [\"keys\"] in keymakerd.toml), ask an administrator for \
         the tag keymaker:ssh-key-1 with this key on your IAM user"
    )]
    NotRsa(String),
    #[error("this RSA key has {0} bits, and IAM takes none below 2048: make one with ssh-keygen -t rsa -b 4096")]
    TooShort(usize),
    #[error("ssh-keygen does not read {0}: {1}")]
    NotExtracted(PathBuf, String),
}

/// The key of `identity`, else the agent's one RSA key, else `~/.ssh/id_rsa.pub`.
pub fn find(identity: Option<&Path>) -> Result<FoundPublicKey, PublicKeyError> {
    if let Some(path) = identity {
        return from_file(path);
    }
    match the_one_of(&agent_keys()) {
        Err(PublicKeyError::NoneFound) => {}
        found => return found,
    }
    let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    let default = home.join(".ssh/id_rsa.pub");
    if default.exists() {
        from_file(&default)
    } else {
        Err(PublicKeyError::NoneFound)
    }
}

/// What `ssh-add -L` prints; nothing where there is no agent or no ssh-add.
fn agent_keys() -> String {
    let listed = Command::new("ssh-add").arg("-L").stderr(Stdio::null()).output();
    listed.map_or_else(
        |_| String::new(),
        |output| String::from_utf8_lossy(&output.stdout).into_owned(),
    )
}

fn the_one_of(agent: &str) -> Result<FoundPublicKey, PublicKeyError> {
    let rsa: Vec<&str> = agent.lines().filter(|line| line.starts_with("ssh-rsa ")).collect();
    match rsa.as_slice() {
        [] => Err(PublicKeyError::NoneFound),
        [line] => check(line, "the agent"),
        several => Err(PublicKeyError::Several(several.len())),
    }
}

fn from_file(path: &Path) -> Result<FoundPublicKey, PublicKeyError> {
    let unreadable = |error: std::io::Error| PublicKeyError::Unreadable(path.to_owned(), error.to_string());
    let source = path.display().to_string();
    let mut first = String::new();
    let mut file = BufReader::new(std::fs::File::open(path).map_err(unreadable)?);
    file.read_line(&mut first).map_err(unreadable)?;
    let converted: Option<&[&str]> = match first.trim_end() {
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
    let mut key = PublicKey::from_openssh(text.trim()).map_err(|_| PublicKeyError::NotAKey(source.to_owned()))?;
    let Some(bits) = rsa_bits(&key) else {
        return Err(PublicKeyError::NotRsa(key.algorithm().as_str().to_owned()));
    };
    if bits < 2048 {
        return Err(PublicKeyError::TooShort(bits));
    }
    key.set_comment("");
    let line = key
        .to_openssh()
        .map_err(|_| PublicKeyError::NotAKey(source.to_owned()))?;
    Ok(FoundPublicKey {
        line: line.trim().to_owned(),
        fingerprint: key.fingerprint(HashAlg::Sha256).to_string(),
        bits,
        source: source.to_owned(),
    })
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

    const RSA1024: &str = include_str!("../testdata/rsa1024.pub");
    const RSA2048: &str = include_str!("../testdata/rsa2048.pub");
    const ED25519: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJVIdsHq0Z9wh8xz9aLmBwWbJY8mNUvXwzNlZQK9iJ0w me";

    #[test]
    fn a_key_that_iam_would_not_take_is_refused_with_the_remedy() {
        let refused = |text: &str| check(text, "x").unwrap_err();
        assert_eq!(refused(ED25519), PublicKeyError::NotRsa("ssh-ed25519".to_owned()));
        assert_eq!(refused(RSA1024), PublicKeyError::TooShort(1024));
        assert_eq!(refused("ssh-rsa rubbish"), PublicKeyError::NotAKey("x".to_owned()));
        assert_eq!(refused(""), PublicKeyError::NotAKey("x".to_owned()));
        assert!(refused(ED25519).to_string().contains("ssh-keygen -t rsa"));
    }

    #[test]
    fn a_key_is_sent_without_its_comment() {
        let found = check(&format!("{} me@laptop", RSA2048.trim()), "x").unwrap();
        assert_eq!(found.line.split(' ').count(), 2);
        assert_eq!(found.bits, 2048);
        assert!(found.fingerprint.starts_with("SHA256:"));
    }

    #[test]
    fn the_agents_one_rsa_key_is_taken_and_several_are_a_question() {
        assert_eq!(
            the_one_of("The agent has no identities.\n").unwrap_err(),
            PublicKeyError::NoneFound
        );
        assert_eq!(the_one_of(ED25519).unwrap_err(), PublicKeyError::NoneFound);
        assert!(the_one_of(&format!("{ED25519}\n{RSA2048}")).is_ok());
        assert_eq!(
            the_one_of(&format!("{}\n{}", RSA2048.trim(), RSA2048.trim())).unwrap_err(),
            PublicKeyError::Several(2)
        );
    }
}
