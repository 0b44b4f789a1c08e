//! Whom a listing lacks, and how IAM is asked about them: in turn, for as long as its answers confirm the listing.
//! Called by passes; a user goes only when IAM says so about that user (P3).

use std::collections::BTreeMap;

use futures_util::future::join_all;
use keymaker_aws::AwsCallError;
use tracing::warn;

use super::by_name::Deadlines;
use crate::directory::facts::{Listing, Memberships, Sighting, UserFacts};
use crate::directory::iam::{Iam, IamUser};
use crate::directory::service::Service;
use crate::directory::state::State;

/// So many users are asked about at once, in a pass.
pub(super) const AT_ONCE: usize = 10;
/// So many of them who are there all the same: such a listing is not believed, and about the rest nobody is asked in
/// this pass.
const MOST_CONTRADICTIONS: usize = 50;
/// A pass asks no longer than this about whom a listing lacks, or for tags; the rest come first in the next one.
pub(super) const LOOKING: std::time::Duration = std::time::Duration::from_secs(60);

impl<I: Iam + 'static> Service<I> {
    /// `GetUser` for each user whom the listing did not show.
    pub(super) async fn look_for(&self, people: &I, missing: Vec<(String, String)>) -> Vec<(String, Sighting)> {
        let ask = async |_: &str, name: &str| {
            let asked_at = self.clock.answer_time();
            let found = match people.user(name).await {
                Ok(user) => Some(user),
                Err(AwsCallError::NoSuchEntity { .. }) => None,
                Err(error) => return Err(error),
            };
            Ok(Some(Sighting { asked_at, found }))
        };
        let contradicts = |id: &str, sighting: &Sighting| sighting.found.as_ref().is_some_and(|user| user.id == id);
        self.ask_in_turn(missing, ask, contradicts).await
    }

    /// Asks about each user whom a listing lacks: (`UserId`, IAM name). Anybody who deletes many users, or empties a
    /// group, delays nobody else's refusal by it, so all are asked about, for as long as IAM answers and confirms the
    /// listing. About the rest nothing changes, and their facts grow old.
    async fn ask_in_turn<T>(
        &self,
        missing: Vec<(String, String)>,
        ask: impl AsyncFn(&str, &str) -> Result<Option<T>, AwsCallError>,
        contradicts: impl Fn(&str, &T) -> bool,
    ) -> Vec<(String, T)> {
        let until = self.clock.instant() + LOOKING;
        let missing = self.state().in_turn(missing);
        let (mut answers, mut contradictions, mut asked) = (Vec::new(), 0, 0);
        for some in missing.chunks(AT_ONCE) {
            if contradictions >= MOST_CONTRADICTIONS || self.clock.instant() >= until {
                break;
            }
            let asking = some.iter().map(|(id, name)| ask(id, name));
            let mut silent = false;
            for ((id, _), answer) in some.iter().zip(join_all(asking).await) {
                asked += 1;
                match answer {
                    Ok(Some(answer)) => {
                        contradictions += usize::from(contradicts(id, &answer));
                        answers.push((id.clone(), answer));
                    }
                    Ok(None) => {}
                    Err(error) => silent |= !error.is_about_this_request(),
                }
            }
            if silent {
                break;
            }
        }
        if asked < missing.len() {
            warn!(
                missing = missing.len(),
                asked,
                contradictions,
                "a listing lacks many users; those who were not asked about stay until the next pass"
            );
        }
        answers
    }

    /// `ListGroupsForUser` for each user whom a group no longer lists.
    pub(super) async fn confirm_memberships(
        &self,
        people: &I,
        listing: &Listing,
    ) -> BTreeMap<String, Option<Memberships>> {
        let missing = self.state().facts.members_missing_from(&listing.members);
        let present_names: BTreeMap<&str, &str> = listing
            .users
            .iter()
            .map(|user| (user.id.as_str(), user.name.as_str()))
            .collect();
        let mut confirmed: BTreeMap<String, Option<Memberships>> =
            missing.iter().map(|(id, _)| (id.clone(), None)).collect();
        let ask = async |id: &str, former_name: &str| {
            let name = present_names.get(id).copied().unwrap_or(former_name);
            self.memberships_of(people, id, name).await
        };
        let members = |group: &String| listing.members.get(group);
        let contradicts = |id: &str, memberships: &Memberships| {
            let left = |group| members(group).is_some_and(|members| !members.users.contains(id));
            memberships.groups.iter().any(left)
        };
        for (id, mut memberships) in self.ask_in_turn(missing, ask, contradicts).await {
            // Asked about groups that the user may have left; whom they entered say the groups.
            let state = self.state();
            let had = state.facts.users.get(&id).map(|user| &user.groups);
            memberships.groups.retain(|group| {
                members(group).is_some_and(|members| members.users.contains(&id))
                    || had.is_some_and(|had| had.contains(group))
            });
            confirmed.insert(id, Some(memberships));
        }
        confirmed
    }

    /// `None`: the name moved meanwhile.
    async fn memberships_of(&self, people: &I, user_id: &str, name: &str) -> Result<Option<Memberships>, AwsCallError> {
        let mut failed = None;
        let ask = async |_: &IamUser| match people.groups_for_user(name).await {
            Ok(groups) => Some(groups),
            Err(error) => {
                failed = Some(error);
                None
            }
        };
        let about = self.about(people, name, Deadlines::NONE, ask, async |_, _| ()).await?;
        if let Some(error) = failed {
            return Err(error);
        }
        let about = about.filter(|about| about.user.id == user_id);
        Ok(about.map(|about| Memberships {
            asked_at: about.asked_at,
            groups: about.answer.into_iter().map(|group| group.id).collect(),
        }))
    }
}

impl State {
    /// Whom IAM is asked about first: who is not refused yet, has been here, and was in a group; then those not heard
    /// of for longest.
    fn in_turn(&self, mut missing: Vec<(String, String)>) -> Vec<(String, String)> {
        missing.sort_by_cached_key(|(id, _)| {
            let user = self.facts.users.get(id);
            let place = |user: &UserFacts| {
                let refused = user.doubted_since.is_some();
                (refused, user.last_login.is_none(), user.groups.is_empty(), user.seen_at)
            };
            user.map(place)
        });
        missing
    }
}
