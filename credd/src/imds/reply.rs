//! The replies of the metadata service, with the headers and error pages of the real one.
//!
//! The server sends what this file makes. It decides nothing.

use std::time::SystemTime;

use bytes::Bytes;
use credd_core::time_text::{http_date, iso8601};
use http_body_util::Full;
use hyper::header::{
    ACCEPT_RANGES, ALLOW, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue, LAST_MODIFIED,
    RETRY_AFTER, SERVER,
};
use hyper::{Response, StatusCode};
use keymaker_aws::RoleArn;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::credential_source::Credentials;

/// A reply with a whole body.
pub type Reply = Response<Full<Bytes>>;

/// The name of the header that tells how long a token still lives.
pub const TTL_HEADER: HeaderName = HeaderName::from_static("x-aws-ec2-metadata-token-ttl-seconds");

/// 200 with a body of this type.
pub fn ok(body: Bytes, content_type: HeaderValue, now: SystemTime) -> Reply {
    let mut reply = with_status(StatusCode::OK, body, content_type);
    let modified = HeaderValue::from_str(&http_date(now)).unwrap_or(HeaderValue::from_static(""));
    reply.headers_mut().insert(LAST_MODIFIED, modified);
    reply
}

/// 200 with plain text.
pub fn text(body: impl Into<Bytes>, now: SystemTime) -> Reply {
    ok(body.into(), PLAIN, now)
}

/// The page of an error. What cannot be found out now is worth another try in a second.
pub fn error(status: StatusCode) -> Reply {
    let page = Bytes::from(error_page(status));
    let mut reply = with_status(status, page, HeaderValue::from_static("text/html"));
    if status == StatusCode::SERVICE_UNAVAILABLE {
        reply.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    reply
}

/// 405, or the answer to OPTIONS, with what is allowed.
pub fn allow(status: StatusCode, methods: &'static str) -> Reply {
    let mut reply = with_status(status, Bytes::new(), PLAIN);
    reply.headers_mut().insert(ALLOW, HeaderValue::from_static(methods));
    reply
}

/// An error for a connection that hyper does not serve.
pub fn raw_error(status: StatusCode) -> Vec<u8> {
    let page = error_page(status);
    let head = "Content-Type: text/html\r\nConnection: close\r\nServer: EC2ws\r\n";
    format!(
        "HTTP/1.1 {status}\r\n{head}Content-Length: {}\r\n\r\n{page}",
        page.len()
    )
    .into_bytes()
}

/// 200 with JSON.
pub fn json(body: Bytes, now: SystemTime) -> Reply {
    ok(body, HeaderValue::from_static("application/json"), now)
}

/// The document of `iam/security-credentials/ROLE`, in memory that is wiped once it is sent.
pub fn credentials_document(credentials: &Credentials) -> Bytes {
    let fields = [
        ("Code", "Success".to_owned()),
        ("LastUpdated", iso8601(credentials.last_updated)),
        ("Type", "AWS-HMAC".to_owned()),
    ];
    wiped_document(&fields, credentials)
}

/// The document of a container endpoint: no Code, and the account (SDK Reference, "Container credential provider").
pub fn container_document(role: &RoleArn, credentials: &Credentials) -> Bytes {
    let fields = [
        ("RoleArn", role.to_string()),
        ("AccountId", role.account().as_str().to_owned()),
    ];
    wiped_document(&fields, credentials)
}

fn wiped_document(fields: &[(&str, String)], credentials: &Credentials) -> Bytes {
    let (secret, token) = (
        credentials.secret_access_key.expose(),
        credentials.sts_session_token.expose(),
    );
    // Room for all of it, escapes included: growing would leave a copy behind.
    let mut document = Zeroizing::new(Vec::with_capacity(2048 + 6 * (secret.len() + token.len())));
    document.push(b'{');
    for (name, value) in fields {
        append(&mut document, name, value);
        document.push(b',');
    }
    append(&mut document, "AccessKeyId", &credentials.access_key_id);
    document.push(b',');
    append(&mut document, "SecretAccessKey", secret);
    document.push(b',');
    append(&mut document, "Token", token);
    document.push(b',');
    append(&mut document, "Expiration", &iso8601(credentials.expiration));
    document.extend_from_slice(b"\n}");
    Bytes::from_owner(document)
}

/// What a role's path says when STS refuses the role.
pub fn refused_document(now: SystemTime) -> String {
    let message = "No credentials are issued to this user by this role.";
    document(&[
        ("Code", "AssumeRoleUnauthorizedAccess"),
        ("Message", message),
        ("LastUpdated", &iso8601(now)),
    ])
}

/// The document of `iam/info`, of the caller's own role. There is no instance profile behind it, so its id is made from
/// the role's name; it has the form that AWS gives them.
pub fn profile_document(role: &RoleArn, now: SystemTime) -> String {
    let role_arn = role.to_string();
    let profile_arn = role_arn.replacen(":role/", ":instance-profile/", 1);
    let digest = Sha256::digest(role_arn.as_bytes());
    let letters = digest.iter().take(17).map(|byte| char::from(b'A' + byte % 26));
    let id: String = "AIPA".chars().chain(letters).collect();
    document(&[
        ("Code", "Success"),
        ("LastUpdated", &iso8601(now)),
        ("InstanceProfileArn", &profile_arn),
        ("InstanceProfileId", &id),
    ])
}

fn document(fields: &[(&str, &str)]) -> String {
    let lines: Vec<String> = fields
        .iter()
        .map(|(name, value)| format!("  \"{name}\" : {}", serde_json::Value::from(*value)))
        .collect();
    format!("{{\n{}\n}}", lines.join(",\n"))
}

fn append(document: &mut Vec<u8>, name: &str, value: &str) {
    document.extend_from_slice(format!("\n  \"{name}\" : \"").as_bytes());
    for character in value.chars() {
        match character {
            '"' | '\\' => document.extend_from_slice(&[b'\\', u8::try_from(character).unwrap_or_default()]),
            control if control < ' ' => document.extend_from_slice(format!("\\u{:04x}", u32::from(control)).as_bytes()),
            other => document.extend_from_slice(other.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    document.push(b'"');
}

fn with_status(status: StatusCode, body: Bytes, content_type: HeaderValue) -> Reply {
    let length = HeaderValue::from(body.len());
    let mut reply = Response::new(Full::new(body));
    *reply.status_mut() = status;
    let headers = reply.headers_mut();
    headers.insert(CONTENT_TYPE, content_type);
    // By hand, because HEAD has the length too.
    headers.insert(CONTENT_LENGTH, length);
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("none"));
    headers.insert(SERVER, HeaderValue::from_static("EC2ws"));
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    reply
}

fn error_page(status: StatusCode) -> String {
    let title = format!(
        "{} - {}",
        status.as_u16(),
        status.canonical_reason().unwrap_or_default()
    );
    format!(
        "<?xml version=\"1.0\" encoding=\"iso-8859-1\"?>\n\
         <!DOCTYPE html PUBLIC \"-//W3C//DTD XHTML 1.0 Transitional//EN\"\n\
         \t\"http://www.w3.org/TR/xhtml1/DTD/xhtml1-transitional.dtd\">\n\
         <html xmlns=\"http://www.w3.org/1999/xhtml\" xml:lang=\"en\" lang=\"en\">\n \
         <head>\n  <title>{title}</title>\n </head>\n <body>\n  <h1>{title}</h1>\n </body>\n</html>\n"
    )
}

/// The type of nearly everything.
pub const PLAIN: HeaderValue = HeaderValue::from_static("text/plain");
