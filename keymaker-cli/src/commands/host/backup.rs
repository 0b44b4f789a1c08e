//! What `reset` and `migrate` keep of this host before they take something away: the files, as they lay below /.
//!
//! Only root comes to it. keymaker(1) says how one is put back.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::time::SystemTime;

use aws_sdk_iam::primitives::{DateTime, DateTimeFormat};

use super::probe::run;

/// Where all of them lie. /etc/shadow is in those of `migrate`.
pub const FOLDER: &str = "/var/lib/keymaker-backups";

/// The folder of a new backup of `command`, which is not there yet.
pub fn place(command: &str) -> Result<String, String> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(FOLDER);
    made.map_err(|error| format!("{FOLDER}: {error}"))?;
    let now = DateTime::from(SystemTime::now()).fmt(DateTimeFormat::DateTime);
    let now = now.map_err(|error| format!("{FOLDER}: {error}"))?;
    // Fractions of a second, too: no two have one name.
    Ok(format!("{FOLDER}/{command}-{}", now.replace(':', "-")))
}

/// Keeps those of these files that are there; returns where. `None`: none is there.
pub fn keep(command: &str, files: &[&str]) -> Result<Option<String>, String> {
    let there: Vec<&str> = files.iter().copied().filter(|file| Path::new(file).exists()).collect();
    if there.is_empty() {
        return Ok(None);
    }
    let folder = place(command)?;
    // Put back by `cp -a FOLDER/. /`, which gives / the mode of the folder.
    let made = DirBuilder::new().mode(0o755).create(&folder);
    made.map_err(|error| format!("{folder}: {error}"))?;
    let mut arguments = vec!["-a", "--parents"];
    arguments.extend(there);
    arguments.push(&folder);
    match run("cp", &arguments) {
        Ok(_) => Ok(Some(folder)),
        Err(why) => {
            // Half a backup; what kept it from being whole is told.
            let _ = fs::remove_dir_all(&folder);
            Err(format!("no backup could be made in {folder}: {why}"))
        }
    }
}
