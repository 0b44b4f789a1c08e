//! Credentials of another role, where a client calls with them; those of the instance's own role come from
//! `instance_role.rs`. Both are asked through [`crate::refreshed_ahead`] only. Nothing here keeps or shows a secret.

use std::fmt;

use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{self, ProvideCredentials, future};
use keymaker_syntax::RoleArn;

use crate::assume_role::{RoleSession, assume_role};

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
        let session = RoleSession::whole(&self.role, &self.role_session_name);
        let credentials = assume_role(&self.sts, &session).await;
        credentials.map_err(CredentialsError::provider_error)
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
