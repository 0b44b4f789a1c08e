//! What root orders by `keymaker sync`, `invalidate`, `release`, `accept-settings` and `reset`. Each returns the line that the
//! command prints: `done …` or `failed …`, with the remedy.

use std::rc::Rc;
use std::time::Duration;

use keymaker_aws::Ask;
use keymaker_core::name::UserName;
use keymaker_core::protocol::Answer;
use tracing::info;

use super::iam::Iam;
use super::service::Service;
use super::state::State;
use crate::config::ConfigError;

/// How long an order waits for a daemon that was started just before.
const CONNECTING: Duration = Duration::from_secs(10);

impl<I: Iam + 'static> Service<I> {
    /// A full pass now.
    pub async fn order_pass(self: &Rc<Self>) -> String {
        self.state_mut().grade_until = None;
        self.leave_former_role(Ask::Now).await;
        self.await_connection().await;
        let passed = self.pass().await;
        let state = self.state();
        match passed {
            Answer::Fresh => {
                let (users, groups) = (state.published.users, state.published.groups);
                done(format_args!(
                    "published: users {users}, groups {groups}, by grade {}",
                    state.grade.number()
                ))
            }
            _ => failed(
                state
                    .last_failure
                    .as_deref()
                    .unwrap_or("the pass was interrupted; try again"),
            ),
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
    pub fn order_invalidation(&self, name: Option<UserName>) -> String {
        let mut state = self.state_mut();
        state.outages.forget();
        state.no_such_user.clear();
        let Some(name) = name else {
            state.facts.users.values_mut().for_each(|user| user.ask_again = true);
            return done(format_args!("every user is asked for again at the next login"));
        };
        let iam_name = state.iam_name(name.as_str());
        let named = state.facts.users.values_mut().filter(|user| user.name == iam_name);
        let count = named.map(|user| user.ask_again = true).count();
        match count {
            0 => failed(&format!(
                "no user {name} is known here; 'keymaker why {name}' says more"
            )),
            _ => done(format_args!("{name} is asked for again at the next login")),
        }
    }

    /// A name that a deleted IAM user held here becomes its present holder's (P2). The command moves the old home away. Likewise a name
    /// or a number that another service once had; if it has it still, the next pass gives it back.
    pub async fn order_release(self: &Rc<Self>, name: UserName) -> String {
        if let Some(service) = self.release_from_neighbours(name) {
            info!(%name, %service, "an administrator has released the name {name} from {service}");
            self.accounts_changed.notify_one();
            return match self.publish().await {
                Ok(()) => done(format_args!(
                    "{name} no longer belongs to {service}, which is being asked once more"
                )),
                Err(error) => failed(&error.to_string()),
            };
        }
        if self.release_from_group(name) {
            info!(%name, "an administrator has released the name {name} from the IAM group that had it");
            return match self.publish().await {
                Ok(()) => done(format_args!(
                    "{name} no longer belongs to the IAM group that had it here"
                )),
                Err(error) => failed(&error.to_string()),
            };
        }
        let holder = {
            let mut state = self.state_mut();
            let iam_name = state.iam_name(name.as_str());
            let present = state.facts.user_named(&iam_name).map(|(id, _)| id.clone());
            if state.ids.holder_of_name(name).is_none() {
                return failed(&format!(
                    "nobody held the name {name} on this host; there is nothing to release"
                ));
            }
            if present.as_deref() == state.ids.holder_of_name(name) {
                return failed(&format!(
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
            (Ok(()), Some(uid)) => done(format_args!("{name} no longer belongs to uid {uid}")),
            (Ok(()), None) => done(format_args!("{name} is free")),
            (Err(error), _) => failed(&error.to_string()),
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
        let has_it = state.facts.groups.get(group_id).is_some_and(|group| match folds {
            true => group.name.eq_ignore_ascii_case(&wanted),
            false => group.name == wanted,
        });
        if !has_it {
            state.ids.release_group(name.as_str());
        }
        !has_it
    }

    /// The pending settings are meant.
    pub async fn order_acceptance(self: &Rc<Self>) -> String {
        let text = self.state().pending_settings().join("; ");
        if text.is_empty() {
            return failed("no change of settings is pending");
        }
        if let Err(error) = self.state_mut().accept_settings() {
            return failed(&error.to_string());
        }
        info!(settings = %text, "an administrator has accepted the settings: {text}");
        if let Err(error) = self.publish().await {
            return failed(&error.to_string());
        }
        self.reconnect();
        done(format_args!("{text}"))
    }

    /// Everything is forgotten, and nothing is published until the daemon starts anew: this host becomes an image.
    pub async fn order_reset(&self) -> String {
        if let Err(error) = self.forget_everything().await {
            return failed(&error.to_string());
        }
        self.ask(None);
        self.write_status();
        done(format_args!(
            "users, ids and settings are forgotten; keymakerd rests until it is started again"
        ))
    }
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
        Ok(())
    }
}

fn done(text: std::fmt::Arguments<'_>) -> String {
    Answer::Done(&one_line(&text.to_string())).to_string()
}

fn failed(text: &str) -> String {
    Answer::Failed(&one_line(text)).to_string()
}

fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
