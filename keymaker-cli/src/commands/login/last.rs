//! What is kept beside a certificate: which token it has, with whose credentials and what for it was asked, and until when it holds by this
//! computer's own clock, which may be wrong.
//!
//! It is believed of that certificate alone, so that what was killed between writing the two leaves nothing that counts.

use std::fs;
use std::path::Path;

use super::error::LoginError;
use super::files;
use super::token::Told;

/// The proof that was made last in a place.
#[derive(Debug, PartialEq, Eq)]
pub struct LastProof {
    token_id: String,
    /// identity and purpose, hashed
    meant: String,
    /// when it came, and when it ends, by this computer's clock: unix time
    came: u64,
    ends: u64,
}

impl LastProof {
    /// One that has come now.
    pub fn made(told: &Told, meant: &str, now: u64) -> Self {
        Self {
            token_id: told.token_id.clone(),
            meant: meant.to_owned(),
            came: now,
            ends: now.saturating_add(told.ends_at.saturating_sub(told.issued_at)),
        }
    }

    /// The one of this token, if it is for the same identity and purpose.
    pub fn read(file: &Path, token_id: &str, meant: &str) -> Option<Self> {
        let text = fs::read_to_string(file).ok()?;
        // Without its end it was cut.
        let words: Vec<&str> = text.strip_suffix('\n')?.split(' ').collect();
        let [of, as_whom, came, ends] = words[..] else {
            return None;
        };
        let last = Self {
            token_id: of.to_owned(),
            meant: as_whom.to_owned(),
            came: came.parse().ok()?,
            ends: ends.parse().ok()?,
        };
        (last.token_id == token_id && last.meant == meant).then_some(last)
    }

    /// Keeps it. Called under the lock of the folder.
    pub fn write(&self, file: &Path) -> Result<(), LoginError> {
        let Self {
            token_id,
            meant,
            came,
            ends,
        } = self;
        files::write(file, &format!("{token_id} {meant} {came} {ends}\n"))
    }

    /// None where it has ended, or the clock was set back since.
    pub fn seconds_left(&self, now: u64) -> Option<u64> {
        let left = self.ends.checked_sub(now).filter(|_| now >= self.came);
        left.filter(|left| *left > 0)
    }

    /// How far this computer's clock is ahead of AWS's.
    pub fn clock_ahead(&self, told: &Told) -> i64 {
        self.came.cast_signed().saturating_sub(told.issued_at.cast_signed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use test_folder::TestFolder;

    const ISSUED: u64 = 1_800_000_000;

    fn told() -> Told {
        Told {
            token_id: "a-1".to_owned(),
            issued_at: ISSUED,
            ends_at: ISSUED + 300,
        }
    }

    #[test]
    fn a_proof_is_believed_of_its_own_token_identity_and_purpose_alone() {
        let folder = TestFolder::new();
        let file = folder.join("id-1.proof");
        let last = LastProof::made(&told(), "dave", ISSUED);
        last.write(&file).unwrap();
        last.write(&file).unwrap();
        assert_eq!(LastProof::read(&file, "a-1", "dave"), Some(last));
        assert_eq!(LastProof::read(&file, "a-2", "dave"), None);
        assert_eq!(LastProof::read(&file, "a-1", "bob"), None);
        for cut in [
            "",
            "a-1",
            "a-1 dave 1800000000 18",
            "a-1 dave 1\n",
            "a-1 dave 1 2 3\n",
            "a-1 dave x 2\n",
        ] {
            fs::write(&file, cut).unwrap();
            assert_eq!(LastProof::read(&file, "a-1", "dave"), None, "{cut}");
        }
    }

    #[test]
    fn by_a_clock_that_is_wrong_a_proof_holds_as_long_as_by_a_right_one() {
        for ahead in [-600, -90, 0, 90, 600] {
            let now = ISSUED.saturating_add_signed(ahead);
            let last = LastProof::made(&told(), "dave", now);
            assert_eq!(last.clock_ahead(&told()), ahead);
            for (later, left) in [(0, Some(300)), (299, Some(1)), (300, None), (301, None)] {
                assert_eq!(last.seconds_left(now + later), left, "{ahead} {later}");
            }
            assert_eq!(last.seconds_left(now - 1), None, "set back");
        }
    }
}
