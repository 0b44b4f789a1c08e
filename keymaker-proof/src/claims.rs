//! The claims: that AWS made this token for a user of our account, for this key, for this host, now.
//!
//! Called by [`crate::verify`], with what a published key has signed. Claims that are not named here are ignored, but for those that
//! say that somebody acts for the user.

use keymaker_core::issuers_file::ProofRules;
use keymaker_core::proof::{Proof, TOKEN_LEEWAY, is_token_id, is_user_id};

use serde_json::Value;

use crate::NoProof;
use crate::certificate::Certificate;
use crate::json::{number_of, parse, text_of};

/// Where AWS puts its own claims.
pub const NAMESPACE: &str = "https://sts.amazonaws.com/";
/// The tag that names the key, the one that names the user by their `UserId`, and the one that names the host. The subject is a name, which
/// whoever may rename users lends for a moment; the policy by which people ask for tokens has AWS compare the second with its own `aws:userid`.
pub const KEY_TAG: &str = "keymaker-key";
/// See [`KEY_TAG`].
pub const USER_TAG: &str = "keymaker-user";
/// See [`KEY_TAG`].
pub const HOST_TAG: &str = "keymaker-host";
/// What AWS says about sessions that are not a user's own: of another provider, of Identity Center, of instances, functions, jobs.
const ACTING_FOR: [&str; 5] = ["federated_provider", "identity_store_", "ec2_", "lambda_", "glue_"];

const AUDIENCE: &str = "its audience";
const FROM_THE_FUTURE: &str = "it is from the future";
const ENDED: &str = "it has ended";
const TOO_LONG: &str = "it lives longer than login_token_max";
const ACCOUNT: &str = "its account";
const ANOTHER_HOST: &str = "it is for another host";
const NO_HOST: &str = "it names no host, and login_bound wants it";
const SUBJECT: &str = "its subject is no IAM user of this account";
const ACTED_FOR: &str = "it is not of a user's own session, or it is scoped";

/// What to do where the claims are these: most often, to ask for another token.
pub(crate) fn remedy(what: &str) -> &'static str {
    match what {
        AUDIENCE => "keymaker login --audience TEXT  # where TEXT is what this host wants: login_audience",
        FROM_THE_FUTURE => "timedatectl set-ntp true; chronyc makestep  # on this host, whose clock is behind",
        TOO_LONG => "keymaker login  # whose tokens live for 300 s: login_token_max may not be less",
        ANOTHER_HOST | NO_HOST => {
            "keymaker login --host INSTANCE  # or keymaker ssh USER@INSTANCE, with this host's instance id"
        }
        ACCOUNT | SUBJECT | ACTED_FOR => {
            "keymaker login --profile PROFILE  # as an IAM user of this account: no role, root, service or federated user logs in by proof"
        }
        _ => "keymaker login  # makes a new one",
    }
}

/// The proof, where the claims of a token of one of these issuers are one for this certificate.
pub fn check(
    claims: &[u8],
    certificate: &Certificate,
    issuers: &[&str],
    rules: &ProofRules,
    now: u64,
) -> Result<Proof, NoProof> {
    let wrong = |what| move || NoProof::Claims(what);
    let must = |holds: bool, what| holds.then_some(()).ok_or(NoProof::Claims(what));
    let claims = parse(claims).filter(Value::is_object);
    let claims = claims.ok_or_else(wrong("it is no JSON object in which each name stands once"))?;
    let issuer = text_of(&claims, "iss");
    must(issuers.iter().any(|one| issuer == Some(one)), "its issuer")?;
    must(
        !rules.audience.is_empty() && text_of(&claims, "aud") == Some(&rules.audience),
        AUDIENCE,
    )?;
    let (issued_at, ends_at) = (number_of(&claims, "iat"), number_of(&claims, "exp"));
    let (issued_at, ends_at) = issued_at.zip(ends_at).ok_or_else(wrong("its times"))?;
    must(issued_at <= now.saturating_add(TOKEN_LEEWAY), FROM_THE_FUTURE)?;
    must(now < ends_at, ENDED)?;
    must(
        ends_at
            .checked_sub(issued_at)
            .is_some_and(|lives| (1..=u64::from(rules.token_max)).contains(&lives)),
        TOO_LONG,
    )?;
    must(
        certificate.valid_after == issued_at.saturating_sub(TOKEN_LEEWAY) && certificate.valid_before == ends_at,
        "its certificate has other times",
    )?;
    let token_id = named(&claims).ok_or_else(wrong("its jti"))?;
    must(certificate.key_id == token_id, "its certificate is of another token")?;
    let aws = claims.get(NAMESPACE).filter(|aws| aws.is_object());
    let aws = aws.ok_or_else(wrong("it has no claims of AWS's"))?;
    must(text_of(aws, "aws_account") == Some(&rules.account), ACCOUNT)?;
    let user_id = tags(aws, certificate, rules)?;
    let subject = text_of(&claims, "sub").ok_or_else(wrong("its subject"))?;
    must(text_of(aws, "principal_id") == Some(subject), "its principal_id")?;
    for told in [&claims, aws] {
        nobody_acts_for_the_user(told)?;
    }
    let name = user_name(subject, rules).ok_or_else(wrong(SUBJECT))?;
    Ok(Proof {
        iam_user_name: name.to_owned(),
        iam_user_id: user_id.to_owned(),
        issued_at,
        ends_at,
        token_id: token_id.to_owned(),
        fingerprint: certificate.fingerprint.clone(),
        key: certificate.key.clone(),
    })
}

/// The name of a token that a published key has signed, whatever else it says: for the log.
pub fn token_id(claims: &[u8]) -> Option<String> {
    parse(claims).as_ref().and_then(named).map(str::to_owned)
}

fn named(claims: &Value) -> Option<&str> {
    text_of(claims, "jti").filter(|id| is_token_id(id))
}

/// The tags that `keymaker login` asked for: nobody else may choose them, and IAM does not tell capitals in them apart. Returns the user's.
fn tags<'a>(aws: &'a Value, certificate: &Certificate, rules: &ProofRules) -> Result<&'a str, NoProof> {
    let names = aws.get("request_tags").and_then(Value::as_object);
    let tags = aws.get("request_tags").filter(|tags| tags.is_object());
    let (tags, names) = tags.zip(names).ok_or(NoProof::Claims("it has no request_tags"))?;
    for own in [KEY_TAG, USER_TAG, HOST_TAG] {
        let alike = |name: &String| name.to_lowercase() == own && name != own;
        if names.keys().any(alike) {
            return Err(NoProof::Claims("a tag like keymaker's in other letters"));
        }
    }
    if text_of(tags, KEY_TAG) != Some(&certificate.fingerprint) {
        return Err(NoProof::Claims("it is for another key"));
    }
    let is_here = !rules.instance_id.is_empty() && text_of(tags, HOST_TAG) == Some(&rules.instance_id);
    match tags.get(HOST_TAG) {
        None if rules.bound => Err(NoProof::Claims(NO_HOST)),
        Some(_) if !is_here => Err(NoProof::Claims(ANOTHER_HOST)),
        _ => text_of(tags, USER_TAG)
            .filter(|id| is_user_id(id))
            .ok_or(NoProof::Claims("it does not say whose UserId it is for")),
    }
}

fn nobody_acts_for_the_user(told: &Value) -> Result<(), NoProof> {
    for (name, value) in told.as_object().into_iter().flatten() {
        let name = name.to_lowercase();
        let is_own = match name.as_str() {
            "subject_mode" => value.as_str() == Some("AWSIdentity"),
            "scope" => false,
            name => !ACTING_FOR.iter().any(|begins| name.starts_with(begins)),
        };
        if !is_own {
            return Err(NoProof::Claims(ACTED_FOR));
        }
    }
    Ok(())
}

/// The name in `arn:PARTITION:iam::ACCOUNT:user/[PATH/]NAME`: names are unique in an account, whatever their path.
fn user_name<'s>(subject: &'s str, rules: &ProofRules) -> Option<&'s str> {
    (!rules.partition.is_empty() && !rules.account.is_empty()).then_some(())?;
    let rest = subject.strip_prefix("arn:")?.strip_prefix(rules.partition.as_str())?;
    let rest = rest.strip_prefix(":iam::")?.strip_prefix(rules.account.as_str())?;
    let name = rest.strip_prefix(":user/")?.rsplit('/').next()?;
    let may_be_one = |byte: u8| byte.is_ascii_alphanumeric() || b"+=,.@_-".contains(&byte);
    // AWS's own users, if there are ever any, are nobody's here.
    let is_awss = rest.starts_with(":user/aws-reserved/");
    (!is_awss && (1..=64).contains(&name.len()) && name.bytes().all(may_be_one)).then_some(name)
}
