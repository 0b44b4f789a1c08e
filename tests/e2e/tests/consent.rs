//! Nothing that does not come back by itself is taken away without a word: at a terminal there is a question, a script
//! says `--yes`, and what `reset` forgets is in a backup that can be put back.

use e2e::{Host, Outcome, at_a_terminal, delete_user, iam, key_id, make_user, run, sh, ssh, uid};

const RESET: &str = "keymaker reset";
const DOWN: &str = "keymaker capture down";
const UNDO: &str = "sandbox-admin keymaker configure --instance-iam-role web --undo";
const SYNC: &str = "sandbox-admin keymaker sync-roles --instance-iam-role sandbox-instance";

/// All that the commands below could take away: of this host and of the account.
fn everything() -> String {
    sh(
        "sha256sum /var/lib/keymaker/private/ids.json /etc/passwd; id alice; jq .halted /run/keymaker/status.json
        ls /var/lib/keymaker-backups 2> /dev/null
        systemctl is-active credd.socket credd-capture; i='sandbox-admin aws iam'
        $i list-roles --query 'Roles[].[RoleName,Description]'; $i list-policies --scope Local --query 'Policies[].Arn'
        $i list-ssh-public-keys --user-name carol",
    )
}

/// A host and an account where each of the commands has something to take.
fn with_something_to_lose() -> (Host, Vec<String>) {
    let host = Host::fresh();
    sh("sandbox-admin keymaker configure --instance-iam-role web");
    make_user("dave", &[]);
    run(&format!("{SYNC} --user dave")).ok();
    delete_user("dave");
    let delete = format!("sandbox-admin keymaker delete-key {} --user carol", key_id("carol"));
    let prune = format!("{SYNC} --prune");
    (
        host,
        vec![delete, DOWN.to_owned(), UNDO.to_owned(), prune, RESET.to_owned()],
    )
}

#[test]
fn a_script_that_does_not_say_yes_takes_nothing_away_and_is_told_so() {
    let (host, commands) = with_something_to_lose();
    let before = everything();
    for command in commands.iter().map(String::as_str).chain(["keymaker migrate"]) {
        let refused = run(command);
        assert_eq!(refused.status, 2, "{refused}");
        assert!(refused.stderr.contains("say --yes"), "{refused}");
        assert_eq!(refused.stdout, "", "{refused}");
        // Somebody who sits at a terminal, but whose input is a file, has not answered.
        let piped = at_a_terminal(&format!("{command} < /dev/null"), "yes");
        assert_eq!(piped.status, 2, "{piped}");
        let json = run(&format!("{command} --json 2>&1 > /dev/null | jq -r .error"));
        assert!(json.stdout.contains("say --yes"), "{json}");
    }
    assert_eq!(everything(), before);
    // What takes nothing away asks nothing.
    run(&format!("{UNDO} --dry-run")).ok();
    assert!(
        run(&format!("{SYNC} --prune --dry-run"))
            .stdout
            .contains("all of role user-dave")
    );
    sh("keymaker migrate --dry-run");
    for command in &commands {
        let before = everything();
        run(&format!("{command} --yes"));
        assert_ne!(everything(), before, "after {command}");
    }
    assert_ne!(everything(), before);
    begin_afresh(&host);
    sh("keymaker capture up");
}

fn begin_afresh(host: &Host) {
    sh("systemctl restart keymakerd");
    host.await_contact();
}

/// What the question of each command must say is lost.
fn must_say(command: &str) -> &'static str {
    match command {
        RESET => "who had which uid",
        DOWN => "reaches the instance's own",
        UNDO => "delete role web",
        _ if command.contains("delete-key") => "keeps no copy",
        _ => "role/user-dave",
    }
}

#[test]
fn at_a_terminal_a_question_says_what_will_be_lost_and_only_yes_goes_on() {
    let (host, commands) = with_something_to_lose();
    let before = everything();
    for command in &commands {
        for answer in ["no", "", "yes please"] {
            let declined = at_a_terminal(command, answer);
            assert_eq!(declined.status, 1, "{declined}");
            assert!(
                declined.stdout.contains("Go on? [yes/no]") && declined.stdout.contains("nothing was changed"),
                "{declined}"
            );
            assert!(declined.stdout.contains(must_say(command)), "{declined}");
        }
        assert_eq!(everything(), before, "after {command}");
    }
    for command in &commands {
        let before = everything();
        let agreed = at_a_terminal(command, "yes");
        println!("$ {command}\n{}", agreed.stdout);
        assert_ne!(everything(), before, "after {command}");
    }
    begin_afresh(&host);
    sh("keymaker capture up");
}

fn ids() -> Outcome {
    run("jq -S . /var/lib/keymaker/private/ids.json")
}

// P2
#[test]
fn what_reset_forgot_is_put_back_from_its_backup_by_the_manual_page() {
    let host = Host::fresh();
    ssh("alice", "true").ok();
    delete_user("carol");
    host.sync();
    make_user("carol", &[]);
    host.sync();
    let (before, alice) = (ids().ok(), uid("alice"));
    let backup = sh("keymaker reset --yes --json | jq -r .backup");
    assert_eq!(sh(&format!("stat -c '%a %U' {backup}/..")), "700 root");
    ids().refused();
    // Begun afresh meanwhile, this host has taken the second carol for the first.
    begin_afresh(&host);
    assert_ne!(ids().ok(), before);
    // As it stands there, but for the name.
    let page = sh(r"sed 's/\\-/-/g' /sandbox/project/docs/man/keymaker.1");
    let steps: Vec<&str> = page
        .lines()
        .map(str::trim)
        .skip_while(|line| *line != "systemctl stop keymakerd")
        .collect();
    let end = steps
        .iter()
        .position(|line| *line == "systemctl start keymakerd")
        .expect("the page has the last step");
    sh(&format!(
        "set -e; {}",
        steps[..=end]
            .join("\n")
            .replace("/var/lib/keymaker-backups/NAME", &backup)
    ));
    host.await_contact();
    host.sync();
    assert_eq!(ids().ok(), before);
    assert_eq!(
        sh("stat -c '%a %U' / /var /var/lib/keymaker/private"),
        "755 root\n755 root\n700 keymakerd"
    );
    assert_eq!(uid("alice"), alice);
    ssh("carol", "true").refused();
    let unkept = sh("keymaker reset --yes --no-backup --json | jq -r .backup");
    assert_eq!(unkept, "null");
    iam("get-user --user-name carol");
}

#[test]
fn a_reset_without_room_for_its_backup_forgets_nothing_and_says_how_to_do_without() {
    let _host = Host::fresh();
    let before = ids().ok();
    sh("d=/var/lib/keymaker-backups; mkdir -p -m 700 $d && mount -t tmpfs -o size=4k,mode=700 tmpfs $d");
    let refused = run("keymaker reset --yes");
    sh("umount /var/lib/keymaker-backups");
    assert!(
        refused.status == 1 && refused.stderr.contains("keymaker reset --no-backup"),
        "{refused}"
    );
    assert_eq!(ids().ok(), before);
}

#[test]
fn capture_is_up_before_the_first_request_has_started_credd() {
    let _host = Host::fresh();
    sh("systemctl stop credd.service; systemctl restart credd.socket");
    assert_eq!(run("systemctl is-active credd.service").stdout.trim(), "inactive");
    let status = run("keymaker capture status");
    assert_eq!(status.status, 0, "{status}");
    assert!(status.stdout.contains("waits for the first request"), "{status}");
    ssh("alice", "aws sts get-caller-identity").ok();
    let status = run("keymaker capture status");
    assert!(
        status.status == 0 && !status.stdout.contains("waits for the first request"),
        "{status}"
    );
}
