//! What is written down, found by the journal's fields alone: logins, refusals, changes of rights and settings,
//! credentials; also while somebody else is refused ten thousand times.

use std::time::Duration;

use e2e::metadata::put_everything_up;
use e2e::{Host, iam, journal, run, sh, ssh, uid, until};

/// Which journald itself puts to a line, so that nobody forges it.
const BY_KEYMAKERD: &str = "_SYSTEMD_UNIT=keymakerd.service";
const BY_CREDD: &str = "_SYSTEMD_UNIT=credd.service";

/// How many entries since the test began match these fields.
fn found(fields: &str) -> usize {
    entries(fields).lines().count()
}

fn entries(fields: &str) -> String {
    journal(&format!("-o json {fields}"))
}

#[track_caller]
fn await_entry(fields: &str) -> String {
    until(fields, Duration::from_secs(20), || found(fields) > 0);
    entries(fields)
}

#[track_caller]
fn fingerprint(name: &str) -> String {
    sh(&format!("ssh-keygen -lf /sandbox/keys/{name}.pub | cut -d' ' -f2"))
}

#[test]
fn a_login_and_a_refusal_have_who_from_where_and_by_which_key() {
    let _host = Host::with_settings("require_iam_group = \"prod_ssh_users\"");
    let (alice, carol) = (uid("alice"), uid("carol"));
    ssh("alice", "true").ok();
    ssh("carol", "true").refused();
    await_entry(&format!(
        "{BY_KEYMAKERD} KEYMAKER_EVENT=login KEYMAKER_DECISION=allowed KEYMAKER_USER=alice KEYMAKER_UID={alice} \
         KEYMAKER_KEY={} KEYMAKER_SERVICE=sshd KEYMAKER_SOURCE_IDENTITY=alice",
        fingerprint("alice")
    ));
    let refused = await_entry(&format!(
        "{BY_KEYMAKERD} KEYMAKER_EVENT=login KEYMAKER_DECISION=refused KEYMAKER_REASON=not_in_required_group \
         KEYMAKER_USER=carol KEYMAKER_UID={carol} KEYMAKER_KEY={}",
        fingerprint("carol")
    ));
    let addresses = ["\"KEYMAKER_ADDRESS\":\"::1\"", "\"KEYMAKER_ADDRESS\":\"127.0.0.1\""];
    assert!(addresses.iter().any(|address| refused.contains(address)), "{refused}");
    assert!(refused.contains("\"SYSLOG_IDENTIFIER\":\"sshd"), "{refused}");
    await_entry(&format!(
        "{BY_KEYMAKERD} KEYMAKER_EVENT=keys KEYMAKER_DECISION=refused KEYMAKER_USER=carol KEYMAKER_KEY={}",
        fingerprint("carol")
    ));
    // Nobody logged in.
    assert_eq!(
        found("KEYMAKER_EVENT=login KEYMAKER_DECISION=allowed KEYMAKER_USER=carol"),
        0
    );
}

#[test]
fn while_keymakerd_hangs_the_process_that_asks_pam_writes_the_line_and_the_login_goes_on() {
    let _host = Host::fresh();
    ssh("alice", "true").ok();
    sh("kill -STOP \"$(systemctl show -P MainPID keymakerd)\"");
    let login = ssh("alice", "true");
    sh("kill -KILL \"$(systemctl show -P MainPID keymakerd)\"");
    login.ok();
    await_entry(&format!(
        "_UID=0 KEYMAKER_EVENT=login KEYMAKER_DECISION=allowed KEYMAKER_USER=alice KEYMAKER_KEY={}",
        fingerprint("alice")
    ));
}

#[test]
fn who_gains_or_loses_a_right_and_which_setting_changed_is_a_line() {
    let host = Host::fresh();
    let bob = uid("bob");
    iam("add-user-to-group --group-name keymaker_sudo --user-name bob");
    host.sync();
    await_entry(&format!(
        "{BY_KEYMAKERD} KEYMAKER_EVENT=entitlement KEYMAKER_DECISION=gained KEYMAKER_WHAT=sudo KEYMAKER_GROUP=sudo \
         KEYMAKER_USER=bob KEYMAKER_UID={bob}"
    ));
    iam("remove-user-from-group --group-name keymaker_devs --user-name bob");
    host.sync();
    await_entry(&format!(
        "{BY_KEYMAKERD} KEYMAKER_EVENT=entitlement KEYMAKER_DECISION=lost KEYMAKER_WHAT=group KEYMAKER_GROUP=devs \
         KEYMAKER_USER=bob"
    ));
    assert_eq!(found("KEYMAKER_EVENT=entitlement KEYMAKER_USER=alice"), 0);
    host.add_settings("require_iam_group = \"prod_ssh_users\"\nmax_stale = 7200");
    host.reload();
    await_entry(&format!(
        "{BY_KEYMAKERD} KEYMAKER_EVENT=setting KEYMAKER_DECISION=changed KEYMAKER_SETTING=max_stale KEYMAKER_TO=7200"
    ));
    await_entry(&format!(
        "{BY_KEYMAKERD} KEYMAKER_EVENT=entitlement KEYMAKER_DECISION=lost KEYMAKER_WHAT=login KEYMAKER_USER=carol \
         KEYMAKER_REASON=not_in_required_group"
    ));
    // Also what changed while it did not run.
    sh("systemctl stop keymakerd");
    iam("add-user-to-group --group-name keymaker_devs --user-name bob");
    host.start();
    host.sync();
    await_entry(&format!(
        "{BY_KEYMAKERD} KEYMAKER_EVENT=entitlement KEYMAKER_DECISION=gained KEYMAKER_GROUP=devs KEYMAKER_USER=bob"
    ));
    // end_sessions is off: the unit that looks at each publication has nothing to say.
    assert_eq!(journal("-u keymaker-end-sessions.service").trim(), "");
}

#[test]
fn an_issuance_is_found_by_its_fields_while_another_is_refused_ten_thousand_times() {
    let _host = Host::with_settings("require_iam_group = \"prod_ssh_users\"");
    put_everything_up();
    let (alice, carol) = (uid("alice"), uid("carol"));
    // As PAM reports it; sshd makes no ten thousand refusals in a test's time.
    let report = format!("report login refused sshd flood KEYMAKER_USER=carol KEYMAKER_UID={carol}");
    sh(&format!(
        "python3 - <<'END'
import socket
for _ in range(10000):
    keymakerd = socket.socket(socket.AF_UNIX)
    keymakerd.connect('/run/keymaker/login.sock')
    keymakerd.sendall(b'{report}\\n')
    assert keymakerd.recv(64) == b'done written\\n'
END"
    ));
    let refused = format!("{BY_KEYMAKERD} KEYMAKER_EVENT=login KEYMAKER_DECISION=refused KEYMAKER_USER=carol");
    let metadata = "http://169.254.169.254/latest";
    sh(&format!(
        "runuser -u alice -- sh -c 'token=$(curl -sf -X PUT -H \"X-aws-ec2-metadata-token-ttl-seconds: 60\" {metadata}/api/token)
            curl -sf -H \"X-aws-ec2-metadata-token: $token\" {metadata}/meta-data/iam/security-credentials/user-alice'"
    ));
    ssh("alice", "true").ok();
    let issued = await_entry(&format!(
        "{BY_CREDD} KEYMAKER_EVENT=credentials KEYMAKER_DECISION=issued KEYMAKER_USER=alice KEYMAKER_UID={alice} \
         KEYMAKER_ROLE=arn:aws:iam::123456789012:role/user-alice KEYMAKER_METHOD=user_role"
    ));
    assert!(issued.contains("KEYMAKER_ACCESS_KEY_ID"), "{issued}");
    await_entry(&format!(
        "{BY_KEYMAKERD} KEYMAKER_EVENT=login KEYMAKER_DECISION=allowed KEYMAKER_USER=alice"
    ));
    until("the refusals are counted", Duration::from_secs(20), || {
        let unwritten: u64 = entries(&refused)
            .split("\"KEYMAKER_UNWRITTEN\":\"")
            .skip(1)
            .filter_map(|rest| rest.split('"').next()?.parse::<u64>().ok())
            .sum();
        unwritten + found(&refused) as u64 >= 10_000
    });
    println!("10000 refusals of carol's are {} lines", found(&refused));
    assert!((20..1000).contains(&found(&refused)));
}

#[test]
fn nobody_but_root_has_a_login_written_and_the_keys_command_keys_alone() {
    let _host = Host::fresh();
    let says = |user: &str, event: &str| {
        run(&format!(
            "printf 'report {event} refused x x KEYMAKER_USER=mallory\\n' | runuser -u {user} -- nc -N -U /run/keymaker/login.sock"
        ))
        .stdout
    };
    assert_eq!(says("bob", "login"), "");
    assert_eq!(says("keymaker-keys", "login"), "not-permitted\n");
    assert_eq!(says("keymaker-keys", "keys"), "done written\n");
    assert_eq!(
        run("printf 'report login refused x x KEYMAKER_USER=mallory\\n' | runuser -u bob -- nc -N -U /run/keymaker/lookup.sock").stdout,
        ""
    );
    // Whoever writes to the journal themselves is known by what journald adds.
    let forge = "import socket; socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b'MESSAGE=x\\nKEYMAKER_EVENT=login\\nKEYMAKER_USER=mallory\\n_SYSTEMD_UNIT=keymakerd.service\\n', '/run/systemd/journal/socket')";
    sh(&format!("runuser -u bob -- python3 -c \"{forge}\""));
    await_entry("KEYMAKER_EVENT=login KEYMAKER_USER=mallory");
    assert_eq!(
        found(&format!("{BY_KEYMAKERD} KEYMAKER_EVENT=login KEYMAKER_USER=mallory")),
        0
    );
}
