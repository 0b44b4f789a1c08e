//! What is written down about logins, refusals, credentials and rights: the schema, once. docs/audit.md has it for
//! people, and a test compares the two.
//!
//! An [`AuditLine`] becomes an entry of the journal. PAM and the keys command hand theirs to keymakerd as one line
//! ([`AuditLine::report`]), since they keep nothing from one login to the next: keymakerd counts, limits what one user
//! has written, and writes as a user that nobody else is.

use std::fmt::{self, Display, Write};

use crate::journal::{self, JournalEntry, Priority};

/// The longest report, with its newline.
pub const MAX_REPORT: usize = 2048;
const VERB: &str = "report";
/// The longest value in a report, in bytes; a message may be four times as long.
const LONGEST_VALUE: usize = 255;

/// Words of the schema: an enum whose variants have a name in the journal and a meaning in docs/audit.md.
macro_rules! words {
    ($(#[$doc:meta])* $kind:ident { $($variant:ident $word:literal $meaning:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $kind { $(#[doc = concat!("`", $word, "`")] $variant,)* }

        impl $kind {
            /// All of them, in the documentation's order.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// Its name.
            pub fn word(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }

            /// What it means.
            pub fn meaning(self) -> &'static str {
                match self { $(Self::$variant => $meaning,)* }
            }

            /// The one of this name.
            pub fn of(word: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|known| known.word() == word)
            }
        }

        impl Display for $kind {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.word())
            }
        }
    };
}

words! {
    /// What a line is about: `KEYMAKER_EVENT`.
    AuditEvent {
        Login "login" "A session was opened for an IAM user, or a login of one was refused.",
        Keys "keys" "sshd asked for a user's keys and was given none that opens a session; nothing was proved yet.",
        Credentials "credentials" "A user asked for credentials, or for other metadata that is refused.",
        Capture "capture" "Something about the way of metadata requests to credd changed.",
        Entitlement "entitlement" "An IAM user gained or lost something on this host.",
        Setting "setting" "A setting changed.",
    }
}

words! {
    /// What was decided: `KEYMAKER_DECISION`.
    AuditDecision {
        Allowed "allowed" "The session was opened.",
        Refused "refused" "It was refused; the reason says why.",
        CannotTell "cannot_tell" "It was refused because nobody can tell whether it is right.",
        Issued "issued" "Credentials, or the name of their role, were given.",
        NotApplicable "not_applicable" "No method of the user's chain applies.",
        Denied "denied" "A method applies, and says no.",
        Transient "transient" "It could not be found out at that time.",
        Observed "observed" "A uid used the metadata service for the first time (capture mode observe).",
        Up "up" "All of capture was put up.",
        Down "down" "All of capture was taken down.",
        Repaired "repaired" "A part of capture that somebody had changed was put right.",
        Failed "failed" "A part of capture could not be put right.",
        Gained "gained" "The user has what they did not have before.",
        Lost "lost" "The user no longer has it.",
        Changed "changed" "It has another value than before.",
    }
}

words! {
    /// Why somebody was refused or lost something: `KEYMAKER_REASON`, of logins, keys and entitlements.
    AuditReason {
        NotInRequiredGroup "not_in_required_group" "the user is not in the required IAM group",
        Deleted "deleted" "IAM no longer has the user",
        NameHeldByAnother "name_held_by_another" "the name was another IAM user's here: keymaker release NAME",
        Expired "expired" "the date in the tag keymaker:expires has passed, or cannot be read",
        HomeOfAnother "home_of_another" "the home directory belongs to another uid",
        EntryOfAnother "entry_of_another" "the name or the uid is another account's on this host",
        NotInKeymakerUsers "not_in_keymaker_users" "sshd does not see the user in keymaker-users: keymaker doctor",
        ForeignKey "foreign_key" "the key that opened the connection is not one of the user's in IAM",
        NoEntry "no_entry" "IAM has the user, but this host gives no entry: keymaker why NAME",
        NoDirectory "no_directory" "the published files are missing, damaged or not keymakerd's",
        SettingsUnread "settings_unread" "the settings of this host have never been read",
        NeverInContact "never_in_contact" "IAM has not been reached on this host yet",
        OutOfContact "out_of_contact" "IAM was last reached longer than max_stale ago",
        UserStale "user_stale" "what IAM said about the user is older than max_stale",
        KeysStale "keys_stale" "what IAM said about the user's keys is older than max_stale",
        NotPublished "not_published" "this host lacks ports, memory or disk space to ask IAM or to write the answer",
        NoUid "no_uid" "sshd gave the keys command no uid: dpkg-reconfigure keymaker, or dnf reinstall keymaker",
        NotAName "not_a_name" "no IAM user can have this name here",
        LocalAccount "local_account" "the name is a local account's",
        Unreadable "unreadable" "a published file or /etc/passwd could not be read",
        Unknown "unknown" "not a user of the published directory",
        NotResolved "not_resolved" "glibc could not tell whose name it is",
        NeverFetched "never_fetched" "this host has never fetched the user's keys from IAM",
        KeysOfAnother "keys_of_another" "the published keys are those of another IAM user: keymaker sync",
        NotPrinted "not_printed" "sshd did not read the keys",
        ProofsCertificate "proofs_certificate" "the certificate is not one that keymaker login makes",
        ProofsToken "proofs_token" "the token in the certificate is not of AWS's form",
        ProofsKey "proofs_key" "no published key of the issuer has the token's name for it, or none is young enough: keymaker doctor",
        ProofsSignature "proofs_signature" "the issuer's key has not signed the token",
        ProofsClaims "proofs_claims" "the token is not for this login; the message says why",
        NoProof "no_proof" "the certificate proves another user, or opens nothing here; the message says why",
    }
}

words! {
    /// A field of the journal.
    AuditField {
        Event "KEYMAKER_EVENT" "what the line is about",
        Decision "KEYMAKER_DECISION" "what was decided",
        Reason "KEYMAKER_REASON" "why: one of the words below, or, of credentials and capture, a sentence",
        User "KEYMAKER_USER" "the Unix name",
        Uid "KEYMAKER_UID" "the number",
        IamUserId "KEYMAKER_IAM_USER_ID" "IAM's UserId (AIDA…), which never belongs to anybody else",
        Service "KEYMAKER_SERVICE" "the PAM service: sshd, sudo, su, cron, …",
        Address "KEYMAKER_ADDRESS" "where the client came from, as sshd told PAM",
        Key "KEYMAKER_KEY" "the fingerprint of the SSH key; several are separated by commas",
        SourceIdentity "KEYMAKER_SOURCE_IDENTITY" "what CloudTrail calls the user in sessions made by credd",
        Method "KEYMAKER_METHOD" "the method of credd.toml(5) that issued or refused",
        Role "KEYMAKER_ROLE" "the ARN of the role whose credentials were issued",
        AccessKeyId "KEYMAKER_ACCESS_KEY_ID" "the name of the key that was issued, as CloudTrail has it; never the secret",
        Expiration "KEYMAKER_EXPIRATION" "when that key ends",
        Asked "KEYMAKER_ASKED" "what was asked: role_credentials, token, …",
        Status "KEYMAKER_STATUS" "the HTTP status of the answer",
        What "KEYMAKER_WHAT" "what was gained or lost: login, group, or sudo, which is a group that sudo goes by",
        Group "KEYMAKER_GROUP" "the name of that group on this host",
        Setting "KEYMAKER_SETTING" "the key of the setting",
        From "KEYMAKER_FROM" "the value before; absent where there was none",
        To "KEYMAKER_TO" "the value now; absent where there is none",
        Proof "KEYMAKER_PROOF" "of a login by proof, the token's jti, which CloudTrail and sshd's own line have too; by EC2 Instance Connect, instance-connect",
        Process "KEYMAKER_PROCESS" "the process id of the sshd that serves the client: one connection's lines have the same",
        Unwritten "KEYMAKER_UNWRITTEN" "how many lines like this one, of the same user, were left out before it",
    }
}

impl AuditEvent {
    /// What a line about it may decide.
    pub fn decisions(self) -> &'static [AuditDecision] {
        use AuditDecision as D;
        match self {
            Self::Login => &[D::Allowed, D::Refused, D::CannotTell],
            Self::Keys => &[D::Refused, D::CannotTell],
            Self::Credentials => &[D::Issued, D::NotApplicable, D::Denied, D::Transient, D::Refused],
            Self::Capture => &[D::Observed, D::Up, D::Down, D::Repaired, D::Failed],
            Self::Entitlement => &[D::Gained, D::Lost],
            Self::Setting => &[D::Changed],
        }
    }

    /// What it may tell, besides event, decision and the number of lines left out.
    pub fn fields(self) -> &'static [AuditField] {
        use AuditField as F;
        match self {
            Self::Login => &[
                F::Reason,
                F::User,
                F::Uid,
                F::IamUserId,
                F::Service,
                F::Address,
                F::Key,
                F::Proof,
                F::SourceIdentity,
                F::Process,
            ],
            Self::Keys => &[F::Reason, F::User, F::Uid, F::IamUserId, F::Key, F::Proof, F::Process],
            Self::Credentials => &[
                F::Reason,
                F::User,
                F::Uid,
                F::Method,
                F::Role,
                F::AccessKeyId,
                F::Expiration,
                F::Asked,
                F::Status,
            ],
            Self::Capture => &[F::Reason, F::Uid],
            Self::Entitlement => &[F::Reason, F::User, F::Uid, F::IamUserId, F::What, F::Group],
            Self::Setting => &[F::Setting, F::From, F::To],
        }
    }
}

impl AuditDecision {
    /// Whether it says no: anybody can have as many of these written as they like, so of one user only so many are.
    pub fn is_refusal(self) -> bool {
        matches!(
            self,
            Self::Refused | Self::CannotTell | Self::NotApplicable | Self::Denied | Self::Transient
        )
    }
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditLine {
    /// What it is about.
    pub event: AuditEvent,
    /// What was decided.
    pub decision: AuditDecision,
    /// The program that says so in the journal.
    pub identifier: String,
    /// The sentence for people.
    pub message: String,
    /// How many like this were left out before it.
    pub unwritten: u64,
    values: Vec<(AuditField, String)>,
}

impl AuditLine {
    /// A line that tells nothing else yet.
    pub fn new(event: AuditEvent, decision: AuditDecision) -> Self {
        debug_assert!(event.decisions().contains(&decision), "{event} {decision}");
        Self {
            event,
            decision,
            identifier: String::new(),
            message: String::new(),
            unwritten: 0,
            values: Vec::new(),
        }
    }

    /// The same with a field; an empty value is none.
    #[must_use]
    pub fn with(mut self, field: AuditField, value: impl Display) -> Self {
        self.tell(field, value);
        self
    }

    /// The same with the program that says so, and its sentence.
    #[must_use]
    pub fn saying(mut self, identifier: &str, message: impl Into<String>) -> Self {
        identifier.clone_into(&mut self.identifier);
        self.message = message.into();
        self
    }

    /// Adds a field; an empty value is none.
    pub fn tell(&mut self, field: AuditField, value: impl Display) {
        debug_assert!(self.event.fields().contains(&field), "{} {field}", self.event);
        let value = value.to_string();
        if !value.is_empty() {
            self.values.push((field, value));
        }
    }

    /// What it tells in this field.
    pub fn told(&self, field: AuditField) -> Option<&str> {
        let told = self.values.iter().find(|(told, _)| *told == field);
        told.map(|(_, value)| value.as_str())
    }

    /// As journald takes it.
    pub fn entry(&self) -> JournalEntry {
        let priority = if self.decision.is_refusal() {
            Priority::Notice
        } else {
            Priority::Info
        };
        let mut entry = JournalEntry::new(priority, &self.identifier);
        entry.put("MESSAGE", &self.message);
        if matches!(self.event, AuditEvent::Login | AuditEvent::Keys) {
            entry.put("SYSLOG_FACILITY", &journal::AUTHPRIV.to_string());
        }
        if let Some(process) = self.told(AuditField::Process) {
            entry.put("SYSLOG_PID", process);
        }
        self.put_fields(&mut entry);
        entry
    }

    /// Adds the fields alone.
    pub fn put_fields(&self, entry: &mut JournalEntry) {
        entry.put(AuditField::Event.word(), self.event.word());
        entry.put(AuditField::Decision.word(), self.decision.word());
        for (field, value) in &self.values {
            entry.put(field.word(), value);
        }
        if self.unwritten > 0 {
            entry.put(AuditField::Unwritten.word(), &self.unwritten.to_string());
        }
    }

    /// As keymakerd is told of it, without the newline: `report login refused IDENTIFIER MESSAGE FIELD=VALUE…`. What is
    /// not printable ASCII is `%` and two hexadecimal digits. Longer values are cut.
    pub fn report(&self) -> String {
        let mut report = format!("{VERB} {} {} ", self.event, self.decision);
        escape(&self.identifier, LONGEST_VALUE, &mut report);
        report.push(' ');
        escape(&self.message, LONGEST_VALUE * 4, &mut report);
        for (field, value) in &self.values {
            let before = report.len();
            let _ = write!(report, " {field}=");
            escape(value, LONGEST_VALUE, &mut report);
            if report.len() >= MAX_REPORT {
                report.truncate(before);
            }
        }
        report
    }

    /// Reads a report; `None` where it is none, or breaks the schema.
    pub fn parse(report: &[u8]) -> Option<Self> {
        let report = str::from_utf8(report).ok()?;
        let mut words = report.split(' ');
        (words.next() == Some(VERB)).then_some(())?;
        let event = words.next().and_then(AuditEvent::of)?;
        let decision = words.next().and_then(AuditDecision::of)?;
        event.decisions().contains(&decision).then_some(())?;
        let mut line = Self::new(event, decision);
        line.identifier = unescape(words.next()?)?;
        line.message = unescape(words.next()?)?;
        for word in words {
            let (field, value) = word.split_once('=')?;
            let field = AuditField::of(field).filter(|field| event.fields().contains(field))?;
            line.told(field).is_none().then_some(())?;
            line.tell(field, unescape(value)?);
        }
        Some(line)
    }
}

/// Whether somebody says something that [`AuditLine::parse`] reads.
pub fn is_report(line: &[u8]) -> bool {
    line.strip_prefix(VERB.as_bytes())
        .is_some_and(|rest| rest.starts_with(b" "))
}

/// No escaped value is longer than `longest` bytes, and no character is cut.
fn escape(value: &str, longest: usize, into: &mut String) {
    let limit = into.len() + longest;
    for char in value.chars() {
        let before = into.len();
        for byte in char.encode_utf8(&mut [0; 4]).bytes() {
            if byte.is_ascii_graphic() && byte != b'%' {
                into.push(char::from(byte));
            } else {
                let _ = write!(into, "%{byte:02x}");
            }
        }
        if into.len() > limit {
            into.truncate(before);
            return;
        }
    }
}

fn unescape(word: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(word.len());
    let mut rest = word.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
                let (high, low) = (digit(rest.next()?)?, digit(rest.next()?)?);
                high << 4 | low
            }
            byte => byte,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused() -> AuditLine {
        AuditLine::new(AuditEvent::Login, AuditDecision::Refused)
            .with(AuditField::User, "alice")
            .with(AuditField::Address, "")
            .with(AuditField::Key, "SHA256:a/b+c=")
            .saying("sshd", "\"alice\" refused: 100 %\nKEYMAKER_USER=root")
    }

    #[test]
    fn a_report_comes_back_as_it_was_said_and_is_one_line() {
        let report = refused().report();
        assert!(
            report.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' '),
            "{report}"
        );
        assert_eq!(AuditLine::parse(report.as_bytes()), Some(refused()));
    }

    #[test]
    fn a_report_is_never_longer_than_keymakerd_reads() {
        let mut line = refused().saying("sshd", "ü".repeat(4000));
        for field in [AuditField::Reason, AuditField::Service, AuditField::SourceIdentity] {
            line.tell(field, "ö".repeat(4000));
        }
        line.message = "x".repeat(4000);
        let report = line.report();
        assert!(report.len() < MAX_REPORT, "{}", report.len());
        assert!(AuditLine::parse(report.as_bytes()).is_some());
    }

    #[test]
    fn what_breaks_the_schema_is_no_report() {
        for report in [
            "report",
            "report login",
            "report login issued sshd x",
            "report reboot refused sshd x",
            "report login refused sshd x KEYMAKER_ROLE=r",
            "report login refused sshd x PRIORITY=0",
            "report login refused sshd x KEYMAKER_USER=a KEYMAKER_USER=b",
            "report login refused sshd x KEYMAKER_USER=%zz",
            "report login refused sshd x KEYMAKER_USER=%ff",
            "report login refused sshd x\nKEYMAKER_USER=a",
        ] {
            let line = AuditLine::parse(report.as_bytes());
            assert!(
                line.is_none_or(|line| line.told(AuditField::User).is_none()),
                "{report:?}"
            );
        }
    }
}
