//! Who may do what by a published directory, and what two of them differ in: the lines about who gained or lost a login,
//! a group, sudo. Called by `publication` after each new directory; the one that an earlier life left is compared too.

use std::collections::{BTreeMap, BTreeSet};

use keymaker_core::audit::{AuditDecision, AuditEvent, AuditField, AuditLine, AuditReason};
use keymaker_core::directory_file::{Directory, MAX_USER_RECORD, Verdict};
use keymaker_core::published_file::reader::ReadError;
use keymaker_core::sudo_rule;

use super::store::{LARGEST_GROUP, Store};
use crate::local_accounts::LocalAccounts;

/// Everybody's rights.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rights {
    users: BTreeMap<String, UserRights>,
    groups: BTreeMap<u32, String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct UserRights {
    name: String,
    uid: u32,
    /// Whether there is an entry; a tombstone stands for a number.
    resolves: bool,
    verdict: Verdict,
    gids: BTreeSet<u32>,
}

impl Rights {
    /// What the directory in this store says; `None` where there is none that can be read.
    pub fn published_in(store: &Store) -> Option<Self> {
        Self::of(&store.whole_directory()?).ok()
    }

    fn of(directory: &Directory) -> Result<Self, ReadError> {
        let mut rights = Self::default();
        let (mut from, mut record) = (0, [0; MAX_USER_RECORD]);
        while let Some((next, user)) = directory.next_user(from, &mut record)? {
            let of_user = UserRights {
                name: user.name.to_string(),
                uid: user.uid.get(),
                resolves: !user.tombstone,
                verdict: user.verdict,
                gids: user.groups().collect(),
            };
            // Of somebody with several numbers the one that resolves.
            if of_user.resolves || !rights.users.contains_key(user.iam_user_id) {
                rights.users.insert(user.iam_user_id.to_owned(), of_user);
            }
            from = next;
        }
        let (mut from, mut record) = (0, vec![0; LARGEST_GROUP]);
        while let Some((next, group)) = directory.next_group(from, &mut record)? {
            rights.groups.insert(group.gid.get(), group.name.to_string());
            from = next;
        }
        Ok(rights)
    }

    /// A line for each right that `now` gives or takes.
    pub fn changes_to(&self, now: &Self, local: &LocalAccounts) -> Vec<AuditLine> {
        let ids: BTreeSet<&String> = self.users.keys().chain(now.users.keys()).collect();
        let mut lines = Vec::new();
        for id in ids {
            let (before, after) = (self.users.get(id), now.users.get(id));
            if before == after {
                continue;
            }
            let Some(user) = after.or(before) else { continue };
            let line = |decision, what: &str| {
                AuditLine::new(AuditEvent::Entitlement, decision)
                    .with(AuditField::User, &user.name)
                    .with(AuditField::Uid, user.uid)
                    .with(AuditField::IamUserId, id)
                    .with(AuditField::What, what)
            };
            let login = |user: Option<&UserRights>| user.is_some_and(UserRights::may_log_in);
            match (login(before), login(after)) {
                (false, true) => lines.push(said(line(AuditDecision::Gained, "login"))),
                (true, false) => {
                    let reason = after.map_or(AuditReason::Deleted, UserRights::why_not);
                    lines.push(said(
                        line(AuditDecision::Lost, "login").with(AuditField::Reason, reason),
                    ));
                }
                _ => {}
            }
            let none = BTreeSet::new();
            let gids = |user: Option<&'_ UserRights>| user.map_or(&none, |user| &user.gids).clone();
            let (before, after) = (gids(before), gids(after));
            let changes = [
                (AuditDecision::Gained, &after, &before),
                (AuditDecision::Lost, &before, &after),
            ];
            for (decision, have, lack) in changes {
                for gid in have.difference(lack) {
                    let group = self.group_name(now, *gid, local);
                    let what = if sudo_rule::GROUPS.contains(&&*group) {
                        "sudo"
                    } else {
                        "group"
                    };
                    lines.push(said(line(decision, what).with(AuditField::Group, group)));
                }
            }
        }
        lines
    }

    /// What the group is called, now or before; its number where nobody knows.
    fn group_name(&self, now: &Self, gid: u32, local: &LocalAccounts) -> String {
        let ours = now.groups.get(&gid).or_else(|| self.groups.get(&gid));
        let name = ours.map(String::as_str).or_else(|| local.group_of_gid(gid));
        name.map_or_else(|| gid.to_string(), str::to_owned)
    }
}

impl UserRights {
    fn may_log_in(&self) -> bool {
        self.resolves && self.verdict == Verdict::Allowed
    }

    fn why_not(&self) -> AuditReason {
        why_not(self.verdict)
    }
}

/// Why somebody does not log in; whoever IAM allows and who is gone all the same was deleted.
pub fn why_not(verdict: Verdict) -> AuditReason {
    match verdict {
        Verdict::NotInRequiredGroup => AuditReason::NotInRequiredGroup,
        Verdict::NameHeldByAnother => AuditReason::NameHeldByAnother,
        Verdict::Expired => AuditReason::Expired,
        Verdict::NoEntry => AuditReason::NoEntry,
        Verdict::Deleted | Verdict::Allowed => AuditReason::Deleted,
    }
}

/// The same with its sentence.
fn said(line: AuditLine) -> AuditLine {
    let told = |field| line.told(field).unwrap_or_default();
    let what = match line.told(AuditField::Group) {
        Some(group) => format!("the group {group}"),
        None => "the right to log in".to_owned(),
    };
    let why = match line.told(AuditField::Reason).and_then(AuditReason::of) {
        Some(reason) => format!(": {}", reason.meaning()),
        None => String::new(),
    };
    let message = format!("{} {} {what}{why}", told(AuditField::User), line.decision);
    line.saying("keymakerd", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(verdict: Verdict, gids: &[u32]) -> UserRights {
        UserRights {
            name: "bob".to_owned(),
            uid: 7,
            resolves: true,
            verdict,
            gids: gids.iter().copied().collect(),
        }
    }

    fn rights(bob: Option<UserRights>) -> Rights {
        Rights {
            users: bob.map(|bob| ("AIDABOB".to_owned(), bob)).into_iter().collect(),
            groups: [(5000, "devs".to_owned())].into(),
        }
    }

    fn changes(before: Option<UserRights>, after: Option<UserRights>) -> Vec<String> {
        let local = LocalAccounts::parse("", "sudo:x:27:\n", "");
        let lines = rights(before).changes_to(&rights(after), &local);
        let told = |line: &AuditLine, field| line.told(field).unwrap_or("-").to_owned();
        let lines = lines.iter().map(|line| {
            assert_eq!(
                (told(line, AuditField::User), told(line, AuditField::Uid)),
                ("bob".into(), "7".into())
            );
            assert_eq!(told(line, AuditField::IamUserId), "AIDABOB");
            let [what, group, reason] =
                [AuditField::What, AuditField::Group, AuditField::Reason].map(|field| told(line, field));
            format!("{} {what} {group} {reason}", line.decision)
        });
        lines.collect()
    }

    #[test]
    fn each_right_that_somebody_gains_or_loses_is_a_line() {
        let allowed = |gids: &[u32]| Some(user(Verdict::Allowed, gids));
        let refused = |verdict| Some(user(verdict, &[]));
        assert_eq!(
            changes(None, allowed(&[5000])),
            ["gained login - -", "gained group devs -"]
        );
        assert_eq!(changes(allowed(&[5000]), allowed(&[5000])), [""; 0]);
        assert_eq!(
            changes(allowed(&[5000]), allowed(&[27])),
            ["gained sudo sudo -", "lost group devs -"]
        );
        assert_eq!(
            changes(allowed(&[27]), refused(Verdict::NotInRequiredGroup)),
            ["lost login - not_in_required_group", "lost sudo sudo -"]
        );
        assert_eq!(changes(refused(Verdict::Expired), refused(Verdict::Expired)), [""; 0]);
        assert_eq!(changes(refused(Verdict::Expired), allowed(&[])), ["gained login - -"]);
        assert_eq!(changes(allowed(&[9]), None), ["lost login - deleted", "lost group 9 -"]);
        let gone = UserRights {
            resolves: false,
            ..user(Verdict::Deleted, &[])
        };
        assert_eq!(changes(allowed(&[]), Some(gone)), ["lost login - deleted"]);
    }
}
