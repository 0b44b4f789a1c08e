//! Random paths and headers: whatever a client writes, nothing outside the allow-list and nothing with `credentials` in
//! it leaves for the real service.

use std::io::Write;
use std::net::Shutdown;

use credd_core::metadata::path::segments;
use credd_core::metadata::route_table::{TABLE, VERSIONS};
use credd_core::metadata::routes::{MetadataRoute, route};

use crate::stand::{Reply, with_v1};

/// xorshift64*: the same sequence at every run, so that a failure can be repeated.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % limit
    }

    fn pick<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        choices[self.below(choices.len())]
    }

    /// A path that begins like a real one and goes wrong in a few places.
    fn path(&mut self) -> String {
        let mut path = match self.below(5) {
            0 => String::new(),
            1 | 2 => format!("/{}/{}", self.pick(VERSIONS), TABLE[self.below(TABLE.len())].pattern),
            _ => format!("/{}", self.pick(VERSIONS)),
        };
        let pieces = if path.len() > 12 { self.below(2) } else { self.below(7) };
        for _ in 0..pieces {
            path.push_str(self.pick(&["/", "/", "/", "/", "//", "%2F", "%2f", "%252F", "\\", ";", ""]));
            path.push_str(self.pick(PIECES));
        }
        for _ in 0..self.below(3) {
            let place = self.below(path.len() + 1);
            if path.is_char_boundary(place) {
                path.insert_str(place, self.pick(MARKS));
            }
        }
        path
    }
}

// P14 P15
#[test]
fn no_random_path_of_a_million_is_routed_outside_the_allow_list() {
    let mut dice = Dice(0x5eed_1234_abcd_ef01);
    let mut upstream = 0_u32;
    for _ in 0..1_000_000 {
        let asked = dice.path();
        let Ok(segments) = segments(&asked) else { continue };
        if let MetadataRoute::Upstream(path) | MetadataRoute::MetaDataListing(path) = route(&segments) {
            upstream += 1;
            assert!(is_allowed(path.as_str()), "{asked} became {}", path.as_str());
        }
    }
    assert!(upstream > 10_000, "the fuzzer no longer finds the way: {upstream}");
}

// P14 P15
#[test]
fn no_random_request_over_the_wire_reaches_the_real_service_outside_the_allow_list() {
    with_v1(|stand| {
        let mut dice = Dice(0x00c0_ffee_1234_5678);
        for _ in 0..3_000 {
            let method = dice.pick(&[
                "GET", "GET", "GET", "GET", "HEAD", "PUT", "POST", "OPTIONS", "CONNECT", "G ET",
            ]);
            let (path, mut headers) = (dice.path(), String::new());
            for _ in 0..dice.below(4) {
                headers.push_str(dice.pick(HEADERS));
                headers.push_str(dice.pick(&["\r\n", "\r\n", "\r\n", "\n", "\r"]));
            }
            // Ended at once, so that a head or body without an end does not wait for the server's patience.
            let mut stream = stand.connect();
            let request = format!("{method} {path} HTTP/1.1\r\nHost: 169.254.169.254\r\n{headers}\r\n");
            let _ = stream.write_all(request.as_bytes());
            let _ = stream.shutdown(Shutdown::Write);
            Reply::read(stream);
        }
        let asked = stand.real.asked();
        assert!(asked.len() > 20, "the fuzzer no longer finds the way: {}", asked.len());
        for request in asked {
            let path = request
                .line
                .strip_prefix("GET ")
                .and_then(|rest| rest.strip_suffix(" HTTP/1.1"));
            assert!(path.is_some_and(is_allowed), "{}", request.line);
            assert_eq!(request.headers.len(), 2, "{:?}", request.headers);
        }
    });
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
    VERSIONS.contains(&version)
        && !path.to_ascii_lowercase().contains("credentials")
        && TABLE.iter().any(|entry| fits(entry.pattern))
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
];

const MARKS: &[&str] = &[
    "/", "//", "..", "/../", "%", "%2f", "%00", "?", "#", ";", "\\", "\u{e9}", " ", "@", ":", "%73", "%2e", "a",
];

const HEADERS: &[&str] = &[
    "X-Forwarded-For: 1",
    "Forwarded: for=x",
    "Host: evil",
    "Origin: null",
    "Transfer-Encoding: chunked",
    "Content-Length: 0",
    "Content-Length: 3",
    "Connection: keep-alive",
    "Upgrade: h2c",
    "Expect: 100-continue",
    "X: y",
    " folded",
    "Accept: */*",
    "X-Original-URL: /latest/meta-data/iam/security-credentials/",
    "X-aws-ec2-metadata-token: x",
];
