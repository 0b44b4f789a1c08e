//! Credentials of another role, by sts:AssumeRole; those of the instance's own come from `instance_role.rs`. Both are asked
//! through [`crate::refreshed_ahead`] only. Nothing here keeps or shows a secret.

use std::fmt;
use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{self, ProvideCredentials, future};
use keymaker_syntax::RoleArn;

use crate::call_error::{Action, AwsCallError};

/// A role assumed with the credentials of the STS client given.
pub(crate) struct AssumedRole {
    sts: aws_sdk_sts::Client,
    role: RoleArn,
    role_session_name: String,
}

impl AssumedRole {
    pub(crate) fn new(sts: aws_sdk_sts::Client, role: RoleArn, role_session_name: &str) -> Self {
        Self {
            sts,
            role,
            role_session_name: role_session_name.to_owned(),
        }
    }

    async fn fetch(&self) -> provider::Result {
        self.assume().await.map_err(CredentialsError::provider_error)
    }

    async fn assume(&self) -> Result<Credentials, AwsCallError> {
        let action = Action::ASSUME_ROLE;
        let request = self
            .sts
            .assume_role()
            .role_arn(self.role.to_string())
            .role_session_name(&self.role_session_name);
        let answer = request
            .send()
            .await
            .map_err(|error| AwsCallError::from_sdk(action, error))?;
        let unreadable = || AwsCallError::unreadable(action, "it lacks key, secret, token or expiration");
        let given = answer.credentials.ok_or_else(unreadable)?;
        let expires = SystemTime::try_from(given.expiration).map_err(|_| unreadable())?;
        let filled = [&given.access_key_id, &given.secret_access_key, &given.session_token];
        if filled.iter().any(|part| part.is_empty()) {
            return Err(unreadable());
        }
        let (id, secret, token) = (given.access_key_id, given.secret_access_key, given.session_token);
        Ok(Credentials::new(
            id,
            secret,
            Some(token),
            Some(expires),
            "sts:AssumeRole",
        ))
    }
}

impl ProvideCredentials for AssumedRole {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.fetch())
    }
}

impl fmt::Debug for AssumedRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AssumedRole({})", self.role)
    }
}
