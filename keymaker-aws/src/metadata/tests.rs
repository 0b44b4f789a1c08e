//! The metadata service, against a canned server on loopback.

use super::*;
use crate::canned::{Canned, Reply};

const GOOD: &str = r#"{"Code":"Success","Type":"AWS-HMAC","LastUpdated":"2026-11-21T12:00:00Z","AccessKeyId":"ASIAX",
    "SecretAccessKey":"the-secret","Token":"the-session-token","Expiration":"2999-01-01T00:00:00Z"}"#;

fn asking(url: &str) -> MetadataService {
    let settings = AwsSettings {
        metadata_endpoint: Some(url.to_owned()),
        ..AwsSettings::default()
    };
    MetadataService {
        connect_within: Duration::from_millis(200),
        answer_within: Duration::from_millis(200),
        ..MetadataService::new(&settings, &OwnPorts::default()).unwrap()
    }
}

/// A service with one role, its list and document as given.
async fn serving(list: &'static str, document: &'static str) -> Canned {
    let answer = move |request: &str| {
        let line = request.lines().next().unwrap();
        if line.starts_with("PUT /latest/api/token ") {
            return Reply::Answer(200, "tok==".into());
        }
        if !request.contains("\nx-aws-ec2-metadata-token: tok==\r") {
            return Reply::Answer(401, String::new());
        }
        match line {
            "GET /latest/meta-data/iam/security-credentials/ HTTP/1.1" => Reply::Answer(200, list.into()),
            "GET /latest/meta-data/iam/security-credentials/web HTTP/1.1" => Reply::Answer(200, document.into()),
            "GET /latest/meta-data/placement/region HTTP/1.1" => Reply::Answer(200, "eu-central-1".into()),
            "GET /latest/dynamic/instance-identity/document HTTP/1.1" => Reply::Answer(200, document.into()),
            _ => Reply::Answer(404, String::new()),
        }
    };
    Canned::serve(answer).await
}

#[tokio::test]
async fn credentials_come_by_token_role_name_and_document() {
    let server = serving("web", GOOD).await;
    let (_, credentials) = asking(&server.url).role_credentials(SystemTime::now()).await.unwrap();
    assert_eq!(credentials.access_key_id(), "ASIAX");
    assert_eq!(credentials.secret_access_key(), "the-secret");
    assert_eq!(credentials.session_token(), Some("the-session-token"));
    assert!(credentials.expiry().is_some());
    assert_eq!(server.requests().len(), 3);
    assert!(server.requests()[0].contains("\nx-aws-ec2-metadata-token-ttl-seconds: 60\r"));
}

#[tokio::test]
async fn a_role_name_that_ends_with_a_newline_is_read_without_it() {
    let server = serving("web\n", GOOD).await;
    assert!(asking(&server.url).role_credentials(SystemTime::now()).await.is_ok());
}

#[tokio::test]
async fn a_role_name_that_is_none_is_asked_for_nowhere() {
    for name in ["../../user-data", "web x", "web?x", "web/../x", "\u{e9}"] {
        let server = serving(name, GOOD).await;
        let error = asking(&server.url)
            .role_credentials(SystemTime::now())
            .await
            .unwrap_err();
        assert!(matches!(error, MetadataError::Unreadable(_)), "{name}: {error}");
        assert_eq!(server.requests().len(), 2);
    }
}

#[tokio::test]
async fn no_role_no_right_and_no_sense_are_told_apart() {
    let ask = async |list, document| {
        asking(&serving(list, document).await.url)
            .role_credentials(SystemTime::now())
            .await
            .unwrap_err()
    };
    assert_eq!(ask("", GOOD).await, MetadataError::NoRole);
    let refused = r#"{"Code":"AssumeRoleUnauthorizedAccess","Message":"x","LastUpdated":"x"}"#;
    assert_eq!(
        ask("web", refused).await,
        MetadataError::RoleRefused("AssumeRoleUnauthorizedAccess".into())
    );
    assert!(matches!(ask("web", "{}").await, MetadataError::Unreadable(_)));
    let (unknown, forbidden) = (
        Canned::serve(|_| Reply::Answer(404, String::new())),
        Canned::serve(|_| Reply::Answer(403, String::new())),
    );
    let error = asking(&unknown.await.url).region().await.unwrap_err();
    assert_eq!(error, MetadataError::Status(StatusCode::NOT_FOUND));
    let error = asking(&forbidden.await.url).region().await.unwrap_err();
    assert_eq!(error, MetadataError::Status(StatusCode::FORBIDDEN));
}

#[tokio::test]
async fn expired_credentials_are_an_error_and_not_used() {
    let server = serving("web", GOOD).await;
    let year_3000 = SystemTime::UNIX_EPOCH + Duration::from_secs(32_503_680_000);
    assert_eq!(
        asking(&server.url).role_credentials(year_3000).await.unwrap_err(),
        MetadataError::Expired
    );
}

// P5
#[tokio::test]
async fn a_metadata_service_that_hangs_costs_no_more_than_its_deadline() {
    let silent = Canned::serve(|_| Reply::Hang).await;
    assert_eq!(asking(&silent.url).region().await.unwrap_err(), MetadataError::Timeout);
    let stalling = Canned::serve(|_| Reply::Stall("to".into())).await;
    assert_eq!(
        asking(&stalling.url).region().await.unwrap_err(),
        MetadataError::Timeout
    );
}

#[tokio::test]
async fn an_answer_without_end_is_refused() {
    let server = Canned::serve(|_| Reply::Answer(200, "x".repeat(LARGEST_ANSWER + 1))).await;
    assert!(matches!(
        asking(&server.url).region().await.unwrap_err(),
        MetadataError::Unreadable(_)
    ));
}

#[tokio::test]
async fn the_second_address_answers_where_the_first_does_not_and_is_remembered() {
    let server = serving("web", GOOD).await;
    let mut service = asking(&server.url);
    let closed = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    service.addresses.insert(0, (closed.ip().to_string(), closed.port()));
    assert_eq!(service.region().await.unwrap(), "eu-central-1");
    assert_eq!(service.answering.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn the_identity_document_names_instance_account_and_region() {
    let document =
        r#"{"instanceId":"i-0abc","accountId":"123456789012","region":"eu-central-1","version":"2017-09-30"}"#;
    let identity = asking(&serving("web", document).await.url)
        .instance_identity()
        .await
        .unwrap();
    assert_eq!(
        (identity.instance_id.as_str(), identity.account.as_str()),
        ("i-0abc", "123456789012")
    );
    let rubbish = r#"{"instanceId":"i-../x","accountId":"123456789012","region":"eu-central-1"}"#;
    assert!(
        asking(&serving("web", rubbish).await.url)
            .instance_identity()
            .await
            .is_err()
    );
}

// P19
#[tokio::test]
async fn debug_shows_no_secret() {
    let server = serving("web", GOOD).await;
    let (_, credentials) = asking(&server.url).role_credentials(SystemTime::now()).await.unwrap();
    let shown = format!("{credentials:?}");
    assert!(
        !shown.contains("the-secret") && !shown.contains("the-session-token"),
        "{shown}"
    );
}
