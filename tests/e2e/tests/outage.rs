//! What may not depend on IAM answering: who is known stays known and gets in, and nobody waits for it.

use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, Instant};

use e2e::{Host, NOISE, Outcome, groups, iam, journal, make_user, order, run, sh, ssh, uid, until};

/// Every way in which the fake AWS can fail to answer, for all its actions at once. The first four differ in kind: no
/// answer, an answer that leaves out half, no connection, and a refusal.
const FAULTS: [&str; 8] = ["hang", "partial", "down", "deny", "throttle", "500", "cut", "wrong"];
/// A lookup's budget (P5).
const LOOKUP: Duration = Duration::from_millis(1500);
/// Every login asks IAM, and passes come often.
const SETTINGS: &str = "authz_ttl = 1\nsync_interval = 10";

/// All of them with `./check --long`, else the first ones.
fn faults(first: usize) -> impl Iterator<Item = &'static str> {
    FAULTS
        .into_iter()
        .take(if e2e::is_long() { FAULTS.len() } else { first })
}

fn fault(mode: &str) {
    sh(&format!("sandbox-fault {mode}"));
}

/// Everything of ours that glibc tells about these users and groups.
fn resolved() -> String {
    sh(
        "getent passwd alice bob carol; getent group devs alice; id alice; id bob; id carol; getent passwd $(id -u carol)",
    )
}

// P3
#[test]
fn whatever_iam_answers_known_users_resolve_and_log_in_and_nobody_disappears() {
    for mode in faults(2) {
        let host = Host::with_settings(SETTINGS);
        for user in ["alice", "bob", "carol"] {
            ssh(user, "true").ok();
        }
        let before = resolved();
        assert!(before.contains("sudo"), "{before}");
        fault(mode);
        for round in 1..=if e2e::is_long() { 2 } else { 1 } {
            let pass = order("sync");
            assert!(
                pass.starts_with("failed ") || mode == "partial" || mode == "deny",
                "{mode}: {pass}"
            );
            assert_eq!(resolved(), before, "{mode}, pass {round}: {pass}");
            for user in ["alice", "bob", "carol"] {
                let login = ssh(user, "id -Gn");
                assert_eq!(login.status, 0, "{mode}, pass {round}: {login}");
            }
        }
        assert_eq!(groups("alice"), ["alice", "devs", "keymaker-users", "sudo"], "{mode}");
        // A daemon that starts in the outage knows no less.
        sh("systemctl restart keymakerd");
        order("sync");
        assert_eq!(resolved(), before, "{mode}, after a restart");
        ssh("alice", "true").ok();
        drop(host);
    }
}

// P3
#[test]
fn a_listing_cut_short_takes_no_group_and_no_right_to_log_in_from_anybody() {
    let host = Host::with_settings(&format!("{SETTINGS}\nrequire_iam_group = \"prod_ssh_users\""));
    for user in ["alice", "bob"] {
        ssh(user, "true").ok();
    }
    let before = resolved();
    let rounds = if e2e::is_long() { 3 } else { 2 };
    for mode in ["partial:ListUsers", "partial:ListGroups", "partial:GetGroup", "partial"] {
        fault(mode);
        for _ in 0..rounds {
            order("sync");
        }
        assert_eq!(resolved(), before, "{mode}");
        for user in ["alice", "bob"] {
            let login = ssh(user, "true");
            assert_eq!(login.status, 0, "{mode}: {login}");
        }
        fault("none");
        host.sync();
    }
}

// P3
#[test]
fn a_group_that_iam_no_longer_has_goes_and_so_does_a_membership() {
    let host = Host::fresh();
    iam("remove-user-from-group --user-name bob --group-name keymaker_devs");
    host.sync();
    assert_eq!(groups("bob"), ["bob", "keymaker-users"]);
    iam("remove-user-from-group --user-name alice --group-name keymaker_devs");
    iam("delete-group --group-name keymaker_devs");
    host.sync();
    assert_eq!(run("getent group devs").stdout, "");
    assert_eq!(groups("alice"), ["alice", "keymaker-users", "sudo"]);
}

// P5
#[test]
fn an_unknown_name_is_answered_within_its_budget_whatever_iam_answers() {
    let mut slowest = Duration::ZERO;
    for mode in faults(4).chain(["slow:1000", "slow:1000:GetUser", "hang:GetUser", "none"]) {
        let _host = Host::fresh();
        fault(mode);
        for n in 1..=if e2e::is_long() { 4 } else { 2 } {
            for asked in [format!("getent passwd nobody{n}"), format!("id nobody{n}")] {
                let asked = run(&asked).refused();
                assert!(asked.took < LOOKUP + NOISE, "{mode}: {asked}");
                slowest = slowest.max(asked.took);
            }
        }
    }
    println!("figure: the slowest lookup of an unknown name took {slowest:?}");
}

// P5
#[test]
fn while_iam_hangs_the_second_login_takes_at_most_a_second_longer_than_a_healthy_one() {
    let _host = Host::with_settings(SETTINGS);
    for user in ["alice", "bob"] {
        ssh(user, "true").ok();
    }
    let healthy = (0..3).map(|_| old_facts_login("alice").took).max().unwrap_or_default();
    fault("hang");
    let first = old_facts_login("alice");
    let second = old_facts_login("alice");
    let other = old_facts_login("bob");
    println!(
        "figure: a login took {healthy:?}, the first of the outage {:?}, the second {:?}, another user's {:?}",
        first.took, second.took, other.took
    );
    // sshd asks for the keys, once per offered key and once more, then PAM; what is known to be silent is asked once.
    assert!(first.took < healthy + Duration::from_secs(4), "{first}");
    for login in [second, other] {
        assert!(login.took < healthy + Duration::from_secs(1) + NOISE, "{login}");
    }
}

/// A login at which keymakerd has to ask IAM, since what it knows is older than `authz_ttl`.
#[track_caller]
fn old_facts_login(user: &str) -> Outcome {
    let began = Instant::now();
    until("the facts are old", Duration::from_secs(5), || {
        began.elapsed() > Duration::from_millis(2100)
    });
    let login = ssh(user, "true");
    assert_eq!(login.status, 0, "{login}");
    login
}

// P3 P5
#[test]
fn who_is_unknown_when_an_outage_begins_gets_in_soon_after_it_ends() {
    let _host = Host::fresh();
    ssh("alice", "true").ok();
    let outages = [("hang", "dave"), ("throttle", "erin")];
    for (mode, user) in outages.into_iter().take(if e2e::is_long() { 2 } else { 1 }) {
        fault(mode);
        make_user(user, &["keymaker_devs"]);
        let refused = ssh(user, "echo I am in").refused();
        assert!(!refused.stdout.contains("I am in"), "{refused}");
        assert!(refused.took < Duration::from_secs(12), "{refused}");
        ssh("alice", "true").ok();
        fault("none");
        let ended = Instant::now();
        // The first probe comes 10 s after the outage began, the next 20 s later.
        until(&format!("{user} gets in"), Duration::from_secs(35), || {
            ssh(user, "true").status == 0
        });
        println!(
            "figure: after {mode} a user unknown till then got in within {:?}",
            ended.elapsed()
        );
    }
}

// P3
#[test]
fn users_whose_keys_this_host_has_never_fetched_cannot_log_in_without_them_and_others_can() {
    let _host = Host::with_settings(SETTINGS);
    ssh("alice", "true").ok();
    fault("500:ListSSHPublicKeys 500:GetSSHPublicKey");
    ssh("alice", "true").ok();
    ssh("bob", "true").refused();
    fault("none");
    until("bob gets in", Duration::from_secs(35), || {
        ssh("bob", "true").status == 0
    });
}

// P7 P9
#[test]
fn with_getgroup_failing_for_a_day_and_an_hour_nobody_gets_in_and_everybody_reads_why() {
    let host = Host::with_settings(SETTINGS);
    for user in ["alice", "bob"] {
        ssh(user, "true").ok();
    }
    fault("500:GetGroup");
    let contact = || sh("stat -c %Y /var/lib/keymaker/public/contact");
    let before = contact();
    let pass = order("sync");
    assert!(pass.starts_with("failed ") && pass.contains("GetGroup"), "{pass}");
    assert_eq!(contact(), before, "a pass without GetGroup is no contact");
    ssh("alice", "true").ok();
    // The clock of the box is the machine's, so time passes like this.
    sh("touch -d '25 hours ago' /var/lib/keymaker/public/contact");
    for user in ["alice", "bob"] {
        let login = ssh(user, "echo I am in").refused();
        assert!(!login.stdout.contains("I am in"), "{login}");
        assert!(
            login
                .reads()
                .contains(&format!("keymaker: this host cannot verify whether {user} may log in")),
            "{login}"
        );
    }
    // A nudge that IAM answers does not stand in for the pass.
    sh("keymaker invalidate");
    ssh("alice", "true").refused();
    assert!(resolved().contains("alice:*:"));
    let status = sh("keymaker status");
    assert!(
        status.contains("GetGroup") && status.contains("so nobody from IAM may log in"),
        "{status}"
    );
    fault("none");
    host.sync();
    ssh("alice", "true").ok();
}

/// A host on which IAM answered so long ago, as keymakerd reads it at its start.
fn last_answered(ago: &str) {
    sh(&format!(
        "systemctl stop keymakerd; touch -d '{ago} ago' /var/lib/keymaker/public/contact; systemctl start keymakerd"
    ));
}

/// Whether PAM lets a user in by a service.
fn pam(service: &str, user: &str) -> bool {
    run(&format!("pamtester {service} {user} acct_mgmt")).status == 0
}

// P7 P9
#[test]
fn sudo_and_cron_go_on_while_aws_is_silent_and_ssh_does_not() {
    const CONTINUING: [&str; 7] = ["cron", "crond", "atd", "systemd-user", "sudo", "sudo-i", "polkit-1"];
    let _host = Host::with_settings(
        "require_iam_group = \"prod_ssh_users\"\nsudo_iam_group = \"keymaker_sudo\"\nsync_interval = 10\nmax_stale_running = 604800",
    );
    make_user("dave", &["prod_ssh_users"]);
    let alice = uid("alice");
    ssh("alice", "loginctl enable-linger; crontab -r; true").ok();
    ssh("dave", "true").ok();
    // root gave bob a crontab, and bob never logged in; carol has one too, and is not in the required group; erin has nothing.
    make_user("erin", &["prod_ssh_users"]);
    sh(
        "getent passwd erin; echo '* * * * * touch /tmp/bob-was-here' | crontab -u bob -; echo '* * * * * true' | crontab -u carol -",
    );
    iam("remove-user-from-group --user-name dave --group-name prod_ssh_users");
    order("sync");
    fault("down");
    last_answered("26 hours");
    let silent = || sh("jq .aws_is_silent /run/keymaker/status.json") == "true";
    until("AWS is known to be silent", Duration::from_secs(30), silent);
    for service in CONTINUING {
        assert!(pam(service, "alice") && pam(service, "bob"), "{service}");
        for refused in ["carol", "dave", "erin"] {
            assert!(!pam(service, refused), "{refused} at {service}");
        }
    }
    for service in ["sshd", "login", "su", "su-l"] {
        assert!(!pam(service, "alice"), "{service}");
    }
    ssh("alice", "true").refused();
    // As in a shell that alice has open.
    assert_eq!(sh("runuser -u alice -- sudo -n id -u"), "0");
    sh(&format!(
        "systemctl stop user@{alice}; systemctl start user@{alice}; rm -f /tmp/bob-was-here"
    ));
    assert!(journal("-t sudo").contains("alice goes on by what IAM last said"));
    let why = run("keymaker why alice").stdout;
    assert!(why.contains("what the user began here goes on meanwhile"), "{why}");
    let why = run("keymaker why erin").stdout;
    assert!(why.contains("never had a session here"), "{why}");
    until("cron ran for bob", Duration::from_secs(75), || {
        run("test -e /tmp/bob-was-here").status == 0
    });
    // Nobody knows whether AWS is silent.
    sh("systemctl stop keymakerd");
    assert!(!pam("sudo", "alice"));
    // It answers, and refuses.
    for answered in ["throttle", "deny"] {
        fault(answered);
        last_answered("26 hours");
        order("sync");
        assert!(!pam("sudo", "alice"), "{answered}");
    }
    fault("down");
    last_answered("8 days");
    until("AWS is known to be silent", Duration::from_secs(30), silent);
    assert!(!pam("sudo", "alice"), "eight days ago");
    fault("none");
    order("sync");
    ssh("alice", "true").ok();
}

// P3
#[test]
fn when_the_listing_is_denied_the_daemon_steps_down_a_grade_and_back_and_nobody_disappears() {
    let host = Host::fresh();
    let grade = || sh("jq .grade /run/keymaker/status.json");
    assert_eq!(grade(), "2");
    let before = resolved();
    fault("deny:ListUsers");
    order("sync");
    assert_eq!(grade(), "3");
    assert_eq!(resolved(), before);
    ssh("carol", "true").ok();
    fault("none");
    host.reload();
    assert_eq!(grade(), "2");
    assert_eq!(resolved(), before);
}

// P3
#[test]
fn many_users_missing_from_a_listing_stay_and_those_really_gone_go() {
    let users: Vec<String> = (0..200)
        .map(|n| format!(r#"{{"name": "user{n}", "keys": []}}"#))
        .collect();
    let host = Host::with_seed(&format!(r#"{{"users": [{}, {{"name": "alice"}}]}}"#, users.join(", ")));
    let names = || -> BTreeSet<String> {
        sh("for n in $(seq 0 199); do getent passwd user$n; done | cut -d: -f1")
            .lines()
            .map(str::to_owned)
            .collect()
    };
    assert_eq!(names().len(), 200);
    let before = uid("user150");
    fault("partial:ListUsers");
    for _ in 0..3 {
        order("sync");
    }
    assert_eq!(names().len(), 200);
    assert_eq!(uid("user150"), before);
    fault("none");
    // Forty of two hundred: no mass that would wait for a second pass.
    host.reseed(&format!(
        r#"{{"users": [{}, {{"name": "alice"}}]}}"#,
        users[..160].join(", ")
    ));
    host.sync();
    assert_eq!(names().len(), 160);
}

/// keymakerd stops, and starts as at a boot on Monday, before cron (`nss-user-lookup.target`): /run is empty, and IAM last
/// answered 65 hours ago.
fn monday(fault_meanwhile: &str) {
    sh(&format!(
        "systemctl stop keymakerd cron; rm -f /run/keymaker/alive /run/crond.reboot
         touch -d '65 hours ago' /var/lib/keymaker/public/contact
         sandbox-fault {fault_meanwhile}; systemctl start keymakerd; systemctl start cron"
    ));
}

// P5
#[test]
fn after_a_weekend_no_line_at_reboot_is_lost_and_logins_wait_for_the_first_pass() {
    let _host = Host::fresh();
    ssh("alice", "true").ok();
    std::fs::write("/etc/cron.d/e2e-monday", "@reboot alice touch rebooted\n").expect("root may write there");
    monday("slow:1500");
    let began = Instant::now();
    // What atd asks for a job that came due while the host was off.
    let due = thread::spawn(|| run("pamtester atd alice acct_mgmt"));
    let login = ssh("alice", "true");
    println!(
        "figure: a login during the first pass ended with {} after {:?}",
        login.status, login.took
    );
    until("the line at reboot has run", Duration::from_secs(30), || {
        run("test -e /home/alice/rebooted").status == 0
    });
    println!("figure: it ran {:?} after the boot", began.elapsed());
    let due = due.join().expect("it asks");
    assert_eq!(due.status, 0, "a job that is due is lost: {due}");
    println!("figure: atd had its answer after {:?}", due.took);
    // The first call is throttled: a pass by itself is put off.
    monday("throttle:GetRole");
    until("a pass has failed", Duration::from_secs(20), || {
        sh("jq -r .last_failure /run/keymaker/status.json").contains("GetRole")
    });
    ssh("alice", "true").refused();
    fault("none");
    let answers = Instant::now();
    until("alice gets in", Duration::from_secs(30), || {
        ssh("alice", "true").status == 0
    });
    println!("figure: {:?} from IAM's answer to the first login", answers.elapsed());
    sh("rm -f /etc/cron.d/e2e-monday");
}
