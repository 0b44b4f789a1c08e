//! The settings are taken up at SIGHUP, whole or not at all: the built credd on loopback, asked over the wire.

#![cfg(test)]

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use test_folder::TestFolder;

/// How long something may take that is to happen at once.
const PATIENCE: Duration = Duration::from_secs(20);

/// credd, with a folder of its own; both end with the test.
struct Daemon {
    folder: TestFolder,
    /// What it tells systemd.
    systemd: UnixDatagram,
    address: SocketAddr,
    child: Child,
}

impl Daemon {
    fn start(settings: &str) -> Self {
        // Free a moment ago, and nobody else's but by a rare accident.
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let folder = TestFolder::new();
        let file = folder.file("credd.toml", settings);
        let systemd = UnixDatagram::bind(folder.join("systemd")).unwrap();
        systemd.set_read_timeout(Some(PATIENCE)).unwrap();
        let log = fs::File::create(folder.join("log")).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_credd"))
            .arg("--config")
            .arg(&file)
            .args(["--listen", &address.to_string()])
            .arg("--token-key")
            .arg(folder.join("key"))
            .arg("--capture-state")
            .arg(folder.join("capture"))
            .arg("--token-files")
            .arg(&*folder)
            .arg("--status-socket")
            .arg(folder.join("status"))
            .env_remove("JOURNAL_STREAM")
            .env("NOTIFY_SOCKET", folder.join("systemd"))
            .env("WATCHDOG_USEC", "200000")
            .env_remove("WATCHDOG_PID")
            .stderr(Stdio::from(log))
            .spawn()
            .unwrap();
        Self {
            folder,
            systemd,
            address,
            child,
        }
    }

    /// The status of a request without a token; 0 while nothing listens.
    fn status(&self, path: &str) -> u16 {
        let Ok(mut stream) = TcpStream::connect(self.address) else {
            return 0;
        };
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: 169.254.169.254\r\n\r\n").unwrap();
        let mut reply = String::new();
        stream.read_to_string(&mut reply).unwrap();
        reply.split(' ').nth(1).unwrap().parse().unwrap()
    }

    fn reload(&self, settings: &str) {
        self.folder.file("credd.toml", settings);
        self.signal(Signal::HUP);
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id().try_into().unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// The next thing that it tells systemd, but that it is alive.
    fn tells(&self) -> String {
        std::iter::repeat_with(|| self.told())
            .find(|told| told != "WATCHDOG=1")
            .unwrap()
    }

    fn told(&self) -> String {
        let mut told = [0; 64];
        let length = self.systemd.recv(&mut told).unwrap();
        String::from_utf8_lossy(&told[..length]).trim().to_owned()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap()
    }

    fn until(&self, what: &str, is_so: impl Fn() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is_so() {
            assert!(Instant::now() < deadline, "{what}\n{}", self.log());
            std::thread::yield_now();
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn systemd_is_told_that_it_is_ready_reloads_stops_and_lives() {
    let daemon = Daemon::start("exempt_uids = []\n");
    assert_eq!(daemon.tells(), "READY=1");
    daemon.reload("exempt_uids = []\n");
    assert_eq!(
        (daemon.tells(), daemon.tells()),
        ("RELOADING=1".into(), "READY=1".into())
    );
    assert!(
        std::iter::repeat_with(|| daemon.told())
            .take(3)
            .all(|told| told == "WATCHDOG=1")
    );
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.tells(), "STOPPING=1");
}

// P5
#[test]
fn a_systemd_that_reads_nothing_keeps_nobody_waiting() {
    let daemon = Daemon::start("exempt_uids = []\nmetadata_endpoint = \"http://127.0.0.1:9\"\n");
    // Its queue has net.unix.max_dgram_qlen places.
    daemon.until("the queue is full", || {
        daemon.log().contains("systemd cannot be told WATCHDOG=1")
    });
    daemon.until("it answers", || daemon.status("/latest/") == 401);
}

#[test]
fn a_reload_applies_good_settings_and_a_bad_file_changes_nothing() {
    let daemon = Daemon::start("exempt_uids = []\nmetadata_endpoint = \"http://127.0.0.1:9\"\n");
    daemon.until("it listens and wants a token", || daemon.status("/latest/") == 401);
    let lenient = "exempt_uids = []\nmetadata_endpoint = \"http://127.0.0.1:9\"\nrequire_imds_v2 = false\n";
    daemon.reload(lenient);
    daemon.until("it takes the setting up", || daemon.status("/latest/") == 200);
    for (bad, said) in [
        ("\nrequire_imds_v3 = true\n", "credd.toml:2: "),
        (
            "ca_bundle = \"/nonexistent/ca.pem\"\n",
            "ca_bundle: /nonexistent/ca.pem cannot be read",
        ),
        ("deny_actions = [\"s3:Get\u{e9}\"]\n", "deny_actions"),
    ] {
        daemon.reload(bad);
        daemon.until("it says what is wrong", || daemon.log().contains(said));
        assert!(
            daemon.log().contains("the settings stay as they were"),
            "{}",
            daemon.log()
        );
        assert_eq!(daemon.status("/latest/"), 200, "{bad}");
    }
    daemon.reload("exempt_uids = []\nmetadata_endpoint = \"http://127.0.0.1:9\"\n");
    daemon.until("it wants a token again", || daemon.status("/latest/") == 401);
}

/// The real metadata service.
fn metadata_service() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = Vec::new();
            let mut byte = [0];
            while !request.ends_with(b"\r\n\r\n") && stream.read_exact(&mut byte).is_ok() {
                request.push(byte[0]);
            }
            let text = if request.starts_with(b"PUT ") { "TOKEN" } else { "hello" };
            let head = "HTTP/1.1 200 OK\r\nConnection: close\r\nX-Aws-Ec2-Metadata-Token-Ttl-Seconds: 60";
            let _ = write!(stream, "{head}\r\nContent-Length: {}\r\n\r\n{text}", text.len());
        }
    });
    address
}

#[test]
fn each_request_is_answered_as_the_file_says() {
    let real = metadata_service();
    let before = format!("metadata_endpoint = \"http://{real}\"\n");
    let daemon = Daemon::start(&format!("{before}exempt_uids = []\ndefault_chain = []\n"));
    daemon.until("it listens and wants a token", || daemon.status("/latest/") == 401);
    let own = rustix::process::getuid().as_raw();
    let (roles, id) = (
        "/latest/meta-data/iam/security-credentials/",
        "/latest/meta-data/instance-id",
    );
    let none = "exempt_uids = []\nrequire_imds_v2 = false\ndirectory = \"none\"\n";
    let closed = "rules = [{ deny = [\"meta-data/instance-id\"] }]\n";
    for (settings, path, status) in [
        (format!("{none}default_chain = []\n"), roles, 404),
        (format!("{none}default_chain = []\n"), id, 200),
        (format!("{none}{closed}"), id, 404),
        // By number, whatever everybody else gets.
        (
            format!("{none}uid_chains = {{ {own} = [] }}\ndefault_chain = [\"user_role\"]\n"),
            roles,
            404,
        ),
        (format!("exempt_uids = [{own}]\nrequire_imds_v2 = false\n"), id, 403),
        // Who is in a directory that is not there cannot be told.
        (
            format!("{none}default_chain = []\n").replace("none", "required"),
            roles,
            503,
        ),
    ] {
        if status == 503 && fs::exists("/var/lib/keymaker/public/directory").unwrap() {
            continue;
        }
        daemon.reload(&format!("{before}{settings}"));
        let what = format!("{path} is {status} by {settings}");
        daemon.until(&what, || daemon.status(path) == status);
    }
}
