//! From facts to the content of the files: who resolves under which name and number, who may log in, whose keys are shown.
//!
//! Pure but for the id map, which learns of new owners. `publication` writes what comes out.

use std::collections::{BTreeMap, BTreeSet};

use keymaker_aws::IdResolver;
use keymaker_core::directory_file::header::{LOCAL_GIDS, RANGES};
use keymaker_core::directory_file::{DirectoryBuilder, Header, NewGroup, NewUser, RecordError, Verdict};
use keymaker_core::id::{Gid, IdRange, Uid};
use keymaker_core::keys_file::{KeysBuilder, PublishedKey, UserKeys};
use keymaker_core::name::UserName;
use keymaker_core::paths::{KEYMAKER_SUDO, KEYMAKER_USERS, REFUSAL};
use tracing::warn;

use super::unsettled::{FormerName, Gone, Unsettled};
use crate::clock::Clock;
use crate::config::{Config, Tag};
use crate::directory::entitlement::entitled::{accept_names, assign_ids, refused_ids};
use crate::directory::entitlement::ids::{AssignedIds, IdScheme, NameHeld};
use crate::directory::entitlement::names::{AcceptedNames, UnixGroup};
use crate::directory::entitlement::passwd_fields::{gecos, home, lag, shell};
use crate::directory::entitlement::refused::{Kind, Refusal, RefusedEntry};
use crate::directory::entitlement::verdict;
use crate::directory::facts::UserFacts;
use crate::directory::iam::ssh_keys;
use crate::directory::state::State;
use crate::settings::EffectiveSettings;

/// How far the time of a user's keys may lag in the file, in seconds: the file rests while nothing else changes.
pub const KEYS_TIME_STEP: u64 = 3600;
/// Tags that carry keys: `keymaker:ssh-key-1` and so on.
const KEY_TAG: &str = "keymaker:ssh-key-";

/// The content of the files, and what was left out of it.
pub struct Composition {
    /// The directory.
    pub directory: DirectoryBuilder,
    /// The keys.
    pub keys: KeysBuilder,
    /// How many users resolve.
    pub users: usize,
    /// How many groups of ours there are, private ones not counted.
    pub groups: usize,
    /// IAM users and groups that get no entry.
    pub refused: Vec<RefusedEntry>,
    /// IAM users and groups that keep a name which a newcomer would be refused.
    pub kept: Vec<RefusedEntry>,
    /// Users who resolve and may not log in.
    pub may_not_log_in: Vec<(UserName, Verdict)>,
    /// Keys that sshd is not shown, as sentences.
    pub unusable_keys: Vec<String>,
    /// Tombstones and former names that stand until it is known whether anything is left of their users.
    pub unsettled: Unsettled,
}

impl Composition {
    /// What is to be published now.
    pub fn of(state: &mut State, clock: &Clock) -> Self {
        let settings = state.effective();
        let mut names = accept_names(state, &settings);
        let ids = assign_ids(state, &names);
        names.refused.extend(refused_ids(state, &ids));
        let header = header(state, &settings, &names, &ids);
        let mut composition = Self {
            directory: DirectoryBuilder::new(&header),
            keys: KeysBuilder::new(header.account, header.instance_id),
            users: 0,
            groups: 0,
            refused: Vec::new(),
            kept: Vec::new(),
            may_not_log_in: Vec::new(),
            unusable_keys: Vec::new(),
            unsettled: Unsettled::default(),
        };
        let published = composition.add_users(state, &settings, &names, &ids, clock);
        composition.add_groups(state, &names, &ids, &published);
        composition.add_tombstones(state, &published);
        composition.unsettled.names = former_names(state, &published);
        composition.refused.extend(names.refused);
        composition.kept = names.kept;
        composition
    }

    /// Adds everyone who has both a name and a number; returns their uids by UserId and name.
    fn add_users(
        &mut self,
        state: &mut State,
        settings: &EffectiveSettings,
        names: &AcceptedNames,
        ids: &AssignedIds,
        clock: &Clock,
    ) -> BTreeMap<String, (UserName, Uid)> {
        let mut published = BTreeMap::new();
        let mut homes = BTreeSet::new();
        let wanted_by_groups = names.wanted_by_groups();
        for (name, user_id) in &names.users {
            let (Some(uid), Some(user)) = (ids.uid(user_id), state.facts.users.get(user_id)) else {
                continue;
            };
            if user.last_login.is_some() {
                state.ids.note_presence(user_id);
            }
            if let Some(login) = &user.last_login_as {
                state.ids.note_presence_as(user_id, login);
            }
            // The first to be published under a name holds it, until an administrator releases it or it proves to have passed by.
            let held = state.ids.hold_name(*name, user_id);
            state.ids.note_name(user_id, name.as_str(), clock.answer_time());
            let verdict = match verdict::by_facts(user, &state.facts, &state.config, settings, clock.unix()) {
                Verdict::Allowed if held != NameHeld::Own => Verdict::NameHeldByAnother,
                verdict => verdict,
            };
            // Whoever is refused has no group and no shell of their own: sshd without PAM would run both (P7).
            let (groups, shell) = match verdict {
                Verdict::Allowed => (supplementary_groups(state, user, names, ids), shell(state, user)),
                _ => (Vec::new(), REFUSAL),
            };
            let home = home(state, *name, user, &mut homes);
            let new = NewUser {
                name: *name,
                uid,
                answered_at: clock.on_host(lag(user, state.contact)),
                verdict,
                tombstone: false,
                seen_here: user.last_login.is_some(),
                gecos: &gecos(state, user),
                home: &home,
                shell,
                iam_user_id: user_id,
                iam_user_name: &user.name,
                groups: &groups,
            };
            if let Err(error) = self.directory.user(&new) {
                self.leave_out(Kind::User, user_id, &user.name, error);
                continue;
            }
            let private = NewGroup {
                name: (*name).into(),
                gid: uid.into(),
                private: true,
                members: &[],
            };
            // Where an IAM group would have the name, the user's own group goes without one.
            let named = !wanted_by_groups.contains(name.as_str());
            if named && let Err(error) = self.directory.group(&private) {
                self.leave_out(Kind::Group, user_id, &user.name, error);
            }
            if verdict != Verdict::Allowed {
                self.may_not_log_in.push((*name, verdict));
            }
            published.insert(user_id.clone(), (*name, uid));
        }
        self.users = published.len();
        for (user_id, (name, uid)) in &published {
            self.add_keys(state, user_id, *name, *uid, clock);
        }
        published
    }

    /// One entry that cannot be written keeps no other from being.
    fn leave_out(&mut self, kind: Kind, iam_id: &str, iam_name: &str, error: RecordError) {
        warn!(%iam_name, %error, "the IAM {kind} {iam_name} cannot be published: {error}");
        self.refused.push(RefusedEntry {
            kind,
            iam_id: iam_id.to_owned(),
            iam_name: iam_name.to_owned(),
            reason: Refusal::DoesNotFit(error),
        });
    }

    fn add_keys(&mut self, state: &mut State, user_id: &str, name: UserName, uid: Uid, clock: &Clock) {
        let Some(user) = state.facts.users.get_mut(user_id) else {
            return;
        };
        if let Some(facts) = &mut user.keys
            && (facts.published_at + KEYS_TIME_STEP <= facts.answered_at || facts.published_at == 0)
        {
            facts.published_at = facts.answered_at;
        }
        let (keys, unusable) = keys_of(&state.config, user);
        self.unusable_keys.extend(unusable);
        // Keys from tags alone are as old as the user's facts.
        let Some(answered_at) = user
            .keys
            .as_ref()
            .map(|facts| facts.published_at)
            .or((!keys.is_empty()).then_some(user.answered_at - user.answered_at % KEYS_TIME_STEP))
        else {
            return;
        };
        let entry = UserKeys {
            name,
            uid,
            iam_user_id: user_id.to_owned(),
            answered_at: clock.on_host(answered_at),
            keys,
        };
        if let Err(error) = self.keys.user(&entry) {
            warn!(user = %name, %error, "the keys of {name} cannot be published: {error}");
            self.unusable_keys.push(format!("the keys of {name}: {error}"));
        }
    }

    fn add_groups(
        &mut self,
        state: &State,
        names: &AcceptedNames,
        ids: &AssignedIds,
        published: &BTreeMap<String, (UserName, Uid)>,
    ) {
        let refused: BTreeSet<UserName> = self.may_not_log_in.iter().map(|(name, _)| *name).collect();
        for (iam_name, group) in &names.groups {
            let (UnixGroup::Ours(name), Some(gid)) = (group.unix, ids.gid(&group.group_id)) else {
                continue;
            };
            let is_member = |id: &&String| {
                state
                    .facts
                    .users
                    .get(*id)
                    .is_some_and(|user| state.facts.is_in(user, &group.group_id))
            };
            // pam_wheel, pam_access and newgrp go by names on the list, and another service may come to have a namesake while nobody
            // looks. initgroups gives the members the group without it.
            let listed = !state.neighbours.are_remote();
            let members: Vec<UserName> = published
                .iter()
                .filter(|(id, (name, _))| listed && is_member(id) && !refused.contains(name))
                .map(|(_, (name, _))| *name)
                .collect();
            match self.directory.group(&NewGroup {
                name,
                gid,
                private: false,
                members: &members,
            }) {
                Ok(()) => self.groups += 1,
                Err(error) => self.leave_out(Kind::Group, &group.group_id, iam_name, error),
            }
        }
    }

    /// Every number that somebody of ours once had here and that resolves no longer: ours still, so that PAM and credd deny them. A name
    /// that somebody else has now finds that one. Whoever was never here and left nothing has no tombstone (`traces`).
    fn add_tombstones(&mut self, state: &State, published: &BTreeMap<String, (UserName, Uid)>) {
        let mut names: BTreeSet<UserName> = published.values().map(|(name, _)| *name).collect();
        let mut uids: BTreeSet<Uid> = published.values().map(|(_, uid)| *uid).collect();
        // Of other numbers only the tombstone says that they are ours.
        let claimed = |number: u32| matches!(state.config.id_scheme(), IdScheme::Wide(range) if range.contains(number));
        for known in state.ids.everybody().filter(|known| known.kind == Kind::User) {
            let Some(name) = known
                .names
                .last()
                .and_then(|name| UserName::parse(name.as_bytes()).ok())
            else {
                continue;
            };
            let verdict = match state.facts.users.contains_key(known.iam_id) {
                true => Verdict::NoEntry,
                false => Verdict::Deleted,
            };
            let numbers = std::iter::once(known.id).chain(known.former.iter().copied());
            let numbers = numbers.filter(|number| !(claimed(*number) && known.without_trace.contains(number)));
            for uid in numbers.filter_map(Uid::new).filter(|uid| uids.insert(*uid)) {
                let is_gone = verdict == Verdict::Deleted || uid.get() != known.id;
                if is_gone && !known.been_here && claimed(uid.get()) {
                    self.unsettled.gone.insert(Gone {
                        iam_id: known.iam_id.to_owned(),
                        names: known.names.to_vec(),
                        uid: uid.get(),
                    });
                }
                let tombstone = tombstone(name, uid, verdict, known.iam_id);
                let added = match names.insert(name) {
                    true => self.directory.user(&tombstone),
                    false => self.directory.nameless_tombstone(&tombstone),
                };
                if let Err(error) = added {
                    warn!(user = known.iam_id, %error, "{}, a former user, cannot be published: {error}", known.iam_id);
                }
            }
        }
    }
}

/// Names that somebody held who has another by now, or is gone, and who is not known to have been here under them.
fn former_names(state: &State, published: &BTreeMap<String, (UserName, Uid)>) -> BTreeSet<FormerName> {
    let has_it = |name: &str, iam_id: &str| match (published.get(iam_id), state.facts.users.get(iam_id)) {
        (Some((present, _)), _) => present.as_str() == name,
        (None, Some(user)) => user.name == state.iam_name(name),
        (None, None) => false,
    };
    let without_presence = state.ids.names_without_presence();
    let former = without_presence.filter(|(name, iam_id, _)| !has_it(name, iam_id));
    let former = former.map(|(name, iam_id, numbers)| FormerName {
        name: name.to_owned(),
        iam_id: iam_id.to_owned(),
        numbers,
    });
    former.collect()
}

/// The keys that open something for a user, and a sentence for each that cannot.
pub(super) fn keys_of(config: &Config, user: &UserFacts) -> (Vec<PublishedKey>, Vec<String>) {
    let from_iam = user.keys.iter().flat_map(|facts| &facts.by_id);
    let from_iam = from_iam.map(|(id, key)| (id, key.active, key.body.clone()));
    let from_tags = config.tags.contains(&Tag::Keys).then_some(&user.tags);
    let from_tags = from_tags.into_iter().flatten().flatten();
    let from_tags = from_tags
        .filter(|(tag, _)| tag.starts_with(KEY_TAG))
        .map(|(tag, value)| (tag, true, ssh_keys::clean_tag(value).map_err(|why| why.to_string())));
    let (mut keys, mut unusable) = (Vec::new(), Vec::new());
    for (id, active, body) in from_iam.chain(from_tags) {
        match body {
            Ok(clean) if active => keys.push(PublishedKey {
                id: id.clone(),
                line: clean.line,
                fingerprint: clean.fingerprint,
            }),
            Ok(_) => {}
            Err(why) => unusable.push(format!("{id} of {}: {why}", user.name)),
        }
    }
    (keys, unusable)
}

/// Who has which name and number now.
pub(super) struct Entitlements {
    names: AcceptedNames,
    ids: AssignedIds,
}

impl Entitlements {
    /// As the next publication would have them.
    pub fn of(state: &mut State) -> Self {
        let names = accept_names(state, &state.effective());
        let ids = assign_ids(state, &names);
        Self { names, ids }
    }

    /// The UserId and number of whoever is entitled to this name.
    pub fn entry(&self, name: UserName) -> Option<(&str, Uid)> {
        let user_id = self.names.users.get(&name)?;
        Some((user_id, self.ids.uid(user_id)?))
    }

    /// The groups that a user who may log in has.
    pub fn groups(&self, state: &State, user: &UserFacts) -> Vec<u32> {
        supplementary_groups(state, user, &self.names, &self.ids)
    }
}

fn tombstone(name: UserName, uid: Uid, verdict: Verdict, iam_user_id: &str) -> NewUser<'_> {
    NewUser {
        name,
        uid,
        answered_at: 0,
        verdict,
        tombstone: true,
        seen_here: false,
        gecos: "",
        home: "/",
        shell: "/usr/sbin/nologin",
        iam_user_id,
        iam_user_name: "",
        groups: &[],
    }
}

fn header<'a>(
    state: &'a State,
    settings: &'a EffectiveSettings,
    names: &AcceptedNames,
    ids: &AssignedIds,
) -> Header<'a> {
    let mut local_gids = [0; LOCAL_GIDS];
    let memberships = names.groups.values().filter_map(|group| match group.unix {
        UnixGroup::Local { gid, .. } => Some(gid),
        UnixGroup::Ours(_) => None,
    });
    for (place, gid) in local_gids
        .iter_mut()
        .zip(memberships.chain(local_gid(state, KEYMAKER_SUDO)))
    {
        *place = gid;
    }
    Header {
        account: state.facts.account.as_deref().unwrap_or_default(),
        instance_id: state.instance_id.as_deref().unwrap_or_default(),
        ranges: ranges(state, ids),
        local_gids,
        keymaker_users_gid: local_gid(state, KEYMAKER_USERS).unwrap_or(0),
        enumerate_all: state.config.enumerate,
        whole_range_ours: matches!(state.config.id_scheme(), IdScheme::Wide(_)),
        settings_unread: !settings.known,
        end_sessions: state.config.end_sessions,
        max_stale: state.config.max_stale,
        authz_ttl: state.config.authz_ttl,
        passwd: state.local.passwd,
        group: state.local.group,
        required_group: settings.require_iam_group.as_deref().unwrap_or_default(),
        id_resolver: settings
            .id_resolver
            .as_ref()
            .map(IdResolver::digest)
            .unwrap_or_default(),
    }
}

/// The range of the scheme, and one around every number outside it (tags, `group_ids`, another scheme's numbers in the map).
fn ranges(state: &State, ids: &AssignedIds) -> [IdRange; RANGES] {
    let drawn = state.config.id_scheme().range();
    let mut ranges = [IdRange::EMPTY; RANGES];
    let outside = ids
        .ids
        .values()
        .copied()
        .chain(state.ids.everybody().map(|known| known.id))
        .filter(|id| !drawn.contains(*id));
    let around = outside.fold(None, |around: Option<IdRange>, id| {
        Some(around.map_or(IdRange { first: id, last: id }, |range| IdRange {
            first: range.first.min(id),
            last: range.last.max(id),
        }))
    });
    let [first, second, ..] = &mut ranges;
    *first = drawn;
    *second = around.unwrap_or(IdRange::EMPTY);
    ranges
}

/// Gids of our groups, and of local ones where the settings let IAM give membership; each once, keymaker-users left to NSS.
pub(crate) fn supplementary_groups(
    state: &State,
    user: &UserFacts,
    names: &AcceptedNames,
    ids: &AssignedIds,
) -> Vec<u32> {
    let joined = names
        .groups
        .values()
        .filter(|group| state.facts.is_in(user, &group.group_id));
    let gids = joined.filter_map(|group| match group.unix {
        UnixGroup::Ours(_) => ids.gid(&group.group_id).map(Gid::get),
        UnixGroup::Local { gid, .. } => Some(gid),
    });
    let may_sudo = state
        .config
        .sudo_iam_group
        .as_ref()
        .is_some_and(|group| state.facts.is_member(user, group));
    let sudo = local_gid(state, KEYMAKER_SUDO).filter(|_| may_sudo);
    gids.chain(sudo).collect::<BTreeSet<u32>>().into_iter().collect()
}

fn local_gid(state: &State, name: &str) -> Option<u32> {
    state.local.group(name)?.gid.filter(|gid| *gid != 0)
}
