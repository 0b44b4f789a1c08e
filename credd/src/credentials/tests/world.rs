//! A canned AWS with one step that goes wrong, and the methods asked in it.

use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_sdk_iam::config::Credentials;
use credd_core::config::{Config, Method};
use keymaker_aws::{AwsClients, AwsSettings, IdResolver, Patience, Route, id_resolver_digest};

use super::{local, question};
use crate::clock::{Clock, HostClock};
use crate::credentials::{
    Aws, Chain, CredentialQuestion, CredentialRefusal, IamIdentity, Issuance, Issue, MethodSettings,
};
use canned::{Canned, Reply};

#[allow(dead_code, reason = "the other crate's tests use the rest")]
#[path = "../../../../keymaker-aws/src/canned.rs"]
pub mod canned;
#[path = "../../../../keymaker-aws/src/canned_tls.rs"]
pub mod canned_tls;

/// One wrong answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// An error document.
    Error(u16, &'static str),
    /// Something that is not AWS's.
    Foreign,
    /// The right kind of document with nothing in it.
    Hollow,
    /// A listing that says it is complete, and lacks the list.
    Listless,
    /// A document that breaks off.
    Short,
    /// No answer.
    Hang,
}

pub const FAULTS: [Fault; 17] = [
    Fault::Error(403, "AccessDenied"),
    Fault::Error(404, "NoSuchEntity"),
    Fault::Error(400, "Throttling"),
    Fault::Error(429, "TooManyRequestsException"),
    Fault::Error(500, "ServiceFailure"),
    Fault::Error(503, "ServiceUnavailable"),
    Fault::Error(403, "ExpiredToken"),
    Fault::Error(403, "InvalidClientTokenId"),
    Fault::Error(403, "SignatureDoesNotMatch"),
    Fault::Error(400, "ValidationError"),
    Fault::Error(400, "MalformedPolicyDocument"),
    Fault::Error(400, "PackedPolicyTooLarge"),
    Fault::Foreign,
    Fault::Hollow,
    Fault::Listless,
    Fault::Short,
    Fault::Hang,
];

/// AWS, with one step that goes wrong.
pub struct World {
    pub aws: AwsClients,
    pub route: Route,
    /// Where it is, metadata too.
    pub url: String,
    pub state: Arc<Mutex<State>>,
}

#[derive(Default)]
pub struct State {
    fault: Option<(String, Fault)>,
    /// `AssumeRole` on the user's role is `AccessDenied`, as it is for a missing role.
    pub untrusting: bool,
    /// Of the instance's role.
    pub description: &'static str,
    steps: Vec<String>,
    pub sessions: Vec<String>,
    /// So long every whole answer takes.
    pub late: Duration,
    /// When sessions end; None: long after the test.
    pub expiration: Option<String>,
    /// At these steps, this text of the answer is another.
    pub edits: Vec<(&'static str, &'static str, &'static str)>,
    /// By whose credentials each step was asked.
    pub askers: Vec<(String, String)>,
}

impl World {
    pub async fn new() -> Self {
        let state = Arc::<Mutex<State>>::default();
        let answering = Arc::clone(&state);
        let server = Canned::serve(move |request| {
            let mut answering = answering.lock().unwrap();
            match answering.answer(request) {
                Reply::Answer(status, body) if !answering.late.is_zero() => Reply::Late(answering.late, status, body),
                reply => reply,
            }
        })
        .await;
        let settings = AwsSettings {
            iam_endpoint: Some(server.url.clone()),
            sts_endpoint: Some(server.url.clone()),
            ..AwsSettings::default()
        };
        let route = Route::new(&settings).unwrap();
        let credentials = Credentials::new("AKIAX", "s", None, None, "test");
        let aws = route.with_credentials("eu-central-1".into(), credentials);
        let url = server.url;
        Self { aws, route, url, state }
    }

    /// A chain that has learnt nothing yet, asked by alice: this method, then the wide one.
    pub async fn ask(&self, case: Case, fault: Option<(String, Fault)>) -> Result<Issuance, CredentialRefusal> {
        *self.state.lock().unwrap() = State {
            fault,
            untrusting: case.untrusting,
            description: case.description,
            ..State::default()
        };
        // Only silence is waited for: what is answered is answered however busy the machine is.
        let deadline = match self.state.lock().unwrap().fault {
            Some((_, Fault::Hang)) => Duration::from_millis(250),
            _ => Duration::from_secs(20),
        };
        let patience = Patience {
            attempt: deadline,
            total: deadline,
            attempts: 1,
            backoff: Duration::ZERO,
        };
        let config = Config {
            shared_role: Some("arn:aws:iam::123456789012:role/everybody".into()),
            compress_user_policy: case.compress,
            ..Config::default()
        };
        let mut alice = local("alice");
        alice.iam = case.of_directory.then(|| case.known());
        self.chain(&config, patience)
            .issue(&CredentialQuestion {
                chain: vec![case.method, Method::InstanceRole],
                ..question(1000, alice)
            })
            .await
    }

    /// Forgets what was asked; from now on this goes wrong.
    pub fn begin(&self, fault: Option<(String, Fault)>) {
        *self.state.lock().unwrap() = State {
            fault,
            ..State::default()
        };
    }

    /// A chain that has learnt nothing yet.
    pub fn chain(&self, config: &Config, patience: Patience) -> Chain {
        self.chain_by(Rc::new(HostClock), config, patience)
    }

    /// The same, by a clock of the test's.
    pub fn chain_by(&self, clock: Rc<dyn Clock>, config: &Config, patience: Patience) -> Chain {
        let aws = Aws::with_clients(self.route.clone(), self.aws.clone(), patience, clock.clone());
        Chain::new(MethodSettings::new(config).unwrap(), aws, clock)
    }

    pub fn steps(&self) -> Vec<String> {
        let mut steps = self.state.lock().unwrap().steps.clone();
        steps.sort();
        steps.dedup();
        steps
    }
}

impl State {
    fn answer(&mut self, request: &str) -> Reply {
        if let Some(answer) = metadata(request) {
            return Reply::Answer(200, answer.to_owned());
        }
        let body = request.rsplit("\r\n\r\n").next().unwrap_or_default();
        let field = |name: &str| {
            let pairs = body.split('&').filter_map(|pair| pair.split_once('='));
            pairs
                .clone()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| value.to_owned())
        };
        let action = field("Action").unwrap();
        let of = ["RoleName", "UserName", "GroupName", "RoleArn", "PolicyArn"]
            .iter()
            .find_map(|name| field(name));
        let step = format!(
            "{action} {} {}",
            of.clone().unwrap_or_default(),
            field("PolicyName").or(field("Marker")).unwrap_or_default()
        );
        self.steps.push(step.clone());
        // The canned server gives headers in lower case.
        let signed = request.to_lowercase();
        let signed = signed.split_once("credential=").map_or("", |(_, rest)| rest);
        let asker = signed.split('/').next().unwrap_or_default().to_uppercase();
        self.askers.push((step, asker));
        if action == "AssumeRole" {
            self.sessions.push(body.to_owned());
        }
        let mut good = self.good(&action, &of.unwrap_or_default());
        for (at, from, to) in self
            .edits
            .iter()
            .filter(|(at, ..)| self.steps.last().is_some_and(|step| step == at))
        {
            if let Reply::Answer(_, text) = &mut good {
                assert!(text.contains(from), "{at}: {text}");
                *text = text.replace(from, to);
            }
        }
        match &self.fault {
            Some((at, fault)) if self.steps.last() == Some(at) => broken(*fault, &action, good),
            _ => good,
        }
    }

    fn good(&self, action: &str, of: &str) -> Reply {
        if of.ends_with("keymaker-check-nobody") {
            return error(404, "NoSuchEntity");
        }
        let result = match action {
            "GetCallerIdentity" => "<Arn>arn:aws:sts::123456789012:assumed-role/own/i-0abc</Arn>".to_owned(),
            "AssumeRole" if self.untrusting && of.ends_with("user-alice") => return error(403, "AccessDenied"),
            "AssumeRole" if of.ends_with("Resolver") => "<Credentials><AccessKeyId>ASIARESOLVER</AccessKeyId>\
                 <SecretAccessKey>s</SecretAccessKey><SessionToken>t</SessionToken>\
                 <Expiration>2099-01-01T00:00:00Z</Expiration></Credentials>"
                .to_owned(),
            "AssumeRole" => format!(
                "<AssumedRoleUser><AssumedRoleId>AROA:alice</AssumedRoleId><Arn>arn:aws:sts::123456789012:assumed-role/r/alice</Arn>\
                 </AssumedRoleUser><Credentials><AccessKeyId>ASIA</AccessKeyId><SecretAccessKey>s</SecretAccessKey>\
                 <SessionToken>t</SessionToken><Expiration>{}</Expiration></Credentials>",
                self.expiration.as_deref().unwrap_or("2099-01-01T00:00:00Z")
            ),
            "GetRole" => role(of, self.description),
            "GetUser" => "<User><Path>/</Path><UserName>alice</UserName><UserId>AIDA</UserId>\
                 <Arn>arn:aws:iam::123456789012:user/alice</Arn><CreateDate>2020-01-01T00:00:00Z</CreateDate></User>"
                .to_owned(),
            "ListGroupsForUser" => listing(
                "Groups",
                "<Path>/</Path><GroupName>devs</GroupName><GroupId>AGPA</GroupId>\
                 <Arn>arn:aws:iam::123456789012:group/devs</Arn><CreateDate>2020-01-01T00:00:00Z</CreateDate>",
            ),
            "ListUserPolicies" | "ListGroupPolicies" | "ListRolePolicies" => listing("PolicyNames", "inline"),
            "ListAttachedUserPolicies" | "ListAttachedGroupPolicies" | "ListAttachedRolePolicies" => listing(
                "AttachedPolicies",
                &format!(
                    "<PolicyName>m</PolicyName><PolicyArn>arn:aws:iam::123456789012:policy/of-{}</PolicyArn>",
                    &action[12..16]
                ),
            ),
            "GetUserPolicy" | "GetGroupPolicy" | "GetRolePolicy" => format!(
                "<UserName>x</UserName><GroupName>x</GroupName><RoleName>x</RoleName><PolicyName>inline</PolicyName>\
                 <PolicyDocument>{DOCUMENT}</PolicyDocument>"
            ),
            "GetPolicy" => "<Policy><DefaultVersionId>v3</DefaultVersionId></Policy>".to_owned(),
            "GetPolicyVersion" => format!("<PolicyVersion><Document>{DOCUMENT}</Document></PolicyVersion>"),
            other => panic!("{other} is not expected"),
        };
        Reply::Answer(200, document(action, &result))
    }
}

const DOCUMENT: &str = "%7B%22Version%22%3A%222012-10-17%22%2C%22Statement%22%3A%5B%7B%22Effect%22%3A%22Allow%22%2C%22Action%22%3A%22s3%3AGet%2A%22%2C%22Resource%22%3A%22%2A%22%7D%5D%7D";
const TRUST: &str = "%7B%22Statement%22%3A%7B%22Effect%22%3A%22Allow%22%2C%22Principal%22%3A%7B%22AWS%22%3A%22arn%3Aaws%3Aiam%3A%3A123456789012%3Arole%2Fp%2Fown%22%7D%2C%22Action%22%3A%22sts%3AAssumeRole%22%7D%7D";

fn role(name: &str, description: &str) -> String {
    let path = if name == "own" { "/p/" } else { "/" };
    format!(
        "<Role><Path>{path}</Path><RoleName>{name}</RoleName><RoleId>AROA</RoleId>\
         <Arn>arn:aws:iam::123456789012:role{path}{name}</Arn><CreateDate>2020-01-01T00:00:00Z</CreateDate>\
         <Tags><member><Key>team</Key><Value>x</Value></member><member><Key>keymaker:user-id</Key><Value>AIDA</Value></member></Tags>\
         <Description>{description}</Description><AssumeRolePolicyDocument>{TRUST}</AssumeRolePolicyDocument></Role>"
    )
}

/// What the metadata service answers.
fn metadata(request: &str) -> Option<&'static str> {
    match request.split(' ').nth(1)? {
        "/latest/api/token" => Some("TOKEN"),
        "/latest/meta-data/iam/security-credentials/" => Some("own"),
        "/latest/meta-data/iam/security-credentials/own" => Some(
            r#"{"Code":"Success","AccessKeyId":"AKIAX","SecretAccessKey":"s","Token":"t","Expiration":"2099-01-01T00:00:00Z"}"#,
        ),
        _ => None,
    }
}

fn listing(field: &str, member: &str) -> String {
    format!("<IsTruncated>false</IsTruncated><{field}><member>{member}</member></{field}>")
}

fn document(action: &str, result: &str) -> String {
    format!("<{action}Response><{action}Result>{result}</{action}Result></{action}Response>")
}

fn error(status: u16, code: &str) -> Reply {
    let text = format!("<ErrorResponse><Error><Code>{code}</Code><Message>m</Message></Error></ErrorResponse>");
    Reply::Answer(status, text)
}

fn broken(fault: Fault, action: &str, good: Reply) -> Reply {
    match (fault, good) {
        (Fault::Error(status, code), _) => error(status, code),
        (Fault::Foreign, _) => Reply::Answer(200, "<html>Please log in</html>".to_owned()),
        (Fault::Hollow, _) => Reply::Answer(200, document(action, "")),
        (Fault::Listless, _) => Reply::Answer(200, document(action, "<IsTruncated>false</IsTruncated>")),
        (Fault::Short, Reply::Answer(status, text)) => Reply::Answer(status, text[..text.len() / 2].to_owned()),
        (Fault::Short | Fault::Hang, _) => Reply::Hang,
    }
}

/// One method in one state of the world.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    pub method: Method,
    pub untrusting: bool,
    pub compress: bool,
    /// The directory derived alice's uid from her IAM user.
    pub of_directory: bool,
    /// The description of the instance's role.
    pub description: &'static str,
    /// Alice lives in another account.
    pub elsewhere: bool,
}

impl Case {
    fn account(self) -> &'static str {
        if self.elsewhere { "210987654321" } else { "123456789012" }
    }

    /// Alice, as the directory of a keymakerd has her that goes by [`RESOLVER`].
    pub fn known(self) -> IamIdentity {
        let resolver = IdResolver::new("210987654321", "p/Resolver").unwrap();
        IamIdentity {
            account: self.account().into(),
            id_resolver: if self.elsewhere {
                id_resolver_digest(&resolver)
            } else {
                [0; 32]
            },
            user_id: "AIDA".into(),
            user_name: "alice".into(),
        }
    }
}

/// What names the role for users of that account.
pub const RESOLVER: &str = "keymaker_id_resolver_account=210987654321 keymaker_id_resolver_iam_role=p/Resolver";
