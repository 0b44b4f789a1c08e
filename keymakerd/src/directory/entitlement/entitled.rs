//! Which of the people and groups in IAM get a name and a number on this host: the settings' choice put to `names` and
//! `ids`. Called by `composition`, where the id map learns of new owners, and by `neighbours`, which has other services
//! asked about all of them.

use std::collections::BTreeSet;

use keymaker_core::id::{Gid, Uid};
use keymaker_core::name::UserName;
use keymaker_core::paths::KEYMAKER_SUDO;

use super::ids::{AssignedIds, IdClaim, IdMap, IdRules, Wish};
use super::names::{AcceptedNames, InIam, NameRules, UnixGroup};
use super::neighbours::{NameOrId, Neighbours};
use super::passwd_fields::uid_tag;
use super::refused::{Kind, RefusedEntry};
use crate::config::{KeymakerdConfig, Publish};
use crate::directory::facts::{Facts, UserFacts};
use crate::local_accounts::LocalAccounts;
use crate::settings::EffectiveSettings;

/// What decides who gets an entry, besides who had one here before (the id map).
pub struct Known<'a> {
    /// keymakerd.toml.
    pub config: &'a KeymakerdConfig,
    /// The settings in force.
    pub settings: EffectiveSettings,
    /// What IAM last said.
    pub facts: &'a Facts,
    /// The accounts of this host.
    pub local: &'a LocalAccounts,
    /// What other services of this host have.
    pub neighbours: &'a Neighbours,
}

impl Known<'_> {
    /// The gid of a group of this host, unless that is root's.
    pub fn local_gid(&self, name: &str) -> Option<u32> {
        self.local.group(name)?.gid.filter(|gid| *gid != 0)
    }

    /// Whether a user has no entry by nothing but what IAM says of them: name, path, groups. While IAM has not told the
    /// groups or the tags, nobody is out by them.
    pub fn is_out(&self, ids: &IdMap, user_id: &str, user: &UserFacts) -> bool {
        let is_unwanted = user.groups_told && !is_wanted(self, user);
        are_tags_known(self, user) && (is_unwanted || name_rules(self, ids).is_nobody(&in_iam(user_id, user)))
    }

    /// Whether anything says that a user is a person, whom this host publishes then (`publish`). Once published they stay, whatever
    /// keys, tags or groups they lose. The tag keymaker:uid says nothing: `keymaker assign-uids` gives one to everybody.
    pub fn is_person(&self, ids: &IdMap, user_id: &str, user: &UserFacts) -> bool {
        let has_key = || user.keys.as_ref().is_some_and(|keys| !keys.by_id.is_empty());
        let is_ours = |tag: &String| self.config.tags.iter().any(|enabled| enabled.is_called(tag));
        let has_tag = || user.tags.iter().flatten().any(|(tag, _)| is_ours(tag));
        self.config.publish == Publish::All
            || ids.was_published(user_id)
            || is_in_group_of_ours(self, user)
            || has_tag()
            || has_key()
    }

    /// How IAM knows the user who logs in as `login`. Under `lowercase_names` that is the user whose name folds to it;
    /// of several the one who has the name here, else the one made earlier, as `names` decides.
    pub fn iam_name(&self, ids: &IdMap, login: &str) -> String {
        let wanted = format!("{login}{}", self.settings.user_suffix);
        if self.config.lowercase_names {
            let folded = self
                .facts
                .users
                .iter()
                .filter(|(_, user)| user.name.eq_ignore_ascii_case(&wanted));
            let rank = |(id, user): &(&String, &UserFacts)| {
                let newcomer = !ids.has_name(Kind::User, login, id);
                (newcomer, user.created, (*id).clone())
            };
            if let Some((_, user)) = folded.min_by_key(rank) {
                return user.name.clone();
            }
        }
        wanted
    }
}

/// Who has which name and number now.
pub struct Entitlements {
    /// Names by who has them, and who got none.
    pub names: AcceptedNames,
    /// Numbers likewise.
    pub ids: AssignedIds,
    /// Who has both, and no entry, since nothing says that they are people.
    pub not_people: NotPeople,
}

/// IAM users whom nothing says to be people.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NotPeople {
    /// Those whose keys IAM was asked for, by their names in IAM.
    pub without_key: Vec<String>,
    /// How many there are of whom IAM was not: somebody has to ask for their name.
    pub unasked: usize,
}

impl Entitlements {
    /// As the next publication would have them.
    pub fn of(known: &Known<'_>, ids: &mut IdMap) -> Self {
        let mut names = accept_names(known, ids);
        // Names and numbers are given to everybody, so that hosts agree about them whomever they publish.
        let assigned = assign(known, ids, &names, known.neighbours);
        let not_people = strike_programs(known, ids, &mut names);
        Self {
            names,
            ids: assigned,
            not_people,
        }
    }

    /// The `UserId` and number of the user who is entitled to this name.
    pub fn entry(&self, name: UserName) -> Option<(&str, Uid)> {
        let user_id = self.names.users.get(&name)?;
        Some((user_id, self.ids.uid(user_id)?))
    }

    /// The groups of a user who may log in: gids of ours, and of local ones where the settings let IAM give membership;
    /// each once, keymaker-users left to NSS.
    pub fn groups(&self, known: &Known<'_>, user: &UserFacts) -> Vec<u32> {
        let Known { config, facts, .. } = *known;
        let joined = user.groups.iter().filter(|id| facts.is_in(user, id)).filter_map(|id| {
            let named = self.names.groups.get(&facts.groups.get(id)?.name)?;
            (named.group_id == *id).then_some(named)
        });
        let gids = joined.filter_map(|group| match group.unix {
            UnixGroup::Ours(_) => self.ids.gid(&group.group_id).map(Gid::get),
            UnixGroup::Local { gid, .. } => Some(gid),
        });
        let may_sudo = config
            .sudo_iam_group
            .as_ref()
            .is_some_and(|group| facts.is_member(user, group));
        let sudo = known.local_gid(KEYMAKER_SUDO).filter(|_| may_sudo);
        gids.chain(sudo).collect::<BTreeSet<u32>>().into_iter().collect()
    }
}

/// Somebody who gets a name and a number, unless another service of this host has one of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// A user or a group.
    pub kind: Kind,
    /// IAM's `UserId` or `GroupId`.
    pub iam_id: String,
    /// The Unix name, and the number where there is one.
    pub keys: Vec<NameOrId>,
}

/// Who gets a name.
fn accept_names(known: &Known<'_>, ids: &IdMap) -> AcceptedNames {
    let mut names = names_beside_nobody(known, ids);
    strike_names(known, &mut names);
    names
}

/// Takes out who may not be published beside another service's users and groups.
fn strike_names(known: &Known<'_>, names: &mut AcceptedNames) {
    let mut refused = Vec::new();
    let mut strike = |kind, iam_id: &str, iam_name: &str, name: &str| {
        let reason = known.neighbours.refusal(&NameOrId::Name(name.to_owned()));
        let entry = reason.map(|reason| RefusedEntry {
            kind,
            iam_id: iam_id.to_owned(),
            iam_name: iam_name.to_owned(),
            reason,
        });
        refused.extend(entry.clone());
        entry.is_none()
    };
    names.users.retain(|name, user_id| {
        let iam_name = known
            .facts
            .users
            .get(user_id)
            .map_or(name.as_str(), |user| user.name.as_str());
        strike(Kind::User, user_id, iam_name, name.as_str())
    });
    names.groups.retain(|iam_name, group| match group.unix {
        UnixGroup::Ours(name) => strike(Kind::Group, &group.group_id, iam_name, name.as_str()),
        UnixGroup::Local { .. } => true,
    });
    names.refused.extend(refused);
}

/// Takes out whom nothing says to be people: most of IAM's users are programs, under names that packages want for theirs.
fn strike_programs(known: &Known<'_>, ids: &IdMap, names: &mut AcceptedNames) -> NotPeople {
    let mut struck = NotPeople::default();
    names.users.retain(|_, user_id| {
        let Some(user) = known.facts.users.get(user_id) else {
            return true;
        };
        let is_person = known.is_person(ids, user_id, user);
        match &user.keys {
            _ if is_person => {}
            Some(_) => struck.without_key.push(user.name.clone()),
            None => struck.unasked += 1,
        }
        is_person
    });
    struck
}

/// Everybody whom other services are to be asked about.
pub fn candidates(known: &Known<'_>, ids: &IdMap) -> Vec<Candidate> {
    let names = names_beside_nobody(known, ids);
    // On a copy: anybody who is not published keeps no number.
    let ids = assign(known, &mut ids.clone(), &names, &Neighbours::default());
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
        keys: std::iter::once(NameOrId::Name(name))
            .chain(ids.ids.get(iam_id).map(|id| NameOrId::Id(*id)))
            .collect(),
    };
    users.chain(groups).map(candidate).collect()
}

/// Of two users with one IAM name the one whom IAM still has is meant; the other one is gone, and only not yet for
/// certain.
fn names_beside_nobody(known: &Known<'_>, ids: &IdMap) -> AcceptedNames {
    let facts = known.facts;
    let present: BTreeSet<&str> = facts
        .users
        .values()
        .filter(|user| user.doubted_since.is_none())
        .map(|user| user.name.as_str())
        .collect();
    let wanted = facts.users.iter().filter(|(_, user)| {
        let succeeded = user.doubted_since.is_some() && present.contains(user.name.as_str());
        !succeeded && are_tags_known(known, user) && is_wanted(known, user)
    });
    let users: Vec<InIam<'_>> = wanted.map(|(id, user)| in_iam(id, user)).collect();
    let undisputed = facts.groups.iter().filter(|(_, group)| !group.disputed);
    let groups: Vec<InIam<'_>> = undisputed
        .map(|(id, group)| InIam {
            id,
            name: &group.name,
            path: "/",
            created: group.created,
        })
        .collect();
    name_rules(known, ids).accept(&users, &groups)
}

fn name_rules<'a>(known: &'a Known<'_>, ids: &'a IdMap) -> NameRules<'a> {
    NameRules {
        config: known.config,
        settings: &known.settings,
        local: known.local,
        ids,
    }
}

fn in_iam<'a>(id: &'a str, user: &'a UserFacts) -> InIam<'a> {
    InIam {
        id,
        name: &user.name,
        path: &user.path,
        created: user.created,
    }
}

fn are_tags_known(known: &Known<'_>, user: &UserFacts) -> bool {
    known.config.tags.is_empty() || user.tags.is_some()
}

/// `only_group_members`: a group counts by its name in IAM, also where it gets no entry here: the administrator who filled it put
/// these people there, and a user's entry must not hang on a group's name.
fn is_wanted(known: &Known<'_>, user: &UserFacts) -> bool {
    !known.config.only_group_members || is_in_group_of_ours(known, user)
}

/// Whether a user is in one of our groups, in the required one, or in the one that may use sudo.
fn is_in_group_of_ours(known: &Known<'_>, user: &UserFacts) -> bool {
    let Known { config, settings, .. } = known;
    let named = [settings.require_iam_group.as_ref(), config.sudo_iam_group.as_ref()];
    let ours = |name: &String| name.starts_with(&settings.group_prefix) || named.contains(&Some(name));
    known.facts.groups_of(user).any(|group| ours(&group.name))
}

/// Who gets a number.
fn assign(known: &Known<'_>, ids: &mut IdMap, names: &AcceptedNames, neighbours: &Neighbours) -> AssignedIds {
    let Known {
        facts, config, local, ..
    } = *known;
    let users = names.users.iter().filter_map(|(name, id)| {
        let user = facts.users.get(id)?;
        let wish = uid_tag(config, user).map_or(Wish::None, Wish::Tag);
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

/// Who gets none, and why.
pub fn refused_ids(facts: &Facts, ids: &AssignedIds) -> Vec<RefusedEntry> {
    let entry = |(iam_id, reason): &(String, _)| {
        let (kind, iam_name) = match facts.users.get(iam_id) {
            Some(user) => (Kind::User, user.name.clone()),
            None => (
                Kind::Group,
                facts
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
