//! `keymaker upload-key`: puts a public key into IAM, checked beforehand.

use std::path::Path;

use aws_config::SdkConfig;
use keymaker_aws::{Action, AwsCallError, OutageCause};
use serde_json::json;

use super::CommandError;
use crate::aws::{self, AwsError, AwsOptions, user_meant, with_aws};
use crate::output::Output;
use crate::public_key::{self, FoundPublicKey};

/// Finds the key, checks it, uploads it.
pub fn run(
    identity: Option<&Path>,
    user: Option<&str>,
    options: &AwsOptions,
    output: &Output,
) -> Result<(), CommandError> {
    let key = public_key::find(identity)?;
    let (user, id) = with_aws(options, |config| upload(config, user, &key))?;
    let text = format!(
        "Uploaded the key {} ({} bits, from {}) of {user} as {id}.",
        key.fingerprint, key.bits, key.source
    );
    let value = json!({ "user": user, "id": id, "fingerprint": key.fingerprint, "bits": key.bits, "status": "Active" });
    output.print(&text, &value);
    Ok(())
}

async fn upload(config: SdkConfig, user: Option<&str>, key: &FoundPublicKey) -> Result<(String, String), AwsError> {
    let user = user_meant(&config, user).await?;
    let request = aws::iam(&config)
        .upload_ssh_public_key()
        .user_name(&user)
        .ssh_public_key_body(&key.line);
    let action = Action::named("iam:UploadSSHPublicKey");
    let answer = request
        .send()
        .await
        .map_err(|error| refusal(AwsCallError::from_sdk(action, error), &user))?;
    let id = answer.ssh_public_key().map(|key| key.ssh_public_key_id().to_owned());
    Ok((
        user,
        id.ok_or_else(|| AwsCallError::unreadable(action, "it names no key"))?,
    ))
}

fn refusal(error: AwsCallError, user: &str) -> AwsError {
    let user = user.to_owned();
    match error {
        AwsCallError::NoSuchEntity { .. } => AwsError::NoSuchUser(user),
        AwsCallError::Outage {
            cause: OutageCause::Refused { code, message },
            action,
        } => match code.as_str() {
            "LimitExceeded" => AwsError::KeyQuota(user),
            "DuplicateSSHPublicKey" => AwsError::DuplicateKey(user),
            "InvalidPublicKey" | "UnrecognizedPublicKeyEncoding" => AwsError::KeyNotTaken(message),
            _ => AwsCallError::Outage {
                action,
                cause: OutageCause::Refused { code, message },
            }
            .into(),
        },
        other => other.into(),
    }
}
