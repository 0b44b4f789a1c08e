//! What `credd --check` tries, and that it finds whatever is missing.

use credd_core::config::{Config, Method};
use keymaker_aws::Patience;

use super::world::{Fault, World};
use crate::credentials::trial::Tried;

/// Every method at once.
fn everything() -> Config {
    Config {
        default_chain: vec![
            Method::UserRole,
            Method::CreateUserRole,
            Method::RestrictedInstanceRole,
            Method::InstanceRole,
            Method::SharedRole,
        ],
        shared_role: Some("arn:aws:iam::123456789012:role/everybody".into()),
        compress_user_policy: true,
        ..Config::default()
    }
}

async fn try_out(world: &World, config: &Config, fault: Option<(String, Fault)>) -> Vec<Tried> {
    world.begin(fault);
    world.chain(config, Patience::NUDGE).try_out(config).await
}

#[tokio::test]
async fn a_check_finds_each_call_that_is_denied_and_says_what_to_do() {
    let world = World::new().await;
    let config = everything();
    let good = try_out(&world, &config, None).await;
    assert!(good.iter().all(|tried| tried.missing.is_none()));
    let steps = world.steps();
    assert!(steps.len() >= 16, "{steps:?}");
    for step in steps {
        let denied = Some((step.clone(), Fault::Error(403, "AccessDenied")));
        let tried = try_out(&world, &config, denied).await;
        let missing: Vec<&Tried> = tried.iter().filter(|tried| tried.missing.is_some()).collect();
        assert!(!missing.is_empty(), "{step}");
        let action = step.split(' ').next().unwrap();
        let named = |tried: &&Tried| {
            let missing = tried.missing.as_ref().unwrap();
            missing.why.contains(action) && !missing.remedy.is_empty()
        };
        assert!(missing.iter().all(named), "{step}");
    }
}

#[tokio::test]
async fn a_check_tries_only_what_chains_need_and_gives_out_nothing() {
    let world = World::new().await;
    try_out(&world, &Config::default(), None).await;
    assert_eq!(
        world.steps(),
        [
            "GetCallerIdentity  ",
            "GetRole own ",
            "GetRole user-keymaker-check-nobody "
        ]
    );
    try_out(&world, &everything(), None).await;
    let sessions = world.state.lock().unwrap().sessions.clone();
    assert_eq!(sessions.len(), 3);
    assert!(
        sessions
            .iter()
            .all(|session| session.contains("%22Effect%22%3A%22Deny%22")),
        "{sessions:?}"
    );
}
