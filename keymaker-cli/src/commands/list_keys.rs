//! `keymaker list-keys`: a user's SSH keys in IAM, those of its store and those in tags, with what tells them apart.

use aws_config::SdkConfig;
use aws_sdk_iam::types::EncodingType;
use keymaker_aws::{Action, AwsCallError, Page, all_pages};
use serde_json::{Value, json};

use super::{CommandError, key_tags};
use crate::aws::{self, AwsError, AwsOptions, user_meant, with_aws};
use crate::output::{Output, Paint, table};

/// A key as IAM keeps it.
#[derive(Debug)]
pub struct StoredKey {
    /// IAM's id of it, or the name of its tag.
    pub id: String,
    /// `Active` or `Inactive`.
    pub status: String,
    /// The time of the upload, which IAM knows of the keys in its store.
    pub uploaded: Option<String>,
    /// `TYPE BASE64 [COMMENT]`.
    pub body: String,
}

/// The keys of a user.
#[derive(Debug)]
pub struct KeysOfUser {
    /// Those that IAM told.
    pub keys: Vec<StoredKey>,
    /// Why those in tags are not among them: rights to keys alone are common.
    pub tags_unread: Option<AwsError>,
}

/// Prints the keys.
pub fn run(user: Option<&str>, options: &AwsOptions, output: &Output) -> Result<(), CommandError> {
    let (user, found) = with_aws(options, |config| async move {
        let user = user_meant(&config, user).await?;
        let keys = keys_of(&config, &user).await?;
        Ok::<_, AwsError>((user, keys))
    })?;
    let values: Vec<Value> = found.keys.iter().map(value).collect();
    let rows: Vec<Vec<String>> = found.keys.iter().map(|key| row(key, output)).collect();
    let mut text = if rows.is_empty() {
        format!("{user} has no SSH key in IAM; keymaker upload-key uploads one.")
    } else {
        table(&["ID", "UPLOADED", "KEY", "FINGERPRINT", "STATUS"], &rows)
    };
    let unread = found.tags_unread.map(|error| error.to_string());
    if let Some(why) = &unread {
        text += &format!("\nKeys in tags are not shown: {why}");
    } else if found.keys.iter().any(|key| key.uploaded.is_none()) {
        text += &format!("\nOf a key in a tag: {}.", key_tags::HOSTS_NEED);
    }
    output.print(&text, &json!({ "user": user, "keys": values, "tags_unread": unread }));
    Ok(())
}

/// All keys of the user.
pub async fn keys_of(config: &SdkConfig, user: &str) -> Result<KeysOfUser, AwsError> {
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
            uploaded: Some(listed.upload_date().to_string()),
            body: answer
                .ssh_public_key()
                .map(|key| key.ssh_public_key_body().to_owned())
                .unwrap_or_default(),
        });
    }
    let tags = key_tags::of(config, user).await;
    let (tags, tags_unread) = match tags {
        Ok(tags) => (tags, None),
        Err(error @ AwsError::Call(AwsCallError::AccessDenied { .. })) => (Vec::new(), Some(error)),
        Err(error) => return Err(error),
    };
    keys.extend(tags.into_iter().map(|(id, value)| {
        let (active, line) = key_tags::key_in(&value);
        StoredKey {
            id,
            status: if active { "Active" } else { "Inactive" }.to_owned(),
            uploaded: None,
            body: line.unwrap_or(value),
        }
    }));
    Ok(KeysOfUser { keys, tags_unread })
}

fn kind_and_fingerprint(key: &StoredKey) -> (String, String) {
    let Ok(public) = ssh_key::PublicKey::from_openssh(key.body.trim()) else {
        return ("unreadable".to_owned(), "-".to_owned());
    };
    (
        crate::public_key::kind(&public),
        public.fingerprint(ssh_key::HashAlg::Sha256).to_string(),
    )
}

fn row(key: &StoredKey, output: &Output) -> Vec<String> {
    let (kind, fingerprint) = kind_and_fingerprint(key);
    let paint = match key.status.as_str() {
        "Active" => Paint::Good,
        _ => Paint::Doubtful,
    };
    let day = key.uploaded.as_deref().and_then(|time| time.split('T').next());
    vec![
        key.id.clone(),
        day.unwrap_or("-").to_owned(),
        kind,
        fingerprint,
        output.paint(paint, &key.status),
    ]
}

fn value(key: &StoredKey) -> Value {
    let (kind, fingerprint) = kind_and_fingerprint(key);
    json!({
        "id": key.id, "status": key.status, "uploaded": key.uploaded, "type": kind, "fingerprint": fingerprint, "body": key.body,
        "store": if key.uploaded.is_some() { "iam" } else { "tag" },
    })
}
