//! What the shell offers while somebody types: user names and key ids, asked for live.
//!
//! Called through `clap_complete` by the shell's own completion (`source <(COMPLETE=bash keymaker)`). Whatever fails, or
//! takes as long as somebody notices, offers nothing.

use std::ffi::OsStr;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use clap_complete::engine::CompletionCandidate;
use keymaker_aws::{Action, Page, all_pages};

use crate::aws::{AwsError, AwsOptions, iam, user_meant, with_aws};
use crate::commands::list_keys;

/// The prompt hangs while this is waited for.
const PATIENCE: Duration = Duration::from_millis(800);

/// Names of IAM users: those that this host has published, else IAM's.
pub fn users(typed: &OsStr) -> Vec<CompletionCandidate> {
    #[cfg(all(target_os = "linux", feature = "host"))]
    if let Ok(names) = crate::commands::host::published::published_names() {
        return beginning(typed, names);
    }
    beginning(typed, in_time(iams_users))
}

/// Ids of the keys of the user named on the line, or of the caller.
pub fn key_ids(typed: &OsStr) -> Vec<CompletionCandidate> {
    beginning(typed, in_time(ids_of_keys))
}

/// In a thread that nobody waits for: a name server, a proxy or a program of ~/.aws/config may hang, and the process ends
/// with its answer to the shell.
fn in_time(ask: fn() -> Result<Vec<String>, AwsError>) -> Vec<String> {
    let (answers, answered) = channel();
    thread::spawn(move || answers.send(ask().unwrap_or_default()));
    answered.recv_timeout(PATIENCE).unwrap_or_default()
}

fn iams_users() -> Result<Vec<String>, AwsError> {
    with_aws(&options(), |config| async move {
        let iam = iam(&config);
        let users = all_pages(Action::LIST_USERS, async |marker| {
            let answer = iam.list_users().set_marker(marker).send().await;
            Page::of(Action::LIST_USERS, answer, |page| {
                (page.users, page.is_truncated, page.marker)
            })
        });
        let users = users.await?.into_iter();
        Ok(users.map(|user| user.user_name).collect())
    })
}

fn ids_of_keys() -> Result<Vec<String>, AwsError> {
    let user = typed_value("--user");
    with_aws(&options(), |config| async move {
        let user = user_meant(&config, user.as_deref()).await?;
        let found = list_keys::keys_of(&config, &user).await?;
        Ok(found.keys.into_iter().map(|key| key.id).collect())
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_types_waits_for_no_hung_aws() {
        // Nobody else would end it.
        let offered = in_time(|| {
            loop {
                thread::park();
            }
        });
        assert!(offered.is_empty());
        assert_eq!(in_time(|| Ok(vec!["alice".to_owned()])), ["alice"]);
    }
}
