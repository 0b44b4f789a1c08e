//! `keymaker who-was UID`: whose a number is or was, from the published directory, which never forgets one.

use std::path::Path;

use keymaker_core::directory_file::{Directory, MAX_USER_RECORD};
use keymaker_core::paths;
use serde_json::json;

use super::HostError;
use crate::output::Output;

/// Prints who has or had this uid.
pub fn run(uid: u32, output: &Output) -> Result<(), HostError> {
    let unreadable = |error| HostError::unreadable(paths::DIRECTORY, &error);
    let directory = Directory::open(Path::new(paths::DIRECTORY)).map_err(unreadable)?;
    let mut buffer = [0; MAX_USER_RECORD];
    let user = directory
        .user_by_uid(uid, &mut buffer)
        .map_err(unreadable)?
        .ok_or(HostError::NobodyHad(uid))?;
    let now = if user.tombstone {
        "was, and no longer is on this host"
    } else {
        "is"
    };
    let text = format!("uid {uid} {now} {} (IAM user id {})", user.name, user.iam_user_id);
    let value = json!({
        "uid": uid,
        "name": user.name.as_str(),
        "iam_user_id": user.iam_user_id,
        "iam_user_name": (!user.iam_user_name.is_empty()).then_some(user.iam_user_name),
        "present": !user.tombstone,
    });
    output.print(&text, &value);
    Ok(())
}
