//! What `why` and `doctor` look at: PAM stacks, sshd, credd. Each returns what it found; who judges is the caller.

pub mod credd;
pub mod instance_role;
pub mod pam;
pub mod sshd;
pub mod status_socket;
pub mod sudo;

use std::path::PathBuf;
use std::process::Command;

use keymaker_core::local_files::{NamedLine, lines};
use keymaker_core::paths;

/// How long a program may run, in seconds: systemctl waits for a unit that is slow to stop. (timeout(1), which
/// coreutils has.)
const LONGEST: &str = "60";
/// What timeout(1) ends with where it had to end the program, by SIGTERM and by SIGKILL.
const TIMED_OUT: [i32; 2] = [124, 137];

/// A program that is ended where it does not end by itself: nobody else can make root wait forever.
pub fn limited(program: &str) -> Command {
    limited_to(LONGEST, program)
}

/// The same with another limit, in seconds.
pub fn limited_to(seconds: &str, program: &str) -> Command {
    let mut command = Command::new("timeout");
    command.args(["-k", "5", seconds, program]);
    // Wherever root stands: cp --parents, for one, takes the folders above an absolute path for relative ones.
    command.current_dir("/").env("LC_ALL", "C");
    command
}

/// What a program printed, or why it did not succeed.
pub fn run(program: &str, arguments: &[&str]) -> Result<String, String> {
    run_for(LONGEST, program, arguments)
}

/// The same, of a program that has this many seconds.
pub fn run_for(seconds: &str, program: &str, arguments: &[&str]) -> Result<String, String> {
    output_of(program, limited_to(seconds, program).args(arguments))
}

/// Messages of the last hour that journalctl(1) selects so, a line each; nothing where that takes longer than doctor can wait.
pub fn journal_of_last_hour(arguments: &[&str]) -> String {
    let all = [&["--since=-1h", "--no-pager", "--output=cat"], arguments].concat();
    run_for("1", "journalctl", &all).unwrap_or_default()
}

/// The same of a [`limited`] program.
pub fn output_of(program: &str, command: &mut Command) -> Result<String, String> {
    let output = command
        .output()
        .map_err(|error| format!("timeout {program}: {error}"))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    match output.status.code() {
        Some(0) => Ok(text(&output.stdout)),
        Some(code) if TIMED_OUT.contains(&code) => Err(format!("{program} did not end in time")),
        _ => {
            let said = format!("{}\n{}", text(&output.stderr), text(&output.stdout));
            Err(said.trim().replace('\n', "; "))
        }
    }
}

/// Whether this process is root's.
pub fn is_root() -> bool {
    keymaker_core::sys::own_uid() == 0
}

/// A file's text, whatever its encoding: the bytes that somebody gives chfn(1) hide nobody else's line.
pub fn text_of(path: &str) -> std::io::Result<String> {
    Ok(String::from_utf8_lossy(&std::fs::read(path)?).into_owned())
}

/// A text in a settings file, such as a name or a URL; `None` also where the file cannot be read, which is told elsewhere.
pub fn text_setting(path: &str, key: &str) -> Option<String> {
    let settings: toml::Table = text_of(path).ok()?.parse().ok()?;
    settings.get(key)?.as_str().map(str::to_owned)
}

/// In which folder homes lie.
pub fn home_base() -> PathBuf {
    let set = text_setting(paths::KEYMAKERD_TOML, "home_base");
    set.map_or_else(|| PathBuf::from("/home"), PathBuf::from)
}

/// Whether a list in a settings file has this text, likewise.
pub fn list_setting_has(path: &str, key: &str, text: &str) -> bool {
    let settings = text_of(path).ok().and_then(|file| file.parse::<toml::Table>().ok());
    let list = settings.as_ref().and_then(|settings| settings.get(key)?.as_array());
    list.is_some_and(|list| list.iter().any(|value| value.as_str() == Some(text)))
}

/// The name of the first line with this number in a passwd(5) or group(5).
pub fn local_name_of(path: &str, id: u32) -> Option<String> {
    let text = std::fs::read(path).ok()?;
    let mut named = lines(&text).filter_map(NamedLine::parse);
    let found = named.find(|line| line.id == Some(id))?;
    Some(String::from_utf8_lossy(found.name).into_owned())
}

/// Whether this host's own files have a user of this name.
pub fn has_local_user(name: &str) -> bool {
    local_line(paths::PASSWD, name).is_some()
}

/// Whether this host's own files have a group of this name.
pub fn has_local_group(name: &str) -> bool {
    local_line(paths::GROUP, name).is_some()
}

/// The first line for this name in a passwd(5) or group(5).
pub fn local_line(path: &str, name: &str) -> Option<String> {
    let text = text_of(path).ok()?;
    let mut lines = text.lines();
    lines
        .find(|line| NamedLine::parse(line.as_bytes()).is_some_and(|line| line.name == name.as_bytes()))
        .map(str::to_owned)
}
