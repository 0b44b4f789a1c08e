//! For tests: TLS in front of a canned server, with a certificate of an authority that no system trusts. The daemons'
//! tests include this file too.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// `https://localhost:PORT`, which leads to the server at `url`, `http://ADDRESS:PORT`. It ends with the test's
/// runtime.
pub async fn in_front_of(url: &str) -> String {
    let server = url.trim_start_matches("http://").to_owned();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let certificate = CertificateDer::from_pem_slice(CERTIFICATE.as_bytes()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(ITS_KEY.as_bytes()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, server) = (acceptor.clone(), server.clone());
            tokio::spawn(async move {
                // Anybody who does not trust the certificate ends here.
                let mut inside = acceptor.accept(stream).await?;
                let mut outside = TcpStream::connect(server).await?;
                copy_bidirectional(&mut inside, &mut outside).await
            });
        }
    });
    format!("https://localhost:{port}")
}

/// A file that holds the authority.
pub struct Bundle(pub PathBuf);

impl Bundle {
    /// `name` is the test's.
    pub fn new(name: &str, authority: &str) -> Self {
        let path = std::env::temp_dir().join(format!("keymaker-{name}-{}.pem", std::process::id()));
        std::fs::write(&path, authority).unwrap();
        Self(path)
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// By whom the certificate is signed; until 2120, as all of these.
pub const AUTHORITY: &str = "-----BEGIN CERTIFICATE-----\n\
    MIIBZjCCAQugAwIBAgIBATAKBggqhkjOPQQDAjAZMRcwFQYDVQQDDA5UZXN0IGF1\n\
    dGhvcml0eTAgFw0yMDAxMDEwMDAwMDBaGA8yMTIwMDEwMTAwMDAwMFowGTEXMBUG\n\
    A1UEAwwOVGVzdCBhdXRob3JpdHkwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAAQm\n\
    odxvrsu01aMYUQm+pGCRvGfHG8XCdhDxMo6NBajXG4rnGbu/yGgtWMM1znCBldFb\n\
    rHju1NdU5NAY65uvYDBxo0IwQDAPBgNVHRMBAf8EBTADAQH/MA4GA1UdDwEB/wQE\n\
    AwICBDAdBgNVHQ4EFgQUx66gctHDUKQ9C29gLBNZrHe3MoowCgYIKoZIzj0EAwID\n\
    SQAwRgIhALVh2Wbu0rDREubOvWEKDpFLoypG2bKjh+bVHEhxbz5lAiEA4DW8Nv5U\n\
    sZzw3J6GTKzjWXYOoVIho0GouzYfFXDlTUc=\n\
    -----END CERTIFICATE-----\n";
/// By whom it is not.
pub const ANOTHER_AUTHORITY: &str = "-----BEGIN CERTIFICATE-----\n\
    MIIBajCCARGgAwIBAgIBAzAKBggqhkjOPQQDAjAcMRowGAYDVQQDDBFBbm90aGVy\n\
    IGF1dGhvcml0eTAgFw0yMDAxMDEwMDAwMDBaGA8yMTIwMDEwMTAwMDAwMFowHDEa\n\
    MBgGA1UEAwwRQW5vdGhlciBhdXRob3JpdHkwWTATBgcqhkjOPQIBBggqhkjOPQMB\n\
    BwNCAASFMzFME0gKuOKrZ2s1ZVcv8awMpFVZSxk03d0mdShX+sJB0ZOT6RZZtsFe\n\
    ek6lU9PnOb70aKotbgtPsMGMjZy2o0IwQDAPBgNVHRMBAf8EBTADAQH/MA4GA1Ud\n\
    DwEB/wQEAwICBDAdBgNVHQ4EFgQUbBijqxJK5GTNxVjJ1D3gNQSL2SYwCgYIKoZI\n\
    zj0EAwIDRwAwRAIgBvaeuktFEUBR0sCq3jz8HFxD/3JtDwg93du3iSM/NMgCIAbj\n\
    Mha+DLIluSP2JnsxW/rYPWY9X+QZCKjAmyKKPVbM\n\
    -----END CERTIFICATE-----\n";
/// Of localhost.
const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----\n\
    MIIBmjCCAT+gAwIBAgIBAjAKBggqhkjOPQQDAjAZMRcwFQYDVQQDDA5UZXN0IGF1\n\
    dGhvcml0eTAgFw0yMDAxMDEwMDAwMDBaGA8yMTIwMDEwMTAwMDAwMFowFDESMBAG\n\
    A1UEAwwJbG9jYWxob3N0MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAErJC11bjJ\n\
    LoTq3+OKkO7dRu6lfXAwc3cc7Qz0f4FO6vTYngr/rM496O1r2pUdbAghAgnIR5oH\n\
    QQkS85gsFF/fYKN7MHkwFAYDVR0RBA0wC4IJbG9jYWxob3N0MAwGA1UdEwEB/wQC\n\
    MAAwEwYDVR0lBAwwCgYIKwYBBQUHAwEwHQYDVR0OBBYEFM78EkQt4mXBXEm9tSwv\n\
    iTznsb11MB8GA1UdIwQYMBaAFMeuoHLRw1CkPQtvYCwTWax3tzKKMAoGCCqGSM49\n\
    BAMCA0kAMEYCIQDj2X15xZ2mFlmfZxsT7yeXdb6NmKJcPNas//nbH3qlOQIhANd4\n\
    AFW9ezzYum3QWUQrJM/QbBSl+IG8xNmw4GWbhPNR\n\
    -----END CERTIFICATE-----\n";
const ITS_KEY: &str = "-----BEGIN PRIVATE KEY-----\n\
    MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgHr+33BnZCKA0VQvI\n\
    4OhjmjUGjPxrbdmnQ3H3bsx0kt+hRANCAASskLXVuMkuhOrf44qQ7t1G7qV9cDBz\n\
    dxztDPR/gU7q9NieCv+szj3o7WvalR1sCCECCchHmgdBCRLzmCwUX99g\n\
    -----END PRIVATE KEY-----\n";
