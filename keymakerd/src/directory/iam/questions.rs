//! The questions that the directory asks IAM, one method each, and their answers in our own types. Called by the sync
//! and by nudges; `AwsIam` (aws.rs) asks the real service, `IamFake` (fake.rs) is for tests. An answer is whole or an
//! error: no method ever returns a part of a listing, or another entity than the one asked for.

use keymaker_aws::{Ask, AwsCallError, CallerIdentity, Replaced};
use keymaker_core::issuers_file::POINT;

/// IAM of one account, asked with one set of deadlines. Every value is as IAM wrote it; nothing here is checked to be a
/// legal Unix name.
pub trait Iam {
    /// iam:ListUsers: every user under a path (`/` or `/some/path/`). Tags and groups are unknown in these answers.
    async fn list_users(&self, path_prefix: &str) -> Result<Vec<IamUser>, AwsCallError>;

    /// iam:ListGroups: every group of the account.
    async fn list_groups(&self) -> Result<Vec<IamGroup>, AwsCallError>;

    /// iam:GetGroup: one group and all its members.
    async fn group(&self, group_name: &str) -> Result<GroupWithMembers, AwsCallError>;

    /// iam:GetUser: one user with tags.
    async fn user(&self, iam_user_name: &str) -> Result<IamUser, AwsCallError>;

    /// iam:ListGroupsForUser: every group of one user.
    async fn groups_for_user(&self, iam_user_name: &str) -> Result<Vec<IamGroup>, AwsCallError>;

    /// iam:ListSSHPublicKeys: the key ids of one user, the inactive ones too.
    async fn ssh_public_keys(&self, iam_user_name: &str) -> Result<Vec<IamKey>, AwsCallError>;

    /// iam:GetSSHPublicKey: the text of one key in OpenSSH's one-line form. It never changes for a key id.
    async fn ssh_public_key(&self, iam_user_name: &str, key_id: &str) -> Result<String, AwsCallError>;

    /// iam:GetRole: a role by its name without path.
    async fn role(&self, role_name: &str) -> Result<IamRole, AwsCallError>;

    /// iam:GetAccountAuthorizationDetails for users: everyone, with tags and the names of their groups.
    async fn detailed_users(&self) -> Result<Vec<IamUser>, AwsCallError>;

    /// iam:GetAccountAuthorizationDetails for groups: every group of the account.
    async fn detailed_groups(&self) -> Result<Vec<IamGroup>, AwsCallError>;

    /// sts:GetCallerIdentity: which account these answers are about, and as whom we ask.
    async fn caller_identity(&self) -> Result<CallerIdentity, AwsCallError>;

    /// iam:GetOutboundWebIdentityFederationInfo: the issuer of this account's tokens; `None` where it makes none.
    async fn token_issuer(&self) -> Result<Option<String>, AwsCallError>;

    /// The keys that an issuer shows now, name and point: at least one.
    async fn issuer_keys(&self, issuer: &str) -> Result<Vec<(String, [u8; POINT])>, AwsCallError>;

    /// Why nothing more is to be asked this way: the metadata service says that this host has another role. `None` also
    /// where it says nothing.
    async fn replaced(&self, ask: Ask) -> Option<Replaced>;
}

/// An IAM user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IamUser {
    /// The `UserId`, `AIDA…`: the person.
    pub id: String,
    /// The IAM user name.
    pub name: String,
    /// `/` or `/some/path/`.
    pub path: String,
    /// `CreateDate` in seconds since 1970.
    pub created: u64,
    /// Key and value; `None` where this call does not tell.
    pub tags: Option<Vec<(String, String)>>,
    /// Full IAM group names; `None` where this call does not tell.
    pub groups: Option<Vec<String>>,
}

/// An IAM group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IamGroup {
    /// The `GroupId`, `AGPA…`.
    pub id: String,
    /// The full IAM group name, prefix included.
    pub name: String,
    /// `/` or `/some/path/`.
    pub path: String,
    /// `CreateDate` in seconds since 1970.
    pub created: u64,
}

/// A group and its members; the members' tags and groups are unknown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupWithMembers {
    /// The group.
    pub group: IamGroup,
    /// All members.
    pub members: Vec<IamUser>,
}

/// One entry of a user's list of SSH public keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IamKey {
    /// The `SSHPublicKeyId`, `APKA…`.
    pub id: String,
    /// Whether its status is Active.
    pub active: bool,
    /// `UploadDate` in seconds since 1970.
    pub uploaded: u64,
}

/// An IAM role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IamRole {
    /// The `RoleId`, `AROA…`.
    pub id: String,
    /// The whole ARN, path included.
    pub arn: String,
    /// Free text in which Keymaker's settings may stand; `None` where the role has none.
    pub description: Option<String>,
}
