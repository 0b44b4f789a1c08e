//! Keeps the issuer's keys fresh where logins by proof are on: IAM says who the issuer is, the issuer which keys it has.
//!
//! A task of the daemon's. What cannot be fetched stays as it was; `facts/issuers.rs` says what counts.

use std::io::Read;
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime};

use keymaker_aws::read_keys;
use keymaker_core::issuers_file::POINT;
use keymaker_core::published_file::reader::open_trusted;
use serde::Deserialize;
use tracing::{info, warn};

use crate::directory::iam::Iam;
use crate::directory::service::Service;

/// When the keys are fetched next, and what was wanted when they were last.
#[derive(Default)]
pub struct IssuerTries {
    wanted: String,
    next: Option<Instant>,
    failures: u32,
}

impl<I: Iam + 'static> Service<I> {
    /// Fetches the keys, where that is due.
    pub async fn keep_issuers(self: &Rc<Self>, tries: &mut IssuerTries) {
        let (wanted, every) = {
            let state = self.state();
            if !state.config.proofs_are_on() || state.halted || self.accounts().is_none() {
                return;
            }
            let config = &state.config;
            let wanted = (
                &config.login_issuers,
                &config.login_keys_file,
                state.issuers.pinned(),
                &state.facts.account,
            );
            // Four tries and more before what is known is too old.
            let every = Duration::from_secs((u64::from(config.max_stale) / 4).clamp(60, A_DAY));
            (format!("{wanted:?}"), every)
        };
        let now = self.clock.instant();
        if tries.wanted == wanted && tries.next.is_some_and(|next| now < next) {
            return;
        }
        tries.wanted = wanted;
        match self.fetch_issuers().await {
            Ok(()) => (tries.failures, tries.next) = (0, Some(now + every)),
            Err(why) => {
                warn!(%why, "the issuer's keys for logins by proof stay as they were: {why}");
                let wait = FIRST_WAIT * 2_u32.saturating_pow(tries.failures.min(6));
                tries.failures = tries.failures.saturating_add(1);
                tries.next = Some(now + wait.min(LONGEST_WAIT));
            }
        }
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
        let (file, metadata) = open_trusted(path).map_err(|error| error.to_string())?;
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
const FIRST_WAIT: Duration = Duration::from_secs(10);
const LONGEST_WAIT: Duration = Duration::from_secs(600);
const LONGEST_FILE: u64 = 64 * 1024;
