//! Tries what the methods of this host need, for `credd --check`: every call that a method could make, about entities
//! that do not exist where that tells a missing permission from a missing entity. Nothing is changed, and no
//! credentials are kept.

use aws_sdk_iam::Client;
use credd_core::accounts::Account;
use credd_core::config::{Config, Method};
use keymaker_aws::{AwsCallError, RoleArn, trusts_only, trusts_role_alone};
use session_policy::{SessionPolicies, percent_decoded};

use super::chain::Chain;
use super::iam::{self, Holder};
use super::question::{CredentialQuestion, Names, Person};
use super::refusal::CredentialRefusal;
use keymaker_daemon::audit::Share;

/// One thing that was tried.
pub struct Tried {
    /// What.
    pub what: String,
    /// Why it does not work, and what to do; None: it works.
    pub missing: Option<Missing>,
}

/// What is missing.
pub struct Missing {
    /// What AWS says.
    pub why: String,
    /// What to do.
    pub remedy: String,
}

impl Chain {
    /// Tries all that the chains of `config` need.
    pub async fn try_out(&self, config: &Config) -> Vec<Tried> {
        let mut tried = Trial::default();
        let Some(own) = self.try_identity(&mut tried).await else {
            return tried.0;
        };
        let mut methods: Vec<Method> = config.methods().collect();
        methods.sort_unstable();
        methods.dedup();
        for method in &methods {
            match method {
                Method::UserRole => self.try_get_role(*method, &mut tried).await,
                Method::CreateUserRole => {
                    self.try_get_role(*method, &mut tried).await;
                    self.try_users(*method, false, &mut tried).await;
                }
                Method::RestrictedInstanceRole => {
                    self.try_own_role(*method, &own, &mut tried).await;
                    self.try_users(*method, true, &mut tried).await;
                    self.try_role_policies(&own, &mut tried).await;
                }
                Method::InstanceRole => self.try_own_role(*method, &own, &mut tried).await,
                Method::SharedRole => self.try_shared_role(&mut tried).await,
            }
        }
        tried.0
    }

    /// Who this host is; without that nothing else can be tried.
    async fn try_identity(&self, tried: &mut Trial) -> Option<RoleArn> {
        let remedy = "give the instance a role (an instance profile), and a way to STS in its region";
        let identity = self.aws.identity().await;
        let who = match &identity {
            Ok(identity) => format!("AWS is reached, in account {}", identity.account),
            Err(_) => "AWS is reached".to_owned(),
        };
        tried.note(who, identity.map(|_| ()), remedy)?;
        let own = self.aws.own_role().await;
        tried.note(
            "iam:GetRole on the instance's own role".to_owned(),
            own.as_ref().map(|_| ()).map_err(Clone::clone),
            "allow iam:GetRole on it in a policy of this role",
        )?;
        own.ok()
    }

    async fn try_get_role(&self, method: Method, tried: &mut Trial) {
        let answer = async {
            let role = self.role_of(&nobody()).await?;
            let client = self.aws.iam().await?;
            Ok::<_, CredentialRefusal>(absent(iam::role(&client, role.name()).await)?)
        };
        let remedy = "allow iam:GetRole on the users' roles: without it a missing role cannot be distinguished from one that \
            refuses";
        tried.note(
            format!("{method}: iam:GetRole on the users' roles"),
            answer.await,
            remedy,
        );
    }

    /// A session of the instance's own role that may do nothing.
    async fn try_own_role(&self, method: Method, own: &RoleArn, tried: &mut Trial) {
        let policies = SessionPolicies::deny_all();
        let session = self.session(method, own.clone(), &nobody(), Some(&policies)).await;
        let answer = session.map(|_| ()).map_err(CredentialRefusal::from);
        let remedy = format!(
            "let {own} assume itself: name it as AWS principal in its own trust policy, and allow sts:AssumeRole on it"
        );
        tried.note(format!("{method}: sts:AssumeRole of {own} on itself"), answer, &remedy);
    }

    async fn try_shared_role(&self, tried: &mut Trial) {
        let what = "shared_role: sts:AssumeRole with session tags and SourceIdentity".to_owned();
        let Some(role) = self.settings.shared_role.clone() else {
            return;
        };
        let remedy = format!(
            "let {role} trust this host's role for sts:AssumeRole, sts:TagSession and sts:SetSourceIdentity, and allow the three here"
        );
        let policies = SessionPolicies::deny_all();
        let nobody = nobody();
        let session = self.session(Method::SharedRole, role.clone(), &nobody, Some(&policies));
        tried.note(
            what,
            session.await.map(|_| ()).map_err(CredentialRefusal::from),
            &remedy,
        );
        let what = format!("shared_role: {role} trusts this host's role alone");
        let remedy = "name the hosts' role as the only principal of its trust policy, as credd.toml(5) shows: anybody \
                      else who may assume it chooses whose tags the session has; where it cannot be read, allow iam:GetRole on it";
        let _ = tried.note(what, self.try_trust(&role).await, remedy);
    }

    async fn try_trust(&self, role: &RoleArn) -> Result<(), CredentialRefusal> {
        let (own, client) = (self.aws.own_role().await?, self.aws.iam().await?);
        let found = iam::role(&client, role.name()).await?;
        let trust = percent_decoded(&found.trust).unwrap_or_default();
        if found.arn == *role && trusts_role_alone(&trust, &own) {
            return Ok(());
        }
        let who = if trusts_only(&trust, &own) {
            "the whole account of the role, sessions of the role itself among them"
        } else {
            "others than this host's role"
        };
        Err(CredentialRefusal::denied(format!("its trust policy allows {who}")))
    }

    /// The calls about users and, for their policies, groups and managed policies.
    async fn try_users(&self, method: Method, policies: bool, tried: &mut Trial) {
        let client = match self.aws.iam_of_users(None).await {
            Ok((client, _)) => client,
            Err(refusal) => {
                let what = format!("{method}: IAM of the users' account");
                tried.note(what, Err(refusal), "see id_resolver_account in credd.toml(5)");
                return;
            }
        };
        tried.call(method, absent(iam::user(&client, NOBODY).await), "iam:GetUser");
        if !policies {
            return;
        }
        tried.call(
            method,
            absent(iam::groups_of_user(&client, NOBODY).await),
            "iam:ListGroupsForUser",
        );
        for (holder, kind) in [(Holder::User(NOBODY), "User"), (Holder::Group(NOBODY), "Group")] {
            try_policies_of(method, &client, holder, kind, tried).await;
        }
        // There for every account of every partition.
        let known = self
            .aws
            .identity()
            .await
            .map(|own| format!("arn:{}:iam::aws:policy/ReadOnlyAccess", own.partition));
        if let Ok(known) = known {
            let read = iam::managed_policy(&client, &known).await.map(|_| ());
            tried.call(method, read, "iam:GetPolicy and iam:GetPolicyVersion");
        }
    }

    async fn try_role_policies(&self, own: &RoleArn, tried: &mut Trial) {
        if !self.settings.compress_user_policy {
            return;
        }
        let method = Method::RestrictedInstanceRole;
        match self.aws.iam().await {
            Ok(client) => try_policies_of(method, &client, Holder::Role(own.name()), "Role", tried).await,
            Err(refusal) => drop(tried.note(format!("{method}: IAM"), Err(refusal), "see above")),
        }
    }
}

async fn try_policies_of(method: Method, client: &Client, holder: Holder<'_>, kind: &str, tried: &mut Trial) {
    let listed = absent(iam::inline_policies(client, holder).await);
    tried.call(method, listed, &format!("iam:List{kind}Policies"));
    let read = absent(iam::inline_policy(client, holder, NOBODY).await);
    tried.call(method, read, &format!("iam:Get{kind}Policy"));
    let attached = absent(iam::attached_policies(client, holder).await);
    tried.call(method, attached, &format!("iam:ListAttached{kind}Policies"));
}

#[derive(Default)]
struct Trial(Vec<Tried>);

impl Trial {
    /// Notes one try; Some if it went well.
    fn note(&mut self, what: String, answer: Result<(), CredentialRefusal>, remedy: &str) -> Option<()> {
        let why = match answer {
            Ok(()) => None,
            Err(CredentialRefusal::NotApplicable) => Some(("it does not apply".to_owned(), remedy)),
            Err(CredentialRefusal::Transient(reason)) if is_of_a_call(&reason.text) => Some((reason.text, AGAIN)),
            Err(CredentialRefusal::Denied(reason) | CredentialRefusal::Transient(reason)) => {
                Some((reason.text, remedy))
            }
        };
        let good = why.is_none().then_some(());
        let missing = why.map(|(why, remedy)| Missing {
            why,
            remedy: remedy.to_owned(),
        });
        self.0.push(Tried { what, missing });
        good
    }

    fn call(&mut self, method: Method, answer: Result<(), AwsCallError>, action: &str) {
        let remedy = match &answer {
            Err(AwsCallError::AccessDenied { .. }) => {
                format!("allow {action} in a policy of the role that reads users")
            }
            _ => AGAIN.to_owned(),
        };
        let _ = self.note(
            format!("{method}: {action}"),
            answer.map_err(CredentialRefusal::from),
            &remedy,
        );
    }
}

/// What AWS did not answer, throttled or failed says nothing about rights and roles.
const AGAIN: &str =
    "nothing in credd.toml is wrong: the sentence above says where to look, and credd asks again by itself";

/// The sentence about a call begins with its action; what the metadata service lacks does not.
fn is_of_a_call(why: &str) -> bool {
    why.starts_with("iam:") || why.starts_with("sts:")
}

/// "No such entity" is an answer too: the call is allowed.
fn absent<T>(answer: Result<T, AwsCallError>) -> Result<(), AwsCallError> {
    match answer {
        Ok(_) | Err(AwsCallError::NoSuchEntity { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Somebody whom IAM does not have.
fn nobody() -> CredentialQuestion {
    CredentialQuestion {
        uid: 0,
        person: Person {
            account: Account {
                user: Some(NOBODY.to_owned()),
                groups: vec![],
                is_doubtful: false,
            },
            iam: None,
            names: Names::Trusted,
        },
        chain: vec![],
        share: Share::OfNobody,
    }
}

const NOBODY: &str = "keymaker-check-nobody";

#[cfg(test)]
mod tests {
    use keymaker_aws::Action;

    use super::*;

    #[test]
    fn whoever_is_throttled_is_not_told_to_get_a_role() {
        let remedy_for = |refusal: CredentialRefusal| {
            let mut trial = Trial::default();
            let _ = trial.note(String::new(), Err(refusal), "give the instance a role");
            trial.0.pop().unwrap().missing.unwrap().remedy
        };
        let action = Action::GET_CALLER_IDENTITY;
        assert_eq!(remedy_for(AwsCallError::Throttled { action }.into()), AGAIN);
        for reason in [
            CredentialRefusal::denied("this host does not call AWS as a role"),
            CredentialRefusal::transient("this instance has no role; attach an instance profile to it"),
        ] {
            assert_eq!(remedy_for(reason), "give the instance a role");
        }
    }
}
