//! What keeps the account's quota whole and callers' waits short: token buckets, and the memory of what is not
//! answering. Pure: time comes in as a parameter. The nudges and the probe call it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use keymaker_aws::Action;
use keymaker_daemon::bucket::{Bucket, Rate};

/// A bucket for which nobody waits.
#[derive(Clone, Copy, Debug)]
pub struct TokenBucket {
    bucket: Bucket,
    rate: Rate,
    began: Instant,
}

impl TokenBucket {
    /// A full bucket of `capacity` tokens that gains `per_second`.
    pub fn new(capacity: u32, per_second: f64, now: Instant) -> Self {
        let rate = Rate {
            a_second: per_second,
            burst: capacity.into(),
            longest_wait: Duration::ZERO,
        };
        Self {
            bucket: Bucket::default(),
            rate,
            began: now,
        }
    }

    /// Takes a token, if there is one.
    pub fn take(&mut self, now: Instant) -> bool {
        self.take_all(1, now)
    }

    /// Takes so many tokens, or none.
    pub fn take_all(&mut self, wanted: u32, now: Instant) -> bool {
        let now = now.saturating_duration_since(self.began);
        self.bucket.turn_of(wanted, self.rate, now).is_some()
    }

    /// Whether nothing has been taken for so long that the bucket need not be remembered.
    pub fn is_full(&self, now: Instant) -> bool {
        self.bucket
            .is_full(self.rate, now.saturating_duration_since(self.began))
    }
}

/// Names nobody has seen, by the uid that asks. Root's bucket is its own and larger: sshd asks as root, for whatever
/// scanners try. All others share one of that size besides their own: a user with subordinate uids (subuid(5)) has
/// thousands of those.
#[derive(Debug)]
pub struct UnknownNames {
    by_uid: BTreeMap<u32, TokenBucket>,
    of_others: Option<TokenBucket>,
}

const OWN: (u32, f64) = (6, 0.5);
const SHARED: (u32, f64) = (30, 2.0);

impl UnknownNames {
    /// Everybody's bucket is full.
    pub fn new() -> Self {
        Self {
            by_uid: BTreeMap::new(),
            of_others: None,
        }
    }

    /// Whether this uid may spend a call on an unknown name now.
    pub fn may_ask(&mut self, uid: u32, now: Instant) -> bool {
        if self.by_uid.len() > 1024 {
            self.by_uid.retain(|_, bucket| !bucket.is_full(now));
        }
        let (capacity, per_second) = if uid == 0 { SHARED } else { OWN };
        let own = self
            .by_uid
            .entry(uid)
            .or_insert_with(|| TokenBucket::new(capacity, per_second, now))
            .take(now);
        let of_others = self
            .of_others
            .get_or_insert_with(|| TokenBucket::new(SHARED.0, SHARED.1, now));
        own && (uid == 0 || of_others.take(now))
    }
}

/// Keys that clients offer to sshd before they have proved anything: the names that a client knows must not buy calls
/// without end (P9). Users whose keys this host has never fetched draw from a bucket of their own: without an answer
/// they cannot log in at all.
#[derive(Debug, Default)]
pub struct OfferedKeys {
    of_known: Option<TokenBucket>,
    of_unknown: Option<TokenBucket>,
}

/// A token a call. Groups and keys of a user take four, so that is fifteen users at once, then five users in four
/// seconds.
const OFFERED: (u32, f64) = (60, 5.0);

impl OfferedKeys {
    /// Whether so many calls may be spent on a user whose keys are, or are not, known here.
    pub fn may_ask(&mut self, keys_known: bool, calls: u32, now: Instant) -> bool {
        let bucket = if keys_known {
            &mut self.of_known
        } else {
            &mut self.of_unknown
        };
        bucket
            .get_or_insert_with(|| TokenBucket::new(OFFERED.0, OFFERED.1, now))
            .take_all(calls, now)
    }
}

/// Whose nudges: what keeps some of them from being answered must not silence the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NudgeOrigin {
    /// Local users', at lookup.sock.
    Lookup,
    /// Those of clients who have proved nothing yet: the keys command's, at login.sock.
    Offer,
    /// Those of users who have: PAM's and credd's, at login.sock.
    Login,
}

/// What is not answering now, by origin and action; by user, too, where IAM answered and only would not tell about that
/// one. The account needs no place here: when it changes, all is forgotten.
#[derive(Debug, Default)]
pub struct Outages {
    open: BTreeMap<(NudgeOrigin, Action), Outage>,
    of_one_user: BTreeMap<(NudgeOrigin, Action, String), Outage>,
    /// By IAM user name: who could not be asked for, for want of something on this host.
    of_this_host: BTreeMap<String, (Action, Outage)>,
    /// Until when this host lacked what it takes to reach AWS at all.
    no_way_until: Option<Instant>,
}

/// One action that does not answer.
#[derive(Clone, Debug)]
pub struct Outage {
    /// Why, for the administrator.
    pub why: String,
    /// The IAM user name at which it failed: the probe asks for it again.
    pub name: String,
    probe_at: Instant,
    pause: Duration,
}

impl Outage {
    fn new(name: &str, now: Instant) -> Self {
        Self {
            why: String::new(),
            name: name.to_owned(),
            probe_at: now + FIRST_PROBE,
            pause: FIRST_PROBE,
        }
    }
}

const FIRST_PROBE: Duration = Duration::from_secs(10);
const LAST_PROBE: Duration = Duration::from_secs(60);

impl Outages {
    /// Whether a nudge that needs this action for this user is to be answered "cannot tell" at once.
    pub fn is_open(&self, origin: NudgeOrigin, action: Action, name: &str, now: Instant) -> bool {
        let of_one = self.of_one_user.get(&(origin, action, name.to_owned()));
        self.open.contains_key(&(origin, action)) || of_one.is_some_and(|outage| outage.probe_at > now)
    }

    /// This action got no answer.
    pub fn begin(&mut self, origin: NudgeOrigin, action: Action, name: &str, why: String, now: Instant) {
        let outage = self
            .open
            .entry((origin, action))
            .or_insert_with(|| Outage::new(name, now));
        outage.why = why;
    }

    /// IAM would not tell about this user; the next nudge after a while asks again. So few are asked for in that time
    /// that they all have room.
    pub fn begin_of_one(&mut self, origin: NudgeOrigin, action: Action, name: &str, why: String, now: Instant) {
        self.of_one_user.retain(|_, outage| outage.probe_at > now);
        let outage = Outage {
            why,
            ..Outage::new(name, now)
        };
        self.of_one_user.insert((origin, action, name.to_owned()), outage);
    }

    /// This host lacks what it takes to ask about this user. Nobody is silent: the next nudge asks again.
    pub fn note_lack(&mut self, action: Action, name: &str, why: String, now: Instant) {
        self.of_this_host.retain(|_, (_, lack)| lack.probe_at > now);
        let lack = Outage {
            why,
            ..Outage::new(name, now)
        };
        self.of_this_host.insert(name.to_owned(), (action, lack));
    }

    /// This host lacks what it takes to reach AWS at all.
    pub fn note_lack_of_way(&mut self, now: Instant) {
        self.no_way_until = Some(now + FIRST_PROBE);
    }

    /// Whether this host just lacked what it takes to ask about this user.
    pub fn lacks(&self, name: &str, now: Instant) -> bool {
        let lack = self.of_this_host.get(name).map(|(_, lack)| lack.probe_at);
        lack.max(self.no_way_until).is_some_and(|until| until > now)
    }

    /// This action answers again, for all origins: they ask the same service.
    pub fn end(&mut self, action: Action) {
        self.open.retain(|(_, open), _| *open != action);
    }

    /// IAM answers a pass: what does not answer is probed at once.
    pub fn hasten(&mut self, now: Instant) {
        for outage in self.open.values_mut() {
            (outage.probe_at, outage.pause) = (now, FIRST_PROBE);
        }
    }

    /// Everything may be tried again.
    pub fn forget(&mut self) {
        *self = Self::default();
    }

    /// What is to be probed now, each with the name that failed; each waits longer for its next turn, up to a minute.
    pub fn due(&mut self, now: Instant) -> BTreeMap<Action, String> {
        let mut due = BTreeMap::new();
        for ((_, action), outage) in self.open.iter_mut().filter(|(_, outage)| outage.probe_at <= now) {
            outage.pause = (outage.pause * 2).min(LAST_PROBE);
            outage.probe_at = now + outage.pause;
            due.insert(*action, outage.name.clone());
        }
        due
    }

    /// Everything that does not answer or could not be asked, for the status.
    pub fn list(&self) -> impl Iterator<Item = (Action, &Outage)> {
        let of_all = self.open.iter().map(|((_, action), outage)| (*action, outage));
        let of_one = self
            .of_one_user
            .iter()
            .map(|((_, action, _), outage)| (*action, outage));
        let of_this_host = self.of_this_host.values().map(|(action, lack)| (*action, lack));
        of_all.chain(of_one).chain(of_this_host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_bucket_gives_its_capacity_and_then_its_rate() {
        let start = Instant::now();
        let mut bucket = TokenBucket::new(3, 0.5, start);
        assert_eq!((0..5).filter(|_| bucket.take(start)).count(), 3);
        assert!(!bucket.take(start + SECOND));
        assert!(bucket.take(start + 2 * SECOND));
        assert!(!bucket.is_full(start + 3 * SECOND));
        assert!(bucket.is_full(start + 60 * SECOND));
    }

    // P9
    #[test]
    fn a_local_user_who_spends_their_tokens_spends_nobody_elses() {
        let start = Instant::now();
        let mut names = UnknownNames::new();
        while names.may_ask(1001, start) {}
        assert!(names.may_ask(0, start) && names.may_ask(1002, start));
    }

    // P9
    #[test]
    fn a_local_user_with_thousands_of_uids_cannot_spend_the_accounts_quota() {
        let start = Instant::now();
        let mut names = UnknownNames::new();
        let asked = (100_000..110_000).filter(|uid| names.may_ask(*uid, start)).count();
        assert_eq!(asked, 30);
        assert!(names.may_ask(0, start));
    }

    #[test]
    fn an_outage_is_probed_after_ten_seconds_and_then_less_often_up_to_a_minute() {
        let start = Instant::now();
        let mut outages = Outages::default();
        outages.begin(NudgeOrigin::Login, Action::GET_USER, "alice", "timeout".into(), start);
        let mut probes = Vec::new();
        for second in 0..200 {
            if !outages.due(start + second * SECOND).is_empty() {
                probes.push(second);
            }
        }
        assert_eq!(probes, [10, 30, 70, 130, 190]);
    }

    #[test]
    fn an_outage_of_one_origin_leaves_the_others_alone_and_ends_for_all() {
        let start = Instant::now();
        let mut outages = Outages::default();
        for origin in [NudgeOrigin::Lookup, NudgeOrigin::Offer] {
            outages.begin(origin, Action::GET_USER, "x", "throttled".into(), start);
        }
        let is_open = |outages: &Outages, origin| outages.is_open(origin, Action::GET_USER, "y", start);
        assert!(is_open(&outages, NudgeOrigin::Offer) && !is_open(&outages, NudgeOrigin::Login));
        outages.end(Action::GET_USER);
        assert!(!is_open(&outages, NudgeOrigin::Lookup) && !is_open(&outages, NudgeOrigin::Offer));
    }

    // P6 P9
    #[test]
    fn what_iam_will_not_tell_about_one_user_silences_it_about_nobody_else() {
        let start = Instant::now();
        let mut outages = Outages::default();
        outages.begin_of_one(NudgeOrigin::Login, Action::GET_USER, "robot", "denied".into(), start);
        let is_open = |outages: &Outages, name, now| outages.is_open(NudgeOrigin::Login, Action::GET_USER, name, now);
        assert!(is_open(&outages, "robot", start) && !is_open(&outages, "alice", start));
        assert!(!is_open(&outages, "robot", start + 11 * SECOND));
        assert!(outages.due(start + 60 * SECOND).is_empty() && outages.list().count() == 1);
    }

    // P9
    #[test]
    fn offered_keys_buy_few_calls_and_a_first_login_has_its_own() {
        let start = Instant::now();
        let mut offers = OfferedKeys::default();
        assert_eq!((0..1000).filter(|_| offers.may_ask(true, 4, start)).count(), 15);
        assert!(offers.may_ask(false, 4, start));
        let later = start + 10 * SECOND;
        assert_eq!((0..1000).filter(|_| offers.may_ask(true, 3, later)).count(), 16);
    }
}
