//! Issues and checks IMDSv2 tokens without remembering any of them.
//!
//! The server issues one at `PUT /latest/api/token` and checks one at every other request. A token is the time of its
//! end and a MAC over uid, boot and that time, so it is worth nothing to another uid (P16), on another host or after a
//! reboot, and a restart of the daemon loses none: the key lies in /run. Time is that since boot, which nobody can set
//! back.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use rustix::rand::{GetRandomFlags, getrandom};
use sha2::Sha256;
use zeroize::Zeroizing;

/// Why the tokens' key cannot be used.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the sentence says it")]
pub enum TokenKeyError {
    #[error("{0} cannot be read: {1}; see the owner and mode of its folder")]
    Read(PathBuf, io::Error),
    #[error("{0} cannot be made: {1}; see the owner and mode of its folder")]
    Write(PathBuf, io::Error),
    #[error("{0} is not a key that only this daemon's user may read; remove the file and start again")]
    NotOurs(PathBuf),
}

/// How long a token is asked to live: 1 to 21600 seconds (Instance Metadata Service, "Use IMDSv2").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenTtl(u16);

impl TokenTtl {
    /// None for anything but a plain decimal number from 1 to 21600.
    pub fn parse(value: &[u8]) -> Option<Self> {
        if value.is_empty() || value.len() > 5 || !value.iter().all(u8::is_ascii_digit) {
            return None;
        }
        let seconds: u16 = std::str::from_utf8(value).ok()?.parse().ok()?;
        (1..=21600).contains(&seconds).then_some(Self(seconds))
    }

    /// The seconds.
    pub fn seconds(self) -> u16 {
        self.0
    }
}

/// Issues and checks the tokens of this host, this boot.
pub struct MetadataTokens {
    key: Zeroizing<[u8; KEY_LENGTH]>,
    boot_id: Vec<u8>,
}

impl MetadataTokens {
    /// Reads the key from `path`, or makes one there, mode 0600.
    pub fn load(path: &Path) -> Result<Self, TokenKeyError> {
        // Empty where the unit hides /proc/sys (ProcSubset=pid): then it is the key in /run that no boot has twice.
        let boot_id = fs::read("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let key = match read_key(path)? {
            Some(key) => key,
            None => make_key(path).map_err(|error| TokenKeyError::Write(path.into(), error))?,
        };
        Ok(Self { key, boot_id })
    }

    /// A token for `uid`: 56 characters, as those of the real service. `now` is the time since boot.
    pub fn issue(&self, uid: u32, ttl: TokenTtl, now: Duration) -> String {
        let end = now.saturating_add(Duration::from_secs(ttl.0.into()));
        let end = u64::try_from(end.as_millis()).unwrap_or(u64::MAX).to_be_bytes();
        let tag = self.mac(uid, end).finalize().into_bytes();
        end.iter()
            .chain(tag.iter().take(TAG_LENGTH))
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }

    /// The seconds that `token` still has for `uid`, rounded up and so never 0; None if it is not a token of this uid
    /// and this boot, or has ended.
    pub fn remaining(&self, token: &[u8], uid: u32, now: Duration) -> Option<u64> {
        let bytes: [u8; END_LENGTH + TAG_LENGTH] = from_hex(token)?;
        let (end, tag) = bytes.split_first_chunk::<END_LENGTH>()?;
        self.mac(uid, *end).verify_truncated_left(tag).ok()?;
        let left = Duration::from_millis(u64::from_be_bytes(*end)).checked_sub(now)?;
        (!left.is_zero()).then(|| left.as_secs() + u64::from(left.subsec_nanos() > 0))
    }

    /// What `uid` says at the container door, on this boot: 64 characters.
    pub fn container_token(&self, uid: u32) -> Zeroizing<String> {
        let tag = self.container_mac(uid).finalize().into_bytes();
        Zeroizing::new(tag.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// Whether `token` is that.
    pub fn is_container_token(&self, token: &[u8], uid: u32) -> bool {
        from_hex::<32>(token).is_some_and(|tag| self.container_mac(uid).verify_slice(&tag).is_ok())
    }

    /// Longer than what a metadata token is made of, so that neither is ever the other.
    fn container_mac(&self, uid: u32) -> Hmac<Sha256> {
        Hmac::<Sha256>::new(&(*self.key).into())
            .chain_update(b"container")
            .chain_update(uid.to_be_bytes())
            .chain_update(&self.boot_id)
    }

    fn mac(&self, uid: u32, end: [u8; END_LENGTH]) -> Hmac<Sha256> {
        // The three have fixed lengths on one boot, so no two different triples give the same text.
        Hmac::<Sha256>::new(&(*self.key).into())
            .chain_update(uid.to_be_bytes())
            .chain_update(end)
            .chain_update(&self.boot_id)
    }
}

fn read_key(path: &Path) -> Result<Option<Zeroizing<[u8; KEY_LENGTH]>>, TokenKeyError> {
    let failed = |error| TokenKeyError::Read(path.into(), error);
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let flags = i32::try_from(flags.bits()).unwrap_or(0);
    let mut file = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let found = file.metadata().map_err(failed)?;
    let ours = found.uid() == rustix::process::geteuid().as_raw() && found.mode() & 0o077 == 0;
    if !found.is_file() || !ours || found.len() != KEY_LENGTH as u64 {
        return Err(TokenKeyError::NotOurs(path.into()));
    }
    let mut key = Zeroizing::new([0; KEY_LENGTH]);
    file.read_exact(key.as_mut()).map_err(failed)?;
    Ok(Some(key))
}

/// Written aside and renamed, so that no half key is ever read.
fn make_key(path: &Path) -> io::Result<Zeroizing<[u8; KEY_LENGTH]>> {
    let mut key = Zeroizing::new([0; KEY_LENGTH]);
    getrandom(key.as_mut(), GetRandomFlags::empty())?;
    let aside = path.with_extension("new");
    match fs::remove_file(&aside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file: File = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&aside)?;
    file.write_all(key.as_ref())?;
    fs::rename(&aside, path)?;
    Ok(key)
}

fn from_hex<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    if text.len() != 2 * N {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, digits) in bytes.iter_mut().zip(text.as_chunks::<2>().0) {
        let [high, low] = digits.map(|digit| char::from(digit).to_digit(16));
        *byte = u8::try_from(high? << 4 | low?).ok()?;
    }
    Some(bytes)
}

/// The block of SHA-256, so that HMAC uses the key as it is.
const KEY_LENGTH: usize = 64;
const END_LENGTH: usize = 8;
/// 160 bits, which is more than an attacker with 21600 seconds can guess; with the end, 56 characters.
const TAG_LENGTH: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;
    use test_folder::TestFolder;

    const NOW: Duration = Duration::from_secs(1000);

    fn tokens() -> MetadataTokens {
        MetadataTokens {
            key: Zeroizing::new([7; KEY_LENGTH]),
            boot_id: b"boot".to_vec(),
        }
    }

    fn ttl(text: &str) -> TokenTtl {
        TokenTtl::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn a_token_is_as_long_and_as_plain_as_those_of_the_real_service() {
        let token = tokens().issue(1, ttl("21600"), NOW);
        assert_eq!(token.len(), 56);
        assert!(token.bytes().all(|byte| byte.is_ascii_alphanumeric()));
    }

    // P16
    #[test]
    fn a_token_is_good_for_the_uid_that_got_it_and_for_nobody_else() {
        let token = tokens().issue(2001, ttl("60"), NOW);
        assert_eq!(tokens().remaining(token.as_bytes(), 2001, NOW), Some(60));
        assert_eq!(tokens().remaining(token.as_bytes(), 2002, NOW), None);
        assert_eq!(tokens().remaining(token.as_bytes(), 0, NOW), None);
    }

    #[test]
    fn a_token_ends_when_its_age_reaches_its_ttl_and_never_shows_zero() {
        let token = tokens().issue(1, ttl("2"), NOW);
        let after = |millis| tokens().remaining(token.as_bytes(), 1, NOW + Duration::from_millis(millis));
        assert_eq!([after(0), after(1), after(1999)], [Some(2), Some(2), Some(1)]);
        assert_eq!([after(2000), after(2001), after(90_000)], [None; 3]);
    }

    #[test]
    fn another_boot_or_another_key_knows_no_token_of_this_one() {
        let token = tokens().issue(1, ttl("60"), NOW);
        let rebooted = MetadataTokens {
            boot_id: b"next".to_vec(),
            ..tokens()
        };
        let other = MetadataTokens {
            key: Zeroizing::new([8; KEY_LENGTH]),
            ..tokens()
        };
        assert_eq!(rebooted.remaining(token.as_bytes(), 1, NOW), None);
        assert_eq!(other.remaining(token.as_bytes(), 1, NOW), None);
    }

    #[test]
    fn no_altered_token_is_good() {
        let token = tokens().issue(1, ttl("60"), NOW).into_bytes();
        for place in 0..token.len() {
            let mut altered = token.clone();
            altered[place] = if altered[place] == b'0' { b'1' } else { b'0' };
            assert_eq!(tokens().remaining(&altered, 1, NOW), None);
            assert_eq!(tokens().remaining(&token[..place], 1, NOW), None);
        }
        assert_eq!(tokens().remaining(&[token.as_slice(), b"0"].concat(), 1, NOW), None);
        assert_eq!(tokens().remaining(&[0xff; 56], 1, NOW), None);
    }

    #[test]
    fn only_whole_seconds_from_1_to_21600_are_a_ttl() {
        assert_eq!(["1", "60", "21600"].map(|text| ttl(text).seconds()), [1, 60, 21600]);
        for wrong in [
            "", "0", "-1", "+1", "21601", "99999", "abc", "1.5", " 1", "1 ", "0x1", "65537", "000001",
        ] {
            assert_eq!(TokenTtl::parse(wrong.as_bytes()), None, "{wrong}");
        }
    }

    #[test]
    fn the_key_survives_a_restart_and_only_its_owner_may_read_it() {
        let folder = TestFolder::new();
        let path = folder.join("token-key");
        let token = MetadataTokens::load(&path).unwrap().issue(1, ttl("60"), NOW);
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(
            MetadataTokens::load(&path).unwrap().remaining(token.as_bytes(), 1, NOW),
            Some(60)
        );
    }

    #[test]
    fn a_key_that_others_may_read_or_that_is_a_link_is_refused() {
        let folder = TestFolder::new();
        let path = folder.join("token-key");
        fs::write(&path, [1; KEY_LENGTH]).unwrap();
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o640)).unwrap();
        assert!(matches!(MetadataTokens::load(&path), Err(TokenKeyError::NotOurs(_))));
        let link = folder.join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(matches!(MetadataTokens::load(&link), Err(TokenKeyError::Read(..))));
    }

    // P16
    #[test]
    fn a_token_of_one_door_opens_no_other_and_none_of_another_uid() {
        let tokens = tokens();
        let container = tokens.container_token(7);
        assert!(tokens.is_container_token(container.as_bytes(), 7));
        assert!(!tokens.is_container_token(container.as_bytes(), 8));
        assert_eq!(tokens.remaining(container.as_bytes(), 7, NOW), None);
        let metadata = tokens.issue(7, ttl("60"), NOW);
        assert!(!tokens.is_container_token(metadata.as_bytes(), 7));
        // Nor any part or lengthening of it.
        for text in ["", &container[..56], &container[..63], &format!("{}0", *container)] {
            assert!(!tokens.is_container_token(text.as_bytes(), 7), "{text}");
            assert_eq!(tokens.remaining(text.as_bytes(), 7, NOW), None, "{text}");
        }
    }
}
