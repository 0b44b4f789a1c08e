//! The door past PAM that AWS itself offers: SSM Session Manager, whose Run As starts a shell as whomever `id NAME` finds.
//! Whether Run As is on stands in AWS only; a session that it runs can be seen.

use std::fs;
use std::path::Path;

use keymaker_core::directory_file::{Directory, MAX_USER_RECORD, Verdict};
use keymaker_core::paths;
use keymaker_core::processes::{self, Process};

use super::Findings;

/// Starts and serves each session, as root; its child runs as the user.
const WORKER: &str = "ssm-session-worker";
const AGENT: [&str; 3] = ["amazon-ssm-agent", "ssm-agent-worker", WORKER];

/// Looks for the agent and for what it runs.
pub fn look(found: &mut Findings) {
    let proc = Path::new("/proc");
    let Ok(all) = processes::all(proc) else {
        return found.note("whether the SSM agent runs cannot be seen: /proc hides processes");
    };
    // Anybody can give a program that name.
    let program = |process: &Process| {
        let path = fs::read_link(proc.join(process.pid.to_string()).join("exe")).ok()?;
        let name = path.file_name()?.to_str()?.trim_end_matches(" (deleted)").to_owned();
        AGENT.contains(&name.as_str()).then_some((process.pid, name))
    };
    let agent: Vec<(i32, String)> = all
        .iter()
        .filter(|process| process.is_of(0))
        .filter_map(program)
        .collect();
    if agent.is_empty() {
        return;
    }
    found.note(
        "the SSM agent runs here: Session Manager's Run As, where it is on, starts a shell as any IAM user and asks neither \
         sshd nor PAM; leave it off, and log in by ssh over the document AWS-StartSSHSession (README, Operate)",
    );
    // That the directory cannot be read is found with the files.
    let Ok(directory) = Directory::open(Path::new(paths::DIRECTORY)) else {
        return;
    };
    let is_session = |process: &&Process| agent.iter().any(|(pid, name)| *pid == process.parent && name == WORKER);
    for process in all.iter().filter(is_session) {
        let mut buffer = [0; MAX_USER_RECORD];
        let users = process.owners().filter_map(|uid| {
            let user = directory.user_by_uid(uid, &mut buffer).ok()??;
            Some((user.verdict, format!("{} (uid {uid})", user.name)))
        });
        for (verdict, who) in users.collect::<Vec<_>>() {
            let what = format!("Session Manager runs a session as {who}, by Run As");
            if verdict == Verdict::Allowed {
                found.note(what);
                continue;
            }
            found.fault(
                what,
                "the user may not log in here, and Run As does not ask",
                format!(
                    "kill -KILL {pid}  # then switch Run As off in the preferences of Session Manager, and log in by \
                     AWS-StartSSHSession",
                    pid = process.pid
                ),
            );
        }
    }
}
