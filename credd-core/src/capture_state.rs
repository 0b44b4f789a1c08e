//! Tells credd whether capture is as planned: a file of one word, which the keeper writes and credd reads before it
//! gives any credentials. Where there is no keeper there is no file, and nothing is known.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Where it lies; the folder is credd-capture's.
pub const STATE: &str = "/run/keymaker-credd-capture/state";

/// What the keeper found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CaptureState {
    /// All is as planned.
    Planned,
    /// The filters at the devices are missing and cannot be put up; routing and the guard are as planned.
    Degraded,
    /// Something is not, and is being put right.
    Drifted,
    /// Something is not, and cannot be put right.
    Broken,
}

/// Where the keeper says it.
pub struct StateFile {
    path: PathBuf,
    said: Option<CaptureState>,
}

impl StateFile {
    /// Nothing is said yet.
    pub fn new(path: PathBuf) -> Self {
        Self { path, said: None }
    }

    /// Says it, if it was not what was said last. A keeper that cannot say it goes on keeping.
    pub fn say(&mut self, state: CaptureState) {
        if self.said == Some(state) {
            return;
        }
        match write(&self.path, state.word()) {
            Ok(()) => self.said = Some(state),
            Err(error) => {
                tracing::error!(%error, path = %self.path.display(), "credd cannot be told whether capture is as planned");
            }
        }
    }
}

/// What the keeper has said against capture; None where all is as planned, or nobody knows. That the filters are
/// missing is not a reason to give no credentials: it would keep nobody from the real service, and two parts keep users
/// from it. `check` and doctor say it.
pub fn problem(path: &Path) -> Option<&'static str> {
    match fs::read(path) {
        Ok(word) if [CaptureState::Planned.word(), CaptureState::Degraded.word()].contains(&&*word) => None,
        Ok(word) if word == CaptureState::Drifted.word() => Some("capture is being repaired"),
        Ok(_) => Some("capture cannot be repaired; see journalctl -u credd-capture"),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(_) => Some("the file that says whether capture is as planned cannot be read"),
    }
}

/// Whether the keeper has said that it cannot put the filters up.
pub fn is_degraded(path: &Path) -> bool {
    fs::read(path).is_ok_and(|word| word == CaptureState::Degraded.word())
}

impl CaptureState {
    fn word(self) -> &'static [u8] {
        match self {
            Self::Planned => b"planned\n",
            Self::Degraded => b"degraded\n",
            Self::Drifted => b"drifted\n",
            Self::Broken => b"broken\n",
        }
    }
}

fn write(path: &Path, word: &[u8]) -> io::Result<()> {
    let aside = path.with_extension("new");
    fs::write(&aside, word)?;
    fs::set_permissions(&aside, Permissions::from_mode(0o644))?;
    fs::rename(&aside, path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use test_folder::TestFolder;

    #[test]
    fn only_a_keeper_that_finds_routing_and_guard_as_planned_or_no_keeper_lets_credd_issue() {
        let folder = TestFolder::new();
        let path = folder.join("state");
        assert_eq!(problem(&path), None);
        let mut file = StateFile::new(path.clone());
        for (state, is_fine) in [
            (CaptureState::Drifted, false),
            (CaptureState::Planned, true),
            (CaptureState::Broken, false),
            (CaptureState::Degraded, true),
        ] {
            file.say(state);
            assert_eq!(problem(&path).is_none(), is_fine, "{state:?}");
            assert_eq!(is_degraded(&path), state == CaptureState::Degraded);
        }
        for word in ["", "plan", "planned", "planned\nx", "degraded"] {
            fs::write(&path, word).unwrap();
            assert!(problem(&path).is_some(), "{word:?}");
        }
    }
}
