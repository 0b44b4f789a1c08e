//! A role that is replaced, detached, revoked, while clients call; against a canned metadata service and IAM.

use super::*;
use crate::canned::{Canned, Reply};
use crate::{AwsClients, AwsSettings, Patience, Route};

/// What the metadata service says, and what IAM answers.
#[derive(Clone)]
struct Host {
    role: &'static str,
    key: &'static str,
    /// An error's code; empty: none.
    iam: &'static str,
}

struct Stage {
    host: Arc<Mutex<Host>>,
    server: Canned,
    clients: AwsClients,
}

impl Stage {
    /// Clients that have called once, as the role `web`.
    async fn new() -> Self {
        let host = Arc::new(Mutex::new(Host {
            role: "web",
            key: "ASIA1",
            iam: "",
        }));
        let answering = Arc::clone(&host);
        let server = Canned::serve(move |request| answer(&answering.lock().unwrap(), request)).await;
        let settings = AwsSettings {
            region: Some("eu-central-1".into()),
            iam_endpoint: Some(server.url.clone()),
            metadata_endpoint: Some(server.url.clone()),
            ..AwsSettings::default()
        };
        let clients = Route::new(&settings).unwrap().as_instance_role().await.unwrap();
        let stage = Self { host, server, clients };
        stage.call().await;
        assert_eq!(stage.replaced(Ask::Now).await, None);
        stage
    }

    fn set(&self, change: impl FnOnce(&mut Host)) {
        change(&mut self.host.lock().unwrap());
    }

    async fn call(&self) {
        // Whatever comes of it.
        let _ = self.clients.iam(Patience::SYNC).get_user().user_name("a").send().await;
    }

    async fn replaced(&self, ask: Ask) -> Option<Replaced> {
        self.clients.replaced(ask).await.unwrap()
    }

    /// How often the metadata service was asked for a token, which begins each question.
    fn questions(&self) -> usize {
        let requests = self.server.requests();
        requests.iter().filter(|request| request.starts_with("PUT ")).count()
    }
}

fn answer(host: &Host, request: &str) -> Reply {
    let path = request.split(' ').nth(1).unwrap();
    match path.strip_prefix("/latest/meta-data/iam/security-credentials/") {
        _ if request.starts_with("PUT ") => Reply::Answer(200, "tok".into()),
        Some("") if host.role.is_empty() => Reply::Answer(404, String::new()),
        Some("") if host.role == "broken" => Reply::Answer(500, String::new()),
        Some("") => Reply::Answer(200, host.role.into()),
        Some(_) => {
            let key = host.key;
            Reply::Answer(
                200,
                format!(
                    r#"{{"Code":"Success","AccessKeyId":"{key}","SecretAccessKey":"s","Token":"t","Expiration":"2999-01-01T00:00:00Z"}}"#
                ),
            )
        }
        None if host.iam.is_empty() => Reply::Answer(404, String::new()),
        None => {
            let code = host.iam;
            Reply::Answer(
                403,
                format!("<ErrorResponse><Error><Code>{code}</Code></Error></ErrorResponse>"),
            )
        }
    }
}

async fn pass(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}

fn by_role(present: Option<&str>) -> Option<Replaced> {
    Some(Replaced::ByRole {
        former: "web".into(),
        present: present.map(str::to_owned),
    })
}

// P18
#[tokio::test]
async fn a_replaced_or_detached_role_is_noticed_within_a_minute() {
    for (role, present) in [("other", Some("other")), ("", None)] {
        let stage = Stage::new().await;
        stage.set(|host| host.role = role);
        assert_eq!(stage.replaced(Ask::IfDue).await, None, "asked a moment ago");
        let asked = stage.questions();
        assert_eq!(stage.replaced(Ask::Now).await, by_role(present));
        assert_eq!(stage.questions(), asked + 1);
        let stage = Stage::new().await;
        stage.set(|host| host.role = role);
        pass(EACH).await;
        assert_eq!(stage.replaced(Ask::IfDue).await, by_role(present));
    }
}

// P3
#[tokio::test]
async fn a_metadata_service_that_fails_replaces_no_role_and_is_not_asked_again_at_once() {
    let stage = Stage::new().await;
    stage.set(|host| host.role = "broken");
    pass(EACH).await;
    assert!(stage.clients.replaced(Ask::IfDue).await.is_err());
    let asked = stage.questions();
    assert_eq!(stage.replaced(Ask::IfDue).await, None);
    assert_eq!(stage.questions(), asked);
}

// P18
#[tokio::test]
async fn one_set_of_clients_never_gets_another_roles_credentials() {
    let (metadata, host) = {
        let stage = Stage::new().await;
        (stage.clients.instance_role.clone().unwrap(), stage)
    };
    host.set(|host| host.role = "other");
    let error = metadata.fetch().await.unwrap_err();
    let why = std::error::Error::source(&error).unwrap().to_string();
    assert!(why.contains("now has the role other, and no longer web"), "{why}");
    assert_eq!(
        host.replaced(Ask::IfDue).await,
        by_role(Some("other")),
        "what was noticed is due at once"
    );
}

#[tokio::test]
async fn a_refusal_drops_nothing_while_the_metadata_service_has_the_same_role_and_key() {
    let stage = Stage::new().await;
    for code in ["AccessDenied", "ExpiredToken", "InvalidClientTokenId"] {
        stage.set(|host| host.iam = code);
        pass(EACH).await;
        stage.call().await;
        assert_eq!(stage.replaced(Ask::IfDue).await, None, "{code}");
    }
}

// P18
#[tokio::test]
async fn a_refusal_drops_a_replaced_session_at_most_once_a_minute() {
    for code in [
        "AccessDenied",
        "ExpiredToken",
        "ExpiredTokenException",
        "InvalidClientTokenId",
    ] {
        let stage = Stage::new().await;
        stage.set(|host| host.iam = code);
        stage.call().await;
        assert_eq!(stage.replaced(Ask::IfDue).await, None, "{code}: the key is the same");
        stage.set(|host| host.key = "ASIA2");
        stage.call().await;
        let asked = stage.questions();
        for _ in 0..5 {
            stage.call().await;
            assert_eq!(stage.replaced(Ask::IfDue).await, None, "{code}: asked a moment ago");
        }
        assert_eq!(stage.questions(), asked);
        pass(EACH).await;
        let replaced = Replaced::BySession { role: "web".into() };
        assert_eq!(stage.replaced(Ask::IfDue).await, Some(replaced), "{code}");
    }
}

#[tokio::test]
async fn new_keys_of_the_same_role_are_nobodys_loss_while_aws_refuses_nothing() {
    let stage = Stage::new().await;
    stage.set(|host| host.key = "ASIA2");
    stage.call().await;
    pass(EACH).await;
    assert_eq!(stage.replaced(Ask::IfDue).await, None);
    assert_eq!(stage.replaced(Ask::Now).await, None);
}

#[tokio::test]
async fn clients_that_have_not_called_yet_have_nothing_to_lose() {
    let stage = Stage::new().await;
    stage.set(|host| host.role = "other");
    let fresh = stage.clients.route.as_instance_role().await.unwrap();
    assert_eq!(fresh.replaced(Ask::Now).await.unwrap(), None);
}
