//! Which local accounts asked for credentials and were given none: among them are agents of other software, which need
//! the instance's own and get them by `exempt_uids`. `keymaker doctor` and `keymaker capture plan` ask for it.
//!
//! An account of which a chain speaks is left out: what it gets was decided by hand. Numbers without a name in
//! /etc/passwd are too, so that nobody makes the list longer than that file.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::SystemTime;

use credd_core::time_text::iso8601;
use serde_json::{Value, json};

/// Since the daemon started.
#[derive(Default)]
pub struct TurnedAway(RefCell<BTreeMap<u32, RequestsTurnedAway>>);

struct RequestsTurnedAway {
    user: String,
    requests: u64,
    last: SystemTime,
}

impl TurnedAway {
    /// Counts one request.
    pub fn count(&self, uid: u32, user: String, now: SystemTime) {
        let mut accounts = self.0.borrow_mut();
        let account = accounts.entry(uid).or_insert(RequestsTurnedAway {
            user: String::new(),
            requests: 0,
            last: now,
        });
        account.requests = account.requests.saturating_add(1);
        (account.user, account.last) = (user, now);
    }

    /// Takes over what `former` counted.
    pub fn learn_from(&self, former: &Self) {
        self.0.replace(former.0.take());
    }

    /// A list of `uid`, `user`, `requests` and `last` of those of whom still no chain speaks.
    pub fn told(&self, is_named: impl Fn(u32) -> bool) -> Value {
        self.0
            .borrow()
            .iter()
            .filter(|(uid, _)| !is_named(**uid))
            .map(|(uid, account)| {
                json!({"uid": uid, "user": account.user, "requests": account.requests, "last": iso8601(account.last)})
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn requests_are_counted_by_account_and_survive_a_reload() {
        let (former, now) = (TurnedAway::default(), TurnedAway::default());
        for second in [1, 5] {
            former.count(
                998,
                "cwagent".to_owned(),
                SystemTime::UNIX_EPOCH + Duration::from_secs(second),
            );
        }
        now.learn_from(&former);
        let expected = json!([{"uid": 998, "user": "cwagent", "requests": 2, "last": "1970-01-01T00:00:05Z"}]);
        assert_eq!((now.told(|_| false), former.told(|_| false)), (expected, json!([])));
        assert_eq!(now.told(|uid| uid == 998), json!([]));
    }
}
