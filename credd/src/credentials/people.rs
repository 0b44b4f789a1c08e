//! Who is this uid, and may they have any credentials? The issuer asks for every request, cached answers included
//! (P20).
//!
//! With a directory, its users are judged as they would be at a login, from facts that keymakerd was asked to refresh;
//! local accounts are nobody in IAM unless a chain names them. Without one there are local accounts only. A doubt is
//! never a yes.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use credd_core::accounts::{Account, Accounts};
use keymaker_core::client::{self, AskError};
use keymaker_core::directory_file::{Directory, MAX_USER_RECORD, User};
use keymaker_core::login::{Doubt, LoginDecision, last_contact};
use keymaker_core::name::UserName;
use keymaker_core::protocol::{Answer, FRESH_SHARE, MAX_ANSWER, Question as Nudge};
use keymaker_core::published_file::reader::ReadError;
use serde_json::Value;

use super::directory_accounts::HostAccounts;
use super::question::{IamIdentity, Names, Person};
use super::refusal::CredentialRefusal;
use super::turned_away::TurnedAway;
use crate::clock::Clock;

/// Where keymakerd is.
pub struct Keymakerd {
    /// Its contact file.
    pub contact: PathBuf,
    /// Its socket for logins.
    pub login_socket: PathBuf,
    /// How old a fact may be.
    pub authz_ttl: Duration,
}

/// Everybody on this host.
pub struct People {
    accounts: HostAccounts,
    keymakerd: Keymakerd,
    clock: Rc<dyn Clock>,
    nudged: RefCell<HashMap<u32, Rc<Nudged>>>,
    turned_away: TurnedAway,
}

/// When a uid is worth the next nudge; one at a time.
#[derive(Default)]
struct Nudged {
    asking: tokio::sync::Mutex<()>,
    next: Cell<Duration>,
    /// What keymakerd said against the user, until it says that what is published is fresh: its silence takes nothing
    /// back.
    against: RefCell<Option<CredentialRefusal>>,
}

impl Nudged {
    fn is_worth_keeping(&self, now: Duration) -> bool {
        self.next.get() > now || self.against.borrow().is_some()
    }
}

/// What the directory has at a uid.
enum Found {
    /// A user, by this name.
    Living(UserName),
    /// One who is gone.
    Tombstone,
    /// Nobody, though the whole range is the directory's.
    Unknown,
    /// The uid is none of the directory's.
    Foreign,
}

impl People {
    /// Opens nothing yet.
    pub fn new(accounts: HostAccounts, keymakerd: Keymakerd, clock: Rc<dyn Clock>) -> Self {
        Self {
            accounts,
            keymakerd,
            clock,
            nudged: RefCell::default(),
            turned_away: TurnedAway::default(),
        }
    }

    /// Who `uid` is. `is_named` says whether a chain names such an account by user or uid.
    pub async fn person(&self, uid: u32, is_named: impl Fn(&Account) -> bool) -> Result<Person, CredentialRefusal> {
        let mut local = self.accounts.local().account(uid);
        if local.is_doubtful {
            return Err(CredentialRefusal::transient(
                "/etc/passwd or /etc/group cannot be read, so nobody's name can be determined",
            ));
        }
        let named = is_named(&local);
        if local.user.is_none() {
            local = self.accounts.of_nobody();
        }
        if self.accounts.directory().is_none() {
            return Ok(of_this_host(local, Names::Trusted));
        }
        if local.user.is_some() && named {
            return Ok(of_this_host(local, Names::Trusted));
        }
        let found = self.find(uid)?;
        if local.user.is_some() {
            return Ok(of_this_host(local, Names::NotOurs));
        }
        match found {
            Found::Foreign => Ok(of_this_host(local, if named { Names::Trusted } else { Names::NotOurs })),
            Found::Unknown => Err(CredentialRefusal::denied("the directory has no user with this uid")),
            Found::Tombstone => self.judge(uid),
            Found::Living(name) => {
                self.refresh(uid, name).await?;
                self.judge(uid)
            }
        }
    }

    /// Remembers that `uid` asked and was given nothing, where it is a local account of which no chain speaks.
    pub fn turn_away(&self, uid: u32, is_named: impl Fn(&Account) -> bool) {
        let account = self.accounts.local().account(uid);
        if let (false, Some(user)) = (is_named(&account), account.user) {
            self.turned_away.count(uid, user, self.clock.now());
        }
    }

    /// Who was.
    pub fn turned_away(&self, is_named: impl Fn(u32, &Account) -> bool) -> Value {
        let local = self.accounts.local();
        self.turned_away.told(|uid| is_named(uid, &local.account(uid)))
    }

    /// Takes over what `former` knows of nudges and of who was turned away.
    pub fn learn_from(&self, former: &Self) {
        self.nudged.replace(former.nudged.take());
        self.turned_away.learn_from(&former.turned_away);
    }

    /// Forgets the nudges that are long past.
    pub fn tidy(&self) {
        let now = self.clock.since_boot();
        self.nudged
            .borrow_mut()
            .retain(|_, nudged| nudged.is_worth_keeping(now) || Rc::strong_count(nudged) > 1);
    }

    fn open(&self) -> Result<Directory, CredentialRefusal> {
        let path = self
            .accounts
            .directory()
            .ok_or(ReadError::Damaged)
            .map_err(no_directory)?;
        Directory::open(path).map_err(no_directory)
    }

    fn find(&self, uid: u32) -> Result<Found, CredentialRefusal> {
        let directory = self.open()?;
        let mut buffer = [0; MAX_USER_RECORD];
        let user = directory.user_by_uid(uid, &mut buffer).map_err(no_directory)?;
        let ours = directory.header().claims_uid(uid);
        Ok(match user {
            Some(user) if user.tombstone => Found::Tombstone,
            Some(user) => Found::Living(user.name),
            None if ours => Found::Unknown,
            None => Found::Foreign,
        })
    }

    /// The decision of a login, from the file as it is now.
    fn judge(&self, uid: u32) -> Result<Person, CredentialRefusal> {
        let directory = self.open()?;
        let mut buffer = [0; MAX_USER_RECORD];
        let user = directory.user_by_uid(uid, &mut buffer).map_err(no_directory)?;
        let user = user.ok_or_else(|| CredentialRefusal::denied("the directory no longer has this uid"))?;
        match self.accounts.local().uid(user.name.as_str()) {
            Ok(None) => {}
            Ok(Some(_)) => {
                return Err(CredentialRefusal::denied(format!(
                    "{} is another account's name on this host",
                    user.name
                )));
            }
            Err(error) => {
                return Err(CredentialRefusal::transient(format!(
                    "the local accounts are not known: {error:?}"
                )));
            }
        }
        let header = directory.header();
        let contact = last_contact(&self.keymakerd.contact);
        let decision = LoginDecision::about(&user, &header, contact, self.clock.now());
        let sentence = || decision.sentence(user.name, header.required_group).to_string();
        match decision {
            LoginDecision::Allowed => Ok(self.of_the_directory(&directory, &user)),
            LoginDecision::Refused(_) => Err(CredentialRefusal::denied(sentence())),
            LoginDecision::CannotTell(_) => Err(CredentialRefusal::transient(sentence())),
        }
    }

    fn of_the_directory(&self, directory: &Directory, user: &User<'_>) -> Person {
        Person {
            account: self.accounts.account_of(directory, user),
            iam: Some(IamIdentity {
                account: directory.header().account.to_owned(),
                id_resolver: directory.header().id_resolver,
                user_id: user.iam_user_id.to_owned(),
                user_name: user.iam_user_name.to_owned(),
            }),
            names: Names::Trusted,
        }
    }

    /// Makes keymakerd look again where its facts may be too old. If it cannot be asked, what is published stands and
    /// `judge` sees how old that is.
    async fn refresh(&self, uid: u32, name: UserName) -> Result<(), CredentialRefusal> {
        let nudged = Rc::clone(self.nudged.borrow_mut().entry(uid).or_default());
        let is_fresh = || self.clock.since_boot() < nudged.next.get() && nudged.against.borrow().is_none();
        if is_fresh() {
            return Ok(());
        }
        let _asking = nudged.asking.lock().await;
        if is_fresh() {
            return Ok(());
        }
        let pause = match self.ask(name).await {
            Nudging::Fresh => {
                nudged.against.take();
                self.keymakerd.authz_ttl / FRESH_SHARE
            }
            Nudging::Silence => AFTER_SILENCE.min(self.keymakerd.authz_ttl),
            Nudging::Against(refusal) => {
                nudged.against.replace(Some(refusal));
                Duration::ZERO
            }
        };
        nudged.next.set(self.clock.since_boot() + pause);
        nudged.against.borrow().clone().map_or(Ok(()), Err)
    }

    async fn ask(&self, name: UserName) -> Nudging {
        let socket = self.keymakerd.login_socket.clone();
        let asked = tokio::task::spawn_blocking(move || {
            let mut buffer = [0; MAX_ANSWER];
            client::ask(&socket, &Nudge::Account(name), NUDGE_BUDGET, &mut buffer)
                .map(|answer| Nudging::of(&answer, name))
        });
        match asked.await {
            Ok(Ok(nudging)) => nudging,
            Ok(Err(AskError::NotListening(_))) | Err(_) => Nudging::Silence,
            Ok(Err(AskError::ThisHost(error))) => {
                tracing::warn!(%error, %name, "keymakerd could not be asked about {name}; until it can, {name} gets \
                    nothing: {error}");
                Nudging::not_published(name)
            }
            Ok(Err(error)) => {
                tracing::warn!(%error, %name, "keymakerd could not be asked; what it published still holds");
                Nudging::Silence
            }
        }
    }
}

/// What keymakerd says to a nudge.
enum Nudging {
    /// What is published is what IAM says.
    Fresh,
    /// It cannot tell, or cannot be asked: what is published stands.
    Silence,
    /// What is published does not stand for this user.
    Against(CredentialRefusal),
}

impl Nudging {
    fn of(answer: &Answer<'_>, name: UserName) -> Self {
        match answer {
            Answer::Fresh => Self::Fresh,
            Answer::NoSuchUser => {
                Self::Against(CredentialRefusal::denied(format!("IAM no longer has the user {name}")))
            }
            Answer::NotPublished => Self::not_published(name),
            Answer::CannotTell | Answer::AwsSilent | Answer::NotPermitted | Answer::Done(_) | Answer::Failed(_) => {
                Self::Silence
            }
        }
    }

    fn not_published(name: UserName) -> Self {
        let doubt = LoginDecision::CannotTell(Doubt::NotPublished);
        Self::Against(CredentialRefusal::denied(doubt.sentence(name, "").to_string()))
    }
}

fn of_this_host(account: Account, names: Names) -> Person {
    Person {
        account,
        iam: None,
        names,
    }
}

fn no_directory(error: ReadError) -> CredentialRefusal {
    CredentialRefusal::transient(format!("the directory of keymakerd cannot be read: {error}"))
}

/// Of the 800 ms that an answer may take.
const NUDGE_BUDGET: Duration = Duration::from_millis(500);
const AFTER_SILENCE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;
    use credd_core::accounts::LocalNames;
    use std::time::SystemTime;

    struct Stopped;

    impl Clock for Stopped {
        fn now(&self) -> SystemTime {
            SystemTime::UNIX_EPOCH
        }

        fn since_boot(&self) -> Duration {
            Duration::from_secs(100)
        }
    }

    // P20
    #[test]
    fn of_nudges_only_those_are_forgotten_that_are_past_and_said_nothing_against_anybody() {
        let accounts = HostAccounts::new(LocalNames::host(), None);
        let keymakerd = Keymakerd {
            contact: "/dev/null".into(),
            login_socket: "/dev/null".into(),
            authz_ttl: Duration::from_secs(60),
        };
        let people = People::new(accounts, keymakerd, Rc::new(Stopped));
        let nudge = |uid, next, against: Option<CredentialRefusal>| {
            let nudged = Rc::new(Nudged {
                next: Cell::new(Duration::from_secs(next)),
                against: RefCell::new(against),
                ..Nudged::default()
            });
            people.nudged.borrow_mut().insert(uid, Rc::clone(&nudged));
            nudged
        };
        let kept = || {
            people.tidy();
            let mut uids: Vec<u32> = people.nudged.borrow().keys().copied().collect();
            uids.sort_unstable();
            uids
        };
        nudge(1, 99, None);
        nudge(2, 100, None);
        nudge(3, 101, None);
        nudge(4, 99, Some(CredentialRefusal::denied("IAM no longer has the user")));
        // What keymakerd will say to it must not be lost.
        let under_way = nudge(5, 99, None);
        assert_eq!(kept(), [3, 4, 5]);
        drop(under_way);
        assert_eq!(kept(), [3, 4]);
    }
}
