//! Listings and single answers as IAM gives them, and as it must never be believed, against a canned server.

use aws_sdk_iam::config::Credentials;
use keymaker_aws::{AwsSettings, OutageCause, Route};

use super::*;
use crate::canned::{Canned, Reply};

fn iam(server: &Canned) -> AwsIam {
    let settings = AwsSettings {
        iam_endpoint: Some(server.url.clone()),
        ..AwsSettings::default()
    };
    let credentials = Credentials::new("AKIAX", "s", None, None, "test");
    let clients = Route::new(&settings)
        .unwrap()
        .with_credentials("eu-central-1".into(), credentials);
    AwsIam::new(&clients, Patience::NUDGE)
}

/// A server that gives these answers in turn.
async fn giving<const N: usize>(answers: [(u16, String); N]) -> Canned {
    let mut answers = answers.into_iter();
    Canned::serve(move |_| {
        answers
            .next()
            .map_or(Reply::Hang, |(status, body)| Reply::Answer(status, body))
    })
    .await
}

fn answer(action: &str, result: &str) -> String {
    format!("<{action}Response><{action}Result>{result}</{action}Result></{action}Response>")
}

fn user(name: &str, more: &str) -> String {
    format!(
        "<Path>/ops/</Path><UserName>{name}</UserName><UserId>AIDA{name}</UserId><Arn>arn:aws:iam::1:user/{name}</Arn>\
         <CreateDate>2020-01-01T00:00:00Z</CreateDate>{more}"
    )
}

fn group(name: &str) -> String {
    format!(
        "<Path>/</Path><GroupName>{name}</GroupName><GroupId>AGPA{name}</GroupId><Arn>arn:aws:iam::1:group/{name}</Arn>\
         <CreateDate>2020-01-01T00:00:00Z</CreateDate>"
    )
}

fn users_page(names: &[&str], rest: &str) -> String {
    let members: String = names
        .iter()
        .map(|name| format!("<member>{}</member>", user(name, "")))
        .collect();
    answer("ListUsers", &format!("<Users>{members}</Users>{rest}"))
}

fn more_at(marker: &str) -> String {
    format!("<IsTruncated>true</IsTruncated><Marker>{marker}</Marker>")
}

fn is_unreadable<T>(outcome: &Result<T, AwsCallError>) -> bool {
    matches!(
        outcome,
        Err(AwsCallError::Outage {
            cause: OutageCause::Unreadable(_),
            ..
        })
    )
}

#[tokio::test]
async fn a_listing_is_followed_to_its_last_page_and_over_empty_ones() {
    let pages = [
        (200, users_page(&["alice", "bob"], &more_at("m1"))),
        (200, users_page(&[], &more_at("m2"))),
        (200, users_page(&["carol"], "<IsTruncated>false</IsTruncated>")),
    ];
    let server = giving(pages).await;
    let users = iam(&server).list_users("/ops/").await.unwrap();
    assert_eq!(
        users.iter().map(|user| user.name.as_str()).collect::<Vec<_>>(),
        ["alice", "bob", "carol"]
    );
    let carol = IamUser {
        id: "AIDAcarol".into(),
        name: "carol".into(),
        path: "/ops/".into(),
        created: 1_577_836_800,
        tags: None,
        groups: None,
    };
    assert_eq!(users[2], carol);
    let requests = server.requests();
    assert!(requests[0].contains("PathPrefix=%2Fops%2F") && requests[0].contains("MaxItems=1000"));
    assert!(!requests[0].contains("Marker=") && requests[1].contains("Marker=m1") && requests[2].contains("Marker=m2"));
}

// P3
#[tokio::test]
async fn a_listing_whose_later_page_fails_is_an_error_and_not_a_shorter_listing() {
    let first = (200, users_page(&["alice"], &more_at("m1")));
    let denied = "<ErrorResponse><Error><Code>AccessDenied</Code><Message>no</Message></Error></ErrorResponse>";
    let outcome = iam(&giving([first.clone(), (403, denied.into())]).await)
        .list_users("/")
        .await;
    let message = "no".to_owned();
    assert_eq!(
        outcome,
        Err(AwsCallError::AccessDenied {
            action: Action::LIST_USERS,
            message
        })
    );
    let outcome = iam(&giving([first.clone(), (200, "<html/>".into())]).await)
        .list_users("/")
        .await;
    assert!(is_unreadable(&outcome));
    let cut = users_page(&["bob", "carol"], "");
    let cut = cut.split_inclusive("</member>").next().unwrap().to_owned();
    let outcome = iam(&giving([first, (200, cut)]).await).list_users("/").await;
    assert!(is_unreadable(&outcome));
}

// P3
#[tokio::test]
async fn pages_that_name_no_next_page_or_go_in_circles_are_an_error() {
    let lost = (200, users_page(&["alice"], "<IsTruncated>true</IsTruncated>"));
    assert!(is_unreadable(&iam(&giving([lost]).await).list_users("/").await));
    let again = |marker| (200, users_page(&["alice"], &more_at(marker)));
    let circle = giving([again("m1"), again("m2"), again("m1")]).await;
    assert!(is_unreadable(&iam(&circle).list_users("/").await));
    assert_eq!(circle.requests().len(), 3);
}

#[tokio::test]
async fn a_user_comes_with_tags_and_an_answer_about_somebody_else_is_refused() {
    let tagged = user(
        "alice",
        "<Tags><member><Key>team</Key><Value>ops</Value></member></Tags>",
    );
    let get = |user: &str| (200, answer("GetUser", &format!("<User>{user}</User>")));
    let server = giving([get(&tagged), get(&user("Alice", "")), get(&user("bob", "")), get("")]).await;
    let iam = iam(&server);
    assert_eq!(
        iam.user("alice").await.unwrap().tags,
        Some(vec![("team".into(), "ops".into())])
    );
    assert_eq!(iam.user("alice").await.unwrap().tags, Some(Vec::new()));
    assert!(is_unreadable(&iam.user("alice").await));
    assert!(is_unreadable(&iam.user("alice").await));
}

// P2
#[tokio::test]
async fn an_answer_that_lacks_id_or_date_is_refused() {
    let whole = user("alice", "");
    for part in [
        "<UserId>AIDAalice</UserId>",
        "<UserName>alice</UserName>",
        "<CreateDate>2020-01-01T00:00:00Z</CreateDate>",
    ] {
        let user = whole.replace(part, "");
        assert_ne!(user, whole);
        let server = giving([
            (200, answer("GetUser", &format!("<User>{user}</User>"))),
            (
                200,
                answer("ListUsers", &format!("<Users><member>{user}</member></Users>")),
            ),
        ]);
        let server = server.await;
        assert!(is_unreadable(&iam(&server).user("alice").await), "{part}");
        assert!(is_unreadable(&iam(&server).list_users("/").await), "{part}");
    }
}

#[tokio::test]
async fn a_groups_members_come_from_all_pages_of_the_same_group() {
    let page = |group_xml: &str, member: &str, rest: &str| {
        let users = format!("<Users><member>{}</member></Users>", user(member, ""));
        (
            200,
            answer("GetGroup", &format!("<Group>{group_xml}</Group>{users}{rest}")),
        )
    };
    let devs = group("keymaker_devs");
    let server = giving([page(&devs, "alice", &more_at("m1")), page(&devs, "bob", "")]).await;
    let devs_with_members = iam(&server).group("keymaker_devs").await.unwrap();
    assert_eq!(devs_with_members.group.id, "AGPAkeymaker_devs");
    assert_eq!(
        devs_with_members
            .members
            .iter()
            .map(|user| user.name.as_str())
            .collect::<Vec<_>>(),
        ["alice", "bob"]
    );
    let reborn = devs.replace("AGPA", "AGPB");
    let server = giving([page(&devs, "alice", &more_at("m1")), page(&reborn, "bob", "")]).await;
    assert!(is_unreadable(&iam(&server).group("keymaker_devs").await));
}

#[tokio::test]
async fn keys_tell_their_status_and_belong_to_whom_was_asked_about() {
    let key = |user: &str, id: &str, status: &str| {
        format!(
            "<member><UserName>{user}</UserName><SSHPublicKeyId>{id}</SSHPublicKeyId><Status>{status}</Status>\
             <UploadDate>2020-01-01T00:00:00Z</UploadDate></member>"
        )
    };
    let list = |keys: String| {
        (
            200,
            answer("ListSSHPublicKeys", &format!("<SSHPublicKeys>{keys}</SSHPublicKeys>")),
        )
    };
    let body = "<SSHPublicKey><UserName>alice</UserName><SSHPublicKeyId>APKA1</SSHPublicKeyId><Fingerprint>f</Fingerprint>\
        <SSHPublicKeyBody>ssh-rsa AAAA</SSHPublicKeyBody><Status>Active</Status></SSHPublicKey>";
    let server = giving([
        list(
            ["Active", "Inactive", "Expired"]
                .map(|status| key("alice", status, status))
                .concat(),
        ),
        list(key("bob", "APKA1", "Active")),
        (200, answer("GetSSHPublicKey", body)),
        (200, answer("GetSSHPublicKey", body)),
    ]);
    let server = server.await;
    let iam = iam(&server);
    let keys = iam.ssh_public_keys("alice").await.unwrap();
    assert_eq!(
        keys.iter().map(|key| key.active).collect::<Vec<_>>(),
        [true, false, false]
    );
    assert!(is_unreadable(&iam.ssh_public_keys("alice").await));
    assert_eq!(iam.ssh_public_key("alice", "APKA1").await.unwrap(), "ssh-rsa AAAA");
    assert!(server.requests()[2].contains("Encoding=SSH"));
    assert!(is_unreadable(&iam.ssh_public_key("alice", "APKA2").await));
}

#[tokio::test]
async fn account_details_give_groups_and_tags_of_every_page() {
    let page = |name: &str, rest: &str| {
        let more = "<GroupList><member>keymaker_devs</member></GroupList>\
            <Tags><member><Key>team</Key><Value>ops</Value></member></Tags>";
        let users = format!("<UserDetailList><member>{}</member></UserDetailList>", user(name, more));
        let groups = format!("<GroupDetailList><member>{}</member></GroupDetailList>", group(name));
        (
            200,
            answer("GetAccountAuthorizationDetails", &format!("{users}{groups}{rest}")),
        )
    };
    let pages = || [page("alice", &more_at("m1")), page("bob", "")];
    let [first, second] = pages();
    let [third, fourth] = pages();
    let server = giving([first, second, third, fourth]).await;
    let users = iam(&server).detailed_users().await.unwrap();
    assert_eq!(users.len(), 2);
    assert_eq!(users[1].groups, Some(vec!["keymaker_devs".to_owned()]));
    assert_eq!(users[1].tags, Some(vec![("team".into(), "ops".into())]));
    assert_eq!(iam(&server).detailed_groups().await.unwrap().len(), 2);
    assert!(server.requests()[0].contains("Filter.member.1=User&MaxItems"));
    assert!(server.requests()[2].contains("Filter.member.1=Group&MaxItems"));
}

#[tokio::test]
async fn a_role_comes_with_its_whole_arn_and_description() {
    let role = "<Role><Path>/ec2/</Path><RoleName>host</RoleName><RoleId>AROA1</RoleId>\
        <Arn>arn:aws:iam::123456789012:role/ec2/host</Arn><CreateDate>2020-01-01T00:00:00Z</CreateDate>\
        <Description>keymaker_require_iam_group=ssh</Description></Role>";
    let silent = role.replace("keymaker_require_iam_group=ssh", "");
    let server = giving([(200, answer("GetRole", role)), (200, answer("GetRole", &silent))]).await;
    let iam = iam(&server);
    let role = iam.role("host").await.unwrap();
    assert_eq!(role.arn, "arn:aws:iam::123456789012:role/ec2/host");
    assert_eq!(role.description.as_deref(), Some("keymaker_require_iam_group=ssh"));
    assert_eq!(iam.role("host").await.unwrap().description, None);
}
