//! PAM account: may this user log in here, now?
//!
//! Called by `abi` for every login, cron job, su and sudo. It only ever answers `PAM_SUCCESS`, `PAM_IGNORE`,
//! `PAM_PERM_DENIED` and `PAM_AUTHINFO_UNAVAIL`: "cannot tell" is a refusal of its own, and nothing here can make sshd
//! ask for a new password.

use std::time::{Duration, Instant, SystemTime};

use keymaker_core::audit::{AuditEvent, AuditField, AuditLine, AuditReason};
use keymaker_core::client::{self, AskError};
use keymaker_core::directory_file::{Directory, Header, MAX_USER_RECORD, User};
use keymaker_core::journal::Priority;
use keymaker_core::login::{self, Doubt, LoginDecision, Refusal};
use keymaker_core::protocol::{ACCOUNT_BUDGET, Answer, FIRST_PASS_BUDGET, MAX_ANSWER, Question};
use keymaker_core::published_file::reader::ReadError;
use keymaker_core::running::{has_begun_anything, is_continuing};
use keymaker_core::{local_files, paths};
use pam::constants::PamResultCode;

use crate::abi::calls::guarded;
use crate::handle::Handle;
use crate::ours::{self, LoginAccount, Ownership, PamHost};

/// What is decided about an account.
#[derive(Debug, PartialEq, Eq)]
pub enum Judgement {
    /// it is not an IAM user's
    NotOurs,
    /// it is, and this is why they may or may not log in
    Ours(Decided),
}

/// A decision with its reasons.
#[derive(Debug, PartialEq, Eq)]
pub struct Decided {
    /// the decision
    pub decision: LoginDecision,
    /// for the user
    pub sentence: String,
    /// for the administrator
    pub reason: String,
    /// uid and `UserId` of the user whom it is about, where the directory has one
    pub user: Option<(u32, String)>,
    /// whether the user is let in by a verdict that is older than `max_stale`
    pub by_last_verdict: bool,
}

/// The hook. A panic while it looks whether the account is local lets local accounts in; later, it lets nobody in.
pub fn account(handle: &Handle<'_>, host: &PamHost<'_>) -> PamResultCode {
    let Some(name) = handle.user() else {
        return PamResultCode::PAM_IGNORE;
    };
    if guarded(true, || ours::is_local(name, host)) {
        return PamResultCode::PAM_IGNORE;
    }
    guarded(PamResultCode::PAM_AUTHINFO_UNAVAIL, || {
        let judgement = judge(name, handle.service(), host, SystemTime::now());
        match &judgement {
            Judgement::Ours(decided) if decided.decision != LoginDecision::Allowed => {
                handle.refuse(&decided.sentence);
                handle.audit("account", decided.audited(name), host);
            }
            Judgement::Ours(decided) if decided.by_last_verdict => {
                let name = String::from_utf8_lossy(name);
                handle.log(
                    Priority::Notice,
                    &format!(
                        "{name} goes on by what IAM last said, since AWS has been silent for longer than max_stale"
                    ),
                );
            }
            _ => {}
        }
        result_code(&judgement)
    })
}

fn result_code(judgement: &Judgement) -> PamResultCode {
    match judgement {
        Judgement::NotOurs => PamResultCode::PAM_IGNORE,
        Judgement::Ours(decided) => match decided.decision {
            LoginDecision::Allowed => PamResultCode::PAM_SUCCESS,
            LoginDecision::Refused(_) => PamResultCode::PAM_PERM_DENIED,
            LoginDecision::CannotTell(_) => PamResultCode::PAM_AUTHINFO_UNAVAIL,
        },
    }
}

/// Decides about an account that is not local. At a login, keymakerd is asked first whether anything changed; by other
/// services only where the last pass is too long ago, whether the one under way ends that.
pub fn judge(name: &[u8], service: &[u8], host: &PamHost<'_>, now: SystemTime) -> Judgement {
    let deadline = Instant::now() + ACCOUNT_BUDGET;
    let Some(account) = LoginAccount::of(name, host) else {
        return Judgement::NotOurs;
    };
    let at_login = ours::at_login(service);
    let mut knowledge = Knowledge::AsPublished;
    let first = read(&account, host, (now, knowledge));
    match first {
        Ok(Judgement::Ours(_)) if at_login => {
            if nudge(&account, service, host, deadline) == AccountAfterNudge::DoesNotStand {
                let doubt = LoginDecision::CannotTell(Doubt::NotPublished);
                return Judgement::Ours(Decided::about(&account, doubt, ""));
            }
        }
        Ok(Judgement::Ours(decided)) if decided.may_end_with_a_pass() => {
            knowledge = await_contact(&account, service, host);
        }
        first => return first.unwrap_or_else(|error| without_directory(&account, at_login, &error)),
    }
    if knowledge == Knowledge::Withheld {
        let doubt = LoginDecision::CannotTell(Doubt::NotPublished);
        return Judgement::Ours(Decided::about(&account, doubt, ""));
    }
    match read(&account, host, (now, knowledge)) {
        // It was ours a moment ago.
        Ok(Judgement::NotOurs) => {
            Judgement::Ours(Decided::about(&account, LoginDecision::Refused(Refusal::Deleted), ""))
        }
        Ok(judgement) => judgement,
        Err(error) => without_directory(&account, at_login, &error),
    }
}

/// What is published stands if keymakerd does not answer; not if it says so (P9). sshd has had a key proved, which
/// session judges: when the keys command asked, nobody had proved anything, and keymakerd may have put it off.
fn nudge(account: &LoginAccount<'_>, service: &[u8], host: &PamHost<'_>, deadline: Instant) -> AccountAfterNudge {
    let budget: Duration = deadline.saturating_duration_since(Instant::now());
    let mut buffer = [0; MAX_ANSWER];
    let question = match service {
        b"sshd" => Question::Keys,
        _ => Question::Account,
    };
    let asked = account
        .user_name
        .map(|name| client::ask(host.login_socket, &question(name), budget, &mut buffer));
    worth(asked)
}

/// A pass may be under way: after a boot, a resume, an outage. What is published decides once it has ended. keymakerd alone knows whether
/// AWS or this host is silent; without its answer nothing goes on.
fn await_contact(account: &LoginAccount<'_>, service: &[u8], host: &PamHost<'_>) -> Knowledge {
    let budget = contact_budget(service);
    let question = match account.user_name {
        Some(name) if is_continuing(service) => Question::GoOn(name),
        _ => Question::Contact,
    };
    match client::ask(host.login_socket, &question, budget, &mut [0; MAX_ANSWER]) {
        Ok(Answer::AwsSilent) if is_continuing(service) => Knowledge::LastVerdict,
        Ok(Answer::NotPublished) => Knowledge::Withheld,
        // The files are read again.
        _ => Knowledge::AsPublished,
    }
}

/// What a decision goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Knowledge {
    /// the published files, while they are young enough
    AsPublished,
    /// the published files, which are older, since AWS is silent
    LastVerdict,
    /// IAM has said otherwise than the files
    Withheld,
}

/// Some services try once, and nobody sits there to try again: a line `@reboot` or a job that was due is lost.
fn contact_budget(service: &[u8]) -> Duration {
    match service {
        b"cron" | b"crond" | b"atd" | b"systemd-user" => FIRST_PASS_BUDGET,
        _ => ACCOUNT_BUDGET,
    }
}

fn worth(asked: Option<Result<Answer<'_>, AskError>>) -> AccountAfterNudge {
    match asked {
        // A user can run su with next to no descriptors.
        Some(Ok(Answer::NotPublished) | Err(AskError::ThisHost(_))) => AccountAfterNudge::DoesNotStand,
        _ => AccountAfterNudge::Stands,
    }
}

/// What the published files are worth after a nudge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AccountAfterNudge {
    /// they are fresh, or nobody knows better
    Stands,
    /// they allow more than IAM does
    DoesNotStand,
}

/// The decision as the published files have it now.
fn read(account: &LoginAccount<'_>, host: &PamHost<'_>, at: (SystemTime, Knowledge)) -> Result<Judgement, ReadError> {
    let directory = Directory::open(host.directory)?;
    let header = directory.header();
    let mut buffer = [0; MAX_USER_RECORD];
    let decided = match account.find(&directory, &mut buffer)? {
        Ownership::NotOurs => return Ok(Judgement::NotOurs),
        Ownership::Outdated => Decided::about(
            account,
            LoginDecision::Refused(Refusal::EntryOfAnother),
            header.required_group,
        ),
        Ownership::User(user) => {
            let (decision, by_last_verdict) = decide(account, &user, &header, host, at);
            let mut decided = Decided::about(account, decision, header.required_group).of(&user);
            decided.by_last_verdict = by_last_verdict;
            decided.reason += &format!(
                " [uid {}, IAM UserId {}, directory generation {}]",
                user.uid,
                user.iam_user_id,
                directory.generation()
            );
            decided
        }
    };
    Ok(Judgement::Ours(decided))
}

/// What keymaker-keys decides too, and behind it what only PAM can see; and whether it goes by a verdict that is older than `max_stale`.
fn decide(
    account: &LoginAccount<'_>,
    user: &User<'_>,
    header: &Header<'_>,
    host: &PamHost<'_>,
    (now, knowledge): (SystemTime, Knowledge),
) -> (LoginDecision, bool) {
    let contact = login::last_contact(host.contact);
    let young = LoginDecision::about(user, header, contact, now);
    let decision = match knowledge {
        Knowledge::LastVerdict if has_begun_anything(user, host.root) => young.of_running(user, header, contact, now),
        _ => young,
    };
    let by_last_verdict = decision != young;
    let decision = decision.and_home(user);
    let decision = if decision != LoginDecision::Allowed {
        decision
    } else if !account.is_of(user) && !resolves_now(account, user, host)
        || is_a_local_id(user, host)
        || is_anothers_number(user, host)
    {
        LoginDecision::Refused(Refusal::EntryOfAnother)
    } else if !in_keymaker_users(user, host) {
        LoginDecision::Refused(Refusal::NotInKeymakerUsers)
    } else {
        LoginDecision::Allowed
    };
    (decision, by_last_verdict)
}

/// A user whom the nudge has only just brought in did not resolve before it.
fn resolves_now(account: &LoginAccount<'_>, user: &User<'_>, host: &PamHost<'_>) -> bool {
    account.entry.is_none() && LoginAccount::of(account.name.as_bytes(), host).is_some_and(|now| now.is_of(user))
}

/// Whether /etc/passwd or /etc/group gives somebody the user's number, perhaps since keymakerd last read them (P1).
fn is_a_local_id(user: &User<'_>, host: &PamHost<'_>) -> bool {
    let has = |path| local_files::has_id(path, user.uid.get()).unwrap_or(true);
    has(host.passwd) || has(host.group)
}

/// Whether another service, which stands before ours, gives somebody the user's number, perhaps since keymakerd last
/// asked it (P1): sudo and others that ask by number would take the user for that person. One that cannot tell keeps
/// nobody out who was here.
fn is_anothers_number(user: &User<'_>, host: &PamHost<'_>) -> bool {
    let name = (host.name_of)(user.uid.get()).ok().flatten();
    name.is_some_and(|name| name != user.name.as_str().as_bytes())
}

/// Whether sshd's `Match Group keymaker-users` holds for the user: asked as sshd asks, since otherwise it fails open
/// (P8).
fn in_keymaker_users(user: &User<'_>, host: &PamHost<'_>) -> bool {
    let gid = local_files::number_of(host.group, paths::KEYMAKER_USERS).ok().flatten();
    let groups = (host.group_list)(user.name.as_str(), user.uid.get()).unwrap_or_default();
    gid.is_some_and(|gid| gid != 0 && groups.contains(&gid))
}

/// The files cannot be read: nobody can tell about ours, and others are not concerned.
fn without_directory(account: &LoginAccount<'_>, at_login: bool, error: &ReadError) -> Judgement {
    if !account.may_be_ours(at_login, error) {
        return Judgement::NotOurs;
    }
    let mut decided = Decided::about(account, LoginDecision::CannotTell(Doubt::NoDirectory), "");
    decided.reason += &format!(" [the directory: {error}]");
    Judgement::Ours(decided)
}

impl Decided {
    /// The decision with the sentence for the user, which is the beginning of the administrator's line.
    pub fn about(account: &LoginAccount<'_>, decision: LoginDecision, required_group: &str) -> Self {
        let sentence = match account.user_name {
            Some(name) => decision.sentence(name, required_group).to_string(),
            None => "keymaker: this account may not log in here.".to_owned(),
        };
        Self {
            decision,
            reason: format!("{:?} refused: {sentence}", account.name),
            sentence,
            user: None,
            by_last_verdict: false,
        }
    }

    /// The same about this user.
    pub fn of(self, user: &User<'_>) -> Self {
        let user = Some((user.uid.get(), user.iam_user_id.to_owned()));
        Self { user, ..self }
    }

    /// Whether a pass that IAM answers may let in whom this keeps out.
    fn may_end_with_a_pass(&self) -> bool {
        matches!(
            self.decision,
            LoginDecision::CannotTell(
                Doubt::NeverInContact | Doubt::OutOfContact | Doubt::SettingsUnread | Doubt::UserStale
            )
        )
    }

    /// The line about it.
    pub fn audited(&self, name: &[u8]) -> AuditLine {
        let (decision, reason) = self.decision.audited();
        let mut line = AuditLine::new(AuditEvent::Login, decision)
            .with(AuditField::User, String::from_utf8_lossy(name))
            .saying("", &*self.reason);
        line.tell(AuditField::Reason, reason.map_or("", AuditReason::word));
        if let Some((uid, iam_user_id)) = &self.user {
            line.tell(AuditField::Uid, uid);
            line.tell(AuditField::IamUserId, iam_user_id);
        }
        line
    }
}

// The path for tests/pam/panicking_module, which builds this file too.
#[cfg(test)]
#[path = "account/tests.rs"]
mod tests;
