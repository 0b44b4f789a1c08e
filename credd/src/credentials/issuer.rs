//! Answers the metadata server: who is this, which chain is theirs, and what does it give them, within 800 ms.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use credd_core::accounts::{Account, AccountDoubt};
use credd_core::config::Method;
use keymaker_aws::RoleArn;
use serde_json::Value;
use tokio::time::{Instant, timeout_at};

use super::cache::{Cache, Issue};
use super::issuance::Issuance;
use super::metrics::{Metrics, count};
use super::people::People;
use super::question::{CredentialQuestion, Person};
use super::refusal::CredentialRefusal;
use crate::imds::credential_source::{Caller, CredentialSource, Credentials, Grant, Outcome, Reason};
use keymaker_daemon::audit::Share;

/// The chains of credd.toml.
pub trait Chains {
    /// The methods of the caller of `uid`, unless a chain goes by what cannot be told of them.
    fn chain(&self, uid: u32, account: &Account) -> Result<&[Method], AccountDoubt>;

    /// Whether a chain names that user or uid.
    fn names(&self, uid: u32, account: &Account) -> bool;
}

/// The metadata server's source of credentials. Clones are one.
pub struct Issuer<I, C>(Rc<RefCell<Rc<IssuerParts<I, C>>>>);

struct IssuerParts<I, C> {
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
        Self(Rc::new(RefCell::new(Rc::new(IssuerParts {
            people,
            chains,
            cache,
            metrics,
        }))))
    }

    /// What `uid` gets now.
    pub async fn issuance(&self, uid: u32) -> Result<Rc<Issuance>, CredentialRefusal> {
        let parts = self.parts();
        let deadline = Instant::now() + WHOLE_ANSWER;
        let person = timeout_at(deadline, parts.person(uid)).await;
        let person =
            person.unwrap_or_else(|_| Err(CredentialRefusal::transient("keymakerd has not answered in time")))?;
        let chain = parts.chains.chain(uid, &person.account).map_err(|AccountDoubt| {
            CredentialRefusal::transient(
                "a chain depends on a name or group, and the files of this host do not tell this caller's",
            )
        });
        let chain = chain?.to_vec();
        if chain.is_empty() {
            return Err(CredentialRefusal::denied("this user's chain is empty"));
        }
        let question = CredentialQuestion {
            uid,
            share: Share::of(uid, parts.knows(uid, &person.account)),
            person,
            chain,
        };
        parts.cache.get(&question, deadline).await
    }

    /// The methods of `uid`, in order; none where it cannot be told who that is.
    pub async fn chain(&self, uid: u32) -> Vec<Method> {
        let parts = self.parts();
        let person = parts.person(uid).await;
        let chain = person.map(|person| parts.chains.chain(uid, &person.account).map(<[Method]>::to_vec));
        chain.ok().and_then(Result::ok).unwrap_or_default()
    }

    /// Renews what is in use and forgets what is not. To be called every few seconds.
    pub fn tidy(&self) {
        let parts = self.parts();
        parts.cache.tidy();
        parts.people.tidy();
    }

    /// How many answers are kept.
    pub fn kept(&self) -> usize {
        self.parts().cache.len()
    }

    /// What was issued.
    pub fn cache(&self) -> Rc<Cache<I>> {
        Rc::clone(&self.parts().cache)
    }

    /// Which local accounts asked and were given nothing.
    pub fn turned_away(&self) -> Value {
        let parts = self.parts();
        parts
            .people
            .turned_away(|uid, account| parts.chains.names(uid, account))
    }

    /// Whose credentials are in use.
    pub fn in_use(&self) -> Vec<u32> {
        self.parts().cache.uids()
    }

    /// From the next question on, this and all its clones answer as `other`, but for what keymakerd said against users.
    pub fn become_like(&self, other: &Self) {
        let other = other.parts();
        other.people.learn_from(&self.parts().people);
        self.0.replace(other);
    }

    /// Finds out what the first questions would wait for: who this host is, and what these uids get.
    pub fn warm(&self, uids: Vec<u32>) {
        let issuer = self.clone();
        tokio::task::spawn_local(async move {
            if let Err(CredentialRefusal::Denied(reason) | CredentialRefusal::Transient(reason)) =
                issuer.cache().warm().await
            {
                tracing::warn!("AWS could not be asked ahead of the first request: {}", reason.text);
            }
            for uid in uids {
                // Whatever comes of it, the request that follows will find it.
                let _ = issuer.issuance(uid).await;
            }
        });
    }

    /// What a caller gets, and whether to remember that it was nothing.
    async fn answer(&self, uid: u32) -> Result<Rc<Issuance>, CredentialRefusal> {
        let issuance = self.issuance(uid).await;
        if let Err(CredentialRefusal::NotApplicable | CredentialRefusal::Denied(_)) = issuance {
            let parts = self.parts();
            parts.people.turn_away(uid, |account| parts.chains.names(uid, account));
        }
        issuance
    }

    fn parts(&self) -> Rc<IssuerParts<I, C>> {
        Rc::clone(&self.0.borrow())
    }
}

impl<I: Issue + 'static, C: Chains> IssuerParts<I, C> {
    /// Whether the account has a name, by the files or the directory, or the settings have its number.
    fn knows(&self, uid: u32, account: &Account) -> bool {
        account.user.is_some() || self.chains.names(uid, account)
    }

    /// A person who is refused loses what is kept for them, too (P20).
    async fn person(&self, uid: u32) -> Result<Person, CredentialRefusal> {
        let named = |account: &Account| self.chains.names(uid, account);
        let person = self.people.person(uid, named).await;
        if person.is_err() {
            count(&self.metrics.refused_people);
        }
        if let Err(CredentialRefusal::Denied(_)) = person {
            self.cache.forget(uid);
        }
        person
    }
}

impl<I: Issue + 'static, C: Chains + 'static> CredentialSource for Issuer<I, C> {
    async fn role(&self, caller: &Caller) -> Outcome<Grant> {
        match self.answer(caller.owner.uid).await {
            Ok(issuance) => Outcome::Issued(Grant {
                role: issuance.role.clone(),
                method: issuance.method,
            }),
            Err(refusal) => refusal.into_outcome(),
        }
    }

    async fn credentials(&self, caller: &Caller, role: &RoleArn) -> Outcome<Credentials> {
        match self.answer(caller.owner.uid).await {
            Ok(issuance) if issuance.role == *role => Outcome::Issued(issuance.credentials.clone()),
            Ok(_) => Outcome::Transient(Reason::new("the caller's role has just changed")),
            Err(refusal) => refusal.into_outcome(),
        }
    }

    fn knows(&self, uid: u32, account: &Account) -> bool {
        self.parts().knows(uid, account)
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
