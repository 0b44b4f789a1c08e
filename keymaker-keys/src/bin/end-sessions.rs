//! Ends the running sessions of users whom IAM or this host's settings now refuse, where keymakerd.toml says
//! `end_sessions = true`.
//!
//! systemd runs it as root when keymakerd has published a directory (keymaker-end-sessions.path); keymakerd itself has
//! no right to end anybody. Only a refusal ends a session, never an outage (P3): who is merely out of date stays.

use std::io::{self, Write};
use std::path::Path;
use std::process::{Command, ExitCode};

use keymaker_core::directory_file::{Directory, MAX_USER_RECORD, User, Verdict};
use keymaker_core::id::Uid;
use keymaker_core::paths;
use keymaker_core::published_file::reader::ReadError;

/// logind keeps a file here for each uid that has a session.
const LOGGED_IN: &str = "/run/systemd/users";
/// `EX_TEMPFAIL` of sysexits(3), at which keymaker-end-sessions.service starts it again.
const TRY_AGAIN: u8 = 75;

fn main() -> ExitCode {
    match refused(Path::new(paths::DIRECTORY), Path::new(LOGGED_IN)) {
        Ok(refused) if refused.is_empty() || end(&refused) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::from(TRY_AGAIN),
        Err(error) => {
            say(&format!("{}: {error}", paths::DIRECTORY));
            ExitCode::FAILURE
        }
    }
}

/// Somebody who is to go.
struct Refused {
    uid: Uid,
    /// Name, uid and `UserId`, for the journal.
    who: String,
}

/// Who is logged in and refused.
fn refused(directory: &Path, logged_in: &Path) -> Result<Vec<Refused>, ReadError> {
    let directory = Directory::open(directory)?;
    let mut refused = Vec::new();
    if !directory.header().end_sessions {
        return Ok(refused);
    }
    // No such folder: nobody is logged in, or there is no logind to ask.
    for entry in std::fs::read_dir(logged_in).into_iter().flatten().flatten() {
        let Some(uid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        let mut buffer = [0; MAX_USER_RECORD];
        if let Some(user) = directory.user_by_uid(uid, &mut buffer)?.filter(is_refused) {
            refused.push(Refused {
                uid: user.uid,
                who: format!("{} (uid {}, {})", user.name, user.uid, user.iam_user_id),
            });
        }
    }
    Ok(refused)
}

/// That IAM has nobody of a name says somebody who asks for the name; the user may have another by now. A tombstone
/// says that IAM does not list the user.
fn is_refused(user: &User<'_>) -> bool {
    match user.verdict {
        Verdict::Deleted => user.tombstone,
        verdict => matches!(
            verdict,
            Verdict::NotInRequiredGroup | Verdict::Expired | Verdict::NameHeldByAnother
        ),
    }
}

/// Stops the slices of these users, and waits for it: all sessions, the user manager, and what ran on when a session
/// was closed, such as tmux, which logind's `TerminateUser` passes over. By number, since loginctl looks users up, and
/// anybody who was deleted has no name any more.
fn end(refused: &[Refused]) -> bool {
    let slices = refused.iter().map(|user| format!("user-{}.slice", user.uid));
    let stopped = Command::new("/usr/bin/systemctl")
        .args(["stop", "--"])
        .args(slices)
        .status();
    let failure = match stopped {
        Ok(status) if status.success() => None,
        Ok(status) => Some(format!("systemctl ended with {status}")),
        Err(error) => Some(format!("systemctl cannot be run: {error}")),
    };
    for Refused { who, .. } in refused {
        say(&match &failure {
            None => format!("ended the sessions of {who}"),
            Some(failure) => {
                format!("could not end the sessions of {who}; the next try is in ten seconds: {failure}")
            }
        });
    }
    failure.is_none()
}

/// To the journal, where systemd sends standard error.
fn say(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use keymaker_core::directory_file::{DirectoryBuilder, Header, NewUser};
    use keymaker_core::id::IdRange;
    use keymaker_core::name::UserName;
    use keymaker_core::published_file::writer::replace_file;
    use test_folder::TestFolder;

    /// Whose sessions end, of three who are logged in and refused, out of date, and local.
    fn ended(end_sessions: bool) -> Vec<String> {
        let folder = TestFolder::new();
        let users = folder.join("users");
        std::fs::create_dir(&users).unwrap();
        let mut header = Header {
            end_sessions,
            ..Header::NOTHING
        };
        header.ranges[0] = IdRange::WIDE;
        let mut builder = DirectoryBuilder::new(&header);
        let users_of_iam = [
            ("bob", Verdict::NotInRequiredGroup, false),
            ("alice", Verdict::Allowed, false),
            ("renamed", Verdict::Deleted, false),
            ("gone", Verdict::Deleted, true),
        ];
        for (number, (name, verdict, tombstone)) in users_of_iam.into_iter().enumerate() {
            let uid = IdRange::WIDE.first + number as u32;
            std::fs::write(users.join(uid.to_string()), "").unwrap();
            let user = NewUser {
                name: UserName::parse(name.as_bytes()).unwrap(),
                uid: Uid::new(uid).unwrap(),
                // Long out of date.
                answered_at: 1,
                verdict,
                tombstone,
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
        let refused = refused(&path, &users).unwrap();
        let mut refused: Vec<String> = refused.into_iter().map(|user| user.who).collect();
        refused.sort();
        refused
    }

    // P9
    #[test]
    fn only_refused_users_lose_their_sessions_and_only_where_the_settings_say_so() {
        let first = IdRange::WIDE.first;
        assert_eq!(
            ended(true),
            [
                format!("bob (uid {first}, AIDA)"),
                format!("gone (uid {}, AIDA)", first + 3)
            ]
        );
        assert!(ended(false).is_empty());
    }
}
