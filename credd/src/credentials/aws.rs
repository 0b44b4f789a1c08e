//! This host as AWS knows it: the clients that call as the instance's role, and who that is. The methods ask here
//! before anything else; what was found out is kept for some minutes, since an instance's profile can be changed while
//! it runs.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use keymaker_aws::role_description::RoleDescription;
use keymaker_aws::{
    AccountId, Ask, AwsClients, CallerIdentity, IdResolver, Partition, Patience, Principal, Replaced, RoleArn, Route,
    id_resolver_digest,
};

use super::iam;
use super::question::IamIdentity;
use super::refusal::CredentialRefusal;
use crate::clock::Clock;

/// The way to AWS.
pub struct Aws {
    route: Route,
    clock: Rc<dyn Clock>,
    patience: Patience,
    clients: RefCell<Option<AwsClients>>,
    identity: RefCell<Option<(CallerIdentity, Duration)>>,
    own_role: RefCell<Option<(OwnRole, Duration)>>,
    id_resolver: Option<IdResolver>,
    /// The id resolver in use, and the clients that call as it.
    elsewhere: RefCell<Option<(IdResolver, AwsClients)>>,
}

/// The instance's own role.
#[derive(Clone)]
struct OwnRole {
    arn: RoleArn,
    description: String,
}

impl Aws {
    /// Opens no connection.
    pub fn new(route: Route, clock: Rc<dyn Clock>) -> Self {
        Self {
            route,
            clock,
            patience: FLIGHT,
            clients: RefCell::default(),
            identity: RefCell::default(),
            own_role: RefCell::default(),
            id_resolver: None,
            elsewhere: RefCell::default(),
        }
    }

    /// The role that credd.toml names for users of another account.
    pub fn resolving(self, id_resolver: Option<IdResolver>) -> Self {
        Self { id_resolver, ..self }
    }

    /// With clients that are there already.
    #[cfg(test)]
    pub fn having(self, clients: AwsClients) -> Self {
        self.clients.replace(Some(clients));
        self
    }

    /// The same, in a hurry of the test's.
    #[cfg(test)]
    pub fn with_clients(route: Route, clients: AwsClients, patience: Patience, clock: Rc<dyn Clock>) -> Self {
        Self {
            patience,
            ..Self::new(route, clock).having(clients)
        }
    }

    /// STS, as the instance's role.
    pub async fn sts(&self) -> Result<aws_sdk_sts::Client, CredentialRefusal> {
        Ok(self.clients().await?.sts(self.patience))
    }

    /// IAM, as the instance's role.
    pub async fn iam(&self) -> Result<aws_sdk_iam::Client, CredentialRefusal> {
        Ok(self.clients().await?.iam(self.patience))
    }

    /// Account, partition and role of this host.
    pub async fn identity(&self) -> Result<CallerIdentity, CredentialRefusal> {
        if let Some(known) = self.known(&self.identity, KNOWN_FOR) {
            return Ok(known);
        }
        let identity = self.clients().await?.identity(self.patience).await?;
        self.keep(&self.identity, &identity);
        Ok(identity)
    }

    /// The ARN of the instance's role with its path, which only iam:GetRole knows.
    pub async fn own_role(&self) -> Result<RoleArn, CredentialRefusal> {
        Ok(self.described_role(KNOWN_FOR).await?.arn)
    }

    /// As iam:GetRole said within `at_most`.
    async fn described_role(&self, at_most: Duration) -> Result<OwnRole, CredentialRefusal> {
        if let Some(known) = self.known(&self.own_role, at_most) {
            return Ok(known);
        }
        let identity = self.identity().await?;
        let Principal::AssumedRole { role_name, .. } = &identity.principal else {
            return Err(CredentialRefusal::denied("this host does not call AWS as a role"));
        };
        let role = iam::role(&self.iam().await?, role_name).await?;
        if role.arn.account() != &identity.account || role.arn.name() != role_name {
            return Err(CredentialRefusal::transient(format!(
                "iam:GetRole answered about {}, not {role_name}",
                role.arn
            )));
        }
        let own = OwnRole {
            arn: role.arn,
            description: role.description,
        };
        self.keep(&self.own_role, &own);
        Ok(own)
    }

    /// IAM of the account in which the users live: that of `known` where the directory has the user, else the one that
    /// credd.toml names, else the instance's.
    pub async fn iam_of_users(
        &self,
        known: Option<&IamIdentity>,
    ) -> Result<(aws_sdk_iam::Client, AccountId), CredentialRefusal> {
        let identity = self.identity().await?;
        let account = match (known, &self.id_resolver) {
            (Some(known), _) => known.account.parse()?,
            (None, Some(set)) => set.account().clone(),
            (None, None) => identity.account.clone(),
        };
        if account == identity.account {
            return Ok((self.iam().await?, account));
        }
        let resolver = self
            .resolver_of(&account, known.map(|known| known.id_resolver).unwrap_or_default())
            .await?;
        let clients = self.assuming(resolver, &identity.partition).await?;
        Ok((clients.iam(self.patience), account))
    }

    /// The role that reads users of `account`. The role's description alone opens no account and no other role of it:
    /// the directory has the last word on both, so that a changed description waits for `keymaker accept-settings` here
    /// too. The role that keymakerd goes by is kept, for as long as it does.
    async fn resolver_of(&self, account: &AccountId, published: [u8; 32]) -> Result<IdResolver, CredentialRefusal> {
        let of_account = |resolver: &IdResolver| resolver.account() == account;
        let is_meant = |resolver: &IdResolver| {
            of_account(resolver) && (published == NOT_SAID || id_resolver_digest(resolver) == published)
        };
        let named = match &self.id_resolver {
            Some(set) => Some(set.clone()).filter(of_account),
            None => {
                let kept = self.elsewhere.borrow().as_ref().map(|(resolver, _)| resolver.clone());
                match kept.filter(|kept| published != NOT_SAID && is_meant(kept)) {
                    Some(kept) => Some(kept),
                    None => match self.described_resolver(KNOWN_FOR).await?.filter(is_meant) {
                        Some(described) => Some(described),
                        // It may have been changed, and the change accepted, since it was read.
                        None => self.described_resolver(LOOK_AGAIN_AFTER).await?.filter(is_meant),
                    },
                }
            }
        };
        named.ok_or_else(|| {
            CredentialRefusal::denied(format!(
                "users live in account {account}, and the instance role's description does not name the role through which keymakerd \
                 reads them; if the description was changed, run 'keymaker accept-settings', else set id_resolver_account and \
                 id_resolver_iam_role in credd.toml"
            ))
        })
    }

    async fn described_resolver(&self, at_most: Duration) -> Result<Option<IdResolver>, CredentialRefusal> {
        let role = self.described_role(at_most).await?;
        Ok(RoleDescription::parse(&role.description).id_resolver().ok().flatten())
    }

    async fn assuming(&self, resolver: IdResolver, partition: &Partition) -> Result<AwsClients, CredentialRefusal> {
        if let Some((known, clients)) = &*self.elsewhere.borrow()
            && *known == resolver
        {
            return Ok(clients.clone());
        }
        let role = resolver.role_arn(partition)?;
        let clients = self.clients().await?.assuming(role, &self.instance_id().await?);
        self.elsewhere.replace(Some((resolver, clients.clone())));
        Ok(clients)
    }

    /// The name of this instance's own session: on EC2 the instance id.
    pub async fn instance_id(&self) -> Result<String, CredentialRefusal> {
        match self.identity().await?.principal {
            Principal::AssumedRole { role_session_name, .. } => Ok(role_session_name),
            _ => Err(CredentialRefusal::denied("this host does not call AWS as a role")),
        }
    }

    /// Why all that was issued here is no longer an answer: the metadata service says that this host has another role.
    /// `None` also where it says nothing; the next renewal of the credentials reports that.
    pub async fn replaced(&self, ask: Ask) -> Option<Replaced> {
        let clients = self.clients.borrow().clone()?;
        clients.replaced(ask).await.ok().flatten()
    }

    async fn clients(&self) -> Result<AwsClients, CredentialRefusal> {
        if let Some(clients) = self.clients.borrow().clone() {
            return Ok(clients);
        }
        let clients = self.route.as_instance_role().await?;
        Ok(self.clients.borrow_mut().get_or_insert(clients).clone())
    }

    fn known<T: Clone>(&self, kept: &RefCell<Option<(T, Duration)>>, at_most: Duration) -> Option<T> {
        let kept = kept.borrow();
        let (value, since) = kept.as_ref()?;
        (self.clock.since_boot().saturating_sub(*since) < at_most).then(|| value.clone())
    }

    fn keep<T: Clone>(&self, kept: &RefCell<Option<(T, Duration)>>, value: &T) {
        kept.replace(Some((value.clone(), self.clock.since_boot())));
    }
}

/// A call goes on when those who wait have given up (`issuer` says when), and the next request finds its answer: STS may
/// be far, or behind a slow proxy.
const FLIGHT: Patience = Patience::SYNC;
const KNOWN_FOR: Duration = Duration::from_secs(600);
/// How old a description may be that names another id resolver than keymakerd goes by.
const LOOK_AGAIN_AFTER: Duration = Duration::from_secs(30);
/// What a directory without an id resolver has for its digest, and one of an earlier keymakerd.
const NOT_SAID: [u8; 32] = [0; 32];
