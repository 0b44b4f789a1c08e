//! The second way to AWS: from a port of this daemon's own, where the first one found none free on this host. Calls
//! come here from [`Route`](crate::Route)'s connector, which is the SDK's own and lets nobody choose the port of a
//! socket.
//!
//! A name server cannot be asked either then, so the addresses that a name had last are kept; TLS says whether they are
//! still AWS's.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use aws_smithy_runtime_api::client::dns::{DnsFuture, ResolveDns, ResolveDnsError};
use aws_smithy_runtime_api::client::http::{HttpConnector, HttpConnectorFuture, SharedHttpConnector};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_types::body::SdkBody;
use hyper::Uri;
use hyper::http::uri::Scheme;
use hyper_rustls::{ConfigBuilderExt, HttpsConnector};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::proxy::matcher::Matcher;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tower_service::Service;

use crate::own_ports::OwnPorts;
use crate::sdk_error::local_error;

type BoxError = Box<dyn std::error::Error + Send + Sync>;
type Connecting<E> = Pin<Box<dyn Future<Output = Result<TokioIo<TcpStream>, E>> + Send>>;

/// A connector that sends a request again from an own port where `first` found none. Such a request has not left this
/// host.
#[derive(Debug)]
pub(crate) struct OwnWay {
    pub(crate) first: SharedHttpConnector,
    pub(crate) second: Arc<FromOwnPorts>,
}

impl HttpConnector for OwnWay {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let again = request.try_clone();
        let (answer, second) = (self.first.call(request), Arc::clone(&self.second));
        HttpConnectorFuture::new(async move {
            let error = match answer.await {
                Err(error) if local_error(&error).is_some() => error,
                answer => return answer,
            };
            match again {
                Some(request) => second.send(request).await.map_err(|_| error),
                None => Err(error),
            }
        })
    }
}

/// A client of its own, made when it is first needed.
#[derive(Debug)]
pub(crate) struct FromOwnPorts {
    pub(crate) to: Way,
    /// The only certificate authorities to trust; `None`: the system's.
    pub(crate) ca_pem: Option<Vec<u8>>,
    pub(crate) idle: Duration,
    pub(crate) client: OnceLock<Client<HttpsConnector<Way>, SdkBody>>,
}

impl FromOwnPorts {
    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, BoxError> {
        let client = match self.client.get() {
            Some(client) => client,
            None => {
                let client = self.made()?;
                self.client.get_or_init(|| client)
            }
        };
        let answer = client.request(request.try_into_http1x()?).await?;
        Ok(HttpResponse::try_from(answer.map(SdkBody::from_body_1_x))?)
    }

    fn made(&self) -> Result<Client<HttpsConnector<Way>, SdkBody>, BoxError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let tls = match &self.ca_pem {
            None => tls.with_native_roots()?,
            Some(pem) => {
                let mut roots = RootCertStore::empty();
                for certificate in CertificateDer::pem_slice_iter(pem) {
                    roots.add(certificate?)?;
                }
                tls.with_root_certificates(roots)
            }
        };
        let connector = HttpsConnector::from((self.to.clone(), tls.with_no_client_auth()));
        Ok(Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(self.idle)
            .build(connector))
    }
}

/// To an endpoint, through the proxy where there is one.
#[derive(Clone, Debug)]
pub(crate) struct Way {
    pub(crate) direct: Direct,
    pub(crate) proxy: Option<Arc<Matcher>>,
}

impl Service<Uri> for Way {
    type Response = TokioIo<TcpStream>;
    type Error = BoxError;
    type Future = Connecting<BoxError>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        let mut direct = self.direct.clone();
        let Some(via) = self.proxy.as_ref().and_then(|proxy| proxy.intercept(&to)) else {
            return Box::pin(async move { Ok(direct.call(to).await?) });
        };
        // The tunnel would tell it the password in the clear.
        if via.uri().scheme() != Some(&Scheme::HTTP) {
            return Box::pin(async { Err("a proxy over TLS cannot be asked from a port of our own".into()) });
        }
        let mut tunnel = Tunnel::new(via.uri().clone(), direct);
        if let Some(auth) = via.basic_auth() {
            tunnel = tunnel.with_auth(auth.clone());
        }
        Box::pin(async move { Ok(tunnel.call(to).await?) })
    }
}

/// To the host that a URL names, without TLS.
#[derive(Clone, Debug)]
pub(crate) struct Direct(pub(crate) OwnPorts);

impl Service<Uri> for Direct {
    type Response = TokioIo<TcpStream>;
    type Error = io::Error;
    type Future = Connecting<io::Error>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        let Self(ports) = self.clone();
        Box::pin(async move {
            let host = to.host().unwrap_or_default().trim_matches(['[', ']']);
            let usual = if to.scheme() == Some(&Scheme::HTTPS) { 443 } else { 80 };
            let port = to.port_u16().unwrap_or(usual);
            let mut failure = io::ErrorKind::NotFound.into();
            for address in ports.addresses(host).await? {
                match ports.connect(SocketAddr::new(address, port)).await {
                    Ok(stream) => return Ok(TokioIo::new(stream)),
                    Err(error) => failure = error,
                }
            }
            Err(failure)
        })
    }
}

impl ResolveDns for OwnPorts {
    fn resolve_dns<'a>(&'a self, name: &'a str) -> DnsFuture<'a> {
        DnsFuture::new(async move { self.addresses(name).await.map_err(ResolveDnsError::new) })
    }
}

#[cfg(test)]
#[cfg(feature = "host")]
mod tests;
