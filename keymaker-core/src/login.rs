//! May this user log in here, now? PAM, the keys command and credd all ask this function, so that they cannot differ.

use std::fmt;
use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::audit::{AuditDecision, AuditReason};
use crate::directory_file::{Header, User, Verdict};
use crate::home::{self, HomeState};
use crate::keys_file::UserKeys;
use crate::name::UserName;

/// The decision about a user of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoginDecision {
    /// The user may log in.
    Allowed,
    /// IAM or the administrator says no.
    Refused(Refusal),
    /// Nobody can tell whether the user still may, so the user may not.
    CannotTell(Doubt),
}

/// Why a user may not log in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// the user is not in the required IAM group
    NotInRequiredGroup,
    /// IAM no longer has the user
    Deleted,
    /// the name was another IAM user's here
    NameHeldByAnother,
    /// the user's `expires` date has passed or cannot be read
    Expired,
    /// the home directory belongs to another uid
    HomeOfAnother,
    /// the name or the uid is another account's on this host
    EntryOfAnother,
    /// sshd does not see the user in keymaker-users, so its `Match` block would not hold
    NotInKeymakerUsers,
    /// the key that opened the connection is not one of the user's in IAM
    ForeignKey,
    /// the same, where none of them would have opened it
    NoKeyCounts,
    /// IAM has the user, but this host gives no entry
    NoEntry,
}

/// Why nobody can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// the published files are missing, damaged or not keymakerd's
    NoDirectory,
    /// the settings of this host have never been read
    SettingsUnread,
    /// IAM has not been reached on this host yet
    NeverInContact,
    /// IAM was last reached longer than `max_stale` ago
    OutOfContact,
    /// what IAM said about this user is older than `max_stale`
    UserStale,
    /// what IAM said about this user's keys is older than `max_stale`
    KeysStale,
    /// this host lacks what it takes to ask IAM about the user, or to write down what IAM has taken from them
    NotPublished,
}

impl LoginDecision {
    /// The decision about `user`, as the directory's header, the last contact and the clock say.
    pub fn about(user: &User<'_>, header: &Header<'_>, contact: Option<SystemTime>, now: SystemTime) -> Self {
        let refused = match user.verdict {
            Verdict::NoEntry => Some(Refusal::NoEntry),
            _ if user.tombstone => Some(Refusal::Deleted),
            Verdict::Allowed => None,
            Verdict::NotInRequiredGroup => Some(Refusal::NotInRequiredGroup),
            Verdict::Deleted => Some(Refusal::Deleted),
            Verdict::NameHeldByAnother => Some(Refusal::NameHeldByAnother),
            Verdict::Expired => Some(Refusal::Expired),
        };
        if let Some(refusal) = refused {
            return Self::Refused(refusal);
        }
        let max_stale = Duration::from_secs(header.max_stale.into());
        let Some(contact) = contact else {
            return Self::CannotTell(Doubt::NeverInContact);
        };
        if header.settings_unread {
            Self::CannotTell(Doubt::SettingsUnread)
        } else if older_than(contact, max_stale, now) {
            Self::CannotTell(Doubt::OutOfContact)
        } else if user.answered_at != 0 && older_than(unix_time(user.answered_at), max_stale, now) {
            Self::CannotTell(Doubt::UserStale)
        } else {
            Self::Allowed
        }
    }

    /// The same for a service that continues what the user began here ([`crate::running`]), where AWS is silent: for `max_stale_running`
    /// the last verdict stands, as it was when IAM last answered. Who was refused then, or too stale, is so still (P7); a time in the
    /// future counts for nothing (P3).
    pub fn of_running(
        self,
        user: &User<'_>,
        header: &Header<'_>,
        contact: Option<SystemTime>,
        now: SystemTime,
    ) -> Self {
        let (Self::CannotTell(Doubt::OutOfContact), Some(contact)) = (self, contact) else {
            return self;
        };
        let longest = Duration::from_secs(header.max_stale_running.into());
        let counts = |then| now.duration_since(then).is_ok_and(|age| age <= longest);
        let answered_at = match user.answered_at {
            0 => contact,
            at => unix_time(at),
        };
        let then = Self::about(user, header, Some(contact), contact);
        if then == Self::Allowed && counts(contact) && counts(answered_at) {
            Self::Allowed
        } else {
            self
        }
    }

    /// Refuses a user whose home is somebody else's: what lies there would be obeyed as if it were theirs (P2).
    ///
    /// A home that is not there yet, or that only root or nobody can look at now, speaks against nobody; nor does one that
    /// is root's alone.
    pub fn and_home(self, user: &User<'_>) -> Self {
        let found = |home: &str| home::state(Path::new(home), user.uid.get());
        match self {
            Self::Allowed if matches!(found(user.home), Ok(HomeState::OfAnother)) => {
                Self::Refused(Refusal::HomeOfAnother)
            }
            decided => decided,
        }
    }

    /// Doubts a user about whose keys IAM has not answered within `max_stale`: one of them may be inactive by now (P9).
    pub fn and_keys(self, keys: &UserKeys, header: &Header<'_>, now: SystemTime) -> Self {
        let max_stale = Duration::from_secs(header.max_stale.into());
        match self {
            Self::Allowed if older_than(unix_time(keys.answered_at), max_stale, now) => {
                Self::CannotTell(Doubt::KeysStale)
            }
            decided => decided,
        }
    }

    /// What is written down about it.
    pub fn audited(&self) -> (AuditDecision, Option<AuditReason>) {
        match self {
            Self::Allowed => (AuditDecision::Allowed, None),
            Self::Refused(refusal) => (AuditDecision::Refused, Some(refusal.audited())),
            Self::CannotTell(doubt) => (AuditDecision::CannotTell, Some(doubt.audited())),
        }
    }

    /// The sentence for the user: about themselves only.
    pub fn sentence<'a>(&self, name: UserName, required_group: &'a str) -> Sentence<'a> {
        Sentence {
            decision: *self,
            name,
            required_group,
        }
    }
}

impl Refusal {
    fn audited(self) -> AuditReason {
        match self {
            Self::NotInRequiredGroup => AuditReason::NotInRequiredGroup,
            Self::Deleted => AuditReason::Deleted,
            Self::NameHeldByAnother => AuditReason::NameHeldByAnother,
            Self::Expired => AuditReason::Expired,
            Self::HomeOfAnother => AuditReason::HomeOfAnother,
            Self::EntryOfAnother => AuditReason::EntryOfAnother,
            Self::NotInKeymakerUsers => AuditReason::NotInKeymakerUsers,
            Self::ForeignKey | Self::NoKeyCounts => AuditReason::ForeignKey,
            Self::NoEntry => AuditReason::NoEntry,
        }
    }
}

impl Doubt {
    fn audited(self) -> AuditReason {
        match self {
            Self::NoDirectory => AuditReason::NoDirectory,
            Self::SettingsUnread => AuditReason::SettingsUnread,
            Self::NeverInContact => AuditReason::NeverInContact,
            Self::OutOfContact => AuditReason::OutOfContact,
            Self::UserStale => AuditReason::UserStale,
            Self::KeysStale => AuditReason::KeysStale,
            Self::NotPublished => AuditReason::NotPublished,
        }
    }
}

/// Whether `then` is longer ago than `limit`, or so far in the future that it says nothing about when it was: then
/// somebody has set the clock, and nobody knows how old what is known is (P3).
pub fn older_than(then: SystemTime, limit: Duration, now: SystemTime) -> bool {
    match now.duration_since(then) {
        Ok(age) => age > limit,
        Err(ahead) => ahead.duration() > MOST_AHEAD,
    }
}

/// For whoever has put a key where `ssh-copy-id` puts it, which says that it succeeded.
pub const ONLY_IAM: &str = "~/.ssh/authorized_keys counts for nothing here: keymaker upload-key";

/// Clocks that are kept right differ by less.
const MOST_AHEAD: Duration = Duration::from_secs(300);

/// A count of seconds since 1970 as a time.
pub fn unix_time(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH
        .checked_add(Duration::from_secs(seconds))
        .unwrap_or(SystemTime::UNIX_EPOCH)
}

/// When IAM last answered everything: the modification time of the contact file, if keymakerd made it.
pub fn last_contact(path: &Path) -> Option<SystemTime> {
    let (_, metadata): (_, fs::Metadata) = crate::published_file::reader::open_trusted(path).ok()?;
    metadata.modified().ok()
}

/// What a refused user reads.
#[derive(Clone, Copy, Debug)]
pub struct Sentence<'a> {
    decision: LoginDecision,
    name: UserName,
    required_group: &'a str,
}

impl fmt::Display for Sentence<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.name;
        let refusal = match self.decision {
            LoginDecision::Allowed => return write!(f, "keymaker: {name} may log in here."),
            LoginDecision::Refused(refusal) => refusal,
            LoginDecision::CannotTell(doubt) => {
                return write!(
                    f,
                    "keymaker: this host cannot verify whether {name} may log in ({doubt}); please ask its administrator."
                );
            }
        };
        match refusal {
            Refusal::NotInRequiredGroup => {
                write!(
                    f,
                    "keymaker: {name} is not in the IAM group {}, which this host requires.",
                    self.required_group
                )
            }
            Refusal::NoEntry => write!(
                f,
                "keymaker: this host has no account for {name}; an administrator can find the reason with: keymaker \
                why {name}"
            ),
            Refusal::Deleted => write!(f, "keymaker: {name} is no longer a user in IAM."),
            Refusal::NameHeldByAnother => write!(
                f,
                "keymaker: the name {name} belonged to another IAM user on this host; an administrator can hand it over: keymaker release {name}"
            ),
            Refusal::Expired => write!(f, "keymaker: the access of {name} to this host has expired."),
            Refusal::HomeOfAnother => write!(
                f,
                "keymaker: the home directory of {name} belongs to somebody else; an administrator can find what to do with: \
                keymaker why {name}"
            ),
            Refusal::EntryOfAnother => write!(
                f,
                "keymaker: on this host {name} is another account, not the IAM user; an administrator can find it \
                with: getent passwd {name}"
            ),
            Refusal::NotInKeymakerUsers => write!(
                f,
                "keymaker: this host does not see {name} in the group keymaker-users; an administrator can find the \
                cause with: keymaker doctor"
            ),
            Refusal::ForeignKey => write!(
                f,
                "keymaker: the key that opened this connection is not one of {name}'s keys in IAM; {ONLY_IAM}."
            ),
            Refusal::NoKeyCounts => write!(
                f,
                "keymaker: the key that opened this connection counts for nothing here, nor would one in IAM; an \
                administrator can find what does with: keymaker why {name}"
            ),
        }
    }
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoDirectory => "its copy of the IAM directory cannot be read",
            Self::SettingsUnread => "it has not been able to read its settings yet",
            Self::NeverInContact => "it has not reached IAM yet",
            Self::OutOfContact => "it has not reached IAM for too long",
            Self::UserStale => "IAM has not answered about this user for too long",
            Self::KeysStale => "IAM has not answered about this user's keys for too long",
            Self::NotPublished => {
                "it lacks the ports, memory or disk space to ask IAM about this user, or to write down the answer"
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory_file::records::tests_support::{with_home, with_user};

    const NOW: u64 = 1_800_000_000;

    fn decide(
        verdict: Verdict,
        tombstone: bool,
        answered_at: u64,
        contact: Option<u64>,
        settings_unread: bool,
    ) -> LoginDecision {
        let header = Header {
            max_stale: 86_400,
            settings_unread,
            ..Header::NOTHING
        };
        with_user(verdict, tombstone, answered_at, |user| {
            LoginDecision::about(user, &header, contact.map(unix_time), unix_time(NOW))
        })
    }

    // P7
    #[test]
    fn a_user_who_is_refused_deleted_or_stale_may_not_log_in() {
        use LoginDecision::{Allowed, CannotTell, Refused};
        let fresh = Some(NOW - 86_400);
        assert_eq!(decide(Verdict::Allowed, false, 0, fresh, false), Allowed);
        assert_eq!(decide(Verdict::Allowed, false, NOW - 86_400, fresh, false), Allowed);
        assert_eq!(
            decide(Verdict::Allowed, true, 0, fresh, false),
            Refused(Refusal::Deleted)
        );
        assert_eq!(
            decide(Verdict::Deleted, false, 0, fresh, false),
            Refused(Refusal::Deleted)
        );
        assert_eq!(
            decide(Verdict::NotInRequiredGroup, false, 0, fresh, false),
            Refused(Refusal::NotInRequiredGroup)
        );
        assert_eq!(
            decide(Verdict::NameHeldByAnother, false, 0, fresh, false),
            Refused(Refusal::NameHeldByAnother)
        );
        assert_eq!(
            decide(Verdict::Expired, false, 0, fresh, false),
            Refused(Refusal::Expired)
        );
        assert_eq!(
            decide(Verdict::Allowed, false, 0, Some(NOW - 86_401), false),
            CannotTell(Doubt::OutOfContact)
        );
        assert_eq!(
            decide(Verdict::Allowed, false, NOW - 86_401, fresh, false),
            CannotTell(Doubt::UserStale)
        );
        assert_eq!(
            decide(Verdict::Allowed, false, 0, None, false),
            CannotTell(Doubt::NeverInContact)
        );
        assert_eq!(
            decide(Verdict::Allowed, false, 0, fresh, true),
            CannotTell(Doubt::SettingsUnread)
        );
    }

    // P7 P9
    #[test]
    fn what_runs_goes_on_by_the_last_verdict_for_max_stale_running_and_never_for_who_was_refused() {
        use LoginDecision::{Allowed, CannotTell, Refused};
        const DAY: u64 = 86_400;
        let settings = Header {
            max_stale: 86_400,
            max_stale_running: 7 * 86_400,
            settings_unread: false,
            ..Header::NOTHING
        };
        let decide = |header: &Header<'_>, verdict, answered_at: u64, contact: Option<u64>| {
            let contact = contact.map(unix_time);
            with_user(verdict, false, answered_at, |user| {
                LoginDecision::about(user, header, contact, unix_time(NOW)).of_running(
                    user,
                    header,
                    contact,
                    unix_time(NOW),
                )
            })
        };
        let allowed = |answered_at, contact| decide(&settings, Verdict::Allowed, answered_at, Some(contact));
        let too_old = CannotTell(Doubt::OutOfContact);
        assert_eq!(allowed(0, NOW - 2 * DAY), Allowed);
        assert_eq!(allowed(0, NOW - 7 * DAY), Allowed);
        assert_eq!(allowed(0, NOW - 7 * DAY - 1), too_old);
        // Whose facts were young enough when IAM last answered everything, and are not too old now.
        assert_eq!(allowed(NOW - 3 * DAY, NOW - 2 * DAY), Allowed);
        assert_eq!(allowed(NOW - 3 * DAY - 1, NOW - 2 * DAY), too_old);
        assert_eq!(allowed(NOW - 7 * DAY - 1, NOW - 7 * DAY + 1), too_old);
        // A clock that was set back: the contact is to come, by more than clocks differ, or the user's time is.
        assert_eq!(allowed(0, NOW + 301), too_old);
        assert_eq!(allowed(NOW + 10, NOW - 2 * DAY), too_old);
        assert_eq!(
            decide(&settings, Verdict::Allowed, NOW - 2 * DAY, Some(NOW - 60)),
            CannotTell(Doubt::UserStale),
            "AWS answers about others"
        );
        for (verdict, refusal) in [
            (Verdict::NotInRequiredGroup, Refusal::NotInRequiredGroup),
            (Verdict::Deleted, Refusal::Deleted),
            (Verdict::NameHeldByAnother, Refusal::NameHeldByAnother),
            (Verdict::Expired, Refusal::Expired),
            (Verdict::NoEntry, Refusal::NoEntry),
        ] {
            assert_eq!(decide(&settings, verdict, 0, Some(NOW - 2 * DAY)), Refused(refusal));
        }
        assert_eq!(
            decide(&settings, Verdict::Allowed, 0, None),
            CannotTell(Doubt::NeverInContact)
        );
        let unread = Header {
            settings_unread: true,
            ..settings
        };
        assert_eq!(
            decide(&unread, Verdict::Allowed, 0, Some(NOW - 2 * DAY)),
            CannotTell(Doubt::SettingsUnread)
        );
        let as_before = Header {
            max_stale_running: 0,
            ..settings
        };
        assert_eq!(decide(&as_before, Verdict::Allowed, 0, Some(NOW - 2 * DAY)), too_old);
    }

    // P2
    #[test]
    fn the_home_of_another_uid_is_nobodys_to_log_into() {
        let decided = |home: &str, decision: LoginDecision| with_home(home, |user| decision.and_home(user));
        let refused = LoginDecision::Refused(Refusal::HomeOfAnother);
        // It is root's, and everybody may write to it.
        assert_eq!(decided("/tmp", LoginDecision::Allowed), refused);
        assert_eq!(decided("/etc", LoginDecision::Allowed), LoginDecision::Allowed);
        assert_eq!(decided("/no/such/home", LoginDecision::Allowed), LoginDecision::Allowed);
        let expired = LoginDecision::Refused(Refusal::Expired);
        assert_eq!(decided("/tmp", expired), expired);
        // It may be root's, or a link: what helps differs, and `keymaker release` is often not it.
        let sentence = refused.sentence(UserName::parse(b"alice").unwrap(), "").to_string();
        assert!(sentence.ends_with("with: keymaker why alice"), "{sentence}");
    }

    // P9
    #[test]
    fn keys_that_iam_has_not_confirmed_within_max_stale_open_nothing() {
        let header = Header {
            max_stale: 86_400,
            ..Header::NOTHING
        };
        let decided = |answered_at, decision: LoginDecision| {
            let keys = UserKeys {
                name: UserName::parse(b"alice").unwrap(),
                uid: crate::id::Uid::new(1_900_000_000).unwrap(),
                iam_user_id: "AIDA".to_owned(),
                answered_at,
                keys: Vec::new(),
            };
            decision.and_keys(&keys, &header, unix_time(NOW))
        };
        assert_eq!(decided(NOW - 86_400, LoginDecision::Allowed), LoginDecision::Allowed);
        let stale = LoginDecision::CannotTell(Doubt::KeysStale);
        assert_eq!(decided(NOW - 86_401, LoginDecision::Allowed), stale);
        let expired = LoginDecision::Refused(Refusal::Expired);
        assert_eq!(decided(0, expired), expired);
    }

    // P3
    #[test]
    fn a_time_in_the_future_is_refused_rather_than_never_stale() {
        let contact_at = |at| decide(Verdict::Allowed, false, 0, Some(at), false);
        assert_eq!(contact_at(NOW + 300), LoginDecision::Allowed);
        assert_eq!(contact_at(NOW + 301), LoginDecision::CannotTell(Doubt::OutOfContact));
        let answered_at = |at| decide(Verdict::Allowed, false, at, Some(NOW), false);
        assert_eq!(answered_at(NOW + 300), LoginDecision::Allowed);
        assert_eq!(answered_at(NOW + 301), LoginDecision::CannotTell(Doubt::UserStale));
    }
}
