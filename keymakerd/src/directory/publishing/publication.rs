//! Puts on disk what has changed, in an order that a crash at any point leaves right. Called after every pass, nudge
//! and order, and when the local accounts change.
//!
//! The disk is waited for on another thread: it may take minutes, and keymakerd answers everybody meanwhile. One
//! publication is under way at a time; anybody who wants another waits for the next, which takes in all that is known
//! when it begins.

use std::rc::Rc;

use keymaker_core::published_file::writer::Built;
use serde::Serialize;
use tokio::sync::{MutexGuard, oneshot};
use tracing::{error, warn};

use super::composition::{AsOf, Composition};
use super::rights::Rights;
use super::store::{Store, StoreError};
use super::turns::ToldContact;
use crate::clock::{AnswerClock, DRIFT};
use crate::directory::facts::Facts;
use crate::directory::facts::issuers::KnownIssuers;
use crate::directory::iam::Iam;
use crate::directory::service::Service;
use crate::directory::state::State;
use crate::settings::SettingsInForce;

/// What is to be written, in this order, and what it was made from.
#[derive(Default)]
struct Draft {
    files: Vec<DraftFile>,
    composition: Option<Composition>,
}

enum DraftFile {
    /// Only keymakerd's; written where its content has changed.
    Private(&'static str, Vec<u8>),
    /// Everybody's.
    Public(&'static str, Built),
}

impl<I: Iam + 'static> Service<I> {
    /// Publishes what is known. On an error the files stand as they were, and the next change tries again. It goes on
    /// when the caller who asked for it no longer waits.
    pub async fn publish(self: &Rc<Self>) -> Result<(), Rc<StoreError>> {
        let (service, begun) = (Rc::clone(self), self.turns.begun.get());
        let published = tokio::task::spawn_local(async move {
            let turn = service.turns.writing.lock().await;
            // One that began since then took in all that was known when this was asked for.
            if service.turns.begun.get() > begun {
                return service.turns.last.borrow().clone().map_or(Ok(()), Err);
            }
            service.publish_in_turn(&turn).await
        });
        published
            .await
            .unwrap_or_else(|_| Err(Rc::new(self.store.interrupted())))
    }

    /// The same after a pass in which everything answered, and then the contact, by the host's clock. That IAM answered
    /// does not hang on the disk: where the files cannot be written there is contact all the same, unless they allow
    /// somebody more than IAM does.
    pub(crate) async fn publish_contact(self: &Rc<Self>, at: u64) -> Result<(), Rc<StoreError>> {
        let service = Rc::clone(self);
        let published = tokio::task::spawn_local(async move {
            let turn = service.turns.writing.lock().await;
            let published = service.publish_in_turn(&turn).await;
            if published.is_err()
                && service
                    .state_mut()
                    .files_allow_anybody_more(&service.store, &service.clock)
            {
                return published;
            }
            published.and(service.tell_contact(at).await.map_err(Rc::new))
        });
        published
            .await
            .unwrap_or_else(|_| Err(Rc::new(self.store.interrupted())))
    }

    /// Tells the modules the contact again where somebody has set the clock by which they were told, so that it is as
    /// old as it was; and users whose own times are published.
    pub async fn follow_clock(self: &Rc<Self>) {
        self.tries.note_resume(&self.clock);
        let is_set = |told: &ToldContact| self.clock.booted_at().abs_diff(told.booted_at) > DRIFT;
        if self.told_contact.get().filter(is_set).is_none() {
            return;
        }
        let turn = self.turns.writing.lock().await;
        let Some(told) = self.told_contact.get() else { return };
        let at = (told.since_boot + self.clock.booted_at()).max(0).cast_unsigned();
        warn!(
            contact = at,
            "this host's clock has been set; the time of the last contact is corrected by it"
        );
        let told = match self.tell_contact(at).await {
            Ok(()) => self.publish_in_turn(&turn).await,
            Err(error) => Err(Rc::new(error)),
        };
        if let Err(error) = told {
            warn!(%error, "could not publish: {error}");
        }
    }

    async fn tell_contact(&self, at: u64) -> Result<(), StoreError> {
        if self.state().halted {
            return Ok(());
        }
        // Before it is there, since the clock may be set while it is being written.
        let told = ToldContact::at(at, &self.clock);
        self.on_disk(move |store| store.touch_contact(at)).await?;
        self.told_contact.set(Some(told));
        self.tries.note_contact();
        Ok(())
    }

    /// From now on nobody of ours may log in, until everything has answered again.
    pub async fn lose_contact(&self) {
        self.state_mut().contact = None;
        let _turn = self.turns.writing.lock().await;
        self.told_contact.set(None);
        if let Err(error) = self.on_disk(Store::forget_contact).await {
            error!(%error, "the time of the last contact could not be deleted: {error}");
        }
    }

    /// Forgets everything that is kept; from then on nothing is written.
    pub(crate) async fn forget_everything(&self) -> Result<(), StoreError> {
        let _turn = self.turns.writing.lock().await;
        self.on_disk(Store::reset).await?;
        self.told_contact.set(None);
        let mut state = self.state_mut();
        state.facts = Facts::default();
        state.issuers = KnownIssuers::default();
        state.halted = true;
        Ok(())
    }

    /// Whether the files say all that is known.
    pub(crate) fn is_published(&self) -> bool {
        !self.state().unpublished && !self.turns.under_way.get()
    }

    async fn publish_in_turn(&self, _turn: &MutexGuard<'_, ()>) -> Result<(), Rc<StoreError>> {
        if self.state().halted {
            return Ok(());
        }
        self.turns.begun.set(self.turns.begun.get() + 1);
        self.turns.under_way.set(true);
        let published = self.write_out().await.map_err(Rc::new);
        self.turns.under_way.set(false);
        {
            let mut state = self.state_mut();
            state.unpublished |= published.is_err();
            // One that could not even be made is tried again with the rest, and not each second.
            state.login_unpublished &= published.is_ok();
        }
        *self.turns.last.borrow_mut() = published.as_ref().err().cloned();
        self.write_status();
        published
    }

    async fn write_out(&self) -> Result<(), StoreError> {
        let draft = self.state_mut().draft(&self.clock)?;
        let files = draft.files;
        let (written, rights, result) = self
            .on_disk(move |store| {
                let (written, result) = write(files, store);
                let is_new = written.iter().any(|(name, _)| *name == "directory");
                Ok((written, is_new.then(|| Rights::published_in(store)).flatten(), result))
            })
            .await?;
        if result.is_err() {
            self.counts.publications.count(["failed"]);
        } else if !written.is_empty() {
            self.counts.publications.count(["ok"]);
        }
        self.tell_of_changes(rights);
        let mut state = self.state_mut();
        written
            .into_iter()
            .for_each(|(name, built)| state.published.take(name, built));
        result?;
        if let Some(composition) = draft.composition {
            state.published.describe(composition);
        }
        Ok(())
    }

    /// Writes down who has gained or lost what, and which settings have changed. On a fresh host there is nothing to
    /// compare with.
    fn tell_of_changes(&self, rights: Option<Rights>) {
        let mut state = self.state_mut();
        let settings = SettingsInForce::of(&state.config, &state.effective());
        let mut lines = Vec::new();
        if let Some(before) = &state.published.settings {
            lines.extend(before.changes_to(&settings));
        }
        if let (Some(before), Some(now)) = (&state.published.rights, &rights) {
            lines.extend(before.changes_to(now, &state.local));
        }
        state.published.settings = Some(settings);
        if rights.is_some() {
            state.published.rights = rights;
        }
        drop(state);
        lines.into_iter().for_each(|line| self.audit.record(line));
    }

    /// Does something with the disk, in turn, on a thread of its own. Not tokio's: it waits for those when the daemon ends.
    async fn on_disk<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let _on_disk = self.turns.on_disk();
        let (tell, told) = oneshot::channel();
        let store = self.store.clone();
        let working = std::thread::Builder::new().spawn(move || {
            #[cfg(test)]
            drop(store.stuck.blocking_lock());
            let _ = tell.send(work(&store));
        });
        if let Err(error) = working {
            return Err(StoreError::Unwritable(self.store.public.clone(), error));
        }
        told.await.unwrap_or_else(|_| Err(self.store.interrupted()))
    }
}

/// Writes them one after the other; returns which public ones are in place, and what became of the rest.
fn write(files: Vec<DraftFile>, store: &Store) -> (Vec<(&'static str, Built)>, Result<(), StoreError>) {
    let mut written = Vec::new();
    for file in files {
        let done = match &file {
            DraftFile::Private(name, bytes) => store.save(name, bytes),
            DraftFile::Public(name, built) => store.publish(name, &built.bytes),
        };
        if done.is_err() {
            return (written, done);
        }
        if let DraftFile::Public(name, built) = file {
            written.push((name, built));
        }
    }
    (written, Ok(()))
}

impl State {
    /// What is known now, as files.
    fn draft(&mut self, clock: &AnswerClock) -> Result<Draft, StoreError> {
        let mut draft = Draft::default();
        draft.keep("settings.json", &self.settings)?;
        // Nobody has told us of anybody: what an earlier life published stands.
        if self.facts.account.is_none() {
            return Ok(draft);
        }
        let (contact, instance_id) = (self.contact, self.instance_id.clone());
        let (known, ids) = self.known_and_ids();
        let as_of = AsOf {
            contact,
            instance_id: instance_id.as_deref(),
            clock,
        };
        let composition = Composition::of(&known, ids, as_of);
        let issuers = {
            let account = self.facts.account.as_deref();
            self.issuers
                .composed(&self.config, account, instance_id.as_deref(), clock)
        };
        self.facts.note_keys_told(&composition.keys_told_at);
        // First what only keymakerd reads: no id is published whose owner is not on record (P2).
        draft.keep("ids.json", &self.ids)?;
        draft.keep("neighbours.json", &self.neighbours.held)?;
        draft.keep("facts.json", &self.facts.as_of_contact(self.contact))?;
        // On a host that never had proofs there is neither file (P24).
        if self.config.proofs_are_on() || !self.published.issuers.is_empty() {
            draft.keep("issuers.json", &self.issuers)?;
            let issuers = issuers.map_err(StoreError::Issuers)?;
            let built = issuers
                .build_after(&self.published.issuers)
                .map_err(StoreError::Unbuildable)?;
            draft
                .files
                .extend(built.map(|built| DraftFile::Public("issuers", built)));
        }
        for (name, built) in [
            (
                "directory",
                composition.directory.build_after(&self.published.directory),
            ),
            ("keys", composition.keys.build_after(&self.published.keys)),
        ] {
            let built = built.map_err(StoreError::Unbuildable)?;
            draft.files.extend(built.map(|built| DraftFile::Public(name, built)));
        }
        draft.composition = Some(composition);
        self.unpublished = false;
        self.login_unpublished = false;
        Ok(draft)
    }
}

impl Draft {
    fn keep(&mut self, name: &'static str, value: &impl Serialize) -> Result<(), StoreError> {
        let bytes = serde_json::to_vec(value).map_err(|error| StoreError::Unwritable(name.into(), error.into()))?;
        self.files.push(DraftFile::Private(name, bytes));
        Ok(())
    }
}
