//! Users: who is there, under which name and with which tags, and what a new answer changes. Nobody goes but by an
//! answer about them (P3).

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::order::{Asked, Turn};
use super::{Facts, KeyFacts, Listing};
use crate::directory::iam::IamUser;

/// Two `NoSuchEntity` must lie this far apart where no listing can confirm them (grade 3), in seconds.
const SECOND_LOOK: u64 = 10;
/// More users than this, and more than a quarter of all, vanishing in one pass wait for a second one.
const MASS_ABSENCE: usize = 10;
/// The tag that says when a user's access ends.
const EXPIRES: &str = "expires";

/// One IAM user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserFacts {
    /// The IAM user name.
    pub name: String,
    /// `/` or `/some/path/`.
    pub path: String,
    /// `CreateDate`, unix time.
    pub created: u64,
    /// `None`: never seen, since the grade's listings do not tell them.
    pub tags: Option<BTreeMap<String, String>>,
    /// When IAM last told them, unix time: most listings do not, so they may be older than the rest.
    #[serde(default)]
    pub tags_answered_at: u64,
    /// `GroupIds`; those of groups that the settings give no meaning may be missing.
    #[serde(default, rename = "group_ids")]
    pub groups: BTreeSet<String>,
    /// Names of groups, as version 0.1 kept them: `since_contact` makes them ids.
    #[serde(default, rename = "groups", skip_serializing)]
    pub(super) former_groups: BTreeSet<String>,
    /// By `GroupId`, the groups that IAM has the user in by an answer within five seconds of one that said otherwise:
    /// when that one was asked. Answers go on meanwhile, and must not make the refusal any younger.
    #[serde(skip)]
    pub(super) withheld: BTreeMap<String, u64>,
    /// When IAM last said whether the user is there and under which name, as [`Self::answered_at`].
    #[serde(default)]
    pub seen_at: u64,
    /// When IAM first said that this user is gone, unix time; until a second answer the user resolves but may not log
    /// in.
    pub doubted_since: Option<u64>,
    /// When IAM last answered about existence and all groups, unix time. 0 in the kept file: as of the last contact.
    pub answered_at: u64,
    /// Whether IAM has ever told all groups of the user that the settings give a meaning; not where a pass could not read
    /// one of them, and may have left a membership out.
    #[serde(default)]
    pub groups_told: bool,
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

/// What `GetUser` said of one user whom a listing did not show.
pub struct Sighting {
    /// When it was asked, unix time.
    pub asked_at: u64,
    /// The user whom IAM has under that name, this one or another; `None`: `NoSuchEntity`.
    pub found: Option<IamUser>,
}

impl Facts {
    /// The user whom IAM has under this name, if known: a present one before a doubted one, then the one seen last.
    pub fn user_named(&self, iam_name: &str) -> Option<(&String, &UserFacts)> {
        let named = self.users.iter().filter(|(_, user)| user.name == iam_name);
        named.max_by_key(|(_, user)| (user.doubted_since.is_none(), user.seen_at))
    }

    /// The next nudge of each user asks IAM, however young the facts are.
    pub fn ask_everybody_again(&mut self) {
        self.users.values_mut().for_each(UserFacts::want_asked_again);
    }

    /// Who was known well before this listing and is not in it: (`UserId`, IAM name).
    pub fn missing_from(&self, listing: &Listing, now: u64) -> Vec<(String, String)> {
        let listed: BTreeSet<&str> = listing.users.iter().map(|user| user.id.as_str()).collect();
        let asked = Asked::new(listing.began, now);
        let may_be_gone = |user: &UserFacts| user.doubted_since.is_some() || asked.turn(user.seen_at) == Turn::Later;
        let missing = |(id, user): &(&String, &UserFacts)| !listed.contains(id.as_str()) && may_be_gone(user);
        let missing = self.users.iter().filter(missing);
        missing.map(|(id, user)| (id.clone(), user.name.clone())).collect()
    }

    /// Takes in one `GetUser`: who has the name, and so who has it no longer. Somebody unknown stays so until their
    /// groups are known too. Returns whether anything but the time of the answer is new.
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

    /// `GetUser` said `NoSuchEntity` outside a pass: that name may not log in. Removal waits for the next pass. Returns
    /// whether that is news.
    pub fn learn_gone(&mut self, iam_name: &str, asked: Asked) -> bool {
        self.doubt_all(|_, user| user.name == iam_name, asked)
    }

    /// Existence, name and, where this answer tells them, tags.
    pub(super) fn learn_user(&mut self, user: &IamUser, asked: Asked) {
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

    /// IAM says that this `UserId` is no more, or no longer under its name. Whether that counts.
    pub(super) fn doubt(&mut self, id: &str, asked: Asked) -> bool {
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

    pub(super) fn doubt_others_named(&mut self, user: &IamUser, asked: Asked) -> bool {
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

    pub(super) fn is_certainly_gone(&self, id: &str, confirmed_by_listing: bool, asked: Asked) -> bool {
        let since = self.users.get(id).and_then(|user| user.doubted_since);
        confirmed_by_listing || since.is_some_and(|since| asked.at() >= since + SECOND_LOOK)
    }

    /// A pass has IAM's answer about a user as a whole, unless it left a group of theirs open.
    pub(super) fn learn_whole_account(&mut self, user_id: &str, listing: &Listing, began: Asked) {
        let Some(user) = self.users.get_mut(user_id) else {
            return;
        };
        let unconfirmed = matches!(listing.memberships.get(user_id), Some(None));
        if !unconfirmed && user.groups.is_disjoint(&listing.unread) {
            user.answered_at = began.or_later(user.answered_at);
            user.groups_told |= listing.unread.is_empty();
        }
    }

    pub(super) fn remove(&mut self, gone: BTreeSet<String>) -> Vec<String> {
        let mass = gone.len() > MASS_ABSENCE && gone.len() * 4 > self.users.len();
        let believed: Vec<String> = if mass {
            gone.intersection(&self.awaiting_second_pass).cloned().collect()
        } else {
            gone.iter().cloned().collect()
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
    /// The next nudge asks IAM, about the keys as well, even if one without them comes first.
    pub fn want_asked_again(&mut self) {
        self.ask_again = true;
        if let Some(keys) = &mut self.keys {
            keys.ask_again = true;
        }
    }

    fn new(user: &IamUser) -> Self {
        Self {
            name: user.name.clone(),
            path: user.path.clone(),
            created: user.created,
            tags: None,
            tags_answered_at: 0,
            groups: BTreeSet::new(),
            former_groups: BTreeSet::new(),
            withheld: BTreeMap::new(),
            doubted_since: None,
            seen_at: 0,
            answered_at: 0,
            groups_told: false,
            ask_again: false,
            keys: None,
            last_login: None,
            last_login_as: None,
        }
    }

    /// Whether anything but the times of answers differs.
    pub(super) fn differs_from(&self, before: &Self) -> bool {
        let timeless = |user: &Self| Self {
            seen_at: 0,
            answered_at: 0,
            tags_answered_at: 0,
            ask_again: false,
            withheld: BTreeMap::new(),
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

/// Of two sets of tags what both say, and the end of access if either knows one: the earlier, or the one that is not a
/// date.
fn more_refusing(one: &BTreeMap<String, String>, other: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let agreed = one.iter().filter(|(tag, value)| other.get(*tag) == Some(value));
    let mut tags: BTreeMap<String, String> = agreed.map(|(tag, value)| (tag.clone(), value.clone())).collect();
    let ends = [one, other].into_iter().filter_map(|tags| tags.get(EXPIRES));
    let refusing = ends.min_by_key(|date| crate::directory::facts::dates::day_after(date).unwrap_or(0));
    tags.extend(refusing.map(|date| (EXPIRES.to_owned(), date.clone())));
    tags
}
