//! Tells a user who is refused at login why, in one sentence, and ends with 1.
//!
//! sshd runs it in place of everything else, as that user: keymaker-keys has printed the user's key with `command="…"`,
//! and keymakerd has published it as the user's shell, so that no shell of theirs runs before it and su, cron and
//! `docker exec` end here too. It ignores its arguments (`-c COMMAND`) and reads no environment, both of which are the
//! user's; whom it speaks to is its real uid.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::SystemTime;

use keymaker_core::directory_file::{Directory, MAX_USER_RECORD};
use keymaker_core::keys_file::KeysFile;
use keymaker_core::login::{self, LoginDecision};
use keymaker_core::published_file::reader::ReadError;
use keymaker_core::{paths, sys};

fn main() -> ExitCode {
    let sentence = match sentence_for(sys::own_uid()) {
        Ok(Some(sentence)) => sentence,
        Ok(None) => "keymaker: this account is not an IAM user's on this host.".to_owned(),
        Err(error) => {
            format!("keymaker: this host cannot tell why you may not log in ({error}); please ask its administrator.")
        }
    };
    // To stderr, which scp and sftp show, and do not take for their protocol. If nobody reads, nobody is told.
    let _ = writeln!(io::stderr(), "{sentence}");
    ExitCode::FAILURE
}

/// What the published files say about this uid now, by the same functions as keymaker-keys a moment ago.
fn sentence_for(uid: u32) -> Result<Option<String>, ReadError> {
    let directory = Directory::open(Path::new(paths::DIRECTORY))?;
    let header = directory.header();
    let mut buffer = [0; MAX_USER_RECORD];
    let Some(user) = directory.user_by_uid(uid, &mut buffer)? else {
        return Ok(None);
    };
    let (contact, now) = (login::last_contact(Path::new(paths::CONTACT)), SystemTime::now());
    let mut decision = LoginDecision::about(&user, &header, contact, now).and_home(&user);
    if let Some(keys) = KeysFile::open(Path::new(paths::KEYS))?.user(user.name)? {
        decision = decision.and_keys(&keys, &header, now);
    }
    Ok(Some(match decision {
        // What stood against the user is gone meanwhile.
        LoginDecision::Allowed => format!("keymaker: {} may log in here now; please log in once more.", user.name),
        refused => refused.sentence(user.name, header.required_group).to_string(),
    }))
}
