//! Refuses requests that did not come from a local client speaking to the metadata service.
//!
//! The server asks before it looks at the path. Forwarding headers mean a proxy that relays somebody else's request,
//! browser headers and foreign host names mean a web page (DNS rebinding); the real service has only the first of these
//! checks, and only for tokens (H10).

use hyper::header::{FORWARDED, HOST, HeaderName, ORIGIN, UPGRADE, VIA};
use hyper::http::request::Parts;
use hyper::{Method, StatusCode, Version};

/// Why a request is not looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inadmissible {
    /// 400 for what no client of this service sends, 403 for what it must not get.
    pub status: StatusCode,
    /// For the audit line.
    pub reason: &'static str,
}

/// Fails with the first thing that is wrong with the request's head.
pub fn check(head: &Parts, door: Door) -> Result<(), Inadmissible> {
    if head.method == Method::CONNECT || head.headers.contains_key(UPGRADE) {
        return Err(Inadmissible {
            status: StatusCode::BAD_REQUEST,
            reason: "this is not a proxy, and it speaks HTTP/1 only",
        });
    }
    check_host(head, door)?;
    // An empty header forwards as well: only its presence counts.
    if [X_FORWARDED_FOR, FORWARDED, VIA]
        .iter()
        .any(|name| head.headers.contains_key(name))
    {
        return Err(forbidden("the request was forwarded by a proxy"));
    }
    let from_page = |name: &HeaderName| *name == ORIGIN || name.as_str().starts_with("sec-fetch-");
    if head.headers.keys().any(from_page) {
        return Err(forbidden("the request was made by a web page"));
    }
    Ok(())
}

fn check_host(head: &Parts, door: Door) -> Result<(), Inadmissible> {
    let mut hosts = head.headers.get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (None, _) if head.version == Version::HTTP_10 => {}
        (Some(host), None) => {
            let known = host.to_str().is_ok_and(|host| door.is_named(host));
            known
                .then_some(())
                .ok_or(forbidden("the request is for another host"))?;
        }
        _ => {
            return Err(Inadmissible {
                status: StatusCode::BAD_REQUEST,
                reason: "the request has no Host, or several",
            });
        }
    }
    let Some(authority) = head.uri.authority() else {
        return Ok(());
    };
    let ours = head.uri.scheme_str() == Some("http") && door.is_named(authority.as_str());
    ours.then_some(())
        .ok_or(forbidden("the request's address is another host's"))
}

/// Where a connection came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// The metadata address.
    Metadata,
    /// The container endpoint, at this port of loopback.
    Container(u16),
}

impl Door {
    fn is_named(self, host: &str) -> bool {
        let (port, names): (u16, &[&str]) = match self {
            Self::Metadata => (80, &METADATA_HOSTS),
            Self::Container(port) => (port, &LOOPBACK_HOSTS),
        };
        let name = host
            .strip_suffix(&format!(":{port}"))
            .unwrap_or(host)
            .to_ascii_lowercase();
        names.contains(&name.as_str())
    }
}

fn forbidden(reason: &'static str) -> Inadmissible {
    Inadmissible {
        status: StatusCode::FORBIDDEN,
        reason,
    }
}

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The addresses, and the names that resolve to them on EC2.
const METADATA_HOSTS: [&str; 4] = [
    "169.254.169.254",
    "[fd00:ec2::254]",
    "instance-data",
    "instance-data.ec2.internal",
];

const LOOPBACK_HOSTS: [&str; 3] = ["127.0.0.1", "[::1]", "localhost"];
