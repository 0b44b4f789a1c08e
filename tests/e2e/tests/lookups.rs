//! Lookups by the hundred thousand, with `./check --long` a million, on a host as it is installed, while keymakerd is
//! killed, comes back and publishes other directories.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use e2e::{Host, sh};

const USERS: u32 = 500;
const TEAMS: u32 = 7;

/// Has IAM hold other users besides the known ones; kills keymakerd in the middle of whatever it does, once more while
/// it starts, and lets it publish them.
const DISTURB: &str = "#!/bin/bash
set -e
cd /run/e2e
mv other.json now.json; mv seed.json other.json; mv now.json seed.json
sandbox-reset /run/e2e/seed.json >/dev/null
published() { stat -c %i /var/lib/keymaker/public/directory; }
before=$(published)
for pause in 0.$((RANDOM % 5)) 0; do
  pid=$(systemctl show -p MainPID --value keymakerd)
  [ $pid = 0 ] || kill -KILL $pid
  systemctl reset-failed keymakerd
  systemctl start keymakerd
  sleep $pause
done
for i in {1..100}; do [ $(published) = $before ] || exit 0; sleep 0.1; done
";

/// The formula of `id_scheme = "wide"`, written down a second time.
const USERS_FILE: &str = "
import grp, hashlib
def drawn(iam_id):
    return 1879048192 + int.from_bytes(hashlib.sha256(iam_id.encode()).digest()[:8], 'big') % (2147352575 - 1879048192 + 1)
sudo, ours = grp.getgrnam('sudo').gr_gid, grp.getgrnam('keymaker-users').gr_gid
for n in range(500):
    print(f'user{n}', drawn(f'AIDAUSER{n:012}'), drawn(f'AGPATEAM{n % 7:012}'), sudo, ours)
";

fn seed(others: u32) -> String {
    let user = |number: u32| {
        let groups = if number < USERS {
            format!(r#""keymaker_team{}", "keymaker_sudo""#, number % TEAMS)
        } else {
            String::new()
        };
        format!(r#"{{"name": "user{number}", "id": "AIDAUSER{number:012}", "groups": [{groups}]}}"#)
    };
    let users: Vec<String> = (0..USERS + others).map(user).collect();
    let teams: Vec<String> = (0..TEAMS)
        .map(|number| format!(r#"{{"name": "keymaker_team{number}", "id": "AGPATEAM{number:012}"}}"#))
        .collect();
    format!(
        r#"{{"users": [{}], "groups": [{}, {{"name": "keymaker_sudo", "id": "AGPASUDO000000000000"}}]}}"#,
        users.join(",\n"),
        teams.join(", ")
    )
}

// P4
#[test]
fn every_answer_is_right_while_keymakerd_is_killed_and_publishes() {
    let host = Host::unstarted();
    fs::write("/run/e2e/other.json", seed(150)).expect("/run can be written");
    host.reseed(&seed(0));
    host.start();
    host.sync();
    let disturb = "/run/e2e/bin/disturb";
    fs::create_dir_all("/run/e2e/bin").expect("/run can be written");
    fs::write(disturb, DISTURB).expect("/run can be written");
    fs::set_permissions(disturb, PermissionsExt::from_mode(0o755)).expect("it is ours");
    sh(&format!("python3 -c \"{USERS_FILE}\" >/run/e2e/known-users"));
    // The crowd takes what processor time keymakerd and the fake AWS leave.
    let crowd = Command::new("nice")
        .args([
            "-n",
            "19",
            "timeout",
            "-k",
            "5",
            "300",
            "/sandbox/e2e/nss-harness",
            "installed",
            "crowd-on-host",
            "/run/e2e/known-users",
        ])
        .env("KEYMAKER_HARNESS_STAGE", "the host itself")
        .env("PATH", "/run/e2e/bin:/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/bin")
        .output()
        .expect("nice(1) runs");
    let said = String::from_utf8_lossy(&crowd.stdout);
    println!("{said}");
    assert!(
        crowd.status.success(),
        "{said}{}",
        String::from_utf8_lossy(&crowd.stderr)
    );
}
