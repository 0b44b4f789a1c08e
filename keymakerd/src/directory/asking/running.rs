//! Whether what a user began here goes on while nobody can log in: PAM asks for sudo, cron and their like (`keymaker_core::running`).

use std::rc::Rc;
use std::time::Duration;

use keymaker_core::name::UserName;
use tokio::time::Instant;

use super::nudge::Cause;
use super::passing::AT_LATER_PASS;
use crate::directory::iam::Iam;
use crate::directory::outcome::DirectoryOutcome;
use crate::directory::service::Service;

/// What of PAM's patience is kept for asking about one user, and for the disk.
const ABOUT_ONE: Duration = Duration::from_secs(2);

impl<I: Iam + 'static> Service<I> {
    /// It does where AWS is silent. IAM is asked about the user alone then, too: it may be that only its listings do not answer, and
    /// whoever is taken out of IAM meanwhile is refused by what this publishes (P9).
    pub async fn go_on(self: &Rc<Self>, name: UserName) -> DirectoryOutcome {
        // PAM waits longer for cron than for sudo while a first pass is under way, and does not say for which it asks. Who was here goes
        // on as soon as AWS is known to be silent; whoever was not gains by waiting for the pass.
        let goes_on = || self.state().aws_is_silent && self.was_here(name);
        let patience = if goes_on() { AT_LATER_PASS } else { self.patience() };
        let contact = self.contact_unless(goes_on, patience.saturating_sub(ABOUT_ONE)).await;
        if contact == DirectoryOutcome::Fresh || !self.state().aws_is_silent {
            return contact;
        }
        let deadline = Instant::now() + ABOUT_ONE;
        let answer = self.know_account(name, Cause::Login).await;
        match self.as_published(name, answer, deadline).await {
            DirectoryOutcome::NotPublished => DirectoryOutcome::NotPublished,
            _ => DirectoryOutcome::AwsSilent,
        }
    }

    fn was_here(&self, name: UserName) -> bool {
        let state = self.state();
        let known = state.facts.user_named(&state.iam_name(name.as_str()));
        known.is_some_and(|(_, user)| user.last_login.is_some())
    }
}
