//! Who logs in by a name in small letters, where `lowercase_names` turns IAM's capitals into such: somebody new is asked for as typed.
//!
//! Called by nudges. Whom this host knows is known with the capitals; of others only IAM can tell.

use std::rc::Rc;

use keymaker_aws::{Action, AwsCallError};
use keymaker_core::name::UserName;
use tokio::time::Instant;

use super::by_name::within;
use super::limits::NudgeOrigin;
use super::nudge::{LAST_CALL, NudgeWanted};
use crate::directory::facts::UserFacts;
use crate::directory::iam::Iam;
use crate::directory::outcome::DirectoryOutcome;
use crate::directory::service::Service;
use crate::directory::state::Grade;

impl<I: Iam + 'static> Service<I> {
    /// Asks about who logs in as `login`. Whom this host knows, it asks for as IAM calls them; somebody new by the name that was typed,
    /// under `lowercase_names` in small letters: where IAM finds nobody by that, a listing does.
    pub(super) async fn ask_by_login(
        self: &Rc<Self>,
        login: UserName,
        origin: NudgeOrigin,
        wanted: NudgeWanted,
    ) -> DirectoryOutcome {
        let typed = self.state().iam_name(login.as_str());
        let answer = self.ask_joined(&typed, origin, wanted).await;
        if answer != DirectoryOutcome::NoSuchUser || !self.iam_may_miss_by_case().await {
            return answer;
        }
        self.ask_by_listing(login).await;
        let found = self.state().iam_name(login.as_str());
        if found != typed {
            return self.ask_joined(&found, origin, wanted).await;
        }
        let mut state = self.state_mut();
        // A listing that failed says nothing of anybody, and neither does IAM's answer about the small letters alone.
        if state.grade != Grade::Three && state.early_pass.is_some_and(|(_, told)| !told) {
            state.no_such_user.remove(&typed);
            return DirectoryOutcome::CannotTell;
        }
        DirectoryOutcome::NoSuchUser
    }

    /// Whether IAM finds users only by the case of their names, or nobody can tell. (IAM API Reference: "Names are not distinguished by
    /// case", of new users; nothing says so of `GetUser`.) Somebody known with capitals tells, once.
    async fn iam_may_miss_by_case(&self) -> bool {
        let with_capitals = {
            let state = self.state();
            if !state.config.lowercase_names {
                return false;
            }
            if let Some(known) = state.iam_goes_by_case {
                return known;
            }
            let capitals = |user: &&UserFacts| user.name.bytes().any(|byte| byte.is_ascii_uppercase());
            let known = state.facts.users.values().filter(|user| user.doubted_since.is_none());
            known.filter(capitals).map(|user| user.name.to_ascii_lowercase()).next()
        };
        let (Some(small), Some(accounts)) = (with_capitals, self.accounts()) else {
            return true;
        };
        let deadline = Some(Instant::now() + LAST_CALL);
        match within(deadline, Action::GET_USER, accounts.people_nudged.user(&small)).await {
            // Renamed to small letters in the meantime, they would tell nothing.
            Ok(found) if found.name == small => return true,
            Ok(_) => self.state_mut().iam_goes_by_case = Some(false),
            Err(AwsCallError::NoSuchEntity { .. }) => self.state_mut().iam_goes_by_case = Some(true),
            // An outage; the answer about the name stands.
            Err(_) => return false,
        }
        self.state().iam_goes_by_case == Some(true)
    }
}
