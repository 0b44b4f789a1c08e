//! Whose tokens open logins by proof, and by which keys: what is kept in private/issuers.json, and published as `issuers`.
//!
//! An empty answer, or none, takes nothing away: keys count until they are older than `max_stale`, as the verifier sees. Another issuer
//! than the one that IAM named first waits for an administrator, as other settings from outside do.

use std::collections::{BTreeMap, BTreeSet};

use keymaker_core::directory_file::RecordError;
use keymaker_core::issuers_file::{IssuerKey, IssuersBuilder, POINT, ProofRules};
use serde::{Deserialize, Serialize};

use crate::clock::AnswerClock;
use crate::config::KeymakerdConfig;

/// The issuers of one account.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownIssuers {
    /// Whose tokens these are.
    account: String,
    /// The account's partition.
    partition: String,
    /// The issuer that IAM named first, or that an administrator has accepted.
    pinned: Option<String>,
    /// Another one that IAM names now.
    waiting: Option<String>,
    /// By issuer.
    shown: BTreeMap<String, ShownIssuerKeys>,
}

/// The keys that an issuer showed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct ShownIssuerKeys {
    /// By the time of answers.
    fetched_at: u64,
    /// Name and point.
    keys: Vec<(String, Vec<u8>)>,
}

impl KnownIssuers {
    /// These answers are about this account: what another's issuers showed is worth nothing.
    pub fn learn_account(&mut self, account: &str, partition: &str) {
        if (self.account.as_str(), self.partition.as_str()) != (account, partition) {
            *self = Self {
                account: account.to_owned(),
                partition: partition.to_owned(),
                ..Self::default()
            };
        }
    }

    /// IAM names this issuer; returns the one that counts.
    pub fn learn_issuer(&mut self, named: &str) -> String {
        let pinned = self.pinned.get_or_insert_with(|| named.to_owned()).clone();
        self.waiting = (pinned != named).then(|| named.to_owned());
        pinned
    }

    /// An issuer shows these keys.
    pub fn learn_keys(&mut self, issuer: &str, keys: &[(String, [u8; POINT])], fetched_at: u64) {
        if keys.is_empty() {
            return;
        }
        let keys = keys.iter().map(|(kid, point)| (kid.clone(), point.to_vec())).collect();
        self.shown
            .insert(issuer.to_owned(), ShownIssuerKeys { fetched_at, keys });
    }

    /// Each issuer, the names of its keys, and when it showed them (by the time of answers).
    pub fn shown(&self) -> impl Iterator<Item = (&str, Vec<&str>, u64)> {
        self.shown.iter().map(|(issuer, shown)| {
            let kids = shown.keys.iter().map(|(kid, _)| kid.as_str()).collect();
            (issuer.as_str(), kids, shown.fetched_at)
        })
    }

    /// What verifies tokens here: the keys shown since then.
    pub fn usable(&self, since: u64) -> BTreeSet<(&str, &str, &[u8])> {
        let young = self.shown.iter().filter(|(_, shown)| shown.fetched_at >= since);
        let keys = young.flat_map(|(issuer, shown)| shown.keys.iter().map(move |key| (issuer, key)));
        keys.map(|(issuer, (kid, point))| (issuer.as_str(), kid.as_str(), point.as_slice()))
            .collect()
    }

    /// Of other issuers nothing counts any more.
    pub fn keep_only(&mut self, issuers: &[String]) {
        self.shown.retain(|issuer, _| issuers.contains(issuer));
    }

    /// What waits for `keymaker accept-settings`.
    pub fn pending(&self) -> Option<String> {
        let (pinned, waiting) = (self.pinned.as_ref()?, self.waiting.as_ref()?);
        Some(format!(
            "the issuer of tokens for logins by proof: IAM named {pinned} and names {waiting} now"
        ))
    }

    /// The issuer that IAM names now is meant.
    pub fn accept(&mut self) {
        if let Some(waiting) = self.waiting.take() {
            self.pinned = Some(waiting);
        }
    }

    /// The file to publish: without a key where proofs are off, or the people are those of another account by now.
    pub fn composed(
        &self,
        config: &KeymakerdConfig,
        account: Option<&str>,
        instance_id: Option<&str>,
        clock: &AnswerClock,
    ) -> Result<IssuersBuilder, RecordError> {
        let default = || format!("keymaker:{}", self.account);
        let mut file = IssuersBuilder::new(&ProofRules {
            account: self.account.clone(),
            partition: self.partition.clone(),
            instance_id: instance_id.unwrap_or_default().to_owned(),
            audience: config.login_audience.clone().unwrap_or_else(default),
            token_max: config.login_token_max,
            max_stale: config.max_stale,
            bound: config.login_bound,
        })?;
        if !config.proofs_are_on() || account != Some(self.account.as_str()) {
            return Ok(file);
        }
        for (issuer, shown) in &self.shown {
            for (kid, point) in &shown.keys {
                let Ok(point) = point.as_slice().try_into() else {
                    continue;
                };
                file.key(&IssuerKey {
                    issuer: issuer.clone(),
                    kid: kid.clone(),
                    point,
                    fetched_at: clock.on_host(shown.fetched_at),
                })?;
            }
        }
        Ok(file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use keymaker_core::issuers_file;
    use test_folder::TestFolder;

    const OWN: &str = "https://1.example";

    fn known() -> KnownIssuers {
        let mut known = KnownIssuers::default();
        known.learn_account("123456789012", "aws");
        assert_eq!(known.learn_issuer(OWN), OWN);
        known.learn_keys(OWN, &[("EC384_0".to_owned(), [4; POINT])], 1_800_000_000);
        known
    }

    fn published(known: &KnownIssuers, settings: &str) -> (ProofRules, Vec<IssuerKey>) {
        let config = KeymakerdConfig::parse(settings, "keymakerd.toml".as_ref()).unwrap();
        let clock = AnswerClock::default();
        clock.stop(1_800_000_000);
        let file = known
            .composed(&config, Some("123456789012"), Some("i-1"), &clock)
            .unwrap();
        let folder = TestFolder::new();
        let path = folder.file("issuers", file.build_after(&[]).unwrap().unwrap().bytes);
        issuers_file::read(&path).unwrap()
    }

    // P21
    #[test]
    fn what_a_token_must_say_is_published_with_the_keys_and_without_proofs_there_are_none() {
        let (rules, keys) = published(&known(), "login_by = [\"proof\"]");
        assert_eq!(
            (rules.audience.as_str(), rules.token_max, rules.bound),
            ("keymaker:123456789012", 300, false)
        );
        assert_eq!(
            (rules.account.as_str(), rules.partition.as_str()),
            ("123456789012", "aws")
        );
        assert_eq!((rules.instance_id.as_str(), rules.max_stale), ("i-1", 86_400));
        assert_eq!(
            (keys.len(), keys[0].issuer.as_str(), keys[0].fetched_at),
            (1, OWN, 1_800_000_000)
        );
        let (rules, keys) = published(
            &known(),
            "login_by = [\"proof\"]\nlogin_audience = \"fleet\"\nlogin_token_max = 120\nlogin_bound = true",
        );
        assert_eq!(
            (rules.audience.as_str(), rules.token_max, rules.bound),
            ("fleet", 120, true)
        );
        assert_eq!(keys.len(), 1);
        assert!(published(&known(), "").1.is_empty());
    }

    // P21, P3
    #[test]
    fn another_issuer_of_the_account_waits_and_another_accounts_keys_are_forgotten() {
        let mut known = known();
        assert_eq!(known.learn_issuer("https://2.example"), OWN);
        assert!(known.pending().unwrap().contains("https://2.example"));
        known.learn_keys(OWN, &[], 1_900_000_000);
        assert_eq!(
            published(&known, "login_by = [\"proof\"]").1[0].fetched_at,
            1_800_000_000
        );
        known.accept();
        assert_eq!(
            (known.pending(), known.learn_issuer("https://2.example").as_str()),
            (None, "https://2.example")
        );
        known.keep_only(&["https://2.example".to_owned()]);
        assert!(published(&known, "login_by = [\"proof\"]").1.is_empty());
        let mut known = self::known();
        known.learn_account("123456789013", "aws");
        assert!(published(&known, "login_by = [\"proof\"]").1.is_empty());
    }
}
