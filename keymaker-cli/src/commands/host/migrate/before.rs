//! What a migration may change, kept until it is done: a failure at any step puts all of it back.
//!
//! Whole files are kept, so no step needs to know how to undo itself. One that was cut off (power, a kill) leaves the
//! folder, and the next one begins by saying how to put it back: nobody knows what an administrator has changed since.

use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::super::backup;
use super::super::install::files::{remove, remove_folder};
use super::super::probe::{credd, run};
use super::{CRON, PAM_SSHD, PASSWD_FILES, SSHD_CONFIG, ec2userkeyd};
use keymaker_core::paths;

const FOLDER: &str = "/var/lib/keymaker-migrate";
/// What keymakerd publishes and remembers.
const STATE: &str = "/var/lib/keymaker";
const KEYMAKERD: &str = "keymakerd.service";

/// The host before the first step.
pub struct Before {
    kept: PathBuf,
    /// Units that ran.
    active: Vec<&'static str>,
}

impl Before {
    /// Keeps everything. keymakerd rests from now on, or its files would change while they are copied.
    pub fn keep() -> Result<Self, String> {
        if Path::new(FOLDER).exists() {
            return Err(format!(
                "an earlier migration was interrupted; put back what it changed, and run this again: systemctl stop {KEYMAKERD}; \
                 cp -a {FOLDER}/before/. / && rm -r {FOLDER}; systemctl restart {KEYMAKERD} ssh"
            ));
        }
        let units = [KEYMAKERD, ec2userkeyd::SERVICE];
        let before = Self {
            kept: Path::new(FOLDER).join("before"),
            active: units
                .into_iter()
                .filter(|unit| run("systemctl", &["is-active", unit]).is_ok())
                .collect(),
        };
        match before.copy() {
            Ok(()) => Ok(before),
            Err(why) => {
                let _ = remove_folder(Path::new(FOLDER));
                before.start_units().map_err(|also| format!("{why}; {also}"))?;
                Err(why)
            }
        }
    }

    fn copy(&self) -> Result<(), String> {
        // `cp -a before/. /` gives / the mode of the folder, so what keeps others out is the one above it.
        for (folder, mode) in [(Path::new(FOLDER), 0o700), (&self.kept, 0o755)] {
            let made = fs::DirBuilder::new().mode(mode).create(folder);
            made.map_err(|error| format!("{}: {error}", folder.display()))?;
        }
        run("systemctl", &["stop", KEYMAKERD])?;
        let kept = self.kept.to_string_lossy();
        let mut arguments = vec!["-a", "--parents"];
        for file in files().filter(|file| fs::symlink_metadata(file).is_ok()) {
            arguments.push(file);
        }
        arguments.extend([STATE, &*kept]);
        run("cp", &arguments).map(|_| ())
    }

    /// Puts everything back; what could not be is the error.
    pub fn put_back(self) -> Result<(), String> {
        let mut left = Vec::new();
        left.extend(run("systemctl", &["stop", KEYMAKERD]).err());
        left.extend(files().filter_map(|file| self.put_back_file(file).err()));
        let state = remove_folder(Path::new(STATE));
        let state = state.and_then(|()| run("cp", &["-a", &self.kept_of(STATE), STATE]));
        left.extend(state.err());
        left.extend(self.start_units().err());
        left.extend(run("systemctl", &["try-reload-or-restart", "ssh.service"]).err());
        if left.is_empty() {
            remove_folder(Path::new(FOLDER))
        } else {
            Err(left.join("; "))
        }
    }

    /// The migration is done; what was kept becomes a backup. Returns where that is.
    pub fn done(self) -> Result<String, String> {
        let backup = backup::place("migrate")?;
        fs::rename(&self.kept, &backup).map_err(|error| format!("{backup}: {error}"))?;
        remove_folder(Path::new(FOLDER))?;
        if self.active.contains(&KEYMAKERD) {
            run("systemctl", &["start", KEYMAKERD])?;
        }
        Ok(backup)
    }

    fn put_back_file(&self, file: &str) -> Result<(), String> {
        let kept = self.kept_of(file);
        if fs::symlink_metadata(&kept).is_err() {
            return remove(Path::new(file));
        }
        // With its owner, times and label, and never half.
        let aside = format!("{file}.keymaker-new");
        run("cp", &["-a", &kept, &aside])?;
        fs::rename(&aside, file).map_err(|error| format!("{file}: {error}"))
    }

    fn kept_of(&self, path: &str) -> String {
        format!("{}{path}", self.kept.display())
    }

    fn start_units(&self) -> Result<(), String> {
        run("systemctl", &["daemon-reload"])?;
        for unit in &self.active {
            run("systemctl", &["start", unit])?;
        }
        Ok(())
    }
}

/// Everything but what keymakerd keeps.
fn files() -> impl Iterator<Item = &'static str> {
    let ours = [paths::KEYMAKERD_TOML, credd::SETTINGS];
    let of_predecessor = [PAM_SSHD, CRON, SSHD_CONFIG, super::KEYS_SCRIPT];
    PASSWD_FILES
        .into_iter()
        .chain(of_predecessor)
        .chain(ec2userkeyd::FILES)
        .chain(ours)
}
