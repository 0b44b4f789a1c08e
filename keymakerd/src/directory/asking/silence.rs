//! What is done about calls that get no answer: remembering them, answering at once while they last, and trying them
//! again. The nudges call it, and the daemon's timer; [`super::limits::Outages`] is the memory.

use std::rc::Rc;

use keymaker_aws::{Action, AwsCallError};
use tracing::{info, warn};

use super::limits::NudgeOrigin;
use crate::directory::iam::Iam;
use crate::directory::service::Service;

impl<I: Iam + 'static> Service<I> {
    /// Tries again what does not answer; called by the daemon's timer.
    pub async fn probe(self: &Rc<Self>) {
        let due = self.state_mut().outages.due(self.clock.instant());
        let Some(accounts) = self.accounts() else { return };
        for (action, name) in due {
            let people = &accounts.people_nudged;
            let outcome = match action {
                Action::LIST_GROUPS_FOR_USER => people.groups_for_user(&name).await.map(drop),
                Action::LIST_SSH_PUBLIC_KEYS | Action::GET_SSH_PUBLIC_KEY => {
                    people.ssh_public_keys(&name).await.map(drop)
                }
                _ => people.user(&name).await.map(drop),
            }
            .err();
            if outcome.is_none_or(|error| error.is_about_this_request()) {
                info!(%action, "IAM answers again: {action}");
                self.state_mut().outages.end(action);
                self.write_status();
            }
        }
    }

    pub(super) fn is_silent(&self, origin: NudgeOrigin, actions: &[Action], iam_name: &str) -> bool {
        let (state, now) = (self.state(), self.clock.instant());
        actions
            .iter()
            .any(|action| state.outages.is_open(origin, *action, iam_name, now))
    }

    pub(super) fn begin_outage(&self, origin: NudgeOrigin, iam_name: &str, error: &AwsCallError) {
        // NoSuchEntity of one call beside success of the other: the user is being made or deleted right now. No outage.
        if matches!(error, AwsCallError::NoSuchEntity { .. }) {
            return;
        }
        let (action, why, now) = (error.action(), error.to_string(), self.clock.instant());
        // Any local user can hold all ports. Were that an outage, anybody who has just been taken out of IAM could
        // begin one to stay (P9).
        if error.is_of_this_host() {
            warn!(%action, %error, name = iam_name, "IAM cannot be asked, and every IAM user who logs in is refused: \
                {error}");
            self.state_mut().outages.note_lack(action, iam_name, why, now);
            self.write_status();
            return;
        }
        warn!(%action, %error, name = iam_name, "IAM does not answer; the published files stay as they are: {error}");
        let mut state = self.state_mut();
        match error.is_about_this_request() {
            true => state.outages.begin_of_one(origin, action, iam_name, why, now),
            // Clients that have proved nothing can have IAM throttle; they cannot silence it, and a login asks a silent
            // IAM once.
            false if matches!(error, AwsCallError::Throttled { .. }) || origin == NudgeOrigin::Lookup => {
                state.outages.begin(origin, action, iam_name, why, now);
            }
            false => {
                for origin in [NudgeOrigin::Offer, NudgeOrigin::Login] {
                    state.outages.begin(origin, action, iam_name, why.clone(), now);
                }
            }
        }
        drop(state);
        self.write_status();
    }
}
