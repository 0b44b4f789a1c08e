//! The keys of the issuers by which tokens count: new ones, ones that are gone, ones that are nobody's, and those of two issuers.

use std::time::{Duration, Instant};

use e2e::proofs::{KEYS, LAPTOP, ON, key, keymaker_ssh, ssh_by, with_proofs};
use e2e::{calls, run, sh, ssh, until};

// P21, P9
#[test]
fn a_new_key_of_the_issuers_opens_at_the_first_try_and_a_flood_of_unknown_ones_asks_little() {
    let _host = with_proofs(ON);
    let asked = || calls("GetOutboundWebIdentityFederationInfo");
    let ten_seconds_pass = || {
        let since = format!("[ $(($(date +%s) - $(stat -c %Y {KEYS}))) -gt 11 ]");
        until("nobody has asked for ten seconds", Duration::from_secs(30), || {
            run(&since).status == 0
        });
    };
    ten_seconds_pass();
    sh("echo EC384_1 EC384_0 > /sandbox/issuer-keys; echo EC384_1 > /sandbox/signing-key");
    assert_eq!(keymaker_ssh("dave", "dave", "id -un").ok(), "dave");
    // Tokens by a key that the issuer does not show.
    ten_seconds_pass();
    sh(&format!(
        "echo EC384_2 > /sandbox/signing-key; cp -a {LAPTOP}/.ssh/keymaker /root/kept; rm -rf {LAPTOP}/.ssh"
    ));
    let (before, began) = (asked(), Instant::now());
    for _ in 0..10 {
        keymaker_ssh("dave", "dave", "true").refused();
    }
    // Once, and again after ten seconds each.
    let (fetches, most) = (asked() - before, 1 + began.elapsed().as_secs() as u32 / 10);
    assert!((1..=most).contains(&fetches), "{fetches} of {most}");
    assert_eq!(ssh("alice", "id -un").ok(), "alice");
    // Meanwhile the one that is known opens, and the unknown one once the issuer shows it.
    let known = sh("ls /root/kept/id-*-cert.pub").replace("-cert.pub", "");
    assert_eq!(ssh_by(&known, "dave").ok(), "dave");
    sh("echo EC384_1 EC384_2 > /sandbox/issuer-keys");
    until("the new key opens", Duration::from_secs(60), || {
        keymaker_ssh("dave", "dave", "true").status == 0
    });
    let metrics =
        sh("curl -sS --unix-socket /run/keymaker/status.sock http://keymakerd/metrics | grep ^keymakerd_issuer");
    assert!(metrics.contains("keymakerd_issuer_keys_failure 0"), "{metrics}");
    assert!(!metrics.contains("timestamp_seconds 0\n"), "{metrics}");
    // One that the issuer shows no longer opens nothing after the next fetch.
    sh("keymaker sync");
    assert!(!sh(&format!("cat {KEYS} | tr -d '\\0'")).contains("EC384_0"));
    let own = key();
    assert_eq!(ssh_by(&own, "dave").ok(), "dave");
    sh("echo EC384_1 > /sandbox/issuer-keys; keymaker sync");
    ssh_by(&own, "dave").refused();
    sh("echo EC384_1 EC384_2 > /sandbox/issuer-keys; keymaker sync");
    assert_eq!(ssh_by(&own, "dave").ok(), "dave", "it has not ended meanwhile");
    sh("rm -rf /root/kept /sandbox/issuer-keys /sandbox/signing-key");
}

// P21, P22
#[test]
fn no_key_set_that_is_empty_or_elsewhere_takes_the_place_of_one_and_a_name_of_two_issuers_is_each_ones() {
    let host = with_proofs(ON);
    let published = || sh(&format!("tr -d '\\0' < {KEYS} | grep -ao 'EC384_[0-9]' | sort"));
    for shown in ["nothing", "elsewhere"] {
        sh(&format!("echo {shown} > /sandbox/issuer-keys; keymaker sync"));
        let failure = sh("jq -r .issuers_failure /run/keymaker/status.json");
        println!("{shown}: {failure}");
        assert_ne!(failure, "null", "{shown}");
        assert_eq!(published(), "EC384_0", "{shown}");
        sh(&format!("rm -rf {LAPTOP}/.ssh"));
        assert_eq!(keymaker_ssh("dave", "dave", "id -un").ok(), "dave", "{shown}");
    }
    sh("rm /sandbox/issuer-keys; keymaker sync");
    // Two issuers that root has named, and each has a key of one name.
    let first = sh("jq -r '.issuers[0].issuer' /run/keymaker/status.json");
    let other = "https://10.77.0.1:5443/22222222-2222-3333-4444-555555555555";
    host.add_settings(&format!("login_issuers = [\"{first}\", \"{other}\"]"));
    host.reload();
    sh("keymaker accept-settings --yes || keymaker accept-settings; keymaker sync");
    until("both issuers' keys", Duration::from_secs(20), || {
        published() == "EC384_0\nEC384_0"
    });
    for (signs, opens) in [
        ("EC384_0 EC384_0", true),
        ("EC384_1 EC384_0 other", true),
        ("EC384_1 EC384_0", false),
        ("EC384_0 EC384_0 other", false),
        ("EC384_2 EC384_0", false),
        ("EC384_2 EC384_0 other", false),
    ] {
        sh(&format!("echo {signs} > /sandbox/signing-key; rm -rf {LAPTOP}/.ssh"));
        let came = keymaker_ssh("dave", "dave", "id -un");
        assert_eq!(came.status == 0, opens, "{signs}: {came}");
    }
    sh("rm -f /sandbox/signing-key");
}
