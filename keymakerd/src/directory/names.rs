//! Which IAM user or group has which Unix name here. Called by the sync with everybody who is in IAM; decides by names alone and
//! knows nothing of ids, logins or the network. What it refuses gets no entry at all.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use keymaker_core::name::{GroupName, UserName};
use keymaker_core::reserved_names;

use super::refused::{Kind, Refusal, RefusedEntry};
use crate::config::Config;
use crate::local_accounts::LocalAccounts;
use crate::settings::EffectiveSettings;

/// What names are judged by.
#[derive(Clone, Copy, Debug)]
pub struct NameRules<'a> {
    /// keymakerd.toml.
    pub config: &'a Config,
    /// The suffix and the prefix.
    pub settings: &'a EffectiveSettings,
    /// The accounts of this host, which always win.
    pub local: &'a LocalAccounts,
}

/// A user or group as IAM lists it.
#[derive(Clone, Copy, Debug)]
pub struct InIam<'a> {
    /// The UserId or GroupId.
    pub id: &'a str,
    /// The full name in IAM.
    pub name: &'a str,
    /// `/` or `/some/path/`.
    pub path: &'a str,
}

/// Everybody who has a Unix name here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AcceptedNames {
    /// UserIds by Unix name.
    pub users: BTreeMap<UserName, String>,
    /// Groups by full IAM name.
    pub groups: BTreeMap<String, AcceptedGroup>,
    /// Who is refused; who is not ours is in neither.
    pub refused: Vec<RefusedEntry>,
}

/// An IAM group that means something here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcceptedGroup {
    /// IAM's GroupId.
    pub group_id: String,
    /// What it means.
    pub unix: UnixGroup,
}

/// What an IAM group means here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnixGroup {
    /// A group of our own, published with a gid drawn from its GroupId.
    Ours(GroupName),
    /// Membership in a group of /etc/group.
    Local {
        /// Its name.
        name: GroupName,
        /// Its number there, never 0.
        gid: u32,
    },
}

impl UnixGroup {
    /// The Unix name.
    pub fn name(&self) -> GroupName {
        match self {
            Self::Ours(name) | Self::Local { name, .. } => *name,
        }
    }
}

/// Why a single IAM name has no Unix name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotAccepted {
    /// It lacks the suffix or prefix, or lies outside the path: somebody else's business, reported nowhere.
    NotOurs,
    /// It would be ours but for this.
    Refused(Refusal),
}

impl NameRules<'_> {
    /// Judges everybody together: each by its own name, then those that would have one name.
    pub fn accept(&self, users: &[InIam<'_>], groups: &[InIam<'_>]) -> AcceptedNames {
        let mut accepted = AcceptedNames::default();
        let users = accepted.candidates(Kind::User, users, |user| self.user(user));
        let groups = accepted.candidates(Kind::Group, groups, |group| self.group(group.name));
        let claims = Claims::new(
            users.iter().map(|(user, name)| (GroupName::from(*name), *user)),
            groups.iter().map(|(group, unix)| (unix.name(), *group)),
        );
        for (user, name) in users {
            match claims.rival(name.into(), Kind::User, &user) {
                Some(rival) => accepted.refuse(Kind::User, &user, rival),
                None => drop(accepted.users.insert(name, user.id.to_owned())),
            }
        }
        for (group, unix) in groups {
            let group_id = group.id.to_owned();
            match claims.rival(unix.name(), Kind::Group, &group) {
                Some(rival) => accepted.refuse(Kind::Group, &group, rival),
                None => drop(
                    accepted
                        .groups
                        .insert(group.name.to_owned(), AcceptedGroup { group_id, unix }),
                ),
            }
        }
        accepted
    }

    /// The Unix name of one user, whoever else there is.
    pub fn user(&self, user: &InIam<'_>) -> Result<UserName, NotAccepted> {
        if !user.path.starts_with(&self.config.user_path_prefix) {
            return Err(NotAccepted::NotOurs);
        }
        let login = user.name.strip_suffix(self.settings.user_suffix.as_str());
        let login = self.folded(login.ok_or(NotAccepted::NotOurs)?);
        let name = UserName::parse(login.as_bytes())
            .map_err(|why| NotAccepted::Refused(Refusal::IllegalName(login.into_owned(), why)))?;
        self.free(name.as_str())?;
        Ok(name)
    }

    /// What one group means here, whoever else there is.
    pub fn group(&self, iam_group_name: &str) -> Result<UnixGroup, NotAccepted> {
        let rest = iam_group_name.strip_prefix(self.settings.group_prefix.as_str());
        let rest = self.folded(rest.ok_or(NotAccepted::NotOurs)?);
        let name = GroupName::parse(rest.as_bytes())
            .map_err(|why| NotAccepted::Refused(Refusal::IllegalName(rest.into_owned(), why)))?;
        let text = || name.to_string();
        match self.local.group(name.as_str()) {
            Some(local) if self.config.local_groups.contains(name.as_str()) => match local.gid {
                Some(0) => Err(NotAccepted::Refused(Refusal::RootGroup(text()))),
                Some(gid) => Ok(UnixGroup::Local { name, gid }),
                None => Err(NotAccepted::Refused(Refusal::LocalGroup(text()))),
            },
            _ => self.free(name.as_str()).map(|()| UnixGroup::Ours(name)),
        }
    }

    /// ASCII only: other capitals are no Unix names, and folding them depends on a language.
    fn folded<'n>(&self, name: &'n str) -> Cow<'n, str> {
        match self.config.lowercase_names {
            true => name.to_ascii_lowercase().into(),
            false => name.into(),
        }
    }

    /// Whether a user or a group of ours may have the name: a user's name is that of a private group too.
    fn free(&self, name: &str) -> Result<(), NotAccepted> {
        let refused = if self.local.user(name).is_some() {
            Refusal::LocalUser(name.to_owned())
        } else if self.local.group(name).is_some() {
            Refusal::LocalGroup(name.to_owned())
        } else if reserved_names::is_reserved(name) || self.config.reserved_names.contains(name) {
            Refusal::ReservedName(name.to_owned())
        } else {
            return Ok(());
        };
        Err(NotAccepted::Refused(refused))
    }
}

impl AcceptedNames {
    /// Those who pass by their own name; the others are refused or left out.
    fn candidates<'a, T>(
        &mut self,
        kind: Kind,
        entities: &[InIam<'a>],
        judge: impl Fn(&InIam<'_>) -> Result<T, NotAccepted>,
    ) -> Vec<(InIam<'a>, T)> {
        let mut candidates = Vec::new();
        for entity in entities {
            match judge(entity) {
                Ok(judged) => candidates.push((*entity, judged)),
                Err(NotAccepted::NotOurs) => {}
                Err(NotAccepted::Refused(reason)) => self.refuse(kind, entity, reason),
            }
        }
        candidates
    }

    fn refuse(&mut self, kind: Kind, entity: &InIam<'_>, reason: Refusal) {
        self.refused.push(RefusedEntry {
            kind,
            iam_id: entity.id.to_owned(),
            iam_name: entity.name.to_owned(),
            reason,
        });
    }
}

/// Who would have which Unix name: users and groups in one space, since a user's private group has the user's name.
struct Claims<'a>(BTreeMap<GroupName, BTreeSet<(Kind, &'a str)>>);

impl<'a> Claims<'a> {
    fn new(
        users: impl Iterator<Item = (GroupName, InIam<'a>)>,
        groups: impl Iterator<Item = (GroupName, InIam<'a>)>,
    ) -> Self {
        let mut claims: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
        let users = users.map(|(name, user)| (name, (Kind::User, user.name)));
        let groups = groups.map(|(name, group)| (name, (Kind::Group, group.name)));
        for (name, claimant) in users.chain(groups) {
            claims.entry(name).or_default().insert(claimant);
        }
        Self(claims)
    }

    /// Somebody else who would have the name.
    fn rival(&self, name: GroupName, kind: Kind, entity: &InIam<'_>) -> Option<Refusal> {
        let mut claimants = self.0.get(&name)?.iter();
        let (other_kind, other) = claimants.find(|claimant| **claimant != (kind, entity.name))?;
        Some(Refusal::SameName {
            name: name.to_string(),
            other_kind: *other_kind,
            other: (*other).to_owned(),
        })
    }
}

#[cfg(test)]
mod tests;
