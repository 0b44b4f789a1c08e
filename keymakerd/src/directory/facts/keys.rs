//! A user's keys: what IAM last said of them, and what a new answer changes. `facts` keeps them with the user.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Facts;
use super::order::{Asked, Turn};
use crate::directory::iam::ssh_keys::CleanKey;

/// A user's SSH public keys.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyFacts {
    /// When IAM last answered, unix time.
    pub answered_at: u64,
    /// What the keys file says of that: moved forward in steps, so that the file rests.
    pub published_at: u64,
    /// By `SSHPublicKeyId`; the inactive ones too, since a body never changes for an id and need not be fetched again.
    pub by_id: BTreeMap<String, KnownKey>,
    /// Whether IAM named this `UserId` around the answer. What version 0.1 kept was not asked like that.
    #[serde(default)]
    pub proved: bool,
    /// IAM is to be asked, however young the answer: a body is missing, or two answers differ.
    #[serde(default, skip)]
    pub ask_again: bool,
}

/// One answer about a user's keys.
pub struct ListedKeys {
    /// `SSHPublicKeyIds`, and whether their status is Active.
    pub active: BTreeMap<String, bool>,
    /// The bodies that were fetched for it.
    pub bodies: BTreeMap<String, Result<CleanKey, String>>,
}

/// One key, read once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownKey {
    /// Whether its status is Active.
    pub active: bool,
    /// What may be shown to sshd, or the sentence why nothing may.
    pub body: Result<CleanKey, String>,
}

impl KeyFacts {
    /// The keys that open something.
    pub fn usable(&self) -> impl Iterator<Item = (&String, &CleanKey)> {
        self.by_id
            .iter()
            .filter(|(_, key)| key.active)
            .filter_map(|(id, key)| Some((id, key.body.as_ref().ok()?)))
    }

    /// What the file says of the answer's time when it is next written, moved forward in steps of so many seconds.
    pub fn told_at(&self, step: u64) -> u64 {
        if self.published_at == 0 || self.published_at + step <= self.answered_at {
            self.answered_at
        } else {
            self.published_at
        }
    }

    /// Whether an answer by name can only be about the same user: a key's id is one user's forever. One that says no
    /// more than what is known, that there are no keys, may be anybody's.
    pub fn recognizes(&self, listed: &ListedKeys) -> bool {
        let common = listed.active.keys().any(|id| self.by_id.contains_key(id));
        self.proved && (common || self.by_id.is_empty() && listed.active.is_empty())
    }
}

impl Facts {
    /// What the file gives now as the time of these users' keys, by `UserId`.
    pub fn note_keys_told(&mut self, told_at: &BTreeMap<String, u64>) {
        for (user_id, at) in told_at {
            if let Some(keys) = self.users.get_mut(user_id).and_then(|user| user.keys.as_mut()) {
                keys.published_at = *at;
            }
        }
    }

    /// Takes in an answer about a user's keys. Returns whether anything but its time is new; `None`: a key in it is
    /// known as another user's, so the answer counts for nothing, and that user is to be asked about again.
    pub fn learn_keys(&mut self, user_id: &str, listed: ListedKeys, asked: Asked) -> Option<bool> {
        let mut contradicted = false;
        for keys in self
            .users
            .iter_mut()
            .filter(|(id, _)| *id != user_id)
            .filter_map(|(_, user)| user.keys.as_mut())
        {
            let before = keys.by_id.len();
            keys.by_id.retain(|id, _| !listed.active.contains_key(id));
            if keys.by_id.len() != before {
                (keys.ask_again, contradicted) = (true, true);
            }
        }
        if contradicted {
            return None;
        }
        let user = self.users.get_mut(user_id)?;
        Some(user.keys.get_or_insert_default().learn(listed, asked))
    }
}

impl KeyFacts {
    /// Takes in an answer about the same user. Returns whether anything but its time is new.
    fn learn(&mut self, listed: ListedKeys, asked: Asked) -> bool {
        let turn = asked.turn(self.answered_at);
        if turn == Turn::Earlier {
            return false;
        }
        let before = std::mem::take(&mut self.by_id);
        let together = turn == Turn::Together && self.proved;
        self.ask_again = false;
        let mut taken_in_whole = true;
        for (id, active) in listed.active {
            let known = before.get(&id);
            let body = known
                .map(|known| known.body.clone())
                .or_else(|| listed.bodies.get(&id).cloned());
            // Its status is known, and what it opens is not.
            let Some(body) = body else {
                self.ask_again = true;
                continue;
            };
            let was_active = known.is_some_and(|known| known.active);
            taken_in_whole &= !together || !active || was_active;
            let active = active && (!together || was_active);
            self.by_id.insert(id, KnownKey { active, body });
        }
        let changed = self.by_id != before || !self.proved;
        self.ask_again |= together && changed;
        self.proved = true;
        // A refusal is over five seconds after it, however many answers came within them.
        if taken_in_whole {
            self.answered_at = asked.or_later(self.answered_at);
        }
        changed
    }
}
