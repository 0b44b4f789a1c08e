//! The public keys by which an issuer signs tokens: two documents of `OpenID` Connect, fetched from its own address and from nowhere else.
//!
//! Called by keymakerd where logins by proof are on. Whoever answers there decides who logs in, so: https, no redirect, the second
//! document at the first one's origin, 64 KiB.

use std::time::Duration;

use aws_smithy_runtime_api::client::http::HttpConnector;
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_types::body::SdkBody;
use http_body_util::{BodyExt, Limited};
use tokio::time::timeout;

use crate::call_error::{AwsCallError, OutageCause};
use crate::issuer_documents::{FETCH, Point, configuration_of, keys_of, read_keys, unreadable};
use crate::route::AwsClients;

impl AwsClients {
    /// The keys that the issuer of this URL shows now: `kid` and point. At least one.
    pub async fn issuer_keys(&self, issuer: &str) -> Result<Vec<(String, Point)>, AwsCallError> {
        let configuration = self.document(&configuration_of(issuer)?).await?;
        let keys = keys_of(issuer, &configuration)?;
        read_keys(&self.document(&keys).await?)
    }

    async fn document(&self, uri: &str) -> Result<Vec<u8>, AwsCallError> {
        let mut request = HttpRequest::new(SdkBody::empty());
        request.set_uri(uri).map_err(|_| unreadable("its address is no URL"))?;
        request.headers_mut().insert("accept", "application/json");
        let unreachable = |cause: String| AwsCallError::Outage {
            action: FETCH,
            cause: OutageCause::Unreachable(cause),
        };
        let fetched = async {
            let answer = self.route.connector.call(request).await;
            let answer = answer.map_err(|error| unreachable(format!("{uri}: {error:?}")))?;
            // A redirect is an answer like any other that is not 200.
            if answer.status().as_u16() != 200 {
                return Err(unreadable(&format!("{uri} answers {}", answer.status().as_u16())));
            }
            let body = Limited::new(answer.into_body(), LONGEST).collect().await;
            let body = body.map_err(|error| unreadable(&format!("{uri}: {error}")))?;
            Ok(body.to_bytes().to_vec())
        };
        timeout(WITHIN, fetched).await.unwrap_or(Err(AwsCallError::Outage {
            action: FETCH,
            cause: OutageCause::Timeout,
        }))
    }
}

const LONGEST: usize = 64 * 1024;
const WITHIN: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::canned::{Canned, Reply};
    use crate::canned_tls::{ANOTHER_AUTHORITY, AUTHORITY, Bundle, in_front_of};
    use crate::{AwsSettings, Route};
    use aws_credential_types::Credentials;

    fn set() -> String {
        let number = "A".repeat(64);
        format!(r#"{{"keys":[{{"kty":"EC","crv":"P-384","kid":"EC384_0","x":"{number}","y":"{number}"}}]}}"#)
    }

    /// What comes of an issuer that answers so about its configuration, of this URL, and about its keys.
    async fn fetched(
        authority: &str,
        configuration: impl Fn(&str) -> Reply + Send + 'static,
        keys: impl Fn() -> Reply + Send + 'static,
    ) -> Result<Vec<(String, Point)>, AwsCallError> {
        let canned = Canned::serve(move |request| {
            let host = request
                .lines()
                .find_map(|line| line.strip_prefix("host: "))
                .unwrap_or_default();
            match request.split(' ').nth(1) {
                Some("/.well-known/openid-configuration") => configuration(&format!("https://{host}")),
                Some("/.well-known/jwks.json") => keys(),
                _ => Reply::Answer(404, String::new()),
            }
        });
        let url = in_front_of(&canned.await.url).await;
        let bundle = Bundle::new("issuer-keys", authority);
        let settings = AwsSettings {
            ca_bundle: Some(bundle.0.clone()),
            ..AwsSettings::default()
        };
        let nobody = Credentials::new("AKIAX", "x", None, None, "test");
        let clients = Route::new(&settings)
            .unwrap()
            .with_credentials("eu-central-1".to_owned(), nobody);
        clients.issuer_keys(&url).await
    }

    fn configured(issuer: &str) -> Reply {
        Reply::Answer(
            200,
            format!(r#"{{"issuer":"{issuer}","jwks_uri":"{issuer}/.well-known/jwks.json"}}"#),
        )
    }

    fn shown() -> Reply {
        Reply::Answer(200, set())
    }

    // P21, P22
    #[tokio::test]
    async fn keys_are_fetched_whole_from_the_issuer_itself_or_not_at_all() {
        let keys = fetched(AUTHORITY, configured, shown).await.unwrap();
        assert_eq!((keys.len(), keys[0].0.as_str(), keys[0].1[0]), (1, "EC384_0", 4));
        assert!(
            fetched(ANOTHER_AUTHORITY, configured, shown).await.is_err(),
            "not its certificate"
        );
        let redirect = || Reply::With("location: https://evil.example/\r\n".to_owned(), "moved".to_owned());
        assert!(fetched(AUTHORITY, configured, redirect).await.is_err());
        for status in [301, 302, 307, 404, 500] {
            let fails = move || Reply::Answer(status, set());
            assert!(fetched(AUTHORITY, configured, fails).await.is_err(), "{status}");
        }
        let large = || Reply::Answer(200, format!("{}{}", " ".repeat(LONGEST), r#"{"keys":[]}"#));
        assert!(fetched(AUTHORITY, configured, large).await.is_err());
        let elsewhere = |issuer: &str| {
            Reply::Answer(
                200,
                format!(r#"{{"issuer":"{issuer}","jwks_uri":"https://evil.example/jwks.json"}}"#),
            )
        };
        assert!(fetched(AUTHORITY, elsewhere, shown).await.is_err());
        let broken = || Reply::Stall(set());
        assert!(fetched(AUTHORITY, configured, broken).await.is_err());
    }
}
