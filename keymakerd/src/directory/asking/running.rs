//! Whether what a user began here goes on while nobody can log in: PAM asks for sudo, cron and their like (`keymaker_core::running`).

use std::rc::Rc;
use std::time::Duration;

use keymaker_core::name::UserName;
use tokio::time::Instant;

use super::nudge::Cause;
use crate::directory::iam::Iam;
use crate::directory::outcome::DirectoryOutcome;
use crate::directory::service::Service;

/// What of PAM's patience is kept for asking about one user, and for the disk.
const ABOUT_ONE: Duration = Duration::from_secs(2);

impl<I: Iam + 'static> Service<I> {
    /// It does where AWS is silent. IAM is asked about the user alone then, too: it may be that only its listings do not answer, and
    /// whoever is taken out of IAM meanwhile is refused by what this publishes (P9).
    pub async fn go_on(self: &Rc<Self>, name: UserName) -> DirectoryOutcome {
        let patience = self.patience();
        let deadline = Instant::now() + patience;
        let contact = self.contact_within(patience.saturating_sub(ABOUT_ONE)).await;
        if contact == DirectoryOutcome::Fresh || !self.state().aws_is_silent {
            return contact;
        }
        let answer = self.know_account(name, Cause::Login).await;
        match self.as_published(name, answer, deadline).await {
            DirectoryOutcome::NotPublished => DirectoryOutcome::NotPublished,
            _ => DirectoryOutcome::AwsSilent,
        }
    }
}
