//! What a user's policy says about the requester means something else once a role session asks. `restricted_instance_role.rs`
//! has every document checked here before anything is made of it; one key is enough to refuse all of it, since a Deny
//! that no longer matches is a permission gained.
//!
//! IAM User Guide, "AWS global condition context keys" and "Variables and tags": for a role session aws:username is not
//! present, aws:userid is the role's id and session name, tags and ARN are the role's, aws:TokenIssueTime is present.

use super::document::PolicyDocument;
use super::pattern::Pattern;
use super::refusal::PolicyRefusal;
use super::variable::key_of;

/// Whose account the user's policies come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// The role's own account.
    SameAccount,
    /// Another one (an id-resolver account).
    OtherAccount,
}

/// Ok if every condition key and every variable of the document has the same value for a session of the role as for the user.
pub(super) fn check(document: &PolicyDocument, origin: Origin) -> Result<(), PolicyRefusal> {
    for statement in document.statements() {
        let resource_variables = statement
            .resources
            .patterns()
            .flat_map(|pattern| pattern.glob().variables());
        let conditions = statement.conditions.iter();
        let condition_variables = conditions.clone().flat_map(|block| block.variables());
        let variables = resource_variables.chain(condition_variables).map(key_of);
        let condition_keys = conditions.flat_map(|block| block.keys()).map(str::to_ascii_lowercase);
        for key in variables.chain(condition_keys) {
            check_key(document.name(), key, origin)?;
        }
    }
    Ok(())
}

fn check_key(policy: &str, key: String, origin: Origin) -> Result<(), PolicyRefusal> {
    let policy = policy.to_owned();
    match Binding::of(&key) {
        Binding::Principal => Err(PolicyRefusal::BoundToPrincipal { policy, key }),
        Binding::MultiFactor => Err(PolicyRefusal::MultiFactor { policy, key }),
        Binding::Account if origin == Origin::OtherAccount => Err(PolicyRefusal::BoundToAccount { policy, key }),
        Binding::Account | Binding::Request => Ok(()),
    }
}

/// What a condition key's value depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Binding {
    /// Who asks.
    Principal,
    /// How who asks has signed in.
    MultiFactor,
    /// Which account who asks belongs to.
    Account,
    /// The request, the resource or the network: the same whoever asks.
    Request,
}

impl Binding {
    fn of(key: &str) -> Self {
        match key {
            "aws:multifactorauthpresent" | "aws:multifactorauthage" => Self::MultiFactor,
            "aws:principalaccount" | "aws:principalorgid" | "aws:principalorgpaths" | "kms:calleraccount" => {
                Self::Account
            }
            // False, or absent, for users and their sessions alike.
            "aws:principalisawsservice" | "aws:principalservicename" | "aws:principalservicenameslist" => Self::Request,
            "aws:username" | "aws:userid" | "aws:tokenissuetime" | "aws:sourceidentity" => Self::Principal,
            // PrincipalArn, PrincipalTag/…, PrincipalType, and those that AWS may add.
            _ if key.starts_with("aws:principal") => Self::Principal,
            // Only in requests with an instance role's credentials.
            "ec2:sourceinstancearn" | "ec2:roledelivery" => Self::Principal,
            _ if key.starts_with("aws:ec2instancesource") => Self::Principal,
            _ => Self::Request,
        }
    }
}
