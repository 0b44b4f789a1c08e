//! What can come of a call to AWS, sorted by what a daemon may conclude from it. Every call's error passes through
//! [`AwsCallError::from_sdk`] (`sdk_error`). Only `NoSuchEntity` is a statement about an entity; nothing else may be
//! read as absence.

use std::error::Error;
use std::fmt;

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
    /// "{action} could not be asked, since this host has run out of something: …" AWS may well be answering, and
    /// anybody who filled this host may have done so to keep it from being asked: this is not an outage.
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

    /// Whether AWS did answer, and what it said may hold for this request alone: a policy can name single users, and
    /// one user's data be odd. It says nothing about the next user's.
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

    /// Whether AWS gave no answer although this host asked: it did not answer in time, could not be reached, or failed on its side. Throttling
    /// and refusals are answers, which whoever has credentials of the account can bring about; credentials come from this host's own
    /// metadata service.
    pub fn is_silence(&self) -> bool {
        let Self::Outage { cause, .. } = self else {
            return false;
        };
        matches!(
            cause,
            OutageCause::Timeout | OutageCause::Unreachable(_) | OutageCause::ServerError(_)
        )
    }

    /// An answer that cannot be what AWS meant: fields missing, the wrong entity, pages that do not end.
    pub fn unreadable(action: Action, what: impl Into<String>) -> Self {
        Self::Outage {
            action,
            cause: OutageCause::Unreadable(what.into()),
        }
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
                "{action} was throttled: the account makes more calls than AWS allows; Keymaker tries again later, \
                 and a longer sync_interval on all hosts of the account lowers the rate"
            ),
            Self::ThisHost { action, why } => write!(
                f,
                "{action} could not be asked: this host has run out of a resource ({why}); find out what is using it: \
                 'ss -tuanp' shows ports, 'lsof' descriptors, 'free' memory"
            ),
            Self::Outage { action, cause } => write!(f, "{action} got no usable answer: {cause}"),
        }
    }
}

impl Error for AwsCallError {}

impl fmt::Display for OutageCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Timeout => {
                f.write_str("no answer came before the deadline; check the route, firewall and proxy to AWS")
            }
            Self::Unreachable(why) => {
                write!(
                    f,
                    "no connection ({why}); check name resolution, route, https_proxy and ca_bundle"
                )
            }
            Self::ServerError(status) => write!(
                f,
                "AWS failed with HTTP {status}; there is nothing to do here but \
                wait"
            ),
            Self::Unreadable(why) => {
                write!(
                    f,
                    "the answer does not come from AWS ({why}); check the endpoint and proxy settings"
                )
            }
            Self::Credentials(why) => write!(
                f,
                "the credentials of this host's role could not be obtained, or AWS did not accept them ({why}); check the instance profile, \
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
    /// iam:GetOutboundWebIdentityFederationInfo.
    pub const GET_OUTBOUND_WEB_IDENTITY_FEDERATION_INFO: Self = Self("iam:GetOutboundWebIdentityFederationInfo");
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
