//! What the shell offers while somebody types: user names and key ids, asked for live.
//!
//! Called through `clap_complete` by the shell's own completion (`source <(COMPLETE=bash keymaker)`). Whatever fails
//! offers nothing.

use std::ffi::OsStr;

use clap_complete::engine::CompletionCandidate;
use keymaker_aws::{Action, Page, all_pages};

use crate::aws::{AwsError, AwsOptions, iam, user_meant, with_aws};
use crate::commands::list_keys;

/// Names of IAM users: those that this host has published, else IAM's.
pub fn users(typed: &OsStr) -> Vec<CompletionCandidate> {
    #[cfg(all(target_os = "linux", feature = "host"))]
    if let Ok(names) = crate::commands::host::published::published_names() {
        return beginning(typed, names);
    }
    let names: Result<Vec<_>, _> = with_aws(&options(), |config| async move {
        let iam = iam(&config);
        let users = all_pages(Action::LIST_USERS, async |marker| {
            let answer = iam.list_users().set_marker(marker).send().await;
            Page::of(Action::LIST_USERS, answer, |page| {
                (page.users, page.is_truncated, page.marker)
            })
        });
        let users = users.await?.into_iter();
        Ok::<_, AwsError>(users.map(|user| user.user_name).collect())
    });
    beginning(typed, names.unwrap_or_default())
}

/// Ids of the keys of the user named on the line, or of the caller.
pub fn key_ids(typed: &OsStr) -> Vec<CompletionCandidate> {
    let user = typed_value("--user");
    let keys = with_aws(&options(), |config| async move {
        let user = user_meant(&config, user.as_deref()).await?;
        list_keys::keys_of(&config, &user).await
    });
    let ids = keys.unwrap_or_default().into_iter().map(|key| key.id);
    beginning(typed, ids)
}

fn beginning(typed: &OsStr, all: impl IntoIterator<Item = String>) -> Vec<CompletionCandidate> {
    let typed = typed.to_string_lossy();
    let fitting = all.into_iter().filter(|one| one.starts_with(typed.as_ref()));
    fitting.map(CompletionCandidate::new).collect()
}

/// The options that stand on the line already.
fn options() -> AwsOptions {
    AwsOptions {
        profile: typed_value("--profile"),
        region: typed_value("--region"),
        endpoint_url: typed_value("--endpoint-url"),
    }
}

/// The shell passes the whole line as our arguments.
fn typed_value(option: &str) -> Option<String> {
    let mut words = std::env::args().skip_while(|word| word != option);
    words.nth(1)
}
