//! What IAM last said about people, and what a new answer changes in it. Pure: time and answers come in, nothing goes
//! out.
//!
//! The one rule of this file is P3: a user goes only when IAM says so about that user. People and groups are known by
//! their ids; a name is only what IAM calls them now (P2). Sync and nudges call it, each answer in the order of
//! `order`; publish reads it.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use self::order::Asked;
use super::iam::{IamGroup, IamUser};

pub mod dates;
mod groups;
pub mod issuers;
mod keys;
pub mod order;
mod users;
pub use groups::{GroupFacts, Members, Memberships};
pub use keys::{KeyFacts, ListedKeys};
pub use users::{Sighting, UserFacts};

/// In the kept file: IAM has not said, whatever the contact.
const NEVER: u64 = 1;

/// Everything known of one AWS account's people.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// The account, once IAM has been asked.
    pub account: Option<String>,
    /// By `UserId`.
    pub users: BTreeMap<String, UserFacts>,
    /// By `GroupId`.
    pub groups: BTreeMap<String, GroupFacts>,
    /// Who vanished in the last pass together with too many others to be believed at once.
    awaiting_second_pass: BTreeSet<String>,
}

/// What a whole pass learned: complete listings only.
pub struct Listing {
    /// When the pass began, unix time: the facts are at least as fresh.
    pub began: u64,
    /// Everyone, or (grade 3) the members of the asked groups.
    pub users: Vec<IamUser>,
    /// Whether `users` is everyone, so that who is missing may be gone.
    pub everyone: bool,
    /// Every group of the account.
    pub groups: Vec<IamGroup>,
    /// By `GroupId`, the groups that were asked for.
    pub members: BTreeMap<String, Members>,
    /// `GroupIds` of those that were asked for and not told: their members grow old.
    pub unread: BTreeSet<String>,
    /// By `UserId`: the groups of who is missing from the members of a group of theirs, as `ListGroupsForUser` told
    /// them; in grade 1, everybody's. `None`: it did not answer or was not asked, so the user's groups stay and grow
    /// old.
    pub memberships: BTreeMap<String, Option<Memberships>>,
}

impl Facts {
    /// Facts about nobody, in this account.
    pub fn of_account(account: String) -> Self {
        Self {
            account: Some(account),
            ..Self::default()
        }
    }

    /// The facts as they are kept: what is as fresh as the contact says 0, so that the kept file rests while nothing
    /// changes.
    pub fn as_of_contact(&self, contact: Option<u64>) -> Self {
        let mut kept = self.clone();
        for at in kept.times() {
            *at = if contact.is_some_and(|contact| *at >= contact) {
                0
            } else {
                (*at).max(NEVER)
            };
        }
        kept.users
            .values_mut()
            .filter_map(|user| user.keys.as_mut())
            .for_each(|keys| keys.answered_at = keys.published_at);
        kept
    }

    /// The facts as they were kept, when the contact was this.
    pub fn since_contact(mut self, contact: Option<u64>) -> Self {
        self.times()
            .filter(|at| **at == 0)
            .for_each(|at| *at = contact.unwrap_or(0));
        let by_name = |name: &String| {
            let mut named = self.groups.iter().filter(|(_, group)| group.name == *name);
            let id = named.next().map(|(id, _)| id.clone());
            id.filter(|_| named.next().is_none())
        };
        for user in self.users.values_mut() {
            let former = std::mem::take(&mut user.former_groups);
            user.groups.extend(former.iter().filter_map(by_name));
        }
        self
    }

    /// The times that are as the contact's in the kept file.
    fn times(&mut self) -> impl Iterator<Item = &mut u64> {
        let users = self.users.values_mut();
        let users = users.flat_map(|user| [&mut user.answered_at, &mut user.seen_at]);
        let groups = self.groups.values_mut();
        users.chain(groups.flat_map(|group| [&mut group.answered_at, &mut group.members_at]))
    }

    /// Takes in a whole pass, and what `GetUser` said of each user missing from it. Returns the `UserIds` that are gone
    /// for good.
    pub fn learn_listing(&mut self, listing: &Listing, sightings: Vec<(String, Sighting)>, now: u64) -> Vec<String> {
        let asked = |at| Asked::new(at, now);
        let began = asked(listing.began);
        // First: one whose name another has by now is known to be disputed since this listing.
        self.forget_groups_missing_from(listing, began);
        for group in &listing.groups {
            self.learn_group(group, began);
        }
        for members in listing.members.values() {
            self.learn_group(&members.group, asked(members.asked_at));
        }
        let mut seen: BTreeSet<&str> = BTreeSet::new();
        for user in &listing.users {
            self.learn_user(user, began);
            seen.insert(&user.id);
        }
        let mut gone = BTreeSet::new();
        for (id, sighting) in &sightings {
            let asked = asked(sighting.asked_at);
            if let Some(user) = &sighting.found {
                self.learn_user(user, asked);
                seen.insert(&user.id);
            }
            let present = sighting.found.as_ref().is_some_and(|user| user.id == *id);
            if !present && self.doubt(id, asked) && self.is_certainly_gone(id, listing.everyone, asked) {
                gone.insert(id.clone());
            }
        }
        for (id, memberships) in &listing.memberships {
            if let Some(memberships) = memberships {
                self.learn_memberships(id, &memberships.groups, asked(memberships.asked_at));
            }
        }
        for members in listing.members.values() {
            self.learn_members(members, asked(members.asked_at));
        }
        for id in seen {
            self.learn_whole_account(id, listing, began);
        }
        self.remove(gone)
    }

    /// Takes in `GetUser` and `ListGroupsForUser` of one user. Returns whether anything but the time of the answer is
    /// new.
    pub fn learn_answers(&mut self, user: &IamUser, groups: &[IamGroup], asked: Asked) -> bool {
        let before = self.users.get(&user.id).cloned();
        if let Some(known) = self.users.get_mut(&user.id) {
            known.ask_again = false;
        }
        self.learn_user(user, asked);
        let mut changed = self.doubt_others_named(user, asked);
        for group in groups {
            changed |= self.learn_group(group, asked);
        }
        let ids = groups.iter().map(|group| group.id.clone()).collect();
        self.learn_memberships(&user.id, &ids, asked);
        let facts = self.users.get(&user.id);
        changed | facts.is_some_and(|facts| before.is_none_or(|before| facts.differs_from(&before)))
    }
}

#[cfg(test)]
mod tests;
