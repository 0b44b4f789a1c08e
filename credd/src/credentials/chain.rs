//! Walks a chain of methods: the first that applies answers, for good or ill. Only "does not apply" leads to the next,
//! and that is never made of an error (H11: the predecessor went on to the wider instance role whenever something
//! failed).

use std::rc::Rc;

use credd_core::config::{Config, Method};
use keymaker_aws::{Ask, Replaced, RoleArn, RoleSession, assume_role};
use session_policy::{ActionPattern, PolicyRefusal, SessionPolicies};

use super::aws::Aws;
use super::cache::Issue;
use super::iam::Role;
use super::issuance::Issuance;
use super::question::CredentialQuestion;
use super::refusal::CredentialRefusal;
use super::session::{role_session_name, session_tags, source_identity_of};
use crate::clock::Clock;
use crate::imds::credential_source::Credentials;

/// What the methods need of credd.toml.
pub struct MethodSettings {
    pub(super) role_name_pattern: String,
    pub(super) role_path: String,
    pub(super) user_role_tag: bool,
    pub(super) iam_name_pattern: String,
    pub(super) compress_user_policy: bool,
    pub(super) deny_actions: Vec<ActionPattern>,
    pub(super) shared_role: Option<RoleArn>,
    pub(super) session_tags: bool,
    /// Whether a method of any chain needs the ARN of the instance's own role.
    own_role: bool,
}

impl MethodSettings {
    /// The settings of `config`; its values were checked when it was read, but for what only policies know.
    pub fn new(config: &Config) -> Result<Self, PolicyRefusal> {
        let actions = config.deny_actions.iter().map(|action| action.parse());
        Ok(Self {
            role_name_pattern: config.role_name_pattern.clone(),
            role_path: config.role_path.clone(),
            user_role_tag: config.user_role_tag,
            iam_name_pattern: config.iam_name_pattern.clone(),
            compress_user_policy: config.compress_user_policy,
            deny_actions: actions.collect::<Result<_, _>>()?,
            shared_role: config.shared_role.as_ref().and_then(|role| role.parse().ok()),
            session_tags: config.session_tags,
            own_role: config.methods().any(Method::needs_own_role),
        })
    }
}

/// The methods of this host.
pub struct Chain {
    pub(super) settings: MethodSettings,
    pub(super) aws: Aws,
    clock: Rc<dyn Clock>,
}

impl Chain {
    /// Asks nothing yet.
    pub fn new(settings: MethodSettings, aws: Aws, clock: Rc<dyn Clock>) -> Self {
        Self { settings, aws, clock }
    }

    /// See [`Aws::replaced`].
    pub async fn replaced(&self, ask: Ask) -> Option<Replaced> {
        self.aws.replaced(ask).await
    }

    async fn by(&self, method: Method, question: &CredentialQuestion) -> Result<Issuance, CredentialRefusal> {
        match method {
            Method::UserRole => self.user_role(question).await,
            Method::InstanceRole => self.instance_role(question).await,
            Method::SharedRole => self.shared_role(question).await,
            Method::CreateUserRole => self.create_user_role(question).await,
            Method::RestrictedInstanceRole => self.restricted_instance_role(question).await,
        }
    }

    /// A session of `role` for the caller, with tags where the settings want them. The error is STS's own, since
    /// methods differ in what `AccessDenied` means.
    pub(super) async fn session(
        &self,
        method: Method,
        role: impl Into<Wanted>,
        question: &CredentialQuestion,
        policies: Option<&SessionPolicies>,
    ) -> Result<Issuance, SessionError> {
        let Wanted { role, id } = role.into();
        let sts = self.aws.sts().await?;
        let tagged = self.settings.session_tags || method == Method::SharedRole;
        let tags = if tagged {
            session_tags(question, &self.aws.instance_id().await?)?
        } else {
            vec![]
        };
        let source_identity = tagged.then(|| source_identity_of(question));
        let session = RoleSession {
            role: &role,
            role_id: id.as_deref(),
            role_session_name: &role_session_name(question),
            policy: policies.and_then(SessionPolicies::policy).map(|policy| policy.as_str()),
            policy_arns: policies.map(SessionPolicies::policy_arns).unwrap_or_default(),
            tags: &tags,
            // One role for everybody: with a trust that lets its own sessions assume it, alice's could be bob's (P18).
            transitive_tags: method == Method::SharedRole,
            source_identity: source_identity.as_deref(),
        };
        let given = assume_role(&sts, &session).await?;
        let credentials = Credentials::of(&given, self.clock.now());
        Ok(Issuance {
            method,
            role,
            credentials,
        })
    }
}

impl Issue for Chain {
    async fn issue(&self, question: &CredentialQuestion) -> Result<Issuance, CredentialRefusal> {
        for method in &question.chain {
            let answer = self.by(*method, question).await;
            let said = match &answer {
                Ok(_) => "issued",
                Err(CredentialRefusal::NotApplicable) => "does not apply",
                Err(CredentialRefusal::Denied(_)) => "denied",
                Err(CredentialRefusal::Transient(_)) => "cannot tell",
            };
            let uid = question.uid;
            tracing::debug!(uid, %method, said, "for uid {uid} the method {method}: {said}");
            match answer {
                Err(CredentialRefusal::NotApplicable) => {}
                answer => return answer.map_err(|refusal| refusal.of(*method)),
            }
        }
        Err(CredentialRefusal::NotApplicable)
    }

    fn asks_aws(&self, question: &CredentialQuestion) -> bool {
        question.chain.iter().any(|method| match method {
            Method::InstanceRole => true,
            Method::UserRole | Method::SharedRole | Method::CreateUserRole | Method::RestrictedInstanceRole => {
                question.user().is_ok()
            }
        })
    }

    async fn warm(&self) -> Result<(), CredentialRefusal> {
        self.aws.identity().await?;
        if self.settings.own_role {
            self.aws.own_role().await?;
        }
        Ok(())
    }
}

/// Which role is to be assumed.
pub(super) struct Wanted {
    role: RoleArn,
    id: Option<String>,
}

/// Whichever role has that ARN.
impl From<RoleArn> for Wanted {
    fn from(role: RoleArn) -> Self {
        Self { role, id: None }
    }
}

/// The very one that was looked at: one that got its ARN since may be anybody's (P2).
impl From<Role> for Wanted {
    fn from(role: Role) -> Self {
        Self {
            role: role.arn,
            id: Some(role.id),
        }
    }
}

/// Why there is no session.
pub(super) enum SessionError {
    /// STS says no; it does not say whether the role is missing or does not trust this host.
    AccessDenied(String),
    /// Anything else.
    Other(CredentialRefusal),
}

impl From<keymaker_aws::AwsCallError> for SessionError {
    fn from(error: keymaker_aws::AwsCallError) -> Self {
        match error {
            keymaker_aws::AwsCallError::AccessDenied { .. } => Self::AccessDenied(error.to_string()),
            other => Self::Other(other.into()),
        }
    }
}

impl From<CredentialRefusal> for SessionError {
    fn from(refusal: CredentialRefusal) -> Self {
        Self::Other(refusal)
    }
}

impl From<SessionError> for CredentialRefusal {
    fn from(error: SessionError) -> Self {
        match error {
            SessionError::AccessDenied(why) => Self::denied(why),
            SessionError::Other(refusal) => refusal,
        }
    }
}
