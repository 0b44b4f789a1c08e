//! What IAM last said about people, and what a new answer changes in it. Pure: time and answers come in, nothing goes out.
//!
//! The one rule of this file is P3: a user goes only when IAM says so about that user. Sync and nudges call it; publish reads it.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::iam::{IamGroup, IamUser};
use super::ssh_keys::CleanKey;

/// Two NoSuchEntity must lie this far apart where no listing can confirm them (grade 3), in seconds.
const SECOND_LOOK: u64 = 10;
/// More users than this, and more than a quarter of all, vanishing in one pass wait for a second one.
const MASS_ABSENCE: usize = 10;

/// Everything known of one AWS account's people.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// The account, once IAM has been asked.
    pub account: Option<String>,
    /// By UserId.
    pub users: BTreeMap<String, UserFacts>,
    /// By GroupId.
    pub groups: BTreeMap<String, GroupFacts>,
    /// Who vanished in the last pass together with too many others to be believed at once.
    awaiting_second_pass: BTreeSet<String>,
}

/// One IAM user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserFacts {
    /// The IAM user name.
    pub name: String,
    /// `/` or `/some/path/`.
    pub path: String,
    /// CreateDate, unix time.
    pub created: u64,
    /// `None`: never seen, since the grade's listings do not tell them.
    pub tags: Option<BTreeMap<String, String>>,
    /// When IAM last told them, unix time: most listings do not, so they may be older than the rest.
    #[serde(default)]
    pub tags_answered_at: u64,
    /// Full names of IAM groups; those that the settings give no meaning may be missing.
    pub groups: BTreeSet<String>,
    /// When IAM first said that this user is gone, unix time; until a second answer the user resolves but may not log in.
    pub doubted_since: Option<u64>,
    /// When IAM last answered about existence and groups, unix time. 0 in the kept file: as of the last contact.
    pub answered_at: u64,
    /// An administrator wants IAM asked, however young the facts.
    #[serde(default, skip)]
    pub ask_again: bool,
    /// `None`: never asked for.
    pub keys: Option<KeyFacts>,
    /// When the user last logged in on this host, unix time.
    pub last_login: Option<u64>,
}

/// A user's SSH public keys.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyFacts {
    /// When IAM last answered, unix time.
    pub answered_at: u64,
    /// What the keys file says of that: moved forward at most hourly, so that the file rests.
    pub published_at: u64,
    /// By SSHPublicKeyId; the inactive ones too, since a body never changes for an id and need not be fetched again.
    pub by_id: BTreeMap<String, KnownKey>,
}

/// One key, read once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownKey {
    /// Whether its status is Active.
    pub active: bool,
    /// What may be shown to sshd, or the sentence why nothing may.
    pub body: Result<CleanKey, String>,
}

impl KeyFacts {
    /// The keys that open something.
    pub fn usable(&self) -> impl Iterator<Item = (&String, &CleanKey)> {
        self.by_id
            .iter()
            .filter(|(_, key)| key.active)
            .filter_map(|(id, key)| Some((id, key.body.as_ref().ok()?)))
    }
}

/// One IAM group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupFacts {
    /// The full IAM group name.
    pub name: String,
    /// CreateDate, unix time.
    pub created: u64,
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
    /// The members, by IAM user name, of each group that was asked for, by its full name.
    pub members: BTreeMap<String, BTreeSet<String>>,
    /// By UserId: the groups of who is missing from the members of a group of theirs, as ListGroupsForUser told them. `None`: it
    /// did not answer or was not asked, so the user's groups stay and grow old.
    pub memberships: BTreeMap<String, Option<BTreeSet<String>>>,
}

/// What GetUser said of one user whom a listing did not show.
pub enum Sighting {
    /// IAM has the name, for this user or another.
    Found(IamUser),
    /// NoSuchEntity.
    Gone,
    /// No answer, or nobody asked: nothing changes, and the user's facts grow old.
    Unanswered,
}

impl Facts {
    /// Facts about nobody, in this account.
    pub fn of_account(account: String) -> Self {
        Self {
            account: Some(account),
            ..Self::default()
        }
    }

    /// The facts as they are kept: what is as fresh as the contact says 0, so that the kept file rests while nothing changes.
    pub fn as_of_contact(&self, contact: Option<u64>) -> Self {
        let mut kept = self.clone();
        let fresh = |user: &&mut UserFacts| contact.is_some_and(|contact| user.answered_at >= contact);
        kept.users
            .values_mut()
            .filter(fresh)
            .for_each(|user| user.answered_at = 0);
        kept.users
            .values_mut()
            .filter_map(|user| user.keys.as_mut())
            .for_each(|keys| keys.answered_at = keys.published_at);
        kept
    }

    /// The facts as they were kept, when the contact was this.
    pub fn since_contact(mut self, contact: Option<u64>) -> Self {
        let fresh = |user: &&mut UserFacts| user.answered_at == 0;
        self.users
            .values_mut()
            .filter(fresh)
            .for_each(|user| user.answered_at = contact.unwrap_or(0));
        self
    }

    /// The user whom IAM has under this name, if known; a present one before a doubted one.
    pub fn user_named(&self, iam_name: &str) -> Option<(&String, &UserFacts)> {
        let named = self.users.iter().filter(|(_, user)| user.name == iam_name);
        named.min_by_key(|(_, user)| user.doubted_since.is_some())
    }

    /// Who is known but not in the listing: (UserId, IAM name).
    pub fn missing_from(&self, listing: &Listing) -> Vec<(String, String)> {
        let listed: BTreeSet<&str> = listing.users.iter().map(|user| user.id.as_str()).collect();
        let missing = self.users.iter().filter(|(id, _)| !listed.contains(id.as_str()));
        missing.map(|(id, user)| (id.clone(), user.name.clone())).collect()
    }

    /// The groups known but not in the listing, which may be gone, or the listing cut short.
    pub fn groups_missing_from(&self, listed: &[IamGroup]) -> Vec<IamGroup> {
        let listed: BTreeSet<&str> = listed.iter().map(|group| group.id.as_str()).collect();
        let missing = self.groups.iter().filter(|(id, _)| !listed.contains(id.as_str()));
        let as_known = |(id, group): (&String, &GroupFacts)| IamGroup {
            id: id.clone(),
            name: group.name.clone(),
            path: String::new(),
            created: group.created,
        };
        missing.map(as_known).collect()
    }

    /// Who was in one of these groups and is not among its members: (UserId, IAM name).
    pub fn members_missing_from(&self, members: &BTreeMap<String, BTreeSet<String>>) -> Vec<(String, String)> {
        let missing = |user: &UserFacts| {
            let left = |group| members.get(group).is_some_and(|members| !members.contains(&user.name));
            user.groups.iter().any(left)
        };
        let users = self.users.iter().filter(|(_, user)| missing(user));
        users.map(|(id, user)| (id.clone(), user.name.clone())).collect()
    }

    /// When this pass has IAM's answer about the user: at its beginning, or not at all.
    fn answered_at_by(&self, listing: &Listing, id: &str) -> u64 {
        match (listing.memberships.get(id), self.users.get(id)) {
            (Some(None), Some(user)) => user.answered_at,
            _ => listing.began,
        }
    }

    /// Takes in a whole pass, and what GetUser said of each user missing from it. Returns the UserIds that are gone for good.
    pub fn learn_listing(&mut self, listing: &Listing, sightings: Vec<(String, Sighting)>, now: u64) -> Vec<String> {
        self.groups = listing
            .groups
            .iter()
            .map(|group| (group.id.clone(), GroupFacts::of(group)))
            .collect();
        for user in &listing.users {
            self.learn_user(user, self.answered_at_by(listing, &user.id), now);
        }
        let mut gone = BTreeSet::new();
        for (id, sighting) in sightings {
            match sighting {
                Sighting::Found(user) => {
                    let same = user.id == id;
                    self.learn_user(&user, self.answered_at_by(listing, &user.id), now);
                    if !same && self.doubt(&id, listing.everyone, now) {
                        gone.insert(id);
                    }
                }
                Sighting::Gone => {
                    if self.doubt(&id, listing.everyone, now) {
                        gone.insert(id);
                    }
                }
                Sighting::Unanswered => {}
            }
        }
        for (id, user) in self
            .users
            .iter_mut()
            .filter(|(_, user)| !user.heard_after(listing.began, now))
        {
            match listing.memberships.get(id) {
                None => user.learn_memberships(listing),
                Some(Some(groups)) => user.groups.clone_from(groups),
                Some(None) => {}
            }
        }
        self.remove(gone)
    }

    /// Takes in GetUser and ListGroupsForUser of one user, asked for at `began`. Returns whether anything but the time of the answer is
    /// new.
    pub fn learn_answers(&mut self, user: &IamUser, groups: &[IamGroup], began: u64, now: u64) -> bool {
        let before = self.users.get(&user.id).cloned();
        self.learn_user(user, began, now);
        let mut changed = false;
        for group in groups {
            let known = self.groups.insert(group.id.clone(), GroupFacts::of(group));
            changed |= known != Some(GroupFacts::of(group));
        }
        if let Some(facts) = self.users.get_mut(&user.id) {
            facts.groups = groups.iter().map(|group| group.name.clone()).collect();
            changed |= before.is_none_or(|before| facts.differs_from(&before));
        }
        for (_, other) in self
            .users
            .iter_mut()
            .filter(|(id, other)| **id != user.id && other.name == user.name)
        {
            changed |= other.doubted_since.is_none();
            other.doubted_since.get_or_insert(began);
        }
        changed
    }

    /// GetUser said NoSuchEntity outside a pass: that name may not log in. Removal waits for the next pass. Returns whether that
    /// is news.
    pub fn learn_gone(&mut self, iam_name: &str, now: u64) -> bool {
        let mut changed = false;
        for user in self
            .users
            .values_mut()
            .filter(|user| user.name == iam_name && user.doubted_since.is_none())
        {
            user.doubted_since = Some(now);
            changed = true;
        }
        changed
    }

    fn learn_user(&mut self, user: &IamUser, answered_at: u64, now: u64) {
        let facts = self
            .users
            .entry(user.id.clone())
            .or_insert_with(|| UserFacts::new(user));
        if facts.heard_after(answered_at, now) {
            return;
        }
        facts.name.clone_from(&user.name);
        facts.path.clone_from(&user.path);
        facts.created = user.created;
        facts.doubted_since = None;
        facts.answered_at = answered_at;
        facts.ask_again = false;
        if let Some(tags) = &user.tags {
            facts.learn_tags(tags, answered_at);
        }
        if let Some(groups) = &user.groups {
            facts.groups = groups.iter().cloned().collect();
        }
    }

    /// IAM says that this UserId is no more. Whether that is now certain.
    fn doubt(&mut self, id: &str, confirmed_by_listing: bool, now: u64) -> bool {
        let Some(user) = self.users.get_mut(id) else {
            return false;
        };
        let since = *user.doubted_since.get_or_insert(now);
        confirmed_by_listing || now >= since + SECOND_LOOK
    }

    fn remove(&mut self, gone: BTreeSet<String>) -> Vec<String> {
        let mass = gone.len() > MASS_ABSENCE && gone.len() * 4 > self.users.len();
        let believed: Vec<String> = match mass {
            true => gone.intersection(&self.awaiting_second_pass).cloned().collect(),
            false => gone.iter().cloned().collect(),
        };
        self.awaiting_second_pass = if mass { gone } else { BTreeSet::new() };
        for id in &believed {
            self.users.remove(id);
            self.awaiting_second_pass.remove(id);
        }
        believed
    }
}

impl UserFacts {
    fn new(user: &IamUser) -> Self {
        Self {
            name: user.name.clone(),
            path: user.path.clone(),
            created: user.created,
            tags: None,
            tags_answered_at: 0,
            groups: BTreeSet::new(),
            doubted_since: None,
            answered_at: 0,
            ask_again: false,
            keys: None,
            last_login: None,
        }
    }

    /// Whether a nudge got a later answer than this one: a pass that began earlier must not undo a revocation (P9). What was heard after
    /// `now` was heard before the clock was set back, and is older than anything.
    fn heard_after(&self, answered_at: u64, now: u64) -> bool {
        let later = |at: u64| at > answered_at && at <= now;
        later(self.answered_at) || self.doubted_since.is_some_and(later)
    }

    /// Whether anything but the times of answers differs.
    fn differs_from(&self, before: &Self) -> bool {
        let timeless = |user: &Self| Self {
            answered_at: 0,
            tags_answered_at: 0,
            ask_again: false,
            ..user.clone()
        };
        timeless(self) != timeless(before)
    }

    /// Groups that no longer exist go; of those asked for, exactly the ones that list this user stay.
    fn learn_memberships(&mut self, listing: &Listing) {
        self.groups.retain(|group| {
            !listing.members.contains_key(group) && listing.groups.iter().any(|known| known.name == *group)
        });
        let joined = listing
            .members
            .iter()
            .filter(|(_, members)| members.contains(&self.name));
        self.groups.extend(joined.map(|(group, _)| group.clone()));
    }

    /// The tags that IAM told at this unix time.
    pub fn learn_tags(&mut self, tags: &[(String, String)], answered_at: u64) {
        self.tags = Some(tags.iter().cloned().collect());
        self.tags_answered_at = answered_at;
    }

    /// One tag's value.
    pub fn tag(&self, key: &str) -> Option<&str> {
        self.tags.as_ref()?.get(key).map(String::as_str)
    }
}

impl GroupFacts {
    fn of(group: &IamGroup) -> Self {
        Self {
            name: group.name.clone(),
            created: group.created,
        }
    }
}

#[cfg(test)]
mod tests;
