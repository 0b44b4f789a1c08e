//! The cache over the methods over a canned AWS: how often STS is asked, and what is served while it answers wrongly.
//! The counts are those of the canned AWS.

use std::rc::Rc;
use std::time::Duration;

use credd_core::config::Config;
use credd_core::time_text::iso8601;
use keymaker_aws::Patience;
use tokio::task::{JoinSet, LocalSet};
use tokio::time::Instant;

use super::cached::Moved;
use super::world::{FAULTS, Fault, State, World};
use super::{local, question};
use crate::clock::Clock;
use crate::credentials::metrics::Metrics;
use crate::credentials::{Aws, Cache, Chain, CredentialQuestion, MethodSettings};

fn alice() -> CredentialQuestion {
    question(1000, local("alice"))
}

fn assumed(world: &World) -> usize {
    let state = world.state.lock().unwrap();
    state
        .askers
        .iter()
        .filter(|(step, _)| step.starts_with("AssumeRole "))
        .count()
}

fn cache(world: &World, clock: &Moved, metrics: &Rc<Metrics>, deadline: Duration) -> Rc<Cache<Chain>> {
    let patience = Patience {
        attempt: deadline,
        total: deadline,
        attempts: 1,
        backoff: Duration::ZERO,
    };
    let chain = world.chain_by(Rc::new(clock.clone()), &Config::default(), patience);
    Cache::new(chain, Rc::new(clock.clone()), Rc::clone(metrics))
}

// P17
#[tokio::test]
async fn ten_thousand_concurrent_cold_requests_of_one_uid_are_one_assume_role_at_sts() {
    let (world, metrics) = (World::new().await, Rc::new(Metrics::default()));
    let cache = cache(&world, &Moved::default(), &metrics, ANSWERED);
    LocalSet::new()
        .run_until(async {
            let mut waiting = JoinSet::new();
            for _ in 0..10_000 {
                let cache = Rc::clone(&cache);
                let deadline = Instant::now() + Duration::from_secs(60);
                waiting.spawn_local(async move { cache.get(&alice(), deadline).await.map(|_| ()) });
            }
            let mut served = 0;
            while let Some(answer) = waiting.join_next().await {
                answer.unwrap().unwrap();
                served += 1;
            }
            assert_eq!(served, 10_000);
        })
        .await;
    assert_eq!((assumed(&world), metrics.flights.get()), (1, 1));
}

// P17
#[tokio::test]
async fn where_sts_takes_longer_than_a_request_waits_one_call_serves_the_requests_after_it() {
    let (world, metrics) = (World::new().await, Rc::new(Metrics::default()));
    // As many seconds as an attempt once had, and a little.
    world.state.lock().unwrap().late = Duration::from_millis(1700);
    let clock = Moved::default();
    let aws = Aws::new(world.route.clone(), Rc::new(clock.clone())).having(world.aws.clone());
    let chain = Chain::new(
        MethodSettings::new(&Config::default()).unwrap(),
        aws,
        Rc::new(clock.clone()),
    );
    let cache = Cache::new(chain, Rc::new(clock), Rc::clone(&metrics));
    LocalSet::new()
        .run_until(async {
            let began = Instant::now();
            let alice = alice();
            let request = || cache.get(&alice, Instant::now() + Duration::from_millis(800));
            assert!(request().await.is_err());
            while request().await.is_err() {
                assert!(
                    began.elapsed() < Duration::from_secs(60),
                    "it is cut off and begun again"
                );
            }
        })
        .await;
    assert_eq!((assumed(&world), metrics.flights.get()), (1, 1));
}

// P17
#[tokio::test]
async fn nothing_expired_is_served_whatever_sts_answers_at_a_renewal() {
    let world = World::new().await;
    let (mut served, mut refused) = (0, 0);
    let ends = FAULTS
        .into_iter()
        .flat_map(|fault| ["GetCallerIdentity  ", USER_ROLE].map(|step| (step, fault)));
    // Tidying wipes what has ended; what is served must not depend on it.
    for ((step, fault), tidied) in ends.flat_map(|end| [(end, true), (end, false)]) {
        let (clock, metrics) = (Moved::default(), Rc::new(Metrics::default()));
        // Only silence is waited for: what is answered is answered however busy the machine is.
        let deadline = if fault == Fault::Hang { SILENT } else { ANSWERED };
        let cache = cache(&world, &clock, &metrics, deadline);
        world.begin(None);
        world.state.lock().unwrap().expiration = Some(iso8601(clock.now() + Duration::from_secs(3600)));
        LocalSet::new()
            .run_until(async {
                let soon = || Instant::now() + ANSWERED;
                until_served(&cache, &clock).await;
                world.begin(Some((step.to_owned(), fault)));
                // Past its half, its last 25 minutes, its last minute, and its end.
                for minutes in [20, 14, 5, 10, 9, 1, 1, 1, 30] {
                    clock.pass(Duration::from_secs(minutes * 60));
                    if tidied {
                        cache.tidy();
                    }
                    match cache.get(&alice(), soon()).await {
                        Ok(issuance) => {
                            let end = issuance.credentials.expiration;
                            assert!(end >= clock.now() + Duration::from_secs(60), "{step}: {fault:?}");
                            served += 1;
                        }
                        Err(_) => refused += 1,
                    }
                }
                // And when it answers again, so does the cache.
                *world.state.lock().unwrap() = State::default();
                clock.pass(Duration::from_secs(60));
                until_served(&cache, &clock).await;
            })
            .await;
    }
    assert_eq!(served + refused, FAULTS.len() * 2 * 2 * 9);
    assert!(
        served > FAULTS.len() && refused > FAULTS.len(),
        "{served} served, {refused} refused"
    );
    assert!(FAULTS.contains(&Fault::Hang));
}

/// A busy machine may take longer to answer than silence is waited for.
async fn until_served(cache: &Rc<Cache<Chain>>, clock: &Moved) {
    let deadline = Instant::now() + 3 * ANSWERED;
    while let Err(refusal) = cache.get(&alice(), Instant::now() + ANSWERED).await {
        assert!(Instant::now() < deadline, "{refusal:?}");
        clock.pass(Duration::from_secs(1));
    }
}

const SILENT: Duration = Duration::from_millis(250);
const ANSWERED: Duration = Duration::from_secs(20);
const USER_ROLE: &str = "AssumeRole arn%3Aaws%3Aiam%3A%3A123456789012%3Arole%2Fuser-alice ";
