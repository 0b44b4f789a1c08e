//! A pass: the whole directory brought up to date. Called by the daemon's timer, by `keymaker sync`, and for want of
//! tokens.
//!
//! A pass asks whose account this is and what the role's description sets, then lists people as the grade allows. Only
//! when all of that answered is there contact; one listing that fails changes nothing at all (P3). A single group that
//! IAM will not tell is left out, and its members' facts grow old. Listings carry ids; the little that is asked by name
//! is asked as `by_name` does (P2).

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use futures_util::future::join_all;
use keymaker_aws::{Ask, AwsCallError};
use tracing::{info, warn};

use super::by_name::{Deadlines, FetchedKeys};
use super::missing::{AT_ONCE, LOOKING};
use crate::config::Prefetch;
use crate::directory::facts::{Facts, Listing, Members, Memberships, UserFacts};
use crate::directory::iam::{Iam, IamGroup, IamUser};
use crate::directory::outcome::DirectoryOutcome;
use crate::directory::service::{AskedAccounts, Service};
use crate::directory::state::{Grade, State};

/// So many users' tags are asked for again in a pass because they are old; those that are not known, or that an order
/// wants, all are.
const MOST_TAGS: usize = 50;
/// A denied listing is tried again after this long.
const GRADE_TTL: std::time::Duration = std::time::Duration::from_secs(3600);
/// In a pass, tags are asked for again after this long, in seconds. A login asks after `authz_ttl`.
const TAGS_TTL: u64 = 3600;
/// Users who logged in within this time have their keys kept fresh, in seconds.
const SEEN: u64 = 30 * 86_400;

/// A pass waits so long for the disk; what it learned counts meanwhile, and is written when it can be.
const WRITING: std::time::Duration = std::time::Duration::from_secs(30);

enum PassError {
    /// A call got no answer.
    Aws(AwsCallError),
    /// The settings now say that the people live elsewhere: the daemon connects again, then there is another pass.
    OtherAccount,
    /// This host has another role: likewise.
    OtherRole,
}

/// When a pass began.
#[derive(Clone, Copy)]
struct Began {
    /// For the order of answers.
    answer_time: u64,
    /// For what the modules compare with the host's clock.
    unix: u64,
}

impl From<AwsCallError> for PassError {
    fn from(error: AwsCallError) -> Self {
        Self::Aws(error)
    }
}

impl<I: Iam + 'static> Service<I> {
    /// Runs a pass, or waits for the one under way, and fetches keys ahead. `Fresh`: everything answered.
    pub async fn pass(self: &Rc<Self>) -> DirectoryOutcome {
        let late = !self.is_in_contact();
        let passed = self.pass_over_people().await;
        if passed == DirectoryOutcome::Fresh && late {
            let service = Rc::clone(self);
            let fetching = self
                .passes
                .join("keys".into(), || async move { service.prefetch_late().await });
            fetching.await;
        }
        passed
    }

    /// The same, without keys while there is no contact: what it learned is published, and counts, before any are fetched.
    pub(super) async fn pass_over_people(self: &Rc<Self>) -> DirectoryOutcome {
        let service = Rc::clone(self);
        let passed = self
            .passes
            .join("pass".into(), || async move { service.run_counted_pass().await });
        passed.await.unwrap_or(DirectoryOutcome::CannotTell)
    }

    async fn run_counted_pass(self: &Rc<Self>) -> DirectoryOutcome {
        let began = self.clock.instant();
        let outcome = self.run_pass().await;
        let word = match outcome {
            DirectoryOutcome::Fresh => "ok",
            _ => "failed",
        };
        self.counts.pass(word, self.clock.instant() - began);
        outcome
    }

    async fn run_pass(self: &Rc<Self>) -> DirectoryOutcome {
        let Some(accounts) = self.accounts() else {
            self.fail_pass(
                "AWS cannot be asked yet: the metadata service has not named the region and the role".to_owned(),
                false,
            );
            return DirectoryOutcome::CannotTell;
        };
        let asked = self.ask_everything(&accounts).await;
        self.state_mut().aws_is_silent = matches!(&asked, Err(PassError::Aws(error)) if error.is_silence());
        // Whatever IAM said: somebody may have come to be in another service.
        self.ask_neighbours().await;
        match asked {
            Ok(began) => self.end_pass(began).await,
            Err(PassError::OtherAccount) => {
                self.tries.wanted.notify_one();
                DirectoryOutcome::CannotTell
            }
            Err(PassError::OtherRole) => {
                self.fail_pass(
                    "this host's role was replaced; the next pass asks as the new one".to_owned(),
                    false,
                );
                DirectoryOutcome::CannotTell
            }
            Err(PassError::Aws(error)) => {
                let throttled = matches!(error, AwsCallError::Throttled { .. });
                self.fail_pass(error.to_string(), throttled);
                DirectoryOutcome::CannotTell
            }
        }
    }

    async fn ask_everything(self: &Rc<Self>, accounts: &AskedAccounts<I>) -> Result<Began, PassError> {
        let began = Began {
            answer_time: self.clock.answer_time(),
            unix: self.clock.unix(),
        };
        if self.leave_former_role(Ask::Now).await {
            return Err(PassError::OtherRole);
        }
        self.learn_settings(accounts).await?;
        if accounts.id_resolver != self.effective().id_resolver {
            return Err(PassError::OtherAccount);
        }
        self.learn_account(accounts).await?;
        let listing = self.list(&accounts.people, began.answer_time).await?;
        let missing = self.state().facts.missing_from(&listing, self.clock.answer_time());
        let sightings = self.look_for(&accounts.people, missing).await;
        let gone = self
            .state_mut()
            .facts
            .learn_listing(&listing, sightings, self.clock.answer_time());
        for user in &listing.users {
            self.state_mut().no_such_user.remove(&user.name);
        }
        if !gone.is_empty() {
            info!(users = ?gone, "IAM no longer has these users: {gone:?}");
        }
        self.learn_tags(&accounts.people).await;
        // Whose key is inactive counts before the contact does, where nobody waits for that.
        if self.is_in_contact() {
            self.prefetch_keys(&accounts.people).await;
        }
        Ok(began)
    }

    /// `GetRole` on this host's own role: its description holds settings.
    async fn learn_settings(&self, accounts: &AskedAccounts<I>) -> Result<(), AwsCallError> {
        let Some(role) = accounts
            .host_role
            .as_ref()
            .filter(|_| self.state().config.role_settings)
        else {
            return Ok(());
        };
        let role = accounts.host.role(role).await?;
        let change = self.state_mut().settings.observe(&role.id, role.description.as_deref());
        for problem in &change.problems {
            warn!(%problem, "a setting in the role's description cannot be read, and stays as it was: {problem}");
        }
        let pending = change.pending.iter();
        let config = self.state().config.clone();
        for pending in pending.filter(|pending| !pending.is_settled_by(&config)) {
            warn!(%pending, "a change in the role's description waits for 'keymaker accept-settings': {pending}");
        }
        if let Some(other) = &change.other_role {
            warn!(%other, "{other}");
        } else if change.applied {
            info!("settings in the role's description have changed and apply now");
        }
        self.state_mut().settings_problems = change.problems.iter().map(ToString::to_string).collect();
        Ok(())
    }

    /// Facts about another account's people are not facts about these.
    async fn learn_account(&self, accounts: &AskedAccounts<I>) -> Result<(), AwsCallError> {
        let account = accounts.people.caller_identity().await?.account.to_string();
        let mut state = self.state_mut();
        if state.facts.account.as_ref() != Some(&account) {
            if state.facts.account.is_some() {
                warn!(%account, "the users now come from another account; those of the former one are forgotten");
            }
            state.facts = Facts::of_account(account);
            state.outages.forget();
        }
        Ok(())
    }

    async fn list(&self, people: &I, began: u64) -> Result<Listing, AwsCallError> {
        if self.state().config.grade == Some(1) {
            return self.list_details(people, began).await;
        }
        let everyone = self.list_everyone(people).await?;
        let groups = self.with_unlisted(people, people.list_groups().await?).await;
        let mut listing = Listing {
            began,
            users: Vec::new(),
            everyone: everyone.is_some(),
            groups,
            members: BTreeMap::new(),
            unread: BTreeSet::new(),
            memberships: BTreeMap::new(),
        };
        let mut untold = None;
        let mut joined: BTreeMap<String, IamUser> = BTreeMap::new();
        for group in self.groups_that_matter(&listing.groups) {
            let asked_at = self.clock.answer_time();
            match people.group(&group.name).await {
                Ok(answer) => {
                    let users = answer.members.iter().map(|user| user.id.clone()).collect();
                    joined.extend(answer.members.into_iter().map(|user| (user.id.clone(), user)));
                    let members = Members {
                        asked_at,
                        group: answer.group,
                        users,
                    };
                    listing.members.insert(members.group.id.clone(), members);
                }
                Err(error) if error.is_about_this_request() => {
                    let sentence = format!(
                        "the facts about the members of {} could not be refreshed: {error}",
                        group.name
                    );
                    warn!(group = %group.name, %error, "{sentence}");
                    untold.get_or_insert(sentence);
                }
                Err(error) => return Err(error),
            }
        }
        // A name that moved meanwhile: the one who had it was not asked for.
        let unasked = self
            .groups_that_matter(&listing.groups)
            .into_iter()
            .map(|group| group.id);
        listing
            .unread
            .extend(unasked.filter(|id| !listing.members.contains_key(id)));
        listing.users = everyone.unwrap_or_else(|| joined.into_values().collect());
        listing.memberships = self.confirm_memberships(people, &listing).await;
        self.state_mut().last_failure = untold;
        Ok(listing)
    }

    /// Grade 1: everybody, with the names of their groups, which count for the groups that had them before and after.
    async fn list_details(&self, people: &I, began: u64) -> Result<Listing, AwsCallError> {
        let before = people.detailed_groups().await?;
        let asked_at = self.clock.answer_time();
        let users = people.detailed_users().await?;
        let after = people.detailed_groups().await?;
        let ids = |groups: &[IamGroup]| -> BTreeMap<String, String> {
            let groups = groups.iter().map(|group| (group.name.clone(), group.id.clone()));
            groups.collect()
        };
        let (before, ids) = (ids(&before), ids(&after));
        let id_of = |name: &String| ids.get(name).filter(|id| before.get(name) == Some(id)).cloned();
        let memberships = users.iter().map(|user| {
            let groups = user
                .groups
                .iter()
                .flatten()
                .map(id_of)
                .collect::<Option<BTreeSet<String>>>();
            let memberships = groups.map(|groups| Memberships { asked_at, groups });
            (user.id.clone(), memberships)
        });
        let memberships = memberships.collect();
        self.state_mut().grade = Grade::One;
        self.state_mut().last_failure = None;
        Ok(Listing {
            began,
            users,
            everyone: true,
            groups: self.with_unlisted(people, after).await,
            members: BTreeMap::new(),
            unread: BTreeSet::new(),
            memberships,
        })
    }

    /// The groups of a listing, and those of ours that it lacks although IAM has not said that they are gone (P3).
    async fn with_unlisted(&self, people: &I, mut groups: Vec<IamGroup>) -> Vec<IamGroup> {
        let unlisted = self.state().facts.groups_missing_from(&groups);
        let ours = self.groups_that_matter(&unlisted);
        for known in ours {
            let group = match people.group(&known.name).await {
                Ok(answer) => answer.group,
                Err(AwsCallError::NoSuchEntity { .. }) => continue,
                Err(_) => known,
            };
            // Created again under the same name, it is listed already.
            if groups.iter().all(|listed| listed.id != group.id) {
                warn!(group = %group.name, "the listing lacks a group that IAM still has; {} stays", group.name);
                groups.push(group);
            }
        }
        groups
    }

    /// `ListUsers`, unless it was denied within the hour.
    async fn list_everyone(&self, people: &I) -> Result<Option<Vec<IamUser>>, AwsCallError> {
        let now = self.clock.instant();
        if self.state().grade == Grade::Three && self.state().grade_until.is_some_and(|until| until > now) {
            return Ok(None);
        }
        // The whole account, whatever `user_path_prefix` says: a user moved to another path is not gone.
        match people.list_users("/").await {
            Ok(users) => {
                self.state_mut().grade = Grade::Two;
                Ok(Some(users))
            }
            Err(AwsCallError::AccessDenied { .. }) => {
                let mut state = self.state_mut();
                state.grade = Grade::Three;
                state.grade_until = Some(now + GRADE_TTL);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// The groups to which the settings give a meaning: by prefix, the required one, those that may use sudo and proofs.
    pub(super) fn groups_that_matter(&self, groups: &[IamGroup]) -> Vec<IamGroup> {
        let state = self.state();
        let settings = state.effective();
        let named = [
            settings.require_iam_group.as_ref(),
            state.config.sudo_iam_group.as_ref(),
            state.config.login_proof_group.as_ref(),
        ];
        let matters =
            |group: &&IamGroup| group.name.starts_with(&settings.group_prefix) || named.contains(&Some(&group.name));
        groups.iter().filter(matters).cloned().collect()
    }

    /// Listings of grades 2 and 3 do not tell tags. Where they matter, a user is published once theirs are known, and
    /// known ones grow old: `GetUser`, ten at once.
    async fn learn_tags(&self, people: &I) {
        if self.state().config.tags.is_empty() {
            return;
        }
        let names = self.state().tags_to_ask(self.clock.answer_time());
        let until = self.clock.instant() + LOOKING;
        for some in names.chunks(AT_ONCE) {
            let asked_at = self.clock.answer_time();
            let mut silent = self.clock.instant() >= until;
            for answer in join_all(some.iter().map(|name| people.user(name))).await {
                match answer {
                    Ok(user) => {
                        let asked = self.asked(asked_at);
                        self.state_mut().facts.learn_sighting(&user, asked);
                    }
                    Err(error) => silent |= !error.is_about_this_request(),
                }
            }
            if silent {
                return;
            }
        }
    }

    /// Keys of users who may well come back while IAM is out of reach. A failure is not a failure of the pass: keys
    /// have their own age, and what IAM will not tell about one user says nothing about the next.
    async fn prefetch_keys(&self, people: &I) {
        let wanted = self.state().keys_to_prefetch(self.clock.answer_time());
        for (id, name) in wanted {
            let Err(error) = self.prefetch_keys_of(people, &id, &name).await else {
                continue;
            };
            if !matches!(error, AwsCallError::NoSuchEntity { .. }) {
                warn!(%error, user = %name, "could not keep the keys of {name} fresh: {error}");
            }
            if !error.is_about_this_request() {
                return;
            }
        }
    }

    /// After a pass that did not: fetches keys, and publishes them.
    async fn prefetch_late(self: &Rc<Self>) -> DirectoryOutcome {
        if let Some(accounts) = self.accounts() {
            self.prefetch_keys(&accounts.people).await;
        }
        if !self.is_published()
            && let Err(error) = self.publish().await
        {
            warn!(%error, "could not publish keys that were fetched ahead: {error}");
            return DirectoryOutcome::CannotTell;
        }
        DirectoryOutcome::Fresh
    }

    /// One call where the answer names a key that is known as this user's, since a key's id is nobody else's; else as a
    /// nudge asks.
    async fn prefetch_keys_of(&self, people: &I, user_id: &str, name: &str) -> Result<(), AwsCallError> {
        let known = self.known_keys(user_id);
        let asked_at = self.clock.answer_time();
        if known.proved {
            let mut keys = self.list_keys(people, name, None).await?;
            self.fetch_bodies(people, user_id, name, None, &mut keys).await;
            if known.recognizes(&keys.listed) {
                let missing = keys.missing.clone();
                let asked = self.asked(asked_at);
                self.state_mut().learn_keys(user_id, keys, asked);
                return missing.map_or(Ok(()), Err);
            }
        }
        let ask = async |_: &IamUser| Some(self.list_keys(people, name, None).await);
        let bodies = async |user: &IamUser, keys: &mut Result<FetchedKeys, AwsCallError>| {
            if let Ok(keys) = keys {
                self.fetch_bodies(people, &user.id, name, None, keys).await;
            }
        };
        let Some(about) = self.about(people, name, Deadlines::NONE, ask, bodies).await? else {
            return Ok(());
        };
        let (keys, asked) = (about.answer?, self.asked(about.asked_at));
        let missing = keys.missing.clone();
        self.state_mut().learn_keys(&about.user.id, keys, asked);
        missing.map_or(Ok(()), Err)
    }

    async fn end_pass(self: &Rc<Self>, began: Began) -> DirectoryOutcome {
        {
            let mut state = self.state_mut();
            state.contact = Some(began.answer_time);
            state.throttled = false;
            state.outages.hasten(self.clock.instant());
        }
        let why = match tokio::time::timeout(WRITING, self.publish_contact(began.unix)).await {
            Ok(Ok(())) => return DirectoryOutcome::Fresh,
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("the disk has not answered for {} s", WRITING.as_secs()),
        };
        self.fail_pass(format!("could not publish: {why}"), false);
        DirectoryOutcome::CannotTell
    }

    fn fail_pass(&self, why: String, throttled: bool) {
        warn!(%why, "the pass failed; the published files stay as they are: {why}");
        let mut state = self.state_mut();
        state.last_failure = Some(why);
        state.throttled = throttled;
        drop(state);
        self.write_status();
    }
}

impl State {
    /// IAM names: those whose tags are not known, or not since an order wanted them, and some of the oldest: cron and sudo
    /// go by what is published.
    fn tags_to_ask(&self, now: u64) -> Vec<String> {
        let mut users: Vec<&UserFacts> = self.facts.users.values().collect();
        users.sort_by_key(|user| user.tags_answered_at);
        let is_wanted = |user: &&UserFacts| user.tags.is_none() || user.tags_answered_at < self.tags_wanted;
        let (wanted, known): (Vec<_>, Vec<_>) = users.into_iter().partition(is_wanted);
        let old = known.into_iter().filter(|user| now >= user.tags_answered_at + TAGS_TTL);
        let names = wanted.into_iter().chain(old.take(MOST_TAGS));
        names.map(|user| user.name.clone()).collect()
    }

    /// `UserIds` and IAM names.
    fn keys_to_prefetch(&self, now: u64) -> Vec<(String, String)> {
        let required = self.effective().require_iam_group;
        let wanted = |user: &UserFacts| match self.config.prefetch_keys {
            Prefetch::Never => false,
            Prefetch::All => true,
            Prefetch::Seen => user.last_login.is_some_and(|at| now < at + SEEN),
            Prefetch::RequiredGroup => required.as_ref().is_some_and(|group| self.facts.is_member(user, group)),
        };
        let old = |user: &UserFacts| {
            let keys = user.keys.as_ref().filter(|keys| keys.proved && !keys.ask_again);
            let age = keys.and_then(|keys| now.checked_sub(keys.answered_at));
            age.is_none_or(|age| age >= u64::from(self.config.sync_interval))
        };
        let users = self.facts.users.iter().filter(|(_, user)| wanted(user) && old(user));
        users.map(|(id, user)| (id.clone(), user.name.clone())).collect()
    }
}
