//! Answers the metadata server: who is this, which chain is theirs, and what does it give them, within 800 ms.

use std::rc::Rc;
use std::time::Duration;

use keymaker_aws::RoleArn;
use tokio::time::{Instant, timeout_at};

use super::cache::{Cache, Issuance, Issue};
use super::metrics::{Metrics, count};
use super::people::People;
use super::question::{Person, Question};
use super::refusal::Refusal;
use crate::accounts::Account;
use crate::config::Method;
use crate::imds::credential_source::{Caller, CredentialSource, Credentials, Grant, Outcome, Reason};

/// The chains of credd.toml.
pub trait Chains {
    /// The methods of the caller of `uid`.
    fn chain(&self, uid: u32, account: &Account) -> &[Method];

    /// Whether a chain names that user or uid.
    fn names(&self, uid: u32, account: &Account) -> bool;
}

/// The metadata server's source of credentials. Clones are one.
pub struct Issuer<I, C>(Rc<Parts<I, C>>);

struct Parts<I, C> {
    people: People,
    chains: C,
    cache: Rc<Cache<I>>,
    metrics: Rc<Metrics>,
}

impl<I, C> Clone for Issuer<I, C> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

impl<I: Issue + 'static, C: Chains + 'static> Issuer<I, C> {
    /// Joins the parts.
    pub fn new(people: People, chains: C, cache: Rc<Cache<I>>, metrics: Rc<Metrics>) -> Self {
        Self(Rc::new(Parts {
            people,
            chains,
            cache,
            metrics,
        }))
    }

    /// What `uid` gets now.
    pub async fn issuance(&self, uid: u32) -> Result<Rc<Issuance>, Refusal> {
        let deadline = Instant::now() + WHOLE_ANSWER;
        let person = timeout_at(deadline, self.person(uid)).await;
        let person = person.unwrap_or_else(|_| Err(Refusal::transient("keymakerd has not answered in time")))?;
        let chain = self.0.chains.chain(uid, &person.account).to_vec();
        if chain.is_empty() {
            return Err(Refusal::denied("this user's chain is empty"));
        }
        self.0.cache.get(&Question { uid, person, chain }, deadline).await
    }

    /// Renews what is in use and forgets what is not. To be called every few seconds.
    pub fn tidy(&self) {
        self.0.cache.tidy();
        self.0.people.tidy();
    }

    /// How many answers are kept.
    pub fn kept(&self) -> usize {
        self.0.cache.len()
    }

    /// A person who is refused loses what is kept for them, too (P20).
    async fn person(&self, uid: u32) -> Result<Person, Refusal> {
        let named = |account: &Account| self.0.chains.names(uid, account);
        let person = self.0.people.person(uid, named).await;
        if person.is_err() {
            count(&self.0.metrics.refused_people);
        }
        if let Err(Refusal::Denied(_)) = person {
            self.0.cache.forget(uid);
        }
        person
    }
}

impl<I: Issue + 'static, C: Chains + 'static> CredentialSource for Issuer<I, C> {
    async fn role(&self, caller: &Caller) -> Outcome<Grant> {
        match self.issuance(caller.owner.uid).await {
            Ok(issuance) => Outcome::Issued(Grant {
                role: issuance.role.clone(),
                method: issuance.method,
            }),
            Err(refusal) => refusal.into_outcome(),
        }
    }

    async fn credentials(&self, caller: &Caller, role: &RoleArn) -> Outcome<Credentials> {
        match self.issuance(caller.owner.uid).await {
            Ok(issuance) if issuance.role == *role => Outcome::Issued(issuance.credentials.clone()),
            Ok(_) => Outcome::Transient(Reason::new("the caller's role has just changed")),
            Err(refusal) => refusal.into_outcome(),
        }
    }

    fn prewarm(&self, caller: &Caller) {
        let (issuer, uid) = (self.clone(), caller.owner.uid);
        tokio::task::spawn_local(async move {
            // Whatever comes of it, the request that follows will find it.
            let _ = issuer.issuance(uid).await;
        });
    }
}

/// SDKs give up after a second; what is late is a 503, which they try again.
const WHOLE_ANSWER: Duration = Duration::from_millis(800);
