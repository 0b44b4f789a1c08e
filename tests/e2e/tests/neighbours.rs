//! Hosts on which another service (SSSD, extrausers, userdb records) has users of its own, some with the name or the
//! number of an IAM user or group: nobody gains anything, nobody loses their login, whoever stands first in
//! nsswitch.conf and with keymakerd dead.

use std::time::Duration;

use e2e::{Host, groups, order, run, sh, ssh, ssh_with_key, uid, until};

const KEY: &str = "/sandbox/keys/neighbour";
/// The namesake's number.
const ALICE: u32 = 5000;
/// The number of the namesake of the group.
const DEVS: u32 = 6000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Service {
    Extrausers,
    Sssd,
    Userdb,
}

impl Service {
    const ALL: [Self; 3] = [Self::Extrausers, Self::Sssd, Self::Userdb];

    fn word(self) -> &'static str {
        match self {
            Self::Extrausers => "extrausers",
            Self::Sssd => "sss",
            Self::Userdb => "systemd",
        }
    }

    /// Gives it these users (name and number, each with a group and a home) and these groups.
    fn give(self, users: &[(&str, u32)], groups: &[(&str, u32)]) {
        sh(&format!("[ -e {KEY} ] || ssh-keygen -q -t ed25519 -N '' -f {KEY}"));
        for (name, uid) in users {
            sh(&format!(
                "set -e; h=/home/of-{name}; mkdir -p $h/.ssh; cp {KEY}.pub $h/.ssh/authorized_keys; chown -R {uid}:{uid} $h; chmod -R go= $h"
            ));
        }
        let all_groups = users.iter().chain(groups);
        match self {
            Self::Userdb => {
                for (name, uid) in users {
                    sh(&format!(
                        r#"mkdir -p /etc/userdb; cd /etc/userdb; ln -sf {name}.user {uid}.user; cat > {name}.user <<END
{{"userName": "{name}", "uid": {uid}, "gid": {uid}, "homeDirectory": "/home/of-{name}", "shell": "/bin/bash", "disposition": "regular"}}
END"#
                    ));
                }
                for (name, gid) in all_groups {
                    sh(&format!(
                        r#"cd /etc/userdb; ln -sf {name}.group {gid}.group; echo '{{"groupName": "{name}", "gid": {gid}}}' > {name}.group"#
                    ));
                }
            }
            Self::Extrausers | Self::Sssd => {
                let passwd: Vec<String> = users
                    .iter()
                    .map(|(name, uid)| format!("{name}:*:{uid}:{uid}:of another service:/home/of-{name}:/bin/bash"))
                    .collect();
                let group: Vec<String> = all_groups.map(|(name, gid)| format!("{name}:*:{gid}:")).collect();
                let folder = "/var/lib/extrausers";
                std::fs::create_dir_all(folder).unwrap();
                std::fs::write(format!("{folder}/passwd"), passwd.join("\n") + "\n").unwrap();
                std::fs::write(format!("{folder}/group"), group.join("\n") + "\n").unwrap();
            }
        }
        if self == Self::Sssd {
            sh("set -e; cat > /etc/sssd/sssd.conf <<END
[sssd]
services = nss
domains = other
[nss]
memcache_timeout = 0
entry_negative_timeout = 1
[domain/other]
id_provider = proxy
proxy_lib_name = extrausers
auth_provider = none
access_provider = permit
entry_cache_timeout = 1
END
chmod 600 /etc/sssd/sssd.conf; rm -rf /var/lib/sss/db/*; systemctl reset-failed; systemctl restart sssd");
        }
    }

    /// Has it answer nobody.
    fn silence(self) {
        match self {
            Self::Extrausers => drop(sh("mv /var/lib/extrausers/passwd /var/lib/extrausers/passwd.away")),
            Self::Sssd => drop(sh("systemctl stop sssd")),
            // The records are files of root's, which are always there.
            Self::Userdb => {}
        }
    }

    fn is_in_nsswitch(self, place: Place) {
        let (before, after) = match place {
            Place::BehindIt => (self.word(), "keymaker"),
            Place::BeforeIt => ("keymaker", self.word()),
        };
        sh(&format!(
            "sed -i -E 's/^(passwd|group):.*/\\1: files {before} {after}/; s/^(shadow):.*/\\1: files systemd/' /etc/nsswitch.conf"
        ));
    }
}

/// Where keymaker stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    BehindIt,
    BeforeIt,
}

/// Undoes what [`Service::give`] did; the rest is `Host::fresh`'s.
struct Alone;

impl Drop for Alone {
    fn drop(&mut self) {
        run("systemctl stop sssd; rm -rf /etc/userdb /var/lib/extrausers /etc/sssd/sssd.conf");
    }
}

fn namesake(command: &str) -> e2e::Outcome {
    ssh_with_key(KEY, "alice", command)
}

fn status(filter: &str) -> String {
    sh(&format!("jq -r '{filter}' /run/keymaker/status.json"))
}

// P1 P7
#[test]
fn beside_another_service_nobody_gains_anything_and_nobody_loses_their_login() {
    let mut situations = 0;
    for service in Service::ALL {
        for place in [Place::BehindIt, Place::BeforeIt] {
            for dead in [false, true] {
                // Each service in both places, alive and dead; every pair of them with `./check --long`.
                if !e2e::is_long() && dead == ((place == Place::BehindIt) == (service == Service::Sssd)) {
                    continue;
                }
                println!(
                    "{service:?}, keymaker {place:?}, keymakerd {}",
                    if dead { "dead" } else { "alive" }
                );
                situation(service, place, dead);
                situations += 1;
            }
        }
    }
    assert_eq!(situations, if e2e::is_long() { 12 } else { 6 });
}

fn situation(service: Service, place: Place, dead: bool) {
    let host = Host::fresh();
    let _alone = Alone;
    let [carol, bob] = ["carol", "bob"].map(uid);
    // So that their keys are known here when keymakerd is dead.
    for user in ["alice", "bob", "carol"] {
        ssh(user, "true").ok();
    }
    // Anybody who came while keymakerd was dead, and stands behind us, nobody of ours can know of; so there they came
    // before.
    let known = !dead || place == Place::BeforeIt;
    if !known {
        service.give(&[("zoe", 5005)], &[]);
        service.is_in_nsswitch(place);
        host.sync();
        sh("systemctl stop keymakerd");
    }
    service.give(&[("alice", ALICE), ("zed", carol)], &[("devs", DEVS)]);
    if known {
        service.is_in_nsswitch(place);
        host.sync();
        sh(if dead { "systemctl stop keymakerd" } else { "true" });
    }
    // The namesake is who she was, has nothing of the IAM user's, and logs in with her own key only.
    assert_eq!(uid("alice"), ALICE);
    assert_eq!(sh("id -G alice"), ALICE.to_string());
    assert_eq!(namesake("id -u; pwd").ok(), format!("{ALICE}\n/home/of-alice"));
    namesake("sudo -n true").refused();
    ssh("alice", "true").refused();
    assert_eq!(
        sh("sshd -T -C user=alice,host=h,addr=192.0.2.1 | grep ^authorizedkeyscommand' '"),
        "authorizedkeyscommand none"
    );
    // An account with the number of an IAM user keeps its login.
    assert_eq!(ssh_with_key(KEY, "zed", "id -u").ok(), carol.to_string());
    assert_eq!(sh("getent group devs | cut -d: -f3"), DEVS.to_string());
    // Whom all this does not concern.
    assert_eq!(ssh("bob", "id -u").ok(), bob.to_string());
    assert!(groups("bob").contains(&"keymaker-users".to_owned()));
    // Userdb's records are this host's own files: a namesake among them, made while nobody looks, is on the list until
    // somebody does.
    if known || service != Service::Userdb {
        let lists = sh("getent group | grep -v '^alice:'");
        assert!(!lists.contains("alice"), "no list of members has a namesake: {lists}");
    }
    if known {
        assert_eq!(run("getent passwd carol").stdout, "", "her number is zed's");
        ssh("carol", "true").refused();
        assert!(!groups("bob").contains(&"devs".to_owned()));
        let refused = status(".refused_entries[].why");
        for what in ["alice", &format!("the id {carol}"), "devs"] {
            assert!(
                refused.contains(&format!("{what} is also in {}", service.word())),
                "{what}: {refused}"
            );
        }
        let why = run("keymaker why alice").reads();
        assert!(
            why.contains(&format!("also in {}", service.word())) && !why.contains("release"),
            "{why}"
        );
    }
    if !known {
        // carol's name still leads to her number, which is zed's by now, to anybody who asks by number too: sudo, say.
        assert_eq!(sh(&format!("getent passwd {carol} | cut -d: -f1")), "zed");
        ssh("carol", "true").refused();
        let why = run("keymaker why carol").reads();
        assert!(why.contains(&format!("gives {carol} to \"zed\"")), "{why}");
    }
    if !dead {
        what_it_had_stays_its_own(&host, service);
    }
}

/// It falls silent, and then has nobody any more.
fn what_it_had_stays_its_own(host: &Host, service: Service) {
    service.silence();
    host.sync();
    assert_eq!(run("getent -s keymaker passwd alice").stdout, "");
    assert!(
        sh("getent -s keymaker passwd bob").starts_with("bob:"),
        "who was published stays"
    );
    sh("rm -rf /etc/userdb");
    service.give(&[("zoe", 5005)], &[]);
    // SSSD goes on answering from its cache for a second.
    until("the service has forgotten alice", Duration::from_secs(10), || {
        run(&format!("getent -s {} passwd alice", service.word()))
            .stdout
            .is_empty()
    });
    sh("systemctl restart keymakerd");
    until("keymakerd has asked again", Duration::from_secs(20), || {
        status(".refused_entries[].why").contains(&format!("alice was in {}", service.word()))
    });
    assert_eq!(run("getent passwd alice").stdout, "");
    let why = run("keymaker why alice").reads();
    assert!(why.contains("keymaker release alice"), "{why}");
    assert!(order("release alice").starts_with("done "));
    until("alice is IAM's", Duration::from_secs(20), || {
        uid_of("alice").is_some_and(|uid| uid > 100_000)
    });
    assert_eq!(ssh("alice", "id -un").ok(), "alice");
}

fn uid_of(name: &str) -> Option<u32> {
    run(&format!("id -u {name}")).stdout.trim().parse().ok()
}

// P1 P3
#[test]
fn a_service_that_cannot_tell_keeps_nobody_out_who_was_here_and_lets_nobody_new_in() {
    let host = Host::fresh();
    let _alone = Alone;
    sh("rm -rf /var/lib/extrausers/*");
    Service::Extrausers.is_in_nsswitch(Place::BehindIt);
    ssh("bob", "true").ok();
    host.sync();
    e2e::make_user("dave", &["prod_ssh_users"]);
    host.sync();
    assert_eq!(run("getent passwd dave").stdout, "");
    ssh("bob", "true").ok();
    let doctor = run("keymaker doctor").reads();
    assert!(
        doctor.contains("extrausers cannot tell") && doctor.contains("nsswitch.conf"),
        "{doctor}"
    );
    Service::Extrausers.give(&[("zoe", 5005)], &[]);
    // The first login after that works.
    assert_eq!(ssh("dave", "id -un").ok(), "dave");
}

// P12
#[test]
fn without_our_packages_the_other_services_users_are_as_they_were() {
    let host = Host::fresh();
    let _alone = Alone;
    Service::Sssd.give(&[("alice", ALICE)], &[]);
    sh(
        "sed -i -E '/^(passwd|group):/s/files keymaker/files keymaker sss/' /etc/nsswitch.conf; dpkg-reconfigure libnss-keymaker",
    );
    assert_eq!(sh("grep -c '^[a-z]*: *files sss keymaker$' /etc/nsswitch.conf"), "2");
    host.sync();
    assert_eq!(namesake("id -u").ok(), ALICE.to_string());
    sh("dpkg -r keymaker-credd keymaker keymaker-cli libpam-keymaker libnss-keymaker");
    assert_eq!(sh("grep -c '^[a-z]*: *files sss$' /etc/nsswitch.conf"), "2");
    assert_eq!(namesake("id -u; id -G").ok(), format!("{ALICE}\n{ALICE}"));
    sh("dpkg -i /sandbox/packages/*.deb; systemctl enable --now credd.service");
}
