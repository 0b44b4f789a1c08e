//! Errors, deadlines, the one connection and roles of other accounts, against a canned server.

use super::*;
use crate::aws_calls::AnswerCount;
use crate::call_error::{Action, OutageCause};
use crate::canned::{Canned, Reply};
use aws_credential_types::Credentials;

const USER: &str = "<GetUserResponse><GetUserResult><User><Path>/</Path><UserName>alice</UserName><UserId>AIDA1</UserId>\
    <Arn>arn:aws:iam::123456789012:user/alice</Arn><CreateDate>2020-01-01T00:00:00Z</CreateDate></User></GetUserResult>\
    </GetUserResponse>";
const IDENTITY: &str = "<GetCallerIdentityResponse><GetCallerIdentityResult>\
    <Arn>arn:aws:sts::123456789012:assumed-role/web/i-0abc</Arn></GetCallerIdentityResult></GetCallerIdentityResponse>";
/// For silence.
const HASTY: Patience = Patience {
    attempt: Duration::from_millis(150),
    total: Duration::from_millis(200),
    attempts: 2,
    backoff: Duration::from_millis(1),
};

/// For what is answered at once, however busy this machine is.
const TWICE: Patience = Patience {
    attempt: Duration::from_secs(10),
    total: Duration::from_secs(20),
    ..HASTY
};

fn route(url: &str) -> Route {
    let endpoint = Some(url.to_owned());
    let settings = AwsSettings {
        region: Some("eu-central-1".into()),
        iam_endpoint: endpoint.clone(),
        sts_endpoint: endpoint.clone(),
        metadata_endpoint: endpoint,
        ..AwsSettings::default()
    };
    Route::new(&settings).unwrap()
}

fn clients(url: &str) -> AwsClients {
    let credentials = Credentials::new("AKIAX", "the-secret", None, None, "test");
    route(url).with_credentials("eu-central-1".into(), credentials)
}

async fn ask_for_alice(clients: &AwsClients, patience: Patience) -> Result<(), AwsCallError> {
    let answer = clients.iam(patience).get_user().user_name("alice").send().await;
    answer
        .map(|_| ())
        .map_err(|error| AwsCallError::from_sdk(Action::GET_USER, error))
}

fn error_document(code: &str) -> String {
    format!(
        "<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>why</Message></Error></ErrorResponse>"
    )
}

#[tokio::test]
async fn calls_to_iam_elsewhere_are_signed_for_the_region_of_iam() {
    let server = Canned::serve(|_| Reply::Answer(200, USER.into())).await;
    for (region, signed) in [
        ("us-east-1", "us-east-1"),
        ("eu-central-1", "us-east-1"),
        ("cn-northwest-1", "cn-north-1"),
        ("us-gov-east-1", "us-gov-west-1"),
    ] {
        let credentials = Credentials::new("AKIAX", "the-secret", None, None, "test");
        let clients = route(&server.url).with_credentials(region.into(), credentials);
        ask_for_alice(&clients, TWICE).await.unwrap();
        let asked = server.requests().pop().unwrap();
        assert!(
            asked.contains(&format!("/{signed}/iam/aws4_request")),
            "{region}: {asked}"
        );
    }
}

async fn outcome(status: u16, body: String) -> AwsCallError {
    let server = Canned::serve(move |_| Reply::Answer(status, body.clone())).await;
    ask_for_alice(&clients(&server.url), TWICE).await.unwrap_err()
}

fn outage(cause: OutageCause) -> AwsCallError {
    AwsCallError::Outage {
        action: Action::GET_USER,
        cause,
    }
}

// P3
#[tokio::test]
async fn every_answer_tells_the_time_at_aws_but_one_out_of_a_cache() {
    let said = Duration::from_secs(1_894_447_800);
    for (headers, counts) in [
        ("date: Sat, 12 Jan 2030 11:30:00 GMT\r\n", true),
        ("date: Sat, 12 Jan 2030 11:30:00 GMT\r\nage: 5\r\n", false),
        ("date: tomorrow\r\n", false),
        ("", false),
    ] {
        let server = Canned::serve(move |_| Reply::With(headers.into(), USER.into())).await;
        let time = AwsTime::new();
        let credentials = Credentials::new("AKIAX", "the-secret", None, None, "test");
        let clients = route(&server.url)
            .telling(time.clone())
            .with_credentials("eu-central-1".into(), credentials);
        ask_for_alice(&clients, Patience::NUDGE).await.unwrap();
        let heard = time.now().abs_diff(said) < Duration::from_secs(600);
        assert_eq!(heard, counts, "{headers}");
    }
}

#[tokio::test]
async fn every_request_is_counted_and_every_answer_by_what_it_says() {
    let mut first = true;
    let server = Canned::serve(move |request| {
        let is_first = std::mem::take(&mut first);
        match request.contains("UserName=alice&") || request.ends_with("UserName=alice") {
            true if is_first => Reply::Answer(400, error_document("Throttling")),
            true => Reply::Answer(200, USER.into()),
            false => Reply::Hang,
        }
    })
    .await;
    let calls = AwsCalls::default();
    let credentials = Credentials::new("AKIAX", "the-secret", None, None, "test");
    let clients = route(&server.url)
        .counting(calls.clone())
        .with_credentials("eu-central-1".into(), credentials);
    ask_for_alice(&clients, TWICE).await.unwrap();
    let unanswered = clients.iam(HASTY).get_user().user_name("bob").send().await;
    unanswered.unwrap_err();
    // Twice for alice, and at least once for bob, who is never answered.
    let requests = calls.requests();
    assert!(
        requests.len() == 1 && requests[0].0 == "iam:GetUser" && requests[0].1 > 2,
        "{requests:?}"
    );
    let answer = |outcome| AnswerCount {
        action: "iam:GetUser".to_owned(),
        outcome,
        count: 1,
    };
    assert_eq!(calls.answers(), [answer("ok"), answer("throttled")]);
}

// P3
#[tokio::test]
async fn only_iams_own_404_is_an_absence() {
    let action = Action::GET_USER;
    assert_eq!(
        outcome(404, error_document("NoSuchEntity")).await,
        AwsCallError::NoSuchEntity { action }
    );
    for (status, body) in [
        (404, String::new()),
        (404, "<html>NoSuchEntity</html>".into()),
        (400, error_document("NoSuchEntity")),
        (200, "<html>welcome to the hotel</html>".into()),
        (200, String::new()),
        (403, error_document("SignatureDoesNotMatch")),
        (403, error_document("ExpiredToken")),
        (500, error_document("NoSuchEntity")),
        (503, "x".into()),
    ] {
        let error = outcome(status, body.clone()).await;
        assert!(matches!(error, AwsCallError::Outage { .. }), "{status} {body}: {error}");
    }
}

#[tokio::test]
async fn denied_throttled_and_failed_are_told_apart() {
    let (action, message) = (Action::GET_USER, "why".to_owned());
    assert_eq!(
        outcome(403, error_document("AccessDenied")).await,
        AwsCallError::AccessDenied { action, message }
    );
    assert_eq!(
        outcome(400, error_document("Throttling")).await,
        AwsCallError::Throttled { action }
    );
    assert_eq!(
        outcome(503, error_document("Throttling")).await,
        AwsCallError::Throttled { action }
    );
    assert_eq!(
        outcome(500, error_document("ServiceFailure")).await,
        outage(OutageCause::ServerError(500))
    );
    let expired = outcome(403, error_document("ExpiredToken")).await;
    assert_eq!(expired, outage(OutageCause::Credentials("ExpiredToken: why".into())));
    let refused = OutageCause::Refused {
        code: "ValidationError".into(),
        message: "why".into(),
    };
    assert_eq!(outcome(400, error_document("ValidationError")).await, outage(refused));
    let closed = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let error = ask_for_alice(&clients(&format!("http://{closed}")), TWICE)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("no connection"), "{error}");
}

// P5
#[tokio::test]
async fn an_endpoint_that_hangs_costs_no_more_than_the_callers_patience() {
    for silence in [|_: &str| Reply::Hang, |_: &str| Reply::Stall("<GetUserResp".into())] {
        let server = Canned::serve(silence).await;
        let begun = std::time::Instant::now();
        let error = ask_for_alice(&clients(&server.url), HASTY).await.unwrap_err();
        assert_eq!(error, outage(OutageCause::Timeout));
        assert!(begun.elapsed() >= HASTY.attempt && begun.elapsed() < TWICE.attempt);
    }
}

// P3
#[tokio::test]
async fn an_answer_that_breaks_off_anywhere_is_no_answer() {
    for cut in (1..USER.len()).step_by(7) {
        let begin = USER.get(..cut).unwrap().to_owned();
        let server = Canned::serve(move |_| Reply::Answer(200, begin.clone())).await;
        let error = ask_for_alice(&clients(&server.url), TWICE).await.unwrap_err();
        assert!(
            matches!(
                error,
                AwsCallError::Outage {
                    cause: OutageCause::Unreadable(_),
                    ..
                }
            ),
            "cut at {cut}: {error:?}"
        );
    }
}

#[tokio::test]
async fn nudges_and_passes_share_one_warm_connection() {
    let server = Canned::serve(|_| Reply::Answer(200, USER.into())).await;
    let clients = clients(&server.url);
    for patience in [Patience::SYNC, Patience::NUDGE, Patience::SYNC] {
        ask_for_alice(&clients, patience).await.unwrap();
    }
    assert_eq!((server.connections(), server.requests().len()), (1, 3));
}

#[tokio::test]
async fn a_throttled_call_is_tried_again() {
    let mut calls = 0;
    let server = Canned::serve(move |_| {
        calls += 1;
        if calls == 1 {
            Reply::Answer(400, error_document("Throttling"))
        } else {
            Reply::Answer(200, USER.into())
        }
    });
    let server = server.await;
    ask_for_alice(&clients(&server.url), Patience::SYNC).await.unwrap();
    assert_eq!(server.requests().len(), 2);
}

#[tokio::test]
async fn without_credentials_a_call_is_an_outage_that_says_so() {
    let server = Canned::serve(|request| match request {
        text if text.starts_with("PUT") => Reply::Answer(200, "tok".into()),
        _ => Reply::Answer(404, String::new()),
    });
    let server = server.await;
    let clients = route(&server.url).as_instance_role().await.unwrap();
    let error = ask_for_alice(&clients, TWICE).await.unwrap_err();
    let wanted = "this instance has no role; attach an instance profile to it";
    assert_eq!(error, outage(OutageCause::Credentials(wanted.into())));
}

#[tokio::test]
async fn the_callers_account_partition_and_role_are_read() {
    let server = Canned::serve(|_| Reply::Answer(200, IDENTITY.into())).await;
    let identity = clients(&server.url).identity(TWICE).await.unwrap();
    assert_eq!(
        (identity.account.as_str(), identity.partition.to_string().as_str()),
        ("123456789012", "aws")
    );
    let server = Canned::serve(|_| Reply::Answer(200, IDENTITY.replace("arn:aws", "urn"))).await;
    assert!(clients(&server.url).identity(TWICE).await.is_err());
}

#[tokio::test]
async fn another_accounts_role_is_assumed_once_and_signs_the_calls() {
    let server = Canned::serve(|request| match request {
        text if text.contains("Action=AssumeRole") => Reply::Answer(200, assumed()),
        _ => Reply::Answer(200, USER.into()),
    });
    let server = server.await;
    let role = "arn:aws:iam::222222222222:role/ids/Resolver".parse().unwrap();
    let clients = clients(&server.url).assuming(role, "i-0abc");
    ask_for_alice(&clients, Patience::NUDGE).await.unwrap();
    ask_for_alice(&clients, Patience::NUDGE).await.unwrap();
    let requests = server.requests();
    assert_eq!(requests.len(), 3);
    assert!(requests[0].contains("RoleArn=arn%3Aaws%3Aiam%3A%3A222222222222%3Arole%2Fids%2FResolver"));
    assert!(requests[1].contains("credential=asiaother/") && requests[2].contains("credential=asiaother/"));
}

#[tokio::test]
async fn a_refused_role_of_another_account_is_no_denial_of_the_call_itself() {
    let server = Canned::serve(|_| Reply::Answer(403, error_document("AccessDenied"))).await;
    let role = "arn:aws:iam::222222222222:role/Resolver".parse().unwrap();
    let clients = clients(&server.url).assuming(role, "i-0abc");
    let error = ask_for_alice(&clients, TWICE).await.unwrap_err();
    assert!(
        matches!(
            &error,
            AwsCallError::Outage {
                cause: OutageCause::Credentials(_),
                ..
            }
        ),
        "{error:?}"
    );
    assert!(error.to_string().contains("sts:AssumeRole was denied"), "{error}");
}

fn assumed() -> String {
    "<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>ASIAOTHER</AccessKeyId>\
     <SecretAccessKey>s</SecretAccessKey><SessionToken>t</SessionToken><Expiration>2999-01-01T00:00:00Z</Expiration>\
     </Credentials></AssumeRoleResult></AssumeRoleResponse>"
        .to_owned()
}
