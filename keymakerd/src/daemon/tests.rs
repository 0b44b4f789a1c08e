//! When a pass is made, and where AWS is asked.

use super::*;
use crate::canned::{Canned, Reply};
use crate::canned_tls::{ANOTHER_AUTHORITY, AUTHORITY, Bundle, in_front_of};
use crate::directory::iam::Iam;
use crate::service_names::ServiceFolders;

fn config(text: &str) -> KeymakerdConfig {
    KeymakerdConfig::parse(text, "keymakerd.toml".as_ref()).unwrap()
}

/// The metadata service of an instance with a role.
fn metadata(request: &str) -> Reply {
    let text = match request.split(' ').nth(1).unwrap_or_default() {
        "/latest/api/token" => "TOKEN",
        "/latest/meta-data/iam/security-credentials/" => "own",
        "/latest/meta-data/iam/security-credentials/own" => {
            r#"{"Code":"Success","AccessKeyId":"AKIAX","SecretAccessKey":"s","Token":"t","Expiration":"2099-01-01T00:00:00Z"}"#
        }
        "/latest/dynamic/instance-identity/document" => {
            r#"{"instanceId":"i-0abc","accountId":"123456789012","region":"eu-north-1"}"#
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

#[tokio::test]
async fn aws_is_whoever_the_authority_that_the_file_names_has_signed_and_nobody_else() {
    let metadata = Canned::serve(metadata).await;
    let aws = refusing().await;
    let url = in_front_of(&aws.url).await;
    let here = format!(
        "region = \"eu-north-1\"\nmetadata_endpoint = \"{}\"\niam_endpoint = \"{url}\"\nsts_endpoint = \"{url}\"\n",
        metadata.url
    );
    ask(&here).await;
    let other = Bundle::new("keymakerd-other", ANOTHER_AUTHORITY);
    ask(&format!("{here}ca_bundle = {:?}\n", other.0)).await;
    assert_eq!(aws.requests(), [""; 0]);
    let right = Bundle::new("keymakerd", AUTHORITY);
    ask(&format!("{here}ca_bundle = {:?}\n", right.0)).await;
    let asked = aws.requests();
    for action in ["Action=GetCallerIdentity&", "Action=GetUser&"] {
        assert!(asked.iter().any(|request| request.contains(action)), "{asked:?}");
    }
}

/// What STS and IAM say on the host's and on the resolver's behalf.
fn aws(request: &str) -> Reply {
    let result = if request.contains("Action=GetCallerIdentity&") {
        "<GetCallerIdentityResponse><GetCallerIdentityResult><Arn>arn:aws:sts::123456789012:assumed-role/own/i-0abc</Arn>\
         </GetCallerIdentityResult></GetCallerIdentityResponse>"
    } else if request.contains("Action=AssumeRole&") {
        "<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>ASIARESOLVER</AccessKeyId><SecretAccessKey>s</SecretAccessKey>\
         <SessionToken>t</SessionToken><Expiration>2999-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>"
    } else {
        return Reply::Answer(400, String::new());
    };
    Reply::Answer(200, result.to_owned())
}

#[tokio::test]
async fn users_are_asked_for_by_the_role_of_the_account_that_the_file_names() {
    let (metadata, aws) = (Canned::serve(metadata).await, Canned::serve(aws).await);
    let folder = std::env::temp_dir().join(format!("keymakerd-resolver-{}", std::process::id()));
    std::fs::create_dir_all(folder.join("private")).unwrap();
    let file = |name: &str, text: &str| {
        std::fs::write(folder.join(name), text).unwrap();
        folder.join(name)
    };
    let settings = format!(
        "region = \"eu-north-1\"\nmetadata_endpoint = \"{}\"\niam_endpoint = \"{url}\"\nsts_endpoint = \"{url}\"\n\
         id_resolver_account = \"210987654321\"\nid_resolver_iam_role = \"p/Resolver\"\n",
        metadata.url,
        url = aws.url
    );
    let service = open(&HostPaths {
        log: Log::StandardError,
        log_level: LogLevel::default(),
        config_path: file("keymakerd.toml", &settings),
        store: Store {
            public: folder.join("public"),
            private: folder.join("private"),
            run: folder.join("run"),
            stuck: Default::default(),
        },
        run: folder.join("run"),
        local_files: LocalFiles {
            passwd: file("passwd", "root:x:0:0::/:/bin/sh\n"),
            group: file("group", "root:x:0:\n"),
            shells: folder.join("shells"),
            services: ServiceFolders::default(),
        },
        other_services: Children {
            nsswitch: folder.join("nsswitch.conf"),
            program: "/bin/false".into(),
        },
    });
    let accounts = connect(&service.unwrap(), &OwnPorts::default()).await;
    let Ok(accounts) = accounts else {
        panic!("there is a way")
    };
    for people in [&accounts.people, &accounts.people_nudged] {
        assert!(people.user("alice").await.is_err());
    }
    assert!(accounts.host.role("own").await.is_err());
    let requests = aws.requests();
    let about = |action: &str| {
        let of_action = requests
            .iter()
            .filter(|request| request.contains(&format!("Action={action}&")));
        of_action.cloned().collect::<Vec<String>>()
    };
    let assumed = about("AssumeRole");
    assert!(!assumed.is_empty(), "{requests:?}");
    let resolver = "RoleArn=arn%3Aaws%3Aiam%3A%3A210987654321%3Arole%2Fp%2FResolver&";
    assert!(assumed.iter().all(|request| request.contains(resolver)), "{assumed:?}");
    for (action, asker) in [("GetUser", "asiaresolver"), ("GetRole", "akiax")] {
        let asked = about(action);
        assert!(!asked.is_empty(), "{requests:?}");
        assert!(
            asked
                .iter()
                .all(|request| request.contains(&format!("credential={asker}/"))),
            "{asked:?}"
        );
    }
    std::fs::remove_dir_all(folder).unwrap();
}
