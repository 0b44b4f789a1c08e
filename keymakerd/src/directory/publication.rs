//! Puts on disk what has changed, in an order that a crash at any point leaves right. Called after every pass, nudge and order, and
//! when the local accounts change.

use std::collections::BTreeMap;

use keymaker_core::directory_file::{Directory, Verdict};
use keymaker_core::name::UserName;

use super::composition::Composition;
use super::iam::Iam;
use super::refused::RefusedEntry;
use super::service::Service;
use super::store::{Store, StoreError};
use super::traces::Gone;

/// What is on disk, and what was left out of it.
#[derive(Debug, Default)]
pub struct Published {
    /// Of the directory file; one more at each publication.
    pub generation: u64,
    directory: Vec<u8>,
    keys: Vec<u8>,
    /// How many users resolve.
    pub users: usize,
    /// How many groups of ours there are, private ones not counted.
    pub groups: usize,
    /// IAM users and groups that got no entry.
    pub refused: Vec<RefusedEntry>,
    /// IAM users and groups that kept a name which a newcomer would be refused.
    pub kept: Vec<RefusedEntry>,
    /// Users who resolve and may not log in.
    pub may_not_log_in: Vec<(UserName, Verdict)>,
    /// Keys of IAM's that sshd is not shown, as sentences.
    pub unusable_keys: Vec<String>,
    /// Tombstones that stand until it is known whether anything is left of their users.
    pub unsettled: Vec<Gone>,
    /// Names and numbers for which each file as it is has no place.
    pub left_out: BTreeMap<&'static str, Vec<String>>,
}

impl Published {
    /// What an earlier life of the daemon left.
    pub fn left_in(store: &Store) -> Self {
        let whole = store.directory();
        Self {
            generation: whole.as_ref().map_or(0, Directory::generation),
            directory: whole.map(|_| store.published("directory")).unwrap_or_default(),
            keys: store.published("keys"),
            ..Self::default()
        }
    }
}

impl<I: Iam + 'static> Service<I> {
    /// Publishes what is known. On an error the files stand as they were, and the next change tries again.
    pub fn publish(&self) -> Result<(), StoreError> {
        let published = self.publish_files();
        self.state_mut().unpublished |= published.is_err();
        self.write_status();
        published
    }

    /// From now on nobody of ours may log in, until everything has answered again.
    pub fn lose_contact(&self) {
        self.state_mut().contact = None;
        if let Err(error) = self.store.forget_contact() {
            tracing::error!(%error, "the last contact cannot be forgotten: {error}");
        }
    }

    fn publish_files(&self) -> Result<(), StoreError> {
        let mut state = self.state_mut();
        if state.halted {
            return Ok(());
        }
        self.store.save("settings.json", &state.settings)?;
        // Nobody has told us of anybody: what an earlier life published stands.
        if state.facts.account.is_none() {
            return Ok(());
        }
        let composition = Composition::of(&mut state, &self.clock);
        // First what only keymakerd reads: no id is published whose owner is not on record (P2).
        self.store.save("ids.json", &state.ids)?;
        self.store.save("neighbours.json", &state.neighbours.held)?;
        self.store
            .save("facts.json", &state.facts.as_of_contact(state.contact))?;
        let published = &mut state.published;
        for (name, built) in [
            ("directory", composition.directory.build_after(&published.directory)),
            ("keys", composition.keys.build_after(&published.keys)),
        ] {
            let Some(built) = built.map_err(StoreError::Unbuildable)? else {
                continue;
            };
            self.store.publish(name, &built.bytes)?;
            for left_out in &built.left_out {
                tracing::error!(%left_out, "{left_out} has no place in the file {name}, and is left out of it");
            }
            match name {
                "directory" => (published.generation, published.directory) = (built.generation, built.bytes),
                _ => published.keys = built.bytes,
            }
            published.left_out.insert(name, built.left_out);
        }
        published.users = composition.users;
        published.groups = composition.groups;
        published.refused = composition.refused;
        published.kept = composition.kept;
        published.may_not_log_in = composition.may_not_log_in;
        published.unusable_keys = composition.unusable_keys;
        published.unsettled = composition.unsettled;
        state.unpublished = false;
        Ok(())
    }
}
