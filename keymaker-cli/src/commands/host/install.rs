//! `keymaker install` and `uninstall`: the one enabling step on a host, where packages have not done it.
//!
//! On Debian the packages leave nothing to do; those of Enterprise Linux leave the selection of a profile where
//! authselect rules. `--from DIR` puts a build in place without packages; every file it makes stands in a list, by
//! which `uninstall` takes all of it back. It never overwrites a file that it did not make.

pub mod authselect;
pub mod files;
pub mod joints;

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::HostError;
use super::probe::{self, run as command};
use crate::consent::Consent;
use crate::output::{Output, Progress};

/// What was put in place, one path a line.
const LIST: &str = "/var/lib/keymaker-install/files";

/// Enables Keymaker here, from the folder of a build if one is named.
pub fn install(from: Option<&Path>, output: &Output) -> Result<(), HostError> {
    if !probe::is_root() {
        return Err(HostError::NotRoot);
    }
    if packaged().is_some() {
        let text = if authselect::rules() {
            authselect::join().map_err(not_done)?;
            "authselect has Keymaker's profile selected, a copy of the former one; 'keymaker uninstall' selects that one again. \
             'keymaker doctor' checks the host."
        } else {
            "The package keymaker is installed and has enabled everything: nothing is left to do. 'keymaker doctor' checks the host."
        };
        output.print(text, &json!({ "done": text }));
        return Ok(());
    }
    let Some(from) = from else {
        if !listed().is_empty() {
            return again(output);
        }
        return Err(not_done(
            "the package keymaker is not installed: install it (apt-get install ./keymaker_*.deb, or dnf install ./*keymaker*.rpm), or put \
             a build in place with 'keymaker install --from target/release'",
        ));
    };
    let _progress = Progress::begin("installing");
    let wanted = files::of(from)?;
    let mine = listed();
    if let Some(file) = wanted.iter().find(|file| file.to.exists() && !mine.contains(&file.to)) {
        return Err(not_done(format!(
            "{} exists already, and this command did not put it there: remove it first",
            file.to.display()
        )));
    }
    // The list first: whatever happens after, uninstall knows what may be there.
    let list: String = wanted.iter().map(|file| format!("{}\n", file.to.display())).collect();
    files::write(Path::new(LIST), list.as_bytes(), 0o644).map_err(not_done)?;
    for file in &wanted {
        file.place().map_err(not_done)?;
    }
    let left = joints::join().map_err(not_done)?;
    let text = format!(
        "{} files are in place; 'keymaker uninstall' removes them. 'keymaker doctor' checks the host.",
        wanted.len()
    );
    let text = with_what_is_left(&left, &text);
    output.print(
        &text,
        &json!({ "done": text, "files": wanted.iter().map(|file| &file.to).collect::<Vec<_>>() }),
    );
    Ok(())
}

/// What joins an installation by `--from` to the host, once more: somebody may have taken a part of it away.
fn again(output: &Output) -> Result<(), HostError> {
    let left = joints::join().map_err(not_done)?;
    let text =
        "What 'keymaker install --from' put in place is joined to this host again. 'keymaker doctor' checks the host.";
    let text = with_what_is_left(&left, text);
    output.print(&text, &json!({ "done": text }));
    Ok(())
}

fn with_what_is_left(left: &str, done: &str) -> String {
    [left, done].join("\n").trim_start().to_owned()
}

const UNINSTALL: &str = "keymaker uninstall";

/// Takes back what [`install`] did: files, joints, what keymakerd kept, the system users. Homes stay.
pub fn uninstall(consent: Consent, output: &Output) -> Result<(), HostError> {
    if !probe::is_root() {
        return Err(HostError::NotRoot);
    }
    let mine = listed();
    // Not by asking rpm, which runs this when it erases the package.
    if mine.is_empty() && authselect::has_joined() {
        consent.ask(
            UNINSTALL,
            "authselect selects the profile that was selected before. From then on no user from IAM exists here; homes stay.",
        )?;
        authselect::part().map_err(not_done)?;
        let text = "authselect's profile of Keymaker is gone; 'dnf remove keymaker' removes the rest.";
        output.print(text, &json!({ "done": text }));
        return Ok(());
    }
    if let Some(removal) = packaged() {
        return Err(not_done(format!(
            "Keymaker came as packages: {removal} keymaker libnss-keymaker libpam-keymaker keymaker-cli"
        )));
    }
    if mine.is_empty() {
        return Err(not_done(format!(
            "nothing was installed by 'keymaker install --from' here ({LIST} is not there)"
        )));
    }
    let lost = format!(
        "Keymaker goes from this host: {} files, and with /var/lib/keymaker who had which uid. From then on no user from IAM exists \
         here; homes stay.",
        mine.len()
    );
    consent.ask(UNINSTALL, &lost)?;
    let mut left = joints::part();
    // What takes the joints apart stays until they are.
    let needed = if left.is_empty() { "" } else { files::JOIN };
    let mine = mine.iter().filter(|file| **file != Path::new(needed));
    left.extend(mine.filter_map(|file| files::remove(file).err()));
    // The list goes last, and only with all that is in it: so that it can be tried again.
    let folders = [
        "/var/lib/keymaker",
        // What systemd made for credd-capture, and its name for others.
        "/var/lib/private/keymaker-credd-capture",
        "/var/lib/keymaker-credd-capture",
        "/run/keymaker",
        "/usr/libexec/keymaker",
        "/usr/share/keymaker",
    ];
    let folders = folders
        .iter()
        .filter(|folder| needed.is_empty() || !needed.starts_with(**folder));
    left.extend(folders.filter_map(|folder| files::remove_folder(Path::new(folder)).err()));
    // Settings that an administrator wrote are not ours to delete.
    match std::fs::remove_dir("/etc/keymaker") {
        Err(error) if ![ErrorKind::NotFound, ErrorKind::DirectoryNotEmpty].contains(&error.kind()) => {
            left.push(format!("/etc/keymaker: {error}"));
        }
        _ => {}
    }
    left.extend(command("systemctl", &["daemon-reload"]).err());
    if left.is_empty() {
        left.extend(files::remove_folder(Path::new("/var/lib/keymaker-install")).err());
    }
    if left.is_empty() {
        let text = "Everything that 'keymaker install' put here has been removed; homes stay.";
        output.print(text, &json!({ "done": text }));
        Ok(())
    } else {
        Err(not_done(format!(
            "everything is removed, except:\n  {}\nCorrect that and run 'keymaker uninstall' again.",
            left.join("\n  ")
        )))
    }
}

/// What removes the packages, where Keymaker came as such.
fn packaged() -> Option<&'static str> {
    let deb = || {
        command("dpkg-query", &["-W", "-f", "${db:Status-Status}", "keymaker"])
            .is_ok_and(|status| status == "installed")
    };
    let rpm = || command("rpm", &["-q", "keymaker"]).is_ok();
    match (deb(), rpm()) {
        (true, _) => Some("apt-get purge"),
        (_, true) => Some("dnf remove"),
        _ => None,
    }
}

fn listed() -> Vec<PathBuf> {
    let text = std::fs::read_to_string(LIST).unwrap_or_default();
    text.lines().map(PathBuf::from).collect()
}

fn not_done(why: impl Into<String>) -> HostError {
    HostError::Refused(why.into())
}
