//! What the metadata server asks of the rest of credd: which role a caller has, and its credentials.
//!
//! `credentials/` implements the trait; the daemon joins the two. Which method answered is for the audit line alone.

use std::future::Future;
use std::time::SystemTime;

use credd_core::accounts::Account;
use credd_core::config::Method;
use keymaker_aws::RoleArn;
use zeroize::Zeroizing;

use super::caller::SocketOwner;

/// Somebody who was identified by the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The uid, and the socket it was read from.
    pub owner: SocketOwner,
    /// The uid's name and groups.
    pub account: Account,
}

/// How a question about credentials ends. An error narrows: only `Issued` carries anything.
pub enum Outcome<T> {
    /// Here it is.
    Issued(T),
    /// The chain ended and no method applies to this caller: 404.
    NotApplicable,
    /// A method applies and refuses. The list of roles is 404, a role 200 with `AssumeRoleUnauthorizedAccess`.
    Denied(Reason),
    /// It cannot be found out now: 503, which SDKs try again.
    Transient(Reason),
}

impl<T> Outcome<T> {
    /// The same, of another question: what was issued there answers nothing here.
    pub fn without_value<U>(self) -> Outcome<U> {
        match self {
            Self::Issued(_) | Self::NotApplicable => Outcome::NotApplicable,
            Self::Denied(reason) => Outcome::Denied(reason),
            Self::Transient(reason) => Outcome::Transient(reason),
        }
    }
}

/// Why, for the audit line; never sent to the caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// The method that met it; None: it came before or after all methods.
    pub method: Option<Method>,
    /// A sentence for the administrator.
    pub text: String,
}

impl Reason {
    /// Of no method.
    pub fn new(text: impl Into<String>) -> Self {
        Self {
            method: None,
            text: text.into(),
        }
    }
}

/// A role, and the method by which the caller has it. The method is for the audit line only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The role.
    pub role: RoleArn,
    /// The method.
    pub method: Method,
}

/// Where credentials come from. Implementations answer within the server's deadline or are cut off with a 503; they are
/// cancelled by being dropped, so a shared call must not live in the future of one caller.
pub trait CredentialSource {
    /// The role whose credentials `caller` would get. Must not need STS where a cache can answer.
    fn role(&self, caller: &Caller) -> impl Future<Output = Outcome<Grant>>;

    /// Credentials of `role`, which `role()` has just given for this caller.
    fn credentials(&self, caller: &Caller, role: &RoleArn) -> impl Future<Output = Outcome<Credentials>>;

    /// Whether this host knows the uid of that account: those whom it does not know have one share of everything
    /// together.
    fn knows(&self, uid: u32, account: &Account) -> bool;

    /// The caller has asked for a metadata token and will probably ask for credentials next. Must not block.
    fn prewarm(&self, caller: &Caller);
}

/// Credentials for one caller. Neither Debug nor Display: they are written once, into the reply.
#[derive(Clone)]
pub struct Credentials {
    /// As CloudTrail names the key.
    pub access_key_id: String,
    /// The key's secret.
    pub secret_access_key: Secret,
    /// The session token of STS.
    pub sts_session_token: Secret,
    /// When they were obtained.
    pub last_updated: SystemTime,
    /// When they end.
    pub expiration: SystemTime,
}

impl Credentials {
    /// What [`keymaker_aws::assume_role`] gave at `obtained`, which always has a session token and an expiry.
    pub fn of(given: &aws_sdk_sts::config::Credentials, obtained: SystemTime) -> Self {
        Self {
            access_key_id: given.access_key_id().to_owned(),
            secret_access_key: Secret::new(given.secret_access_key().to_owned()),
            sts_session_token: Secret::new(given.session_token().unwrap_or_default().to_owned()),
            last_updated: obtained,
            expiration: given.expiry().unwrap_or(obtained),
        }
    }
}

/// A text that is wiped when it is dropped and cannot be printed.
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes the text over.
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The text, for the one place that writes it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::{Debug, Display};
    use std::fs::File;
    use std::os::unix::fs::FileExt;

    use super::*;
    use crate::credentials::Issuance;
    use crate::imds::metadata_token::MetadataTokens;
    use crate::imds::reply::credentials_document;

    /// Two traits have the same function for a type that has `$shown`, so that naming it does not compile; one has it
    /// for any other.
    macro_rules! never_shown {
        ($shown:ident: $($kind:ty),+) => {{
            trait Hidden<T> {
                fn hidden() {}
            }
            impl<T: ?Sized> Hidden<()> for T {}
            struct Shown;
            impl<T: ?Sized + $shown> Hidden<Shown> for T {}
            $(<$kind as Hidden<_>>::hidden();)+
        }};
    }

    // P19
    #[test]
    fn a_secret_and_the_document_with_it_are_overwritten_when_they_are_dropped() {
        let memory = File::open("/proc/self/mem").unwrap();
        let marker = || "SECRET-".repeat(40);
        let secret = Secret::new(marker());
        let at = secret.expose().as_ptr().addr();
        let mut seen = vec![0; marker().len()];
        memory.read_exact_at(&mut seen, at as u64).unwrap();
        assert_eq!(seen, marker().as_bytes());
        drop(secret);
        memory.read_exact_at(&mut seen, at as u64).unwrap();
        assert!(!holds_marker(&seen));

        let credentials = Credentials {
            access_key_id: "ASIA".into(),
            secret_access_key: Secret::new(marker()),
            sts_session_token: Secret::new(marker()),
            last_updated: SystemTime::UNIX_EPOCH,
            expiration: SystemTime::UNIX_EPOCH,
        };
        let document = credentials_document(&credentials);
        let at = document.as_ptr().addr();
        let mut seen = vec![0; document.len()];
        memory.read_exact_at(&mut seen, at as u64).unwrap();
        assert!(holds_marker(&seen));
        drop(document);
        memory.read_exact_at(&mut seen, at as u64).unwrap();
        assert!(!holds_marker(&seen));
    }

    /// The allocator writes its own notes over the beginning of what is freed; what counts is the rest.
    fn holds_marker(memory: &[u8]) -> bool {
        memory.windows(14).any(|part| part == b"SECRET-SECRET-")
    }

    // P19
    #[test]
    fn what_holds_a_secret_has_no_debug_and_no_display() {
        never_shown!(Debug: Secret, Credentials, Issuance, Outcome<Credentials>, MetadataTokens);
        never_shown!(Display: Secret, Credentials, Issuance, Outcome<Credentials>, MetadataTokens);
    }
}
