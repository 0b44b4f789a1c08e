//! What IAM last said about people, and what a new answer changes in it. Pure: time and answers come in, nothing goes out.
//!
//! The one rule of this file is P3: a user goes only when IAM says so about that user. People and groups are known by their ids; a name
//! is only what IAM calls them now (P2). Sync and nudges call it, each answer in the order of `order`; publish reads it.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::iam::{IamGroup, IamUser};
use super::order::{Asked, Turn};
use super::ssh_keys::CleanKey;

/// Two NoSuchEntity must lie this far apart where no listing can confirm them (grade 3), in seconds.
const SECOND_LOOK: u64 = 10;
/// More users than this, and more than a quarter of all, vanishing in one pass wait for a second one.
const MASS_ABSENCE: usize = 10;
/// AWS's time is known to two seconds here, and IAM tells a CreateDate in whole ones.
const CREATED_SINCE: u64 = 2;
/// In the kept file: IAM has not said, whatever the contact.
const NEVER: u64 = 1;
/// The tag that says when a user's access ends.
const EXPIRES: &str = "expires";

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
    /// GroupIds; those of groups that the settings give no meaning may be missing.
    #[serde(default, rename = "group_ids")]
    pub groups: BTreeSet<String>,
    /// Names of groups, as version 0.1 kept them: `since_contact` makes them ids.
    #[serde(default, rename = "groups", skip_serializing)]
    former_groups: BTreeSet<String>,
    /// When IAM last said whether the user is there and under which name, as [`Self::answered_at`].
    #[serde(default)]
    pub seen_at: u64,
    /// When IAM first said that this user is gone, unix time; until a second answer the user resolves but may not log in.
    pub doubted_since: Option<u64>,
    /// When IAM last answered about existence and all groups, unix time. 0 in the kept file: as of the last contact.
    pub answered_at: u64,
    /// IAM is to be asked, however young the facts: two answers differ, or an administrator wants it.
    #[serde(default, skip)]
    pub ask_again: bool,
    /// `None`: never asked for.
    pub keys: Option<KeyFacts>,
    /// When the user last logged in on this host, unix time.
    pub last_login: Option<u64>,
    /// The Unix name under which that was; `None` also where an earlier version saw it.
    #[serde(default)]
    pub last_login_as: Option<String>,
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
    /// Whether IAM named this UserId around the answer. What version 0.1 kept was not asked like that.
    #[serde(default)]
    pub proved: bool,
    /// IAM is to be asked, however young the answer: a body is missing, or two answers differ.
    #[serde(default, skip)]
    pub ask_again: bool,
}

/// One answer about a user's keys.
pub struct ListedKeys {
    /// SSHPublicKeyIds, and whether their status is Active.
    pub active: BTreeMap<String, bool>,
    /// The bodies that were fetched for it.
    pub bodies: BTreeMap<String, Result<CleanKey, String>>,
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

    /// Whether an answer by name can only be about the same user: a key's id is one user's for ever. One that says no more than what is
    /// known, that there are no keys, may be anybody's.
    pub fn recognizes(&self, listed: &ListedKeys) -> bool {
        let common = listed.active.keys().any(|id| self.by_id.contains_key(id));
        self.proved && (common || self.by_id.is_empty() && listed.active.is_empty())
    }
}

/// One IAM group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupFacts {
    /// The full IAM group name.
    pub name: String,
    /// CreateDate, unix time.
    pub created: u64,
    /// When IAM last said that it is there and under which name, as [`UserFacts::answered_at`].
    #[serde(default)]
    pub answered_at: u64,
    /// When IAM last told all its members, likewise.
    #[serde(default)]
    pub members_at: u64,
    /// When IAM was asked that first told this name of a group known under another, or under two at once, unix time; else 0.
    #[serde(default)]
    named_at: u64,
    /// Whether IAM gave this group two names, or its name to another one, so that it means nothing until IAM has said more.
    #[serde(default)]
    pub disputed: bool,
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
    /// By GroupId, the groups that were asked for.
    pub members: BTreeMap<String, Members>,
    /// GroupIds of those that were asked for and not told: their members grow old.
    pub unread: BTreeSet<String>,
    /// By UserId: the groups of who is missing from the members of a group of theirs, as ListGroupsForUser told them; in grade 1,
    /// everybody's. `None`: it did not answer or was not asked, so the user's groups stay and grow old.
    pub memberships: BTreeMap<String, Option<Memberships>>,
}

/// What GetGroup said.
pub struct Members {
    /// When it was asked, unix time.
    pub asked_at: u64,
    /// The group as this answer names it.
    pub group: IamGroup,
    /// UserIds.
    pub users: BTreeSet<String>,
}

/// What ListGroupsForUser said.
pub struct Memberships {
    /// When it was asked, unix time.
    pub asked_at: u64,
    /// GroupIds.
    pub groups: BTreeSet<String>,
}

/// What GetUser said of one user whom a listing did not show.
pub struct Sighting {
    /// When it was asked, unix time.
    pub asked_at: u64,
    /// The user whom IAM has under that name, this one or another; `None`: NoSuchEntity.
    pub found: Option<IamUser>,
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
        for at in kept.times() {
            *at = match contact.is_some_and(|contact| *at >= contact) {
                true => 0,
                false => (*at).max(NEVER),
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

    /// The user whom IAM has under this name, if known: a present one before a doubted one, then the one seen last.
    pub fn user_named(&self, iam_name: &str) -> Option<(&String, &UserFacts)> {
        let named = self.users.iter().filter(|(_, user)| user.name == iam_name);
        named.max_by_key(|(_, user)| (user.doubted_since.is_none(), user.seen_at))
    }

    /// Whether the user is in the group that has this full IAM name now.
    pub fn is_member(&self, user: &UserFacts, group_name: &str) -> bool {
        self.groups_of(user).any(|group| group.name == group_name)
    }

    /// The user's groups, without those whose names are disputed.
    pub fn groups_of<'a>(&'a self, user: &'a UserFacts) -> impl Iterator<Item = &'a GroupFacts> {
        let groups = user.groups.iter().filter_map(|id| self.groups.get(id));
        groups.filter(|group| group.counts_for(user))
    }

    /// Whether the user has what the group of this GroupId gives.
    pub fn is_in(&self, user: &UserFacts, group_id: &str) -> bool {
        let group = self.groups.get(group_id);
        user.groups.contains(group_id) && group.is_some_and(|group| group.counts_for(user))
    }

    /// Who was known well before this listing and is not in it: (UserId, IAM name).
    pub fn missing_from(&self, listing: &Listing, now: u64) -> Vec<(String, String)> {
        let listed: BTreeSet<&str> = listing.users.iter().map(|user| user.id.as_str()).collect();
        let asked = Asked::new(listing.began, now);
        let may_be_gone = |user: &UserFacts| user.doubted_since.is_some() || asked.turn(user.seen_at) == Turn::Later;
        let missing = |(id, user): &(&String, &UserFacts)| !listed.contains(id.as_str()) && may_be_gone(user);
        let missing = self.users.iter().filter(missing);
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

    /// Who was in one of these groups and is not among its members: (UserId, IAM name as last known).
    pub fn members_missing_from(&self, members: &BTreeMap<String, Members>) -> Vec<(String, String)> {
        let missing = |(id, user): &(&String, &UserFacts)| {
            let left = |group| members.get(group).is_some_and(|members| !members.users.contains(*id));
            user.groups.iter().any(left)
        };
        let users = self.users.iter().filter(missing);
        users.map(|(id, user)| (id.clone(), user.name.clone())).collect()
    }

    /// Takes in a whole pass, and what GetUser said of each user missing from it. Returns the UserIds that are gone for good.
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

    /// Takes in GetUser and ListGroupsForUser of one user. Returns whether anything but the time of the answer is new.
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

    /// Takes in one GetUser: who has the name, and so who has it no longer. Somebody unknown stays so until their groups are known too.
    /// Returns whether anything but the time of the answer is new.
    pub fn learn_sighting(&mut self, user: &IamUser, asked: Asked) -> bool {
        let mut changed = self.doubt_others_named(user, asked);
        if let Some(before) = self.users.get(&user.id).cloned() {
            self.learn_user(user, asked);
            changed |= self
                .users
                .get(&user.id)
                .is_some_and(|after| after.differs_from(&before));
        }
        changed
    }

    /// GetUser said NoSuchEntity outside a pass: that name may not log in. Removal waits for the next pass. Returns whether that
    /// is news.
    pub fn learn_gone(&mut self, iam_name: &str, asked: Asked) -> bool {
        self.doubt_all(|_, user| user.name == iam_name, asked)
    }

    /// Takes in an answer about a user's keys. Returns whether anything but its time is new; `None`: a key in it is known as another
    /// user's, so the answer counts for nothing, and that user is to be asked about again.
    pub fn learn_keys(&mut self, user_id: &str, listed: ListedKeys, asked: Asked) -> Option<bool> {
        let mut contradicted = false;
        for keys in self
            .users
            .iter_mut()
            .filter(|(id, _)| *id != user_id)
            .filter_map(|(_, user)| user.keys.as_mut())
        {
            let before = keys.by_id.len();
            keys.by_id.retain(|id, _| !listed.active.contains_key(id));
            if keys.by_id.len() != before {
                (keys.ask_again, contradicted) = (true, true);
            }
        }
        if contradicted {
            return None;
        }
        let user = self.users.get_mut(user_id)?;
        Some(user.keys.get_or_insert_default().learn(listed, asked))
    }

    /// Existence, name and, where this answer tells them, tags.
    fn learn_user(&mut self, user: &IamUser, asked: Asked) {
        let facts = self
            .users
            .entry(user.id.clone())
            .or_insert_with(|| UserFacts::new(user));
        if let Some(tags) = &user.tags {
            facts.learn_tags(tags, asked);
        }
        let turn = asked.turn(facts.seen_at);
        match turn {
            Turn::Earlier => return,
            Turn::Later => facts.doubted_since = None,
            Turn::Together => facts.ask_again |= facts.doubted_since.is_some() || facts.name != user.name,
        }
        if turn == Turn::Later || asked.at() >= facts.seen_at {
            facts.name.clone_from(&user.name);
            facts.path.clone_from(&user.path);
            facts.created = user.created;
        }
        // A refusal is over five seconds after it, however many answers came within them.
        if facts.doubted_since.is_none() {
            facts.seen_at = asked.or_later(facts.seen_at);
        }
    }

    /// IAM says that this UserId is no more, or no longer under its name. Whether that counts.
    fn doubt(&mut self, id: &str, asked: Asked) -> bool {
        let Some(user) = self.users.get_mut(id) else {
            return false;
        };
        match asked.turn(user.seen_at) {
            Turn::Earlier => return false,
            Turn::Later => {}
            Turn::Together => user.ask_again |= user.doubted_since.is_none(),
        }
        user.doubted_since.get_or_insert(asked.at());
        user.seen_at = asked.or_later(user.seen_at);
        true
    }

    fn doubt_others_named(&mut self, user: &IamUser, asked: Asked) -> bool {
        self.doubt_all(|id, other| *id != user.id && other.name == user.name, asked)
    }

    /// Returns whether that is news about anybody.
    fn doubt_all(&mut self, who: impl Fn(&String, &UserFacts) -> bool, asked: Asked) -> bool {
        let present = self.users.iter().filter(|(id, user)| who(id, user));
        let ids: Vec<(String, bool)> = present
            .map(|(id, user)| (id.clone(), user.doubted_since.is_none()))
            .collect();
        let mut news = false;
        for (id, was_present) in ids {
            news |= self.doubt(&id, asked) && was_present;
        }
        news
    }

    fn is_certainly_gone(&self, id: &str, confirmed_by_listing: bool, asked: Asked) -> bool {
        let since = self.users.get(id).and_then(|user| user.doubted_since);
        confirmed_by_listing || since.is_some_and(|since| asked.at() >= since + SECOND_LOOK)
    }

    /// Existence and name of a group. Returns whether anything but the time of the answer is new.
    fn learn_group(&mut self, group: &IamGroup, asked: Asked) -> bool {
        let known = self.groups.get(&group.id);
        let before = known.map(|known| (known.name.clone(), known.disputed));
        let mut disputed = false;
        match known.map(|known| (asked.turn(known.answered_at), known.name == group.name)) {
            Some((Turn::Earlier, _)) => return false,
            Some((Turn::Together, same)) => disputed = !same || known.is_some_and(|known| known.disputed),
            Some((Turn::Later, _)) | None => {}
        }
        let mut changed = false;
        for (_, rival) in self
            .groups
            .iter_mut()
            .filter(|(id, rival)| **id != group.id && rival.name == group.name)
        {
            match (asked.turn(rival.answered_at), rival.disputed) {
                (Turn::Together, true) => {}
                (Turn::Earlier, _) => disputed = true,
                (turn, _) => {
                    disputed |= turn == Turn::Together;
                    changed |= !rival.disputed;
                    rival.disputed = true;
                    rival.answered_at = asked.or_later(rival.answered_at);
                }
            }
        }
        let facts = self
            .groups
            .entry(group.id.clone())
            .or_insert_with(|| GroupFacts::new(group));
        // Nobody could tell which of two names counted for whom.
        let was_disputed = before.as_ref().is_some_and(|(_, was)| *was);
        let renamed = facts.name != group.name || was_disputed && !disputed;
        facts.named_at = match renamed {
            true => asked.at(),
            false => facts.named_at.min(asked.at()),
        };
        facts.name.clone_from(&group.name);
        facts.created = group.created;
        facts.disputed = disputed;
        // A dispute is over five seconds after it began.
        if !disputed || !was_disputed {
            facts.answered_at = asked.or_later(facts.answered_at);
        }
        if renamed {
            self.forget_members(&group.id);
        }
        changed | (before != Some((group.name.clone(), disputed)))
    }

    /// Who was in a group before it had its name was never in one of that name, and may have left.
    fn forget_members(&mut self, group_id: &str) {
        for user in self.users.values_mut() {
            user.ask_again |= user.groups.remove(group_id);
        }
    }

    fn forget_groups_missing_from(&mut self, listing: &Listing, began: Asked) {
        let listed: BTreeSet<&str> = listing.groups.iter().map(|group| group.id.as_str()).collect();
        self.groups
            .retain(|id, group| listed.contains(id.as_str()) || began.turn(group.answered_at) != Turn::Later);
        let groups = &self.groups;
        for user in self.users.values_mut() {
            user.groups.retain(|id| groups.contains_key(id));
        }
    }

    /// All groups of one user, as IAM told them about this UserId.
    fn learn_memberships(&mut self, user_id: &str, groups: &BTreeSet<String>, asked: Asked) {
        let Some(user) = self.users.get_mut(user_id) else {
            return;
        };
        let mut taken_in_whole = asked.turn(user.answered_at) != Turn::Earlier;
        let differing: Vec<String> = user.groups.symmetric_difference(groups).cloned().collect();
        for id in differing {
            let members_at = self.groups.get(&id).map_or(0, |group| group.members_at);
            // Whoever was created since then could not be among them: their first login works at once (P6).
            let members_at = match user.answered_at == 0 && user.created + CREATED_SINCE >= members_at {
                true => 0,
                false => members_at,
            };
            let joins = groups.contains(&id);
            match asked.turn(asked.latest(user.answered_at, members_at)) {
                Turn::Later if joins => drop(user.groups.insert(id)),
                Turn::Later => drop(user.groups.remove(&id)),
                Turn::Together => {
                    user.groups.remove(&id);
                    user.ask_again = true;
                    taken_in_whole &= !joins;
                }
                Turn::Earlier => {}
            }
        }
        // A refusal is over five seconds after it, however many answers came within them.
        if taken_in_whole {
            user.answered_at = asked.or_later(user.answered_at);
        }
    }

    /// All members of one group. Whoever is no longer among them stays until IAM says so about that user (P3).
    fn learn_members(&mut self, members: &Members, asked: Asked) {
        let Some(group) = self.groups.get_mut(&members.group.id) else {
            return;
        };
        for (_, user) in self
            .users
            .iter_mut()
            .filter(|(id, user)| members.users.contains(*id) && !user.groups.contains(&members.group.id))
        {
            match asked.turn(asked.latest(user.answered_at, group.members_at)) {
                Turn::Later => drop(user.groups.insert(members.group.id.clone())),
                Turn::Together => user.ask_again = true,
                Turn::Earlier => {}
            }
        }
        group.members_at = asked.or_later(group.members_at);
    }

    /// A pass has IAM's answer about a user as a whole, unless it left a group of theirs open.
    fn learn_whole_account(&mut self, user_id: &str, listing: &Listing, began: Asked) {
        let Some(user) = self.users.get_mut(user_id) else {
            return;
        };
        let unconfirmed = matches!(listing.memberships.get(user_id), Some(None));
        if !unconfirmed && user.groups.is_disjoint(&listing.unread) {
            user.answered_at = began.or_later(user.answered_at);
        }
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
            former_groups: BTreeSet::new(),
            doubted_since: None,
            seen_at: 0,
            answered_at: 0,
            ask_again: false,
            keys: None,
            last_login: None,
            last_login_as: None,
        }
    }

    /// Whether anything but the times of answers differs.
    fn differs_from(&self, before: &Self) -> bool {
        let timeless = |user: &Self| Self {
            seen_at: 0,
            answered_at: 0,
            tags_answered_at: 0,
            ask_again: false,
            ..user.clone()
        };
        timeless(self) != timeless(before)
    }

    /// The tags that IAM told.
    pub fn learn_tags(&mut self, tags: &[(String, String)], asked: Asked) {
        let tags: BTreeMap<String, String> = tags.iter().cloned().collect();
        let merged = match (asked.turn(self.tags_answered_at), &self.tags) {
            (Turn::Earlier, _) => return,
            (Turn::Together, Some(known)) if *known != tags => {
                self.ask_again = true;
                more_refusing(known, &tags)
            }
            _ => tags.clone(),
        };
        // A refusal is over five seconds after it, however many answers came within them.
        if merged == tags {
            self.tags_answered_at = asked.or_later(self.tags_answered_at);
        }
        self.tags = Some(merged);
    }

    /// One tag's value.
    pub fn tag(&self, key: &str) -> Option<&str> {
        self.tags.as_ref()?.get(key).map(String::as_str)
    }
}

/// Of two sets of tags what both say, and the end of access if either knows one: the earlier, or the one that is no date.
fn more_refusing(one: &BTreeMap<String, String>, other: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let agreed = one.iter().filter(|(tag, value)| other.get(*tag) == Some(value));
    let mut tags: BTreeMap<String, String> = agreed.map(|(tag, value)| (tag.clone(), value.clone())).collect();
    let ends = [one, other].into_iter().filter_map(|tags| tags.get(EXPIRES));
    let refusing = ends.min_by_key(|date| super::verdict::day_after(date).unwrap_or(0));
    tags.extend(refusing.map(|date| (EXPIRES.to_owned(), date.clone())));
    tags
}

impl KeyFacts {
    /// Takes in an answer about the same user. Returns whether anything but its time is new.
    fn learn(&mut self, listed: ListedKeys, asked: Asked) -> bool {
        let turn = asked.turn(self.answered_at);
        if turn == Turn::Earlier {
            return false;
        }
        let before = std::mem::take(&mut self.by_id);
        let together = turn == Turn::Together && self.proved;
        self.ask_again = false;
        let mut taken_in_whole = true;
        for (id, active) in listed.active {
            let known = before.get(&id);
            let body = known
                .map(|known| known.body.clone())
                .or_else(|| listed.bodies.get(&id).cloned());
            // Its status is known, and what it opens is not.
            let Some(body) = body else {
                self.ask_again = true;
                continue;
            };
            let was_active = known.is_some_and(|known| known.active);
            taken_in_whole &= !together || !active || was_active;
            let active = active && (!together || was_active);
            self.by_id.insert(id, KnownKey { active, body });
        }
        let changed = self.by_id != before || !self.proved;
        self.ask_again |= together && changed;
        self.proved = true;
        // A refusal is over five seconds after it, however many answers came within them.
        if taken_in_whole {
            self.answered_at = asked.or_later(self.answered_at);
        }
        changed
    }
}

impl GroupFacts {
    fn new(group: &IamGroup) -> Self {
        Self {
            name: group.name.clone(),
            created: group.created,
            answered_at: 0,
            members_at: 0,
            named_at: 0,
            disputed: false,
        }
    }

    /// An answer about the user from before the group had its name says nothing of a group of that name, also where it arrives later.
    fn counts_for(&self, user: &UserFacts) -> bool {
        !self.disputed && user.answered_at >= self.named_at
    }
}

#[cfg(test)]
mod tests;
