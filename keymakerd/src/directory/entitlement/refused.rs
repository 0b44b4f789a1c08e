//! Why an IAM user or group gets no entry on this host, as sentences. Made by `names` and `ids`, shown by
//! `keymaker status` and `keymaker why`. A refused entry does not resolve, has no keys and no id; it never changes what
//! anybody else has.

use std::fmt;

use keymaker_core::directory_file::RecordError;
use keymaker_core::id::IdRange;
use keymaker_core::name::{NameError, UserName};

/// A refused IAM user or group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedEntry {
    /// Whether this is a user or a group.
    pub kind: Kind,
    /// IAM's `UserId` or `GroupId`.
    pub iam_id: String,
    /// The full name in IAM.
    pub iam_name: String,
    /// Why.
    pub reason: EntryRefusal,
}

/// What an IAM id stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A user: `AIDA…`.
    User,
    /// A group: `AGPA…`.
    Group,
}

/// Why an entry is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntryRefusal {
    /// "'Alice' is not a Unix name: …" The name without suffix or prefix.
    IllegalName(String, NameError),
    /// "'postgres' is reserved for the system."
    ReservedName(String),
    /// "'ubuntu' is a user of this host (/etc/passwd)."
    LocalUser(String),
    /// "'www' is a group of this host (/etc/group)"; `local_groups` in the file can let it give membership.
    LocalGroup(String),
    /// Likewise, under an empty prefix that does not stand beside `local_groups` in the file.
    LocalGroupWithoutPrefix(String),
    /// "'root' is the group of gid 0, which nobody gets."
    RootGroup(String),
    /// "'acmed' is a name that acmed.service wants."
    ServiceName(String, String),
    /// "'root.root' means user root and group root to chown(1)." The whole name, and the part that this host has.
    OwnerAndGroup(String, String),
    /// "'first.last' has a dot, and `dotted_names` = false."
    DottedName(String),
    /// "/etc/group names puppet as a member, and /etc/passwd has no puppet."
    LocalMember {
        /// The member.
        name: String,
        /// The group.
        group: String,
        /// The line of /etc/group, from 1.
        line: usize,
    },
    /// "'devs' is already the Unix name of …; rename one of the two in IAM." Only the one who came later is refused.
    SameName {
        /// The Unix name that both would have.
        name: String,
        /// Who has it.
        other_kind: Kind,
        /// Its full IAM name.
        other: String,
    },
    /// "the name dba was that of an IAM group on this host, …": a user is none, and the other way round.
    HadByOtherKind {
        /// The Unix name.
        name: String,
        /// What had it.
        kind: Kind,
    },
    /// "the id … belongs to a user or group of this host."
    LocalId(u32),
    /// "the id … is reserved for the system."
    ReservedId(u32),
    /// "the id … belongs to …, who was made earlier or had it here first."
    IdOwned {
        /// The id.
        id: u32,
        /// The IAM id of the owner.
        owner: String,
    },
    /// "the id … is wanted by two: …" The later one has it here, the earlier one owns it elsewhere; neither gets in.
    IdDisputed {
        /// The id.
        id: u32,
        /// The IAM id of the other one.
        other: String,
    },
    /// "alice is also in sss, …"; or was once, and stays its own.
    OtherService {
        /// The name, or "the id …".
        what: String,
        /// The service, as nsswitch.conf names it.
        service: String,
        /// Whether it has it still.
        present: bool,
    },
    /// "whether alice is also in another service of this host is not known yet."
    NotYetAsked {
        /// The name, or "the id …".
        what: String,
        /// What keeps it from being known, where a service could not tell.
        why: Option<String>,
    },
    /// "the tag uid says '…', which is not a number."
    UnreadableTagUid(String),
    /// "the tag uid says …, outside `tag_uid_range`."
    TagUidOutside(u32, IdRange),
    /// "the entry does not fit the directory: …"
    DoesNotFit(RecordError),
}

impl Kind {
    /// Its name in the metrics.
    pub fn word(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Group => "group",
        }
    }
}

impl EntryRefusal {
    /// Its name in the metrics.
    pub fn word(&self) -> &'static str {
        match self {
            Self::IllegalName(..) => "illegal_name",
            Self::ReservedName(..) => "reserved_name",
            Self::LocalUser(..) => "local_user",
            Self::LocalGroup(..) => "local_group",
            Self::LocalGroupWithoutPrefix(..) => "local_group_without_prefix",
            Self::RootGroup(..) => "root_group",
            Self::ServiceName(..) => "service_name",
            Self::OwnerAndGroup(..) => "owner_and_group",
            Self::DottedName(..) => "dotted_name",
            Self::LocalMember { .. } => "local_member",
            Self::SameName { .. } => "same_name",
            Self::HadByOtherKind { .. } => "had_by_other_kind",
            Self::LocalId(..) => "local_id",
            Self::ReservedId(..) => "reserved_id",
            Self::IdOwned { .. } => "id_owned",
            Self::IdDisputed { .. } => "id_disputed",
            Self::OtherService { .. } => "other_service",
            Self::NotYetAsked { .. } => "not_yet_asked",
            Self::UnreadableTagUid(..) => "unreadable_tag_uid",
            Self::TagUidOutside(..) => "tag_uid_outside",
            Self::DoesNotFit(..) => "does_not_fit",
        }
    }
}

impl RefusedEntry {
    /// What to do about it.
    pub fn remedy(&self) -> String {
        let kind = self.kind;
        match &self.reason {
            EntryRefusal::OtherService {
                present: true, service, ..
            } => {
                format!(
                    "give the IAM {kind} another name, or another id (tag uid, or group_ids), if the account in {service} is somebody else's"
                )
            }
            EntryRefusal::OtherService {
                present: false,
                service,
                ..
            } => format!(
                "keymaker release NAME, if the account in {service} is gone for good and nothing on this host still \
                belongs to it"
            ),
            EntryRefusal::HadByOtherKind { name, kind: had } => format!(
                "keymaker release {name}, if nothing on this host (sudoers, sshd_config, files) still refers to the \
                former {had}; else rename the IAM {kind}"
            ),
            EntryRefusal::NotYetAsked { why: Some(_), .. } => {
                "repair that service, or remove it from /etc/nsswitch.conf; then: keymaker sync".to_owned()
            }
            EntryRefusal::NotYetAsked { why: None, .. } => "keymaker sync".to_owned(),
            EntryRefusal::IdOwned { .. } => format!(
                "delete the IAM {kind} and create it again, or give it another id (tag uid, or group_ids); if many \
                 are refused for this reason, set a wider id_range in keymakerd.toml: everybody who has an id here \
                 keeps it"
            ),
            EntryRefusal::LocalMember { name, group, .. } => {
                format!(
                    "if the line means this person: gpasswd -d {name} {group}; keymaker sync; gpasswd -a {name} {group}"
                )
            }
            EntryRefusal::IllegalName(name, _) => {
                let settings = settings_for(kind, name);
                match settings.as_slice() {
                    [] => format!("rename the IAM {kind}, then: keymaker sync"),
                    _ => format!(
                        "set {} in /etc/keymaker/keymakerd.toml, then: systemctl reload keymakerd; or rename the IAM {kind}",
                        settings.join(" and ")
                    ),
                }
            }
            _ => format!("rename the IAM {kind}, or the one that has the name here, then: keymaker sync"),
        }
    }
}

/// The settings by which a name in IAM, such as Alice@example.com, would be a Unix name; none where nothing does it but
/// another name.
fn settings_for(kind: Kind, name: &str) -> Vec<String> {
    let (login, suffix) = match kind {
        Kind::User => name.split_at(name.find('@').unwrap_or(name.len())),
        Kind::Group => (name, ""),
    };
    let small = login.to_ascii_lowercase();
    if UserName::parse(small.as_bytes()).is_err() {
        return Vec::new();
    }
    let suffix = (!suffix.is_empty())
        .then(|| format!("linux_user_suffix = \"{suffix}\" (users whose names do not end so then have no entry here)"));
    let small = (small != login).then(|| "lowercase_names = true".to_owned());
    suffix.into_iter().chain(small).collect()
}

impl fmt::Display for RefusedEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IAM {} {:?} is refused: {}", self.kind, self.iam_name, self.reason)
    }
}

impl Kind {
    /// A group, of a user.
    pub fn other(self) -> Self {
        match self {
            Self::User => Self::Group,
            Self::Group => Self::User,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::User => "user",
            Self::Group => "group",
        })
    }
}

impl fmt::Display for EntryRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::IllegalName(name, why) => write!(f, "{name:?} cannot be a Unix name: {why}"),
            Self::ReservedName(name) => write!(f, "{name} is a name that the system reserves"),
            Self::ServiceName(name, source) => {
                write!(f, "{name} is a name that a service of this host wants ({source})")
            }
            Self::OwnerAndGroup(name, owner) => write!(
                f,
                "chown and others read {name} as user {owner} with a group, and this host has {owner}"
            ),
            Self::DottedName(name) => write!(f, "{name} has a dot, and keymakerd.toml says dotted_names = false"),
            Self::LocalMember { name, group, line } => write!(
                f,
                "line {line} of /etc/group makes {name} a member of {group}, and /etc/passwd has no {name}"
            ),
            Self::LocalUser(name) => write!(f, "{name} is a user in this host's /etc/passwd"),
            Self::LocalGroup(name) => write!(
                f,
                "{name} is a group in this host's /etc/group; membership of it is given only where local_groups names it"
            ),
            Self::LocalGroupWithoutPrefix(name) => write!(
                f,
                "{name} is a group in this host's /etc/group; where linux_group_prefix is empty, membership of it is given only \
                if linux_group_prefix and local_groups both stand in keymakerd.toml"
            ),
            Self::RootGroup(name) => write!(f, "{name} is the group with gid 0, which nobody from IAM gets"),
            Self::SameName {
                name,
                other_kind,
                other,
            } => write!(
                f,
                "the name {name} belongs to the IAM {other_kind} {other:?}, which had it here first or was created \
                earlier; rename one of the two in IAM"
            ),
            Self::HadByOtherKind { name, kind } => write!(
                f,
                "the name {name} belonged to an IAM {kind} on this host, and stays reserved for it until root \
                releases it"
            ),
            Self::LocalId(id) => write!(f, "the id {id} belongs to a user or group of this host"),
            Self::ReservedId(id) => write!(f, "the id {id} is reserved for the system"),
            Self::IdOwned { id, owner } => write!(
                f,
                "the id {id} belongs to {owner}; delete this one in IAM and create it again, or give it another id \
                (tag uid, or group_ids)"
            ),
            Self::IdDisputed { id, other } => write!(
                f,
                "the id {id} is claimed by {other} too, and the one that was here first is not the one that was \
                 created first, so both are refused; give the one that was created first another id (tag uid, or \
                 group_ids)"
            ),
            Self::OtherService {
                what,
                service,
                present: true,
            } => write!(
                f,
                "{what} is also in {service}, another service of this host, and what is there wins"
            ),
            Self::OtherService {
                what,
                service,
                present: false,
            } => write!(
                f,
                "{what} was in {service}, another service of this host, and stays reserved for it until root releases \
                it"
            ),
            Self::NotYetAsked { what, why } => {
                let why = why.as_deref().unwrap_or("it is being asked");
                write!(
                    f,
                    "whether {what} is also in another service of this host is not known yet: {why}"
                )
            }
            Self::UnreadableTagUid(value) => write!(f, "its tag uid says {value:?}, which is not a number"),
            Self::TagUidOutside(uid, range) => write!(
                f,
                "its tag uid says {uid}, outside tag_uid_range = [{}, {}]",
                range.first, range.last
            ),
            Self::DoesNotFit(why) => write!(f, "the entry does not fit the directory: {why}; change that in IAM"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remedy(kind: Kind, name: &str) -> String {
        let entry = RefusedEntry {
            kind,
            iam_id: String::new(),
            iam_name: name.to_owned(),
            reason: EntryRefusal::IllegalName(name.to_owned(), NameError::BadCharacter),
        };
        entry.remedy()
    }

    #[test]
    fn a_name_that_a_setting_makes_a_unix_name_is_not_to_be_changed() {
        let (suffix, small) = ("linux_user_suffix = \"@example.com\"", "lowercase_names = true");
        for (name, settings) in [
            ("alice@example.com", vec![suffix]),
            ("Alice", vec![small]),
            ("Alice@example.com", vec![suffix, small]),
            ("2001", vec![]),
            ("al ice@example.com", vec![]),
            ("müller", vec![]),
        ] {
            let said = remedy(Kind::User, name);
            for setting in [suffix, small] {
                assert_eq!(said.contains(setting), settings.contains(&setting), "{said}");
            }
            assert_eq!(said.starts_with("rename"), settings.is_empty(), "{said}");
        }
        assert!(remedy(Kind::Group, "Devs").starts_with("set lowercase_names = true in "));
        assert!(remedy(Kind::Group, "devs@example.com").starts_with("rename the IAM group"));
    }
}
