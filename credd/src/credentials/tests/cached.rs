//! The cache: one call for many, ahead of time, never expired, never somebody else's. The clock is moved, nothing
//! sleeps.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use credd_core::config::Method;
use tokio::sync::Semaphore;
use tokio::task::LocalSet;
use tokio::time::Instant;

use super::{local, question};
use crate::clock::Clock;
use crate::credentials::metrics::Metrics;
use crate::credentials::{Cache, CredentialQuestion, CredentialRefusal, IamIdentity, Issuance, Issue, Names};
use crate::imds::credential_source::{Credentials, Secret};

/// A clock that the test moves.
#[derive(Clone, Default)]
pub struct Moved(Rc<Cell<Duration>>);

impl Moved {
    pub fn pass(&self, time: Duration) {
        self.0.set(self.0.get() + time);
    }
}

impl Clock for Moved {
    fn now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000) + self.0.get()
    }

    fn since_boot(&self) -> Duration {
        Duration::from_secs(1000) + self.0.get()
    }
}

/// STS with a door that the test opens.
#[derive(Clone)]
struct Scripted {
    clock: Moved,
    script: Rc<RefCell<VecDeque<CredentialRefusal>>>,
    asked: Rc<RefCell<Vec<CredentialQuestion>>>,
    door: Rc<Semaphore>,
}

impl Scripted {
    fn calls(&self) -> usize {
        self.asked.borrow().len()
    }
}

impl Issue for Scripted {
    async fn issue(&self, question: &CredentialQuestion) -> Result<Issuance, CredentialRefusal> {
        self.asked.borrow_mut().push(question.clone());
        let serial = self.calls();
        self.door.acquire().await.unwrap().forget();
        if let Some(refusal) = self.script.borrow_mut().pop_front() {
            return Err(refusal);
        }
        Ok(Issuance {
            method: Method::UserRole,
            role: "arn:aws:iam::123456789012:role/r".parse().unwrap(),
            credentials: Credentials {
                access_key_id: format!("{}#{serial}", whose(question)),
                secret_access_key: Secret::new("s".into()),
                sts_session_token: Secret::new("t".into()),
                last_updated: self.clock.now(),
                expiration: self.clock.now() + HOUR,
            },
        })
    }

    fn asks_aws(&self, question: &CredentialQuestion) -> bool {
        !question.chain.is_empty()
    }

    async fn warm(&self) -> Result<(), CredentialRefusal> {
        Ok(())
    }
}

fn whose(question: &CredentialQuestion) -> String {
    format!("{question:?}")
}

fn stage(open: usize) -> (Rc<Cache<Scripted>>, Scripted) {
    let source = Scripted {
        clock: Moved::default(),
        script: Rc::default(),
        asked: Rc::default(),
        door: Rc::new(Semaphore::new(open)),
    };
    let clock = Rc::new(source.clock.clone());
    (Cache::new(source.clone(), clock, Rc::new(Metrics::default())), source)
}

async fn get(cache: &Rc<Cache<Scripted>>, question: &CredentialQuestion) -> Result<Rc<Issuance>, CredentialRefusal> {
    cache.get(question, Instant::now() + Duration::from_millis(800)).await
}

fn alice() -> CredentialQuestion {
    question(1000, local("alice"))
}

/// Lets everything that is under way go on as far as it can.
pub async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

const HOUR: Duration = Duration::from_secs(3600);
const MINUTE: Duration = Duration::from_secs(60);

// P17
#[tokio::test(start_paused = true)]
async fn ten_thousand_cold_requests_of_one_uid_make_one_call() {
    let (cache, source) = stage(0);
    LocalSet::new()
        .run_until(async {
            let mut waiting = tokio::task::JoinSet::new();
            for _ in 0..10_000 {
                let cache = Rc::clone(&cache);
                waiting.spawn_local(async move {
                    get(&cache, &alice())
                        .await
                        .map(|it| it.credentials.access_key_id.clone())
                });
            }
            settle().await;
            source.door.add_permits(100);
            while let Some(answer) = waiting.join_next().await {
                assert_eq!(answer.unwrap(), Ok(format!("{}#1", whose(&alice()))));
            }
        })
        .await;
    assert_eq!(source.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn after_a_restart_everybody_who_was_here_is_served_at_the_first_try() {
    let (cache, source) = stage(1000);
    LocalSet::new()
        .run_until(async {
            let mut waiting = tokio::task::JoinSet::new();
            for uid in 1000..1200 {
                let cache = Rc::clone(&cache);
                waiting.spawn_local(async move { get(&cache, &question(uid, local("somebody"))).await.map(|_| ()) });
            }
            while let Some(answer) = waiting.join_next().await {
                answer.unwrap().unwrap();
            }
        })
        .await;
    assert_eq!(source.calls(), 200);
}

// P13
#[tokio::test(start_paused = true)]
async fn who_asks_for_what_no_call_would_answer_takes_nobodys_turn() {
    let (cache, source) = stage(1000);
    LocalSet::new()
        .run_until(async {
            for uid in 100_000..101_000 {
                let asked = CredentialQuestion {
                    chain: vec![],
                    ..question(uid, local("nobody"))
                };
                assert!(matches!(
                    get(&cache, &asked).await,
                    Err(CredentialRefusal::NotApplicable)
                ));
            }
            assert!(cache.is_empty());
            let began = Instant::now();
            for uid in 1000..1200 {
                assert!(get(&cache, &question(uid, local("somebody"))).await.is_ok());
            }
            assert!(began.elapsed().is_zero(), "{:?}", began.elapsed());
        })
        .await;
    assert_eq!(source.calls(), 200);
}

#[tokio::test(start_paused = true)]
async fn whoever_comes_a_little_too_soon_waits_in_line_and_nobody_waits_in_vain() {
    let (cache, source) = stage(1000);
    LocalSet::new()
        .run_until(async {
            let mut waiting = tokio::task::JoinSet::new();
            for uid in 1000..1300 {
                let cache = Rc::clone(&cache);
                waiting.spawn_local(async move {
                    let began = Instant::now();
                    let answer = get(&cache, &question(uid, local("somebody"))).await.map(|_| ());
                    (answer.is_ok(), began.elapsed())
                });
            }
            let mut waited = vec![];
            while let Some(answer) = waiting.join_next().await {
                let (is_served, elapsed) = answer.unwrap();
                // Who is not served is told at once.
                assert!(is_served || elapsed.is_zero(), "{elapsed:?}");
                waited.extend(is_served.then_some(elapsed));
            }
            waited.sort();
            assert_eq!(waited.len(), 210);
            assert!(waited[199].is_zero() && waited[200] > Duration::ZERO, "{waited:?}");
            assert!(waited[209] <= Duration::from_millis(510), "{waited:?}");
        })
        .await;
    assert_eq!(source.calls(), 210);
}

// P17
#[tokio::test(start_paused = true)]
async fn whoever_gives_up_gets_a_doubt_in_time_and_the_call_goes_on_for_the_next() {
    let (cache, source) = stage(0);
    LocalSet::new()
        .run_until(async {
            let began = Instant::now();
            assert!(matches!(
                get(&cache, &alice()).await,
                Err(CredentialRefusal::Transient(_))
            ));
            assert_eq!(began.elapsed(), Duration::from_millis(800));
            source.door.add_permits(1);
            settle().await;
            assert!(get(&cache, &alice()).await.is_ok());
        })
        .await;
    assert_eq!(source.calls(), 1);
}

// P17
#[tokio::test(start_paused = true)]
async fn every_credential_handed_out_has_25_minutes_left_while_sts_answers() {
    let (cache, source) = stage(100_000);
    LocalSet::new()
        .run_until(async {
            for step in 0..2000_u64 {
                source.clock.pass(Duration::from_secs(step * 7 % 180));
                let given = get(&cache, &alice()).await.unwrap();
                let left = given.credentials.expiration.duration_since(source.clock.now()).unwrap();
                assert!(left >= 25 * MINUTE, "{left:?}");
                settle().await;
            }
        })
        .await;
}

// P17
#[tokio::test(start_paused = true)]
async fn renewal_comes_at_half_the_life_and_nobody_waits_for_it() {
    let (cache, source) = stage(1);
    LocalSet::new()
        .run_until(async {
            get(&cache, &alice()).await.unwrap();
            source.clock.pass(26 * MINUTE);
            cache.tidy();
            settle().await;
            assert_eq!(source.calls(), 1);
            source.clock.pass(7 * MINUTE);
            // The door is shut: what is kept is handed out at once, and one call is under way.
            for _ in 0..5 {
                assert!(
                    get(&cache, &alice())
                        .await
                        .unwrap()
                        .credentials
                        .access_key_id
                        .ends_with("#1")
                );
                settle().await;
            }
            assert_eq!(source.calls(), 2);
            source.door.add_permits(1);
            settle().await;
            assert!(
                get(&cache, &alice())
                    .await
                    .unwrap()
                    .credentials
                    .access_key_id
                    .ends_with("#2")
            );
        })
        .await;
}

// P17
#[tokio::test(start_paused = true)]
async fn in_an_outage_credentials_are_handed_out_to_their_last_minute_and_not_beyond() {
    let (cache, source) = stage(100_000);
    LocalSet::new()
        .run_until(async {
            get(&cache, &alice()).await.unwrap();
            source
                .script
                .borrow_mut()
                .extend((0..10_000).map(|_| CredentialRefusal::transient("down")));
            for minute in 1..=90 {
                source.clock.pass(MINUTE);
                cache.tidy();
                settle().await;
                let answer = get(&cache, &alice()).await;
                settle().await;
                match minute {
                    0..=59 => assert!(answer.unwrap().credentials.expiration >= source.clock.now() + MINUTE),
                    _ => assert!(
                        matches!(answer, Err(CredentialRefusal::Transient(_))),
                        "minute {minute}"
                    ),
                }
            }
        })
        .await;
    // One try a minute, and no more than two: the tidying's and the request's.
    assert!(source.calls() <= 180, "{}", source.calls());
}

#[tokio::test(start_paused = true)]
async fn what_was_used_is_renewed_unasked_and_what_was_not_is_dropped() {
    let (cache, source) = stage(100);
    LocalSet::new()
        .run_until(async {
            get(&cache, &alice()).await.unwrap();
            for _ in 0..12 {
                source.clock.pass(10 * MINUTE);
                cache.tidy();
                settle().await;
            }
            assert_eq!((source.calls(), cache.len()), (2, 0));
        })
        .await;
}

// P18
#[tokio::test(start_paused = true)]
async fn what_was_issued_for_one_question_is_never_the_answer_to_another() {
    let mut grouped = alice();
    grouped.person.account.groups = vec!["ops".into()];
    let mut other_chain = alice();
    other_chain.chain = vec![Method::UserRole, Method::InstanceRole];
    let mut not_ours = alice();
    not_ours.person.names = Names::NotOurs;
    let with_iam = |id: &str, name: &str| {
        let mut question = alice();
        question.person.iam = Some(IamIdentity {
            account: "123456789012".into(),
            id_resolver: [0; 32],
            user_id: id.into(),
            user_name: name.into(),
        });
        question
    };
    let questions = [
        alice(),
        question(1001, local("alice")),
        question(1000, local("bob")),
        grouped,
        other_chain,
        not_ours,
        with_iam("AIDA1", "alice"),
        with_iam("AIDA2", "alice"),
        with_iam("AIDA1", "alice@example"),
    ];
    let (cache, source) = stage(100);
    LocalSet::new()
        .run_until(async {
            for _ in 0..2 {
                for question in &questions {
                    let given = get(&cache, question).await.unwrap();
                    assert!(given.credentials.access_key_id.starts_with(&whose(question)));
                }
            }
        })
        .await;
    assert_eq!(source.calls(), questions.len());
}

// P18
#[tokio::test(start_paused = true)]
async fn a_refusal_at_renewal_ends_what_was_kept_and_is_asked_again_less_and_less_often() {
    let (cache, source) = stage(100_000);
    LocalSet::new()
        .run_until(async {
            get(&cache, &alice()).await.unwrap();
            source
                .script
                .borrow_mut()
                .extend((0..1000).map(|_| CredentialRefusal::denied("no")));
            source.clock.pass(34 * MINUTE);
            get(&cache, &alice()).await.unwrap();
            settle().await;
            for _ in 0..100 {
                assert_eq!(get(&cache, &alice()).await.err(), Some(CredentialRefusal::denied("no")));
            }
            assert_eq!(source.calls(), 2);
            for _ in 0..120 {
                source.clock.pass(Duration::from_secs(1));
                assert!(get(&cache, &alice()).await.is_err());
            }
            // After 5, 10, 20, 30, 30, 30 s.
            assert!((6..=8).contains(&source.calls()), "{}", source.calls());
        })
        .await;
}

// P20
#[tokio::test(start_paused = true)]
async fn what_is_kept_for_a_uid_can_be_forgotten_even_while_it_is_on_its_way() {
    let (cache, source) = stage(1);
    LocalSet::new()
        .run_until(async {
            let bob = question(1001, local("bob"));
            get(&cache, &alice()).await.unwrap();
            cache.forget(1000);
            assert!(cache.is_empty());
            assert!(get(&cache, &bob).await.is_err());
            cache.forget(1001);
            source.door.add_permits(1);
            settle().await;
            assert!(cache.is_empty());
        })
        .await;
}

// P20
#[tokio::test(start_paused = true)]
async fn what_was_asked_before_a_refusal_is_no_answer_to_the_same_question_after_it() {
    let (cache, source) = stage(0);
    LocalSet::new()
        .run_until(async {
            assert!(get(&cache, &alice()).await.is_err());
            cache.forget(1000);
            // Let in again; both calls are under way.
            assert!(get(&cache, &alice()).await.is_err());
            source.door.add_permits(1);
            settle().await;
            assert!(cache.get(&alice(), Instant::now()).await.is_err());
            source.door.add_permits(1);
            settle().await;
            let answer = get(&cache, &alice()).await.unwrap();
            assert_eq!(answer.credentials.access_key_id, format!("{}#2", whose(&alice())));
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn while_aws_hangs_no_more_than_so_many_questions_are_under_way() {
    let (cache, source) = stage(0);
    LocalSet::new()
        .run_until(async {
            for uid in 2000..3000 {
                source.clock.pass(Duration::from_secs(1));
                let _ = cache.get(&question(uid, local("somebody")), Instant::now()).await;
            }
            settle().await;
            assert_eq!(source.calls(), 512);
            source.door.add_permits(1);
            settle().await;
            let _ = cache.get(&alice(), Instant::now()).await;
            settle().await;
            assert_eq!(source.calls(), 513);
        })
        .await;
}

// P17
#[tokio::test(start_paused = true)]
async fn credentials_that_have_ended_by_this_clock_are_none() {
    let (cache, source) = stage(0);
    LocalSet::new()
        .run_until(async {
            let waiting = tokio::task::spawn_local({
                let cache = Rc::clone(&cache);
                async move { get(&cache, &alice()).await.map(|_| ()) }
            });
            settle().await;
            let slow = source.clock.clone();
            source.door.add_permits(1);
            settle().await;
            waiting.await.unwrap().unwrap();
            slow.pass(HOUR - Duration::from_secs(59));
            source
                .script
                .borrow_mut()
                .push_back(CredentialRefusal::transient("down"));
            source.door.add_permits(1);
            assert!(get(&cache, &alice()).await.is_err());
        })
        .await;
}

/// A cache that has this many answers.
async fn full(answers: u32) -> (Rc<Cache<Scripted>>, Scripted) {
    let (cache, source) = stage(usize::MAX >> 4);
    for uid in 0..answers {
        source.clock.pass(Duration::from_millis(100));
        get(&cache, &question(uid, local("alice"))).await.unwrap();
    }
    (cache, source)
}

// With sizes that `bench growth` chooses.
#[tokio::test(start_paused = true)]
async fn what_is_kept_among_many_is_no_call() {
    let (answers, times) = counted::wanted();
    LocalSet::new()
        .run_until(async {
            let (cache, source) = full(answers as u32).await;
            for _ in 0..times {
                get(&cache, &question(0, local("alice"))).await.unwrap();
            }
            assert_eq!(source.calls() as u64, answers);
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn what_is_tidied_among_many_is_what_has_ended() {
    let (answers, times) = counted::wanted();
    LocalSet::new()
        .run_until(async {
            let (cache, _source) = full(answers as u32).await;
            for _ in 0..times {
                cache.tidy();
            }
            assert_eq!(cache.len() as u64, answers);
        })
        .await;
}
