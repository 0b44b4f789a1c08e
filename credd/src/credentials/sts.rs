//! sts:AssumeRole, the one call that makes credentials. The methods say what the session is; nothing here decides anything.

use std::time::SystemTime;

use aws_sdk_sts::types::{PolicyDescriptorType, Tag};
use keymaker_aws::{Action, AwsCallError, RoleArn};
use session_policy::SessionPolicies;

use crate::imds::credential_source::{Credentials, Secret};

/// One session to be made.
pub struct Session<'a> {
    /// Of this role.
    pub role: &'a RoleArn,
    /// Which has this id; None: whatever id it has.
    pub role_id: Option<&'a str>,
    /// By this name.
    pub role_session_name: String,
    /// Cut to these policies; None: all that the role has.
    pub policies: Option<&'a SessionPolicies>,
    /// With these tags.
    pub tags: Vec<(&'static str, String)>,
    /// Whether the tags stay with every session that this one begets (STS API Reference, AssumeRole, TransitiveTagKeys): "you cannot pass a
    /// session tag with the same key as an inherited one".
    pub for_ever: bool,
    /// With this SourceIdentity.
    pub source_identity: Option<String>,
}

/// Makes the session. `now` is when it begins.
pub async fn assume(
    sts: &aws_sdk_sts::Client,
    session: Session<'_>,
    now: SystemTime,
) -> Result<Credentials, AwsCallError> {
    let action = Action::ASSUME_ROLE;
    let unreadable = |what: String| AwsCallError::unreadable(action, what);
    let mut request = sts
        .assume_role()
        .role_arn(session.role.to_string())
        .role_session_name(session.role_session_name)
        .set_source_identity(session.source_identity);
    if let Some(policies) = session.policies {
        let arns = policies
            .policy_arns()
            .iter()
            .map(|arn| PolicyDescriptorType::builder().arn(arn).build());
        request = request
            .set_policy(policies.policy().map(|policy| policy.as_str().to_owned()))
            .set_policy_arns(Some(arns.collect()));
    }
    for (key, value) in session.tags {
        if session.for_ever {
            request = request.transitive_tag_keys(key);
        }
        let tag = Tag::builder().key(key).value(value).build();
        request = request.tags(tag.map_err(|error| unreadable(error.to_string()))?);
    }
    let answer = request.send().await;
    let answer = answer.map_err(|error| AwsCallError::from_sdk(action, error))?;
    // STS API Reference, AssumedRoleUser: "contains the role ID and the role session name of the role that is being assumed".
    let assumed = answer.assumed_role_user.as_ref().map(|user| user.assumed_role_id());
    let assumed = assumed.and_then(|id| id.split(':').next()).unwrap_or_default();
    if let Some(wanted) = session.role_id.filter(|wanted| *wanted != assumed) {
        let what = format!(
            "it is a session of {assumed}, and the role that was looked at is {wanted}: it was recreated in the \
            meantime"
        );
        return Err(unreadable(what));
    }
    let lacking = || unreadable("it lacks key, secret, token or expiration".to_owned());
    let given = answer.credentials.ok_or_else(lacking)?;
    let expiration = SystemTime::try_from(given.expiration).map_err(|_| lacking())?;
    let credentials = Credentials {
        access_key_id: given.access_key_id,
        secret_access_key: Secret::new(given.secret_access_key),
        sts_session_token: Secret::new(given.session_token),
        last_updated: now,
        expiration,
    };
    let filled = [
        &credentials.access_key_id,
        credentials.secret_access_key.expose(),
        credentials.sts_session_token.expose(),
    ];
    if filled.iter().any(|part| part.is_empty()) {
        return Err(lacking());
    }
    Ok(credentials)
}
