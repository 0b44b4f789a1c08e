//! From facts to the content of the files: who resolves under which name and number, who may log in, whose keys are
//! shown.
//!
//! Pure but for the id map, which learns of new owners. `publication` writes what comes out.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use keymaker_aws::{id_resolver_digest, ssh_key_tags};
use keymaker_core::directory_file::header::{LOCAL_GIDS, RANGES};
use keymaker_core::directory_file::{DirectoryBuilder, Header, NewGroup, NewUser, RecordError, Verdict};
use keymaker_core::id::{IdRange, Uid};
use keymaker_core::keys_file::{KeysBuilder, MAX_KEYS, PublishedKey, UserKeys};
use keymaker_core::name::UserName;
use keymaker_core::paths::{KEYMAKER_SUDO, KEYMAKER_USERS, REFUSAL};
use tracing::warn;

use super::unsettled::{FormerName, Gone, Unsettled};
use crate::clock::AnswerClock;
use crate::config::{EndSessions, KeymakerdConfig, LoginBy, Tag};
use crate::directory::entitlement::ending::Ending;
use crate::directory::entitlement::entitled::{Entitlements, Known, NotPeople, refused_ids};
use crate::directory::entitlement::ids::{AssignedIds, IdMap, IdScheme, NameHeld};
use crate::directory::entitlement::names::UnixGroup;
use crate::directory::entitlement::passwd_fields::{gecos, home, lag, shell, tags_not_taken, uid_tag_not_taken};
use crate::directory::entitlement::refused::{EntryRefusal, Kind, RefusedEntry};
use crate::directory::entitlement::verdict;
use crate::directory::facts::UserFacts;
use crate::directory::iam::ssh_keys;
use crate::settings::EffectiveSettings;

/// When and where this is published.
#[derive(Clone, Copy)]
pub struct AsOf<'a> {
    /// When everything last answered, by `AnswerClock::answer_time`.
    pub contact: Option<u64>,
    /// The EC2 instance, once known.
    pub instance_id: Option<&'a str>,
    /// This host's.
    pub clock: &'a AnswerClock,
}

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
    /// Tags that say a home or a shell which this host does not give.
    pub unusable_tags: Vec<String>,
    /// IAM users whom nothing says to be people.
    pub not_people: NotPeople,
    /// Tombstones and former names that stand until it is known whether anything is left of their users.
    pub unsettled: Unsettled,
    /// The time that the file gives each user's keys, by `UserId`.
    pub keys_told_at: BTreeMap<String, u64>,
}

impl Composition {
    /// What is to be published now.
    pub fn of(known: &Known<'_>, ids: &mut IdMap, as_of: AsOf<'_>) -> Self {
        let entitled = Entitlements::of(known, ids);
        let ending = Ending::of(known, &entitled);
        let header = header(known, ids, &entitled, as_of);
        let mut composition = Self {
            directory: DirectoryBuilder::new(&header),
            keys: KeysBuilder::new(header.account, header.instance_id),
            users: 0,
            groups: 0,
            refused: Vec::new(),
            kept: Vec::new(),
            may_not_log_in: Vec::new(),
            unusable_keys: Vec::new(),
            unusable_tags: Vec::new(),
            not_people: NotPeople::default(),
            unsettled: Unsettled::default(),
            keys_told_at: BTreeMap::new(),
        };
        let published = composition.add_users(known, ids, (&entitled, &ending), as_of);
        composition.add_groups(known, &entitled, &published);
        composition.add_tombstones(known, ids, &ending, &published);
        composition.unsettled.names = former_names(known, ids, &published);
        composition.refused.extend(entitled.names.refused);
        composition.refused.extend(refused_ids(known.facts, &entitled.ids));
        composition.kept = entitled.names.kept;
        composition.not_people = entitled.not_people;
        composition
    }

    /// Adds everyone who has both a name and a number; returns their uids by `UserId` and name.
    fn add_users(
        &mut self,
        known: &Known<'_>,
        ids: &mut IdMap,
        (entitled, ending): (&Entitlements, &Ending<'_>),
        AsOf { contact, clock, .. }: AsOf<'_>,
    ) -> BTreeMap<String, (UserName, Uid)> {
        let Known {
            config, facts, local, ..
        } = *known;
        let mut published = BTreeMap::new();
        let mut homes = BTreeSet::new();
        let wanted_by_groups = entitled.names.wanted_by_groups();
        let (now, now_here) = (clock.answer_time(), clock.unix());
        // Everybody whom IAM has, also who has no entry: their tokens bear the name.
        for (user_id, user) in facts.users.iter().filter(|(_, user)| user.doubted_since.is_none()) {
            ids.note_iam_name(user_id, &user.name, now);
        }
        for (name, user_id) in &entitled.names.users {
            let (Some(uid), Some(user)) = (entitled.ids.uid(user_id), facts.users.get(user_id)) else {
                continue;
            };
            ids.note_published(user_id);
            if user.last_login.is_some() {
                ids.note_presence(user_id);
            }
            if let Some(login) = &user.last_login_as {
                ids.note_presence_as(user_id, login);
            }
            // The first to be published under a name holds it, until an administrator releases it or it proves to have
            // passed by.
            let held = ids.hold_name(*name, user_id);
            ids.note_name(user_id, name.as_str(), now);
            ids.note_choice(user_id, ending.choice());
            let verdict = match verdict::by_facts(user, facts, config, &known.settings, now_here) {
                Verdict::Allowed if held != NameHeld::Own => Verdict::NameHeldByAnother,
                verdict => verdict,
            };
            // Anybody who is refused has no group and no shell of their own: sshd without PAM would run both (P7).
            let (groups, shell) = match verdict {
                Verdict::Allowed => (entitled.groups(known, user), shell(config, local, user)),
                _ => (Vec::new(), REFUSAL),
            };
            let home = home(config, *name, user, &mut homes);
            let former_names = ids.former_names(user_id, *name);
            if verdict == Verdict::Allowed {
                self.unusable_tags.extend(tags_not_taken(config, user, &home, shell));
                self.unusable_tags.extend(uid_tag_not_taken(config, user, uid));
            }
            let new = NewUser {
                name: *name,
                uid,
                answered_at: clock.on_host(lag(user, contact)),
                verdict,
                tombstone: false,
                seen_here: user.last_login.is_some(),
                ended: ending.of_entry(user, verdict),
                gecos: &gecos(config, user),
                home: &home,
                shell,
                iam_user_id: user_id,
                iam_user_name: &user.name,
                proofs_from: proofs_from(known, ids, user_id, user),
                groups: &groups,
                former_names: &former_names,
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
            self.add_keys(known, user_id, *name, *uid, clock);
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
            reason: EntryRefusal::DoesNotFit(error),
        });
    }

    fn add_keys(&mut self, known: &Known<'_>, user_id: &str, name: UserName, uid: Uid, clock: &AnswerClock) {
        let Some(user) = known.facts.users.get(user_id) else {
            return;
        };
        let step = known.config.keys_time_step();
        let told_at = user.keys.as_ref().map(|keys| keys.told_at(step));
        self.keys_told_at.extend(told_at.map(|at| (user_id.to_owned(), at)));
        let (keys, unusable) = keys_of(known.config, user);
        self.unusable_keys.extend(unusable);
        // Keys from tags alone are as old as the user's facts.
        let of_tags = (!keys.is_empty()).then_some(user.answered_at - user.answered_at % step);
        let Some(answered_at) = told_at.or(of_tags) else {
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
        known: &Known<'_>,
        entitled: &Entitlements,
        published: &BTreeMap<String, (UserName, Uid)>,
    ) {
        let members = self.members(known, published);
        for (iam_name, group) in &entitled.names.groups {
            let (UnixGroup::Ours(name), Some(gid)) = (group.unix, entitled.ids.gid(&group.group_id)) else {
                continue;
            };
            let members = members
                .get(group.group_id.as_str())
                .map(Vec::as_slice)
                .unwrap_or_default();
            match self.directory.group(&NewGroup {
                name,
                gid,
                private: false,
                members,
            }) {
                Ok(()) => self.groups += 1,
                Err(error) => self.leave_out(Kind::Group, &group.group_id, iam_name, error),
            }
        }
    }

    /// By `GroupId`, who is on its list.
    ///
    /// `pam_wheel`, `pam_access` and newgrp go by names on the list, and another service may come to have a namesake while
    /// nobody looks. initgroups gives the members the group without it.
    fn members<'f>(
        &self,
        known: &Known<'f>,
        published: &BTreeMap<String, (UserName, Uid)>,
    ) -> BTreeMap<&'f str, Vec<UserName>> {
        let facts = known.facts;
        let mut members: BTreeMap<&str, Vec<UserName>> = BTreeMap::new();
        if known.neighbours.are_remote() {
            return members;
        }
        let refused: BTreeSet<UserName> = self.may_not_log_in.iter().map(|(name, _)| *name).collect();
        for (id, (name, _)) in published.iter().filter(|(_, (name, _))| !refused.contains(name)) {
            let Some(user) = facts.users.get(id) else { continue };
            for group_id in user.groups.iter().filter(|group_id| facts.is_in(user, group_id)) {
                members.entry(group_id).or_default().push(*name);
            }
        }
        members
    }

    /// Every number that somebody of ours once had here and that resolves no longer: ours still, so that PAM and credd
    /// deny them. A name that somebody else has now finds that one. Anybody who was never here and left nothing has no
    /// tombstone (`traces`).
    fn add_tombstones(
        &mut self,
        known: &Known<'_>,
        ids: &IdMap,
        ending: &Ending<'_>,
        published: &BTreeMap<String, (UserName, Uid)>,
    ) {
        let Known { config, facts, .. } = *known;
        let mut names: HashSet<UserName> = published.values().map(|(name, _)| *name).collect();
        let mut uids: HashSet<Uid> = published.values().map(|(_, uid)| *uid).collect();
        // Of other numbers only the tombstone says that they are ours.
        let claimed = |number: u32| matches!(config.id_scheme(), IdScheme::Wide(range) if range.contains(number));
        // Whoever has a number and never had an entry has nothing here that could be somebody else's.
        let had_entry = ids
            .everybody()
            .filter(|known| known.kind == Kind::User && known.published);
        for known in had_entry {
            let Some(name) = known
                .names
                .last()
                .and_then(|name| UserName::parse(name.as_bytes()).ok())
            else {
                continue;
            };
            let verdict = if facts.users.contains_key(known.iam_id) {
                Verdict::NoEntry
            } else {
                Verdict::Deleted
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
                let tombstone = NewUser {
                    ended: ending.of_number(ids, known.iam_id, uid),
                    ..tombstone(name, uid, verdict, known.iam_id)
                };
                let added = if names.insert(name) {
                    self.directory.user(&tombstone)
                } else {
                    self.directory.nameless_tombstone(&tombstone)
                };
                if let Err(error) = added {
                    warn!(user = known.iam_id, %error, "{}, a former user, cannot be published: {error}", known.iam_id);
                }
            }
        }
    }
}

/// From when on a token of AWS's opens a login of this user; `None`: none does.
pub(super) fn proofs_from(known: &Known<'_>, ids: &IdMap, user_id: &str, user: &UserFacts) -> Option<u64> {
    let config = known.config;
    let is_member = |group: &String| known.facts.is_member(user, group);
    let may = config.proofs_are_on() && config.login_proof_group.as_ref().is_none_or(is_member);
    let from = user.created.max(config.login_not_before);
    may.then(|| from.max(ids.proofs_from(user_id, &user.name)))
}

/// Names that somebody held who has another by now, or is gone, and who is not known to have been here under them.
fn former_names(known: &Known<'_>, ids: &IdMap, published: &BTreeMap<String, (UserName, Uid)>) -> BTreeSet<FormerName> {
    let has_it = |name: &str, iam_id: &str| match (published.get(iam_id), known.facts.users.get(iam_id)) {
        (Some((present, _)), _) => present.as_str() == name,
        (None, Some(user)) => user.name == known.iam_name(ids, name),
        (None, None) => false,
    };
    let without_presence = ids.names_without_presence();
    let former = without_presence.filter(|(name, iam_id, _)| !has_it(name, iam_id));
    let former = former.map(|(name, iam_id, numbers)| FormerName {
        name: name.to_owned(),
        iam_id: iam_id.to_owned(),
        numbers,
    });
    former.collect()
}

/// The keys that open something for a user, and a sentence for each that cannot.
pub(super) fn keys_of(config: &KeymakerdConfig, user: &UserFacts) -> (Vec<PublishedKey>, Vec<String>) {
    // Without IAM's keys among what opens a login, there are none.
    if !config.login_by.contains(&LoginBy::IamKeys) {
        return (Vec::new(), Vec::new());
    }
    let from_iam = user.keys.iter().flat_map(|facts| &facts.by_id);
    let from_iam = from_iam.map(|(id, key)| (id, key.active, key.body.clone()));
    let from_tags = config.tags.contains(&Tag::Keys).then_some(&user.tags);
    let from_tags = from_tags.into_iter().flatten().flatten();
    let from_tags = from_tags
        .filter(|(tag, _)| tag.starts_with(ssh_key_tags::NAME_BEGINS))
        .map(|(tag, value)| {
            let (active, key) = ssh_keys::clean_tag(value);
            (tag, active, key.map_err(|why| why.to_string()))
        });
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
    // IAM's own come first: it has five at most.
    let too_many = keys.drain(keys.len().min(MAX_KEYS)..);
    unusable.extend(too_many.map(|key| format!("{} of {}: more than {MAX_KEYS} keys", key.id, user.name)));
    (keys, unusable)
}

fn tombstone(name: UserName, uid: Uid, verdict: Verdict, iam_user_id: &str) -> NewUser<'_> {
    NewUser {
        name,
        uid,
        answered_at: 0,
        verdict,
        tombstone: true,
        seen_here: false,
        ended: false,
        gecos: "",
        home: "/",
        shell: "/usr/sbin/nologin",
        iam_user_id,
        iam_user_name: "",
        proofs_from: None,
        groups: &[],
        former_names: &[],
    }
}

/// AWS's permission to push a key goes by the IAM name: where names here are shorter, it may be the name of somebody else in IAM.
pub(super) fn takes_pushed_keys(config: &KeymakerdConfig, settings: &EffectiveSettings) -> bool {
    config.login_by.contains(&LoginBy::InstanceConnect) && settings.user_suffix.is_empty()
}

fn header<'a>(known: &'a Known<'_>, ids: &IdMap, entitled: &Entitlements, as_of: AsOf<'a>) -> Header<'a> {
    let Known { config, settings, .. } = known;
    let mut local_gids = [0; LOCAL_GIDS];
    let memberships = entitled.names.groups.values().filter_map(|group| match group.unix {
        UnixGroup::Local { gid, .. } => Some(gid),
        UnixGroup::Ours(_) => None,
    });
    for (place, gid) in local_gids
        .iter_mut()
        .zip(memberships.chain(known.local_gid(KEYMAKER_SUDO)))
    {
        *place = gid;
    }
    Header {
        account: known.facts.account.as_deref().unwrap_or_default(),
        instance_id: as_of.instance_id.unwrap_or_default(),
        ranges: ranges(config, ids, &entitled.ids),
        local_gids,
        keymaker_users_gid: known.local_gid(KEYMAKER_USERS).unwrap_or(0),
        enumerate_all: config.enumerate,
        whole_range_ours: matches!(config.id_scheme(), IdScheme::Wide(_)),
        settings_unread: !settings.known,
        end_sessions: config.end_sessions != EndSessions::Ends(false),
        instance_connect: takes_pushed_keys(config, settings),
        without_iam_keys: !config.login_by.contains(&LoginBy::IamKeys),
        max_stale: config.max_stale,
        max_stale_running: config.max_stale_running,
        authz_ttl: config.authz_ttl,
        passwd: known.local.passwd,
        group: known.local.group,
        required_group: settings.require_iam_group.as_deref().unwrap_or_default(),
        id_resolver: settings
            .id_resolver
            .as_ref()
            .map(id_resolver_digest)
            .unwrap_or_default(),
    }
}

/// The range of the scheme, and one around every number outside it (tags, `group_ids`, another scheme's numbers in the
/// map).
fn ranges(config: &KeymakerdConfig, known: &IdMap, assigned: &AssignedIds) -> [IdRange; RANGES] {
    let drawn = config.id_scheme().range();
    let mut ranges = [IdRange::EMPTY; RANGES];
    let outside = assigned
        .ids
        .values()
        .copied()
        .chain(known.everybody().map(|known| known.id))
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
