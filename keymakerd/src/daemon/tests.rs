//! When a pass is made, and where AWS is asked.

use super::*;
use crate::canned::{Canned, Reply};
use crate::directory::iam::Iam;

fn config(text: &str) -> Config {
    Config::parse(text, "keymakerd.toml".as_ref()).unwrap()
}

#[test]
fn a_pass_is_made_every_sync_interval_and_ever_more_seldom_while_iam_throttles() {
    let seconds = Duration::from_secs;
    let config = config("sync_interval = 100");
    let next = |throttled, former| next_interval(&config, true, throttled, seconds(former));
    assert_eq!(next(false, 0), seconds(100));
    assert_eq!([next(true, 100), next(true, 200)], [seconds(200), seconds(400)]);
    assert_eq!(next(true, 3000), LONGEST_INTERVAL);
    assert_eq!(next_interval(&config, false, false, seconds(0)), RECONNECT);
}

/// The metadata service of an instance with a role.
fn metadata(request: &str) -> Reply {
    let text = match request.split(' ').nth(1).unwrap_or_default() {
        "/latest/api/token" => "TOKEN",
        "/latest/meta-data/iam/security-credentials/" => "own",
        "/latest/meta-data/iam/security-credentials/own" => {
            r#"{"Code":"Success","AccessKeyId":"AKIAX","SecretAccessKey":"s","Token":"t","Expiration":"2099-01-01T00:00:00Z"}"#
        }
        _ => return Reply::Answer(404, String::new()),
    };
    Reply::Answer(200, text.to_owned())
}

/// Says no to everything.
async fn refusing() -> Canned {
    Canned::serve(|_| Reply::Answer(400, String::new())).await
}

/// Asks STS who this is, and IAM about alice; neither may answer.
async fn ask(settings: &str) {
    let clients = Route::new(&aws_settings(&config(settings))).unwrap();
    let clients = clients.as_instance_role().await.unwrap();
    assert!(clients.identity(Patience::NUDGE).await.is_err());
    assert!(AwsIam::new(&clients, Patience::NUDGE).user("alice").await.is_err());
}

#[tokio::test]
async fn aws_is_asked_where_and_through_what_the_file_says() {
    let metadata = Canned::serve(metadata).await;
    let [iam, sts, proxy] = [refusing().await, refusing().await, refusing().await];
    let here = format!("region = \"eu-north-1\"\nmetadata_endpoint = \"{}\"\n", metadata.url);
    ask(&format!(
        "{here}iam_endpoint = \"{}\"\nsts_endpoint = \"{}\"\n",
        iam.url, sts.url
    ))
    .await;
    assert!(!metadata.requests().is_empty());
    let is_asked = |server: &Canned, action: &str| {
        let requests = server.requests();
        !requests.is_empty()
            && requests
                .iter()
                .all(|request| request.contains(&format!("Action={action}&")))
    };
    assert!(is_asked(&sts, "GetCallerIdentity"), "{:?}", sts.requests());
    assert!(is_asked(&iam, "GetUser"), "{:?}", iam.requests());
    // The region that a request is signed for.
    assert!(
        sts.requests()[0].contains("/eu-north-1/sts/aws4_request"),
        "{:?}",
        sts.requests()
    );
    ask(&format!("{here}https_proxy = \"{}\"\n", proxy.url)).await;
    let asked: Vec<String> = proxy.requests();
    for host in ["sts.eu-north-1.amazonaws.com:443", "iam.amazonaws.com:443"] {
        let connect = format!("CONNECT {host} ");
        assert!(asked.iter().any(|request| request.starts_with(&connect)), "{asked:?}");
    }
    let error = check_aws_settings(&config("ca_bundle = \"/nonexistent/ca.pem\"")).unwrap_err();
    assert_eq!(error.key(), "ca_bundle");
}
