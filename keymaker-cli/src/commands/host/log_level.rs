//! `keymaker log-level`: how much the daemons write, shown and changed while they run.

use clap::ValueEnum;
use serde_json::json;

use super::{HostError, probe};
use crate::output::Output;

/// How much is written.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum LogLevelWord {
    /// What keeps a daemon from its work.
    Error,
    /// And what it gets on without.
    Warn,
    /// And what changes: the usual level.
    Info,
    /// And each request: who asked what, and what answered.
    Debug,
}

/// Each daemon's name, and where it answers root.
pub const DAEMONS: [(&str, &str); 2] = [
    ("keymakerd", "/run/keymaker/status.sock"),
    ("credd", probe::credd::STATUS_SOCKET),
];

/// Sets the level of every daemon that runs, where one is given, and prints what holds.
pub fn run(level: Option<LogLevelWord>, output: &Output) -> Result<(), HostError> {
    if !probe::is_root() {
        return Err(HostError::NotRoot);
    }
    let word = level.and_then(|level| Some(level.to_possible_value()?.get_name().to_owned()));
    let (method, path) = match &word {
        Some(word) => ("PUT", format!("/log-level/{word}")),
        None => ("GET", "/log-level".to_owned()),
    };
    let (mut text, mut levels, mut untold) = (String::new(), serde_json::Map::new(), Vec::new());
    for (daemon, socket) in DAEMONS {
        match probe::status_socket::ask(socket, method, &path) {
            Ok(level) => {
                text += &format!("{daemon:<16} {level}\n");
                levels.insert(daemon.to_owned(), json!(level));
            }
            Err(why) => untold.push(format!("{daemon} does not answer ({why})")),
        }
    }
    if levels.is_empty() {
        return Err(HostError::NotLooked(untold.join("; ")));
    }
    // A host may run either half alone.
    for untold in untold {
        text += &format!("{untold}\n");
    }
    output.print(&text, &json!(levels));
    Ok(())
}
