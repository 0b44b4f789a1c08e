//! `keymaker enable-key`, `disable-key` and `delete-key`: one key in IAM, by its id or the name of
//! its tag.

use aws_config::SdkConfig;
use aws_sdk_iam::types::StatusType;
use keymaker_aws::ssh_key_tags::{NAME_BEGINS, TaggedKey};
use keymaker_aws::{Action, AwsCallError};
use serde_json::json;

use super::{CommandError, key_tags};
use crate::aws::{self, AwsError, AwsOptions, user_meant, with_aws};
use crate::consent::Consent;
use crate::output::Output;

/// What becomes of the key.
#[derive(Clone, Copy, Debug)]
pub enum KeyChange {
    /// It opens logins again.
    Enable,
    /// It opens nothing until it is enabled again.
    Disable,
    /// It is gone, once somebody has agreed.
    Delete(Consent),
}

impl KeyChange {
    fn status(self) -> &'static str {
        match self {
            Self::Enable => "Active",
            Self::Disable => "Inactive",
            Self::Delete(_) => "deleted",
        }
    }
}

/// Changes the key `id`.
pub fn run(
    change: KeyChange,
    id: &str,
    user: Option<&str>,
    options: &AwsOptions,
    output: &Output,
) -> Result<(), CommandError> {
    let user = with_aws(options, |config| apply(config, change, id, user))?;
    let status = change.status();
    let value = json!({ "user": user, "id": id, "status": status });
    output.print(&format!("The key {id} of {user} is now {status}."), &value);
    Ok(())
}

async fn apply(config: SdkConfig, change: KeyChange, id: &str, user: Option<&str>) -> Result<String, CommandError> {
    let user = user_meant(&config, user).await?;
    if let KeyChange::Delete(consent) = change {
        let lost = format!(
            "The key {id} of {user} goes from IAM, which keeps no copy of it, and opens no login any more. ('keymaker \
             disable-key {id} --user {user}' does that until the key is enabled again.)"
        );
        consent.ask("keymaker delete-key", &lost)?;
    }
    if id.starts_with(NAME_BEGINS) {
        change_tag(&config, change, id, &user).await?;
        return Ok(user);
    }
    let iam = aws::iam(&config);
    let no_such = |error| match error {
        AwsCallError::NoSuchEntity { .. } => no_such_key(id, &user),
        other => other.into(),
    };
    if let KeyChange::Delete(_) = change {
        let request = iam.delete_ssh_public_key().user_name(&user).ssh_public_key_id(id);
        let action = Action::named("iam:DeleteSSHPublicKey");
        let answer = request.send().await;
        answer.map_err(|error| no_such(AwsCallError::from_sdk(action, error)))?;
        return Ok(user);
    }
    let request = iam
        .update_ssh_public_key()
        .user_name(&user)
        .ssh_public_key_id(id)
        .status(StatusType::from(change.status()));
    let action = Action::named("iam:UpdateSSHPublicKey");
    let answer = request.send().await;
    answer.map_err(|error| no_such(AwsCallError::from_sdk(action, error)))?;
    Ok(user)
}

/// IAM takes an unknown tag away without a word, so it is looked for first.
async fn change_tag(config: &SdkConfig, change: KeyChange, name: &str, user: &str) -> Result<(), AwsError> {
    let tags = key_tags::of(config, user).await?;
    let (_, value) = tags
        .iter()
        .find(|(tag, _)| tag == name)
        .ok_or_else(|| no_such_key(name, user))?;
    let key = TaggedKey::of(value);
    match change {
        KeyChange::Delete(_) => key_tags::remove(config, user, name).await,
        KeyChange::Enable | KeyChange::Disable => {
            let active = matches!(change, KeyChange::Enable);
            let value = key.with(active).ok_or_else(|| AwsError::TagIsFull(name.to_owned()))?;
            key_tags::write(config, user, name, &value).await
        }
    }
}

fn no_such_key(id: &str, user: &str) -> AwsError {
    AwsError::NoSuchKey {
        user: user.to_owned(),
        id: id.to_owned(),
    }
}
