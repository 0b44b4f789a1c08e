//! Sorts what the SDK says of a failed call into [`AwsCallError`]. Every client of this crate has it do so.

use std::error::Error;
use std::io;
use std::net::{Ipv4Addr, UdpSocket};

use aws_sdk_iam::config::http::HttpResponse;
use aws_sdk_iam::error::{ProvideErrorMetadata, SdkError};

use crate::call_error::{Action, AwsCallError, OutageCause};
use crate::metadata::MetadataError;
use crate::this_host::is_of_this_host;

impl AwsCallError {
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
    pub(crate) fn from_answer(action: Action, status: u16, code: Option<&str>, message: Option<&str>) -> Self {
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
pub(crate) fn local_error(error: &(dyn Error + 'static)) -> Option<String> {
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
    #[cfg(feature = "host")]
    use rustix::io::Errno;

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
