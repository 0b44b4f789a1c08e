//! The certificate: exactly the one that `keymaker login` makes, field by field (OpenSSH, PROTOCOL.certkeys).
//!
//! Called by [`crate::verify`] before anything else. sshd has parsed the certificate and verified its signature; it has not
//! looked at who signed it, nor at what it allows: so there is one form, and everything else is refused.

use base64ct::{Base64, Base64Unpadded, Encoding};
use keymaker_core::proof::{CERTIFICATE_TYPES, MAX_CERTIFICATE, PRINCIPAL, is_token_id};
use ring::digest::{SHA256, digest};

use crate::NoProof;

/// The extension that holds the token.
pub const TOKEN_EXTENSION: &str = "proof-v1@keymaker.github.io";
/// What the session may do, and the token: in this order, and nothing else. OpenSSH sorts them so.
pub const EXTENSIONS: [&str; 6] = [
    "permit-X11-forwarding",
    "permit-agent-forwarding",
    "permit-port-forwarding",
    "permit-pty",
    "permit-user-rc",
    TOKEN_EXTENSION,
];
/// The longest token.
pub const MAX_TOKEN: usize = 8 * 1024;
const TYPE_USER: u32 = 1;
const NONCE: usize = 32;

/// What stands in a certificate of the right form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// `TYPE BASE64` of its key.
    pub key: String,
    /// That key's fingerprint, as `ssh-keygen -l` prints it.
    pub fingerprint: String,
    /// The name of the token, which must be the token's `jti`.
    pub key_id: String,
    /// From when it holds, unix time.
    pub valid_after: u64,
    /// Until when.
    pub valid_before: u64,
    /// The token, unread.
    pub token: String,
}

impl Certificate {
    /// Reads sshd's `%t` and `%k`.
    pub fn parse(key_type: &str, base64: &str) -> Result<Self, NoProof> {
        let known = CERTIFICATE_TYPES
            .iter()
            .find(|(certificate, _)| *certificate == key_type);
        let (_, plain) = known.ok_or(NoProof::Certificate("its type"))?;
        if base64.len() > MAX_CERTIFICATE {
            return Err(NoProof::Certificate("it is too long"));
        }
        let blob = Base64::decode_vec(base64).map_err(|_| NoProof::Certificate("its base64"))?;
        read(&blob, key_type, plain)
    }
}

fn read(blob: &[u8], key_type: &str, plain: &str) -> Result<Certificate, NoProof> {
    let mut fields = Fields(blob);
    let wrong = |what| move || NoProof::Certificate(what);
    fields.text_is(key_type).ok_or_else(wrong("its type"))?;
    let nonce = fields.string().ok_or_else(wrong("its nonce"))?;
    (nonce.len() == NONCE).then_some(()).ok_or_else(wrong("its nonce"))?;
    let key = fields.key(plain).ok_or_else(wrong("its key"))?;
    (fields.u64() == Some(0))
        .then_some(())
        .ok_or_else(wrong("its serial number"))?;
    (fields.u32() == Some(TYPE_USER))
        .then_some(())
        .ok_or_else(wrong("it is not a user's"))?;
    let key_id = fields
        .text()
        .filter(|id| is_token_id(id))
        .ok_or_else(wrong("its key id"))?;
    let mut principals = Fields(fields.string().ok_or_else(wrong("its principals"))?);
    let one = principals.text_is(PRINCIPAL).filter(|()| principals.0.is_empty());
    one.ok_or_else(wrong("its principals"))?;
    let valid_after = fields.u64().ok_or_else(wrong("its validity"))?;
    let valid_before = fields.u64().ok_or_else(wrong("its validity"))?;
    fields.text_is("").ok_or_else(wrong("it has a critical option"))?;
    let extensions = fields.string().and_then(token_of).ok_or_else(wrong("its extensions"))?;
    fields.text_is("").ok_or_else(wrong("its reserved field"))?;
    let signer = fields.string().ok_or_else(wrong("its signature key"))?;
    (signer == key)
        .then_some(())
        .ok_or_else(wrong("another key than its own has signed it"))?;
    let mut signature = Fields(fields.string().ok_or_else(wrong("its signature"))?);
    let signed = signature.text_is(plain).and_then(|()| signature.string());
    signed
        .filter(|signed| signature.0.is_empty() && is_plainly_written(plain, signed))
        .ok_or_else(wrong("its signature"))?;
    fields
        .0
        .is_empty()
        .then_some(())
        .ok_or_else(wrong("something follows it"))?;
    Ok(Certificate {
        key: format!("{plain} {}", Base64::encode_string(&key)),
        fingerprint: format!(
            "SHA256:{}",
            Base64Unpadded::encode_string(digest(&SHA256, &key).as_ref())
        ),
        key_id: key_id.to_owned(),
        valid_after,
        valid_before,
        token: extensions.to_owned(),
    })
}

/// The token, where the extensions are exactly ours.
fn token_of(extensions: &[u8]) -> Option<&str> {
    let mut fields = Fields(extensions);
    let mut token = None;
    for name in EXTENSIONS {
        fields.text_is(name)?;
        let mut value = Fields(fields.string()?);
        if name == TOKEN_EXTENSION {
            token = value.text().filter(|token| token.len() <= MAX_TOKEN);
        }
        value.0.is_empty().then_some(())?;
    }
    token.filter(|_| fields.0.is_empty())
}

/// Whether a signature is written without a byte more than it needs. Others would be other certificates, which whoever has seen this one
/// can write without its key, and each takes one of the user's tickets.
fn is_plainly_written(plain: &str, signed: &[u8]) -> bool {
    if plain == "ssh-ed25519" {
        return signed.len() == ED25519_SIGNATURE;
    }
    let mut numbers = Fields(signed);
    let mut number = || {
        // A zero stands before a first bit that is set, and nowhere else.
        let (number, begins) = match numbers.string()? {
            [0, number @ ..] => (number, 0x80..=0xff),
            number => (number, 1..=0x7f),
        };
        (begins.contains(number.first()?) && number.len() <= P256_NUMBER).then_some(())
    };
    number().is_some() && number().is_some() && numbers.0.is_empty()
}

/// RFC 4251, section 5.
struct Fields<'b>(&'b [u8]);

impl<'b> Fields<'b> {
    fn bytes(&mut self, len: usize) -> Option<&'b [u8]> {
        let (bytes, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        Some(u32::from_be_bytes(*self.bytes(4)?.first_chunk()?))
    }

    fn u64(&mut self) -> Option<u64> {
        Some(u64::from_be_bytes(*self.bytes(8)?.first_chunk()?))
    }

    fn string(&mut self) -> Option<&'b [u8]> {
        let len = self.u32()?;
        self.bytes(usize::try_from(len).ok()?)
    }

    fn text(&mut self) -> Option<&'b str> {
        str::from_utf8(self.string()?).ok()
    }

    fn text_is(&mut self, text: &str) -> Option<()> {
        (self.string()? == text.as_bytes()).then_some(())
    }

    /// The key's own fields, as the blob of a plain key of this type.
    fn key(&mut self, plain: &str) -> Option<Vec<u8>> {
        let mut blob = Vec::new();
        put(&mut blob, plain.as_bytes())?;
        let (curve, len) = match plain {
            "ssh-ed25519" => (None, ED25519),
            _ => (Some("nistp256"), P256),
        };
        if let Some(curve) = curve {
            self.text_is(curve)?;
            put(&mut blob, curve.as_bytes())?;
        }
        let point = self.string().filter(|point| point.len() == len)?;
        put(&mut blob, point)?;
        Some(blob)
    }
}

fn put(blob: &mut Vec<u8>, string: &[u8]) -> Option<()> {
    blob.extend(u32::try_from(string.len()).ok()?.to_be_bytes());
    blob.extend(string);
    Some(())
}

const ED25519: usize = 32;
const ED25519_SIGNATURE: usize = 64;
const P256_NUMBER: usize = 32;
/// Uncompressed, as OpenSSH writes points.
const P256: usize = 65;
