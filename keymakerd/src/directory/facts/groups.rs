//! Groups and who is in them: what IAM last said, and what a new answer changes. A membership is kept with the user.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::order::{Asked, Turn};
use super::{Facts, Listing, UserFacts};
use crate::directory::iam::IamGroup;

/// AWS's time is known to two seconds here, and IAM tells a `CreateDate` in whole ones.
const CREATED_SINCE: u64 = 2;

/// One IAM group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupFacts {
    /// The full IAM group name.
    pub name: String,
    /// `CreateDate`, unix time.
    pub created: u64,
    /// When IAM last said that it is there and under which name, as [`UserFacts::answered_at`].
    #[serde(default)]
    pub answered_at: u64,
    /// When IAM last told all its members, likewise.
    #[serde(default)]
    pub members_at: u64,
    /// When IAM was asked that first told this name of a group known under another, or under two at once, unix time;
    /// else 0.
    #[serde(default)]
    named_at: u64,
    /// Whether IAM gave this group two names, or its name to another one, so that it means nothing until IAM has said
    /// more.
    #[serde(default)]
    pub disputed: bool,
}

/// What `GetGroup` said.
pub struct Members {
    /// When it was asked, unix time.
    pub asked_at: u64,
    /// The group as this answer names it.
    pub group: IamGroup,
    /// `UserIds`.
    pub users: BTreeSet<String>,
}

/// What `ListGroupsForUser` said.
pub struct Memberships {
    /// When it was asked, unix time.
    pub asked_at: u64,
    /// `GroupIds`.
    pub groups: BTreeSet<String>,
}

impl Facts {
    /// Whether the user is in the group that has this full IAM name now.
    pub fn is_member(&self, user: &UserFacts, group_name: &str) -> bool {
        self.groups_of(user).any(|group| group.name == group_name)
    }

    /// The user's groups, without those whose names are disputed.
    pub fn groups_of<'a>(&'a self, user: &'a UserFacts) -> impl Iterator<Item = &'a GroupFacts> {
        let groups = user.groups.iter().filter_map(|id| self.groups.get(id));
        groups.filter(|group| group.counts_for(user))
    }

    /// Whether the user has what the group of this `GroupId` gives.
    pub fn is_in(&self, user: &UserFacts, group_id: &str) -> bool {
        let group = self.groups.get(group_id);
        user.groups.contains(group_id) && group.is_some_and(|group| group.counts_for(user))
    }

    /// The groups known but not in the listing, which may be gone, or the listing cut short.
    pub fn groups_missing_from(&self, listed: &[IamGroup]) -> Vec<IamGroup> {
        let listed: BTreeSet<&str> = listed.iter().map(|group| group.id.as_str()).collect();
        let missing = self.groups.iter().filter(|(id, _)| !listed.contains(id.as_str()));
        let as_known = |(id, group): (&String, &GroupFacts)| IamGroup {
            id: id.clone(),
            name: group.name.clone(),
            path: String::new(),
            created: group.created,
        };
        missing.map(as_known).collect()
    }

    /// Who was in one of these groups and is not among its members: (`UserId`, IAM name as last known).
    pub fn members_missing_from(&self, members: &BTreeMap<String, Members>) -> Vec<(String, String)> {
        let missing = |(id, user): &(&String, &UserFacts)| {
            let left = |group| members.get(group).is_some_and(|members| !members.users.contains(*id));
            user.groups.iter().any(left)
        };
        let users = self.users.iter().filter(missing);
        users.map(|(id, user)| (id.clone(), user.name.clone())).collect()
    }

    /// Existence and name of a group. Returns whether anything but the time of the answer is new.
    pub(super) fn learn_group(&mut self, group: &IamGroup, asked: Asked) -> bool {
        let known = self.groups.get(&group.id);
        let before = known.map(|known| (known.name.clone(), known.disputed));
        let mut disputed = false;
        match known.map(|known| (asked.turn(known.answered_at), known.name == group.name)) {
            Some((Turn::Earlier, _)) => return false,
            Some((Turn::Together, same)) => disputed = !same || known.is_some_and(|known| known.disputed),
            Some((Turn::Later, _)) | None => {}
        }
        let mut changed = false;
        for (_, rival) in self
            .groups
            .iter_mut()
            .filter(|(id, rival)| **id != group.id && rival.name == group.name)
        {
            match (asked.turn(rival.answered_at), rival.disputed) {
                (Turn::Together, true) => {}
                (Turn::Earlier, _) => disputed = true,
                (turn, _) => {
                    disputed |= turn == Turn::Together;
                    changed |= !rival.disputed;
                    rival.disputed = true;
                    rival.answered_at = asked.or_later(rival.answered_at);
                }
            }
        }
        let facts = self
            .groups
            .entry(group.id.clone())
            .or_insert_with(|| GroupFacts::new(group));
        // Nobody could tell which of two names counted for whom.
        let was_disputed = before.as_ref().is_some_and(|(_, was)| *was);
        let renamed = facts.name != group.name || was_disputed && !disputed;
        facts.named_at = if renamed {
            asked.at()
        } else {
            facts.named_at.min(asked.at())
        };
        facts.name.clone_from(&group.name);
        facts.created = group.created;
        facts.disputed = disputed;
        // A dispute is over five seconds after it began.
        if !disputed || !was_disputed {
            facts.answered_at = asked.or_later(facts.answered_at);
        }
        if renamed {
            self.forget_members(&group.id);
        }
        changed | (before != Some((group.name.clone(), disputed)))
    }

    /// Who was in a group before it had its name was never in one of that name, and may have left.
    fn forget_members(&mut self, group_id: &str) {
        for user in self.users.values_mut() {
            user.ask_again |= user.groups.remove(group_id);
            user.withheld.remove(group_id);
        }
    }

    pub(super) fn forget_groups_missing_from(&mut self, listing: &Listing, began: Asked) {
        let listed: BTreeSet<&str> = listing.groups.iter().map(|group| group.id.as_str()).collect();
        self.groups
            .retain(|id, group| listed.contains(id.as_str()) || began.turn(group.answered_at) != Turn::Later);
        let groups = &self.groups;
        for user in self.users.values_mut() {
            user.groups.retain(|id| groups.contains_key(id));
            user.withheld.retain(|id, _| groups.contains_key(id));
        }
    }

    /// All groups of one user, as IAM told them about this `UserId`.
    pub(super) fn learn_memberships(&mut self, user_id: &str, groups: &BTreeSet<String>, asked: Asked) {
        let Some(user) = self.users.get_mut(user_id) else {
            return;
        };
        user.refuse_withheld(|id| !groups.contains(id), asked);
        let differing: Vec<String> = user.groups.symmetric_difference(groups).cloned().collect();
        for id in differing {
            let members_at = self.groups.get(&id).map_or(0, |group| group.members_at);
            // Anybody who was created since then could not be among them: their first login works at once (P6).
            let members_at = if user.answered_at == 0 && user.created + CREATED_SINCE >= members_at {
                0
            } else {
                members_at
            };
            if groups.contains(&id) {
                user.join(id, members_at, asked);
            } else {
                user.leave(&id, members_at, asked);
            }
        }
        user.groups_told = true;
        user.answered_at = asked.or_later(user.answered_at);
    }

    /// All members of one group. Anybody who is no longer among them stays until IAM says so about that user (P3).
    pub(super) fn learn_members(&mut self, members: &Members, asked: Asked) {
        let Some(group) = self.groups.get_mut(&members.group.id) else {
            return;
        };
        for (id, user) in &mut self.users {
            if !members.users.contains(id) {
                user.refuse_withheld(|group| *group == members.group.id, asked);
            } else if !user.groups.contains(&members.group.id) {
                user.join(members.group.id.clone(), group.members_at, asked);
            }
        }
        group.members_at = asked.or_later(group.members_at);
    }
}

impl UserFacts {
    /// An answer has the user in this group, whose members were told before at `members_at`.
    fn join(&mut self, group_id: String, members_at: u64, asked: Asked) {
        let last_told = asked.latest(self.answered_at, members_at);
        let refused_at = self.withheld.get(&group_id).copied().unwrap_or(last_told);
        match asked.turn(refused_at) {
            Turn::Later => {
                self.withheld.remove(&group_id);
                self.groups.insert(group_id);
            }
            Turn::Together => {
                self.withheld.insert(group_id, refused_at);
                self.ask_again = true;
            }
            Turn::Earlier => {}
        }
    }

    /// An answer about the user does not have them in this group of theirs.
    fn leave(&mut self, group_id: &str, members_at: u64, asked: Asked) {
        match asked.turn(asked.latest(self.answered_at, members_at)) {
            Turn::Later => drop(self.groups.remove(group_id)),
            Turn::Together => {
                self.groups.remove(group_id);
                self.ask_again = true;
            }
            Turn::Earlier => {}
        }
    }

    /// An answer does not have the user in these groups either.
    fn refuse_withheld(&mut self, refused: impl Fn(&String) -> bool, asked: Asked) {
        for (_, refused_at) in self.withheld.iter_mut().filter(|(id, _)| refused(id)) {
            *refused_at = asked.or_later(*refused_at);
        }
    }
}

impl GroupFacts {
    fn new(group: &IamGroup) -> Self {
        Self {
            name: group.name.clone(),
            created: group.created,
            answered_at: 0,
            members_at: 0,
            named_at: 0,
            disputed: false,
        }
    }

    /// An answer about the user from before the group had its name says nothing of a group of that name, also where it
    /// arrives later.
    fn counts_for(&self, user: &UserFacts) -> bool {
        !self.disputed && user.answered_at >= self.named_at
    }
}
