//! Whose running processes end, where `end_sessions` says so: those of anybody who has lost their access. Called by
//! `composition`; end-sessions does it.
//!
//! Only what IAM has said ends anything: nobody about whom it has not answered (P3), and nobody who has no entry for
//! what somebody else has, or for what this host's settings choose now and did not before.

use std::collections::BTreeSet;

use keymaker_core::directory_file::Verdict;
use keymaker_core::id::Uid;

use super::entitled::{Entitlements, Known};
use super::ids::{Choice, IdMap};
use super::neighbours::NameOrId;
use super::refused::{EntryRefusal, Kind};
use crate::config::{EndSessions, OfWhom};
use crate::directory::facts::UserFacts;

/// Who is to go, as things stand.
pub struct Ending<'a> {
    known: &'a Known<'a>,
    choice: Choice,
    /// `UserIds` of those who have no name here for what others have.
    without_name: BTreeSet<&'a str>,
}

impl<'a> Ending<'a> {
    /// By what IAM says and what this host chooses now.
    pub fn of(known: &'a Known<'a>, entitled: &'a Entitlements) -> Self {
        let without_name = entitled.names.refused.iter().filter(|entry| {
            // Nobody can tell yet whether they get one.
            entry.kind == Kind::User && !matches!(entry.reason, EntryRefusal::NotYetAsked { .. })
        });
        Self {
            known,
            choice: choice(known),
            without_name: without_name.map(|entry| entry.iam_id.as_str()).collect(),
        }
    }

    /// What chooses now.
    pub fn choice(&self) -> &Choice {
        &self.choice
    }

    /// Whether a user goes who has an entry and this verdict.
    pub fn of_entry(&self, user: &UserFacts, verdict: Verdict) -> bool {
        match verdict {
            Verdict::NotInRequiredGroup => user.groups_told,
            Verdict::Expired => true,
            Verdict::NameHeldByAnother => self.is_of_all(),
            // One answer, which a pass has to confirm, says that the user is deleted.
            Verdict::Allowed | Verdict::Deleted | Verdict::NoEntry => false,
        }
    }

    /// Whether a user goes who had this number here and has no entry with it.
    pub fn of_number(&self, ids: &IdMap, user_id: &str, uid: Uid) -> bool {
        let Known {
            facts,
            local,
            neighbours,
            ..
        } = *self.known;
        if local.owns_id(uid.get()) || neighbours.ever_had(&NameOrId::Id(uid.get())) {
            return false;
        }
        match facts.users.get(user_id) {
            None => !ids.is_of_another_account(user_id, &self.choice),
            Some(user) if user.doubted_since.is_some() => false,
            Some(user) => {
                let is_out = self.known.is_out(ids, user_id, user);
                is_out && ids.was_chosen(user_id, &self.choice)
                    || self.is_of_all() && (is_out || self.without_name.contains(user_id))
            }
        }
    }

    fn is_of_all(&self) -> bool {
        self.known.config.end_sessions == EndSessions::EndsAlso(OfWhom::All)
    }
}

/// A group counts by its name only under `only_group_members`.
fn choice(known: &Known<'_>) -> Choice {
    let Known {
        config,
        settings,
        facts,
        ..
    } = known;
    let groups = (
        &settings.group_prefix,
        &settings.require_iam_group,
        &config.sudo_iam_group,
    );
    let settings = (
        &settings.user_suffix,
        config.lowercase_names,
        &config.user_path_prefix,
        config.only_group_members.then_some(groups),
    );
    Choice::by(facts.account.as_deref().unwrap_or_default(), &format!("{settings:?}"))
}
