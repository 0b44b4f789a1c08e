//! The same rows against the credd that is installed on a host: at the metadata address, as users of that host, in
//! front of the sandbox's stand-in. `./check host-protocol` runs them there, with `CREDD_INSTALLED` set; `stand` calls
//! this.
//!
//! Where a row goes on to what only a server in this process can do (another clock, another answer about the caller),
//! it ends, and says so.

use std::any::Any;
use std::net::{SocketAddr, TcpStream};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::process::Command;

use credd::imds::answer::TokenPolicy;
use rustix::process::Uid;
use rustix::thread::set_thread_res_uid;

use crate::stand::{ALICE, BOB, INSTANCE_CONNECT, Options, Plan};
use crate::stand_in::{Asked, Mode};

pub const ADDRESSES: [&str; 2] = ["169.254.169.254:80", "[fd00:ec2::254]:80"];
const SETTINGS: &str = "/etc/keymaker/credd.toml";

/// Whether the installed credd is meant.
pub fn is_meant() -> bool {
    std::env::var_os("CREDD_INSTALLED").is_some()
}

struct OnlyInProcess;

/// Ends the row here.
pub fn end_of_row() -> ! {
    resume_unwind(Box::new(OnlyInProcess))
}

/// Runs a row on one family.
pub fn as_far_as_it_goes(row: impl FnOnce()) {
    let ended = catch_unwind(AssertUnwindSafe(row));
    if let Err(why) = ended {
        let why: Box<dyn Any + Send> = why;
        if !why.is::<OnlyInProcess>() {
            resume_unwind(why);
        }
        println!("in part: {}", std::thread::current().name().unwrap_or("a row"));
    }
}

/// A credd that has just started, with nothing kept, in front of a stand-in that has heard nothing.
pub fn begin(options: Options) {
    let standard = format!("{:?}", Options::default().limits);
    if options.container || format!("{:?}", options.limits) != standard {
        end_of_row();
    }
    let text = std::fs::read_to_string(SETTINGS).unwrap();
    let others: String = text
        .lines()
        .filter(|line| !line.starts_with("require_imds_v2"))
        .fold(String::new(), |all, line| all + line + "\n");
    let required = options.token_policy == TokenPolicy::Required;
    std::fs::write(SETTINGS, format!("require_imds_v2 = {required}\n{others}")).unwrap();
    run(
        "sandbox-fault none && sandbox-imds set http-endpoint enabled && systemctl restart credd && sandbox-imds clear",
    );
}

/// A connection whose socket is the user's whom a row means by this number.
pub fn connect(address: SocketAddr, uid: u32) -> TcpStream {
    let name = match uid {
        ALICE => "alice",
        BOB => "bob",
        INSTANCE_CONNECT => "ec2-instance-connect",
        // root is exempt, and talks to the stand-in itself.
        0 => end_of_row(),
        _ => "",
    };
    let uid = if name.is_empty() {
        uid
    } else {
        run(&format!("id -u {name}")).trim().parse().unwrap()
    };
    // Of this thread alone; the way back stays open.
    set_thread_res_uid(Uid::ROOT, Uid::from_raw(uid), Uid::ROOT).unwrap();
    let stream = TcpStream::connect(address);
    set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT).unwrap();
    stream.unwrap()
}

/// Brings about at the fake AWS what the credential source of the stand would say.
pub fn plan(plan: Plan) {
    let fault = match plan {
        Plan::RefusedByAws => "deny:AssumeRole",
        Plan::AwsDown => "down:AssumeRole",
        Plan::Hang => "hang:AssumeRole",
        Plan::Transient => "down",
        Plan::Issue(_) | Plan::NotApplicable | Plan::Denied => end_of_row(),
    };
    run(&format!("sandbox-fault {fault}"));
}

pub fn set(mode: Mode) {
    let endpoint = match mode {
        Mode::Well => "enabled",
        Mode::SwitchedOff => "disabled",
        Mode::Broken => "broken",
        Mode::Long(_) => end_of_row(),
    };
    run(&format!("sandbox-imds set http-endpoint {endpoint}"));
}

/// What the stand-in heard of credd for others, or of a user. What credd asks for itself it asks with a token that
/// lives for a minute; the one for others lives for six hours.
pub fn asked() -> Vec<Asked> {
    let log = run("sandbox-imds log");
    let entry = |line: &str| {
        let entry: serde_json::Value = serde_json::from_str(line).unwrap();
        let headers = entry["headers"].as_array().unwrap().iter();
        let headers: Vec<String> = headers
            .map(|pair| {
                format!(
                    "{}: {}",
                    pair[0].as_str().unwrap().to_lowercase(),
                    pair[1].as_str().unwrap()
                )
            })
            .collect();
        let word = |name: &str| entry[name].as_str().unwrap().to_owned();
        let ttl = entry["token_ttl"].as_str().and_then(|ttl| ttl.parse::<u32>().ok());
        let is_own = ttl.is_some_and(|ttl| ttl <= 60);
        (!is_own).then(|| Asked {
            line: format!("{} {} HTTP/1.1", word("method"), word("path")),
            headers,
        })
    };
    log.lines().filter_map(entry).collect()
}

fn run(line: &str) -> String {
    let output = Command::new("bash").args(["-c", line]).output().unwrap();
    assert!(
        output.status.success(),
        "{line}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}
