//! The second way, against servers on loopback, with a first one that never finds a port.

use std::path::PathBuf;
use std::sync::Mutex;

use aws_smithy_runtime_api::client::result::ConnectorError;
use keymaker_syntax::ProxyUrl;
use rustix::io::Errno;

use super::*;
use crate::canned::{Canned, Reply};
use crate::canned_tls::{ANOTHER_AUTHORITY, AUTHORITY, Bundle, in_front_of};
use crate::settings::AwsSettings;

#[derive(Debug)]
struct Fails(Errno);

impl HttpConnector for Fails {
    fn call(&self, _: HttpRequest) -> HttpConnectorFuture {
        HttpConnectorFuture::ready(Err(ConnectorError::io(Box::new(io::Error::from(self.0)))))
    }
}

/// The second way of these settings, after a first one that fails so.
fn after(first: Errno, settings: &AwsSettings) -> OwnWay {
    let second = FromOwnPorts {
        to: Way {
            direct: Direct(OwnPorts::default()),
            proxy: settings.proxy_matcher().map(Arc::new),
        },
        ca_pem: settings.ca_pem().unwrap(),
        idle: Duration::from_secs(1),
        client: OnceLock::new(),
    };
    OwnWay {
        first: SharedHttpConnector::new(Fails(first)),
        second: Arc::new(second),
    }
}

async fn status(way: &OwnWay, url: &str) -> Option<u16> {
    let answer = way.call(HttpRequest::get(url).unwrap()).await;
    answer.ok().map(|answer| answer.status().as_u16())
}

// P9
#[tokio::test]
async fn what_found_no_port_is_sent_once_from_an_own_one_and_nothing_else_is() {
    let server = Canned::serve(|_| Reply::Answer(204, String::new())).await;
    let way = after(Errno::ADDRNOTAVAIL, &AwsSettings::default());
    assert_eq!(status(&way, &server.url).await, Some(204));
    assert_eq!(status(&way, &server.url).await, Some(204));
    assert_eq!((server.requests().len(), server.connections()), (2, 1));
    let way = after(Errno::CONNRESET, &AwsSettings::default());
    assert_eq!(status(&way, &server.url).await, None);
    assert_eq!(server.requests().len(), 2);
}

// P3
#[tokio::test]
async fn where_no_own_port_helps_either_the_lack_is_what_is_told() {
    let way = after(Errno::ADDRNOTAVAIL, &AwsSettings::default());
    let closed = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let error = way
        .call(HttpRequest::get(format!("http://{closed}")).unwrap())
        .await
        .unwrap_err();
    assert!(local_error(&error).is_some(), "{error:?}");
}

#[tokio::test]
async fn an_own_port_trusts_no_other_certificates_than_the_first_way() {
    let server = Canned::serve(|_| Reply::Answer(204, String::new())).await;
    let url = in_front_of(&server.url).await;
    let bundle = Bundle::new("own-way", AUTHORITY);
    let by = |ca_bundle: Option<PathBuf>| {
        let settings = AwsSettings {
            ca_bundle,
            ..AwsSettings::default()
        };
        after(Errno::ADDRNOTAVAIL, &settings)
    };
    let trusting = by(Some(bundle.0.clone()));
    assert_eq!(status(&trusting, &url).await, Some(204));
    let another_name = url.replace("localhost", "127.0.0.1");
    assert_eq!(status(&trusting, &another_name).await, None);
    let another = Bundle::new("own-way-other", ANOTHER_AUTHORITY);
    for other in [None, Some(another.0.clone())] {
        assert_eq!(status(&by(other), &url).await, None);
    }
}

#[tokio::test]
async fn an_own_port_tells_the_proxy_nothing_in_the_clear_that_wants_tls() {
    let asked = Arc::new(Mutex::new(String::new()));
    let log = Arc::clone(&asked);
    let proxy = Canned::serve(move |request| {
        *log.lock().unwrap() = request.to_owned();
        Reply::Answer(403, String::new())
    })
    .await;
    for (scheme, told) in [("https://", false), ("http://", true)] {
        let url = proxy.url.replace("http://", &format!("{scheme}user:word@"));
        let settings = AwsSettings {
            https_proxy: Some(ProxyUrl::new(url)),
            ..AwsSettings::default()
        };
        let way = after(Errno::ADDRNOTAVAIL, &settings);
        assert_eq!(status(&way, "https://iam.example.com/").await, None);
        assert!(!format!("{way:?}").contains("word"), "{way:?}");
        let asked = asked.lock().unwrap().clone();
        assert_eq!(
            asked.starts_with("CONNECT iam.example.com:443 HTTP/1.1"),
            told,
            "{asked}"
        );
        assert_eq!(asked.contains("proxy-authorization: basic "), told, "{asked}");
    }
}
