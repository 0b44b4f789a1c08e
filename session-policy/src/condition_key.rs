//! What a condition key's value depends on, where a user's policy is given to a session of a role. One table for both
//! programs that do so: credd makes session policies of a user's policies, `keymaker sync-roles` makes policies of a
//! role.
//!
//! IAM User Guide, "AWS global condition context keys" and "Variables and tags": for a role session aws:username is not
//! present, aws:userid is the role's id and session name, tags and ARN are the role's, aws:TokenIssueTime is present,
//! and so is aws:MultiFactorAuthPresent, which a long-term access key lacks.

/// What a condition key's value depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binding {
    /// Who asks: a session of a role does not have it.
    UserOnly,
    /// Who asks: a session of a role has it, with another value.
    Principal,
    /// How who asks has signed in.
    MultiFactor,
    /// Which account who asks belongs to.
    Account,
    /// The request, the resource or the network: the same whoever asks.
    Request,
}

impl Binding {
    /// Of this key, in any case; what follows a slash (`aws:PrincipalTag/team`) does not matter.
    pub fn of(key: &str) -> Self {
        let key = key.to_ascii_lowercase();
        match key.as_str() {
            "aws:username" => Self::UserOnly,
            "aws:multifactorauthpresent" | "aws:multifactorauthage" => Self::MultiFactor,
            "aws:principalaccount" | "aws:principalorgid" | "aws:principalorgpaths" | "kms:calleraccount" => {
                Self::Account
            }
            // False, or absent, for users and their sessions alike.
            "aws:principalisawsservice" | "aws:principalservicename" | "aws:principalservicenameslist" => Self::Request,
            "aws:userid" | "aws:tokenissuetime" | "aws:sourceidentity" => Self::Principal,
            // PrincipalArn, PrincipalTag/…, PrincipalType, and those that AWS may add.
            _ if key.starts_with("aws:principal") => Self::Principal,
            // Only in requests with an instance role's credentials.
            "ec2:sourceinstancearn" | "ec2:roledelivery" => Self::Principal,
            _ if key.starts_with("aws:ec2instancesource") => Self::Principal,
            _ => Self::Request,
        }
    }
}
