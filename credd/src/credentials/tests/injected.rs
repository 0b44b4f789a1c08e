//! Every error of STS and IAM at every step of every method, against a canned AWS: what is issued stays within what the
//! chain allows. The table of steps is made by the run itself: whatever a method asks in a good run is a step.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use credd_core::accounts::Account;
use credd_core::config::{Config, Method};
use keymaker_aws::{IdResolver, Patience, id_resolver_digest};

use super::cached::Moved;
use super::world::{Case, FAULTS, Fault, RESOLVER, State, World};
use super::{local, question};
use crate::credentials::{CredentialQuestion, CredentialRefusal, IamIdentity, Issue, Names, Person};

/// The only answers that may lead on to the next method: IAM says that what the method is about does not exist.
fn leads_on(case: Case, step: &str, fault: Fault) -> bool {
    let missing = match case.method {
        Method::UserRole if case.untrusting => "GetRole user-alice ",
        Method::CreateUserRole => "GetRole user-alice ",
        Method::RestrictedInstanceRole if !case.of_directory => "GetUser alice ",
        _ => return false,
    };
    step == missing && fault == Fault::Error(404, "NoSuchEntity")
}

fn cases() -> Vec<Case> {
    let case = |method| Case {
        method,
        untrusting: false,
        compress: false,
        of_directory: false,
        description: "",
        elsewhere: false,
    };
    [
        case(Method::UserRole),
        Case {
            untrusting: true,
            ..case(Method::UserRole)
        },
        case(Method::CreateUserRole),
        case(Method::RestrictedInstanceRole),
        Case {
            compress: true,
            ..case(Method::RestrictedInstanceRole)
        },
        case(Method::SharedRole),
        case(Method::InstanceRole),
    ]
    .into_iter()
    .flat_map(|case| [false, true].map(|of_directory| Case { of_directory, ..case }))
    .chain([Case {
        of_directory: true,
        description: RESOLVER,
        elsewhere: true,
        ..case(Method::RestrictedInstanceRole)
    }])
    .collect()
}

// P18
#[tokio::test]
async fn every_error_at_every_step_of_every_method_narrows() {
    let world = World::new().await;
    let (tried, led_on) = (RefCell::new(0), RefCell::new(0));
    for case in cases() {
        // A world of its own: a call that another run gave up may arrive late, and is not a step of this method.
        let sound = World::new().await;
        let good = sound.ask(case, None).await.map(|issuance| issuance.method);
        if case.untrusting {
            assert!(matches!(good, Err(CredentialRefusal::Denied(_))), "{case:?}: {good:?}")
        } else {
            assert_eq!(good, Ok(case.method), "{case:?}")
        }
        for step in sound.steps() {
            // Silence is waited for, once.
            for fault in FAULTS
                .into_iter()
                .filter(|fault| !(case.of_directory && *fault == Fault::Hang))
            {
                let told = format!("{case:?}, {step}: {fault:?}");
                let answer = world.ask(case, Some((step.clone(), fault))).await.map(|it| it.method);
                if leads_on(case, &step, fault) {
                    assert_eq!(answer, Ok(Method::InstanceRole), "{told}");
                    *led_on.borrow_mut() += 1;
                } else {
                    assert!(
                        matches!(
                            answer,
                            Err(CredentialRefusal::Denied(_) | CredentialRefusal::Transient(_))
                        ),
                        "{told}: {answer:?}"
                    )
                }
                for session in &world.state.lock().unwrap().sessions {
                    let own = session.contains("role%2Fp%2Fown");
                    assert!(
                        !own || session.contains("&Policy="),
                        "{told}: a session of the whole role"
                    );
                }
                *tried.borrow_mut() += 1;
            }
        }
    }
    println!(
        "{} wrong answers, {} of them led on to the next method",
        tried.borrow(),
        led_on.borrow()
    );
    assert!(*tried.borrow() > 1500 && *led_on.borrow() > 0);
}

// P18
#[tokio::test]
async fn who_has_no_name_that_counts_gets_nothing_by_name() {
    let world = World::new().await;
    let mut person = local("alice");
    person.names = Names::NotOurs;
    let config = Config::default();
    let chain = world.chain(&config, Patience::NUDGE);
    for method in [
        Method::UserRole,
        Method::CreateUserRole,
        Method::RestrictedInstanceRole,
        Method::SharedRole,
    ] {
        let answer = chain
            .issue(&CredentialQuestion {
                chain: vec![method],
                ..question(1000, person.clone())
            })
            .await;
        assert_eq!(answer.map(|it| it.method).err(), Some(CredentialRefusal::NotApplicable));
    }
    assert!(world.steps().is_empty());
}

// P17
#[tokio::test]
async fn what_every_question_needs_is_asked_before_the_first_one() {
    let world = World::new().await;
    for (method, ahead) in [
        (Method::UserRole, vec!["GetCallerIdentity  "]),
        (Method::InstanceRole, vec!["GetCallerIdentity  ", "GetRole own "]),
    ] {
        *world.state.lock().unwrap() = State::default();
        let config = Config {
            default_chain: vec![method],
            ..Config::default()
        };
        let chain = world.chain(&config, Patience::NUDGE);
        chain.warm().await.unwrap();
        assert_eq!(world.steps(), ahead, "{method}");
        *world.state.lock().unwrap() = State::default();
        let asked = CredentialQuestion {
            chain: vec![method],
            ..question(1000, local("alice"))
        };
        assert!(chain.issue(&asked).await.is_ok());
        assert!(
            world.steps().iter().all(|step| step.starts_with("AssumeRole ")),
            "{method}"
        );
    }
}

#[tokio::test]
async fn what_asks_no_aws_costs_no_call_whoever_asks() {
    let world = World::new().await;
    let nobody = Person {
        account: Account::default(),
        ..local("nobody")
    };
    let mut not_ours = local("postgres");
    not_ours.names = Names::NotOurs;
    let config = Config {
        shared_role: Some("arn:aws:iam::123456789012:role/everybody".into()),
        ..Config::default()
    };
    for person in [nobody, not_ours, local("alice")] {
        for method in [
            Method::UserRole,
            Method::CreateUserRole,
            Method::SharedRole,
            Method::RestrictedInstanceRole,
            Method::InstanceRole,
        ] {
            world.begin(None);
            let chain = world.chain(&config, Patience::NUDGE);
            let asked = CredentialQuestion {
                chain: vec![method],
                ..question(1000, person.clone())
            };
            let answer = chain.issue(&asked).await;
            let calls = !world.steps().is_empty();
            assert_eq!(chain.asks_aws(&asked), calls, "{method} {person:?}");
            assert!(
                calls || matches!(answer, Err(CredentialRefusal::NotApplicable)),
                "{method}"
            );
        }
    }
}

// P18
#[tokio::test]
async fn users_of_another_account_are_read_by_the_role_that_both_name() {
    let world = World::new().await;
    let elsewhere = Case {
        method: Method::RestrictedInstanceRole,
        untrusting: false,
        compress: true,
        of_directory: true,
        description: RESOLVER,
        elsewhere: true,
    };
    let issued = world.ask(elsewhere, None).await.map(|it| it.method);
    assert_eq!(issued, Ok(Method::RestrictedInstanceRole));
    {
        let state = world.state.lock().unwrap();
        for (step, asker) in &state.askers {
            let action = step.split(' ').next().unwrap();
            let of_the_host = action.contains("Role") || action == "GetCallerIdentity";
            let managed = step.contains("policy%2Fof-");
            let expected = if of_the_host { "AKIAX" } else { "ASIARESOLVER" };
            assert!(asker == expected || managed, "{step}: {asker}");
        }
        // The user's own managed policies exist in the other account only, so they are spelled out.
        let session = state.sessions.last().unwrap();
        assert!(
            session.contains("role%2Fp%2Fown") && session.contains("&Policy="),
            "{session}"
        );
    }
    for description in [
        "",
        "keymaker_id_resolver_account=999999999999 keymaker_id_resolver_iam_role=p/Resolver",
        "keymaker_id_resolver_account=210987654321",
        // As keymakerd reads them: a word with a second `=` is none, a lone quote belongs to the value.
        "keymaker_id_resolver_account=210987654321 keymaker_id_resolver_iam_role=p/Resolver=x",
        "keymaker_id_resolver_account=210987654321 keymaker_id_resolver_iam_role=\"p/Resolver",
        // Waits for accept-settings.
        "keymaker_id_resolver_account=210987654321 keymaker_id_resolver_iam_role=p/Another-Resolver",
    ] {
        let case = Case {
            description,
            ..elsewhere
        };
        let answer = world.ask(case, None).await.map(|it| it.method);
        assert!(
            matches!(answer, Err(CredentialRefusal::Denied(_))),
            "{description}: {answer:?}"
        );
        assert!(world.state.lock().unwrap().sessions.is_empty(), "{description}");
    }
    let twice = Case {
        description: "keymaker_id_resolver_account=210987654321 keymaker_id_resolver_iam_role=p/Resolver \
                      keymaker_id_resolver_iam_role=x=y",
        ..elsewhere
    };
    assert!(world.ask(twice, None).await.is_ok());
    // Nor does a description open another account where the directory's users live in this one.
    let here = Case {
        elsewhere: false,
        ..elsewhere
    };
    assert!(world.ask(here, None).await.is_ok());
    let asked = world.state.lock().unwrap().askers.clone();
    assert!(asked.iter().all(|(_, asker)| asker == "AKIAX"), "{asked:?}");
}

// P18
#[tokio::test]
async fn the_id_resolver_that_keymakerd_goes_by_stays_while_a_changed_description_waits() {
    let world = World::new().await;
    let case = Case {
        method: Method::RestrictedInstanceRole,
        untrusting: false,
        compress: true,
        of_directory: true,
        description: RESOLVER,
        elsewhere: true,
    };
    let clock = Moved::default();
    let patience = Patience {
        attempt: Duration::from_secs(20),
        total: Duration::from_secs(20),
        ..Patience::NUDGE
    };
    let chain = world.chain_by(Rc::new(clock.clone()), &Config::default(), patience);
    let mut alice = local("alice");
    alice.iam = Some(case.known());
    let asked = CredentialQuestion {
        chain: vec![case.method],
        ..question(1000, alice.clone())
    };
    world.begin(None);
    world.state.lock().unwrap().description = RESOLVER;
    assert!(chain.issue(&asked).await.is_ok());
    world.begin(None);
    world.state.lock().unwrap().description =
        "keymaker_id_resolver_account=210987654321 keymaker_id_resolver_iam_role=p/Another-Resolver";
    clock.pass(Duration::from_secs(60));
    assert!(chain.issue(&asked).await.is_ok());
    assert!(
        !world
            .state
            .lock()
            .unwrap()
            .sessions
            .iter()
            .any(|session| session.contains("Another-Resolver"))
    );
    // Accepted, keymakerd's directory says so.
    let accepted = IdResolver::new("210987654321", "p/Another-Resolver").unwrap();
    let asked = CredentialQuestion {
        chain: vec![case.method],
        ..question(
            1000,
            Person {
                iam: Some(IamIdentity {
                    id_resolver: id_resolver_digest(&accepted),
                    ..case.known()
                }),
                ..alice
            },
        )
    };
    assert!(chain.issue(&asked).await.is_ok());
    assert!(
        world
            .state
            .lock()
            .unwrap()
            .sessions
            .iter()
            .any(|session| session.contains("Another-Resolver"))
    );
}
