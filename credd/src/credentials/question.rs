//! What methods know of a caller. It is the key of the cache too: a method can take nothing else of the caller into
//! account, so no answer can be given to a caller of whom anything that shaped it is different (P18).

use credd_core::accounts::Account;
use credd_core::config::Method;

use super::refusal::CredentialRefusal;
use keymaker_daemon::audit::Share;

/// Which credentials does this person get by this chain?
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct CredentialQuestion {
    /// The caller's uid.
    pub uid: u32,
    /// Who has that uid.
    pub person: Person,
    /// The methods to try, in order; never empty.
    pub chain: Vec<Method>,
    /// Whose calls to AWS these are.
    pub share: Share,
}

/// Who somebody is on this host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Person {
    /// Name and groups.
    pub account: Account,
    /// The IAM user, if the directory derived the uid from one.
    pub iam: Option<IamIdentity>,
    /// Whether methods may go by the name.
    pub names: Names,
}

/// An IAM user, as the directory knows it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct IamIdentity {
    /// The account that the user lives in: the instance's, or another one.
    pub account: String,
    /// The digest of the id resolver that keymakerd goes by, as the directory has it.
    pub id_resolver: [u8; 32],
    /// `AIDA…`.
    pub user_id: String,
    /// The IAM user name.
    pub user_name: String,
}

/// Whether a name says who somebody is in IAM.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Names {
    /// The directory derived the uid, there is no directory, or a chain names this user or uid.
    Trusted,
    /// A local `postgres`, or a local person whose name is somebody else's in IAM.
    #[default]
    NotOurs,
}

impl CredentialQuestion {
    /// The Unix name, for methods that go by it.
    pub fn user(&self) -> Result<&str, CredentialRefusal> {
        match (&self.person.account.user, self.person.names) {
            (Some(user), Names::Trusted) => Ok(user),
            _ => Err(CredentialRefusal::NotApplicable),
        }
    }

    /// The IAM user name, for methods that go by it: as the directory knows it, else made of the Unix name by
    /// `pattern`.
    pub fn iam_user_name(&self, pattern: &str) -> Result<String, CredentialRefusal> {
        let user = self.user()?;
        Ok(match &self.person.iam {
            Some(iam) => iam.user_name.clone(),
            None => pattern.replace("{username}", user),
        })
    }
}
