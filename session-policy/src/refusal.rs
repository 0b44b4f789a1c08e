//! Why no session policy can be made: the sentences that the administrator reads in the audit line, `credd --check` and
//! the log. Every refusal means that no credentials are issued; none ever leads to another method or to a wider policy.

use std::fmt;

use super::limits::MAX_CHARACTERS;

/// Why a user's policies cannot be turned into a session policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PolicyRefusal {
    /// "POLICY is not a JSON document: DETAIL; correct it in IAM."
    NotJson {
        /// Which policy, as the administrator knows it.
        policy: String,
        /// What the JSON reader says, with line and column.
        detail: String,
    },
    /// "POLICY is not a policy as IAM's grammar has it: expected EXPECTED; correct it in IAM."
    Malformed {
        /// Which policy.
        policy: String,
        /// What should have been there.
        expected: &'static str,
    },
    /// "POLICY has Version VERSION; only 2012-10-17 and 2008-10-17 are known."
    UnknownVersion {
        /// Which policy.
        policy: String,
        /// What stands there.
        version: String,
    },
    /// "POLICY has the element ELEMENT, which credd does not know and so cannot carry over; remove it in IAM."
    UnknownElement {
        /// Which policy.
        policy: String,
        /// The element's name.
        element: String,
    },
    /// "POLICY has Effect EFFECT; IAM knows Allow and Deny, written exactly so."
    UnknownEffect {
        /// Which policy.
        policy: String,
        /// What stands there.
        effect: String,
    },
    /// "POLICY names a Principal; that belongs to policies of resources and roles, not of users."
    Principal {
        /// Which policy.
        policy: String,
    },
    /// "POLICY has 'TEXT', whose ${…} cannot be read; close it, or write ${$} for a dollar sign."
    UnreadableVariable {
        /// Which policy.
        policy: String,
        /// The resource or condition value.
        text: String,
    },
    /// "POLICY uses KEY, which has another value, or none, in a role session; give this user a role of their own
    /// (`user_role`)."
    BoundToPrincipal {
        /// Which policy.
        policy: String,
        /// The condition key, in lower case.
        key: String,
    },
    /// "POLICY uses KEY, which is another account's in a session of this role; give this user a role of their own."
    BoundToAccount {
        /// Which policy.
        policy: String,
        /// The condition key, in lower case.
        key: String,
    },
    /// "POLICY asks by KEY for multi-factor authentication, which a role session made here never has; exempt this
    /// policy from it, or give this user a role of their own."
    MultiFactor {
        /// Which policy.
        policy: String,
        /// The condition key, in lower case.
        key: String,
    },
    /// "The user has the permissions boundary BOUNDARY; a session policy cannot express a second limit. Use
    /// `create_user_role`, which copies the boundary."
    PermissionsBoundary {
        /// The boundary's ARN.
        boundary: String,
    },
    /// "The session policy and the ARNs have CHARACTERS characters; STS takes 2,048. Move inline policies into managed
    /// ones, try `compress_user_policy`, or give this user a role of their own."
    TooLong {
        /// How many there would be.
        characters: usize,
    },
    /// "The session policy has the character CHARACTER, which STS does not take; it takes U+0020 to U+00FF."
    ForbiddenCharacter {
        /// The first such character.
        character: char,
    },
    /// "`deny_actions` is empty, so `instance_role` would hand out the whole role; name at least one action."
    NoDenyActions,
    /// "'TEXT' is not an action; write SERVICE:NAME, such as iam:* or ssm:GetParameter*."
    NoAction(String),
    /// "'TEXT' is not the ARN of a managed policy, `arn:PARTITION:iam::ACCOUNT:policy/NAME`."
    NoPolicyArn(String),
}

impl fmt::Display for PolicyRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotJson { policy, detail } => {
                write!(f, "{policy} is not a JSON document: {detail}; correct it in IAM")
            }
            Self::Malformed { policy, expected } => write!(
                f,
                "{policy} is not a policy by IAM's grammar: expected {expected}; correct it in IAM"
            ),
            Self::UnknownVersion { policy, version } => {
                write!(
                    f,
                    "{policy} has Version {version:?}; only 2012-10-17 and 2008-10-17 are known"
                )
            }
            Self::UnknownElement { policy, element } => write!(
                f,
                "{policy} has the element {element:?}, which credd does not know and so cannot carry over; remove it \
                in IAM"
            ),
            Self::UnknownEffect { policy, effect } => {
                write!(
                    f,
                    "{policy} has Effect {effect:?}; IAM knows Allow and Deny, written exactly so"
                )
            }
            Self::Principal { policy } => write!(
                f,
                "{policy} names a Principal; that belongs to policies of resources and roles, not of users"
            ),
            Self::UnreadableVariable { policy, text } => write!(
                f,
                "{policy} has {text:?}, whose ${{…}} cannot be read; close it, or write ${{$}} for a dollar sign"
            ),
            Self::BoundToPrincipal { policy, key } => write!(
                f,
                "{policy} uses {key}, which has another value, or none, in a role session; \
                 give this user a role of their own (user_role)"
            ),
            Self::BoundToAccount { policy, key } => write!(
                f,
                "{policy} uses {key}, which is another account's in a session of this role; \
                 give this user a role of their own (user_role)"
            ),
            Self::MultiFactor { policy, key } => write!(
                f,
                "{policy} asks by {key} for multi-factor authentication, which a role session made here never has; \
                 exempt this policy from it, or give this user a role of their own (user_role)"
            ),
            Self::PermissionsBoundary { boundary } => write!(
                f,
                "the user has the permissions boundary {boundary}; a session policy cannot express a second limit; \
                 use create_user_role, which copies the boundary"
            ),
            Self::TooLong { characters } => write!(
                f,
                "the session policy and the ARNs have {characters} characters; STS takes {MAX_CHARACTERS}; move inline \
                 policies into managed ones, try compress_user_policy, or give this user a role of their own (user_role)"
            ),
            Self::ForbiddenCharacter { character } => write!(
                f,
                "the session policy has the character {character:?}, which STS does not take; it takes U+0020 to U+00FF"
            ),
            Self::NoDenyActions => f.write_str(
                "deny_actions is empty, so instance_role would hand out the whole role; name at least one action",
            ),
            Self::NoAction(text) => {
                write!(
                    f,
                    "{text:?} is not an action; write SERVICE:NAME, such as iam:* or ssm:GetParameter*"
                )
            }
            Self::NoPolicyArn(text) => write!(
                f,
                "{text:?} is not the ARN of a managed policy, arn:PARTITION:iam::ACCOUNT:policy/NAME"
            ),
        }
    }
}

impl std::error::Error for PolicyRefusal {}
