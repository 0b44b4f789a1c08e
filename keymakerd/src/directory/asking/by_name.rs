//! What IAM answers by name, bound to a person: a name is not one (P2). Called by nudges, and by passes where a listing
//! does not do.
//!
//! Anybody who may only rename, create or delete users can move a name between any two calls. So an answer by name
//! counts only for whom IAM names before and after it; the two `GetUser` carry their `UserId` themselves, and count by
//! themselves.

use futures_util::future::join_all;
use keymaker_aws::{Action, AwsCallError, OutageCause};
use tokio::time::Instant;

use crate::directory::facts::order::Asked;
use crate::directory::facts::{KeyFacts, ListedKeys};
use crate::directory::iam::ssh_keys;
use crate::directory::iam::{Iam, IamUser};
use crate::directory::service::Service;

/// What was answered about one person.
pub(super) struct About<T> {
    /// The person, as IAM names them after the answer.
    pub user: IamUser,
    /// When all of it was asked: at the first call.
    pub asked_at: u64,
    /// The answer.
    pub answer: T,
}

/// Until when the calls of one question may last.
#[derive(Clone, Copy)]
pub(super) struct Deadlines {
    /// Those between the two `GetUser`.
    pub answer: Option<Instant>,
    /// The last one.
    pub all: Option<Instant>,
}

impl Deadlines {
    /// Those of the clients, for each call.
    pub const NONE: Self = Self {
        answer: None,
        all: None,
    };
}

/// Keys as IAM listed them, and why the body of one of them could not be had.
pub(super) struct FetchedKeys {
    pub listed: ListedKeys,
    pub missing: Option<AwsCallError>,
}

impl<I: Iam + 'static> Service<I> {
    /// `GetUser`, `ask` about that user by name, and `GetUser` again, which is left out where `ask` says that nothing
    /// came of it. Beside the last one `complete` asks for what is the same whoever has the name now. `None`: the name
    /// moved meanwhile, or nothing came.
    pub(super) async fn about<T>(
        &self,
        people: &I,
        iam_name: &str,
        deadlines: Deadlines,
        ask: impl AsyncFnOnce(&IamUser) -> Option<T>,
        complete: impl AsyncFnOnce(&IamUser, &mut T),
    ) -> Result<Option<About<T>>, AwsCallError> {
        let asked_at = self.clock.answer_time();
        let before = within(deadlines.answer, Action::GET_USER, people.user(iam_name)).await?;
        self.learn_sighting(&before, asked_at);
        let Some(mut answer) = ask(&before).await else {
            return Ok(None);
        };
        let asked_again = self.clock.answer_time();
        let user = within(deadlines.all, Action::GET_USER, people.user(iam_name));
        let (user, ()) = tokio::join!(user, complete(&before, &mut answer));
        let user = user?;
        self.learn_sighting(&user, asked_again);
        let same = user.id == before.id && user.name == before.name;
        Ok(same.then_some(About { user, asked_at, answer }))
    }

    fn learn_sighting(&self, user: &IamUser, asked_at: u64) {
        let asked = self.asked(asked_at);
        let mut state = self.state_mut();
        state.unpublished |= state.facts.learn_sighting(user, asked);
    }

    /// What was asked at this time and is answered now.
    pub(super) fn asked(&self, at: u64) -> Asked {
        Asked::new(at, self.clock.answer_time())
    }

    /// Lists a user's keys, without bodies.
    pub(super) async fn list_keys(
        &self,
        people: &I,
        iam_name: &str,
        deadline: Option<Instant>,
    ) -> Result<FetchedKeys, AwsCallError> {
        let keys = within(deadline, Action::LIST_SSH_PUBLIC_KEYS, people.ssh_public_keys(iam_name)).await?;
        Ok(FetchedKeys {
            listed: ListedKeys {
                active: keys.into_iter().map(|key| (key.id, key.active)).collect(),
                bodies: Default::default(),
            },
            missing: None,
        })
    }

    /// Fetches the bodies not known yet, at once; a body never changes for a key id, which is nobody else's. One that
    /// cannot be had keeps nobody from learning what became of the other keys.
    pub(super) async fn fetch_bodies(
        &self,
        people: &I,
        user_id: &str,
        iam_name: &str,
        deadline: Option<Instant>,
        keys: &mut FetchedKeys,
    ) {
        let known = self.known_keys(user_id);
        let new = keys.listed.active.keys().filter(|id| !known.by_id.contains_key(*id));
        let bodies = new.map(async |id| {
            let body = people.ssh_public_key(iam_name, id);
            (id.clone(), within(deadline, Action::GET_SSH_PUBLIC_KEY, body).await)
        });
        for (id, body) in join_all(bodies).await {
            match body {
                Ok(body) => {
                    let clean = ssh_keys::clean(&body).map_err(|why| why.to_string());
                    keys.listed.bodies.insert(id, clean);
                }
                Err(error) => drop(keys.missing.get_or_insert(error)),
            }
        }
    }

    /// The keys known of a user; none of somebody unknown.
    pub(super) fn known_keys(&self, user_id: &str) -> KeyFacts {
        let state = self.state();
        let user = state.facts.users.get(user_id);
        user.and_then(|user| user.keys.clone()).unwrap_or_default()
    }
}

/// The answer, or that there was none in time.
pub(super) async fn within<T>(
    deadline: Option<Instant>,
    action: Action,
    asking: impl Future<Output = Result<T, AwsCallError>>,
) -> Result<T, AwsCallError> {
    let Some(deadline) = deadline else { return asking.await };
    let late = |_| AwsCallError::Outage {
        action,
        cause: OutageCause::Timeout,
    };
    tokio::time::timeout_at(deadline, asking).await.map_err(late).flatten()
}
