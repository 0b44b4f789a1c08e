//! A pass: the whole directory brought up to date. Called by the daemon's timer, by `keymaker sync`, and for want of tokens.
//!
//! A pass asks whose account this is and what the role's description sets, then lists people as the grade allows. Only when all of
//! that answered is there contact; one listing that fails changes nothing at all (P3).

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use keymaker_aws::AwsCallError;
use keymaker_core::protocol::Answer;
use tracing::{info, warn};

use super::facts::{Facts, Listing, Sighting, UserFacts};
use super::iam::{Iam, IamGroup, IamUser};
use super::service::{Accounts, Grade, Service, State};
use crate::config::Prefetch;

/// At most so many users missing from a listing are asked for one by one in a pass; a listing that misses more is not believed.
const MOST_SIGHTINGS: usize = 50;
/// A denied listing is tried again after this long.
const GRADE_TTL: std::time::Duration = std::time::Duration::from_secs(3600);
/// In a pass, tags are asked for again after this long, in seconds. A login asks after `authz_ttl`.
const TAGS_TTL: u64 = 3600;
/// Users who logged in within this time have their keys kept fresh, in seconds.
const SEEN: u64 = 30 * 86_400;

enum PassError {
    /// A call got no answer.
    Aws(AwsCallError),
    /// The settings now say that the people live elsewhere: the daemon connects anew, then there is another pass.
    OtherAccount,
}

impl From<AwsCallError> for PassError {
    fn from(error: AwsCallError) -> Self {
        Self::Aws(error)
    }
}

impl<I: Iam + 'static> Service<I> {
    /// Runs a pass, or waits for the one under way. `Fresh`: everything answered.
    pub async fn pass(self: &Rc<Self>) -> Answer<'static> {
        let service = Rc::clone(self);
        let passed = self
            .passes
            .join("pass".into(), || async move { service.run_pass().await });
        passed.await.unwrap_or(Answer::CannotTell)
    }

    async fn run_pass(self: &Rc<Self>) -> Answer<'static> {
        let Some(accounts) = self.accounts() else {
            self.fail_pass(
                "there is no way to AWS yet: the metadata service has not said region and role".to_owned(),
                false,
            );
            return Answer::CannotTell;
        };
        match self.ask_everything(&accounts).await {
            Ok(began) => self.end_pass(began),
            Err(PassError::OtherAccount) => {
                self.accounts_changed.notify_one();
                Answer::CannotTell
            }
            Err(PassError::Aws(error)) => {
                let throttled = matches!(error, AwsCallError::Throttled { .. });
                self.fail_pass(error.to_string(), throttled);
                Answer::CannotTell
            }
        }
    }

    async fn ask_everything(self: &Rc<Self>, accounts: &Accounts<I>) -> Result<u64, PassError> {
        let began = self.clock.unix();
        self.learn_settings(accounts).await?;
        if accounts.id_resolver != self.effective().id_resolver {
            return Err(PassError::OtherAccount);
        }
        self.learn_account(accounts).await?;
        let listing = self.list(&accounts.people, began).await?;
        let missing = self.state().facts.missing_from(&listing);
        let sightings = self.look_for(&accounts.people, missing).await;
        let gone = self
            .state_mut()
            .facts
            .learn_listing(&listing, sightings, self.clock.unix());
        for user in &listing.users {
            self.state_mut().no_such_user.remove(&user.name);
        }
        if !gone.is_empty() {
            info!(users = ?gone, "IAM no longer has these users: {gone:?}");
        }
        self.learn_tags(&accounts.people).await;
        self.prefetch_keys(&accounts.people).await;
        Ok(began)
    }

    /// GetRole on this host's own role: its description holds settings.
    async fn learn_settings(&self, accounts: &Accounts<I>) -> Result<(), AwsCallError> {
        let Some(role) = accounts
            .host_role
            .as_ref()
            .filter(|_| self.state().config.role_settings)
        else {
            return Ok(());
        };
        let role = accounts.host.role(role).await?;
        let change = self.state_mut().settings.observe(role.description.as_deref());
        for problem in &change.problems {
            warn!(%problem, "a setting in the role's description cannot be read, and stays as it was: {problem}");
        }
        for pending in &change.pending {
            warn!(%pending, "a change in the role's description waits for 'keymaker accept-settings': {pending}");
        }
        if change.applied {
            info!("settings in the role's description have changed and apply now");
        }
        self.state_mut().settings_problems = change.problems.iter().map(ToString::to_string).collect();
        Ok(())
    }

    /// Facts about another account's people are no facts about these.
    async fn learn_account(&self, accounts: &Accounts<I>) -> Result<(), AwsCallError> {
        let account = accounts.people.caller_identity().await?.account.to_string();
        let mut state = self.state_mut();
        if state.facts.account.as_ref() != Some(&account) {
            if state.facts.account.is_some() {
                warn!(%account, "the users are now another account's; those of the former one are forgotten");
            }
            state.facts = Facts::of_account(account);
            state.outages.forget();
        }
        Ok(())
    }

    async fn list(&self, people: &I, began: u64) -> Result<Listing, AwsCallError> {
        if self.state().config.grade == Some(1) {
            let details = people.account_details().await?;
            self.state_mut().grade = Grade::One;
            return Ok(Listing {
                began,
                users: details.users,
                everyone: true,
                groups: self.with_unlisted(people, details.groups).await,
                members: BTreeMap::new(),
                memberships: BTreeMap::new(),
            });
        }
        let everyone = self.list_everyone(people).await?;
        let groups = self.with_unlisted(people, people.list_groups().await?).await;
        let mut members = BTreeMap::new();
        let mut users: BTreeMap<String, IamUser> = BTreeMap::new();
        for group in self.groups_that_matter(&groups) {
            // A group deleted since the listing has no members.
            let joined = match people.group(&group).await {
                Ok(answer) => answer.members,
                Err(AwsCallError::NoSuchEntity { .. }) => Vec::new(),
                Err(error) => return Err(error),
            };
            members.insert(
                group,
                joined
                    .iter()
                    .map(|user| user.name.clone())
                    .collect::<BTreeSet<String>>(),
            );
            users.extend(joined.into_iter().map(|user| (user.id.clone(), user)));
        }
        let (users, everyone) = match everyone {
            Some(users) => (users, true),
            None => (users.into_values().collect(), false),
        };
        Ok(Listing {
            began,
            users,
            everyone,
            groups,
            memberships: self.confirm_memberships(people, &members).await,
            members,
        })
    }

    /// The groups of a listing, and those of ours that it lacks although IAM has not said that they are gone (P3).
    async fn with_unlisted(&self, people: &I, mut groups: Vec<IamGroup>) -> Vec<IamGroup> {
        let unlisted = self.state().facts.groups_missing_from(&groups);
        let ours = self.groups_that_matter(&unlisted);
        for known in unlisted.into_iter().filter(|group| ours.contains(&group.name)) {
            let group = match people.group(&known.name).await {
                Ok(answer) => answer.group,
                Err(AwsCallError::NoSuchEntity { .. }) => continue,
                Err(_) => known,
            };
            // Made again under the same name, it is listed already.
            if groups.iter().all(|listed| listed.id != group.id) {
                warn!(group = %group.name, "the listing lacks a group that IAM has not given up; {} stays", group.name);
                groups.push(group);
            }
        }
        groups
    }

    /// ListGroupsForUser for each user whom a group no longer lists. Where too many are missing, most are left unasked.
    async fn confirm_memberships(
        &self,
        people: &I,
        members: &BTreeMap<String, BTreeSet<String>>,
    ) -> BTreeMap<String, Option<BTreeSet<String>>> {
        let missing = self.state().facts.members_missing_from(members);
        let mut confirmed = BTreeMap::new();
        for (asked, (id, name)) in missing.into_iter().enumerate() {
            let groups = match asked < MOST_SIGHTINGS {
                true => people.groups_for_user(&name).await.ok(),
                false => None,
            };
            let names = groups.map(|groups| groups.into_iter().map(|group| group.name).collect());
            confirmed.insert(id, names);
        }
        confirmed
    }

    /// ListUsers, unless it was denied within the hour.
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

    /// The groups to which the settings give a meaning: by prefix, the required one, the one that may use sudo.
    fn groups_that_matter(&self, groups: &[IamGroup]) -> Vec<String> {
        let state = self.state();
        let settings = state.effective();
        let named = [
            settings.require_iam_group.as_ref(),
            state.config.sudo_iam_group.as_ref(),
        ];
        let matters =
            |group: &&IamGroup| group.name.starts_with(&settings.group_prefix) || named.contains(&Some(&group.name));
        groups.iter().filter(matters).map(|group| group.name.clone()).collect()
    }

    /// GetUser for each user whom the listing did not show. Where it misses too many, most are left unasked and simply grow old.
    async fn look_for(&self, people: &I, missing: Vec<(String, String)>) -> Vec<(String, Sighting)> {
        if missing.len() > MOST_SIGHTINGS {
            warn!(
                missing = missing.len(),
                "the listing misses many users at once; they stay, and are asked for a few at a time"
            );
        }
        let mut sightings = Vec::new();
        for (id, name) in missing.into_iter().take(MOST_SIGHTINGS) {
            let sighting = match people.user(&name).await {
                Ok(user) => Sighting::Found(user),
                Err(AwsCallError::NoSuchEntity { .. }) => Sighting::Gone,
                Err(_) => Sighting::Unanswered,
            };
            sightings.push((id, sighting));
        }
        sightings
    }

    /// Listings of grades 2 and 3 do not tell tags. Where they matter, a user is published once theirs are known, and some of the oldest are
    /// asked for again in each pass: cron and sudo go by what is published.
    async fn learn_tags(&self, people: &I) {
        if self.state().config.tags.is_empty() {
            return;
        }
        let now = self.clock.unix();
        let oldest = |state: &State| {
            let unknown = |user: &&UserFacts| user.tags.is_none() || now >= user.tags_answered_at + TAGS_TTL;
            let mut users: Vec<&UserFacts> = state.facts.users.values().filter(unknown).collect();
            users.sort_by_key(|user| user.tags_answered_at);
            let names = users.into_iter().take(MOST_SIGHTINGS).map(|user| user.name.clone());
            names.collect::<Vec<_>>()
        };
        let names = oldest(&self.state());
        for name in names {
            let began = self.clock.unix();
            let Ok(user) = people.user(&name).await else { continue };
            if let (Some(facts), Some(tags)) = (self.state_mut().facts.users.get_mut(&user.id), user.tags)
                && facts.tags_answered_at <= began
            {
                facts.learn_tags(&tags, began);
            }
        }
    }

    /// Keys of users who may well come back while IAM is out of reach. A failure is no failure of the pass: keys have their own age.
    async fn prefetch_keys(self: &Rc<Self>, people: &I) {
        let names = self.state().names_to_prefetch(self.clock.unix());
        for name in names {
            if let Err(error) = self.fetch_keys(people, &name).await
                && !matches!(error, AwsCallError::NoSuchEntity { .. })
            {
                warn!(%error, user = %name, "could not keep the keys of {name} fresh: {error}");
                return;
            }
        }
    }

    fn end_pass(&self, began: u64) -> Answer<'static> {
        {
            let mut state = self.state_mut();
            state.contact = Some(began);
            state.throttled = false;
            state.last_failure = None;
        }
        let done = self.publish().and_then(|()| self.store.touch_contact(began));
        match done {
            Ok(()) => Answer::Fresh,
            Err(error) => {
                self.fail_pass(format!("could not publish: {error}"), false);
                Answer::CannotTell
            }
        }
    }

    fn fail_pass(&self, why: String, throttled: bool) {
        warn!(%why, "the pass failed; what is published stands: {why}");
        let mut state = self.state_mut();
        state.last_failure = Some(why);
        state.throttled = throttled;
        drop(state);
        self.write_status();
    }
}

impl State {
    fn names_to_prefetch(&self, now: u64) -> Vec<String> {
        let required = self.effective().require_iam_group;
        let wanted = |user: &&UserFacts| match self.config.prefetch_keys {
            Prefetch::Never => false,
            Prefetch::All => true,
            Prefetch::Seen => user.last_login.is_some_and(|at| now < at + SEEN),
            Prefetch::RequiredGroup => required.as_ref().is_some_and(|group| user.groups.contains(group)),
        };
        let old = |user: &&UserFacts| {
            user.keys
                .as_ref()
                .is_none_or(|keys| now >= keys.answered_at + u64::from(self.config.sync_interval))
        };
        self.facts
            .users
            .values()
            .filter(wanted)
            .filter(old)
            .map(|user| user.name.clone())
            .collect()
    }
}
