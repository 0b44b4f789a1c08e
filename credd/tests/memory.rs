//! What is left of a secret in the memory of a running credd, and what of credd a core would hold. The built program, started as
//! its unit starts it, between a stand-in for metadata and STS and a client over the wire; root looks into its memory.

#![cfg(test)]

use std::fs;
use std::io::{Read, Seek, SeekFrom, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

// P19
#[test]
fn a_secret_that_is_no_longer_handed_out_is_nowhere_in_credds_memory() {
    if !rustix::process::getuid().is_root() {
        println!("not run: only root may look into the memory of credd");
        return;
    }
    let world = World::start();
    let daemon = Daemon::start("memory", &world, &[]);
    let first = daemon.secret();
    assert!(first.starts_with("SECRETOFSESSION1"), "{first}");
    // The test can see: what is kept to be handed out again is there.
    assert!(daemon.copies_of(&first) > 0);
    daemon.reload(&world, "role_path = \"/p/\"\n");
    daemon.until("another session", || daemon.secret() != first);
    let second = daemon.secret();
    assert!(daemon.copies_of(&second) > 0);
    daemon.until("the first secret is gone", || daemon.copies_of(&first) == 0);
    // Nor has the log any of it.
    let log = fs::read_to_string(daemon.folder.join("log")).unwrap();
    assert!(log.contains("role_credentials"), "{log}");
    assert!(!log.contains(&first) && !log.contains(&second));
}

// P19
#[test]
fn credd_leaves_no_core_whatever_kills_it() {
    let world = World::start();
    let unlimited = ["sh", "-c", "ulimit -S -c unlimited; exec \"$0\" \"$@\""];
    let mut daemon = Daemon::start("core", &world, &unlimited);
    daemon.secret();
    let pid = daemon.child.id();
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let core = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"))
        .unwrap();
    assert_eq!(core.split_whitespace().nth(4), Some("0"), "{core}");
    kill_process(Pid::from_raw(pid.try_into().unwrap()).unwrap(), Signal::ABORT).unwrap();
    let status = daemon.child.wait().unwrap();
    assert_eq!(status.signal(), Some(6));
    assert!(!status.core_dumped());
    let left: Vec<_> = fs::read_dir(&daemon.folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert!(
        !left.iter().any(|name| name.to_string_lossy().contains("core")),
        "{left:?}"
    );
}

/// The metadata service and STS in one: each session has a secret of its own.
struct World {
    address: SocketAddr,
}

impl World {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let sessions = Arc::new(AtomicUsize::new(0));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (mut stream, sessions) = (stream.unwrap(), Arc::clone(&sessions));
                std::thread::spawn(move || while answer(&mut stream, &sessions).is_some() {});
            }
        });
        Self { address }
    }
}

fn answer(stream: &mut TcpStream, sessions: &AtomicUsize) -> Option<()> {
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
    let text = match path {
        "/latest/api/token" => "TOKEN".to_owned(),
        "/latest/meta-data/iam/security-credentials/" => "own".to_owned(),
        "/latest/meta-data/iam/security-credentials/own" => {
            r#"{"Code":"Success","Type":"AWS-HMAC","LastUpdated":"2026-01-01T00:00:00Z","AccessKeyId":"ASIAOWN","SecretAccessKey":"o","Token":"t","Expiration":"2099-01-01T00:00:00Z"}"#.to_owned()
        }
        _ if body.contains("Action=GetCallerIdentity") => document(
            "GetCallerIdentity",
            "<Arn>arn:aws:sts::123456789012:assumed-role/own/i-0abc</Arn>",
        ),
        _ if body.contains("Action=AssumeRole") => {
            let number = sessions.fetch_add(1, Ordering::SeqCst) + 1;
            let result = format!(
                "<Credentials><AccessKeyId>ASIA{number}</AccessKeyId>\
                 <SecretAccessKey>SECRETOFSESSION{number}{FILLING}</SecretAccessKey>\
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
struct Daemon {
    folder: PathBuf,
    address: SocketAddr,
    child: Child,
}

impl Daemon {
    fn start(name: &str, world: &World, wrapper: &[&str]) -> Self {
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
    fn secret(&self) -> String {
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

    fn reload(&self, world: &World, more: &str) {
        fs::write(self.folder.join("credd.toml"), settings(world, more)).unwrap();
        let pid = Pid::from_raw(self.child.id().try_into().unwrap()).unwrap();
        kill_process(pid, Signal::HUP).unwrap();
    }

    /// How often `secret`, all but its beginning, stands in what credd can write to. The allocator writes its own notes over
    /// the beginning of what is freed; that alone is no wiping.
    fn copies_of(&self, secret: &str) -> usize {
        let needle = &secret.as_bytes()[FIRST_BYTES..];
        let pid = self.child.id();
        let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
        let mut memory = fs::File::open(format!("/proc/{pid}/mem")).unwrap();
        let mut copies = 0;
        for line in maps
            .lines()
            .filter(|line| line.split(' ').nth(1).is_some_and(|mode| mode.starts_with("rw")))
        {
            let (from, to) = line.split(' ').next().unwrap().split_once('-').unwrap();
            let [from, to] = [from, to].map(|text| u64::from_str_radix(text, 16).unwrap());
            let mut bytes = vec![0; usize::try_from(to - from).unwrap()];
            memory.seek(SeekFrom::Start(from)).unwrap();
            // A mapping may be gone meanwhile.
            if memory.read_exact(&mut bytes).is_ok() {
                copies += bytes.windows(needle.len()).filter(|part| *part == needle).count();
            }
        }
        copies
    }

    fn until(&self, what: &str, is_so: impl Fn() -> bool) {
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

/// Longer than the notes of the allocator.
const FILLING: &str = "-0123456789-abcdefghijklmnopqrstuvwxyz";
const FIRST_BYTES: usize = 15;
