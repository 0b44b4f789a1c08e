//! For tests: an HTTP server on loopback that answers what the test says, connection for connection, and remembers what
//! was asked. Tests of keymakerd and of the command line include this file too.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// The server; it ends with the test's runtime.
pub struct Canned {
    /// `http://127.0.0.1:PORT`.
    pub url: String,
    seen: Arc<Mutex<Seen>>,
}

#[derive(Default)]
struct Seen {
    requests: Vec<String>,
    connections: usize,
}

/// What the server does with a request.
pub enum Reply {
    /// A whole answer: status and body. The connection stays open.
    Answer(u16, String),
    /// The same after a while.
    #[allow(dead_code, reason = "credd's tests answer late")]
    Late(Duration, u16, String),
    /// A whole answer with more headers: lines that each end with `\r\n`.
    With(String, String),
    /// The beginning of an answer, then silence.
    Stall(String),
    /// Nothing at all, forever.
    Hang,
}

impl Canned {
    /// `reply` gets the request as text: request line, headers in lower case, empty line, body.
    pub async fn serve(reply: impl FnMut(&str) -> Reply + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let seen = Arc::new(Mutex::new(Seen::default()));
        let (log, reply) = (Arc::clone(&seen), Arc::new(Mutex::new(reply)));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                log.lock().unwrap().connections += 1;
                let (log, reply) = (Arc::clone(&log), Arc::clone(&reply));
                tokio::spawn(converse(stream, move |request| {
                    log.lock().unwrap().requests.push(request.to_owned());
                    reply.lock().unwrap()(request)
                }));
            }
        });
        Self { url, seen }
    }

    /// Every request so far.
    pub fn requests(&self) -> Vec<String> {
        self.seen.lock().unwrap().requests.clone()
    }

    /// How many connections were accepted.
    pub fn connections(&self) -> usize {
        self.seen.lock().unwrap().connections
    }
}

async fn converse(mut stream: TcpStream, mut reply: impl FnMut(&str) -> Reply) {
    while let Some(request) = read_request(&mut stream).await {
        let mut answer = reply(&request);
        if let Reply::Late(after, status, body) = answer {
            tokio::time::sleep(after).await;
            answer = Reply::Answer(status, body);
        }
        let (head, body) = match answer {
            Reply::Answer(status, body) | Reply::Late(_, status, body) => (
                format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n", body.len()),
                body,
            ),
            Reply::With(headers, body) => (
                format!("HTTP/1.1 200 X\r\n{headers}content-length: {}\r\n\r\n", body.len()),
                body,
            ),
            Reply::Stall(body) => (
                format!("HTTP/1.1 200 X\r\ncontent-length: {}\r\n\r\n", body.len() + 1),
                body,
            ),
            Reply::Hang => (String::new(), String::new()),
        };
        if stream.write_all(format!("{head}{body}").as_bytes()).await.is_err() {
            return;
        }
    }
}

async fn read_request(stream: &mut TcpStream) -> Option<String> {
    let mut request = Vec::new();
    let mut byte = [0];
    while !request.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).await.ok()?;
        request.push(byte[0]);
    }
    let line_end = request.iter().position(|b| *b == b'\n')?;
    request[line_end..].make_ascii_lowercase();
    let head = String::from_utf8(request).ok()?;
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))
        .map_or(0, |n| n.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some(head + &String::from_utf8(body).ok()?)
}
