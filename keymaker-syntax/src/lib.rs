//! How AWS and settings files write ARNs and URLs, and what the description of the role says, read without asking
//! anybody. keymaker-aws gives these types on; what must not link a client of AWS (session policies, settings of credd,
//! credd-capture) uses them from here.

#![forbid(unsafe_code)]

mod arn;
pub mod iam_names;
mod id_resolver;
mod issuer_url;
mod proxy_url;
pub mod role_description;
mod service_url;
pub mod ssh_key_tags;
pub mod strict_json;

pub use arn::{AccountId, ArnError, CallerIdentity, Partition, Principal, RoleArn, check_role_name};
pub use id_resolver::IdResolver;
pub use issuer_url::{is_issuer, origin};
pub use proxy_url::ProxyUrl;
pub use service_url::{is_service_url, service_uri};

/// The tag of a user in IAM that says which number hosts are to give them: `keymaker assign-uids` writes it, keymakerd
/// reads it.
pub const UID_TAG: &str = "keymaker:uid";
