//! What may be asked of keymakerd, by whom, and in which words.
//!
//! A connection carries one question, a line, and one answer, a line. No record crosses a socket: a question is a nudge
//! "make sure that what you published about this name is fresh", after which the asker reads the published files.
//! docs/protocol.md shows examples.

use std::fmt;
use std::time::Duration;

use crate::audit::AuditEvent;
use crate::name::UserName;

/// The longest question, with its newline.
pub const MAX_QUESTION: usize = 64;
/// The longest answer, with its newline.
pub const MAX_ANSWER: usize = 1024;

/// How long an NSS lookup waits for the answer, in all.
pub const LOOKUP_BUDGET: Duration = Duration::from_millis(1500);
/// How long the keys command waits: sshd runs it once per offered key and once more.
pub const KEYS_BUDGET: Duration = Duration::from_secs(2);
/// An account is called fresh while its facts have this share of `authz_ttl` left, so that anybody who keeps the answer
/// for so long, as credd does, goes by nothing older than `authz_ttl`.
pub const FRESH_SHARE: u32 = 12;
/// How long PAM account waits.
pub const ACCOUNT_BUDGET: Duration = Duration::from_secs(5);

/// How long PAM account waits for services that nobody logs in by and that try only once, where the published files say
/// that there is no contact: more than [`ACCOUNT_BUDGET`] only while the first pass after a boot or resume is under way,
/// as keymakerd knows.
pub const FIRST_PASS_BUDGET: Duration = Duration::from_secs(20);

/// How long PAM and the keys command wait until keymakerd has taken a line of the audit.
pub const REPORT_BUDGET: Duration = Duration::from_millis(250);

/// A question to keymakerd.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// Does this user exist? Refreshes the facts of an unknown name, or of one older than `authz_ttl`. The only one at
    /// lookup.sock.
    Lookup(UserName),
    /// Refresh the facts that decide whether this user may log in.
    Account(UserName),
    /// Refresh those and the user's keys.
    Keys(UserName),
    /// A token names a key of the issuer's that is not published: has the issuer a new one?
    IssuerKeys,
    /// Wait for the pass that is under way, if any, to say whether IAM answers.
    Contact,
    /// The same; and if it does not, is AWS silent, and not this host's own trouble, so that what this user began here may go on?
    GoOn(UserName),
    /// Run a full pass now.
    Sync,
    /// Forget how fresh this user's facts are, or everybody's.
    Invalidate(Option<UserName>),
    /// The name, held until now by a deleted IAM user, may be its present holder's.
    Release(UserName),
    /// Proofs of this user, or of everybody, that were made until now open nothing.
    RevokeProofs(Option<UserName>),
    /// The pending change of settings is meant.
    AcceptSettings,
    /// Forget everything: this host becomes an image.
    Reset,
}

/// Who asks, as the socket and `SO_PEERCRED` say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asker {
    /// anybody, at lookup.sock
    Anyone,
    /// the system user keymaker-keys
    KeysCommand,
    /// the system user credd
    Credd,
    /// root
    Root,
}

impl Asker {
    /// The table of who may ask what.
    pub fn may_ask(self, question: &Question) -> bool {
        matches!(
            (self, question),
            (Self::Root, _)
                | (Self::KeysCommand, Question::Keys(_) | Question::IssuerKeys)
                | (Self::Credd, Question::Account(_))
                | (Self::Anyone, Question::Lookup(_))
        )
    }
}

impl Asker {
    /// Who may have which lines of the audit written: PAM runs as root, and the keys command knows of keys only.
    pub fn may_report(self, event: AuditEvent) -> bool {
        matches!(
            (self, event),
            (Self::Root, AuditEvent::Login) | (Self::KeysCommand | Self::Root, AuditEvent::Keys)
        )
    }
}

impl Question {
    /// Reads a question as it stands at login.sock, without its newline.
    pub fn parse(line: &[u8]) -> Option<Self> {
        let mut words = line.splitn(2, |byte| *byte == b' ');
        let verb = words.next()?;
        let name = words.next().map(UserName::parse).transpose().ok()?;
        match (verb, name) {
            (b"lookup", Some(name)) => Some(Self::Lookup(name)),
            (b"account", Some(name)) => Some(Self::Account(name)),
            (b"keys", Some(name)) => Some(Self::Keys(name)),
            (b"issuer-keys", None) => Some(Self::IssuerKeys),
            (b"contact", None) => Some(Self::Contact),
            (b"go-on", Some(name)) => Some(Self::GoOn(name)),
            (b"sync", None) => Some(Self::Sync),
            (b"invalidate", name) => Some(Self::Invalidate(name)),
            (b"release", Some(name)) => Some(Self::Release(name)),
            (b"revoke-proofs", name) => Some(Self::RevokeProofs(name)),
            (b"accept-settings", None) => Some(Self::AcceptSettings),
            (b"reset", None) => Some(Self::Reset),
            _ => None,
        }
    }

    /// What is asked, without the name.
    pub fn verb(&self) -> &'static str {
        match self {
            Self::Lookup(_) => "lookup",
            Self::Account(_) => "account",
            Self::Keys(_) => "keys",
            Self::IssuerKeys => "issuer-keys",
            Self::Contact => "contact",
            Self::GoOn(_) => "go-on",
            Self::Sync => "sync",
            Self::Invalidate(_) => "invalidate",
            Self::Release(_) => "release",
            Self::RevokeProofs(_) => "revoke-proofs",
            Self::AcceptSettings => "accept-settings",
            Self::Reset => "reset",
        }
    }
}

impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = self.verb();
        match self {
            Self::Lookup(name) | Self::Account(name) | Self::Keys(name) | Self::GoOn(name) | Self::Release(name) => {
                write!(f, "{verb} {name}")
            }
            Self::Invalidate(Some(name)) | Self::RevokeProofs(Some(name)) => write!(f, "{verb} {name}"),
            Self::Invalidate(None)
            | Self::RevokeProofs(None)
            | Self::IssuerKeys
            | Self::Contact
            | Self::Sync
            | Self::AcceptSettings
            | Self::Reset => f.write_str(verb),
        }
    }
}

/// The answer to a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer<'a> {
    /// What is published about the name is fresh.
    Fresh,
    /// IAM says that there is no such user.
    NoSuchUser,
    /// Nobody can tell now; what is published stands.
    CannotTell,
    /// IAM has taken something from this user, and that cannot be published; or this host lacks what it takes to ask
    /// IAM. What is published does not stand for them.
    NotPublished,
    /// AWS has not answered the last pass, and this host could ask; what is published is what is known. Only to `go-on`.
    AwsSilent,
    /// This asker may not ask that.
    NotPermitted,
    /// An administrator's order was carried out; the text says what happened.
    Done(&'a str),
    /// An administrator's order was not carried out; the text says why, and what to do.
    Failed(&'a str),
}

impl<'a> Answer<'a> {
    /// Reads an answer, without its newline.
    pub fn parse(line: &'a str) -> Option<Self> {
        match line.split_once(' ').unwrap_or((line, "")) {
            ("fresh", "") => Some(Self::Fresh),
            ("no-such-user", "") => Some(Self::NoSuchUser),
            ("cannot-tell", "") => Some(Self::CannotTell),
            ("not-published", "") => Some(Self::NotPublished),
            ("aws-silent", "") => Some(Self::AwsSilent),
            ("not-permitted", "") => Some(Self::NotPermitted),
            ("done", text) => Some(Self::Done(text)),
            ("failed", text) => Some(Self::Failed(text)),
            _ => None,
        }
    }

    /// What is answered, without the text.
    pub fn verb(self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::NoSuchUser => "no-such-user",
            Self::CannotTell => "cannot-tell",
            Self::NotPublished => "not-published",
            Self::AwsSilent => "aws-silent",
            Self::NotPermitted => "not-permitted",
            Self::Done(_) => "done",
            Self::Failed(_) => "failed",
        }
    }
}

impl fmt::Display for Answer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = self.verb();
        match self {
            Self::Done(text) | Self::Failed(text) => write!(f, "{verb} {text}"),
            _ => f.write_str(verb),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn every_question() -> [Question; 14] {
        let alice = UserName::parse(b"alice").unwrap();
        [
            Question::Lookup(alice),
            Question::Account(alice),
            Question::Keys(alice),
            Question::IssuerKeys,
            Question::Contact,
            Question::GoOn(alice),
            Question::Sync,
            Question::Invalidate(None),
            Question::Invalidate(Some(alice)),
            Question::Release(alice),
            Question::RevokeProofs(None),
            Question::RevokeProofs(Some(alice)),
            Question::AcceptSettings,
            Question::Reset,
        ]
    }

    #[test]
    fn questions_and_answers_come_back_as_they_were_said() {
        for question in every_question() {
            let line = question.to_string();
            assert!(line.len() < MAX_QUESTION);
            assert_eq!(Question::parse(line.as_bytes()), Some(question));
        }
        for answer in [
            Answer::Fresh,
            Answer::NoSuchUser,
            Answer::CannotTell,
            Answer::NotPublished,
            Answer::AwsSilent,
            Answer::NotPermitted,
            Answer::Done("a b"),
            Answer::Failed("c"),
        ] {
            assert_eq!(Answer::parse(&answer.to_string()), Some(answer));
        }
    }

    #[test]
    fn what_is_not_a_question_is_refused() {
        for line in [
            "",
            "keys",
            "keys ",
            "keys Root",
            "keys a b",
            "sync now",
            "KEYS alice",
            "release ../x",
            "keys alice\n",
        ] {
            assert_eq!(Question::parse(line.as_bytes()), None, "{line:?}");
        }
    }

    #[test]
    fn each_asker_may_ask_only_what_its_work_needs() {
        let allowed = |asker: Asker| {
            every_question()
                .into_iter()
                .filter(|question| asker.may_ask(question))
                .map(|q| q.to_string())
                .collect::<Vec<_>>()
        };
        assert_eq!(allowed(Asker::Anyone), ["lookup alice"]);
        assert_eq!(allowed(Asker::KeysCommand), ["keys alice", "issuer-keys"]);
        assert_eq!(allowed(Asker::Credd), ["account alice"]);
        assert_eq!(allowed(Asker::Root).len(), 14);
    }

    #[test]
    fn each_asker_has_only_lines_about_its_own_work_written() {
        for event in AuditEvent::ALL {
            let may = |asker: Asker| asker.may_report(*event);
            assert_eq!(may(Asker::Root), matches!(event, AuditEvent::Login | AuditEvent::Keys));
            assert_eq!(may(Asker::KeysCommand), *event == AuditEvent::Keys);
            assert!(!may(Asker::Credd) && !may(Asker::Anyone));
        }
    }
}
