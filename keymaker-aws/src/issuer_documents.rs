//! The two documents by which an issuer shows its keys, read: where they are, and which of them verify ES384.
//!
//! Called by `issuer_keys`, which fetches them, and by keymakerd for `login_keys_file`. Whoever writes them decides who logs in, so
//! nothing is taken but points of P-384 with a name.

use std::collections::BTreeSet;

use base64ct::{Base64UrlUnpadded, Encoding};
use keymaker_syntax::{is_issuer, origin};
use serde::Deserialize;

use crate::call_error::{Action, AwsCallError};

/// Of P-384, uncompressed, as SEC 1 writes points.
pub type Point = [u8; 97];

/// What could not be fetched, in the words of the other calls.
pub(crate) const FETCH: Action = Action::named("fetching the issuer's keys");

/// Where an issuer describes itself (`OpenID` Connect Discovery 1.0, section 4), if this is the URL of one.
pub(crate) fn configuration_of(issuer: &str) -> Result<String, AwsCallError> {
    if !is_issuer(issuer) {
        return Err(unreadable("the issuer is no https URL"));
    }
    Ok(format!("{issuer}/.well-known/openid-configuration"))
}

/// Where its keys are: at its own origin.
pub(crate) fn keys_of(issuer: &str, configuration: &[u8]) -> Result<String, AwsCallError> {
    let configuration: IssuerConfiguration = serde_json::from_slice(configuration)
        .map_err(|_| unreadable("the issuer's configuration lacks issuer or jwks_uri"))?;
    if configuration.issuer != issuer {
        return Err(unreadable("the issuer's configuration is another issuer's"));
    }
    match origin(&configuration.jwks_uri) {
        Some(there) if Some(&there) == origin(issuer).as_ref() => Ok(configuration.jwks_uri),
        _ => Err(unreadable("the issuer's keys are elsewhere than the issuer")),
    }
}

/// The keys of a set (RFC 7517) that can verify ES384; others are passed over.
pub fn read_keys(set: &[u8]) -> Result<Vec<(String, Point)>, AwsCallError> {
    let set: KeySet = serde_json::from_slice(set).map_err(|_| unreadable("the issuer's keys are no set of keys"))?;
    if set.keys.len() > MOST_KEYS {
        return Err(unreadable("the issuer has more than twenty keys"));
    }
    let keys: Vec<(String, Point)> = set.keys.iter().filter_map(usable).collect();
    let names: BTreeSet<&String> = keys.iter().map(|(kid, _)| kid).collect();
    if names.len() != keys.len() {
        return Err(unreadable("two of the issuer's keys have one name"));
    }
    if keys.is_empty() {
        return Err(unreadable("none of the issuer's keys is one of ES384"));
    }
    Ok(keys)
}

fn usable(key: &serde_json::Value) -> Option<(String, Point)> {
    let text = |name: &str| key.get(name).and_then(serde_json::Value::as_str);
    let says = |name: &str, value: &str| key.get(name).is_none() || text(name) == Some(value);
    let is_ours =
        text("kty") == Some("EC") && text("crv") == Some("P-384") && says("use", "sig") && says("alg", "ES384");
    let kid =
        text("kid").filter(|kid| (1..=255).contains(&kid.len()) && kid.bytes().all(|byte| byte.is_ascii_graphic()))?;
    let number = |name| {
        Base64UrlUnpadded::decode_vec(text(name)?)
            .ok()
            .filter(|number| number.len() == 48)
    };
    let point = [vec![4], number("x")?, number("y")?].concat();
    is_ours.then_some((kid.to_owned(), point.try_into().ok()?))
}

pub(crate) fn unreadable(what: &str) -> AwsCallError {
    AwsCallError::unreadable(FETCH, what)
}

#[derive(Deserialize)]
struct IssuerConfiguration {
    issuer: String,
    jwks_uri: String,
}

#[derive(Deserialize)]
struct KeySet {
    keys: Vec<serde_json::Value>,
}

const MOST_KEYS: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn key(kid: &str, more: &str) -> String {
        let number = "A".repeat(64);
        format!(r#"{{"kty":"EC","crv":"P-384","kid":"{kid}","x":"{number}","y":"{number}"{more}}}"#)
    }

    fn set(keys: &[String]) -> Vec<u8> {
        format!(r#"{{"keys":[{}]}}"#, keys.join(",")).into_bytes()
    }

    fn names(keys: &[String]) -> Vec<String> {
        let read = read_keys(&set(keys)).unwrap_or_default();
        read.into_iter().map(|(kid, _)| kid).collect()
    }

    // P21
    #[test]
    fn only_named_points_of_p_384_for_signatures_are_taken() {
        let rsa = r#"{"kty":"RSA","kid":"RSA_0","n":"AQAB","e":"AQAB","alg":"RS256","use":"sig"}"#.to_owned();
        assert_eq!(
            names(&[rsa.clone(), key("EC384_0", r#","alg":"ES384","use":"sig""#)]),
            ["EC384_0"]
        );
        assert_eq!(names(&[key("a", ""), key("b", "")]), ["a", "b"]);
        for bad in [
            key("a", r#","use":"enc""#),
            key("a", r#","alg":"ES256""#),
            key("a", "").replace("P-384", "P-256"),
            key("a", "").replace("EC\"", "OKP\""),
            key("a", "").replace("\"kid\":\"a\",", ""),
            key("", ""),
            key("a b", ""),
            key("a", "").replacen("AAAA", "AAA", 1),
            key("a", "").replacen("AAAA", "AA==", 1),
            rsa,
            "1".to_owned(),
        ] {
            assert!(names(std::slice::from_ref(&bad)).is_empty(), "{bad}");
        }
    }

    // P21
    #[test]
    fn an_empty_set_two_of_one_name_and_more_than_twenty_are_no_answer() {
        for bad in [
            set(&[]),
            set(&[key("a", ""), key("a", "")]),
            set(&(0..21).map(|number| key(&number.to_string(), "")).collect::<Vec<_>>()),
            b"{}".to_vec(),
            b"[]".to_vec(),
            b"".to_vec(),
            b"<html>".to_vec(),
        ] {
            assert!(read_keys(&bad).is_err());
        }
        assert_eq!(
            names(&(0..20).map(|number| key(&number.to_string(), "")).collect::<Vec<_>>()).len(),
            20
        );
    }

    // P21
    #[test]
    fn keys_elsewhere_than_the_issuer_are_nobodys() {
        let at = |issuer: &str, configured: &str, keys: &str| {
            let text = format!(r#"{{"issuer":"{configured}","jwks_uri":"{keys}"}}"#);
            keys_of(issuer, text.as_bytes())
        };
        let own = "https://1.tokens.sts.global.api.aws";
        assert!(at(own, own, &format!("{own}/.well-known/jwks.json")).is_ok());
        assert!(at(own, own, "https://1.TOKENS.sts.global.api.aws:443/x").is_ok());
        for keys in [
            "https://2.tokens.sts.global.api.aws/jwks.json",
            "http://1.tokens.sts.global.api.aws/jwks.json",
            "https://1.tokens.sts.global.api.aws:8443/jwks.json",
            "https://1.tokens.sts.global.api.aws@evil/jwks.json",
            "https://x@1.tokens.sts.global.api.aws/jwks.json",
            "/jwks.json",
            "",
        ] {
            assert!(at(own, own, keys).is_err(), "{keys}");
        }
        assert!(at(own, "https://2.tokens.sts.global.api.aws", &format!("{own}/jwks.json")).is_err());
    }
}
