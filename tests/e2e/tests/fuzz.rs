//! Random requests of users to the metadata address: nothing outside the allow-list and nothing with `credentials` in
//! it reaches the real service. The stand-in's record is what is counted.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::{Duration, Instant};

use e2e::metadata::{client, forget, heard_of_daemons, heard_of_users, put_everything_up};
use e2e::{Host, sh, uid};

const ADDRESSES: [&str; 2] = ["169.254.169.254:80", "[fd00:ec2::254]:80"];
const ALLOWED: &str = include_str!("../../../credd-core/src/metadata/route_table.rs");
/// How many requests, where not a million.
const REQUESTS: &str = "E2E_REQUESTS";
const SEED: &str = "E2E_FUZZ_SEED";

// P14 P15
#[test]
fn no_random_request_of_a_user_reaches_the_real_service_outside_the_allow_list() {
    let _host = Host::fresh();
    put_everything_up();
    sh("sandbox-imds set http-tokens optional; systemctl restart credd");
    forget();
    let usual = if e2e::is_long() { 1_000_000 } else { 100_000 };
    let number: u32 = std::env::var(REQUESTS).map_or(usual, |text| text.parse().expect("a number"));
    let this = std::env::current_exe().expect("this program has a path");
    let path = client("fuzz", "");
    std::fs::copy(this, &path).expect("/run can be written");
    let began = Instant::now();
    // Four of two users, as many as keep two processors busy.
    let children: Vec<_> = (0..4)
        .map(|seed| {
            let user = uid(["alice", "bob"][seed % 2]);
            Command::new(&path)
                .args(["--ignored", "--exact", "be_a_client", "--nocapture"])
                .env(REQUESTS, (number / 4).to_string())
                .env(SEED, (seed + 1).to_string())
                .uid(user)
                .gid(user)
                .stdout(std::process::Stdio::piped())
                .spawn()
                .expect("the program runs as a user")
        })
        .collect();
    let mut statuses = BTreeMap::<String, u64>::new();
    for child in children {
        let output = child.wait_with_output().expect("it ends");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        for line in String::from_utf8_lossy(&output.stdout)
            .lines()
            .filter_map(|line| line.strip_prefix("status "))
        {
            let (status, count) = line.split_once(' ').expect("two words");
            *statuses.entry(status.to_owned()).or_default() += count.parse::<u64>().expect("a count");
        }
    }
    let sent: u64 = statuses.values().sum();
    println!("{sent} requests in {:?}, by status: {statuses:?}", began.elapsed());
    let heard = heard_of_daemons();
    let tokens = |path: &&String| path.as_str() != "/latest/api/token";
    // What the daemons fetch for themselves, by their own sessions.
    let own = |path: &&String| !path.starts_with("/latest/meta-data/iam/security-credentials/");
    let passed_on: Vec<&String> = heard.iter().filter(tokens).filter(own).collect();
    let wrong: Vec<&&String> = passed_on.iter().filter(|path| !is_allowed(path)).collect();
    let different: std::collections::BTreeSet<_> = passed_on.iter().collect();
    println!(
        "{} reached the stand-in, {} different paths, {} outside the allow-list",
        passed_on.len(),
        different.len(),
        wrong.len()
    );
    assert_eq!(heard_of_users(), Vec::<String>::new(), "a request of a user itself");
    assert!(wrong.is_empty(), "{wrong:?}");
    // The daemons' own are few: their credentials live for hours, and each asks for the role's name once a minute.
    let own = 6 + 2 * usize::try_from(began.elapsed().as_secs() / 60).expect("it is few");
    assert!(
        heard
            .iter()
            .filter(|path| path.to_lowercase().contains("credentials"))
            .count()
            <= own,
        "{heard:?}"
    );
    assert!(
        different.len() > 40 && statuses.contains_key("200") && statuses.contains_key("404"),
        "the fuzzer lost its way"
    );
}

/// Run by the test above as a user.
#[test]
#[ignore = "a client of the other test"]
fn be_a_client() {
    let number: u32 = std::env::var(REQUESTS).expect("set").parse().expect("a number");
    let mut dice = Dice(
        std::env::var(SEED)
            .expect("set")
            .parse::<u64>()
            .expect("a number")
            .wrapping_mul(0x9E37_79B9_7F4A_7C15),
    );
    let token = exchange(
        ADDRESSES[0],
        b"PUT /latest/api/token HTTP/1.1\r\nHost: 169.254.169.254\r\nX-aws-ec2-metadata-token-ttl-seconds: 21600\r\n\r\n",
    );
    let token = token.rsplit("\r\n\r\n").next().expect("a body").to_owned();
    let mut statuses = BTreeMap::<String, u32>::new();
    for _ in 0..number {
        let request = dice.request(&token);
        let answer = exchange(ADDRESSES[dice.below(2)], request.as_bytes());
        assert!(!answer.contains("sandbox-instance"), "{request}\n{answer}");
        let status = answer.split(' ').nth(1).unwrap_or("none").to_owned();
        *statuses.entry(status).or_default() += 1;
    }
    for (status, count) in statuses {
        println!("status {status} {count}");
    }
}

/// What comes back; nothing where the connection was refused or cut.
fn exchange(address: &str, request: &[u8]) -> String {
    let mut got = vec![];
    if let Ok(mut stream) = TcpStream::connect(address) {
        let _ = stream.set_read_timeout(Some(Duration::from_secs(10)));
        // Ended at once, so that a head or body without an end does not wait for the server's patience.
        let _ = stream
            .write_all(request)
            .and_then(|()| stream.shutdown(Shutdown::Write));
        let _ = stream.read_to_end(&mut got);
    }
    String::from_utf8_lossy(&got).into_owned()
}

/// xorshift64*: the same sequence at every run, so that a failure can be repeated.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        usize::try_from(self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33).expect("31 bits") % limit
    }

    fn pick<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        choices[self.below(choices.len())]
    }

    fn request(&mut self, token: &str) -> String {
        let method = self.pick(&[
            "GET", "GET", "GET", "GET", "GET", "HEAD", "PUT", "POST", "CONNECT", "G ET",
        ]);
        let (path, mut headers) = (self.path(), String::new());
        if self.below(8) > 0 {
            headers = format!("X-aws-ec2-metadata-token: {token}\r\n");
        }
        for _ in 0..self.below(9).saturating_sub(6) {
            headers.push_str(self.pick(HEADERS));
            headers.push_str(self.pick(&["\r\n", "\r\n", "\r\n", "\n", "\r"]));
        }
        let host = self.pick(&[
            "169.254.169.254",
            "169.254.169.254",
            "169.254.169.254",
            "instance-data",
            "evil.example",
        ]);
        format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n{headers}\r\n")
    }

    /// A path of the table with values in it.
    fn allowed(&mut self) -> String {
        let pattern = patterns().nth(self.below(90)).unwrap_or("meta-data/");
        let filled = pattern.replace("{mac}", "02:29:96:8f:6a:2d").replace("{number}", "0");
        format!("/latest/{}", filled.replace(['{', '}'], ""))
    }

    /// A path that begins like a real one and goes wrong in a few places.
    fn path(&mut self) -> String {
        let mut path = match self.below(8) {
            0 => String::new(),
            1 | 2 => self.allowed(),
            3 => "/latest/meta-data/iam/security-credentials".to_owned(),
            _ => format!("/{}", self.pick(&["latest", "latest", "2021-03-23", "1.0"])),
        };
        let pieces = if path.len() > 12 { self.below(3) } else { self.below(7) };
        for _ in 0..pieces {
            path.push_str(self.pick(&["/", "/", "/", "/", "/", "//", "%2F", "%2f", "%252F", "\\", ";", ""]));
            path.push_str(self.pick(PIECES));
        }
        for _ in 0..self.below(6).saturating_sub(3) {
            let place = self.below(path.len() + 1);
            if path.is_char_boundary(place) {
                path.insert_str(place, self.pick(MARKS));
            }
        }
        path
    }
}

/// The paths that users may read, as credd's table has them.
fn patterns() -> impl Iterator<Item = &'static str> {
    let lines = ALLOWED.lines().map(str::trim);
    lines.filter_map(|line| {
        let line = line
            .strip_prefix("steady(\"")
            .or_else(|| line.strip_prefix("live(\""))?;
        line.strip_suffix("\"),")
    })
}

/// Written out again, and not with the code under test: the version and each segment as a pattern of the table has
/// them.
fn is_allowed(path: &str) -> bool {
    let Some((version, below)) = path.strip_prefix('/').and_then(|rest| rest.split_once('/')) else {
        return false;
    };
    let plain = |segment: &str| {
        let known = |byte: u8| byte.is_ascii_alphanumeric() || b"+-=.,_:@".contains(&byte);
        !segment.is_empty() && segment != "." && segment != ".." && segment.bytes().all(known)
    };
    let fits = |pattern: &str| {
        let (want, have): (Vec<&str>, Vec<&str>) = (pattern.split('/').collect(), below.split('/').collect());
        let same = |(want, have): (&&str, &&str)| want == have || (want.starts_with('{') && plain(have));
        want.len() == have.len() && want.iter().zip(&have).all(same)
    };
    let dated = version.len() == 10 && version.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
    (["latest", "1.0"].contains(&version) || dated)
        && !path.to_ascii_lowercase().contains("credentials")
        && patterns().any(fits)
}

const PIECES: &[&str] = &[
    "latest",
    "2021-03-23",
    "meta-data",
    "dynamic",
    "user-data",
    "iam",
    "security-credentials",
    "identity-credentials",
    "ec2",
    "security-credentials-extended",
    "info",
    "sandbox-instance",
    "user-alice",
    "ec2-instance",
    "instance-id",
    "ami-id",
    "tags",
    "instance",
    "Name",
    "public-keys",
    "0",
    "network",
    "interfaces",
    "macs",
    "02:29:96:8f:6a:2d",
    "mac",
    "placement",
    "region",
    "..",
    ".",
    "%2e%2e",
    "%2e",
    "managed-ssh-keys",
    "active-keys",
    "bob",
    "api",
    "token",
    "block-device-mapping",
    "ebs1",
    "Credentials",
    "instance-identity",
    "document",
    "signature",
];
const MARKS: &[&str] = &[
    "%00",
    "?",
    "#",
    "%",
    "%0d%0a",
    " ",
    "\t",
    "\u{e9}",
    "..",
    "/../",
    "http://169.254.169.254",
    "@",
    "%25",
    "*",
];
const HEADERS: &[&str] = &[
    "X-Forwarded-For: 10.0.0.1",
    "Host: 169.254.169.254",
    "Content-Length: 5",
    "Transfer-Encoding: chunked",
    "X-aws-ec2-metadata-token: AQAA",
    "X-aws-ec2-metadata-token-ttl-seconds: 60",
    "Connection: keep-alive",
    "Upgrade: h2c",
    "Origin: null",
    "X-Attempt: fuzz",
    "X-Original-URL: /latest/meta-data/iam/security-credentials/sandbox-instance",
    " folded",
    "no colon",
];
