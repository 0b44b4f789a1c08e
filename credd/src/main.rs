//! Gives every user of this host their own AWS credentials at the metadata address.
//!
//! `main` reads the command line and the settings; `daemon` does the work.

use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use credd::check;
use credd::daemon::{self, Host};
use credd_core::capture_state::STATE;
use credd_core::config::Config;
use keymaker_daemon::{log, systemd};
use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit};

/// Answers the metadata requests of this host's users with credentials of their own.
#[derive(Parser)]
#[command(version)]
struct CreddArguments {
    /// The settings file.
    #[arg(long, value_name = "FILE", default_value = "/etc/keymaker/credd.toml")]
    config: PathBuf,
    /// Try what the settings need of AWS and of this host, print what is missing, and exit: 0 if nothing is.
    #[arg(long)]
    check: bool,
    /// Check the settings file alone and exit: 0 if it is valid.
    #[arg(long)]
    check_settings: bool,
    /// Print the settings in force, defaults included, and exit.
    #[arg(long)]
    print_config: bool,
    /// Listen here too, besides the sockets that systemd passes.
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Vec<SocketAddr>,
    /// Where the key of the metadata tokens is kept over restarts.
    #[arg(long, value_name = "FILE", default_value = "/run/keymaker-credd/token-key")]
    token_key: PathBuf,
    /// Where credd-capture says whether capture is as planned.
    #[arg(long, value_name = "FILE", default_value = STATE)]
    capture_state: PathBuf,
    /// Where each user's token for the container endpoint is put.
    #[arg(long, value_name = "FOLDER", default_value = "/run/keymaker-credd-tokens")]
    token_files: PathBuf,
    /// Where root asks for metrics, health, and who gets what and why.
    #[arg(long, value_name = "FILE", default_value = "/run/keymaker-credd/status.sock")]
    status_socket: PathBuf,
}

fn main() -> ExitCode {
    let arguments = CreddArguments::parse();
    let config = match Config::read(&arguments.config) {
        Ok(config) => config,
        Err(error) => return complain(&error),
    };
    if arguments.print_config {
        return config
            .print()
            .map_or_else(|error| complain(&error), |text| print(&text));
    }
    if arguments.check_settings {
        let file = arguments.config.display();
        return daemon::check_settings(&config).map_or_else(
            |error| complain(&format!("{file}: {error}")),
            |()| print(&format!("{file}: OK\n")),
        );
    }
    if arguments.check {
        return check(&arguments.config, &config, &arguments.capture_state);
    }
    let (log, log_level) = log::begin();
    if let Err(error) = harden() {
        return complain(&format!("core dumps cannot be switched off: {error}"));
    }
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return complain(&error),
    };
    let host = Host {
        config: arguments.config,
        token_key: arguments.token_key,
        capture_state: arguments.capture_state,
        token_files: arguments.token_files,
        status_socket: arguments.status_socket,
        listen: arguments.listen,
        log,
        log_level,
    };
    let serving = daemon::run(host, config, systemd::ready);
    match tokio::task::LocalSet::new().block_on(&runtime, serving) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "credd ends");
            complain(&error)
        }
    }
}

fn check(file: &Path, config: &Config, capture_state: &Path) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let (table, nothing_is_missing) = match runtime {
        Ok(runtime) => runtime.block_on(check::run(file, config, capture_state)),
        Err(error) => return complain(&error),
    };
    match print(&table) {
        ExitCode::SUCCESS if nothing_is_missing => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

/// No core dump and no debugger of the same uid (P19); and a descriptor for each connection that the limits allow.
fn harden() -> rustix::io::Result<()> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    setrlimit(Resource::Core, none)?;
    let limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.map_or(DESCRIPTORS, |most| most.min(DESCRIPTORS));
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: Some(wanted.max(limit.current.unwrap_or(0))),
            ..limit
        },
    )
}

fn print(text: &str) -> ExitCode {
    match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn complain(error: &dyn std::fmt::Display) -> ExitCode {
    // Where standard error is closed there is nobody to tell.
    let _ = writeln!(std::io::stderr(), "credd: {error}");
    ExitCode::FAILURE
}

/// Two for each of the server's connections, and some.
const DESCRIPTORS: u64 = 8192;
