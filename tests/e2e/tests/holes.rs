//! The thirteen holes of ec2userkeyd (docs/past-vulnerabilities.md), each tried by a user of a whole host, in front of
//! a real service that gives everything to anybody who asks, with or without a token. H7 and H8 are in `fail_closed.rs`
//! as well.

use std::fs;
use std::process::Command;

use e2e::metadata::{forget, heard_of_daemons, heard_of_users, put_everything_up};
use e2e::{Host, Outcome, journal, run, sh};

const ROLE: &str = "meta-data/iam/security-credentials/sandbox-instance";

fn tempting() -> Host {
    let host = Host::fresh();
    put_everything_up();
    sh("sandbox-imds set http-tokens optional");
    forget();
    host
}

/// The name of the role that a user is offered, and the HTTP status, with curl's further options.
fn offered(user: &str, options: &str) -> Outcome {
    get(
        user,
        options,
        "http://169.254.169.254/latest/meta-data/iam/security-credentials/",
    )
}

fn get(user: &str, options: &str, url: &str) -> Outcome {
    run(&format!(
        "runuser -u {user} -- bash -c 't=$(curl -sS -m 3 -X PUT -H \"X-aws-ec2-metadata-token-ttl-seconds: 60\" http://169.254.169.254/latest/api/token)
         curl -sS -m 3 --path-as-is -w \" %{{http_code}}\" -H \"X-aws-ec2-metadata-token: $t\" {options} \"{url}\"'"
    ))
}

/// No path of these gives a user anything, and none of them, nor anything else with a credential in it, reaches the
/// real service.
fn nothing_at(paths: &[&str]) {
    let _host = tempting();
    for address in ["169.254.169.254", "[fd00:ec2::254]"] {
        for path in paths {
            let got = get("alice", "", &format!("http://{address}{path}"));
            let status = got.stdout.rsplit(' ').next().unwrap_or("").to_owned();
            println!("{status} {path}");
            assert!(["400", "404"].contains(&status.as_str()), "{got}");
        }
    }
    assert_eq!(heard_of_users(), Vec::<String>::new());
    let heard = heard_of_daemons();
    assert!(!heard.iter().any(|path| paths.contains(&path.as_str())), "{heard:?}");
}

// P15 H1
#[test]
fn h1_dots_in_a_path_lead_nowhere() {
    nothing_at(&[
        "/latest/meta-data/iam/security-credentials/../security-credentials/sandbox-instance",
        &format!("/x/../latest/{ROLE}"),
        &format!("/latest/./{ROLE}"),
        &format!("/latest/%2e%2e/latest/{ROLE}"),
    ]);
}

// P15 H2
#[test]
fn h2_slashes_escapes_and_what_follows_the_role_lead_nowhere() {
    nothing_at(&[
        &format!("/latest/{ROLE}/"),
        &format!("/latest/{ROLE}/x"),
        &format!("/latest//{ROLE}"),
        &format!("//latest/{ROLE}"),
        &format!("/latest/{}", ROLE.replace('/', "%2F")),
        &format!("/latest/{}", ROLE.replace('/', "%252F")),
    ]);
}

// P15 H3
#[test]
fn h3_newer_paths_to_credentials_are_404() {
    nothing_at(&[
        "/latest/meta-data/iam/security-credentials-extended/",
        "/latest/meta-data/iam/security-credentials-extended/sandbox-instance",
        "/latest/meta-data/identity-credentials/ec2/security-credentials/ec2-instance",
        "/latest/user-data",
    ]);
}

// P13 H4
#[test]
fn h4_a_listener_of_alices_does_not_make_bob_alice() {
    let _host = tempting();
    let alices = Command::new("runuser")
        .args(["-u", "alice", "--", "nc", "-lk", "127.0.0.1", "8888"])
        .spawn();
    let mut alices = alices.expect("nc(1) runs");
    let got = offered("bob", "--interface 10.77.0.2 --local-port 8888");
    run("kill $(pgrep -u alice -x nc)");
    alices.wait().expect("it ends");
    assert_eq!(got.stdout, "user-bob 200", "{got}");
}

// P13 H5
#[test]
fn h5_a_client_that_has_gone_is_nobody_and_never_root() {
    let _host = tempting();
    sh("runuser -u alice -- python3 -c 'import socket
for n in range(300):
    s = socket.create_connection((\"169.254.169.254\", 80))
    s.sendall(b\"GET /latest/meta-data/iam/security-credentials/ HTTP/1.1\\r\\nHost: 169.254.169.254\\r\\n\\r\\n\")
    s.close()'");
    let audit = journal("-u credd");
    let roots = audit.matches(r#""uid":0,"#).count();
    println!("{} audit lines, {roots} name root", audit.lines().count());
    // root is exempt: credd meets no request of theirs.
    assert_eq!(roots, 0, "{audit}");
}

// P14 H6
#[test]
fn h6_ipv6_is_captured_as_ipv4_is() {
    let _host = tempting();
    let got = get(
        "alice",
        "",
        "http://[fd00:ec2::254]/latest/meta-data/iam/security-credentials/",
    );
    assert_eq!(got.stdout, "user-alice 200", "{got}");
    assert_eq!(heard_of_users(), Vec::<String>::new());
}

// P13 H9
#[test]
fn h9_root_of_a_user_namespace_is_the_user() {
    let _host = tempting();
    let curl =
        "curl -sS -m 3 -o /dev/null -w %{http_code} http://169.254.169.254/latest/meta-data/iam/security-credentials/";
    // Without a token credd answers 401, the real service 200.
    let in_a_namespace = |command: &str| run(&format!("runuser -u alice -- unshare --user --map-root-user {command}"));
    let permitted = in_a_namespace("true");
    if permitted.status == 0 {
        let inside = in_a_namespace(curl);
        assert_eq!((inside.stdout.as_str(), heard_of_users().len()), ("401", 0), "{inside}");
    } else {
        assert!(permitted.stderr.contains("Operation not permitted"), "{permitted}");
        println!("not run: user namespaces are not permitted here");
    }
    assert_eq!(sh(curl), "200");
    let settings = fs::read_to_string("/etc/keymaker/credd.toml").expect("credd has settings");
    fs::write("/etc/keymaker/credd.toml", format!("exempt_uids = []\n{settings}")).expect("root may write them");
    // Capture looks at the file by itself; until credd does too, it refuses whom its settings exempt.
    sh("systemctl reload credd");
    e2e::until("root is captured", std::time::Duration::from_secs(5), || {
        run(curl).stdout == "401"
    });
    forget();
    let captured = run(curl).stdout;
    fs::write("/etc/keymaker/credd.toml", settings).expect("root may write them");
    assert_eq!((captured.as_str(), heard_of_users().len()), ("401", 0));
    e2e::until("root is exempt", std::time::Duration::from_secs(5), || {
        run(curl).stdout == "200"
    });
}

// P14 H10
#[test]
fn h10_a_web_page_or_a_proxy_gets_nothing() {
    let _host = tempting();
    for options in [
        "-H \"Host: evil.example\"",
        "-H \"Origin: http://evil.example\"",
        "-H \"X-Forwarded-For: 10.0.0.1\"",
    ] {
        let got = offered("alice", options);
        assert!(
            got.stdout.ends_with(" 403") && !got.stdout.contains("user-alice"),
            "{got}"
        );
    }
    // What ec2userkeyd listened on, and what the nft way would.
    for port in [808, 988] {
        run(&format!("runuser -u alice -- nc -z 127.0.0.1 {port}")).refused();
    }
}

// P18 H11
#[test]
fn h11_without_its_settings_credd_gives_nothing_at_all() {
    let _host = tempting();
    sh("mv /etc/keymaker/credd.toml /run/credd.toml; systemctl stop credd; systemctl start credd --no-block");
    let got = offered("alice", "");
    let audit = journal("-u credd");
    sh("mv /run/credd.toml /etc/keymaker/credd.toml; systemctl reset-failed credd; systemctl restart credd");
    got.refused();
    assert!(audit.contains("credd.toml"), "{audit}");
    assert_eq!(heard_of_users(), Vec::<String>::new());
    put_everything_up();
}

// P13 H12
#[test]
fn h12_a_uid_without_an_account_gets_nothing() {
    let _host = tempting();
    sh("sandbox-calls --reset");
    let url = "http://169.254.169.254/latest";
    let got = sh(&format!(
        "setpriv --reuid=54321 --regid=54321 --clear-groups bash -c 't=$(curl -sS -X PUT -H \"X-aws-ec2-metadata-token-ttl-seconds: 60\" {url}/api/token)
         curl -sS -o /dev/null -w %{{http_code}} -H \"X-aws-ec2-metadata-token: $t\" {url}/meta-data/iam/security-credentials/'"
    ));
    assert_eq!(got, "404");
    assert!(!sh("sandbox-calls").contains("AssumeRole"));
}

// P17 H13
#[test]
fn h13_six_hundred_requests_make_one_call_and_no_process() {
    let _host = tempting();
    sh("systemctl restart credd; sandbox-calls --reset");
    let before = sh("systemctl show -P MainPID,TasksCurrent credd");
    sh(
        "runuser -u alice -- bash -c 'u=http://169.254.169.254/latest; t=$(curl -sS -X PUT -H \"X-aws-ec2-metadata-token-ttl-seconds: 60\" $u/api/token)
         for i in {1..20}; do curl -sSf -o /dev/null -H \"X-aws-ec2-metadata-token: $t\" \"$u/meta-data/iam/security-credentials/user-alice?[1-30]\"; done'",
    );
    let calls = sh("sandbox-calls");
    println!("{calls}");
    // The daemon asks once who the instance is, when it starts.
    assert!(calls.contains("sts:AssumeRole 1"), "{calls}");
    assert!(calls.lines().all(|line| line.ends_with(" 1")), "{calls}");
    assert_eq!(sh("systemctl show -P MainPID,TasksCurrent credd"), before);
}

/// A connection to the metadata address by way of the gateway, named in a segment routing header (RFC 8754), as any
/// user may ask for.
const BY_WAY_OF_THE_GATEWAY: &str = "
import socket, struct
last, first = (socket.inet_pton(socket.AF_INET6, address) for address in ('fd00:ec2::254', 'fd00:77::1'))
connection = socket.socket(socket.AF_INET6)
connection.settimeout(2)
connection.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RTHDR, struct.pack('!BBBBBBH', 0, 4, 4, 1, 1, 0, 0) + last + first)
connection.connect(('fd00:ec2::254', 80))
";

/// How many packets the guard has stopped.
fn stopped() -> u64 {
    let table = sh("nft list table inet keymaker_credd");
    let counts = table.split("counter packets ").skip(1);
    counts
        .filter_map(|after| after.split_whitespace().next()?.parse::<u64>().ok())
        .sum()
}

// P14
#[test]
fn a_packet_that_names_the_address_in_a_routing_header_leaves_no_host() {
    let _host = tempting();
    let before = stopped();
    let asked = run(&format!("runuser -u alice -- python3 -c \"{BY_WAY_OF_THE_GATEWAY}\"")).refused();
    println!("{asked}");
    // A kernel without segment routing does not send it at all.
    assert!(stopped() > before || asked.stderr.contains("setsockopt"), "{asked}");
    assert_eq!(heard_of_users(), Vec::<String>::new());
}
