//! An SSH public key as it may stand on a line of sshd's: a known type and the canonical base64 of a blob of that type.
//! Nothing else.
//!
//! keymakerd parses IAM's text with a full parser and re-encodes it; here every program that reads or prints a key
//! checks that the line can hold nothing but a key: no option, no comment, no second line (P10).

/// The key types that sshd may be shown. No certificates: anybody who may write a user's keys in IAM is that user, not
/// a CA.
pub const TYPES: [&str; 7] = [
    "ssh-rsa",
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
];

/// The longest line: room for RSA of 16,384 bits, OpenSSH's limit.
pub const MAX_LINE: usize = 4096;

/// A public key line, `TYPE BASE64`, that holds nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SshPublicKey<'a>(&'a str);

impl<'a> SshPublicKey<'a> {
    /// The key, if the whole line is one.
    pub fn parse(line: &'a str) -> Option<Self> {
        let (key_type, base64) = line.split_once(' ')?;
        let known = line.len() <= MAX_LINE && TYPES.contains(&key_type);
        (known && blob_is_of_type(base64, key_type)).then_some(Self(line))
    }

    /// `TYPE BASE64`.
    pub fn line(self) -> &'a str {
        self.0
    }
}

/// RFC 4253, 6.6: a key blob begins with its type, as a string with a 32-bit length. The base64 must be canonical (RFC
/// 4648, 3.5).
fn blob_is_of_type(base64: &str, key_type: &str) -> bool {
    let Some(len) = u32::try_from(key_type.len()).ok() else {
        return false;
    };
    let mut blob = Decoder {
        text: base64.as_bytes(),
        pending: 0,
        bits: 0,
    };
    let expected = len.to_be_bytes();
    let prefix = expected
        .iter()
        .chain(key_type.as_bytes())
        .all(|byte| blob.next() == Some(*byte));
    // At least one number must follow: its length and a byte.
    prefix && blob.by_ref().count() > 4 && blob.ended_well(base64)
}

struct Decoder<'a> {
    text: &'a [u8],
    pending: u32,
    bits: u32,
}

impl Iterator for Decoder<'_> {
    type Item = u8;

    /// The next byte of the blob; `None` at its end or at a character that is not base64's.
    fn next(&mut self) -> Option<u8> {
        while self.bits < 8 {
            let (first, rest) = self.text.split_first()?;
            self.pending = (self.pending << 6) | value(*first)?;
            self.text = rest;
            self.bits += 6;
        }
        self.bits -= 8;
        let byte = (self.pending >> self.bits) as u8;
        self.pending &= (1 << self.bits) - 1;
        Some(byte)
    }
}

impl Decoder<'_> {
    /// Whether only the right padding is left, and no bit of the last character was lost.
    fn ended_well(&self, base64: &str) -> bool {
        let padding = match self.bits {
            0 => "",
            4 => "==",
            2 => "=",
            _ => return false,
        };
        self.pending == 0 && self.text == padding.as_bytes() && base64.len().is_multiple_of(4)
    }
}

fn value(character: u8) -> Option<u32> {
    Some(u32::from(match character {
        b'A'..=b'Z' => character - b'A',
        b'a'..=b'z' => character - b'a' + 26,
        b'0'..=b'9' => character - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ED25519: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJVIdsHq0Z9wh8xz9aLmBwWbJY8mNUvXwzNlZQK9iJ0w";

    #[test]
    fn a_key_and_nothing_else_is_a_key() {
        // As ssh-keygen writes them: with no padding, one character and two of it, and each character that is not a
        // letter or digit.
        let p256 = "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBFd3tRO7x/vMrfYM618m8s7qRRPv6ft8/z980StiZ2pY\
                    8TpXaSQX8Ps2ZLq+E+xDF3B0UXn74wgBQQ5DPgiNWKs=";
        let p384 = "ecdsa-sha2-nistp384 AAAAE2VjZHNhLXNoYTItbmlzdHAzODQAAAAIbmlzdHAzODQAAABhBB67fh5u9XqS8Ku8Vi5EooU1qTVzFTETDf1hTd4yop6Q\
                    V/iNt1sWBnuohYUBGs4Yo+AkSxxGBdDSWWWqmtvRbdDeiG9JkgIfRfRU2KYLoCrej4/IaTxFUqDzSpgzI+ho7w==";
        for key in [ED25519, p256, p384] {
            assert_eq!(SshPublicKey::parse(key).unwrap().line(), key);
        }
    }

    // P10
    #[test]
    fn a_key_of_another_type_or_longer_than_openssh_reads_or_without_a_number_is_none() {
        let long = |len: usize| "ssh-rsa AAAAB3NzaC1yc2E".to_owned() + &"A".repeat(len - 23);
        assert!(SshPublicKey::parse(&long(MAX_LINE)).is_some());
        assert_eq!(SshPublicKey::parse(&long(MAX_LINE + 4)), None);
        assert_eq!(SshPublicKey::parse("ssh-dss AAAAB3NzaC1kc3MAAAABAA=="), None);
        assert!(SshPublicKey::parse("ssh-rsa AAAAB3NzaC1yc2EAAAABAA==").is_some());
        assert_eq!(SshPublicKey::parse("ssh-rsa AAAAB3NzaC1yc2EAAAAB"), None);
    }

    // P10
    #[test]
    fn a_line_with_anything_but_a_key_is_refused() {
        let (_, base64) = ED25519.split_once(' ').unwrap();
        let refused = [
            format!("{ED25519} comment"),
            format!("{ED25519}\n{ED25519}"),
            format!("{ED25519}\n"),
            format!(" {ED25519}"),
            format!("command=\"id\" {ED25519}"),
            format!("cert-authority {ED25519}"),
            format!("ssh-rsa {base64}"),
            format!("ssh-ed25519  {base64}"),
            format!("ssh-ed25519-cert-v01@openssh.com {base64}"),
            format!("ssh-ed25519 {}", &base64[..base64.len() - 1]),
            format!("{ED25519}="),
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5".to_owned(),
            "ssh-ed25519".to_owned(),
            String::new(),
        ];
        for line in refused {
            assert_eq!(SshPublicKey::parse(&line), None, "{line:?}");
        }
    }
}
