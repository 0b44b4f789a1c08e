//! An HTTP server that answers every request with the bytes that it was given: what hyper alone can do, for `./bench load`.
//!
//! usage: bare-hyper ADDRESS FILE
//!
//! FILE is an answer as it came over the wire, head and body. Like credd it has one thread, and takes a connection for each request from clients
//! that say `Connection: close`; for others it keeps it. It asks nobody who calls, and writes nothing down.

use std::convert::Infallible;
use std::error::Error;

use bytes::Bytes;
use http_body_util::Full;
use hyper::Response;
use hyper::header::{CONNECTION, CONTENT_LENGTH, HeaderName, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::LocalSet;

fn main() -> Result<(), Box<dyn Error>> {
    let mut words = std::env::args().skip(1);
    let (Some(address), Some(file)) = (words.next(), words.next()) else {
        return Err("usage: bare-hyper ADDRESS FILE".into());
    };
    let answer = parse(&std::fs::read(file)?)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    LocalSet::new().block_on(&runtime, serve(&address, answer))
}

async fn serve(address: &str, answer: Response<Bytes>) -> Result<(), Box<dyn Error>> {
    let listener = TcpListener::bind(address).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        let answer = answer.clone();
        tokio::task::spawn_local(async move {
            let service = service_fn(|_| {
                let answer = answer.clone().map(Full::new);
                async { Ok::<_, Infallible>(answer) }
            });
            let mut http = http1::Builder::new();
            http.half_close(true).title_case_headers(true);
            let _ = http.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

/// Without what hyper says itself: the length, and whether the connection ends.
fn parse(wire: &[u8]) -> Result<Response<Bytes>, Box<dyn Error>> {
    let end = wire
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .ok_or("no end of the head")?;
    let head = std::str::from_utf8(&wire[..end])?;
    let mut answer = Response::new(Bytes::copy_from_slice(&wire[end + 4..]));
    for line in head.lines().skip(1) {
        let (name, value) = line.split_once(':').ok_or("a line without a colon")?;
        let name: HeaderName = name.parse()?;
        if name != CONTENT_LENGTH && name != CONNECTION {
            answer.headers_mut().append(name, HeaderValue::from_str(value.trim())?);
        }
    }
    Ok(answer)
}
