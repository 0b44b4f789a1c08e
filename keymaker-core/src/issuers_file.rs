//! `/var/lib/keymaker/public/issuers`: by whose signatures a proof opens a login here, and what its token must say.
//!
//! The program `proof` reads it; only keymakerd writes it, where `login_by` has "proof". Where that is switched off the
//! file has no key, and on a host that never had it there is no file: nobody logs in by proof.
//!
//! What the file says about itself:
//!
//! ```text
//! 0   account      12  the AWS account whose users these are: digits
//! 12  partition    16  its partition, as ARNs have it: text, zero-padded
//! 28  instance_id  32  the EC2 instance for which it was made: text, zero-padded
//! 60  max_stale     4  how old a key may be, in seconds
//! 64  token_max     4  how long a token may live, in seconds
//! 68  flags         4  1: a token must name this instance
//! 72  audience    257  len u16, then the text
//! ```
//! A record, found by its number, from 0:
//!
//! ```text
//! 0   fetched_at u64 (unix time) · 8 the point, 97 bytes: uncompressed, on P-384
//! 105 the issuer and the key's id (`kid`), each followed by a zero byte
//! ```
//! A reader skips what a later writer puts behind that.

use std::path::Path;

use crate::directory_file::RecordError;
use crate::published_file::format::{Key, META_LEN, put, u32_at, u64_at};
use crate::published_file::reader::{PublishedFile, ReadError};
use crate::published_file::writer::{BuildError, Built, FileBuilder};

const MAGIC: [u8; 8] = *b"KMISS\0\0\x01";
const NUMBERS: usize = 0;
/// The bytes of a point of P-384 as SEC 1 writes it uncompressed.
pub const POINT: usize = 97;
const TEXTS: usize = 8 + POINT;
/// The longest issuer and `kid`.
pub const MAX_TEXT: usize = 255;
const MAX_RECORD: usize = 2048;
/// How many keys the file holds: 20 of each of eight issuers.
pub const MAX_KEYS: usize = 160;
const FLAG_BOUND: u32 = 1;
const AUDIENCE: usize = 72;

/// What a token must say to open a login here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProofRules {
    /// The AWS account whose users these are: twelve digits.
    pub account: String,
    /// Its partition: `aws`, `aws-cn`, …
    pub partition: String,
    /// This EC2 instance; empty where it is not known.
    pub instance_id: String,
    /// For whom the token must be.
    pub audience: String,
    /// How long a token may live, in seconds.
    pub token_max: u32,
    /// How old a key may be, in seconds.
    pub max_stale: u32,
    /// Whether the token must name this instance.
    pub bound: bool,
}

/// One public key of an issuer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuerKey {
    /// The claim `iss` of its tokens.
    pub issuer: String,
    /// The key's name there.
    pub kid: String,
    /// The point of P-384, uncompressed.
    pub point: [u8; POINT],
    /// When the issuer last showed it: unix time.
    pub fetched_at: u64,
}

/// Reads the file at `path`.
pub fn read(path: &Path) -> Result<(ProofRules, Vec<IssuerKey>), ReadError> {
    let file = PublishedFile::open(path, MAGIC)?;
    let rules = ProofRules::parse(file.meta()).ok_or(ReadError::Damaged)?;
    let (mut keys, mut from) = (Vec::new(), 0);
    while let Some((number, slot)) = file.next_slot(NUMBERS, from)? {
        let mut buffer = [0; MAX_RECORD];
        let record = file.record(slot, &mut buffer)?;
        keys.push(IssuerKey::parse(record).ok_or(ReadError::Damaged)?);
        if keys.len() > MAX_KEYS {
            return Err(ReadError::Damaged);
        }
        let Some(next) = number.checked_add(1) else { break };
        from = next;
    }
    Ok((rules, keys))
}

/// Builds the bytes of the file.
pub struct IssuersBuilder {
    file: FileBuilder,
    keys: u32,
}

impl IssuersBuilder {
    /// A file without keys.
    pub fn new(rules: &ProofRules) -> Result<Self, RecordError> {
        let meta = rules.encode();
        if ProofRules::parse(&meta).as_ref() != Some(rules) {
            return Err(RecordError::BadText);
        }
        Ok(Self {
            file: FileBuilder::new(MAGIC, meta),
            keys: 0,
        })
    }

    /// Adds a key.
    pub fn key(&mut self, key: &IssuerKey) -> Result<(), RecordError> {
        if self.keys as usize >= MAX_KEYS {
            return Err(RecordError::TooMany);
        }
        let mut record = key.fetched_at.to_le_bytes().to_vec();
        record.extend(key.point);
        for text in [&key.issuer, &key.kid] {
            record.extend(text.as_bytes());
            record.push(0);
        }
        if IssuerKey::parse(&record).as_ref() != Some(key) {
            return Err(RecordError::BadText);
        }
        self.file.add(&record, &[(NUMBERS, Key::Id(self.keys))])?;
        self.keys += 1;
        Ok(())
    }

    /// What is to follow `former`, the bytes of a published file; `None` where that says the same already.
    pub fn build_after(&self, former: &[u8]) -> Result<Option<Built>, BuildError> {
        self.file.build_after(former)
    }
}

impl ProofRules {
    fn parse(meta: &[u8]) -> Option<Self> {
        let text = |from: usize, to: usize| {
            let field = str::from_utf8(meta.get(from..to)?).ok()?.trim_end_matches('\0');
            is_text(field).then(|| field.to_owned())
        };
        let len = usize::from(u16::from_le_bytes(*meta.get(AUDIENCE..)?.first_chunk()?));
        (len <= MAX_TEXT).then_some(())?;
        Some(Self {
            account: text(0, 12)?,
            partition: text(12, 28)?,
            instance_id: text(28, 60)?,
            max_stale: u32_at(meta, 60)?,
            token_max: u32_at(meta, 64)?,
            bound: u32_at(meta, 68)? & FLAG_BOUND != 0,
            audience: text(AUDIENCE + 2, AUDIENCE + 2 + len)?,
        })
    }

    fn encode(&self) -> [u8; META_LEN] {
        let mut meta = [0; META_LEN];
        let cut = |text: &str, len: usize| text.as_bytes().get(..len).unwrap_or(text.as_bytes()).to_vec();
        put(&mut meta, 0, &cut(&self.account, 12));
        put(&mut meta, 12, &cut(&self.partition, 16));
        put(&mut meta, 28, &cut(&self.instance_id, 32));
        put(&mut meta, 60, &self.max_stale.to_le_bytes());
        put(&mut meta, 64, &self.token_max.to_le_bytes());
        put(&mut meta, 68, &if self.bound { FLAG_BOUND } else { 0 }.to_le_bytes());
        let audience = cut(&self.audience, MAX_TEXT);
        put(&mut meta, AUDIENCE, &(audience.len() as u16).to_le_bytes());
        put(&mut meta, AUDIENCE + 2, &audience);
        meta
    }
}

impl IssuerKey {
    fn parse(record: &[u8]) -> Option<Self> {
        let mut texts = record.get(TEXTS..)?.split(|byte| *byte == 0);
        let mut text = || {
            let text = str::from_utf8(texts.next()?).ok()?;
            (!text.is_empty() && is_text(text)).then(|| text.to_owned())
        };
        let key = Self {
            issuer: text()?,
            kid: text()?,
            point: *record.get(8..)?.first_chunk()?,
            fetched_at: u64_at(record, 0)?,
        };
        // The zero byte behind the last text is there.
        texts.next().map(|_| key)
    }
}

/// Printable ASCII: what ends in lines for people and in a line for another program.
fn is_text(text: &str) -> bool {
    text.len() <= MAX_TEXT && text.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;
    use test_folder::TestFolder;

    fn rules() -> ProofRules {
        ProofRules {
            account: "123456789012".to_owned(),
            partition: "aws-us-gov".to_owned(),
            instance_id: "i-0123456789abcdef0".to_owned(),
            audience: "keymaker:123456789012".to_owned(),
            token_max: 300,
            max_stale: 86_400,
            bound: true,
        }
    }

    fn key(number: u64) -> IssuerKey {
        IssuerKey {
            issuer: "https://1.tokens.sts.global.api.aws".to_owned(),
            kid: format!("EC384_{number}"),
            point: [4; POINT],
            fetched_at: 1_800_000_000 + number,
        }
    }

    fn written(rules: &ProofRules, keys: &[IssuerKey]) -> Result<Vec<u8>, RecordError> {
        let mut builder = IssuersBuilder::new(rules)?;
        keys.iter().try_for_each(|key| builder.key(key))?;
        Ok(builder.build_after(&[]).unwrap().unwrap().bytes)
    }

    #[test]
    fn rules_and_keys_come_back_as_they_were_written() {
        let folder = TestFolder::new();
        for count in [0, 1, 2, 20, MAX_KEYS as u64] {
            let keys: Vec<IssuerKey> = (0..count).map(key).collect();
            let path = folder.file("issuers", written(&rules(), &keys).unwrap());
            assert_eq!(read(&path).unwrap(), (rules(), keys));
        }
        let plain = ProofRules::default();
        assert_eq!(
            read(&folder.file("issuers", written(&plain, &[]).unwrap())).unwrap(),
            (plain, vec![])
        );
    }

    #[test]
    fn two_issuers_may_have_a_key_of_one_name() {
        let other = IssuerKey {
            issuer: "https://2.tokens.sts.global.api.aws".to_owned(),
            ..key(0)
        };
        let folder = TestFolder::new();
        let path = folder.file("issuers", written(&rules(), &[key(0), other.clone()]).unwrap());
        assert_eq!(read(&path).unwrap().1, [key(0), other]);
    }

    #[test]
    fn what_would_be_read_otherwise_is_never_written() {
        for bad in ["", "a b", "a\0b", "a\n", "\u{e9}", &"a".repeat(256)] {
            let issuer = IssuerKey {
                issuer: bad.to_owned(),
                ..key(0)
            };
            let kid = IssuerKey {
                kid: bad.to_owned(),
                ..key(0)
            };
            for key in [issuer, kid] {
                assert_eq!(written(&rules(), &[key]), Err(RecordError::BadText), "{bad:?}");
            }
        }
        for audience in ["a b", "a\n", &"a".repeat(256)] {
            let rules = ProofRules {
                audience: audience.to_owned(),
                ..rules()
            };
            assert_eq!(written(&rules, &[]), Err(RecordError::BadText), "{audience:?}");
        }
        let many: Vec<IssuerKey> = (0..=MAX_KEYS as u64).map(key).collect();
        assert_eq!(written(&rules(), &many), Err(RecordError::TooMany));
    }

    #[test]
    fn another_published_file_is_no_issuers_file() {
        let folder = TestFolder::new();
        let keys = crate::keys_file::KeysBuilder::new("123456789012", "i-1")
            .build(1)
            .unwrap();
        assert!(read(&folder.file("issuers", keys)).is_err());
        assert!(matches!(read(&folder.join("none")), Err(ReadError::Missing)));
    }
}
