//! Logins by proof in an account: whether AWS signs tokens for it, and the one policy by which people may ask for one; both undone.
//!
//! Of the users' account as a whole, whatever roles its hosts have: an IAM group may have ten policies, so there is no policy for each role.
//! The policy's tags say whether it, and whether the federation, is of ours to take away again.

use aws_sdk_iam::Client;
use aws_sdk_iam::types::Tag;
use keymaker_aws::{Action, AwsCallError, CallerIdentity, Page, all_pages};
use serde_json::{Value, json};

use super::account::{ConfigureError, check_group};
use super::managed_policy::{self, PresentPolicy};
use super::options::LoginsOptions;
use super::ours::{made_by_us, mark};
use super::texts::permissions_lost;
use super::wanted::{allow, document};
use crate::aws::{AwsError, call};
use crate::commands::changes::Change;

/// What the users' account should hold.
pub struct WantedLogins {
    /// The policy's ARN.
    pub arn: String,
    /// Its document.
    pub policy: Value,
    /// Who is to have it.
    pub groups: Vec<String>,
}

impl WantedLogins {
    /// Of the options; `None` where they do not ask for it.
    pub fn of(options: &LoginsOptions, users: &CallerIdentity) -> Option<Self> {
        options.logins.then(|| Self {
            arn: managed_policy::arn(&users.partition, &users.account, LOGIN_POLICY),
            policy: login_policy(users.account.as_str(), !options.logins_without_mfa),
            groups: options.logins_group.clone(),
        })
    }
}

/// Who may ask for a token that hosts of this account take, and for no other: SECURITY.md says what it cannot keep out.
fn login_policy(account: &str, with_mfa: bool) -> Value {
    let mut may = allow("KeymakerLogins", &ASK, json!("*"));
    let mut context = json!({ "aws:ViaAWSService": "false" });
    if let (true, Some(fields)) = (with_mfa, context.as_object_mut()) {
        // Not IfExists: a request by an access key has no such key.
        fields.insert("aws:MultiFactorAuthPresent".to_owned(), json!("true"));
    }
    if let Some(fields) = may.as_object_mut() {
        let condition = json!({
            // ForAnyValue would let foreign audiences in beside ours; ForAllValues is true where there is none.
            "ForAllValues:StringEquals": {
                "sts:IdentityTokenAudience": format!("{AUDIENCE}{account}"), "aws:TagKeys": ["keymaker-key", "keymaker-user", "keymaker-host"],
            },
            "Null": { "sts:IdentityTokenAudience": "false", "aws:TagKeys": "false" },
            "NumericLessThanEquals": { "sts:DurationSeconds": "300" },
            "StringEquals": { "sts:SigningAlgorithm": "ES384", USER_TAG: USER_ID },
            "Bool": context,
        });
        fields.insert("Condition".to_owned(), condition);
    }
    let [users, own_ids] = users_alone();
    document(vec![may, users, own_ids])
}

/// Whatever other policies allow: a token of a role or of somebody federated opens no host, so nobody is to have one; and a token names by its
/// tag who asked for it. Its subject is a name, which whoever may rename users can give to another for a moment.
fn users_alone() -> [Value; 2] {
    [
        ("KeymakerLoginsOfUsersAlone", json!({ "aws:PrincipalType": "User" })),
        ("KeymakerLoginsUnderOnesOwnUserId", json!({ USER_TAG: USER_ID })),
    ]
    .map(|(sid, unless)| {
        json!({ "Sid": sid, "Effect": "Deny", "Action": ASK, "Resource": "*", "Condition": {
            "ForAnyValue:StringLike": { "sts:IdentityTokenAudience": format!("{AUDIENCE}*") }, "StringNotEquals": unless,
        } })
    })
}

/// For service control policies, which reach those who have not the other policy.
pub fn guard_policy() -> Value {
    document(users_alone().to_vec())
}

/// The account as it is, and what was changed in it.
pub struct AccountLogins<'a> {
    iam: &'a Client,
    wanted: &'a WantedLogins,
    dry_run: bool,
    /// The changes, made or to be made.
    pub changes: Vec<Change>,
    /// What somebody may today and could not any more.
    pub lost: Vec<String>,
    /// Who signs the account's tokens; `None`: nobody.
    pub issuer: Option<String>,
    /// Who has the policy, as `group ops`.
    pub holders: Vec<String>,
}

impl<'a> AccountLogins<'a> {
    /// Nothing known yet, nothing changed.
    pub fn new(iam: &'a Client, wanted: &'a WantedLogins, dry_run: bool) -> Self {
        Self {
            iam,
            wanted,
            dry_run,
            changes: Vec::new(),
            lost: Vec::new(),
            issuer: None,
            holders: Vec::new(),
        }
    }

    /// Makes the account as wanted. The policy first: its tag says that the federation is of ours, should this end halfway.
    pub async fn make(&mut self) -> Result<(), ConfigureError> {
        for group in &self.wanted.groups {
            check_group(self.iam, group).await?;
        }
        self.issuer = issuer(self.iam).await?;
        let present = managed_policy::present(self.iam, &self.wanted.arn).await?;
        self.make_policy(present.as_ref()).await?;
        if self.issuer.is_none() && self.change("outbound web identity federation", "", "on") {
            let request = self.iam.enable_outbound_web_identity_federation();
            let answer = call!("iam:EnableOutboundWebIdentityFederation", request).map_err(AwsError::from)?;
            self.issuer = answer.issuer_identifier;
        }
        let before = match present {
            Some(_) => self.holders().await?,
            None => Vec::new(),
        };
        for group in &self.wanted.groups {
            let holder = format!("group {group}");
            if before
                .iter()
                .any(|holder| *holder == PolicyHolder::Group(group.clone()))
            {
                continue;
            }
            if self.change(
                &format!("attach policy {LOGIN_POLICY} to {holder}"),
                "",
                &self.wanted.arn,
            ) {
                let request = self.iam.attach_group_policy().group_name(group);
                call!("iam:AttachGroupPolicy", request.policy_arn(&self.wanted.arn)).map_err(AwsError::from)?;
            }
            self.holders.push(holder);
        }
        self.holders.extend(before.iter().map(PolicyHolder::shown));
        self.holders.sort();
        Ok(())
    }

    async fn make_policy(&mut self, present: Option<&PresentPolicy>) -> Result<(), AwsError> {
        let (arn, wanted) = (&self.wanted.arn, &self.wanted.policy);
        // Then it is turned on here.
        let is_off = self.issuer.is_none();
        let Some(present) = present else {
            if self.change(&format!("policy {LOGIN_POLICY}"), "", &format!("{wanted:#}")) {
                let request = self
                    .iam
                    .create_policy()
                    .policy_name(LOGIN_POLICY)
                    .policy_document(wanted.to_string());
                let tags = [Some(mark()), is_off.then(federation_mark)].into_iter().flatten();
                let tags = tags.collect::<Result<Vec<Tag>, _>>()?;
                call!("iam:CreatePolicy", request.set_tags(Some(tags)))?;
            }
            return Ok(());
        };
        self.lost.extend(permissions_lost(&present.document, wanted));
        if is_off && !federated_by_us(present) && !self.dry_run {
            let request = self.iam.tag_policy().policy_arn(arn);
            call!("iam:TagPolicy", request.tags(federation_mark()?))?;
        }
        let what = format!("policy {LOGIN_POLICY}");
        if present.document != *wanted && self.change(&what, &format!("{:#}", present.document), &format!("{wanted:#}"))
        {
            managed_policy::replace(self.iam, arn, wanted).await?;
        }
        Ok(())
    }

    /// Takes away what was made here: the federation first, so that there is no new token from then on. One that was on before stays on.
    pub async fn unmake(&mut self) -> Result<(), AwsError> {
        self.issuer = issuer(self.iam).await?;
        let Some(present) = managed_policy::present(self.iam, &self.wanted.arn).await? else {
            return Ok(());
        };
        if federated_by_us(&present) && self.issuer.is_some() {
            if self.change("outbound web identity federation", "on", "") {
                let request = self.iam.disable_outbound_web_identity_federation();
                call!("iam:DisableOutboundWebIdentityFederation", request)?;
            }
            self.issuer = None;
        }
        if !made_by_us(present.policy.tags()) {
            return Ok(());
        }
        for holder in self.holders().await? {
            let what = format!("detach policy {LOGIN_POLICY} from {}", holder.shown());
            if self.change(&what, &self.wanted.arn, "") {
                self.detach(&holder).await?;
            }
        }
        if self.change(
            &format!("delete policy {LOGIN_POLICY}"),
            &format!("{:#}", present.document),
            "",
        ) {
            managed_policy::delete(self.iam, &self.wanted.arn).await?;
        }
        Ok(())
    }

    async fn holders(&self) -> Result<Vec<PolicyHolder>, AwsError> {
        let action = Action::named("iam:ListEntitiesForPolicy");
        let holders = all_pages(action, async |marker| {
            let request = self.iam.list_entities_for_policy().policy_arn(&self.wanted.arn);
            let answer = request.set_marker(marker).send().await;
            Page::of(action, answer, |page| {
                let groups = page.policy_groups.unwrap_or_default().into_iter();
                let users = page.policy_users.unwrap_or_default().into_iter();
                let roles = page.policy_roles.unwrap_or_default().into_iter();
                let holders = groups.filter_map(|group| group.group_name.map(PolicyHolder::Group));
                let holders = holders.chain(users.filter_map(|user| user.user_name.map(PolicyHolder::User)));
                let holders = holders.chain(roles.filter_map(|role| role.role_name.map(PolicyHolder::Role)));
                (holders.collect::<Vec<_>>(), page.is_truncated, page.marker)
            })
        });
        Ok(holders.await?)
    }

    async fn detach(&self, holder: &PolicyHolder) -> Result<(), AwsError> {
        let (iam, arn) = (self.iam, &self.wanted.arn);
        match holder {
            PolicyHolder::Group(name) => {
                let request = iam.detach_group_policy().group_name(name);
                call!("iam:DetachGroupPolicy", request.policy_arn(arn))?;
            }
            PolicyHolder::User(name) => {
                let request = iam.detach_user_policy().user_name(name);
                call!("iam:DetachUserPolicy", request.policy_arn(arn))?;
            }
            PolicyHolder::Role(name) => {
                let request = iam.detach_role_policy().role_name(name);
                call!("iam:DetachRolePolicy", request.policy_arn(arn))?;
            }
        }
        Ok(())
    }

    /// Notes a change; returns whether it is to be made now.
    fn change(&mut self, what: &str, before: &str, after: &str) -> bool {
        let [what, before, after] = [what, before, after].map(str::to_owned);
        self.changes.push(Change { what, before, after });
        !self.dry_run
    }
}

/// What hosts and people need then.
pub fn said(done: &AccountLogins<'_>, role: Option<&str>) -> String {
    let issuer = done.issuer.as_deref().unwrap_or("AWS names it once federation is on");
    let holders = match done.holders.as_slice() {
        [] => format!("nobody has the policy {LOGIN_POLICY} yet; --logins-group GROUP attaches it"),
        holders => format!("who has the policy {LOGIN_POLICY}: {}", holders.join(", ")),
    };
    let role = match role {
        Some(role) => format!("The role {role} may read the issuer."),
        None => {
            "Their role must be allowed iam:GetOutboundWebIdentityFederationInfo: --instance-iam-role NAME does that."
                .to_owned()
        }
    };
    format!(
        "Issuer: {issuer}\nPeople: {holders}\nHosts: login_by = [\"iam-keys\", \"proof\"] in /etc/keymaker/keymakerd.toml, then \
         'systemctl reload keymakerd' and 'dpkg-reconfigure keymaker' (or 'dnf reinstall keymaker'). {role}\nOthers: 'keymaker configure --logins-guard-policy' prints what keeps roles from asking, for an organisation."
    )
}

/// What stays after `unmake`, and why.
pub fn stays(done: &AccountLogins<'_>) -> Option<String> {
    let issuer = done.issuer.as_ref()?;
    Some(format!(
        "outbound web identity federation stays on ({issuer}): 'keymaker configure' did not turn it on, and others may use it. To turn it off: \
         aws iam disable-outbound-web-identity-federation"
    ))
}

async fn issuer(iam: &Client) -> Result<Option<String>, AwsError> {
    let action = Action::GET_OUTBOUND_WEB_IDENTITY_FEDERATION_INFO;
    match iam.get_outbound_web_identity_federation_info().send().await {
        Ok(answer) => Ok(answer.issuer_identifier.filter(|_| answer.jwt_vending_enabled)),
        Err(error)
            if error
                .as_service_error()
                .is_some_and(|error| error.is_feature_disabled_exception()) =>
        {
            Ok(None)
        }
        Err(error) => Err(AwsCallError::from_sdk(action, error).into()),
    }
}

/// Who has the policy.
#[derive(PartialEq, Eq)]
enum PolicyHolder {
    Group(String),
    User(String),
    Role(String),
}

impl PolicyHolder {
    fn shown(&self) -> String {
        match self {
            Self::Group(name) => format!("group {name}"),
            Self::User(name) => format!("user {name}"),
            Self::Role(name) => format!("role {name}"),
        }
    }
}

fn federation_mark() -> Result<Tag, AwsError> {
    let tag = Tag::builder().key(FEDERATED_BY).value("configure").build();
    tag.map_err(|error| AwsError::NoRuntime(error.to_string()))
}

fn federated_by_us(present: &PresentPolicy) -> bool {
    present.policy.tags().iter().any(|tag| tag.key() == FEDERATED_BY)
}

/// The policy of people.
pub const LOGIN_POLICY: &str = "KeymakerLogins";
/// On the policy: federation was off before.
const FEDERATED_BY: &str = "keymaker:federation-by";
/// How the audiences of hosts begin (keymakerd.toml(5), `login_audience`).
const AUDIENCE: &str = "keymaker:";
/// The tag that names the user, and what AWS compares it with.
const USER_TAG: &str = "aws:RequestTag/keymaker-user";
const USER_ID: &str = "${aws:userid}";
const ASK: [&str; 2] = ["sts:GetWebIdentityToken", "sts:TagGetWebIdentityToken"];

#[cfg(test)]
mod tests {
    use super::*;

    // P21
    #[test]
    fn who_has_the_policy_may_ask_for_a_token_for_hosts_of_this_account_and_for_no_other() {
        let policy = login_policy("123456789012", true);
        let condition = &policy["Statement"][0]["Condition"];
        assert_eq!(policy["Statement"][0]["Action"], json!(ASK));
        let audience = &condition["ForAllValues:StringEquals"]["sts:IdentityTokenAudience"];
        assert_eq!(audience, "keymaker:123456789012");
        assert_eq!(condition["Null"]["sts:IdentityTokenAudience"], "false");
        assert_eq!(
            condition["Bool"],
            json!({ "aws:ViaAWSService": "false", "aws:MultiFactorAuthPresent": "true" })
        );
        assert_eq!(
            condition["StringEquals"]["aws:RequestTag/keymaker-user"],
            "${aws:userid}"
        );
        assert_eq!(policy["Statement"][1], guard_policy()["Statement"][0]);
        assert_eq!(policy["Statement"][2], guard_policy()["Statement"][1]);
        let without = login_policy("123456789012", false);
        assert_eq!(
            without["Statement"][0]["Condition"]["Bool"],
            json!({ "aws:ViaAWSService": "false" })
        );
        // Whoever asks for the second factor again is told what goes.
        assert_eq!(permissions_lost(&without, &policy).len(), 1);
    }
}
