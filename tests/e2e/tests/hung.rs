//! A keymakerd that hangs: what a whole `ssh` waits for it, and that it is heard again as soon as it is back.

use std::time::Duration;

use e2e::{Host, Outcome, iam, make_user, run, sh, ssh, until};

/// P5: a whole `ssh` with one key, from the client's start to its end.
const WHOLE_LOGIN: Duration = Duration::from_secs(6);

fn stop() {
    sh("kill -STOP $(systemctl show -P MainPID keymakerd)");
}

fn go_on() {
    sh("kill -CONT $(systemctl show -P MainPID keymakerd)");
    until("it shows that it runs", Duration::from_secs(5), || {
        run("test $(($(date +%s) - $(stat -c %Y /run/keymaker/alive))) -le 1").status == 0
    });
}

/// Offers two keys that are nobody's before the user's own.
fn ssh_with_three_keys(user: &str) -> Outcome {
    sh("sandbox-key other1; sandbox-key other2");
    run(&format!(
        "ssh -F /dev/null -o IdentitiesOnly=yes -o BatchMode=yes -o StrictHostKeyChecking=no -i /sandbox/keys/other1 -i /sandbox/keys/other2 \
         -i /sandbox/keys/{user} {user}@localhost true"
    ))
}

// P5
#[test]
fn a_whole_ssh_against_a_hung_keymakerd_takes_less_than_six_seconds() {
    let _host = Host::with_settings("authz_ttl = 1");
    ssh("alice", "true").ok();
    ssh_with_three_keys("alice").ok();
    stop();
    let first = ssh("alice", "true");
    let second = ssh("alice", "true");
    let three = ssh_with_three_keys("alice");
    go_on();
    stop();
    let three_at_once = ssh_with_three_keys("alice");
    let unknown = ssh("nobody-has-this", "true").refused();
    go_on();
    println!(
        "figure: against a hung keymakerd the first login took {:?}, the second {:?}, with three keys {:?} and, just stopped, {:?}; an \
         unknown name {:?}",
        first.took, second.took, three.took, three_at_once.took, unknown.took
    );
    for login in [&first, &second, &three, &three_at_once] {
        assert_eq!(login.status, 0, "{login}");
        assert!(login.took < WHOLE_LOGIN, "{login}");
    }
    assert!(unknown.took < WHOLE_LOGIN, "{unknown}");
}

// P9
#[test]
fn a_keymakerd_that_goes_on_after_it_hung_is_asked_at_the_next_login() {
    let _host = Host::with_settings("authz_ttl = 1\nrequire_iam_group = \"prod_ssh_users\"");
    ssh("bob", "true").ok();
    stop();
    ssh("bob", "true").ok();
    iam("remove-user-from-group --user-name bob --group-name prod_ssh_users");
    go_on();
    ssh("bob", "true").refused();
    make_user("dave", &["prod_ssh_users"]);
    ssh("dave", "true").ok();
}

// P9
#[test]
fn nobody_but_keymakerd_and_root_makes_anybody_impatient_with_it() {
    let _host = Host::fresh();
    for user in ["nobody", "keymaker-keys", "credd"] {
        for order in [
            "touch -d '1 hour ago' alive",
            "rm -f alive",
            "mv alive dead",
            "ln -sf /etc/passwd alive",
        ] {
            run(&format!("cd /run/keymaker && runuser -u {user} -- {order}")).refused();
        }
    }
    assert_eq!(sh("stat -c '%U %a' /run/keymaker/alive"), "keymakerd 644");
}
