//! Runs `ip` and `nft`.
//!
//! The two programs are what administrators read the state with, on every distribution; what they accept and print as
//! JSON is documented and stable, which saves a netlink library for routes and another for nftables.

use std::io::{self, Write};
use std::process::{Command, Output, Stdio};

/// Why a command did not do its work.
#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    #[error("{0} could not be run: {1}; are iproute2 and nftables installed?")]
    NotRun(String, io::Error),
    #[error("{0} failed: {1}")]
    Failed(String, String),
    #[error("{0} printed something that is not JSON")]
    Unreadable(String),
}

/// Runs `program` with `arguments` and gives `input` to it.
pub fn run(program: &str, arguments: &[&str], input: &str) -> Result<Vec<u8>, ToolError> {
    let line = || format!("{program} {}", arguments.join(" "));
    let output = spawn(program, arguments, input).map_err(|why| ToolError::NotRun(line(), why))?;
    if output.status.success() {
        Ok(output.stdout)
    } else {
        Err(ToolError::Failed(
            line(),
            String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        ))
    }
}

/// What `program` prints as a JSON value; an empty print is an empty list.
pub fn json(program: &str, arguments: &[&str]) -> Result<serde_json::Value, ToolError> {
    let printed = run(program, arguments, "")?;
    if printed.trim_ascii().is_empty() {
        return Ok(serde_json::Value::Array(vec![]));
    }
    serde_json::from_slice(&printed).map_err(|_| ToolError::Unreadable(format!("{program} {}", arguments.join(" "))))
}

fn spawn(program: &str, arguments: &[&str], input: &str) -> io::Result<Output> {
    let mut command = Command::new(program);
    // No locale, no environment of anybody's: the words of an error are compared.
    command
        .args(arguments)
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("LC_ALL", "C");
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input.as_bytes())?;
    }
    child.wait_with_output()
}
