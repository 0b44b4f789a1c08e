//! The test's side of everything that the server under test asks: who a caller is, what they get, what time it is.
//! `stand.rs` runs the server on it; the rows change it through [`Shared`].

use std::collections::HashMap;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::mpsc::{Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use credd::audit::AuditEvent;
use credd::clock::{Clock, HostClock};
use credd::imds::caller::{CallerError, IdentifyCaller, KernelCallers, SocketOwner};
use credd::imds::credential_source::{Caller, CredentialSource, Credentials, Grant, Outcome, Reason, Secret};
use credd_core::accounts::{Account, Accounts};
use credd_core::config::Method;
use keymaker_aws::RoleArn;
use keymaker_daemon::audit::{AuditLog, NotTaken, Share};

pub const ALICE: u32 = 2001;
pub const BOB: u32 = 2002;
pub const INSTANCE_CONNECT: u32 = 997;

/// What the stand's credential source says to a uid.
#[derive(Clone, Copy, Debug)]
pub enum Plan {
    /// Credentials that end so many seconds from now.
    Issue(i64),
    NotApplicable,
    Denied,
    /// The role is known, STS refuses it.
    RefusedByAws,
    /// The role is known, STS does not answer properly.
    AwsDown,
    Transient,
    Hang,
}

/// What a test may change while the server runs.
pub struct Shared {
    pub uid: Option<u32>,
    pub unidentified: bool,
    /// How often an account was looked up.
    pub accounts_read: usize,
    pub changed_before_secret: bool,
    pub root_has_a_name: bool,
    pub plans: HashMap<u32, Plan>,
    pub later: Duration,
    pub capture_problem: Option<&'static str>,
    pub audit: Vec<AuditEvent>,
    /// Whether nobody takes audit lines.
    pub journal_hangs: bool,
    /// Where an audit line waits for the test, if it does.
    pub gate: Option<Gate>,
    pub prewarmed: Vec<u32>,
    /// Keeps the accepted socket, and with it the connection, open.
    pub keep_socket: bool,
    pub last_socket: Option<OwnedFd>,
}

/// Stops the server in an audit line.
#[derive(Clone)]
pub struct Gate {
    /// Says that the line is there.
    pub written: Sender<()>,
    /// Says that the server may go on.
    pub go_on: Arc<Mutex<Receiver<()>>>,
}

/// What the server is given.
#[derive(Clone)]
pub struct Stage(pub Arc<Mutex<Shared>>);

/// The kernel's callers, by the uids of the test.
pub struct RenamedCallers {
    pub kernel: KernelCallers,
    pub stage: Stage,
}

impl IdentifyCaller for RenamedCallers {
    fn owner(&self, accepted: BorrowedFd<'_>) -> Result<SocketOwner, CallerError> {
        let found = self.kernel.owner(accepted)?;
        let mut shared = self.stage.0.lock().unwrap();
        if shared.keep_socket {
            shared.last_socket = Some(accepted.try_clone_to_owned().unwrap());
        }
        if shared.unidentified {
            return Err(CallerError::Orphaned);
        }
        Ok(SocketOwner {
            uid: shared.uid.unwrap_or(found.uid),
            ..found
        })
    }

    fn still(&self, accepted: BorrowedFd<'_>, owner: SocketOwner) -> Result<(), CallerError> {
        if self.stage.0.lock().unwrap().changed_before_secret {
            return Err(CallerError::Changed);
        }
        if self.owner(accepted)? == owner {
            Ok(())
        } else {
            Err(CallerError::Changed)
        }
    }
}

impl Accounts for Stage {
    fn account(&self, uid: u32) -> Account {
        self.0.lock().unwrap().accounts_read += 1;
        let name = match uid {
            0 if self.0.lock().unwrap().root_has_a_name => "root",
            ALICE => "alice",
            BOB => "bob",
            INSTANCE_CONNECT => "ec2-instance-connect",
            _ => return Account::default(),
        };
        Account {
            user: Some(name.to_owned()),
            groups: vec![name.to_owned()],
            is_doubtful: false,
        }
    }
}

impl AuditLog<AuditEvent> for Stage {
    fn record(&self, _: Share, event: &AuditEvent) -> Result<(), NotTaken> {
        let gate = {
            let mut shared = self.0.lock().unwrap();
            if shared.journal_hangs {
                return Err(NotTaken);
            }
            shared.audit.push(event.clone());
            shared.gate.clone()
        };
        if let Some(gate) = gate {
            gate.written.send(()).unwrap();
            gate.go_on.lock().unwrap().recv().unwrap();
        }
        Ok(())
    }
}

impl Clock for Stage {
    fn now(&self) -> SystemTime {
        HostClock.now() + self.0.lock().unwrap().later
    }

    fn since_boot(&self) -> Duration {
        HostClock.since_boot() + self.0.lock().unwrap().later
    }
}

impl Stage {
    fn plan(&self, caller: &Caller) -> Plan {
        self.0
            .lock()
            .unwrap()
            .plans
            .get(&caller.owner.uid)
            .copied()
            .unwrap_or(Plan::NotApplicable)
    }
}

impl CredentialSource for Stage {
    async fn role(&self, caller: &Caller) -> Outcome<Grant> {
        let reason = || Reason {
            method: Some(Method::UserRole),
            text: "the test says so".into(),
        };
        match self.plan(caller) {
            Plan::NotApplicable => Outcome::NotApplicable,
            Plan::Denied => Outcome::Denied(reason()),
            Plan::Transient => Outcome::Transient(reason()),
            Plan::Hang => std::future::pending().await,
            Plan::Issue(_) | Plan::RefusedByAws | Plan::AwsDown => {
                let user = caller.account.user.clone().unwrap();
                let role = format!("arn:aws:iam::123456789012:role/people/user-{user}");
                Outcome::Issued(Grant {
                    role: role.parse().unwrap(),
                    method: Method::UserRole,
                })
            }
        }
    }

    async fn credentials(&self, caller: &Caller, role: &RoleArn) -> Outcome<Credentials> {
        let now = HostClock.now();
        match self.plan(caller) {
            Plan::RefusedByAws => Outcome::Denied(Reason {
                method: Some(Method::UserRole),
                text: "AccessDenied: arn:aws:sts::123456789012:secret-detail".into(),
            }),
            Plan::AwsDown => Outcome::Transient(Reason {
                method: Some(Method::UserRole),
                text: "STS is down".into(),
            }),
            Plan::Issue(seconds) => Outcome::Issued(Credentials {
                access_key_id: format!("ASIA{}", role.name().to_ascii_uppercase().replace('-', "")),
                secret_access_key: Secret::new(format!("secret/of+\"{}\"", caller.owner.uid)),
                sts_session_token: Secret::new("FwoGZXIvYXdzEXAMPLE==".into()),
                last_updated: now,
                expiration: now.checked_add_signed_seconds(seconds),
            }),
            other => panic!("{other:?} has no role"),
        }
    }

    fn knows(&self, _: u32, account: &Account) -> bool {
        account.user.is_some()
    }

    fn prewarm(&self, caller: &Caller) {
        self.0.lock().unwrap().prewarmed.push(caller.owner.uid);
    }
}

trait AddSigned {
    fn checked_add_signed_seconds(self, seconds: i64) -> Self;
}

impl AddSigned for SystemTime {
    fn checked_add_signed_seconds(self, seconds: i64) -> Self {
        let distance = Duration::from_secs(seconds.unsigned_abs());
        if seconds < 0 { self - distance } else { self + distance }
    }
}
