//! What `why` and `doctor` look at: name service switch, PAM stacks, sshd, credd. Each returns what it found; who judges is the caller.

pub mod credd;
pub mod nsswitch;
pub mod pam;
pub mod sshd;

use std::process::Command;

/// What a program printed, or why it did not succeed.
pub fn run(program: &str, arguments: &[&str]) -> Result<String, String> {
    let output = Command::new(program).args(arguments).env("LC_ALL", "C").output();
    let output = output.map_err(|error| format!("{program}: {error}"))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    match output.status.success() {
        true => Ok(text(&output.stdout)),
        false => {
            let said = format!("{}\n{}", text(&output.stderr), text(&output.stdout));
            Err(said.trim().replace('\n', "; "))
        }
    }
}

/// Whether this process is root's.
pub fn is_root() -> bool {
    keymaker_core::sys::own_uid() == 0
}

/// The line of passwd(5) or group(5) that begins with this name.
pub fn local_line(path: &str, name: &str) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    let mut lines = text.lines();
    lines
        .find(|line| line.split(':').next() == Some(name))
        .map(str::to_owned)
}
