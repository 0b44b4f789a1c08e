//! The second way, against servers on loopback, with a first one that never finds a port.

use std::path::PathBuf;
use std::sync::Mutex;

use aws_smithy_runtime_api::client::result::ConnectorError;
use rustix::io::Errno;
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::canned::{Canned, Reply};
use crate::proxy_url::ProxyUrl;
use crate::settings::AwsSettings;

/// Of localhost, by itself, until 2126.
const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----\n\
    MIIBkzCCATigAwIBAgIUPOZO/xHAFs83D1zed9Rk+A4LEb0wCgYIKoZIzj0EAwIw\n\
    FDESMBAGA1UEAwwJbG9jYWxob3N0MCAXDTI2MTEyODE3MTAyOFoYDzIxMjYxMTA0\n\
    MTcxMDI4WjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjO\n\
    PQMBBwNCAARFdA6q3sgRSfrl3z+AXOAF/YeS0SDsLQFnFZycR5ct6WI8Xog0+bKk\n\
    P24DbfUz3myWRuGYMkrisAZWbySI+Tiuo2YwZDAdBgNVHQ4EFgQUt76p9U0Y130C\n\
    vjVSP5gRqEZk1aIwHwYDVR0jBBgwFoAUt76p9U0Y130CvjVSP5gRqEZk1aIwFAYD\n\
    VR0RBA0wC4IJbG9jYWxob3N0MAwGA1UdEwEB/wQCMAAwCgYIKoZIzj0EAwIDSQAw\n\
    RgIhAISJo/jWrkUO5N6bgp2v7Km34MDzfLhUCQUSLnu8AA0+AiEAr9byyMy0YsWb\n\
    6ETjRDP0WNqS8mOLTJMBBo/uMwWot5k=\n\
    -----END CERTIFICATE-----\n";
const ITS_KEY: &str = "-----BEGIN PRIVATE KEY-----\n\
    MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgxfNYTy/s652YE9ZU\n\
    Mz+R5QhYHGfjbhTbdjQcB7hwNrOhRANCAARFdA6q3sgRSfrl3z+AXOAF/YeS0SDs\n\
    LQFnFZycR5ct6WI8Xog0+bKkP24DbfUz3myWRuGYMkrisAZWbySI+Tiu\n\
    -----END PRIVATE KEY-----\n";

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
    let port = serve_tls().await;
    let url = format!("https://localhost:{port}/");
    let bundle = std::env::temp_dir().join(format!("keymaker-own-way-{}.pem", std::process::id()));
    std::fs::write(&bundle, CERTIFICATE).unwrap();
    let by = |ca_bundle: Option<PathBuf>| {
        let settings = AwsSettings {
            ca_bundle,
            ..AwsSettings::default()
        };
        after(Errno::ADDRNOTAVAIL, &settings)
    };
    assert_eq!(status(&by(Some(bundle.clone())), &url).await, Some(204));
    assert_eq!(
        status(&by(Some(bundle.clone())), &format!("https://127.0.0.1:{port}/")).await,
        None
    );
    assert_eq!(status(&by(None), &url).await, None);
    std::fs::remove_file(bundle).unwrap();
}

/// Answers 204 to whoever speaks TLS.
async fn serve_tls() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let certificate = CertificateDer::from_pem_slice(CERTIFICATE.as_bytes()).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate],
            PrivateKeyDer::from_pem_slice(ITS_KEY.as_bytes()).unwrap(),
        )
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            if let Ok(mut stream) = acceptor.accept(stream).await {
                let _ = stream.read(&mut [0; 4096]).await;
                let _ = stream.write_all(b"HTTP/1.1 204 X\r\n\r\n").await;
            }
        }
    });
    port
}

#[tokio::test]
async fn an_own_port_asks_through_the_proxy_and_tells_it_nothing_in_the_clear_that_wants_tls() {
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
