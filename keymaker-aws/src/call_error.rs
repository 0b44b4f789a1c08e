//! What can come of a call to AWS, sorted by what a daemon may conclude from it. Every call's error passes through
//! [`AwsCallError::from_sdk`]. Only `NoSuchEntity` is a statement about an entity; nothing else may be read as absence.

use std::error::Error;
use std::fmt;
use std::io;
use std::net::{Ipv4Addr, UdpSocket};

use aws_sdk_iam::config::http::HttpResponse;
use aws_sdk_iam::error::{ProvideErrorMetadata, SdkError};
#[cfg(feature = "host")]
use rustix::io::Errno;

use crate::metadata::MetadataError;

/// Why a call to AWS gave no result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AwsCallError {
    /// "{action}: AWS has no such entity."
    NoSuchEntity {
        /// The call.
        action: Action,
    },
    /// "{action} was denied: …; allow {action} in a policy of the role that this host uses."
    AccessDenied {
        /// The call, and the permission that is missing.
        action: Action,
        /// AWS's own sentence, which names the principal and the policy at fault.
        message: String,
    },
    /// "{action} was throttled: the account makes more calls than AWS allows; …"
    Throttled {
        /// The call.
        action: Action,
    },
    /// "{action} could not be asked, since this host has run out of something: …" AWS may well be answering, and whoever filled this host may
    /// have done so to keep it from being asked: this is no outage.
    ThisHost {
        /// The call.
        action: Action,
        /// What this host has run out of.
        why: String,
    },
    /// "{action} got no answer that counts: …"
    Outage {
        /// The call.
        action: Action,
        /// What went wrong.
        cause: OutageCause,
    },
}

/// What kept a call from being answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OutageCause {
    /// No answer before the deadline.
    Timeout,
    /// No connection: name resolution, routing, proxy, TLS.
    Unreachable(String),
    /// AWS failed on its side (HTTP 5xx).
    ServerError(u16),
    /// An answer came that is not what AWS answers.
    Unreadable(String),
    /// There are no credentials to sign with, or AWS does not accept them (expired, clock wrong).
    Credentials(String),
    /// AWS refused the request for a reason that no other variant names.
    Refused {
        /// AWS's word for the reason, such as `PackedPolicyTooLarge`.
        code: String,
        /// AWS's sentence.
        message: String,
    },
}

impl AwsCallError {
    /// The call that failed.
    pub fn action(&self) -> Action {
        match self {
            Self::NoSuchEntity { action }
            | Self::AccessDenied { action, .. }
            | Self::Throttled { action }
            | Self::ThisHost { action, .. }
            | Self::Outage { action, .. } => *action,
        }
    }

    /// Whether AWS did answer, and what it said may hold for this request alone: a policy can name single users, and one user's data be
    /// odd. It says nothing about the next user's.
    pub fn is_about_this_request(&self) -> bool {
        match self {
            Self::NoSuchEntity { .. } | Self::AccessDenied { .. } => true,
            Self::Throttled { .. } | Self::ThisHost { .. } => false,
            Self::Outage { cause, .. } => matches!(cause, OutageCause::Unreadable(_) | OutageCause::Refused { .. }),
        }
    }

    /// Whether AWS could not even be asked, for want of something on this host.
    pub fn is_of_this_host(&self) -> bool {
        matches!(self, Self::ThisHost { .. })
    }

    /// An answer that cannot be what AWS meant: fields missing, the wrong entity, pages that do not end.
    pub fn unreadable(action: Action, what: impl Into<String>) -> Self {
        Self::Outage {
            action,
            cause: OutageCause::Unreadable(what.into()),
        }
    }

    /// Sorts the SDK's error.
    pub fn from_sdk<E>(action: Action, error: SdkError<E, HttpResponse>) -> Self
    where
        E: ProvideErrorMetadata + Error + Send + Sync + 'static,
    {
        if let Some(why) = lack_of_this_host(&error) {
            return Self::ThisHost { action, why };
        }
        let cause = match &error {
            SdkError::ServiceError(answer) => {
                let status = answer.raw().status().as_u16();
                return Self::from_answer(action, status, answer.err().code(), answer.err().message());
            }
            SdkError::TimeoutError(_) => OutageCause::Timeout,
            SdkError::DispatchFailure(failure) if failure.is_timeout() => OutageCause::Timeout,
            SdkError::DispatchFailure(_) => unreachable_or_unsigned(&error),
            SdkError::ResponseError(answer) if answer.raw().status().is_server_error() => {
                OutageCause::ServerError(answer.raw().status().as_u16())
            }
            SdkError::ResponseError(_) => OutageCause::Unreadable(innermost(&error)),
            _ => unreachable_or_unsigned(&error),
        };
        Self::Outage { action, cause }
    }

    /// Sorts an error document of AWS's by its code. Codes: IAM and STS API Reference, "Common Errors".
    fn from_answer(action: Action, status: u16, code: Option<&str>, message: Option<&str>) -> Self {
        let message = printable(message.unwrap_or_default());
        let cause = match code.unwrap_or_default() {
            "NoSuchEntity" if status == 404 => return Self::NoSuchEntity { action },
            "AccessDenied" | "AccessDeniedException" | "UnauthorizedOperation" | "AuthorizationError" => {
                return Self::AccessDenied { action, message };
            }
            "Throttling"
            | "ThrottlingException"
            | "ThrottledException"
            | "RequestLimitExceeded"
            | "RequestThrottled"
            | "RequestThrottledException"
            | "TooManyRequestsException"
            | "SlowDown" => return Self::Throttled { action },
            _ if status == 429 => return Self::Throttled { action },
            _ if status >= 500 => OutageCause::ServerError(status),
            code @ ("ExpiredToken"
            | "ExpiredTokenException"
            | "InvalidClientTokenId"
            | "UnrecognizedClientException"
            | "SignatureDoesNotMatch"
            | "RequestExpired"
            | "IncompleteSignature"
            | "MissingAuthenticationToken"
            | "MissingAuthenticationTokenException"
            | "NotAuthorized"
            | "OptInRequired") => OutageCause::Credentials(format!("{code}: {message}")),
            "" => OutageCause::Unreadable(format!("HTTP {status} without an error code")),
            code => OutageCause::Refused {
                code: printable(code),
                message,
            },
        };
        Self::Outage { action, cause }
    }
}

impl fmt::Display for AwsCallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSuchEntity { action } => write!(f, "{action}: AWS has no such entity"),
            Self::AccessDenied { action, message } => write!(
                f,
                "{action} was denied ({message}); allow {action} in a policy of the role that this host uses"
            ),
            Self::Throttled { action } => write!(
                f,
                "{action} was throttled: the account makes more calls than AWS allows; it is tried again later, and a longer \
                 sync_interval on all hosts of the account lowers the rate"
            ),
            Self::ThisHost { action, why } => write!(
                f,
                "{action} could not be asked, since this host has run out of something ({why}); find out who holds it: \
                 'ss -tuanp' shows ports, 'lsof' descriptors, 'free' memory"
            ),
            Self::Outage { action, cause } => write!(f, "{action} got no answer that counts: {cause}"),
        }
    }
}

impl Error for AwsCallError {}

impl fmt::Display for OutageCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Timeout => {
                f.write_str("nothing came before the deadline; check the route, firewall and proxy to AWS")
            }
            Self::Unreachable(why) => {
                write!(
                    f,
                    "no connection ({why}); check name resolution, route, https_proxy and ca_bundle"
                )
            }
            Self::ServerError(status) => write!(f, "AWS failed with HTTP {status}; nothing to do here but wait"),
            Self::Unreadable(why) => {
                write!(
                    f,
                    "the answer is not one of AWS's ({why}); check the endpoint and proxy settings"
                )
            }
            Self::Credentials(why) => write!(
                f,
                "the credentials of this host's role were not to be had or not accepted ({why}); check the instance profile, \
                 the metadata service and the clock"
            ),
            Self::Refused { code, message } => {
                write!(
                    f,
                    "AWS refused the request ({code}: {message}); check the settings that this call uses"
                )
            }
        }
    }
}

/// An IAM or STS action as policies spell it, such as `iam:GetUser`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Action(&'static str);

impl Action {
    /// iam:GetAccountAuthorizationDetails.
    pub const GET_ACCOUNT_AUTHORIZATION_DETAILS: Self = Self("iam:GetAccountAuthorizationDetails");
    /// iam:GetGroup.
    pub const GET_GROUP: Self = Self("iam:GetGroup");
    /// iam:GetRole.
    pub const GET_ROLE: Self = Self("iam:GetRole");
    /// iam:GetSSHPublicKey.
    pub const GET_SSH_PUBLIC_KEY: Self = Self("iam:GetSSHPublicKey");
    /// iam:GetUser.
    pub const GET_USER: Self = Self("iam:GetUser");
    /// iam:ListGroups.
    pub const LIST_GROUPS: Self = Self("iam:ListGroups");
    /// iam:ListGroupsForUser.
    pub const LIST_GROUPS_FOR_USER: Self = Self("iam:ListGroupsForUser");
    /// iam:ListSSHPublicKeys.
    pub const LIST_SSH_PUBLIC_KEYS: Self = Self("iam:ListSSHPublicKeys");
    /// iam:ListUsers.
    pub const LIST_USERS: Self = Self("iam:ListUsers");
    /// sts:AssumeRole.
    pub const ASSUME_ROLE: Self = Self("sts:AssumeRole");
    /// sts:GetCallerIdentity.
    pub const GET_CALLER_IDENTITY: Self = Self("sts:GetCallerIdentity");

    /// Any other action, written as in policies: `service:Action`.
    pub const fn named(name: &'static str) -> Self {
        Self(name)
    }

    /// The name as policies spell it.
    pub fn as_str(self) -> &'static str {
        self.0
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// What this host has run out of, where that is why a call failed.
fn lack_of_this_host<E: Error + Send + Sync + 'static>(error: &SdkError<E, HttpResponse>) -> Option<String> {
    match error {
        SdkError::ServiceError(_) | SdkError::ResponseError(_) => None,
        SdkError::DispatchFailure(failure) if !failure.is_timeout() => {
            local_error(error).or_else(|| lack_of_ports(failure.is_io()))
        }
        _ => local_error(error),
    }
}

/// The first error of the chain that is about this host and not about AWS.
fn local_error(error: &(dyn Error + 'static)) -> Option<String> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(AwsCallError::ThisHost { why, .. }) = error.downcast_ref() {
            return Some(why.clone());
        }
        if let Some(MetadataError::ThisHost(why)) = error.downcast_ref() {
            return Some(why.clone());
        }
        if let Some(io) = error.downcast_ref::<io::Error>() {
            if is_of_this_host(io) {
                return Some(printable(&io.to_string()));
            }
            // An error inside an io::Error is not in its chain; only that one's sources are.
            if let Some(why) = io.get_ref().and_then(|inner| local_error(inner)) {
                return Some(why);
            }
        }
        next = error.source();
    }
    None
}

/// Errors by which the kernel says that this host has no more of something: connect(2), socket(2), open(2).
#[cfg(feature = "host")]
pub(crate) fn is_of_this_host(error: &io::Error) -> bool {
    let lacks = [
        Errno::ADDRNOTAVAIL,
        Errno::ADDRINUSE,
        Errno::MFILE,
        Errno::NFILE,
        Errno::NOBUFS,
        Errno::NOMEM,
        Errno::NOSPC,
    ];
    Errno::from_io_error(error).is_some_and(|errno| lacks.contains(&errno))
}

/// On a user's own computer nobody decides by the difference.
#[cfg(not(feature = "host"))]
pub(crate) fn is_of_this_host(_: &io::Error) -> bool {
    false
}

/// getaddrinfo(3) tells "no port to ask a name server from" as it tells "no name server", so it is tried.
fn lack_of_ports(unreachable: bool) -> Option<String> {
    let tried = unreachable.then(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)))?;
    tried
        .err()
        .filter(is_of_this_host)
        .map(|why| printable(&why.to_string()))
}

/// The SDK wraps a failure to obtain credentials and a failed connection alike; the chain of sources tells them apart.
fn unreachable_or_unsigned(error: &(dyn Error + 'static)) -> OutageCause {
    use aws_credential_types::provider::error::CredentialsError;
    let mut source = Some(error);
    while let Some(inner) = source {
        if inner.is::<CredentialsError>() {
            return OutageCause::Credentials(innermost(inner));
        }
        source = inner.source();
    }
    OutageCause::Unreachable(innermost(error))
}

/// The last error of the chain, which names the cause where the outer ones name the layers.
fn innermost(error: &(dyn Error + 'static)) -> String {
    let mut last = error;
    while let Some(inner) = last.source() {
        last = inner;
    }
    printable(&last.to_string())
}

/// Text from outside, fit for one line of a log: no control characters, at most 300 characters.
fn printable(text: &str) -> String {
    text.chars()
        .take(300)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use aws_credential_types::provider::error::CredentialsError;
    use aws_sdk_iam::operation::get_user::GetUserError;
    use aws_smithy_runtime_api::client::result::ConnectorError;

    use super::*;

    fn sorted(cause: impl Into<Box<dyn Error + Send + Sync>>) -> AwsCallError {
        let error: SdkError<GetUserError, HttpResponse> = SdkError::dispatch_failure(ConnectorError::io(cause.into()));
        AwsCallError::from_sdk(Action::GET_USER, error)
    }

    // P3
    #[test]
    #[cfg(feature = "host")]
    fn what_this_host_has_run_out_of_is_no_outage_of_awss() {
        for errno in [
            Errno::ADDRNOTAVAIL,
            Errno::MFILE,
            Errno::NFILE,
            Errno::NOBUFS,
            Errno::NOMEM,
            Errno::NOSPC,
        ] {
            let error = || io::Error::from(errno);
            assert!(sorted(error()).is_of_this_host(), "{errno}");
            assert!(sorted(io::Error::other(error())).is_of_this_host(), "{errno}");
            assert!(sorted(io::Error::other(CredentialsError::provider_error(error()))).is_of_this_host());
        }
        let metadata = CredentialsError::provider_error(MetadataError::ThisHost("no port".into()));
        assert!(sorted(metadata).is_of_this_host());
        for errno in [Errno::CONNREFUSED, Errno::NETUNREACH, Errno::TIMEDOUT, Errno::CONNRESET] {
            let error = sorted(io::Error::from(errno));
            assert!(matches!(error, AwsCallError::Outage { .. }), "{errno}: {error}");
        }
    }
}
