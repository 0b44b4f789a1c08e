//! Which IAM user or group has which Unix name here. Called by the sync with everybody who is in IAM; decides by names
//! alone and knows nothing of ids, logins or the network. What it refuses gets no entry at all.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use keymaker_core::name::{GroupName, UserName};
use keymaker_core::reserved_names;

use super::ids::IdMap;
use super::refused::{EntryRefusal, Kind, RefusedEntry};
use crate::config::KeymakerdConfig;
use crate::local_accounts::LocalAccounts;
use crate::settings::EffectiveSettings;

/// What names are judged by.
#[derive(Clone, Copy, Debug)]
pub struct NameRules<'a> {
    /// keymakerd.toml.
    pub config: &'a KeymakerdConfig,
    /// The suffix and the prefix.
    pub settings: &'a EffectiveSettings,
    /// The accounts of this host, which always win, and the names that its services want.
    pub local: &'a LocalAccounts,
    /// Who had which name here before.
    pub ids: &'a IdMap,
}

/// A user or group as IAM lists it.
#[derive(Clone, Copy, Debug)]
pub struct InIam<'a> {
    /// The `UserId` or `GroupId`.
    pub id: &'a str,
    /// The full name in IAM.
    pub name: &'a str,
    /// `/` or `/some/path/`.
    pub path: &'a str,
    /// `CreateDate`, unix time.
    pub created: u64,
}

/// Everybody who has a Unix name here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AcceptedNames {
    /// `UserIds` by Unix name.
    pub users: BTreeMap<UserName, String>,
    /// Groups by full IAM name.
    pub groups: BTreeMap<String, AcceptedGroup>,
    /// Who is refused; who is not ours is in neither.
    pub refused: Vec<RefusedEntry>,
    /// Who keeps a name that a newcomer would be refused, and for what.
    pub kept: Vec<RefusedEntry>,
}

/// An IAM group that means something here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcceptedGroup {
    /// IAM's `GroupId`.
    pub group_id: String,
    /// What it means.
    pub unix: UnixGroup,
}

/// What an IAM group means here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnixGroup {
    /// A group of our own, published with a gid drawn from its `GroupId`.
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
enum NotAccepted {
    /// It lacks the suffix or prefix, or lies outside the path: somebody else's business, reported nowhere.
    NotOurs,
    /// It would be ours but for this.
    Refused(EntryRefusal),
}

impl NameRules<'_> {
    /// Judges everybody together: each by its own name, then those that would have one name.
    pub fn accept(&self, users: &[InIam<'_>], groups: &[InIam<'_>]) -> AcceptedNames {
        let mut accepted = AcceptedNames::default();
        let users = accepted.candidates(Kind::User, users, |user| self.user(user));
        let groups = accepted.candidates(Kind::Group, groups, |group| self.group(group));
        let had_by = |kind, name: GroupName, entity: &InIam<'_>| {
            (self.ids.was_of_other_kind(kind, name.as_str()) && !self.kept(kind, name, entity)).then(|| {
                EntryRefusal::HadByOtherKind {
                    name: name.to_string(),
                    kind: kind.other(),
                }
            })
        };
        let mut claims = Claims::default();
        for (user, name) in &users {
            claims.add(self, (*name).into(), Kind::User, user);
        }
        for (group, unix) in &groups {
            claims.add(self, unix.name(), Kind::Group, group);
        }
        for (user, name) in users {
            let rival = claims.rival(name.into(), &user);
            match rival.or_else(|| had_by(Kind::User, name.into(), &user)) {
                Some(reason) => accepted.refuse(Kind::User, &user, reason),
                None => drop(accepted.users.insert(name, user.id.to_owned())),
            }
        }
        for (group, unix) in groups {
            let group_id = group.id.to_owned();
            let rival = claims.rival(unix.name(), &group);
            // keymakerd.toml says that a group of /etc/group is meant.
            let had_by = || had_by(Kind::Group, unix.name(), &group).filter(|_| matches!(unix, UnixGroup::Ours(_)));
            match rival.or_else(had_by) {
                Some(reason) => accepted.refuse(Kind::Group, &group, reason),
                None => drop(
                    accepted
                        .groups
                        .insert(group.name.to_owned(), AcceptedGroup { group_id, unix }),
                ),
            }
        }
        accepted
    }

    /// Whether a user has no Unix name here by nothing but what IAM calls them: it lacks the suffix or the path, or is
    /// no Unix name.
    pub fn is_nobody(&self, user: &InIam<'_>) -> bool {
        match self.user(user) {
            Ok(_) => false,
            Err(NotAccepted::NotOurs) => true,
            Err(NotAccepted::Refused(reason)) => matches!(reason, EntryRefusal::IllegalName(..)),
        }
    }

    /// The Unix name of one user, whoever else there is.
    fn user(&self, user: &InIam<'_>) -> Result<Judged<UserName>, NotAccepted> {
        if !user.path.starts_with(&self.config.user_path_prefix) {
            return Err(NotAccepted::NotOurs);
        }
        let login = user.name.strip_suffix(self.settings.user_suffix.as_str());
        let login = self.folded(login.ok_or(NotAccepted::NotOurs)?);
        let name = UserName::parse(login.as_bytes())
            .map_err(|why| NotAccepted::Refused(EntryRefusal::IllegalName(login.into_owned(), why)))?;
        self.free(name.as_str())?;
        if let Some(member) = self.member_line(name.as_str())
            && !self.kept(Kind::User, name.into(), user)
        {
            return Err(NotAccepted::Refused(member));
        }
        self.unless_wanted(Kind::User, name.into(), user, name)
    }

    /// What one group means here, whoever else there is.
    fn group(&self, group: &InIam<'_>) -> Result<Judged<UnixGroup>, NotAccepted> {
        let rest = group.name.strip_prefix(self.settings.group_prefix.as_str());
        let rest = self.folded(rest.ok_or(NotAccepted::NotOurs)?);
        let name = GroupName::parse(rest.as_bytes())
            .map_err(|why| NotAccepted::Refused(EntryRefusal::IllegalName(rest.into_owned(), why)))?;
        let text = || name.to_string();
        match self.local.group(name.as_str()) {
            Some(local) if self.gives(name) => match local.gid {
                Some(0) => Err(NotAccepted::Refused(EntryRefusal::RootGroup(text()))),
                Some(gid) => Ok(Judged {
                    is: UnixGroup::Local { name, gid },
                    despite: None,
                }),
                None => Err(NotAccepted::Refused(EntryRefusal::LocalGroup(text()))),
            },
            Some(_) if self.config.local_groups.contains(name.as_str()) => {
                Err(NotAccepted::Refused(EntryRefusal::LocalGroupWithoutPrefix(text())))
            }
            _ => {
                self.free(name.as_str())?;
                self.unless_wanted(Kind::Group, name, group, UnixGroup::Ours(name))
            }
        }
    }

    fn gives(&self, local: GroupName) -> bool {
        let prefix = self.settings.group_prefix.as_str();
        self.config.gives_local_group(local.as_str(), prefix)
    }

    /// ASCII only: other capitals are not Unix names, and folding them depends on a language.
    fn folded<'n>(&self, name: &'n str) -> Cow<'n, str> {
        if self.config.lowercase_names {
            name.to_ascii_lowercase().into()
        } else {
            name.into()
        }
    }

    /// Whether a user or a group of ours may have the name at all: a user's name is that of a private group too.
    fn free(&self, name: &str) -> Result<(), NotAccepted> {
        let refused = if self.local.user(name).is_some() {
            EntryRefusal::LocalUser(name.to_owned())
        } else if self.local.group(name).is_some() {
            EntryRefusal::LocalGroup(name.to_owned())
        } else if reserved_names::is_reserved(name) || self.config.reserved_names.contains(name) {
            EntryRefusal::ReservedName(name.to_owned())
        } else if !self.config.dotted_names && name.contains('.') {
            EntryRefusal::DottedName(name.to_owned())
        } else {
            return Ok(());
        };
        Err(NotAccepted::Refused(refused))
    }

    /// Nobody new gets a name that this host wants. Anybody who was published under it here before a package brought it
    /// along keeps it: a person is not locked out by an installation, and `keymaker doctor` says so.
    fn unless_wanted<T>(
        &self,
        kind: Kind,
        name: GroupName,
        entity: &InIam<'_>,
        is: T,
    ) -> Result<Judged<T>, NotAccepted> {
        match self.wanted_by_the_host(name.as_str()) {
            Some(reason) if !self.kept(kind, name, entity) => Err(NotAccepted::Refused(reason)),
            despite => Ok(Judged { is, despite }),
        }
    }

    fn was_here(&self, kind: Kind, name: GroupName, entity: &InIam<'_>) -> bool {
        self.ids.has_name(kind, name.as_str(), entity.id)
    }

    /// Whether it was published under this name last.
    fn kept(&self, kind: Kind, name: GroupName, entity: &InIam<'_>) -> bool {
        self.ids.has_kept_name(kind, name.as_str(), entity.id)
    }

    /// What of this host would read the name as its own.
    fn wanted_by_the_host(&self, name: &str) -> Option<EntryRefusal> {
        if let Some(source) = self.local.services.wanting(name) {
            return Some(EntryRefusal::ServiceName(name.to_owned(), source.to_string()));
        }
        if reserved_names::is_known_software(name) {
            return Some(EntryRefusal::ReservedName(name.to_owned()));
        }
        // chown(1) takes A.B for the user A.B where there is one, else for user A and group B.
        let mut owners = name.match_indices('.').filter_map(|(dot, _)| name.get(..dot));
        let owner = owners.find(|owner| self.is_of_the_host(owner))?;
        Some(EntryRefusal::OwnerAndGroup(name.to_owned(), owner.to_owned()))
    }

    fn is_of_the_host(&self, name: &str) -> bool {
        self.local.user(name).is_some()
            || self.local.group(name).is_some()
            || self.local.services.wanting(name).is_some()
            || reserved_names::is_reserved(name)
            || reserved_names::is_known_software(name)
            || self.config.reserved_names.contains(name)
    }

    /// A line of /etc/group that would make a member of anybody who comes by this name.
    fn member_line(&self, name: &str) -> Option<EntryRefusal> {
        let (group, line) = self.local.membership(name)?;
        Some(EntryRefusal::LocalMember {
            name: name.to_owned(),
            group: group.to_owned(),
            line,
        })
    }
}

/// What passes by its own name.
struct Judged<T> {
    is: T,
    /// What a newcomer of this name would be refused for.
    despite: Option<EntryRefusal>,
}

impl AcceptedNames {
    /// Names that a user has and an IAM group would have. A line for that group (%dba in sudoers, `AllowGroups`) is not
    /// for the user's private group.
    pub fn wanted_by_groups(&self) -> BTreeSet<&str> {
        let of_group = self.refused.iter().filter(|entry| entry.kind == Kind::Group);
        of_group
            .filter_map(|entry| match &entry.reason {
                EntryRefusal::SameName {
                    name,
                    other_kind: Kind::User,
                    ..
                } => Some(name.as_str()),
                _ => None,
            })
            .collect()
    }

    /// Those who pass by their own name; the others are refused or left out.
    fn candidates<'a, T>(
        &mut self,
        kind: Kind,
        entities: &[InIam<'a>],
        judge: impl Fn(&InIam<'_>) -> Result<Judged<T>, NotAccepted>,
    ) -> Vec<(InIam<'a>, T)> {
        let mut candidates = Vec::new();
        for entity in entities {
            match judge(entity) {
                Ok(Judged { is, despite }) => {
                    self.kept
                        .extend(despite.map(|reason| RefusedEntry::of(kind, entity, reason)));
                    candidates.push((*entity, is));
                }
                Err(NotAccepted::NotOurs) => {}
                Err(NotAccepted::Refused(reason)) => self.refuse(kind, entity, reason),
            }
        }
        candidates
    }

    fn refuse(&mut self, kind: Kind, entity: &InIam<'_>, reason: EntryRefusal) {
        self.kept.retain(|kept| kept.iam_id != entity.id);
        self.refused.push(RefusedEntry::of(kind, entity, reason));
    }
}

impl RefusedEntry {
    fn of(kind: Kind, entity: &InIam<'_>, reason: EntryRefusal) -> Self {
        Self {
            kind,
            iam_id: entity.id.to_owned(),
            iam_name: entity.name.to_owned(),
            reason,
        }
    }
}

/// Who of those that would have a Unix name gets it: users and groups in one space, since a user's private group has
/// the user's name.
#[derive(Default)]
struct Claims<'a>(BTreeMap<GroupName, Claim<'a>>);

/// The best claim to a name: the least. A newcomer, whose `CreateDate` AWS sets, so takes no name from anybody.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Claim<'a> {
    rank: Rank,
    created: u64,
    id: &'a str,
    name: &'a str,
    kind: Kind,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    /// A user who was published under the name last.
    UserHasIt,
    /// A group that was.
    GroupHasIt,
    /// A user who had the name here before another: it is theirs until it is released (P2).
    UserHadIt,
    /// A group that had.
    GroupHadIt,
    /// Of newcomers the one who was made earlier comes first, then the smaller id, on every host.
    Newcomer,
}

impl<'a> Claims<'a> {
    fn add(&mut self, rules: &NameRules<'_>, name: GroupName, kind: Kind, entity: &InIam<'a>) {
        let rank = match kind {
            _ if !rules.was_here(kind, name, entity) => Rank::Newcomer,
            Kind::User if rules.kept(kind, name, entity) => Rank::UserHasIt,
            Kind::Group if rules.kept(kind, name, entity) => Rank::GroupHasIt,
            Kind::User => Rank::UserHadIt,
            Kind::Group => Rank::GroupHadIt,
        };
        let claim = Claim {
            rank,
            created: entity.created,
            id: entity.id,
            name: entity.name,
            kind,
        };
        match self.0.get_mut(&name) {
            Some(best) if *best <= claim => {}
            Some(best) => *best = claim,
            None => drop(self.0.insert(name, claim)),
        }
    }

    /// Who has the name instead.
    fn rival(&self, name: GroupName, entity: &InIam<'_>) -> Option<EntryRefusal> {
        let best = self.0.get(&name).filter(|best| best.id != entity.id)?;
        Some(EntryRefusal::SameName {
            name: name.to_string(),
            other_kind: best.kind,
            other: best.name.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests;
