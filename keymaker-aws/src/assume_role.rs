//! sts:AssumeRole, the one call that makes credentials, and what its answer must hold to count. keymakerd and credd
//! assume the id resolver with it ([`crate::AwsClients::assuming`]), and credd's methods make each user's session.
//! Nothing here decides who gets a session, and nothing here keeps or shows a secret.

use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_sdk_sts::types::{PolicyDescriptorType, Tag};
use keymaker_syntax::{CallerIdentity, RoleArn};

use crate::call_error::{Action, AwsCallError};

/// One session of a role, to be made.
pub struct RoleSession<'a> {
    /// The role.
    pub role: &'a RoleArn,
    /// The id that the role must have; `None`: whatever id it has.
    pub role_id: Option<&'a str>,
    /// What CloudTrail calls the session.
    pub role_session_name: &'a str,
    /// The inline session policy, as JSON; `None` beside no `policy_arns`: all that the role has.
    pub policy: Option<&'a str>,
    /// The ARNs of managed policies that cut the session too.
    pub policy_arns: &'a [String],
    /// Session tags.
    pub tags: &'a [(&'static str, String)],
    /// Whether the tags stay with every session that this one begets (STS API Reference, `AssumeRole`,
    /// TransitiveTagKeys): "you cannot pass a session tag with the same key as an inherited one".
    pub transitive_tags: bool,
    /// The `SourceIdentity`.
    pub source_identity: Option<&'a str>,
}

impl<'a> RoleSession<'a> {
    /// With everything that the role has.
    pub fn whole(role: &'a RoleArn, role_session_name: &'a str) -> Self {
        Self {
            role,
            role_id: None,
            role_session_name,
            policy: None,
            policy_arns: &[],
            tags: &[],
            transitive_tags: false,
            source_identity: None,
        }
    }
}

/// Makes the session. The credentials always have a session token and an expiry. Fails where the answer is about
/// another role id than the one wanted, and where a part of the credentials is missing or empty.
pub async fn assume_role(sts: &aws_sdk_sts::Client, session: &RoleSession<'_>) -> Result<Credentials, AwsCallError> {
    let action = Action::ASSUME_ROLE;
    let unreadable = |what: String| AwsCallError::unreadable(action, what);
    let mut request = sts
        .assume_role()
        .role_arn(session.role.to_string())
        .role_session_name(session.role_session_name)
        .set_source_identity(session.source_identity.map(str::to_owned))
        .set_policy(session.policy.map(str::to_owned));
    for arn in session.policy_arns {
        request = request.policy_arns(PolicyDescriptorType::builder().arn(arn).build());
    }
    for (key, value) in session.tags {
        if session.transitive_tags {
            request = request.transitive_tag_keys(*key);
        }
        let tag = Tag::builder().key(*key).value(value).build();
        request = request.tags(tag.map_err(|error| unreadable(error.to_string()))?);
    }
    let answer = request.send().await;
    let answer = answer.map_err(|error| AwsCallError::from_sdk(action, error))?;
    // STS API Reference, AssumedRoleUser: "contains the role ID and the role session name of the role that is being
    // assumed".
    let assumed = answer.assumed_role_user.as_ref().map(|user| user.assumed_role_id());
    let assumed = assumed.and_then(|id| id.split(':').next()).unwrap_or_default();
    if let Some(wanted) = session.role_id.filter(|wanted| *wanted != assumed) {
        return Err(unreadable(format!(
            "it is a session of {assumed}, and the role that was looked at is {wanted}: it was recreated in the meantime"
        )));
    }
    let lacking = || unreadable("it lacks key, secret, token or expiration".to_owned());
    let given = answer.credentials.ok_or_else(lacking)?;
    let expires = SystemTime::try_from(given.expiration).map_err(|_| lacking())?;
    let filled = [&given.access_key_id, &given.secret_access_key, &given.session_token];
    if filled.iter().any(|part| part.is_empty()) {
        return Err(lacking());
    }
    // The SDK's type takes the strings over, shows none of the secrets in Debug and wipes them when dropped.
    Ok(Credentials::new(
        given.access_key_id,
        given.secret_access_key,
        Some(given.session_token),
        Some(expires),
        "sts:AssumeRole",
    ))
}

/// sts:GetCallerIdentity: account, partition and principal of the client's credentials. Needs no permission.
pub async fn caller_identity(sts: &aws_sdk_sts::Client) -> Result<CallerIdentity, AwsCallError> {
    caller_with_id(sts).await.map(|(identity, _)| identity)
}

/// The same, and the caller's `UserId`, which policies call `aws:userid`.
pub async fn caller_with_id(sts: &aws_sdk_sts::Client) -> Result<(CallerIdentity, String), AwsCallError> {
    let action = Action::GET_CALLER_IDENTITY;
    let answer = sts.get_caller_identity().send().await;
    let answer = answer.map_err(|error| AwsCallError::from_sdk(action, error))?;
    let identity = CallerIdentity::from_arn(answer.arn().unwrap_or_default());
    let identity = identity.map_err(|why| AwsCallError::unreadable(action, why.to_string()))?;
    Ok((identity, answer.user_id.unwrap_or_default()))
}
