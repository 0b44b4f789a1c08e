//! What keys of credd.toml change in what AWS is asked. tests/settings.md names a test for each key.

use std::rc::Rc;

use credd_core::config::{Config, Method};
use keymaker_aws::Patience;

use super::world::World;
use super::world::canned::{Canned, Reply};
use super::world::canned_tls::{ANOTHER_AUTHORITY, AUTHORITY, Bundle, in_front_of};
use super::{local, question};
use crate::clock::{Clock, HostClock};
use crate::credentials::{CredentialQuestion, Issue};
use crate::daemon;

fn config(text: &str) -> Config {
    Config::parse(text, "credd.toml".as_ref()).unwrap()
}

fn by(method: Method) -> CredentialQuestion {
    CredentialQuestion {
        chain: vec![method],
        ..question(1000, local("alice"))
    }
}

/// All that AWS is asked for alice: the calls, then the text of each `AssumeRole`.
async fn asked(text: &str, method: Method) -> String {
    let world = World::new().await;
    let _ = world.chain(&config(text), Patience::NUDGE).issue(&by(method)).await;
    let sessions = world.state.lock().unwrap().sessions.clone();
    [world.steps(), sessions].concat().join("\n")
}

// P18
#[tokio::test]
async fn roles_users_policies_and_tags_are_those_that_the_file_names() {
    use Method::{InstanceRole, RestrictedInstanceRole, SharedRole, UserRole};
    for (line, method, expected) in [
        ("role_name_pattern = \"box-{username}\"", UserRole, "role%2Fbox-alice"),
        ("role_path = \"/people/\"", UserRole, "role%2Fpeople%2Fuser-alice"),
        ("user_role_tag = true", UserRole, "GetRole user-alice"),
        ("session_tags = true", UserRole, "Tags.member.1"),
        (
            "iam_name_pattern = \"corp.{username}\"",
            RestrictedInstanceRole,
            "GetUser corp.alice",
        ),
        (
            "compress_user_policy = true",
            RestrictedInstanceRole,
            "ListRolePolicies own",
        ),
        (
            "deny_actions = [\"sqs:DeleteQueue\"]",
            InstanceRole,
            "sqs%3ADeleteQueue",
        ),
        (
            "shared_role = \"arn:aws:iam::123456789012:role/everybody\"",
            SharedRole,
            "role%2Feverybody",
        ),
    ] {
        let (with, without) = (asked(line, method).await, asked("", method).await);
        assert!(with.contains(expected), "{line}: {with}");
        assert!(!without.contains(expected), "{line}: {without}");
    }
}

#[tokio::test]
async fn aws_is_asked_where_and_through_what_the_file_says() {
    let [metadata, sts, iam] = [World::new().await, World::new().await, World::new().await];
    let here = format!("region = \"eu-north-1\"\nmetadata_endpoint = \"{}\"\n", metadata.url);
    let clock: Rc<dyn Clock> = Rc::new(HostClock);
    let ask = async |text: String| {
        daemon::chain(&config(&text), &clock, Default::default())
            .unwrap()
            .issue(&by(Method::UserRole))
            .await
    };
    let endpoints = format!("sts_endpoint = \"{}\"\niam_endpoint = \"{}\"\n", sts.url, iam.url);
    assert!(ask(format!("{here}{endpoints}user_role_tag = true\n")).await.is_ok());
    assert!(metadata.steps().is_empty());
    assert!(!sts.steps().is_empty() && sts.steps().iter().all(|step| !step.contains("GetRole")));
    assert!(!iam.steps().is_empty() && iam.steps().iter().all(|step| !step.contains("AssumeRole")));
    let proxy = Canned::serve(|_| Reply::Answer(400, String::new())).await;
    let through = ask(format!("{here}https_proxy = \"{}\"\n", proxy.url)).await;
    assert!(through.is_err());
    let connects = |request: &String| request.starts_with("CONNECT sts.eu-north-1.amazonaws.com:443 ");
    assert!(proxy.requests().iter().any(connects), "{:?}", proxy.requests());
    let bundle = daemon::chain(
        &config("ca_bundle = \"/nonexistent/ca.pem\""),
        &clock,
        Default::default(),
    )
    .map(drop);
    assert!(
        bundle
            .unwrap_err()
            .to_string()
            .contains("ca_bundle: /nonexistent/ca.pem")
    );
}

#[tokio::test]
async fn aws_is_whoever_the_authority_that_the_file_names_has_signed_and_nobody_else() {
    let (metadata, aws) = (World::new().await, World::new().await);
    let url = in_front_of(&aws.url).await;
    let here = format!(
        "region = \"eu-north-1\"\nmetadata_endpoint = \"{}\"\niam_endpoint = \"{url}\"\nsts_endpoint = \"{url}\"\nuser_role_tag = true\n",
        metadata.url
    );
    let clock: Rc<dyn Clock> = Rc::new(HostClock);
    let ask = async |text: String| {
        let chain = daemon::chain(&config(&text), &clock, Default::default()).unwrap();
        chain.issue(&by(Method::UserRole)).await.map(|issuance| issuance.method)
    };
    assert!(ask(here.clone()).await.is_err());
    let other = Bundle::new("credd-other", ANOTHER_AUTHORITY);
    assert!(ask(format!("{here}ca_bundle = {:?}\n", other.0)).await.is_err());
    assert!(aws.steps().is_empty(), "{:?}", aws.steps());
    let right = Bundle::new("credd", AUTHORITY);
    assert_eq!(
        ask(format!("{here}ca_bundle = {:?}\n", right.0)).await,
        Ok(Method::UserRole)
    );
    // Both of them, at their URLs.
    let is_asked = |action: &str| aws.steps().iter().any(|step| step.starts_with(action));
    assert!(is_asked("AssumeRole ") && is_asked("GetRole "), "{:?}", aws.steps());
}
