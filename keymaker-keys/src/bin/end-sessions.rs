//! Ends the running sessions of users whom IAM or this host's settings now refuse, where keymakerd.toml says `end_sessions = true`.
//!
//! systemd runs it as root when keymakerd has published a directory (keymaker-end-sessions.path); keymakerd itself has no right to end
//! anybody. Only a refusal ends a session, never an outage (P3): who is merely out of date stays.

use std::io::{self, Write};
use std::path::Path;
use std::process::{Command, ExitCode};

use keymaker_core::directory_file::{Directory, MAX_USER_RECORD, User, Verdict};
use keymaker_core::paths;
use keymaker_core::published_file::reader::ReadError;

/// logind keeps a file here for each uid that has a session.
const LOGGED_IN: &str = "/run/systemd/users";

fn main() -> ExitCode {
    match end_refused(Path::new(paths::DIRECTORY), Path::new(LOGGED_IN), terminate) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("{}: {error}", paths::DIRECTORY));
            ExitCode::FAILURE
        }
    }
}

fn end_refused(directory: &Path, logged_in: &Path, mut end: impl FnMut(&User<'_>)) -> Result<(), ReadError> {
    let directory = Directory::open(directory)?;
    if !directory.header().end_sessions {
        return Ok(());
    }
    // No such folder: nobody is logged in, or there is no logind to ask.
    for entry in std::fs::read_dir(logged_in).into_iter().flatten().flatten() {
        let Some(uid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        let mut buffer = [0; MAX_USER_RECORD];
        if let Some(user) = directory.user_by_uid(uid, &mut buffer)?.filter(is_refused) {
            end(&user);
        }
    }
    Ok(())
}

fn is_refused(user: &User<'_>) -> bool {
    matches!(
        user.verdict,
        Verdict::Deleted | Verdict::NotInRequiredGroup | Verdict::Expired | Verdict::NameHeldByAnother
    )
}

fn terminate(user: &User<'_>) {
    let ended = Command::new("/usr/bin/loginctl")
        .arg("terminate-user")
        .arg(user.uid.to_string())
        .status();
    match ended {
        Ok(status) if status.success() => {
            say(&format!(
                "ended the sessions of {} (uid {}, {})",
                user.name, user.uid, user.iam_user_id
            ));
        }
        Ok(status) => say(&format!(
            "could not end the sessions of {}: loginctl ended with {status}",
            user.name
        )),
        Err(error) => say(&format!(
            "could not end the sessions of {}: loginctl cannot be run: {error}",
            user.name
        )),
    }
}

/// To the journal, where systemd sends standard error.
fn say(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use keymaker_core::directory_file::{DirectoryBuilder, Header, NewUser};
    use keymaker_core::id::{IdRange, Uid};
    use keymaker_core::name::UserName;
    use keymaker_core::published_file::writer::replace_file;

    /// Whose sessions end, of three who are logged in and refused, out of date, and local.
    fn ended(end_sessions: bool) -> Vec<String> {
        let folder = std::env::temp_dir().join(format!("end-sessions-{}-{end_sessions}", std::process::id()));
        let users = folder.join("users");
        std::fs::create_dir_all(&users).unwrap();
        let mut header = Header {
            end_sessions,
            ..Header::NOTHING
        };
        header.ranges[0] = IdRange::WIDE;
        let mut builder = DirectoryBuilder::new(&header);
        for (number, (name, verdict)) in [("bob", Verdict::NotInRequiredGroup), ("alice", Verdict::Allowed)]
            .into_iter()
            .enumerate()
        {
            let uid = IdRange::WIDE.first + number as u32;
            std::fs::write(users.join(uid.to_string()), "").unwrap();
            let user = NewUser {
                name: UserName::parse(name.as_bytes()).unwrap(),
                uid: Uid::new(uid).unwrap(),
                // Long out of date.
                answered_at: 1,
                verdict,
                tombstone: false,
                seen_here: true,
                gecos: "",
                home: "/",
                shell: "/bin/sh",
                iam_user_id: "AIDA",
                iam_user_name: name,
                groups: &[],
            };
            builder.user(&user).unwrap();
        }
        std::fs::write(users.join("1000"), "").unwrap();
        let path = folder.join("directory");
        replace_file(&path, &builder.build(1).unwrap(), 0o644).unwrap();
        let mut ended = Vec::new();
        end_refused(&path, &users, |user| ended.push(user.name.to_string())).unwrap();
        std::fs::remove_dir_all(&folder).unwrap();
        ended
    }

    // P9
    #[test]
    fn only_refused_users_lose_their_sessions_and_only_where_the_settings_say_so() {
        assert_eq!(ended(true), ["bob"]);
        assert!(ended(false).is_empty());
    }
}
