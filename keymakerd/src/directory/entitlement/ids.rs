//! Which uid or gid an IAM `UserId` or `GroupId` has: by a formula that is the same on every host forever, and by this
//! host's map, which wins, since files on its disks carry the numbers. Called by the sync; pure, so the sync writes
//! [`IdMap`] to disk.
//!
//! Users and groups draw from one space, because a user's private group has the user's number.
//!
//! ```text
//! wide       id = first + u64 mod (last - first + 1)   u64: big-endian, the first 8 bytes of SHA-256 of the IAM id's ASCII
//! keymaker   id = 2000 + u16 / 2                       u16: little-endian, the last 2 bytes of the same hash
//! ```

mod presence;
mod proof_times;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use keymaker_core::directory_file::MAX_FORMER_NAMES;
use keymaker_core::id::{Gid, IdRange, Uid};
use keymaker_core::name::UserName;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::neighbours::{NameOrId, Neighbours};
use super::refused::{EntryRefusal, Kind};
use crate::local_accounts::LocalAccounts;

/// How ids are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdScheme {
    /// From this range, which must not be empty.
    Wide(IdRange),
    /// As the Python keymaker did.
    Keymaker,
}

impl IdScheme {
    /// The id that the formula gives an IAM id.
    pub fn draw(self, iam_id: &str) -> u32 {
        let hash = Sha256::digest(iam_id.as_bytes());
        match self {
            Self::Wide(range) => {
                let number = hash.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes));
                // Below 2³², and the sum is at most `last`.
                let offset = number.checked_rem(range.len()).unwrap_or(0);
                range.first.saturating_add(u32::try_from(offset).unwrap_or(0))
            }
            Self::Keymaker => {
                let number = hash.last_chunk().map_or(0, |bytes| u16::from_le_bytes(*bytes));
                2000 + u32::from(number / 2)
            }
        }
    }

    /// The range that the formula draws from.
    pub fn range(self) -> IdRange {
        match self {
            Self::Wide(range) => range,
            Self::Keymaker => IdRange::PYTHON,
        }
    }
}

/// What private/ids.json holds: every IAM id that ever had a number here, and who holds which Unix name. Never pruned.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct IdMap {
    kept: BTreeMap<String, KeptId>,
    /// Unix user names and the `UserId` that last had each here.
    holders: BTreeMap<String, String>,
    /// Unix group names and the `GroupId` that last had each here, memberships of local groups included.
    group_holders: BTreeMap<String, String>,
    /// IAM user names, and who has each as far as this host has seen.
    iam_names: BTreeMap<String, IamNameHolder>,
    /// Proofs made before are worth nothing here: unix time.
    proofs_revoked: u64,
}

/// Who has an IAM name, and since when this host has seen them have it, where it knew another holder before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct IamNameHolder {
    iam_id: String,
    since: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct KeptId {
    kind: Kind,
    id: u32,
    /// Numbers that it had before: its files may carry them still.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    former: Vec<u32>,
    /// `CreateDate` in seconds since 1970.
    created: u64,
    /// The Unix names that it had, the last one last.
    names: Vec<String>,
    /// Whether a user has been on this host: logged in, or left something. Of whom an earlier version kept, that is not
    /// known.
    #[serde(default = "yes")]
    been_here: bool,
    /// Numbers with which a user who was never here left nothing.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    without_trace: BTreeSet<u32>,
    /// Unix names under which a user has been on this host, or which they had here for a day. `None`: all of them;
    /// an earlier version did not note it.
    #[serde(default)]
    here_as: Option<BTreeSet<String>>,
    /// The name that a user has here, and since when, by the time of answers.
    #[serde(default)]
    named_since: Option<(String, u64)>,
    /// Numbers of a group's that the administrator, by `group_ids`, gave to one made after it under the same name.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    handed_on: BTreeSet<u32>,
    /// Whether a user ever had an entry here. Whom an earlier version kept had.
    #[serde(default = "yes")]
    published: bool,
    /// The IAM name of a user as last published, and since when, where this host knew them under another before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    iam_name: Option<(String, u64)>,
    /// Proofs of this user made before are worth nothing: unix time.
    #[serde(default, skip_serializing_if = "is_zero")]
    proofs_revoked: u64,
    /// What chose a user when they were last published; `None`: an earlier version did not note it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    chosen: Option<Choice>,
}

/// What decides whom of IAM's users this host takes, besides IAM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Choice {
    /// The account they are read from.
    account: String,
    /// A hash of the settings that choose.
    settings: u64,
}

impl Choice {
    /// Of users of this account, by settings that are told apart by this text.
    pub fn by(account: &str, settings: &str) -> Self {
        let hash = Sha256::digest(settings);
        Self {
            account: account.to_owned(),
            settings: hash.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes)),
        }
    }
}

impl KeptId {
    /// Of somebody who had none before.
    fn new(claim: &IdClaim<'_>, id: u32) -> Self {
        Self {
            kind: claim.kind,
            id,
            former: Vec::new(),
            created: claim.created,
            names: Vec::new(),
            been_here: false,
            without_trace: BTreeSet::new(),
            here_as: Some(BTreeSet::new()),
            named_since: None,
            iam_name: None,
            proofs_revoked: 0,
            handed_on: BTreeSet::new(),
            published: false,
            chosen: None,
        }
    }

    /// It has this name and number now.
    fn take(&mut self, name: &str, id: u32) {
        self.without_trace.remove(&id);
        if self.id != id {
            self.former.retain(|former| *former != id);
            self.former.push(self.id);
            self.id = id;
        }
        if self.names.last().map(String::as_str) != Some(name) {
            let names = self.names.iter();
            self.here_as.get_or_insert_with(|| names.cloned().collect());
            self.names.retain(|former| former != name);
            self.names.push(name.to_owned());
        }
    }
}

fn yes() -> bool {
    true
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// Somebody who is to have an id.
#[derive(Clone, Copy, Debug)]
pub struct IdClaim<'a> {
    /// A user or a group.
    pub kind: Kind,
    /// IAM's `UserId` or `GroupId`.
    pub iam_id: &'a str,
    /// `CreateDate` in seconds since 1970.
    pub created: u64,
    /// The Unix name.
    pub name: &'a str,
    /// The id that is asked for instead of the formula's.
    pub wish: Wish<'a>,
}

/// What somebody says about an id besides the formula.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish<'a> {
    /// Nothing.
    None,
    /// The administrator, by `group_ids`.
    GroupIds(u32),
    /// Anybody who may tag the user, by the enabled tag `uid`; its value as last known.
    Tag(&'a str),
}

/// What ids are judged by.
#[derive(Clone, Copy)]
pub struct IdRules<'a> {
    /// How ids are drawn.
    pub scheme: IdScheme,
    /// What a tag may ask for.
    pub tag_uid_range: Option<IdRange>,
    /// The accounts of this host, which always win.
    pub local: &'a LocalAccounts,
    /// Those of its other services, which do, too.
    pub neighbours: &'a Neighbours,
}

/// Everybody's ids.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AssignedIds {
    /// By IAM id.
    pub ids: HashMap<String, u32>,
    /// IAM ids that get none, and why.
    pub refused: Vec<(String, EntryRefusal)>,
}

impl AssignedIds {
    /// The uid of a `UserId`.
    pub fn uid(&self, user_id: &str) -> Option<Uid> {
        Uid::new(*self.ids.get(user_id)?)
    }

    /// The gid of a `GroupId`.
    pub fn gid(&self, group_id: &str) -> Option<Gid> {
        Gid::new(*self.ids.get(group_id)?)
    }
}

impl IdMap {
    /// Gives everybody who is present their ids and keeps them; `claims` must hold them all, since two can spoil each
    /// other's.
    pub fn assign(&mut self, claims: &[IdClaim<'_>], rules: &IdRules<'_>) -> AssignedIds {
        let mut wanted: BTreeMap<u32, Vec<&IdClaim<'_>>> = BTreeMap::new();
        let mut assigned = AssignedIds::default();
        for claim in claims {
            match self.wanted(claim, rules) {
                Ok(id) => wanted.entry(id).or_default().push(claim),
                Err(refusal) => assigned.refused.push((claim.iam_id.to_owned(), refusal)),
            }
        }
        for (id, claimants) in &wanted {
            let by_file = claimants.iter().filter(|claim| matches!(claim.wish, Wish::GroupIds(_)));
            by_file.for_each(|claim| self.hand_on(claim, *id, claims));
        }
        let holders = self.holders_of_ids();
        let mut given = Vec::with_capacity(claims.len());
        for (id, claimants) in &wanted {
            for claim in claimants {
                match settle(claim, *id, claimants, holders.get(id).copied()) {
                    Ok(()) => given.push((*claim, *id)),
                    Err(refusal) => assigned.refused.push((claim.iam_id.to_owned(), refusal)),
                }
            }
        }
        for (claim, id) in given {
            self.keep(claim, id);
            assigned.ids.insert(claim.iam_id.to_owned(), id);
        }
        assigned
    }

    /// Lets a user hold a name that nobody holds. Anybody who held it before keeps it until [`Self::release`].
    pub fn hold_name(&mut self, name: UserName, user_id: &str) -> NameHeld {
        let holder = self
            .holders
            .entry(name.to_string())
            .or_insert_with(|| user_id.to_owned());
        if holder == user_id {
            NameHeld::Own
        } else {
            NameHeld::ByAnother(holder.clone())
        }
    }

    /// The names under which a user was here before this one, and that nobody else holds since, the last one first.
    pub fn former_names(&self, user_id: &str, name: UserName) -> Vec<UserName> {
        let Some(kept) = self.kept.get(user_id) else {
            return Vec::new();
        };
        let theirs = |former: &&String| {
            former.as_str() != name.as_str()
                && kept.was_here_as(former)
                && self.holders.get(*former).is_some_and(|holder| holder == user_id)
        };
        let former = kept.names.iter().rev().filter(theirs);
        former
            .filter_map(|former| UserName::parse(former.as_bytes()).ok())
            .take(MAX_FORMER_NAMES)
            .collect()
    }

    /// The `UserId` that last had this name here.
    pub fn holder_of_name(&self, name: UserName) -> Option<&str> {
        self.holders.get(name.as_str()).map(String::as_str)
    }

    /// Notes that a group has this name here now.
    pub fn note_group(&mut self, name: &str, group_id: &str) {
        self.group_holders.insert(name.to_owned(), group_id.to_owned());
    }

    /// Whether this `UserId` or `GroupId` is the one that had the name here before everybody else who asks for it now.
    /// A map from before groups were noted says it by the group's last name.
    pub fn has_name(&self, kind: Kind, name: &str, iam_id: &str) -> bool {
        let holder = match kind {
            Kind::User => self.holders.get(name),
            Kind::Group => self.group_holders.get(name),
        };
        let last_name = || self.kept.get(iam_id).and_then(|kept| kept.names.last());
        match holder {
            Some(holder) => holder == iam_id,
            None => kind == Kind::Group && last_name().is_some_and(|last| last == name),
        }
    }

    /// The same, and it is the last name that it was published under: who has another since is a newcomer to what wants
    /// the name by now.
    pub fn has_kept_name(&self, kind: Kind, name: &str, iam_id: &str) -> bool {
        let last_name = self.kept.get(iam_id).and_then(|kept| kept.names.last());
        self.has_name(kind, name, iam_id) && last_name.is_some_and(|last| last == name)
    }

    /// Whether the name was a group's, where a user asks for it, or that of a user who was here under it, where a group
    /// does. Lines for a group (sudoers, `AllowGroups`) mean a user's private group too, and `chown alice:alice` means
    /// whatever group has the name.
    pub fn was_of_other_kind(&self, kind: Kind, name: &str) -> bool {
        match kind {
            Kind::User => self.group_holders.contains_key(name),
            Kind::Group => {
                let holder = self.holders.get(name).and_then(|user_id| self.kept.get(user_id));
                holder.is_some_and(|user| user.was_here_as(name))
            }
        }
    }

    /// The `GroupId` that last had this name here.
    pub fn group_of_name(&self, name: &str) -> Option<&str> {
        self.group_holders.get(name).map(String::as_str)
    }

    /// Frees a name that a group had.
    pub fn release_group(&mut self, name: &str) {
        self.group_holders.remove(name);
    }

    /// Frees a name for the user who has it in IAM now; returns the `UserId` that held it and the uid of the old home's
    /// files.
    pub fn release(&mut self, name: UserName) -> Option<(String, Option<u32>)> {
        let user_id = self.holders.remove(name.as_str())?;
        let uid = self.kept.get(&user_id).map(|kept| kept.id);
        Some((user_id, uid))
    }

    /// The number that an IAM id has here, or last had.
    pub fn kept_id(&self, iam_id: &str) -> Option<u32> {
        self.kept.get(iam_id).map(|kept| kept.id)
    }

    /// How many numbers of this range somebody has, or had.
    pub fn used(&self, range: IdRange) -> usize {
        let numbers = self.kept.values().flat_map(|kept| kept.former.iter().chain([&kept.id]));
        let used: BTreeSet<u32> = numbers.copied().filter(|id| range.contains(*id)).collect();
        used.len()
    }

    /// Everybody who ever had a number here.
    pub fn everybody(&self) -> impl Iterator<Item = WhoWas<'_>> {
        self.kept.iter().map(|(iam_id, kept)| WhoWas {
            iam_id,
            kind: kept.kind,
            id: kept.id,
            former: &kept.former,
            created: kept.created,
            names: &kept.names,
            been_here: kept.been_here,
            without_trace: &kept.without_trace,
            published: kept.published,
        })
    }

    /// A user is published, chosen so.
    pub fn note_choice(&mut self, iam_id: &str, choice: &Choice) {
        if let Some(kept) = self
            .kept
            .get_mut(iam_id)
            .filter(|kept| kept.chosen.as_ref() != Some(choice))
        {
            kept.chosen = Some(choice.clone());
        }
    }

    /// Whether a user was chosen so when they were last published: if they are out now, it is by IAM.
    pub fn was_chosen(&self, iam_id: &str, choice: &Choice) -> bool {
        let chosen = self.kept.get(iam_id).and_then(|kept| kept.chosen.as_ref());
        chosen == Some(choice)
    }

    /// Whether a user was last published as one of another account.
    pub fn is_of_another_account(&self, iam_id: &str, choice: &Choice) -> bool {
        let chosen = self.kept.get(iam_id).and_then(|kept| kept.chosen.as_ref());
        chosen.is_some_and(|chosen| chosen.account != choice.account)
    }

    /// The id that somebody would have if nobody else were there.
    fn wanted(&self, claim: &IdClaim<'_>, rules: &IdRules<'_>) -> Result<u32, EntryRefusal> {
        let drawn = || {
            self.kept_id(claim.iam_id)
                .unwrap_or_else(|| rules.scheme.draw(claim.iam_id))
        };
        let id = match (claim.wish, rules.tag_uid_range) {
            (Wish::GroupIds(gid), _) => gid,
            // Files on this host carry the number of whoever has been here.
            (Wish::Tag(_), Some(_)) if self.kept.get(claim.iam_id).is_some_and(|kept| kept.been_here) => drawn(),
            (Wish::Tag(value), Some(range)) => tag_uid(value, range)?,
            (Wish::Tag(_), None) | (Wish::None, _) => drawn(),
        };
        if Uid::new(id).is_none() {
            return Err(EntryRefusal::ReservedId(id));
        }
        if rules.local.owns_id(id) {
            return Err(EntryRefusal::LocalId(id));
        }
        rules.neighbours.refusal(&NameOrId::Id(id)).map_or(Ok(id), Err)
    }

    fn holders_of_ids(&self) -> HashMap<u32, &str> {
        let mut holders = HashMap::with_capacity(self.kept.len());
        for (iam_id, kept) in &self.kept {
            let ids = kept.former.iter().chain([&kept.id]);
            let held = ids.filter(|id| !kept.handed_on.contains(id));
            holders.extend(held.map(|id| (*id, iam_id.as_str())));
        }
        holders
    }

    /// A group that is made again in IAM (by Terraform, say) is another one; whose the files of the former one are is the
    /// administrator's to say. Only of a group that is gone, and that had this name.
    fn hand_on(&mut self, claim: &IdClaim<'_>, id: u32, claims: &[IdClaim<'_>]) {
        let is_former = |iam_id: &str, kept: &KeptId| {
            kept.kind == Kind::Group
                && (kept.id == id || kept.former.contains(&id))
                && kept.names.iter().any(|name| name == claim.name)
                && claims.iter().all(|present| present.iam_id != iam_id)
        };
        if claim.kind == Kind::Group
            && let Some((_, former)) = self.kept.iter_mut().find(|(iam_id, kept)| is_former(iam_id, kept))
        {
            former.handed_on.insert(id);
        }
    }

    fn keep(&mut self, claim: &IdClaim<'_>, id: u32) {
        if let Some(kept) = self.kept.get_mut(claim.iam_id) {
            kept.take(claim.name, id);
            return;
        }
        let mut kept = KeptId::new(claim, id);
        kept.take(claim.name, id);
        self.kept.insert(claim.iam_id.to_owned(), kept);
    }
}

/// Who holds a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NameHeld {
    /// The user who asked.
    Own,
    /// Another `UserId`: the one who asked may not log in under it.
    ByAnother(String),
}

/// Somebody who has or had a number here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WhoWas<'a> {
    /// IAM's `UserId` or `GroupId`.
    pub iam_id: &'a str,
    /// A user or a group.
    pub kind: Kind,
    /// The number, or the last one.
    pub id: u32,
    /// Earlier numbers.
    pub former: &'a [u32],
    /// `CreateDate` in seconds since 1970.
    pub created: u64,
    /// The Unix names, the last one last.
    pub names: &'a [String],
    /// Whether a user has been on this host, as far as is known.
    pub been_here: bool,
    /// Numbers with which a user who was never here left nothing.
    pub without_trace: &'a BTreeSet<u32>,
    /// Whether a user ever had an entry here.
    pub published: bool,
}

/// Whether `claim` gets the id that all `claimants` want and `holder` has, or had, on this host.
fn settle(claim: &IdClaim<'_>, id: u32, claimants: &[&IdClaim<'_>], holder: Option<&str>) -> Result<(), EntryRefusal> {
    let owner = match holder {
        Some(holder) => claimants.iter().find(|claim| claim.iam_id == holder),
        None => claimants.iter().min_by_key(|claim| rank(claim)),
    };
    let owner_id = holder.or(owner.map(|owner| owner.iam_id)).unwrap_or_default();
    // Who owns the id on other hosts, where the holder did not come first.
    let rival = owner
        .filter(|_| holder.is_some())
        .and_then(|owner| rival(owner, claimants));
    let disputed = |other: &str| {
        let other = other.to_owned();
        Err(EntryRefusal::IdDisputed { id, other })
    };
    match rival {
        Some(rival) if claim.iam_id == owner_id => disputed(rival.iam_id),
        Some(rival) if claim.iam_id == rival.iam_id => disputed(owner_id),
        _ if claim.iam_id == owner_id => Ok(()),
        _ => {
            let owner = owner_id.to_owned();
            Err(EntryRefusal::IdOwned { id, owner })
        }
    }
}

/// Who owns an id that several want and none holds: the file's word, then who was made first, then the smaller IAM id.
fn rank<'a>(claim: &IdClaim<'a>) -> (bool, u64, &'a str) {
    (!matches!(claim.wish, Wish::GroupIds(_)), claim.created, claim.iam_id)
}

/// The one who ranks before the holder of an id. Only formulas dispute: a wish never takes what another has, nor is it
/// in doubt.
fn rival<'c, 'a>(holder: &IdClaim<'a>, claimants: &[&'c IdClaim<'a>]) -> Option<&'c IdClaim<'a>> {
    let by_formula = claimants
        .iter()
        .filter(|claim| claim.wish == Wish::None && holder.wish == Wish::None);
    let earlier = by_formula.filter(|claim| rank(claim) < rank(holder));
    earlier.min_by_key(|claim| rank(claim)).copied()
}

fn tag_uid(value: &str, range: IdRange) -> Result<u32, EntryRefusal> {
    let digits = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
    let uid = value.parse().ok().filter(|_| digits);
    let uid = uid.ok_or_else(|| EntryRefusal::UnreadableTagUid(value.to_owned()))?;
    if range.contains(uid) {
        Ok(uid)
    } else {
        Err(EntryRefusal::TagUidOutside(uid, range))
    }
}

#[cfg(test)]
mod tests;
