//! `keymaker reset`: keymakerd forgets users, ids and settings; a backup of what cannot be learned again is kept first.

use keymaker_core::protocol::Question;
use serde_json::json;

use super::published::published_names;
use super::{HostError, backup, order, probe};
use crate::consent::Consent;
use crate::output::Output;

/// What keymakerd remembers. All else it learns from IAM again.
const REMEMBERED: [&str; 4] = [
    "/var/lib/keymaker/private/ids.json",
    "/var/lib/keymaker/private/settings.json",
    "/var/lib/keymaker/private/neighbours.json",
    "/var/lib/keymaker/private/facts.json",
];

/// Forgets everything.
pub fn run(consent: Consent, no_backup: bool, output: &Output) -> Result<(), HostError> {
    if !probe::is_root() {
        return Err(HostError::NotRoot);
    }
    let users = published_names().map_or(0, |names| names.len());
    let lost = format!(
        "This host forgets its users from IAM ({users} at the moment), who had which uid, name and home, and the settings that were \
         accepted here. Nobody from IAM can log in until keymakerd is started again. {}",
        if no_backup {
            "No backup is kept.".to_owned()
        } else {
            format!("A backup is kept in {}.", backup::FOLDER)
        }
    );
    consent.ask("keymaker reset", &lost)?;
    let kept = if no_backup {
        None
    } else {
        let none = "nothing was forgotten: make room there, or keep none with 'keymaker reset --no-backup'";
        backup::keep("reset", &REMEMBERED).map_err(|why| HostError::Refused(format!("{why}; {none}")))?
    };
    let mut done = order::give(Question::Reset)?;
    if let Some(backup) = &kept {
        done += &format!(". {backup} has what was there before (keymaker(1), BACKUPS); an image must not carry it");
    }
    output.print(&done, &json!({ "done": done, "backup": kept }));
    Ok(())
}
