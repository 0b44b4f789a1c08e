//! Keeps the issuer's keys fresh where logins by proof are on: IAM says who the issuer is, the issuer which keys it has.
//!
//! A task of the daemon's, and a nudge: a token may name a key that the issuer has had for a minute. What cannot be fetched stays as it was; `facts/issuers.rs` says what counts.

use std::collections::BTreeSet;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use keymaker_aws::read_keys;
use keymaker_core::issuers_file::POINT;
use keymaker_core::published_file::reader::{ReadError, open_trusted};
use keymaker_core::sys;
use serde::Deserialize;
use tracing::{info, warn};

use super::issuer_tries::{NudgedTries, doubled};
use crate::directory::iam::Iam;
use crate::directory::outcome::DirectoryOutcome;
use crate::directory::service::Service;

impl<I: Iam + 'static> Service<I> {
    /// Fetches the keys, where that is due.
    pub async fn keep_issuers(self: &Rc<Self>) {
        let Some(wanted) = self.wanted_issuers() else { return };
        let is_due = {
            let tries = self.issuer_tries.borrow();
            tries.wanted != wanted || tries.next.is_none_or(|next| self.clock.instant() >= next)
        };
        if is_due {
            self.fetch_joined().await;
        }
    }

    /// The same, since a token names a key that is not published: "fresh" where the issuer has shown a new one, to this asker or to one
    /// just before.
    pub async fn nudge_issuers(self: &Rc<Self>) -> DirectoryOutcome {
        if self.wanted_issuers().is_none() {
            return DirectoryOutcome::CannotTell;
        }
        let may_fetch = self.issuer_tries.borrow_mut().nudges.take(self.clock.instant());
        if may_fetch || self.nudges.is_under_way(FETCHING) {
            // The fetch goes on where nobody waits for it any longer.
            let _ = tokio::time::timeout(NUDGED, self.fetch_joined()).await;
        }
        if self.issuer_tries.borrow().nudges.last_brought_a_key() {
            DirectoryOutcome::Fresh
        } else {
            DirectoryOutcome::CannotTell
        }
    }

    /// Fetches them now, where proofs are on: root orders a pass, or has accepted another issuer.
    pub async fn order_issuers(self: &Rc<Self>) {
        if self.wanted_issuers().is_some() {
            self.fetch_joined().await;
        }
    }

    /// Why the last fetch failed, if it did.
    pub fn issuers_failure(&self) -> Option<String> {
        let failure = self.issuer_tries.borrow().failure.clone();
        failure.filter(|_| self.state().config.proofs_are_on())
    }

    /// What is wanted now, to be compared; `None` where nothing is, or nobody can be asked.
    fn wanted_issuers(&self) -> Option<String> {
        let state = self.state();
        let config = &state.config;
        let may_ask = config.proofs_are_on() && !state.halted && self.accounts().is_some();
        let wanted = (&config.login_issuers, &config.login_keys_file, &state.facts.account);
        may_ask.then(|| format!("{wanted:?}"))
    }

    /// One at a time: an earlier answer must not come in after a later one.
    async fn fetch_joined(self: &Rc<Self>) -> Option<DirectoryOutcome> {
        let service = Rc::clone(self);
        let fetching = || async move {
            service.fetch_and_note().await;
            DirectoryOutcome::Fresh
        };
        self.nudges.join(FETCHING.to_owned(), fetching).await
    }

    async fn fetch_and_note(self: &Rc<Self>) {
        let wanted = self.wanted_issuers().unwrap_or_default();
        let max_stale = u64::from(self.state().config.max_stale);
        let usable = || {
            let state = self.state();
            let usable = state.issuers.usable(self.clock.answer_time().saturating_sub(max_stale));
            usable
                .into_iter()
                .map(|key| format!("{key:?}"))
                .collect::<BTreeSet<_>>()
        };
        let before = usable();
        let fetched = self.fetch_issuers().await;
        let is_new = !usable().is_subset(&before);
        let now = self.clock.instant();
        let mut tries = self.issuer_tries.borrow_mut();
        if is_new {
            tries.nudges = NudgedTries::after_a_new_key(now);
        }
        let is_due = tries.wanted != wanted || tries.next.is_none_or(|next| now >= next);
        tries.wanted = wanted;
        match fetched {
            Ok(()) => {
                // Four tries and more before what is known is too old.
                let every = Duration::from_secs((max_stale / 4).clamp(60, A_DAY));
                (tries.failures, tries.failure, tries.next) = (0, None, Some(now + every));
            }
            Err(why) => {
                warn!(%why, "the issuer's keys for logins by proof stay as they were: {why}");
                if is_due {
                    tries.next = Some(now + doubled(tries.failures));
                    tries.failures = tries.failures.saturating_add(1);
                }
                tries.failure = Some(why);
            }
        }
        drop(tries);
        self.write_status();
    }

    async fn fetch_issuers(self: &Rc<Self>) -> Result<(), String> {
        let accounts = self.accounts().ok_or("there is no way to AWS yet")?;
        let text = |error: keymaker_aws::AwsCallError| error.to_string();
        let identity = accounts.people.caller_identity().await.map_err(text)?;
        let (configured, file) = {
            let mut state = self.state_mut();
            let partition = identity.partition.to_string();
            state.issuers.learn_account(identity.account.as_str(), &partition);
            let issuers: Vec<String> = state.config.login_issuers.iter().cloned().collect();
            (issuers, state.config.login_keys_file.clone())
        };
        let fetched = if let Some(file) = file {
            let read = WrittenKeys::read(&file).map_err(|why| format!("{}: {why}", file.display()))?;
            let at = read.written.saturating_add_signed(-self.clock.host_ahead());
            vec![(read.issuer, Ok(read.keys), at)]
        } else {
            let issuers = if configured.is_empty() {
                let named = accounts.people.token_issuer().await.map_err(text)?;
                let named = named.ok_or("outbound web identity federation is off in this account; to turn it on: keymaker configure --logins")?;
                vec![self.state_mut().issuers.learn_issuer(&named)]
            } else {
                configured
            };
            let mut fetched = Vec::new();
            for issuer in issuers {
                let at = self.clock.answer_time();
                let keys = accounts.people.issuer_keys(&issuer).await.map_err(text);
                fetched.push((issuer, keys, at));
            }
            fetched
        };
        let (mut failure, mut names) = (None, Vec::new());
        for (issuer, keys, at) in fetched {
            match keys {
                Ok(keys) => self.state_mut().issuers.learn_keys(&issuer, &keys, at),
                Err(why) => failure = Some(format!("{issuer}: {why}")),
            }
            names.push(issuer);
        }
        self.state_mut().issuers.keep_only(&names);
        info!(issuers = ?names, "the issuer's keys for logins by proof were looked for");
        self.publish().await.map_err(|error| error.to_string())?;
        failure.map_or(Ok(()), Err)
    }
}

/// `login_keys_file`.
struct WrittenKeys {
    issuer: String,
    keys: Vec<(String, [u8; POINT])>,
    /// when root wrote them, by this host's clock: unix time
    written: u64,
}

impl WrittenKeys {
    fn read(path: &Path) -> Result<Self, String> {
        const OTHERS: &str =
            "the file and its folder are to be root's, and writable by nobody else (chown root, chmod go-w)";
        let (file, metadata) = open_trusted(path).map_err(|error| match error {
            ReadError::Missing => "the file is not there".to_owned(),
            ReadError::Untrusted => OTHERS.to_owned(),
            error => error.to_string(),
        })?;
        // Root by what it owns: in a rootless container it has another number. This process may change what it reads in any case.
        let root = std::fs::metadata("/").map_err(|error| error.to_string())?;
        if ![root.uid(), sys::own_uid()].contains(&metadata.uid()) {
            return Err(OTHERS.to_owned());
        }
        let mut text = Vec::new();
        let read = file.take(LONGEST_FILE).read_to_end(&mut text);
        read.map_err(|error| error.to_string())?;
        let named: KeysFileIssuer =
            serde_json::from_slice(&text).map_err(|_| "it is no JSON object with issuer and keys".to_owned())?;
        let keys = read_keys(&text).map_err(|error| error.to_string())?;
        let written = metadata.modified().ok();
        let written = written.and_then(|written| written.duration_since(SystemTime::UNIX_EPOCH).ok());
        Ok(Self {
            issuer: named.issuer,
            keys,
            written: written.unwrap_or_default().as_secs(),
        })
    }
}

#[derive(Deserialize)]
struct KeysFileIssuer {
    issuer: String,
}

const A_DAY: u64 = 86_400;
/// How long a nudge waits: less than its asker does ([`keymaker_core::protocol::KEYS_BUDGET`]).
const NUDGED: Duration = Duration::from_millis(1400);
/// Among the questions that are under way.
const FETCHING: &str = "issuer-keys";
const LONGEST_FILE: u64 = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::chown;
    use test_folder::TestFolder;

    // P21
    #[test]
    fn a_file_of_keys_of_somebody_elses_is_none_although_its_folder_is_theirs_too() {
        if sys::own_uid() != 0 {
            println!("not run: only root may give a file away");
            return;
        }
        let folder = TestFolder::new();
        let number = "A".repeat(64);
        let key = format!(r#"{{"kty":"EC","crv":"P-384","kid":"K","x":"{number}","y":"{number}"}}"#);
        let text = format!(r#"{{"issuer":"https://1.example","keys":[{key}]}}"#);
        let file = folder.file("keys.json", text.as_bytes());
        assert_eq!(
            WrittenKeys::read(&file).map(|read| read.issuer).unwrap(),
            "https://1.example"
        );
        for owned in [&*file, file.parent().unwrap()] {
            chown(owned, Some(12_345), None).unwrap();
            let why = WrittenKeys::read(&file).err().unwrap();
            assert!(why.contains("to be root's"), "{why}");
        }
    }
}
