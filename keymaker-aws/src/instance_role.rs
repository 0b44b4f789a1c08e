//! The role of this instance: where its credentials come from, and whether it is still the one as which a daemon's
//! clients call.
//!
//! An instance profile can be replaced while the instance runs; the former role's credentials are good for hours more.
//! So one set of clients calls as one role forever: the metadata service is asked for the role's name every minute, and
//! once it names another the clients are to be dropped. AWS's word that it does not accept the credentials has the
//! access key compared too, since sessions can be ended (IAM User Guide, "Revoke IAM role temporary security
//! credentials"); that word alone proves nothing, or any user of this host could have the clients dropped.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{self, ProvideCredentials, future};
use aws_sdk_iam::config::interceptors::AfterDeserializationInterceptorContextRef;
use aws_sdk_iam::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_smithy_runtime_api::box_error::BoxError;
use tokio::time::Instant;

use crate::metadata::{MetadataError, MetadataService};
use crate::refreshed_ahead::Clock;
use crate::replaced::{Ask, Replaced};

/// The role as which one set of clients calls. Clones are one.
#[derive(Clone)]
pub(crate) struct InstanceRole {
    shared: Arc<Shared>,
}

struct Shared {
    metadata: Arc<MetadataService>,
    now: Clock,
    /// Never held across an await.
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    /// Of the first credentials; none of another role follow.
    role_name: Option<String>,
    /// Of the last credentials.
    access_key_id: String,
    /// AWS has refused something since the access key was last compared.
    refused: bool,
    name_asked: Option<Instant>,
    key_asked: Option<Instant>,
}

impl InstanceRole {
    pub(crate) fn new(metadata: Arc<MetadataService>, now: Clock) -> Self {
        let held = Mutex::default();
        Self {
            shared: Arc::new(Shared { metadata, now, held }),
        }
    }

    /// What the metadata service says against the credentials in use. `None` where it is not to be asked yet, says
    /// nothing, or where no credentials are in use.
    pub(crate) async fn replaced(&self, ask: Ask) -> Result<Option<Replaced>, MetadataError> {
        let Some(compare) = self.shared.held().due(ask, Instant::now()) else {
            return Ok(None);
        };
        let answer = match compare {
            Compare::Name => self.shared.metadata.role_name().await.map(|name| (name, None)),
            Compare::Key => {
                let present = self.shared.metadata.role_credentials((self.shared.now)()).await;
                present.map(|(name, credentials)| (name, Some(credentials.access_key_id().to_owned())))
            }
        };
        let held = self.shared.held();
        let Some(former) = held.role_name.clone() else {
            return Ok(None);
        };
        match answer {
            Err(MetadataError::NoRole) => Ok(Some(Replaced::ByRole { former, present: None })),
            Ok((present, _)) if present != former => Ok(Some(Replaced::ByRole {
                former,
                present: Some(present),
            })),
            Ok((role, Some(key))) if key != held.access_key_id => Ok(Some(Replaced::BySession { role })),
            Ok(_) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn fetch(&self) -> provider::Result {
        let (role_name, credentials) = (self.shared.metadata.role_credentials((self.shared.now)()).await)
            .map_err(CredentialsError::provider_error)?;
        self.shared.held().take(role_name, credentials)
    }
}

/// What is compared.
enum Compare {
    /// The role's name.
    Name,
    /// The access key too.
    Key,
}

impl Shared {
    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    fn take(&mut self, role_name: String, credentials: Credentials) -> provider::Result {
        match &self.role_name {
            Some(former) if *former != role_name => {
                self.name_asked = None;
                let former = former.clone();
                let present = role_name;
                Err(CredentialsError::provider_error(MetadataError::AnotherRole {
                    former,
                    present,
                }))
            }
            _ => {
                self.role_name = Some(role_name);
                credentials.access_key_id().clone_into(&mut self.access_key_id);
                Ok(credentials)
            }
        }
    }

    /// Notes that it is asked, too: one that does not answer is not asked again at once.
    fn due(&mut self, ask: Ask, now: Instant) -> Option<Compare> {
        self.role_name.as_ref()?;
        let long_ago = |asked: Option<Instant>| asked.is_none_or(|at| now.duration_since(at) >= EACH);
        if self.refused && long_ago(self.key_asked) {
            (self.refused, self.key_asked, self.name_asked) = (false, Some(now), Some(now));
            return Some(Compare::Key);
        }
        if ask == Ask::Now || long_ago(self.name_asked) {
            self.name_asked = Some(now);
            return Some(Compare::Name);
        }
        None
    }
}

impl ProvideCredentials for InstanceRole {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.fetch())
    }
}

impl fmt::Debug for InstanceRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InstanceRole")
    }
}

/// Notes when AWS refuses what was signed with the role's credentials. Every client that has them has this.
#[derive(Debug)]
pub(crate) struct HearsRefusal(pub(crate) InstanceRole);

impl Intercept for HearsRefusal {
    fn name(&self) -> &'static str {
        "HearsRefusal"
    }

    fn read_after_deserialization(
        &self,
        context: &AfterDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let answer = context.response();
        let body = answer.body().bytes().and_then(|body| std::str::from_utf8(body).ok());
        let names = |code: &str| body.is_some_and(|body| body.contains(&format!("<Code>{code}")));
        if answer.status().is_client_error() && REFUSALS.iter().any(|code| names(code)) {
            self.0.shared.held().refused = true;
        }
        Ok(())
    }
}

/// The metadata service is on this host: a question costs nothing.
const EACH: Duration = Duration::from_secs(60);
/// What AWS answers to credentials of a role that is gone or whose sessions were ended; `…Exception` too (IAM and STS
/// API Reference, "Common Errors").
const REFUSALS: [&str; 4] = [
    "AccessDenied",
    "ExpiredToken",
    "InvalidClientTokenId",
    "UnrecognizedClient",
];

#[cfg(test)]
mod tests;
