//! How Keymaker's daemons and command line reach AWS: which errors there are, and how AWS names roles and callers.
//! It knows nothing of users, groups or the directory, and reads neither the environment nor ~/.aws.

mod arn;
mod call_error;

pub use arn::{AccountId, ArnError, CallerIdentity, Partition, Principal, RoleArn};
pub use call_error::{Action, AwsCallError, OutageCause};
