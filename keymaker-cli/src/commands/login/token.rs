//! AWS's token: asked for, and what it says of itself.

use std::path::Path;

use aws_config::SdkConfig;
use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_sts::config::http::HttpResponse;
use aws_sdk_sts::config::{ProvideCredentials, SharedCredentialsProvider};
use aws_sdk_sts::error::SdkError;
use aws_sdk_sts::operation::get_caller_identity::GetCallerIdentityError;
use aws_sdk_sts::types::Tag;
use keymaker_aws::{Action, AwsCallError, OutageCause, caller_with_id};

use super::caller::KeyHolder;
use super::error::LoginError;
use crate::aws::{self, AwsError};

/// What AWS is asked for.
pub struct AskedToken {
    /// For whom, where that is not the account's hosts.
    pub audience: Option<String>,
    /// The key that it is for.
    pub fingerprint: String,
    /// The one instance that it is to open.
    pub host: Option<String>,
}

impl AskedToken {
    /// AWS's answer. Who asks is kept in `kept`, so that the next token takes one call.
    pub async fn token(&self, config: SdkConfig, kept: &Path) -> Result<String, LoginError> {
        // Once, whichever calls follow: a program may have to be run for them, and a server asked.
        let provider = config.credentials_provider().ok_or(LoginError::NoToken)?;
        let credentials = provider.provide_credentials().await.map_err(no_credentials)?;
        let access_key_id = credentials.access_key_id().to_owned();
        let provider = SharedCredentialsProvider::new(credentials);
        let config = config.into_builder().credentials_provider(provider).build();
        if let Some(caller) = KeyHolder::read(kept, &access_key_id) {
            match self.token_of(&caller, &config).await {
                // It may be for what is kept, which AWS compares with what it knows. The next answer is what counts.
                Err(LoginError::MayNotAsk(_) | LoginError::MayNotTag(_) | LoginError::Forbidden(_)) => {
                    KeyHolder::forget(kept)?
                }
                told => return told,
            }
        }
        let caller = holder(&config, &access_key_id).await?;
        match self.token_of(&caller, &config).await {
            Ok(token) => caller.write(kept).map(|()| token),
            // Of a user's own key, which no second factor is ever behind (IAM User Guide, "IAM identifiers").
            Err(LoginError::MayNotAsk(why)) if access_key_id.starts_with("AKIA") => {
                Err(LoginError::MayNotAskByKey(why))
            }
            Err(other) => Err(other),
        }
    }

    async fn token_of(&self, caller: &KeyHolder, config: &SdkConfig) -> Result<String, LoginError> {
        let of_account = || format!("keymaker:{}", caller.account);
        let audience = self.audience.clone().unwrap_or_else(of_account);
        let request = aws::sts(config).get_web_identity_token().audience(audience);
        let request = request.duration_seconds(LIFE).signing_algorithm("ES384");
        let tags = [
            (KEY_TAG, Some(&self.fingerprint)),
            (USER_TAG, Some(&caller.user_id)),
            (HOST_TAG, self.host.as_ref()),
        ];
        let tags = tags
            .into_iter()
            .filter_map(|(key, value)| Tag::builder().key(key).value(value?).build().ok());
        let answer = request.set_tags(Some(tags.collect())).send().await;
        let answer = answer
            .map_err(|error| AwsCallError::from_sdk(ASK, error))
            .map_err(named)?;
        answer.web_identity_token.ok_or(LoginError::NoToken)
    }
}

/// As AWS says.
async fn holder(config: &SdkConfig, access_key_id: &str) -> Result<KeyHolder, LoginError> {
    let (identity, user_id) = caller_with_id(&aws::sts(config)).await.map_err(named)?;
    Ok(KeyHolder {
        access_key_id: access_key_id.to_owned(),
        account: identity.account.as_str().to_owned(),
        user_id,
    })
}

/// As the SDK would say it at the first call.
fn no_credentials(error: CredentialsError) -> LoginError {
    let error: SdkError<GetCallerIdentityError, HttpResponse> = SdkError::construction_failure(error);
    named(AwsCallError::from_sdk(Action::GET_CALLER_IDENTITY, error))
}

/// The refusals for which there is something to do.
fn named(error: AwsCallError) -> LoginError {
    let (code, message) = match error {
        // AWS names the kind of the policy that denies ("with an explicit deny in a service control policy"), and no condition that is not met.
        AwsCallError::AccessDenied { message, .. } if message.contains("explicit deny") => {
            return LoginError::Forbidden(message);
        }
        AwsCallError::AccessDenied { message, .. } if message.contains("sts:TagGetWebIdentityToken") => {
            return LoginError::MayNotTag(message);
        }
        AwsCallError::AccessDenied { message, .. } => return LoginError::MayNotAsk(message),
        AwsCallError::Outage {
            cause: OutageCause::Credentials(why),
            ..
        } if why.contains("credentials-login") => return LoginError::TooOld(why),
        // As Signature Version 4 has it ("Troubleshoot signed requests", IAM User Guide).
        AwsCallError::Outage {
            cause: OutageCause::Credentials(why),
            ..
        } if why.contains("Signature expired") || why.contains("Signature not yet current") => {
            return LoginError::ClockOff(why);
        }
        // STS says InvalidClientTokenId of a session that it knows no longer.
        AwsCallError::Outage {
            cause: OutageCause::Credentials(why),
            ..
        } if why.to_ascii_lowercase().contains("expired") || why.starts_with("InvalidClientTokenId") => {
            return LoginError::SessionEnded(why);
        }
        AwsCallError::Outage {
            cause: OutageCause::Refused { code, message },
            action,
        } => (code, (message, action)),
        other => return AwsError::from(other).into(),
    };
    let (message, action) = message;
    // With and without Exception: the documentation has both forms.
    match code.trim_end_matches("Exception") {
        "OutboundWebIdentityFederationDisabled" => LoginError::FederationOff,
        "JWTPayloadSizeExceeded" => LoginError::TooLarge(message),
        "SessionDurationEscalation" => LoginError::SessionEnded(message),
        "InvalidAction" => LoginError::NoSuchCall(message),
        _ => AwsError::from(AwsCallError::Outage {
            cause: OutageCause::Refused { code, message },
            action,
        })
        .into(),
    }
}

/// What the token says of itself, which the certificate repeats.
#[derive(Debug, PartialEq, Eq)]
pub struct Told {
    /// `jti`
    pub token_id: String,
    /// `iat`
    pub issued_at: u64,
    /// `exp`
    pub ends_at: u64,
}

impl Told {
    /// Read, not verified: hosts do that. `None` is no token, or one whose name no ssh-keygen should see.
    pub fn by(token: &str) -> Option<Self> {
        use base64ct::{Base64UrlUnpadded, Encoding};
        let claims = Base64UrlUnpadded::decode_vec(token.split('.').nth(1)?).ok()?;
        let claims: serde_json::Value = serde_json::from_slice(&claims).ok()?;
        let token_id = claims.get("jti")?.as_str()?;
        let is_plain = token_id
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte));
        Some(Self {
            token_id: Some(token_id).filter(|id| is_plain && !id.is_empty())?.to_owned(),
            issued_at: claims.get("iat")?.as_u64()?,
            ends_at: claims.get("exp")?.as_u64()?,
        })
    }
}

const ASK: Action = Action::named("sts:GetWebIdentityToken");
// As keymaker-proof has them.
const KEY_TAG: &str = "keymaker-key";
const USER_TAG: &str = "keymaker-user";
const HOST_TAG: &str = "keymaker-host";
/// How long a token is to live, in seconds.
const LIFE: i32 = 300;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_is_told_with_what_to_do() {
        let refused = |code: &str| AwsCallError::Outage {
            action: ASK,
            cause: OutageCause::Refused {
                code: code.to_owned(),
                message: "m".to_owned(),
            },
        };
        let credentials = |why: &str| AwsCallError::Outage {
            action: ASK,
            cause: OutageCause::Credentials(why.to_owned()),
        };
        let denied = |action: &str| AwsCallError::AccessDenied {
            action: ASK,
            message: format!("not authorized to perform: {action} on resource: *"),
        };
        for (error, remedy) in [
            (denied("sts:GetWebIdentityToken"), "KeymakerLogins"),
            (
                denied("sts:TagGetWebIdentityToken"),
                "allows sts:TagGetWebIdentityToken",
            ),
            (
                denied("sts:GetWebIdentityToken on resource: * with an explicit deny in a service control policy,"),
                "a policy forbids",
            ),
            (
                refused("OutboundWebIdentityFederationDisabledException"),
                "configure --logins",
            ),
            (refused("JWTPayloadSizeExceededException"), "fewer tags"),
            (refused("SessionDurationEscalationException"), "aws sso login"),
            (refused("InvalidAction"), "--region"),
            (
                credentials("ExpiredToken: The security token included in the request is expired"),
                "aws sso login",
            ),
            (
                credentials(
                    "SignatureDoesNotMatch: Signature expired: 20270115T080000Z is now earlier than 20270115T081000Z",
                ),
                "set the clock",
            ),
            (
                credentials(
                    "SignatureDoesNotMatch: Signature not yet current: 20270115T082000Z is still later than 20270115T081500Z",
                ),
                "set the clock",
            ),
            (
                credentials("the SSO token has expired and cannot be refreshed"),
                "aws sso login",
            ),
            (
                credentials("requires following cargo feature(s) enabled: credentials-login"),
                "export-credentials",
            ),
            (refused("Other"), "AWS refused the request: m (Other)"),
        ] {
            let told = named(error).to_string();
            assert!(told.contains(remedy), "{remedy}: {told}");
        }
    }

    #[test]
    fn what_a_token_says_of_itself_is_read_and_what_no_ssh_keygen_should_see_is_not() {
        let token = |claims: &str| {
            use base64ct::{Base64UrlUnpadded, Encoding};
            format!("x.{}.x", Base64UrlUnpadded::encode_string(claims.as_bytes()))
        };
        let told = Told::by(&token(r#"{"jti":"a-1","iat":1800000000,"exp":1800000300}"#)).unwrap();
        assert_eq!(
            (told.token_id.as_str(), told.issued_at, told.ends_at),
            ("a-1", 1_800_000_000, 1_800_000_300)
        );
        for bad in [
            r#"{"jti":"-O x","iat":1,"exp":2}"#,
            r#"{"jti":"","iat":1,"exp":2}"#,
            r#"{"iat":1,"exp":2}"#,
            "[]",
        ] {
            assert_eq!(Told::by(&token(bad)), None, "{bad}");
        }
    }
}
