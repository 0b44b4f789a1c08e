//! What is published as far as the daemon remembers it. `publication` keeps it up to date; the status shows it.

use std::collections::BTreeMap;

use keymaker_core::directory_file::{Directory, Verdict};
use keymaker_core::name::UserName;
use keymaker_core::published_file::writer::Built;
use tracing::{error, warn};

use super::composition::Composition;
use super::rights::Rights;
use super::store::Store;
use super::unsettled::Unsettled;
use crate::directory::entitlement::entitled::NotPeople;
use crate::directory::entitlement::refused::RefusedEntry;
use crate::settings::SettingsInForce;

/// What is on disk, and what was left out of it.
#[derive(Debug, Default)]
pub struct PublishedState {
    /// Of the directory file; one more at each publication.
    pub generation: u64,
    pub(super) directory: Vec<u8>,
    pub(super) keys: Vec<u8>,
    pub(super) issuers: Vec<u8>,
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
    /// Tags that say a home or a shell which this host does not give.
    pub unusable_tags: Vec<String>,
    /// IAM users whom nothing says to be people.
    pub not_people: NotPeople,
    /// Tombstones and former names that stand until it is known whether anything is left of their users.
    pub unsettled: Unsettled,
    /// Who may do what by the directory as it is; `None` where there was none that could be read.
    pub rights: Option<Rights>,
    /// The settings by which it was made.
    pub settings: Option<SettingsInForce>,
    /// Names and numbers for which each file as it is has no place.
    pub left_out: BTreeMap<&'static str, Vec<String>>,
}

impl PublishedState {
    /// What an earlier life of the daemon left.
    pub fn left_in(store: &Store) -> Self {
        let whole = store.directory();
        Self {
            generation: whole.as_ref().map_or(0, Directory::generation),
            directory: whole.map(|_| store.published("directory")).unwrap_or_default(),
            keys: store.published("keys"),
            issuers: store.published("issuers"),
            rights: Rights::published_in(store),
            ..Self::default()
        }
    }
}

impl PublishedState {
    pub(super) fn take(&mut self, name: &'static str, built: Built) {
        for left_out in &built.left_out {
            error!(%left_out, "there is no room for {left_out} in the file {name}, which leaves it out");
        }
        match name {
            "directory" => (self.generation, self.directory) = (built.generation, built.bytes),
            "issuers" => self.issuers = built.bytes,
            _ => self.keys = built.bytes,
        }
        self.left_out.insert(name, built.left_out);
    }

    pub(super) fn describe(&mut self, composition: Composition) {
        self.users = composition.users;
        self.groups = composition.groups;
        self.refused = composition.refused;
        self.kept = composition.kept;
        self.may_not_log_in = composition.may_not_log_in;
        self.unusable_keys = composition.unusable_keys;
        for tag in &composition.unusable_tags {
            if !self.unusable_tags.contains(tag) {
                warn!("{tag}");
            }
        }
        self.unusable_tags = composition.unusable_tags;
        self.unsettled = composition.unsettled;
        self.not_people = composition.not_people;
    }
}
