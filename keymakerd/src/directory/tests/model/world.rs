//! What was true of the model's IAM, and so what must hold of the facts after every flow.
//!
//! Ids of users, groups and keys never come back, and neither does what was taken away from them: so whatever the facts
//! give to the wrong id, or give back, is wrong.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::directory::entitlement::entitled::Entitlements;
use crate::directory::entitlement::ids::NameHeld;
use crate::directory::entitlement::names::UnixGroup;
use crate::directory::entitlement::verdict;

/// What is true of IAM, and was.
#[derive(Default)]
pub(super) struct World {
    pub seed: u64,
    pub rng: fastrand::Rng,
    made: u32,
    owners_of_keys: BTreeMap<String, String>,
    /// By `GroupId`: the `UserIds` that were ever in it.
    ever_members: BTreeMap<String, BTreeSet<String>>,
    /// By a group's name: the `UserIds` that were in a group while it had that name.
    ever_in: BTreeMap<String, BTreeSet<String>>,
    /// What was taken away forever: a `UserId`, a key's id, or a `GroupId` and a `UserId`.
    taken: BTreeMap<(String, String), Taken>,
    /// Who had which name since the flow began: names and ids.
    held: BTreeSet<(String, String)>,
    /// By name: the `UserId` that may log in with it.
    holders: BTreeMap<UserName, String>,
    uids: BTreeMap<String, u32>,
}

struct Taken {
    at: u64,
    /// The facts do not give it since an answer that was asked later.
    known: bool,
}

impl World {
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            rng: fastrand::Rng::with_seed(seed),
            ..Self::default()
        }
    }

    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.rng.usize(..of.len())]
    }

    fn new_id(&mut self, prefix: &str) -> String {
        self.made += 1;
        format!("{prefix}{}", self.made)
    }

    pub fn make_user(&mut self, iam: &IamFake, name: &str) {
        let id = self.new_id("AIDA");
        iam.add_user(name, &id, self.made.into());
        // Whose tags these are.
        iam.change_user(name, |user| user.tags = Some(vec![("gecos".into(), id.clone())]));
        self.held.insert((name.to_owned(), id.clone()));
        self.make_key(iam, &id, name);
        for (group_id, group) in iam.groups() {
            if self.rng.bool() {
                self.join(iam, (&id, name), (&group_id, &group));
            }
        }
    }

    pub fn join(&mut self, iam: &IamFake, (user_id, user): (&str, &str), (group_id, group): (&str, &str)) {
        let members = self.ever_members.entry(group_id.to_owned()).or_default();
        members.insert(user_id.to_owned());
        iam.join(user, group);
    }

    pub fn make_group(&mut self, iam: &IamFake, name: &str) {
        let id = self.new_id("AGPA");
        iam.add_group(name, &id, self.made.into());
        self.held.insert((name.to_owned(), id));
    }

    pub fn make_key(&mut self, iam: &IamFake, id: &str, user: &str) {
        let key = self.new_id("APKA");
        iam.add_key(user, &key, KEY);
        self.owners_of_keys.insert(key, id.to_owned());
    }

    pub fn note_members(&mut self, iam: &IamFake) {
        let names: BTreeMap<String, String> = iam.groups().into_iter().collect();
        for (group, user) in iam.members() {
            self.ever_in.entry(names[&group].clone()).or_default().insert(user);
        }
    }

    pub fn delete_user(&mut self, iam: &IamFake, id: &str, name: &str, now: u64) {
        self.take((id.to_owned(), String::new()), now);
        iam.delete_user(name);
    }

    /// From now on nobody gives this back.
    pub fn take(&mut self, what: (String, String), at: u64) {
        self.taken.insert(what, Taken { at, known: false });
    }

    pub fn was_taken(&self, what: &(String, String)) -> bool {
        self.taken.contains_key(what)
    }

    /// From now on a name may move to anybody who does not have it now.
    pub fn begin_flow(&mut self, iam: &IamFake) {
        let all = iam.users().into_iter().chain(iam.groups());
        self.held = all.map(|(id, name)| (name, id)).collect();
    }

    pub fn may_hold(&mut self, name: &str, id: &str) -> bool {
        self.held.insert((name.to_owned(), id.to_owned()))
    }

    pub fn may_hold_both(&mut self, one: (&str, &str), other: (&str, &str)) -> bool {
        let pairs = [one, other].map(|(name, id)| (name.to_owned(), id.to_owned()));
        let free = pairs.iter().all(|pair| !self.held.contains(pair));
        if free {
            self.held.extend(pairs);
        }
        free
    }

    /// What must hold after every flow.
    pub fn check(&mut self, service: &Rc<Service<IamFake>>) {
        let seed = self.seed;
        let mut state = service.state_mut();
        for (id, user) in &state.facts.users {
            for (key, _) in user.keys.iter().flat_map(|keys| keys.usable()) {
                assert_eq!(self.owners_of_keys.get(key), Some(id), "seed {seed}: {key}");
            }
            for group in &user.groups {
                let was_in = self.ever_members.get(group).is_some_and(|users| users.contains(id));
                assert!(was_in, "seed {seed}: {id} was never in {group}");
            }
            assert!(
                user.tag("gecos").is_none_or(|owner| owner == id),
                "seed {seed}: tags of {id}"
            );
        }
        let required = state.effective().require_iam_group.is_some();
        let zoe = &state.facts.users[ZOE];
        let keys = zoe.keys.iter().flat_map(|keys| keys.usable()).count();
        let entitled =
            zoe.doubted_since.is_none() && (!required || state.facts.is_member(zoe, "required")) && keys == 1;
        assert!(entitled, "seed {seed}: {zoe:?}");
        self.check_that_nothing_comes_back(&state);
        self.check_what_is_published(&mut state, service.clock.unix());
    }

    pub fn check_that_nothing_comes_back(&mut self, state: &State) {
        let seed = self.seed;
        let users = &state.facts.users;
        for ((what, whose), taken) in &mut self.taken {
            let (given, asked_at) = if let Some(user) = users.get(what) {
                (user.doubted_since.is_none(), user.seen_at)
            } else if let Some(user) = users.get(whose) {
                let members_at = state.facts.groups.get(what).map_or(0, |group| group.members_at);
                (user.groups.contains(what), user.answered_at.max(members_at))
            } else if let Some(owner) = self.owners_of_keys.get(what)
                && let Some(keys) = users.get(owner).and_then(|user| user.keys.as_ref())
            {
                (keys.usable().any(|(id, _)| id == what), keys.answered_at)
            } else {
                continue;
            };
            let at = taken.at;
            assert!(
                !given || !taken.known,
                "seed {seed}: {what} {whose}, taken away at {at}, came back"
            );
            taken.known |= !given && asked_at > at;
        }
    }

    /// Names, numbers, groups and homes, as they are published.
    fn check_what_is_published(&mut self, state: &mut State, now: u64) {
        let seed = self.seed;
        let settings = state.effective();
        let (known, ids) = state.known_and_ids();
        let entitled = Entitlements::of(&known, ids);
        for (login, id) in &entitled.names.users {
            let Some(uid) = entitled.ids.uid(id) else { continue };
            let first = *self.uids.entry(id.clone()).or_insert(uid.get());
            assert_eq!(first, uid.get(), "seed {seed}: the uid of {id}");
            let user = &state.facts.users[id];
            let verdict = verdict::by_facts(user, &state.facts, &state.config, &settings, now);
            if verdict != Verdict::Allowed || state.ids.hold_name(*login, id) != NameHeld::Own {
                continue;
            }
            let holder = self.holders.entry(*login).or_insert_with(|| id.clone());
            assert_eq!(holder, id, "seed {seed}: the home of {login}");
            let given = entitled.groups(&state.known(), user);
            for (name, group) in &entitled.names.groups {
                let number = match group.unix {
                    UnixGroup::Ours(_) => entitled.ids.gid(&group.group_id).map(|gid| gid.get()),
                    UnixGroup::Local { gid, .. } => Some(gid),
                };
                let was_in = self.ever_in.get(name).is_some_and(|users| users.contains(id));
                let has_it = number.is_some_and(|number| given.contains(&number));
                assert!(!has_it || was_in, "seed {seed}: {id} was never in {name}");
            }
        }
        let different: BTreeSet<u32> = self.uids.values().copied().collect();
        assert_eq!(different.len(), self.uids.len(), "seed {seed}: two ids have one uid");
        // As if it were.
        state.unpublished = false;
    }
}
