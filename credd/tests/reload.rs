//! The settings are taken up at SIGHUP, whole or not at all: the built credd on loopback, asked over the wire.

#![cfg(test)]

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// credd, with a folder of its own; both end with the test.
struct Daemon {
    folder: PathBuf,
    address: SocketAddr,
    child: Child,
}

impl Daemon {
    fn start(settings: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("credd-reload-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        // Free a moment ago, and nobody else's but by a rare accident.
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let file = folder.join("credd.toml");
        fs::write(&file, settings).unwrap();
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
            .arg(&folder)
            .arg("--status-socket")
            .arg(folder.join("status"))
            .env_remove("JOURNAL_STREAM")
            .env_remove("NOTIFY_SOCKET")
            .stderr(Stdio::from(log))
            .spawn()
            .unwrap();
        Self { folder, address, child }
    }

    /// The status of a request without a token; 0 while nothing listens.
    fn status(&self) -> u16 {
        let Ok(mut stream) = TcpStream::connect(self.address) else {
            return 0;
        };
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream
            .write_all(b"GET /latest/ HTTP/1.1\r\nHost: 169.254.169.254\r\n\r\n")
            .unwrap();
        let mut reply = String::new();
        stream.read_to_string(&mut reply).unwrap();
        reply.split(' ').nth(1).unwrap().parse().unwrap()
    }

    fn reload(&self, settings: &str) {
        fs::write(self.folder.join("credd.toml"), settings).unwrap();
        let pid = Pid::from_raw(self.child.id().try_into().unwrap()).unwrap();
        kill_process(pid, Signal::HUP).unwrap();
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap()
    }

    fn until(&self, what: &str, is_so: impl Fn() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(20);
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
        let _ = fs::remove_dir_all(&self.folder);
    }
}

#[test]
fn a_reload_takes_up_good_settings_and_a_bad_file_leaves_the_old_ones_and_says_so() {
    let daemon = Daemon::start("exempt_uids = []\nmetadata_endpoint = \"http://127.0.0.1:9\"\n");
    daemon.until("it listens and wants a token", || daemon.status() == 401);
    let lenient = "exempt_uids = []\nmetadata_endpoint = \"http://127.0.0.1:9\"\nrequire_imds_v2 = false\n";
    daemon.reload(lenient);
    daemon.until("it takes the setting up", || daemon.status() == 200);
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
        assert_eq!(daemon.status(), 200, "{bad}");
    }
    daemon.reload("exempt_uids = []\nmetadata_endpoint = \"http://127.0.0.1:9\"\n");
    daemon.until("it wants a token again", || daemon.status() == 401);
}
