//! The built credd, started as its unit starts it, between a stand-in for metadata and STS and a client over the wire.
//! Tests of the running daemon include it.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// The metadata service and STS in one: each session has a secret of its own.
pub struct World {
    address: SocketAddr,
    pub host: Arc<Mutex<Host>>,
}

/// What it answers by.
pub struct Host {
    /// The role of the instance.
    pub role: &'static str,
    /// How many sessions were begun.
    sessions: usize,
}

impl World {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let host = Host {
            role: "own",
            sessions: 0,
        };
        let world = Self {
            address: listener.local_addr().unwrap(),
            host: Arc::new(Mutex::new(host)),
        };
        let answering = Arc::clone(&world.host);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (mut stream, host) = (stream.unwrap(), Arc::clone(&answering));
                std::thread::spawn(move || while answer(&mut stream, &host).is_some() {});
            }
        });
        world
    }
}

fn answer(stream: &mut TcpStream, host: &Mutex<Host>) -> Option<()> {
    let mut request = Vec::new();
    let mut byte = [0];
    while !request.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).ok()?;
        request.push(byte[0]);
    }
    let head = String::from_utf8(request).unwrap();
    let length = head
        .lines()
        .find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut body).ok()?;
    let body = String::from_utf8(body).unwrap();
    let path = head.split(' ').nth(1).unwrap();
    let mut host = host.lock().unwrap();
    // Whose credentials signed the request: the access key is the role's name.
    let signer = head
        .split_once("Credential=")
        .map(|(_, rest)| rest.split('/').next().unwrap());
    let text = match path {
        "/latest/api/token" => "TOKEN".to_owned(),
        "/latest/meta-data/iam/security-credentials/" => host.role.to_owned(),
        credentials if credentials.starts_with("/latest/meta-data/iam/security-credentials/") => {
            r#"{"Code":"Success","Type":"AWS-HMAC","LastUpdated":"2026-01-01T00:00:00Z","AccessKeyId":"ROLE","SecretAccessKey":"o","Token":"t","Expiration":"2099-01-01T00:00:00Z"}"#.replace("ROLE", host.role)
        }
        _ if body.contains("Action=GetCallerIdentity") => {
            let arn = format!("<Arn>arn:aws:sts::123456789012:assumed-role/{}/i-0abc</Arn>", signer.unwrap());
            document("GetCallerIdentity", &arn)
        }
        _ if body.contains("Action=AssumeRole") => {
            host.sessions += 1;
            let (number, by) = (host.sessions, signer.unwrap());
            let result = format!(
                "<Credentials><AccessKeyId>ASIA{number}</AccessKeyId>\
                 <SecretAccessKey>SECRETOFSESSION{number}BY{by}{FILLING}</SecretAccessKey>\
                 <SessionToken>t</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration></Credentials>"
            );
            document("AssumeRole", &result)
        }
        other => panic!("{other} {body}"),
    };
    let reply = format!(
        "HTTP/1.1 200 OK\r\nX-Aws-Ec2-Metadata-Token-Ttl-Seconds: 60\r\nContent-Length: {}\r\n\r\n{text}",
        text.len()
    );
    stream.write_all(reply.as_bytes()).ok()
}

fn document(action: &str, result: &str) -> String {
    format!("<{action}Response><{action}Result>{result}</{action}Result></{action}Response>")
}

/// credd, with a folder of its own; both end with the test.
pub struct Daemon {
    pub folder: PathBuf,
    address: SocketAddr,
    pub child: Child,
}

impl Daemon {
    pub fn start(name: &str, world: &World, wrapper: &[&str]) -> Self {
        let folder = std::env::temp_dir().join(format!("credd-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        // Free a moment ago, and nobody else's but by a rare accident.
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let file = folder.join("credd.toml");
        fs::write(&file, settings(world, "")).unwrap();
        let log = fs::File::create(folder.join("log")).unwrap();
        let words = wrapper.iter().copied().chain([env!("CARGO_BIN_EXE_credd")]);
        let words: Vec<&str> = words.collect();
        let child = Command::new(words[0])
            .args(&words[1..])
            .arg("--config")
            .arg(&file)
            .args(["--listen", &address.to_string()])
            .arg("--token-key")
            .arg(folder.join("key"))
            .arg("--capture-state")
            .arg(folder.join("capture"))
            .arg("--token-files")
            .arg(&folder)
            .arg("--status-socket")
            .arg(folder.join("status"))
            .current_dir(&folder)
            // As in credd.service.
            .env("MALLOC_PERTURB_", "165")
            .env_remove("JOURNAL_STREAM")
            .env_remove("NOTIFY_SOCKET")
            .stderr(Stdio::from(log))
            .spawn()
            .unwrap();
        Self { folder, address, child }
    }

    /// The secret access key that this process, by its uid, is given.
    pub fn secret(&self) -> String {
        let mut found = String::new();
        self.until("credentials", || {
            match self.get("/latest/meta-data/iam/security-credentials/role") {
                Some(text) => found_secret(&text).is_some(),
                None => false,
            }
        });
        let text = self.get("/latest/meta-data/iam/security-credentials/role").unwrap();
        found.push_str(found_secret(&text).unwrap());
        found
    }

    fn get(&self, path: &str) -> Option<String> {
        let mut stream = TcpStream::connect(self.address).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: 169.254.169.254\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut reply = String::new();
        stream.read_to_string(&mut reply).unwrap();
        Some(reply)
    }

    pub fn reload(&self, world: &World, more: &str) {
        fs::write(self.folder.join("credd.toml"), settings(world, more)).unwrap();
        let pid = Pid::from_raw(self.child.id().try_into().unwrap()).unwrap();
        kill_process(pid, Signal::HUP).unwrap();
    }

    pub fn until(&self, what: &str, is_so: impl Fn() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !is_so() {
            let log = || fs::read_to_string(self.folder.join("log")).unwrap();
            assert!(Instant::now() < deadline, "{what}\n{}", log());
            std::thread::yield_now();
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn settings(world: &World, more: &str) -> String {
    let url = format!("http://{}", world.address);
    format!(
        "region = \"eu-central-1\"\nmetadata_endpoint = \"{url}\"\nsts_endpoint = \"{url}\"\niam_endpoint = \"{url}\"\n\
         directory = \"none\"\nexempt_uids = []\nrequire_imds_v2 = false\ndefault_chain = [\"shared_role\"]\n\
         shared_role = \"arn:aws:iam::123456789012:role/role\"\n{more}"
    )
}

fn found_secret(text: &str) -> Option<&str> {
    text.split_once("SecretAccessKey\" : \"")?.1.split('"').next()
}

/// Longer than the notes of an allocator.
const FILLING: &str = "-0123456789-abcdefghijklmnopqrstuvwxyz";
