//! `keymaker list-keys`: a user's SSH keys in IAM, with what tells them apart.

use aws_config::SdkConfig;
use aws_sdk_iam::types::EncodingType;
use keymaker_aws::{Action, AwsCallError, Page, all_pages};
use serde_json::{Value, json};

use super::CommandError;
use crate::aws::{self, AwsError, AwsOptions, user_meant, with_aws};
use crate::output::{Output, Paint, table};

/// A key as IAM keeps it.
#[derive(Debug)]
pub struct StoredKey {
    /// IAM's id of it.
    pub id: String,
    /// `Active` or `Inactive`.
    pub status: String,
    /// The time of the upload.
    pub uploaded: String,
    /// `TYPE BASE64 [COMMENT]`.
    pub body: String,
}

/// Prints the keys.
pub fn run(user: Option<&str>, options: &AwsOptions, output: &Output) -> Result<(), CommandError> {
    let (user, keys) = with_aws(options, |config| async move {
        let user = user_meant(&config, user).await?;
        let keys = keys_of(&config, &user).await?;
        Ok::<_, AwsError>((user, keys))
    })?;
    let values: Vec<Value> = keys.iter().map(value).collect();
    let rows: Vec<Vec<String>> = keys.iter().map(|key| row(key, output)).collect();
    let text = if rows.is_empty() {
        format!("{user} has no SSH key in IAM; keymaker upload-key uploads one.")
    } else {
        table(&["ID", "UPLOADED", "KEY", "FINGERPRINT", "STATUS"], &rows)
    };
    output.print(&text, &json!({ "user": user, "keys": values }));
    Ok(())
}

/// All keys of the user.
pub async fn keys_of(config: &SdkConfig, user: &str) -> Result<Vec<StoredKey>, AwsError> {
    let iam = aws::iam(config);
    let action = Action::LIST_SSH_PUBLIC_KEYS;
    let listed = all_pages(action, async |marker| {
        let answer = iam
            .list_ssh_public_keys()
            .user_name(user)
            .set_marker(marker)
            .send()
            .await;
        Page::of(action, answer, |page| {
            (page.ssh_public_keys.unwrap_or_default(), page.is_truncated, page.marker)
        })
    });
    let listed = listed.await.map_err(|error| match error {
        AwsCallError::NoSuchEntity { .. } => AwsError::NoSuchUser(user.to_owned()),
        other => other.into(),
    })?;
    let mut keys = Vec::new();
    for listed in listed {
        let id = listed.ssh_public_key_id();
        let request = iam.get_ssh_public_key().user_name(user).ssh_public_key_id(id);
        let answer = request.encoding(EncodingType::Ssh).send().await;
        let answer = answer.map_err(|error| AwsCallError::from_sdk(Action::GET_SSH_PUBLIC_KEY, error))?;
        keys.push(StoredKey {
            id: id.to_owned(),
            status: listed.status().as_str().to_owned(),
            uploaded: listed.upload_date().to_string(),
            body: answer
                .ssh_public_key()
                .map(|key| key.ssh_public_key_body().to_owned())
                .unwrap_or_default(),
        });
    }
    Ok(keys)
}

fn kind_and_fingerprint(key: &StoredKey) -> (String, String) {
    let Ok(public) = ssh_key::PublicKey::from_openssh(key.body.trim()) else {
        return ("unreadable".to_owned(), "-".to_owned());
    };
    let kind = match crate::public_key::check(&key.body, &key.id) {
        Ok(found) => format!("ssh-rsa {}", found.bits),
        Err(_) => public.algorithm().as_str().to_owned(),
    };
    (kind, public.fingerprint(ssh_key::HashAlg::Sha256).to_string())
}

fn row(key: &StoredKey, output: &Output) -> Vec<String> {
    let (kind, fingerprint) = kind_and_fingerprint(key);
    let paint = match key.status.as_str() {
        "Active" => Paint::Good,
        _ => Paint::Doubtful,
    };
    let day = key.uploaded.split('T').next().unwrap_or_default().to_owned();
    vec![key.id.clone(), day, kind, fingerprint, output.paint(paint, &key.status)]
}

fn value(key: &StoredKey) -> Value {
    let (kind, fingerprint) = kind_and_fingerprint(key);
    json!({
        "id": key.id, "status": key.status, "uploaded": key.uploaded, "type": kind, "fingerprint": fingerprint, "body": key.body,
    })
}
