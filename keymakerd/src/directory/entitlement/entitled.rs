//! Which of the people and groups in IAM get a name and a number on this host: the settings' choice put to `names` and `ids`.
//! Called by `composition`, where the id map learns of new owners, and by `neighbours`, which has other services asked about all of them.

use std::collections::BTreeSet;

use super::ids::{AssignedIds, IdClaim, IdMap, IdRules, Wish};
use super::names::{AcceptedNames, InIam, NameRules, UnixGroup};
use super::neighbours::{Key, Neighbours};
use super::refused::{Kind, RefusedEntry};
use crate::config::Tag;
use crate::directory::facts::UserFacts;
use crate::directory::state::State;
use crate::settings::EffectiveSettings;

/// Somebody who gets a name and a number, unless another service of this host has one of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// A user or a group.
    pub kind: Kind,
    /// IAM's UserId or GroupId.
    pub iam_id: String,
    /// The Unix name, and the number where there is one.
    pub keys: Vec<Key>,
}

/// Who gets a name.
pub fn accept_names(state: &State, settings: &EffectiveSettings) -> AcceptedNames {
    let mut names = names_beside_nobody(state, settings);
    state.neighbours.strike_names(&mut names, &state.facts);
    names
}

/// Everybody whom other services are to be asked about.
pub fn candidates(state: &State) -> Vec<Candidate> {
    let names = names_beside_nobody(state, &state.effective());
    // On a copy: whoever is not published keeps no number.
    let ids = assign(state, &mut state.ids.clone(), &names, &Neighbours::default());
    let users = names
        .users
        .iter()
        .map(|(name, id)| (Kind::User, id, name.as_str().to_owned()));
    let groups = names.groups.values().filter_map(|group| match group.unix {
        UnixGroup::Ours(name) => Some((Kind::Group, &group.group_id, name.as_str().to_owned())),
        UnixGroup::Local { .. } => None,
    });
    let candidate = |(kind, iam_id, name): (Kind, &String, String)| Candidate {
        kind,
        iam_id: iam_id.clone(),
        keys: std::iter::once(Key::Name(name))
            .chain(ids.ids.get(iam_id).map(|id| Key::Id(*id)))
            .collect(),
    };
    users.chain(groups).map(candidate).collect()
}

/// Of two users with one IAM name the one whom IAM still has is meant; the other one is gone, and only not yet for certain.
fn names_beside_nobody(state: &State, settings: &EffectiveSettings) -> AcceptedNames {
    let present: BTreeSet<&str> = state
        .facts
        .users
        .values()
        .filter(|user| user.doubted_since.is_none())
        .map(|user| user.name.as_str())
        .collect();
    let wanted = state.facts.users.iter().filter(|(_, user)| {
        let succeeded = user.doubted_since.is_some() && present.contains(user.name.as_str());
        let tags_known = state.config.tags.is_empty() || user.tags.is_some();
        !succeeded && tags_known && is_wanted(state, settings, user)
    });
    let users: Vec<InIam<'_>> = wanted
        .map(|(id, user)| InIam {
            id,
            name: &user.name,
            path: &user.path,
            created: user.created,
        })
        .collect();
    let undisputed = state.facts.groups.iter().filter(|(_, group)| !group.disputed);
    let groups: Vec<InIam<'_>> = undisputed
        .map(|(id, group)| InIam {
            id,
            name: &group.name,
            path: "/",
            created: group.created,
        })
        .collect();
    NameRules {
        config: &state.config,
        settings,
        local: &state.local,
        ids: &state.ids,
    }
    .accept(&users, &groups)
}

/// `only_group_members`: members of our groups, of the required one, or of the one that may use sudo. A group counts by its name in IAM, also
/// where it gets no entry here: whoever filled it put these people there, and a user's entry must not hang on a group's name.
fn is_wanted(state: &State, settings: &EffectiveSettings, user: &UserFacts) -> bool {
    let named = [
        settings.require_iam_group.as_ref(),
        state.config.sudo_iam_group.as_ref(),
    ];
    let ours = |name: &String| name.starts_with(&settings.group_prefix) || named.contains(&Some(name));
    !state.config.only_group_members || state.facts.groups_of(user).any(|group| ours(&group.name))
}

/// Who gets a number.
pub fn assign_ids(state: &mut State, names: &AcceptedNames) -> AssignedIds {
    let mut ids = std::mem::take(&mut state.ids);
    let assigned = assign(state, &mut ids, names, &state.neighbours);
    state.ids = ids;
    assigned
}

fn assign(state: &State, ids: &mut IdMap, names: &AcceptedNames, neighbours: &Neighbours) -> AssignedIds {
    let State {
        facts, config, local, ..
    } = state;
    let users = names.users.iter().filter_map(|(name, id)| {
        let user = facts.users.get(id)?;
        let wish = user
            .tag("uid")
            .filter(|_| config.tags.contains(&Tag::Uid))
            .map_or(Wish::None, Wish::Tag);
        Some(IdClaim {
            kind: Kind::User,
            iam_id: id,
            created: user.created,
            name: name.as_str(),
            wish,
        })
    });
    let groups = names.groups.values().filter_map(|group| {
        let UnixGroup::Ours(name) = &group.unix else {
            return None;
        };
        let created = facts.groups.get(&group.group_id)?.created;
        let wish = config
            .group_ids
            .get(name.as_str())
            .map_or(Wish::None, |gid| Wish::GroupIds(*gid));
        Some(IdClaim {
            kind: Kind::Group,
            iam_id: &group.group_id,
            created,
            name: name.as_str(),
            wish,
        })
    });
    let claims: Vec<IdClaim<'_>> = users.chain(groups).collect();
    let assigned = ids.assign(
        &claims,
        &IdRules {
            scheme: config.id_scheme(),
            tag_uid_range: config.tag_uid_range(),
            local,
            neighbours,
        },
    );
    for group in names.groups.values() {
        if matches!(group.unix, UnixGroup::Local { .. }) || assigned.gid(&group.group_id).is_some() {
            ids.note_group(group.unix.name().as_str(), &group.group_id);
        }
    }
    assigned
}

pub fn refused_ids(state: &State, ids: &AssignedIds) -> Vec<RefusedEntry> {
    let entry = |(iam_id, reason): &(String, _)| {
        let (kind, iam_name) = match state.facts.users.get(iam_id) {
            Some(user) => (Kind::User, user.name.clone()),
            None => (
                Kind::Group,
                state
                    .facts
                    .groups
                    .get(iam_id)
                    .map(|group| group.name.clone())
                    .unwrap_or_default(),
            ),
        };
        RefusedEntry {
            kind,
            iam_id: iam_id.clone(),
            iam_name,
            reason: Clone::clone(reason),
        }
    };
    ids.refused.iter().map(entry).collect()
}
