//! How Keymaker's daemons and command line reach AWS: credentials, region, endpoints, deadlines, errors, the instance's
//! own role and roles of other accounts. Everything arrives in [`AwsSettings`]; neither the environment nor ~/.aws is
//! read. It knows nothing of users, groups or the directory.
//!
//! Order: [`Route::new`] (settings) → [`Route::as_instance_role`] (region) → [`AwsClients::iam`], [`AwsClients::sts`].

mod assume_role;
mod assumed_role;
mod aws_calls;
mod aws_time;
mod call_error;
#[cfg(test)]
mod canned;
#[cfg(test)]
mod canned_tls;
mod hears_date;
mod iam_region;
mod id_resolver_digest;
mod instance_role;
mod issuer_documents;
mod issuer_keys;
mod metadata;
mod own_ports;
mod own_way;
mod pages;
mod refreshed_ahead;
mod replaced;
mod route;
mod sdk_error;
mod settings;
mod this_host;
mod trust;
mod whole_answer;

pub use assume_role::{RoleSession, assume_role, caller_identity, caller_with_id};
pub use aws_calls::{AnswerCount, AwsCalls};
#[cfg(feature = "host")]
pub use aws_time::since_boot;
pub use aws_time::{AwsTime, INEXACT};
pub use call_error::{Action, AwsCallError, OutageCause};
pub use iam_region::IamRegion;
pub use id_resolver_digest::id_resolver_digest;
pub use issuer_documents::{Point, read_keys};
pub use keymaker_syntax::{
    AccountId, ArnError, CallerIdentity, IdResolver, Partition, Principal, ProxyUrl, RoleArn, UID_TAG, iam_names,
    is_issuer, is_service_url, role_description, ssh_key_tags,
};
pub use metadata::{InstanceIdentity, MetadataAnswer, MetadataError, MetadataService};
pub use own_ports::OwnPorts;
pub use pages::{Page, all_pages};
pub use replaced::{Ask, Replaced};
pub use route::{AwsClients, Patience, Route};
pub use settings::{AwsSettings, AwsSettingsError};
pub use trust::{USER_ID_TAG, trusts_only, trusts_role_alone};
pub use whole_answer::WholeAnswer;
