//! What root orders by `keymaker sync`, `invalidate`, `release`, `accept-settings` and `reset`. Each returns the
//! sentence that the command prints: what was done, or why nothing was, with the remedy.

use std::rc::Rc;
use std::time::Duration;

use keymaker_aws::Ask;
use keymaker_core::name::UserName;
use tracing::info;

use super::facts::UserFacts;
use super::iam::Iam;
use super::outcome::DirectoryOutcome;
use super::service::Service;
use super::state::State;
use crate::config::ConfigError;

/// How long an order waits for a daemon that was started just before.
const CONNECTING: Duration = Duration::from_secs(10);

impl<I: Iam + 'static> Service<I> {
    /// A full pass now. What it does not ask, keys above all, the next login of each user does, however young the answer
    /// is: who has disabled a key and ordered a pass wants it closed.
    pub async fn order_pass(self: &Rc<Self>) -> Result<String, String> {
        let now = self.clock.answer_time();
        {
            let mut state = self.state_mut();
            state.grade_until = None;
            state.tags_wanted = now;
        }
        self.leave_former_role(Ask::Now).await;
        self.await_connection().await;
        let passed = self.pass().await;
        self.order_issuers().await;
        self.state_mut().facts.ask_everybody_again();
        let state = self.state();
        match passed {
            DirectoryOutcome::Fresh => {
                let (users, groups) = (state.published.users, state.published.groups);
                Ok(format!(
                    "published: users {users}, groups {groups}, by grade {}",
                    state.grade.number()
                ))
            }
            _ => {
                let why = state.last_failure.clone();
                Err(why.unwrap_or_else(|| "the pass was interrupted; try again".to_owned()))
            }
        }
    }

    /// A daemon that has only just started is still on its way to AWS. Where it does not get there, the pass says why.
    async fn await_connection(&self) {
        let connected = async {
            while self.accounts().is_none() && !self.state().halted {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        // Not connected in time is for the pass to say.
        let _ = tokio::time::timeout(CONNECTING, connected).await;
    }

    /// The next nudge of this user, or of everybody, asks IAM.
    pub fn order_invalidation(&self, name: Option<UserName>) -> Result<String, String> {
        let mut state = self.state_mut();
        state.outages.forget();
        state.no_such_user.clear();
        let Some(name) = name else {
            state.facts.ask_everybody_again();
            return Ok("IAM is asked about each user again at the next login".to_owned());
        };
        let iam_name = state.iam_name(name.as_str());
        let named = state.facts.users.values_mut().filter(|user| user.name == iam_name);
        let count = named.map(UserFacts::want_asked_again).count();
        match count {
            0 => Err(format!("no user {name} is known here; 'keymaker why {name}' says more")),
            _ => Ok(format!("IAM is asked about {name} again at the next login")),
        }
    }

    /// A name that a deleted IAM user held here becomes its present holder's (P2). The command moves the old home away.
    /// Likewise a name or a number that another service once had; if it has it still, the next pass gives it back.
    pub async fn order_release(self: &Rc<Self>, name: UserName) -> Result<String, String> {
        if let Some(service) = self.release_from_neighbours(name) {
            info!(%name, %service, "an administrator has released the name {name} from {service}");
            self.tries.wanted.notify_one();
            return match self.publish().await {
                Ok(()) => Ok(format!(
                    "{name} no longer belongs to {service}, which is being asked once more"
                )),
                Err(error) => Err(error.to_string()),
            };
        }
        if self.release_from_group(name) {
            info!(%name, "an administrator has released the name {name} from the IAM group that had it");
            return match self.publish().await {
                Ok(()) => Ok(format!("{name} no longer belongs to the IAM group that had it here")),
                Err(error) => Err(error.to_string()),
            };
        }
        let holder = {
            let mut state = self.state_mut();
            let iam_name = state.iam_name(name.as_str());
            let present = state.facts.user_named(&iam_name).map(|(id, _)| id.clone());
            if state.ids.holder_of_name(name).is_none() {
                return Err(format!(
                    "nobody held the name {name} on this host; there is nothing to release"
                ));
            }
            if present.as_deref() == state.ids.holder_of_name(name) {
                return Err(format!(
                    "{name} is held by its present IAM user; there is nothing to release"
                ));
            }
            let before = state.ids.release(name);
            state
                .facts
                .users
                .values_mut()
                .filter(|user| user.name == iam_name)
                .for_each(|user| user.ask_again = true);
            before
        };
        let (holder, uid) = holder.unwrap_or_default();
        info!(%name, %holder, "an administrator has released the name {name}");
        match (self.publish().await, uid) {
            (Ok(()), Some(uid)) => Ok(format!("{name} no longer belongs to uid {uid}")),
            (Ok(()), None) => Ok(format!("{name} is free")),
            (Err(error), _) => Err(error.to_string()),
        }
    }

    /// Proofs made until now, of one user or of everybody, open nothing from now on, whatever time they have left.
    pub async fn order_revocation(self: &Rc<Self>, name: Option<UserName>) -> Result<String, String> {
        let now = self.clock.latest_token_time();
        {
            let mut state = self.state_mut();
            let iam_id = match name {
                None => None,
                Some(name) => {
                    let iam_name = state.iam_name(name.as_str());
                    let known = state.facts.user_named(&iam_name).map(|(id, _)| id.clone());
                    Some(
                        known
                            .ok_or_else(|| format!("no user {name} is known here; 'keymaker why {name}' says more"))?,
                    )
                }
            };
            state.ids.revoke_proofs(iam_id.as_deref(), now);
        }
        let whose = name.map_or_else(|| "everybody".to_owned(), |name| name.to_string());
        info!(%whose, "an administrator has revoked the proofs of {whose}");
        match self.publish().await {
            Ok(()) if self.clock.has_heard_aws() => Ok(format!(
                "proofs of {whose} that were made until now open nothing; sessions go on"
            )),
            Ok(()) => Ok(format!(
                "proofs of {whose} that were made until now by this host's clock open nothing; AWS has not told it the time yet: once it answers \
                 (keymaker status), say this again"
            )),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Whether the name was that of a group which has it no longer.
    fn release_from_group(&self, name: UserName) -> bool {
        let mut state = self.state_mut();
        let wanted = format!("{}{name}", state.effective().group_prefix);
        let Some(group_id) = state.ids.group_of_name(name.as_str()) else {
            return false;
        };
        let folds = state.config.lowercase_names;
        let has_it = state.facts.groups.get(group_id).is_some_and(|group| {
            if folds {
                group.name.eq_ignore_ascii_case(&wanted)
            } else {
                group.name == wanted
            }
        });
        if !has_it {
            state.ids.release_group(name.as_str());
        }
        !has_it
    }

    /// The pending settings are meant.
    pub async fn order_acceptance(self: &Rc<Self>) -> Result<String, String> {
        let waited = self.state().pending_settings();
        let text: Vec<&str> = waited.iter().map(|change| without_remedy(change)).collect();
        let text = text.join("; ");
        if text.is_empty() {
            return Err("no change of settings is pending".to_owned());
        }
        if let Err(error) = self.state_mut().accept_settings() {
            return Err(error.to_string());
        }
        info!(settings = %text, "an administrator has accepted the settings: {text}");
        if let Err(error) = self.publish().await {
            return Err(error.to_string());
        }
        self.reconnect();
        self.order_issuers().await;
        Ok(format!("accepted: {text}"))
    }

    /// Everything is forgotten, and nothing is published until the daemon is started again: this host becomes an image.
    pub async fn order_reset(&self) -> Result<String, String> {
        if let Err(error) = self.forget_everything().await {
            return Err(error.to_string());
        }
        self.ask(None);
        self.write_status();
        Ok("users, ids and settings are forgotten; keymakerd stays idle until it is started again".to_owned())
    }
}

/// What has changed, without how to allow it.
fn without_remedy(change: &str) -> &str {
    let remedy = change
        .rsplit_once("; ")
        .filter(|(_, remedy)| remedy.ends_with("accept-settings"));
    remedy.map_or(change, |(change, _)| change)
}

impl State {
    /// The description and the file are meant as they were last read.
    fn accept_settings(&mut self) -> Result<(), ConfigError> {
        let mut settings = self.settings.clone();
        settings.accept();
        if let Some(config) = settings.file.last() {
            self.config = config?;
        }
        self.settings = settings;
        self.issuers.accept();
        Ok(())
    }
}
