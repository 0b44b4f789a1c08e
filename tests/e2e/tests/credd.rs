//! credd as an administrator runs it: reload, check, the container endpoint, and what it does while capture is not as
//! planned.

use std::fs;
use std::time::Duration;

use e2e::{Host, Outcome, calls, iam, journal, run, sh, uid, until};

const SETTINGS: &str = "/etc/keymaker/credd.toml";

/// What the plain AWS command line says to a user.
fn asked(user: &str, environment: &str) -> Outcome {
    run(&format!(
        "runuser -u {user} -- env {environment} aws sts get-caller-identity --query Arn --output text"
    ))
}

fn arn_of(user: &str) -> String {
    format!("arn:aws:sts::123456789012:assumed-role/user-{user}/{user}")
}

/// credd with these lines before the packaged settings; they are gone with the test.
struct Settings(String);

impl Settings {
    fn with(lines: &str) -> Self {
        let before = fs::read_to_string(SETTINGS).expect("the settings are there");
        let settings = Self(before);
        settings.write(lines);
        settings
    }

    fn write(&self, lines: &str) {
        fs::write(SETTINGS, format!("{lines}\n{}", self.0)).expect("the settings can be written");
    }
}

impl Drop for Settings {
    fn drop(&mut self) {
        let _ = fs::write(SETTINGS, &self.0);
        run(
            "systemctl stop credd-container.socket credd; systemctl restart credd-capture; systemctl restart credd.socket credd",
        );
    }
}

fn fresh(lines: &str) -> (Host, Settings) {
    let host = Host::fresh();
    let settings = Settings::with(lines);
    sh("systemctl restart credd");
    (host, settings)
}

#[test]
fn a_reload_keeps_what_was_issued_and_a_bad_file_changes_nothing() {
    let (_host, settings) = fresh("");
    assert_eq!(asked("alice", "").ok(), arn_of("alice"));
    let before = calls("AssumeRole");
    settings.write("rules = [{ allow = [\"user-data\"] }]");
    sh("systemctl reload credd");
    until("the settings are taken up", Duration::from_secs(10), || {
        journal("-u credd").contains("the settings have been reloaded")
    });
    assert_eq!(asked("alice", "").ok(), arn_of("alice"));
    assert_eq!(calls("AssumeRole"), before);
    settings.write("nonsense = 1");
    run("systemctl reload credd").refused();
    until("the bad line is named", Duration::from_secs(10), || {
        journal("-u credd").contains("the settings stay as they were: /etc/keymaker/credd.toml:1: ")
    });
    assert_eq!(asked("alice", "").ok(), arn_of("alice"));
    assert_eq!(asked("bob", "").ok(), arn_of("bob"));
}

#[test]
fn software_that_capture_takes_the_instances_credentials_from_is_named_before_and_afterwards() {
    let (_host, settings) = fresh("");
    let follows = || {
        until("capture follows the settings", Duration::from_secs(10), || {
            run("/usr/libexec/keymaker/credd-capture check").status == 0
        });
    };
    sh("useradd -r -s /usr/sbin/nologin cwagent
        printf '[Service]\\nUser=cwagent\\nExecStart=/bin/sleep 600\\n' > /run/systemd/system/amazon-cloudwatch-agent.service
        systemctl daemon-reload");
    let plan = run("keymaker capture plan").ok();
    assert!(
        plan.contains("\n  cwagent (amazon-cloudwatch-agent.service)\n")
            && plan.contains("  exempt_uids = [\"root\", \"cwagent\"]\n")
            && plan.contains("mode = \"observe\" in /etc/keymaker/credd.toml"),
        "{plan}"
    );
    settings.write("mode = \"observe\"");
    sh("systemctl reload credd");
    follows();
    let status = run("keymaker capture status").reads();
    assert!(status.contains("Nothing is captured (mode = \"observe\")"), "{status}");
    let of_the_instance = asked("cwagent", "").ok();
    assert!(
        of_the_instance.contains("assumed-role/sandbox-instance/"),
        "{of_the_instance}"
    );
    let plan = run("keymaker capture plan").ok();
    let used = plan.split("These used the metadata service since ").nth(1);
    assert!(used.is_some_and(|used| used.contains("\n  cwagent (")), "{plan}");
    settings.write("");
    sh("systemctl reload credd");
    follows();
    asked("cwagent", "").refused();
    let doctor = sh("keymaker doctor --json || true");
    let finding = ".findings[] | select(.what | startswith(\"software asked for AWS credentials and was given none: cwagent (\"))";
    let remedy = sh(&format!(
        "jq -er '{finding} | .remedy' <<< '{}'",
        doctor.replace('\'', "'\\''")
    ));
    let why = run("keymaker why cwagent --json");
    assert!(
        why.stdout.contains("an account of software") && why.stdout.contains("cwagent\\\"]"),
        "{why}"
    );
    sh(&remedy);
    follows();
    assert_eq!(asked("cwagent", "").ok(), of_the_instance);
    assert!(!run("keymaker doctor").reads().contains("cwagent"));
    sh("rm /run/systemd/system/amazon-cloudwatch-agent.service; systemctl daemon-reload");
}

#[test]
fn check_says_what_is_missing_and_what_to_do() {
    let (_host, settings) = fresh("");
    let good = run("credd --check").ok();
    assert!(!good.contains("exempts nobody"), "{good}");
    // A user of IAM's; it is not a fault, since the file may be meant for other hosts as well.
    settings.write("exempt_uids = [\"root\", \"alice\", \"sshd\"]");
    let noted = run("credd --check").ok();
    assert!(
        noted.matches("exempts nobody").count() == 1
            && noted.contains("names alice")
            && noted.contains("Remove the name"),
        "{noted}"
    );
    until("the journal says it, too", Duration::from_secs(10), || {
        journal("-u credd-capture").contains("names alice, which exempts nobody")
    });
    settings.write("");
    // doctor asks credd nothing while the rules still are those of the former settings.
    until("capture follows the settings", Duration::from_secs(10), || {
        run("/usr/libexec/keymaker/credd-capture check").status == 0
    });
    assert!(
        good.contains("ok       user_role: iam:GetRole") && !good.contains("MISSING"),
        "{good}"
    );
    sh("sandbox-fault deny:GetRole");
    let bad = run("credd --check").refused().reads();
    let doctor = run("keymaker doctor").reads();
    sh("sandbox-fault none");
    assert!(
        doctor.contains("AWS denies this host iam:GetRole")
            && doctor.contains("with it:        credd lacks something: iam:GetRole")
            && !doctor.contains("credd does not accept its settings"),
        "{doctor}"
    );
    assert!(
        bad.contains("MISSING  iam:GetRole") && bad.contains("-> allow iam:GetRole"),
        "{bad}"
    );
}

// P13 P16
#[test]
fn the_container_endpoint_wants_the_users_own_socket_and_the_users_own_token() {
    let (_host, settings) = fresh("");
    settings.write("container_endpoint = true");
    sh("systemctl stop credd; systemctl start credd-container.socket; systemctl start credd");
    let url = "http://127.0.0.1:989/credentials";
    for user in ["alice", "bob"] {
        let first = run(&format!(
            "runuser -u {user} -- curl -sS -o /dev/null -w '%{{http_code}}' {url}"
        ));
        assert_eq!(first.ok(), "401");
        let file = format!("/run/keymaker-credd-tokens/{}", uid(user));
        let door = format!("AWS_EC2_METADATA_DISABLED=true AWS_CONTAINER_CREDENTIALS_FULL_URI={url}");
        let own = asked(user, &format!("{door} AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE={file}"));
        assert_eq!(own.ok(), arn_of(user));
        asked(user, &door).refused();
    }
    let alices = format!("/run/keymaker-credd-tokens/{}", uid("alice"));
    run(&format!("runuser -u bob -- cat {alices}")).refused();
    let stolen = format!(
        "runuser -u bob -- curl -sS -o /dev/null -w '%{{http_code}}' -H \"Authorization: $(cat {alices})\" {url}"
    );
    assert_eq!(run(&stolen).ok(), "401");
    let audit = journal("-u credd | grep '\"container_credentials\"'");
    assert!(
        audit.contains(r#""outcome":"issued""#) && audit.contains(r#""method":"user_role""#),
        "{audit}"
    );
}

// P14
#[test]
fn while_capture_cannot_be_put_right_users_get_nothing_and_are_told_to_try_again() {
    let (_host, _settings) = fresh("");
    assert_eq!(asked("alice", "").ok(), arn_of("alice"));
    assert_eq!(sh("cat /run/keymaker-credd-capture/state"), "planned");
    sh("mount --bind /bin/false \"$(realpath /usr/sbin/ip)\"; nft flush ruleset");
    until("credd is told", Duration::from_secs(20), || {
        sh("cat /run/keymaker-credd-capture/state") == "broken"
    });
    asked("alice", "").refused();
    let audit = journal("-u credd | grep '\"user\":\"alice\"' | tail -n 1");
    assert!(
        audit.contains(r#""status":503"#) && audit.contains("capture cannot be repaired"),
        "{audit}"
    );
    sh("umount \"$(realpath /usr/sbin/ip)\"; systemctl restart credd-capture");
    assert_eq!(sh("cat /run/keymaker-credd-capture/state"), "planned");
    assert_eq!(asked("alice", "").ok(), arn_of("alice"));
}

// P20
#[test]
fn on_a_full_disk_the_credentials_of_whom_iam_refuses_end_and_nobody_elses() {
    let host = Host::unstarted();
    let _settings = Settings::with("authz_ttl = 3");
    sh("mount -t tmpfs -o size=256k,mode=755 tmpfs /var/lib/keymaker && chown keymakerd: /var/lib/keymaker");
    host.add_settings("authz_ttl = 3\nrequire_iam_group = \"prod_ssh_users\"");
    host.start();
    sh("systemctl restart credd");
    for user in ["alice", "bob"] {
        assert_eq!(asked(user, "").ok(), arn_of(user));
    }
    sh("{ head -c 1M /dev/zero > /var/lib/keymaker/ballast; true; } 2>/dev/null");
    iam("remove-user-from-group --user-name bob --group-name prod_ssh_users");
    until("bob gets no more credentials", Duration::from_secs(8), || {
        asked("bob", "").status != 0
    });
    let audit = journal("-u credd | grep '\"user\":\"bob\"' | tail -n 1");
    assert!(audit.contains("to write down the answer"), "{audit}");
    assert_eq!(asked("alice", "").ok(), arn_of("alice"));
    // That keymakerd says nothing more takes nothing back: what is published still says that bob may.
    sh("systemctl stop keymakerd");
    for _ in 0..3 {
        asked("bob", "").refused();
    }
    assert_eq!(asked("alice", "").ok(), arn_of("alice"));
    sh("rm /var/lib/keymaker/ballast; systemctl start keymakerd");
    iam("add-user-to-group --user-name bob --group-name prod_ssh_users");
    until("bob has his credentials again", Duration::from_secs(40), || {
        asked("bob", "").status == 0
    });
}
