//! How the issuer of tokens is written: the claim `iss`, and the address where its keys are (`OpenID` Connect Discovery 1.0).

use http::Uri;
use http::uri::Scheme;

/// Whether this can be an issuer: an https URL without query, fragment, credentials or slash at its end.
pub fn is_issuer(text: &str) -> bool {
    let plain = text.len() <= 255
        && text
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && !b"?#@\\\"".contains(&byte));
    plain && !text.ends_with('/') && origin(text).is_some()
}

/// Host and port of an https URL without credentials.
pub fn origin(url: &str) -> Option<(String, u16)> {
    let uri: Uri = url.parse().ok()?;
    let authority = uri.authority()?;
    let is_plain = uri.scheme() == Some(&Scheme::HTTPS) && !authority.as_str().contains('@');
    is_plain.then(|| {
        (
            authority.host().to_ascii_lowercase(),
            authority.port_u16().unwrap_or(443),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    // P21
    #[test]
    fn an_issuer_is_an_https_url_and_nothing_more() {
        for issuer in ["https://1.tokens.sts.global.api.aws", "https://localhost:8443/a"] {
            assert!(is_issuer(issuer), "{issuer}");
        }
        for issuer in [
            "http://x",
            "https://x/",
            "https://u@x",
            "https://x?y",
            "https://x#y",
            "x",
            "",
            "https://",
        ] {
            assert!(!is_issuer(issuer), "{issuer}");
        }
    }
}
