//! A stand-in for the real metadata service: IMDSv2, a few documents, faults on demand. It records every request.
//!
//! What it fakes beyond AWS's documents, to be as tempting as the real service may be: it collapses `//`, decodes one
//! level of escapes and ignores what follows a role's name.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use crate::installed;

/// How the stand-in behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Well,
    Broken,
    SwitchedOff,
    /// Each document has so many bytes.
    Long(usize),
}

/// What the stand-in was asked.
#[derive(Clone, Debug)]
pub struct Asked {
    pub line: String,
    pub headers: Vec<String>,
}

pub struct StandIn {
    pub address: SocketAddr,
    state: Arc<Mutex<State>>,
}

struct State {
    mode: Mode,
    asked: Vec<Asked>,
    tokens: Vec<String>,
}

impl StandIn {
    /// Nothing of this process: the sandbox has one.
    pub fn of_the_sandbox() -> Self {
        Self {
            address: SocketAddr::from(([169, 254, 169, 254], 80)),
            state: State::at_first(),
        }
    }

    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = State::at_first();
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = Arc::clone(&shared);
                std::thread::spawn(move || converse(&stream, &state));
            }
        });
        Self { address, state }
    }

    pub fn set(&self, mode: Mode) {
        if installed::is_meant() {
            return installed::set(mode);
        }
        self.state.lock().unwrap().mode = mode;
    }

    pub fn forget_tokens(&self) {
        if installed::is_meant() {
            installed::end_of_row();
        }
        self.state.lock().unwrap().tokens.clear();
    }

    /// Everything asked so far but its own tokens.
    pub fn asked(&self) -> Vec<Asked> {
        let asked = if installed::is_meant() {
            installed::asked()
        } else {
            self.state.lock().unwrap().asked.clone()
        };
        asked
            .iter()
            .filter(|asked| !asked.line.contains("/api/token"))
            .cloned()
            .collect()
    }

    pub fn paths(&self) -> Vec<String> {
        self.asked()
            .iter()
            .map(|asked| asked.line.split(' ').nth(1).unwrap().to_owned())
            .collect()
    }
}

impl State {
    fn at_first() -> Arc<Mutex<Self>> {
        Arc::new(Mutex::new(Self {
            mode: Mode::Well,
            asked: vec![],
            tokens: vec![],
        }))
    }
}

fn converse(mut stream: &TcpStream, state: &Mutex<State>) {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    let mut headers = Vec::new();
    reader.read_line(&mut line).unwrap_or(0);
    loop {
        let mut header = String::new();
        if reader.read_line(&mut header).unwrap_or(0) <= 2 {
            break;
        }
        headers.push(header.trim_end().to_ascii_lowercase());
    }
    let line = line.trim_end().to_owned();
    let reply = {
        let mut state = state.lock().unwrap();
        state.asked.push(Asked {
            line: line.clone(),
            headers: headers.clone(),
        });
        reply(&mut state, &line, &headers)
    };
    let (status, content_type, body) = reply;
    let head = format!(
        "HTTP/1.1 {status} X\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n",
        body.len()
    );
    let _ = stream.write_all(format!("{head}Connection: close\r\n\r\n").as_bytes());
    let _ = stream.write_all(&body);
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let _ = stream.read(&mut [0; 16]);
}

fn reply(state: &mut State, line: &str, headers: &[String]) -> (u16, &'static str, Vec<u8>) {
    match state.mode {
        Mode::Broken => return (500, "text/html", b"broken".to_vec()),
        Mode::SwitchedOff => return (403, "text/html", b"off".to_vec()),
        Mode::Well | Mode::Long(_) => {}
    }
    let path = line
        .split(' ')
        .nth(1)
        .unwrap_or("")
        .replace("%2F", "/")
        .replace("//", "/");
    if line.starts_with("PUT /latest/api/token ") {
        let token = format!("real-token-{}", state.asked.len());
        state.tokens.push(token.clone());
        return (200, "text/plain", token.into_bytes());
    }
    let token = headers
        .iter()
        .find_map(|header| header.strip_prefix("x-aws-ec2-metadata-token: "));
    if !token.is_some_and(|token| state.tokens.iter().any(|known| known == token)) {
        return (401, "text/html", b"token".to_vec());
    }
    if path.contains("credentials") {
        return (200, "text/plain", b"THE INSTANCE'S OWN SECRET".to_vec());
    }
    let below = path.splitn(3, '/').nth(2).unwrap_or("");
    if let Mode::Long(length) = state.mode {
        return (200, "text/plain", vec![b'x'; length]);
    }
    match DOCUMENTS.iter().find(|(name, _, _)| *name == below) {
        Some((_, content_type, body)) => (200, content_type, body.to_vec()),
        None => (404, "text/html", b"the real 404".to_vec()),
    }
}

const DOCUMENTS: &[(&str, &str, &[u8])] = &[
    (
        "meta-data/",
        "text/plain",
        b"ami-id\niam/\nidentity-credentials/\ninstance-id\nmac\nmanaged-ssh-keys/\nnetwork/\nnew-thing\nplacement/\npublic-keys/\ntags/",
    ),
    ("meta-data/ami-id", "text/plain", b"ami-0abcdef1234567890"),
    ("meta-data/instance-id", "text/plain", b"i-0123456789abcdef0"),
    ("meta-data/mac", "text/plain", b"02:29:96:8f:6a:2d"),
    ("meta-data/network/", "text/plain", b"interfaces/"),
    ("meta-data/network/interfaces/macs/", "text/plain", b"02:29:96:8f:6a:2d/"),
    ("meta-data/network/interfaces/macs/02:29:96:8f:6a:2d/", "text/plain", b"device-number\nipv4-associations/\nmac"),
    ("meta-data/placement/availability-zone", "text/plain", b"us-east-1a"),
    ("meta-data/placement/region", "text/plain", b"us-east-1"),
    ("meta-data/services/domain", "text/plain", b"amazonaws.com"),
    ("meta-data/public-keys/", "text/plain", b"0=my-key"),
    ("meta-data/public-keys/0/", "text/plain", b"openssh-key"),
    ("meta-data/public-keys/0/openssh-key", "text/plain", b"ssh-ed25519 AAAA my-key"),
    ("meta-data/tags/instance/", "text/plain", b"Name"),
    ("meta-data/tags/instance/Name", "text/plain", b"web"),
    ("meta-data/managed-ssh-keys/signer-cert/", "text/plain", b"-----BEGIN CERTIFICATE-----"),
    ("meta-data/managed-ssh-keys/active-keys/bob/", "text/plain", b"ssh-ed25519 BBBB pushed"),
    ("dynamic/instance-identity/document", "text/plain", b"{\n  \"region\" : \"us-east-1\"\n}"),
    ("dynamic/instance-identity/signature", "text/plain", b"c2lnbmF0dXJl"),
    ("dynamic/instance-identity/pkcs7", "text/plain", b"cGtjczc="),
    ("dynamic/instance-identity/rsa2048", "text/plain", b"cnNh"),
    ("user-data", "application/octet-stream", b"#!/bin/sh\n\x00\x9f\x92\x96\xff"),
];
