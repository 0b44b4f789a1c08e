//! Which URLs an endpoint in a settings file may be. Called by keymaker-aws and by the daemons' checks of their files.

use http::Uri;
use http::uri::Scheme;

/// Whether an endpoint may be this: `http(s)://host[:port]` and nothing more.
pub fn is_service_url(value: &str) -> bool {
    service_uri(value).is_some()
}

/// The URL of an endpoint; `None` where [`is_service_url`] says no.
pub fn service_uri(value: &str) -> Option<Uri> {
    let uri: Uri = value.parse().ok()?;
    let http = uri.scheme() == Some(&Scheme::HTTP) || uri.scheme() == Some(&Scheme::HTTPS);
    let bare = uri.path() == "/" && uri.query().is_none() && !uri.authority()?.as_str().contains('@');
    (http && bare).then_some(uri)
}
