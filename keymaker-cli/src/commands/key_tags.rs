//! SSH keys in tags of an IAM user, for keys that IAM's own store does not take: listed, written and taken away. Called
//! by the commands about keys.

use std::collections::BTreeSet;

use aws_config::SdkConfig;
use aws_sdk_iam::types::Tag;
use keymaker_aws::ssh_key_tags::{NAME_BEGINS, TaggedKey};
use keymaker_aws::{Action, AwsCallError, OutageCause, Page, all_pages};

use crate::aws::{self, AwsError};

/// What hosts need that are to heed such a key.
pub const HOSTS_NEED: &str = "hosts heed it whose keymakerd.toml has tags = [\"keys\"], and no others";

/// The tags of the user that are for keys: name and value.
pub async fn of(config: &SdkConfig, user: &str) -> Result<Vec<(String, String)>, AwsError> {
    let iam = aws::iam(config);
    let action = Action::named("iam:ListUserTags");
    let listed = all_pages(action, async |marker| {
        let answer = iam.list_user_tags().user_name(user).set_marker(marker).send().await;
        Page::of(action, answer, |page| (page.tags, page.is_truncated, page.marker))
    });
    let listed = listed.await.map_err(|error| no_such_user(error, user))?;
    let listed = listed.into_iter().filter(|tag| tag.key.starts_with(NAME_BEGINS));
    Ok(listed.map(|tag| (tag.key, tag.value)).collect())
}

/// The lowest number that none of these tags has.
pub fn free(tags: &[(String, String)]) -> String {
    let taken: BTreeSet<&str> = tags.iter().map(|(name, _)| name.as_str()).collect();
    let mut names = (1..).map(|number: usize| format!("{NAME_BEGINS}{number}"));
    names.find(|name| !taken.contains(name.as_str())).unwrap_or_default()
}

/// The public key that a tag's value holds, as a line, and whether it opens logins.
pub fn key_in(value: &str) -> (bool, Option<String>) {
    let key = TaggedKey::of(value);
    let line = key.lines().find(|line| ssh_key::PublicKey::from_openssh(line).is_ok());
    (key.active, line)
}

/// Writes the tag.
pub async fn write(config: &SdkConfig, user: &str, name: &str, value: &str) -> Result<(), AwsError> {
    let action = Action::named("iam:TagUser");
    let tag = Tag::builder().key(name).value(value).build();
    let tag = tag.map_err(|why| AwsCallError::unreadable(action, why.to_string()))?;
    let answer = aws::iam(config).tag_user().user_name(user).tags(tag).send().await;
    let answer = answer.map_err(|error| AwsCallError::from_sdk(action, error));
    answer.map(|_| ()).map_err(|error| match error {
        AwsCallError::Outage {
            cause: OutageCause::Refused { code, .. },
            ..
        } if code == "LimitExceeded" => AwsError::TagQuota(user.to_owned()),
        error => no_such_user(error, user),
    })
}

/// Takes the tag away.
pub async fn remove(config: &SdkConfig, user: &str, name: &str) -> Result<(), AwsError> {
    let answer = aws::iam(config)
        .untag_user()
        .user_name(user)
        .tag_keys(name)
        .send()
        .await;
    let answer = answer.map_err(|error| AwsCallError::from_sdk(Action::named("iam:UntagUser"), error));
    answer.map(|_| ()).map_err(|error| no_such_user(error, user))
}

fn no_such_user(error: AwsCallError, user: &str) -> AwsError {
    match error {
        AwsCallError::NoSuchEntity { .. } => AwsError::NoSuchUser(user.to_owned()),
        other => other.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_key_takes_the_lowest_number_that_is_free() {
        let tags = |names: &[&str]| -> Vec<_> { names.iter().map(|name| (name.to_string(), String::new())).collect() };
        assert_eq!(free(&[]), "keymaker:ssh-key-1");
        assert_eq!(
            free(&tags(&[
                "keymaker:ssh-key-1",
                "keymaker:ssh-key-3",
                "keymaker:ssh-key-laptop"
            ])),
            "keymaker:ssh-key-2"
        );
    }
}
