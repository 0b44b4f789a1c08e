//! What keymaker-aws reads, without the clients of AWS: the same files, so that what is fuzzed is what runs.

#![allow(dead_code, reason = "the rest of keymaker-aws, which is not here, uses it")]

#[path = "../../keymaker-aws/src/aws_time.rs"]
mod aws_time;
#[path = "../../keymaker-aws/src/call_error.rs"]
mod call_error;
#[path = "../../keymaker-aws/src/id_resolver_digest.rs"]
mod id_resolver_digest;
#[path = "../../keymaker-aws/src/issuer_documents.rs"]
mod issuer_documents;
#[path = "../../keymaker-aws/src/replaced.rs"]
mod replaced;
#[path = "../../keymaker-aws/src/trust.rs"]
mod trust;

pub use aws_time::{AwsTime, INEXACT, since_boot};
pub use call_error::{Action, AwsCallError, OutageCause};
pub use id_resolver_digest::id_resolver_digest;
pub use issuer_documents::{Point, read_keys};
pub use keymaker_syntax::{
    AccountId, ArnError, CallerIdentity, IdResolver, Partition, Principal, ProxyUrl, RoleArn, UID_TAG, iam_names,
    is_issuer, is_service_url, role_description, ssh_key_tags,
};
pub use replaced::{Ask, Replaced};
pub use trust::trusts_only;

/// Counts nothing: nobody asks AWS here.
#[derive(Clone, Debug, Default)]
pub struct AwsCalls;
