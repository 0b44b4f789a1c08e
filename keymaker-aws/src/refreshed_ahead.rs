//! Keeps one set of credentials and renews it before it runs out, so that no call waits for a renewal and a failing
//! source hurts nobody while the last credentials are valid. Used for the instance's role and for roles of other
//! accounts. One fetch at a time; a caller that gives up does not cancel the fetch for the others.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{self, ProvideCredentials, future};
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// A source of credentials, asked ahead of time. Clones share what is kept.
#[derive(Clone)]
pub(crate) struct RefreshedAhead {
    shared: Arc<SharedValue>,
}

struct SharedValue {
    source: Box<dyn ProvideCredentials>,
    now: Clock,
    /// Never held across an await.
    kept: Mutex<KeptValue>,
    /// Held by the one fetch that is under way.
    fetching: tokio::sync::Mutex<()>,
}

/// What time it is.
pub(crate) type Clock = fn() -> SystemTime;

#[derive(Default)]
struct KeptValue {
    credentials: Option<Credentials>,
    /// How often the source has answered, and whether the last answer was a failure.
    answers: u64,
    failure: Option<String>,
    last_renewal: Option<Instant>,
}

impl RefreshedAhead {
    pub(crate) fn new(source: impl ProvideCredentials + 'static, now: Clock) -> Self {
        let (kept, fetching) = (Mutex::default(), tokio::sync::Mutex::new(()));
        Self {
            shared: Arc::new(SharedValue {
                source: Box::new(source),
                now,
                kept,
                fetching,
            }),
        }
    }

    async fn current(&self) -> provider::Result {
        match self.shared.valid() {
            Some((credentials, left)) => {
                if left < RENEW_BELOW && self.shared.may_renew() {
                    self.start_fetch();
                }
                Ok(credentials)
            }
            None => self.start_fetch().await.map_err(CredentialsError::unhandled)?,
        }
    }

    /// A task of its own, so that it outlives a caller whose patience ends.
    fn start_fetch(&self) -> JoinHandle<provider::Result> {
        let answers_so_far = self.shared.kept().answers;
        tokio::spawn(Arc::clone(&self.shared).fetch(answers_so_far))
    }
}

impl ProvideCredentials for RefreshedAhead {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.current())
    }
}

impl fmt::Debug for RefreshedAhead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RefreshedAhead(..)")
    }
}

impl SharedValue {
    /// Asks the source, unless it has answered another fetch since the caller came.
    async fn fetch(self: Arc<Self>, answers_when_asked: u64) -> provider::Result {
        let _only_fetch = self.fetching.lock().await;
        if let Some(shared) = self.answer_since(answers_when_asked) {
            return shared;
        }
        let answer = self.source.provide_credentials().await;
        let mut kept = self.kept();
        kept.answers += 1;
        kept.failure = answer.as_ref().err().map(reason);
        if let Ok(credentials) = &answer {
            kept.credentials = Some(credentials.clone());
        }
        answer
    }

    fn answer_since(&self, answers_when_asked: u64) -> Option<provider::Result> {
        let kept = self.kept();
        if kept.answers == answers_when_asked {
            return None;
        }
        match &kept.failure {
            Some(why) => Some(Err(CredentialsError::provider_error(why.clone()))),
            None => kept.credentials.clone().map(Ok),
        }
    }

    /// What is kept, and for how long it is valid.
    fn valid(&self) -> Option<(Credentials, Duration)> {
        let credentials = self.kept().credentials.clone()?;
        let Some(expiry) = credentials.expiry() else {
            return Some((credentials, Duration::MAX));
        };
        let left = expiry.duration_since((self.now)()).ok()?;
        (left > USELESS_BELOW).then_some((credentials, left))
    }

    /// The metadata service gives out the same credentials until it has new ones; it need not be asked at every call.
    fn may_renew(&self) -> bool {
        let mut kept = self.kept();
        let may = kept
            .last_renewal
            .is_none_or(|last| last.elapsed() >= RENEW_AT_MOST_EVERY);
        if may {
            kept.last_renewal = Some(Instant::now());
        }
        may
    }

    fn kept(&self) -> MutexGuard<'_, KeptValue> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The sentence of the error that the source itself raised, without the SDK's wrapping.
fn reason(error: &CredentialsError) -> String {
    std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string)
}

/// AWS makes new credentials available at least five minutes before the old ones expire, in practice about an hour.
const RENEW_BELOW: Duration = Duration::from_secs(15 * 60);
/// A request signed now must still be valid when it arrives.
const USELESS_BELOW: Duration = Duration::from_secs(10);
const RENEW_AT_MOST_EVERY: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::collections::VecDeque;
    use std::sync::atomic::{AtomicUsize, Ordering};

    thread_local! {
        static NOW: Cell<SystemTime> = const { Cell::new(SystemTime::UNIX_EPOCH) };
    }

    /// Moves both clocks.
    async fn pass(time: Duration) {
        NOW.set(NOW.get() + time);
        tokio::time::advance(time).await;
    }

    /// Answers in order, each once the test opens the gate.
    #[derive(Clone)]
    struct Scripted {
        answers: Arc<Mutex<VecDeque<Option<Credentials>>>>,
        gate: Arc<tokio::sync::Semaphore>,
        calls: Arc<AtomicUsize>,
    }

    impl Scripted {
        fn new(answers: impl IntoIterator<Item = Option<Credentials>>, open: usize) -> (Self, RefreshedAhead) {
            let script = Self {
                answers: Arc::new(Mutex::new(answers.into_iter().collect())),
                gate: Arc::new(tokio::sync::Semaphore::new(open)),
                calls: Arc::default(),
            };
            (script.clone(), RefreshedAhead::new(script, || NOW.get()))
        }

        fn calls(&self) -> usize {
            self.calls.load(Ordering::Relaxed)
        }
    }

    impl fmt::Debug for Scripted {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("Scripted")
        }
    }

    impl ProvideCredentials for Scripted {
        fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
        where
            Self: 'a,
        {
            future::ProvideCredentials::new(async {
                self.calls.fetch_add(1, Ordering::Relaxed);
                self.gate.acquire().await.unwrap().forget();
                let answer = self.answers.lock().unwrap().pop_front().flatten();
                answer.ok_or_else(|| CredentialsError::provider_error("out of order"))
            })
        }
    }

    fn lasting(id: &str, minutes: u64) -> Option<Credentials> {
        let expires = NOW.get() + Duration::from_secs(minutes * 60);
        Some(Credentials::new(id, "s", None, Some(expires), "test"))
    }

    async fn id_of(kept: &RefreshedAhead) -> Result<String, String> {
        kept.current()
            .await
            .map(|given| given.access_key_id().to_owned())
            .map_err(|why| reason(&why))
    }

    #[tokio::test(start_paused = true)]
    async fn fresh_credentials_are_fetched_once() {
        let (script, kept) = Scripted::new([lasting("A", 60)], 9);
        for _ in 0..5 {
            assert_eq!(id_of(&kept).await.unwrap(), "A");
        }
        assert_eq!(script.calls(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_a_renewal_while_the_old_ones_are_valid() {
        let (script, kept) = Scripted::new([lasting("A", 60), lasting("B", 120)], 1);
        assert_eq!(id_of(&kept).await.unwrap(), "A");
        pass(Duration::from_secs(50 * 60)).await;
        assert_eq!(id_of(&kept).await.unwrap(), "A");
        tokio::task::yield_now().await;
        assert_eq!((script.calls(), id_of(&kept).await.unwrap().as_str()), (2, "A"));
        script.gate.add_permits(1);
        while id_of(&kept).await.unwrap() == "A" {
            tokio::task::yield_now().await;
        }
        assert_eq!((script.calls(), id_of(&kept).await.unwrap().as_str()), (2, "B"));
    }

    // P17
    #[tokio::test(start_paused = true)]
    async fn a_failing_source_hurts_nobody_until_the_last_credentials_expire() {
        let (script, kept) = Scripted::new([lasting("A", 60)], 99);
        assert_eq!(id_of(&kept).await.unwrap(), "A");
        pass(Duration::from_secs(50 * 60)).await;
        for _ in 0..100 {
            assert_eq!(id_of(&kept).await.unwrap(), "A");
            tokio::task::yield_now().await;
        }
        assert_eq!(script.calls(), 2, "the source is asked at most every 30 s");
        pass(Duration::from_secs(10 * 60)).await;
        assert_eq!(id_of(&kept).await.unwrap_err(), "out of order");
    }

    #[tokio::test(start_paused = true)]
    async fn callers_who_come_together_make_one_fetch_and_share_its_outcome() {
        for answer in [lasting("A", 60), None] {
            let (script, kept) = Scripted::new([answer.clone()], 0);
            let callers = [0; 20].map(|_| tokio::spawn(ask(kept.clone())));
            tokio::task::yield_now().await;
            script.gate.add_permits(1);
            for caller in callers {
                assert_eq!(caller.await.unwrap().is_ok(), answer.is_some());
            }
            assert_eq!(script.calls(), 1);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_who_gives_up_does_not_stop_the_fetch() {
        let (script, kept) = Scripted::new([lasting("A", 60)], 0);
        assert!(
            tokio::time::timeout(Duration::from_millis(1), id_of(&kept))
                .await
                .is_err()
        );
        script.gate.add_permits(1);
        assert_eq!(id_of(&kept).await.unwrap(), "A");
        assert_eq!(script.calls(), 1);
    }

    async fn ask(kept: RefreshedAhead) -> Result<String, String> {
        id_of(&kept).await
    }
}
