//! Whose role it is: what is given out where a name, a path, a tag, a boundary or a trust policy is not what sync-roles
//! left there.

use std::rc::Rc;

use credd_core::config::{Config, Method};
use keymaker_aws::Patience;

use super::world::World;
use super::{local, question};
use crate::clock::{Clock, HostClock};
use crate::credentials::{CredentialQuestion, CredentialRefusal, IamIdentity, Issue};
use crate::daemon;

const ROLE: &str = "GetRole user-alice ";
const USER: &str = "GetUser alice ";

/// What alice gets by this method, where AWS's answers are changed so: at a step, a text into another.
async fn issued(
    world: &World,
    method: Method,
    tag: bool,
    of_directory: bool,
    edits: &[(&'static str, &'static str, &'static str)],
) -> Result<Method, CredentialRefusal> {
    world.begin(None);
    world.state.lock().unwrap().edits = edits.to_vec();
    let config = Config {
        user_role_tag: tag,
        ..Config::default()
    };
    let mut alice = local("alice");
    alice.iam = of_directory.then(|| IamIdentity {
        account: "123456789012".into(),
        id_resolver: [0; 32],
        user_id: "AIDA".into(),
        user_name: "alice".into(),
    });
    let asked = CredentialQuestion {
        chain: vec![method, Method::InstanceRole],
        ..question(1000, alice)
    };
    let issued = world.chain(&config, Patience::NUDGE).issue(&asked).await;
    let sessions = world.state.lock().unwrap().sessions.len();
    assert_eq!(sessions, usize::from(issued.is_ok()), "{edits:?}");
    issued.map(|issuance| issuance.method)
}

fn denied(answer: &Result<Method, CredentialRefusal>, why: &str) -> bool {
    matches!(answer, Err(CredentialRefusal::Denied(reason)) if reason.text.contains(why))
}

// P2
#[tokio::test]
async fn a_role_made_for_a_person_is_given_to_nobody_else_of_that_name() {
    let world = World::new().await;
    let tag = "<Key>keymaker:user-id</Key><Value>AIDA</Value>";
    let tagged_otherwise = [
        // Deleted and created again, or renamed: the role is the former one's.
        (
            (ROLE, tag, "<Key>keymaker:user-id</Key><Value>AIDAFORMER</Value>"),
            "AIDAFORMER",
        ),
        (
            (ROLE, tag, "<Key>keymaker:user-id</Key><Value></Value>"),
            "was made for",
        ),
        (
            (ROLE, tag, "<Key>Keymaker:user-id</Key><Value>AIDA</Value>"),
            "has no tag",
        ),
        ((ROLE, tag, "<Key>other</Key><Value>AIDA</Value>"), "has no tag"),
    ];
    for (method, demanded) in [(Method::CreateUserRole, false), (Method::UserRole, true)] {
        for of_directory in [true, false] {
            let good = issued(&world, method, demanded, of_directory, &[]).await;
            assert_eq!(good, Ok(method), "{of_directory}");
            for (edit, why) in tagged_otherwise {
                let answer = issued(&world, method, demanded, of_directory, &[edit]).await;
                assert!(
                    denied(&answer, why) && denied(&answer, "sync-roles"),
                    "{method} {edit:?}: {answer:?}"
                );
            }
        }
        // The user is another one now, and the role still the former one's.
        let made_again = (USER, "<UserId>AIDA</UserId>", "<UserId>AIDANEW</UserId>");
        let answer = issued(&world, method, demanded, false, &[made_again]).await;
        assert!(denied(&answer, "AIDANEW"), "{method}: {answer:?}");
    }
    // A role by name is the name's, as credd.toml(5) says.
    for (edit, _) in tagged_otherwise {
        let answer = issued(&world, Method::UserRole, false, true, &[edit]).await;
        assert_eq!(answer, Ok(Method::UserRole), "{edit:?}");
    }
}

// P2
#[tokio::test]
async fn a_role_that_was_made_again_after_it_was_looked_at_is_given_to_nobody() {
    let world = World::new().await;
    let step = "AssumeRole arn%3Aaws%3Aiam%3A%3A123456789012%3Arole%2Fuser-alice ";
    let whole = "<AssumedRoleUser><AssumedRoleId>AROA:alice</AssumedRoleId><Arn>arn:aws:sts::123456789012:assumed-role/r/alice</Arn>\
                 </AssumedRoleUser>";
    for edit in [
        (step, "AROA:alice", "AROANEW:alice"),
        (step, "AROA:alice", "AROAlice"),
        (step, "AROA:alice", ""),
        (step, whole, ""),
    ] {
        for (method, tag) in [(Method::CreateUserRole, false), (Method::UserRole, true)] {
            let answer = made_again(&world, method, tag, edit).await;
            // The next question is about the role that there is then.
            assert!(
                matches!(&answer, Err(CredentialRefusal::Transient(reason)) if reason.text.contains("looked at is AROA")),
                "{method} {edit:?}: {answer:?}"
            );
        }
        // By its name alone it is whoever's has the name.
        assert_eq!(
            made_again(&world, Method::UserRole, false, edit).await,
            Ok(Method::UserRole)
        );
    }
}

/// What alice gets by this method where `AssumeRole` answers so.
async fn made_again(
    world: &World,
    method: Method,
    tag: bool,
    edit: (&'static str, &'static str, &'static str),
) -> Result<Method, CredentialRefusal> {
    world.begin(None);
    world.state.lock().unwrap().edits = vec![edit];
    let config = Config {
        user_role_tag: tag,
        ..Config::default()
    };
    let asked = CredentialQuestion {
        chain: vec![method, Method::InstanceRole],
        ..question(1000, local("alice"))
    };
    let issued = world.chain(&config, Patience::NUDGE).issue(&asked).await;
    issued.map(|issuance| issuance.method)
}

// P18
#[tokio::test]
async fn a_role_that_is_not_as_sync_roles_left_it_is_refused() {
    const USERS: &str = "<CreateDate>2020-01-01T00:00:00Z</CreateDate><PermissionsBoundary><PermissionsBoundaryArn>arn:aws:iam::123456789012:policy/b</PermissionsBoundaryArn></PermissionsBoundary>";
    const OTHERS: &str = "<CreateDate>2020-01-01T00:00:00Z</CreateDate><PermissionsBoundary><PermissionsBoundaryArn>arn:aws:iam::123456789012:policy/c</PermissionsBoundaryArn></PermissionsBoundary>";
    let world = World::new().await;
    let arn = "role/user-alice</Arn>";
    let boundary = |of: &'static str| (of, "<CreateDate>2020-01-01T00:00:00Z</CreateDate>");
    let set = |of: (&'static str, &'static str), to| (of.0, of.1, to);
    let method = Method::CreateUserRole;
    for (edits, why) in [
        (vec![(ROLE, arn, "role/p/user-alice</Arn>")], "see role_path"),
        (vec![set(boundary(USER), USERS)], "lacks the permissions boundary"),
        (
            vec![set(boundary(USER), USERS), set(boundary(ROLE), OTHERS)],
            "lacks the permissions boundary",
        ),
        (vec![(ROLE, "role%2Fp%2Fown", "role%2Fp%2Fother")], "and nobody else"),
        (
            vec![(USER, "<UserId>AIDA</UserId>", "<UserId>AIDANEW</UserId>")],
            "the directory's is AIDA",
        ),
    ] {
        let answer = issued(&world, method, false, true, &edits).await;
        assert!(denied(&answer, why), "{edits:?}: {answer:?}");
    }
    for edits in [
        vec![set(boundary(USER), USERS), set(boundary(ROLE), USERS)],
        // A boundary of the role's own only narrows.
        vec![set(boundary(ROLE), OTHERS)],
    ] {
        let answer = issued(&world, method, false, true, &edits).await;
        assert_eq!(answer, Ok(method), "{edits:?}");
    }
    // Under another path there may be a role that is somebody else's.
    let other = [(ROLE, arn, "role/p/user-alice</Arn>")];
    let answer = issued(&world, Method::UserRole, true, true, &other).await;
    assert!(denied(&answer, "see role_path"), "{answer:?}");
    // STS does not say why it refuses; IAM shows that the role is there, and where.
    for (edits, why) in [(&other[..], "see role_path"), (&[], "AssumeRole was denied")] {
        world.begin(None);
        {
            let mut state = world.state.lock().unwrap();
            (state.untrusting, state.edits) = (true, edits.to_vec());
        }
        let asked = CredentialQuestion {
            chain: vec![Method::UserRole, Method::InstanceRole],
            ..question(1000, local("alice"))
        };
        let answer = world.chain(&Config::default(), Patience::NUDGE).issue(&asked).await;
        let answer = answer.map(|issuance| issuance.method);
        assert!(denied(&answer, why), "{answer:?}");
    }
}

// P18
#[tokio::test]
async fn users_of_the_account_that_credd_toml_names_are_read_there_by_every_method() {
    let world = World::new().await;
    let url = &world.url;
    let config = format!(
        "region = \"eu-central-1\"\nmetadata_endpoint = \"{url}\"\nsts_endpoint = \"{url}\"\niam_endpoint = \"{url}\"\n\
         user_role_tag = true\nid_resolver_account = \"210987654321\"\nid_resolver_iam_role = \"p/Resolver\"\n"
    );
    let config = Config::parse(&config, "credd.toml".as_ref()).unwrap();
    let clock: Rc<dyn Clock> = Rc::new(HostClock);
    for method in [Method::RestrictedInstanceRole, Method::CreateUserRole, Method::UserRole] {
        world.begin(None);
        // As the daemon makes it.
        let chain = daemon::chain(&config, &clock, Default::default()).unwrap();
        let asked = CredentialQuestion {
            chain: vec![method],
            ..question(1000, local("alice"))
        };
        assert_eq!(chain.issue(&asked).await.map(|issuance| issuance.method), Ok(method));
        let askers = world.state.lock().unwrap().askers.clone();
        let about_users = askers.iter().filter(|(step, _)| step.contains("User"));
        let about_users: Vec<_> = about_users.filter(|(step, _)| !step.contains("Role")).collect();
        assert!(!about_users.is_empty(), "{method}: {askers:?}");
        assert!(
            about_users.iter().all(|(_, asker)| asker == "ASIARESOLVER"),
            "{method}: {askers:?}"
        );
        let resolver = "AssumeRole arn%3Aaws%3Aiam%3A%3A210987654321%3Arole%2Fp%2FResolver ";
        assert!(askers.iter().any(|(step, _)| step == resolver), "{method}: {askers:?}");
    }
}

// P18
#[tokio::test]
async fn a_session_of_the_shared_role_keeps_its_tags_whatever_role_it_assumes_next() {
    let world = World::new().await;
    // Anybody who shares a role is told from the others by the tags alone: they are not optional there.
    for (method, session_tags, for_ever) in [
        (Method::SharedRole, true, true),
        (Method::SharedRole, false, true),
        (Method::UserRole, true, false),
    ] {
        let config = Config {
            shared_role: Some("arn:aws:iam::123456789012:role/everybody".into()),
            session_tags,
            ..Config::default()
        };
        world.begin(None);
        let asked = CredentialQuestion {
            chain: vec![method],
            ..question(1000, local("alice"))
        };
        assert!(world.chain(&config, Patience::NUDGE).issue(&asked).await.is_ok());
        let sessions = world.state.lock().unwrap().sessions.clone();
        let session = sessions.last().unwrap();
        let fields = |start: &'static str, end: &'static str| {
            let fields = session.split('&').filter_map(|field| field.split_once('='));
            let named = fields.filter(move |(name, _)| name.starts_with(start) && name.ends_with(end));
            named.map(|(_, value)| value.to_owned()).collect::<Vec<_>>()
        };
        let tags = fields("Tags.member.", ".Key");
        assert!(
            tags.contains(&"keymaker-user".to_owned()) && session.contains("SourceIdentity=alice"),
            "{session}"
        );
        let expected = if for_ever { tags } else { vec![] };
        assert_eq!(fields("TransitiveTagKeys.member.", ""), expected, "{session}");
    }
}

#[tokio::test]
async fn a_check_says_whom_the_trust_policy_of_the_shared_role_allows() {
    let world = World::new().await;
    let config = Config {
        default_chain: vec![Method::SharedRole],
        shared_role: Some("arn:aws:iam::123456789012:role/everybody".into()),
        ..Config::default()
    };
    let role = "GetRole everybody ";
    for (edits, said) in [
        (vec![], None),
        (vec![(role, "role%2Fp%2Fown", "root")], Some("the whole account")),
        (
            vec![(role, "role%2Fp%2Fown", "role%2Fother")],
            Some("others than this host's role"),
        ),
    ] {
        world.begin(None);
        world.state.lock().unwrap().edits = edits;
        let tried = world.chain(&config, Patience::NUDGE).try_out(&config).await;
        let missing: Vec<_> = tried.iter().filter_map(|tried| tried.missing.as_ref()).collect();
        assert_eq!(missing.len(), usize::from(said.is_some()));
        assert!(said.is_none_or(|said| missing.iter().all(|missing| missing.why.contains(said))));
    }
}

// P18
#[tokio::test]
async fn a_listing_of_several_pages_is_read_to_its_end() {
    let world = World::new().await;
    let more = (
        "ListUserPolicies alice ",
        "<IsTruncated>false</IsTruncated><PolicyNames><member>inline</member></PolicyNames>",
        "<IsTruncated>true</IsTruncated><Marker>next</Marker><PolicyNames><member>inline</member></PolicyNames>",
    );
    let last = (
        "ListUserPolicies alice next",
        "<member>inline</member>",
        "<member>second</member>",
    );
    let answer = issued(&world, Method::RestrictedInstanceRole, false, true, &[more, last]).await;
    assert_eq!(answer, Ok(Method::RestrictedInstanceRole));
    let steps = world.steps();
    for read in ["GetUserPolicy alice inline", "GetUserPolicy alice second"] {
        assert!(steps.iter().any(|step| step == read), "{read}: {steps:?}");
    }
}

// P18
#[tokio::test]
async fn no_name_of_a_user_leads_to_the_hosts_own_role_or_to_the_shared_one() {
    let world = World::new().await;
    world.begin(None);
    for name in ["own", "shared"] {
        for method in [Method::UserRole, Method::CreateUserRole] {
            let config = Config {
                role_name_pattern: name.into(),
                shared_role: Some("arn:aws:iam::123456789012:role/shared".into()),
                ..Config::default()
            };
            let asked = CredentialQuestion {
                chain: vec![method, Method::InstanceRole],
                ..question(1000, local("alice"))
            };
            let issued = world.chain(&config, Patience::NUDGE).issue(&asked).await;
            let answer = issued.map(|issuance| issuance.method);
            assert!(denied(&answer, "no user's"), "{name} {method}: {answer:?}");
        }
    }
    assert!(world.state.lock().unwrap().sessions.is_empty());
}
