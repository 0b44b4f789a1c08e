//! Names that something else on the host reads as its own, two who would have one name, and settings that are gone:
//! what whoever makes and renames in IAM gets by them.

use std::fs;
use std::time::Duration;

use e2e::{
    Host, Outcome, calls, describe_role, give_key, groups, iam, is_left_to_the_long_form, make_user, run, sh, ssh, uid,
    until,
};

const UNITS: &str = "/etc/systemd/system";
const SETTINGS: &str = "/etc/keymaker/keymakerd.toml";

/// Files of packages that a test installs; gone with it.
struct Installed(Vec<String>);

impl Installed {
    fn file(path: &str, content: &str) -> Self {
        sh(&format!("mkdir -p $(dirname {path})"));
        fs::write(path, content).expect("root may write there");
        Self(vec![path.to_owned()])
    }
}

impl Drop for Installed {
    fn drop(&mut self) {
        for path in &self.0 {
            let _ = fs::remove_file(path);
        }
        run("systemctl daemon-reload");
    }
}

fn dynamic(name: &str) -> Installed {
    let unit = format!(
        "[Service]\nType=oneshot\nDynamicUser=yes\nExecStart=/usr/bin/id -u\nStandardOutput=truncate:/run/{name}.uid\n"
    );
    let installed = Installed::file(&format!("{UNITS}/{name}.service"), &unit);
    sh("systemctl daemon-reload");
    installed
}

/// Wants the name of carol, who is here already: once keymakerd says that she keeps it, it has read what was installed
/// before.
const CANARY: &str = "[Service]\nDynamicUser=yes\nUser=carol\nExecStart=/bin/true\n";

fn kept() -> String {
    status(".kept_entries[].iam_name")
}

fn await_canary() {
    until("keymakerd has read what was installed", Duration::from_secs(10), || {
        kept() == "carol"
    });
}

fn status(filter: &str) -> String {
    sh(&format!("jq -r '{filter}' /run/keymaker/status.json"))
}

fn why_refused(name: &str) -> String {
    status(&format!(".refused_entries[] | select(.iam_name == \"{name}\") | .why"))
}

fn resolves(name: &str) -> bool {
    !run(&format!("getent -s keymaker passwd {name}")).stdout.is_empty()
}

// P1
#[test]
fn a_file_given_to_root_and_its_group_by_the_old_spelling_is_nobody_elses() {
    let host = Host::fresh();
    make_user("root.root", &["keymaker_devs"]);
    make_user("first.last", &[]);
    iam("create-group --group-name keymaker_root.x");
    host.sync();
    sh("touch /run/e2e/given; chown root.root /run/e2e/given");
    assert_eq!(sh("stat -c '%u %g' /run/e2e/given"), "0 0");
    ssh("root.root", "true").refused();
    let said = run("keymaker why root.root").refused();
    assert!(
        said.stdout.contains("chown and others read root.root as user root"),
        "{said}"
    );
    assert_eq!(run("getent group root.x").stdout, "");
    assert_eq!(ssh("first.last", "id -un").ok(), "first.last");
    host.add_settings("dotted_names = false");
    host.reload();
    assert!(!resolves("first.last"));
    assert!(why_refused("first.last").contains("dotted_names = false"));
}

// P1
#[test]
fn a_dynamic_users_name_is_its_services_and_no_newcomers() {
    let host = Host::fresh();
    let _acmed = dynamic("acmed");
    let canary = Installed::file(&format!("{UNITS}/zz.service"), CANARY);
    await_canary();
    make_user("acmed", &[]);
    host.sync();
    assert!(why_refused("acmed").contains("acmed.service"));
    assert!(!resolves("acmed"));
    sh("systemctl start acmed");
    let ran_as: u32 = sh("cat /run/acmed.uid").parse().expect("id -u prints a number");
    assert!((61_184..=65_519).contains(&ran_as), "{ran_as}");
    // An administrator's unit of a user's name, which runs as that user, wants nothing.
    let _bob = Installed::file(
        &format!("{UNITS}/bob.service"),
        "[Service]\nUser=bob\nExecStart=/bin/true\n",
    );
    // A generator's, in a folder that each daemon-reload makes again.
    let generator = "/run/systemd/system-generators/e2e";
    drop(canary);
    until("carol's name is free", Duration::from_secs(10), || kept().is_empty());
    let unit = |user: &str| format!("[Service]\\nDynamicUser=yes\\nUser={user}\\nExecStart=/bin/true\\n");
    let script = format!(
        "#!/bin/sh\nprintf '{}' > \"$1/generated.service\"\nprintf '{}' > \"$1/zz.service\"\n",
        unit("made-up"),
        unit("carol")
    );
    let _generator = Installed::file(generator, &script);
    sh(&format!(
        "chmod 755 {generator}; systemctl daemon-reload; systemctl daemon-reload"
    ));
    await_canary();
    make_user("made-up", &[]);
    host.sync();
    assert!(why_refused("made-up").contains("generated.service"));
    assert!(resolves("bob"));
}

// P1
#[test]
fn a_user_who_was_here_before_a_package_keeps_the_name_and_doctor_says_so() {
    if is_left_to_the_long_form() {
        return;
    }
    let host = Host::fresh();
    make_user("betad", &[]);
    host.sync();
    let before = uid("betad");
    let _betad = dynamic("betad");
    until("keymakerd has seen the unit", Duration::from_secs(10), || {
        kept() == "betad"
    });
    assert_eq!(uid("betad"), before);
    assert_eq!(ssh("betad", "id -un").ok(), "betad");
    let said = run("keymaker doctor").stdout;
    assert!(
        said.contains("IAM user betad had its name here first and keeps it"),
        "{said}"
    );
    assert!(said.contains("user_path_prefix or only_group_members"), "{said}");
    // Renamed in IAM, as doctor says, the user keeps uid and files, and the name is the service's.
    iam("update-user --user-name betad --new-user-name betty");
    host.sync();
    assert_eq!((uid("betty"), resolves("betad")), (before, false));
    assert_eq!(status(".kept_entries | length"), "0");
}

// P1
#[test]
fn systemd_sysusers_makes_the_account_that_a_package_wants_whoever_has_its_name_in_iam() {
    if is_left_to_the_long_form() {
        return;
    }
    let host = Host::fresh();
    let _gammad = Installed::file(
        "/usr/lib/sysusers.d/gammad.conf",
        "u gammad - \"Gamma daemon\"\nm gammad gammas\n",
    );
    make_user("gammad", &["keymaker_devs"]);
    iam("create-group --group-name keymaker_gammas");
    host.sync();
    assert!(why_refused("gammad").contains("/usr/lib/sysusers.d/gammad.conf:1"));
    assert!(why_refused("keymaker_gammas").contains("gammad.conf:2"));
    for name in ["puppet", "snap_microk8s"] {
        make_user(name, &[]);
    }
    iam("create-group --group-name keymaker_ssl-cert");
    host.sync();
    for name in ["gammad", "puppet", "snap_microk8s"] {
        assert!(!resolves(name), "{name}");
        ssh(name, "true").refused();
    }
    assert_eq!(run("getent -s keymaker group ssl-cert gammas").stdout, "");
    // As the maintainer scripts of a package do; carol is adopted, being there already, as doctor has warned.
    sh("systemd-sysusers gammad.conf");
    let made = sh("getent -s files passwd gammad");
    assert!(made.split(':').nth(2).is_some_and(|uid| uid.len() <= 3), "{made}");
}

// P1
#[test]
fn a_line_of_etc_group_gives_its_group_to_no_newcomer() {
    let host = Host::fresh();
    sh("groupadd -g 4343 secrets; sed -i 's/^secrets:.*/&harry/' /etc/group; gpasswd -a bob secrets");
    make_user("harry", &[]);
    host.sync();
    assert!(!resolves("harry"));
    let line = sh("grep -n ^secrets: /etc/group | cut -d: -f1");
    let why = run("keymaker why harry").refused();
    let named = format!("line {line} of /etc/group makes harry a member of secrets");
    assert!(why.stdout.contains(&named), "{why}");
    let doctor = run("keymaker doctor").stdout;
    assert!(doctor.contains(&named), "{doctor}");
    // Who was here before stays, and is a member as the administrator wants.
    assert!(ssh("bob", "id -Gn").ok().contains("secrets"));
    let remedy = sh("keymaker --json why harry | jq -r '.gates[-1].remedy'; true");
    let (condition, command) = remedy.split_once(": ").expect("a condition, then a command");
    assert_eq!(condition, "if the line means this person");
    sh(command);
    host.sync();
    assert!(ssh("harry", "id -Gn").ok().contains("secrets"), "{remedy}");
}

// P2
#[test]
fn a_group_of_a_users_name_stops_nobody_who_was_here_and_ends_no_session() {
    let host = Host::with_settings("end_sessions = true");
    ssh("alice", "true").ok();
    let alice = uid("alice");
    sh("setsid -f ssh -o BatchMode=yes alice@localhost sleep 300 < /dev/null > /dev/null 2>&1");
    let session = || run(&format!("pgrep -u {alice} -x sleep")).status == 0;
    until("alice is in", Duration::from_secs(10), session);
    iam("create-group --group-name keymaker_alice");
    iam("create-user --user-name devs");
    for _ in 0..2 {
        host.sync();
        assert!(why_refused("keymaker_alice").contains("belongs to the IAM user \"alice\""));
        assert!(why_refused("devs").contains("belongs to the IAM group \"keymaker_devs\""));
        assert_eq!((uid("alice"), resolves("devs")), (alice, false));
        // Her own group has no name meanwhile, which id(1) reports.
        let groups = run("id -Gn alice").stdout;
        assert!(groups.split(' ').any(|group| group.trim() == "devs"), "{groups}");
        ssh("alice", "true").ok();
        assert!(session(), "the session of alice was ended");
        sh("systemctl restart keymakerd");
        until("it reaches IAM", Duration::from_secs(10), || {
            run("keymaker sync").status == 0
        });
    }
    sh(&format!("pkill -u {alice} -x sleep"));
}

// P2
// P1 P6
#[test]
fn packages_find_the_names_of_machine_users_free_and_a_person_with_only_a_key_logs_in_first_time() {
    let host = Host::of_people("publish = \"people\"");
    // No list knows these names.
    for name in ["frobd", "grobd", "hrobd", "irobd"] {
        iam(&format!("create-user --user-name {name}"));
    }
    make_user("pat", &[]);
    host.sync();
    let lists = calls("ListSSHPublicKeys");
    assert_eq!(run("getent passwd frobd").refused().status, 2);
    assert!(calls("ListSSHPublicKeys") > lists, "judged when asked for by name");
    // As the postinst of a package, systemd-sysusers and a unit do.
    sh("useradd --system --shell /usr/sbin/nologin frobd");
    sh("echo 'u hrobd - \"HROB daemon\" /' | systemd-sysusers -");
    assert!(uid("frobd") < 1000 && uid("hrobd") < 1000);
    let dynamic = sh("systemd-run -q --wait --pipe -p DynamicUser=yes -p User=grobd -- id -u");
    let number: u32 = dynamic.parse().expect("a number");
    assert!((61184..=65519).contains(&number), "the unit runs as {number}");
    let why = run("keymaker why irobd").stdout;
    assert!(why.contains("nothing says that this is a person"), "{why}");
    let status = sh("keymaker status");
    let left_out = status.find("IAM users without an entry here: ").expect(&status);
    let (left_out, _) = status[left_out..].split_once('.').expect(&status);
    let doctor = run("keymaker doctor").stdout;
    assert!(doctor.contains(left_out), "{left_out}: {doctor}");
    assert_eq!(ssh("pat", "id -un").ok(), "pat");
    assert_eq!(run("chown irobd /tmp").refused().status, 1);
    // A key makes a person of a program; a local account that has come meanwhile wins.
    give_key("irobd");
    give_key("frobd");
    until("a key counts", Duration::from_secs(10), || {
        run("getent passwd irobd").status == 0
    });
    host.sync();
    assert!(uid("frobd") < 1000);
    // Who was published once stays.
    iam(&format!(
        "delete-ssh-public-key --user-name pat --ssh-public-key-id {}",
        e2e::key_id("pat")
    ));
    host.sync();
    assert!(uid("pat") > 1000);
}

#[test]
fn a_sudoers_line_for_an_iam_group_is_for_no_user() {
    let host = Host::fresh();
    let _line = Installed::file("/etc/sudoers.d/dba", "%dba ALL=(ALL) NOPASSWD: ALL\n");
    iam("create-group --group-name keymaker_dba");
    iam("add-user-to-group --user-name bob --group-name keymaker_dba");
    host.sync();
    assert_eq!(ssh("bob", "sudo -n id -u").ok(), "0");
    iam("update-group --group-name keymaker_dba --new-group-name keymaker_away");
    make_user("dba", &[]);
    host.sync();
    assert!(!resolves("dba"));
    let why = why_refused("dba");
    assert!(why.contains("belonged to an IAM group on this host"), "{why}");
    sh("keymaker release dba");
    ssh("dba", "true").ok();
    iam("update-group --group-name keymaker_away --new-group-name keymaker_dba");
    host.sync();
    assert_eq!(run("getent group dba").stdout, "");
    ssh("dba", "sudo -n true").refused();
}

fn act(how: &str) {
    sh(&format!("systemctl {how} keymakerd"));
}

fn carol_is_refused(when: &str) {
    let login: Outcome = ssh("carol", "echo I am in");
    assert!(
        login.status != 0 && !login.stdout.contains("I am in"),
        "{when}: {login}"
    );
    ssh("bob", "true").ok();
}

// P3
#[test]
fn a_settings_file_that_is_gone_empty_or_cut_lets_nobody_in() {
    let _host = Host::with_settings("require_iam_group = \"prod_ssh_users\"");
    carol_is_refused("by the file");
    sh(&format!("cp {SETTINGS} /run/e2e/whole.toml"));
    for how in ["reload", "restart"] {
        for (what, sign) in [
            ("rm", "pending"),
            (": >", "pending"),
            ("sed -i /require_iam_group/d", "pending"),
            ("truncate -s -5", "problem"),
            ("chmod 000", "problem"),
        ] {
            let when = format!("{what}, then {how}");
            sh(&format!("{what} {SETTINGS}"));
            if (sign, how) == ("problem", "reload") {
                run("systemctl reload keymakerd").refused();
            } else {
                act(how);
            }
            until(&when, Duration::from_secs(15), || match sign {
                "pending" => status(".pending_settings[]").contains("no longer says require_iam_group"),
                _ => status(".settings_file_problem") != "null",
            });
            carol_is_refused(&when);
            assert_eq!(status(".required_group"), "prod_ssh_users", "{when}");
            let told = sh("keymaker status");
            assert!(
                told.contains("require_iam_group") || told.contains("settings file"),
                "{when}: {told}"
            );
            sh(&format!("cp /run/e2e/whole.toml {SETTINGS}; chmod 644 {SETTINGS}"));
            act("reload");
            until("all is as it was", Duration::from_secs(15), || {
                status(".pending_settings | length") == "0" && status(".settings_file_problem") == "null"
            });
        }
    }
    sh(&format!("sed -i /require_iam_group/d {SETTINGS}"));
    act("reload");
    until("the line is missed", Duration::from_secs(10), || {
        status(".pending_settings | length") == "1"
    });
    let doctor = run("keymaker doctor").stdout;
    assert!(doctor.contains("no longer says require_iam_group"), "{doctor}");
    sh("keymaker accept-settings");
    until("carol gets in", Duration::from_secs(15), || {
        ssh("carol", "true").status == 0
    });
}

// P3
#[test]
fn another_required_group_in_the_description_lets_nobody_in_before_it_is_accepted() {
    let host = Host::unstarted();
    describe_role("keymaker_require_iam_group=prod_ssh_users");
    host.start();
    iam("create-group --group-name carols");
    iam("add-user-to-group --group-name carols --user-name carol");
    iam("create-group --group-name x_sudo");
    iam("add-user-to-group --group-name x_sudo --user-name bob");
    let other = "keymaker_require_iam_group=carols keymaker_linux_group_prefix=x_";
    describe_role(other);
    host.sync();
    carol_is_refused("before it is accepted");
    assert_eq!(status(".pending_settings | length"), "2");
    assert!(!groups("bob").contains(&"sudo".to_owned()));
    host.add_settings("linux_group_prefix = \"keymaker_\"");
    host.reload();
    assert_eq!(status(".pending_settings | length"), "1", "the file has settled one");
    sh("keymaker accept-settings");
    until("carol gets in", Duration::from_secs(15), || {
        ssh("carol", "true").status == 0
    });
    ssh("bob", "true").refused();
    assert!(!groups("bob").contains(&"sudo".to_owned()));
    assert_eq!(status(".pending_settings | length"), "0");
}
