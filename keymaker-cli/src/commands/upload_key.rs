//! `keymaker upload-key`: puts a public key into IAM, checked beforehand: into IAM's store of keys, or, where that does
//! not take it and whoever asks agrees, into a tag.

use std::path::Path;

use aws_config::SdkConfig;
use keymaker_aws::ssh_key_tags::TaggedKey;
use keymaker_aws::{Action, AwsCallError, OutageCause, Principal};
use serde_json::json;

use super::{CommandError, key_tags};
use crate::aws::{self, AwsError, AwsOptions, user_meant, with_aws};
use crate::consent;
use crate::output::Output;
use crate::public_key::{self, FoundPublicKey, PublicKeyError};

/// Finds the key, checks it, uploads it.
pub fn run(
    file: Option<&Path>,
    as_tag: bool,
    user: Option<&str>,
    options: &AwsOptions,
    output: &Output,
) -> Result<(), CommandError> {
    let key = public_key::find(file, as_tag)?;
    let in_tag = as_tag || !key.is_rsa();
    if in_tag && !as_tag && !consent::is_somebody_there() {
        return Err(PublicKeyError::OnlyAsTag(key.kind).into());
    }
    let (is_callers, key) = (file.is_none(), &key);
    let (user, id) = with_aws(options, |config| async move {
        if let (true, Some(user)) = (is_callers, user) {
            refuse_for_another(&config, user, key).await?;
        }
        into_iam(config, user, key, in_tag.then_some(as_tag)).await
    })?;
    let (kind, from) = (&key.kind, &key.source);
    let mut text = format!(
        "Uploaded the key {} ({kind}, from {from}) of {user} as {id}.",
        key.fingerprint
    );
    if in_tag {
        text += &format!("\nIt is in a tag: {}.", key_tags::HOSTS_NEED);
    }
    let value = json!({
        "user": user, "id": id, "fingerprint": key.fingerprint, "type": kind, "bits": key.bits, "status": "Active",
        "store": if in_tag { "tag" } else { "iam" },
    });
    output.print(&text, &value);
    Ok(())
}

/// A key that was found where the caller keeps theirs is for nobody else.
async fn refuse_for_another(config: &SdkConfig, user: &str, key: &FoundPublicKey) -> Result<(), CommandError> {
    match aws::identity(config).await?.principal {
        Principal::User { iam_user_name } if iam_user_name == user => Ok(()),
        _ => Err(PublicKeyError::NotTheirs {
            user: user.to_owned(),
            found: key.source.clone(),
        }
        .into()),
    }
}

/// Of a key for a tag it is known whether somebody has agreed to that already. Returns the user, and the key's id.
async fn into_iam(
    config: SdkConfig,
    user: Option<&str>,
    key: &FoundPublicKey,
    in_tag: Option<bool>,
) -> Result<(String, String), CommandError> {
    let user = user_meant(&config, user).await?;
    let id = match in_tag {
        Some(agreed) => put_into_tag(&config, &user, key, agreed).await?,
        None => upload(&config, &user, key).await?,
    };
    Ok((user, id))
}

async fn put_into_tag(
    config: &SdkConfig,
    user: &str,
    key: &FoundPublicKey,
    agreed: bool,
) -> Result<String, CommandError> {
    let value = TaggedKey::value(&key.line, true).ok_or_else(|| PublicKeyError::NoRoomInTag(key.kind.clone()))?;
    let tags = key_tags::of(config, user).await?;
    let is_this = |value: &str| key_tags::key_in(value).1.as_ref() == Some(&key.line);
    if tags.iter().any(|(_, value)| is_this(value)) {
        return Err(AwsError::DuplicateKey(user.to_owned()).into());
    }
    let name = key_tags::free(&tags);
    if !agreed {
        let what = format!(
            "IAM's store of SSH keys takes RSA keys only, and {} is of type {} ({}).\nIt can go into the tag {name} of {user}: {}.",
            key.source,
            key.kind,
            key.fingerprint,
            key_tags::HOSTS_NEED
        );
        consent::question(&what)?;
    }
    key_tags::write(config, user, &name, &value).await?;
    Ok(name)
}

async fn upload(config: &SdkConfig, user: &str, key: &FoundPublicKey) -> Result<String, AwsError> {
    let request = aws::iam(config)
        .upload_ssh_public_key()
        .user_name(user)
        .ssh_public_key_body(&key.line);
    let action = Action::named("iam:UploadSSHPublicKey");
    let answer = request
        .send()
        .await
        .map_err(|error| refusal(AwsCallError::from_sdk(action, error), user))?;
    let id = answer.ssh_public_key().map(|key| key.ssh_public_key_id().to_owned());
    Ok(id.ok_or_else(|| AwsCallError::unreadable(action, "it names no key"))?)
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
