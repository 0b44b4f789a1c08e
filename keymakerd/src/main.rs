//! Reads users, groups and keys from IAM and publishes them to this host.
//!
//! `main` reads the command line and the settings; `daemon` does the work. Every path comes from here.

mod audit;
mod clock;
mod config;
mod counts;
mod daemon;
mod directory;
mod local_accounts;
mod metrics;
mod other_services;
mod service_names;
mod settings;
mod sockets;
mod status;
mod wakeups;
mod watch;

#[cfg(test)]
#[allow(dead_code, reason = "the other crate's tests use the rest")]
#[path = "../../keymaker-aws/src/canned.rs"]
mod canned;
#[cfg(test)]
#[path = "../../keymaker-aws/src/canned_tls.rs"]
mod canned_tls;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use keymaker_core::paths;
use keymaker_daemon::log;

use crate::config::KeymakerdConfig;
use crate::daemon::HostPaths;
use crate::directory::publishing::store::Store;
use crate::local_accounts::LocalFiles;
use crate::other_services::Children;
use crate::service_names::ServiceFolders;

/// Publishes IAM's users, groups and SSH keys to this host.
#[derive(Parser)]
#[command(version)]
struct KeymakerdArguments {
    /// The settings file.
    #[arg(long, value_name = "FILE", default_value = paths::KEYMAKERD_TOML)]
    config: PathBuf,
    /// Check the settings file and exit: 0 if it is valid.
    #[arg(long)]
    check: bool,
    /// Print what the settings file says, defaults included, or the value of one setting, and exit.
    #[arg(long, value_name = "SETTING")]
    print_config: Option<Option<String>>,
}

fn main() -> ExitCode {
    let arguments = KeymakerdArguments::parse();
    if arguments.print_config.is_some() || arguments.check {
        return look_at_the_file(&arguments);
    }
    let (log, log_level) = log::begin();
    let host = HostPaths {
        config_path: arguments.config,
        log,
        log_level,
        store: Store {
            public: paths::PUBLIC.into(),
            private: paths::PRIVATE.into(),
            run: "/run/keymaker".into(),
            #[cfg(test)]
            stuck: Default::default(),
        },
        run: "/run/keymaker".into(),
        local_files: LocalFiles {
            passwd: paths::PASSWD.into(),
            group: paths::GROUP.into(),
            shells: "/etc/shells".into(),
            services: ServiceFolders::of_the_host(),
        },
        other_services: Children {
            nsswitch: paths::NSSWITCH.into(),
            program: paths::OTHER_SERVICE.into(),
        },
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return complain(&error),
    };
    match tokio::task::LocalSet::new().block_on(&runtime, daemon::run(host)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "keymakerd ends: {error}");
            complain(&error)
        }
    }
}

/// What the file says by itself: a line that it no longer has may hold all the same (`keymaker status`).
fn look_at_the_file(arguments: &KeymakerdArguments) -> ExitCode {
    let config = match KeymakerdConfig::read(&arguments.config).and_then(|table| KeymakerdConfig::of(&table)) {
        Ok(config) => config,
        Err(error) => return complain(&error),
    };
    match &arguments.print_config {
        Some(Some(key)) => {
            return config
                .value_of(key)
                .map_or_else(|error| complain(&error), |text| print(&text));
        }
        Some(None) => {
            return config
                .print()
                .map_or_else(|error| complain(&error), |text| print(&text));
        }
        None => {}
    }
    match daemon::check_aws_settings(&config) {
        Ok(()) => print(&format!("{}: OK\n", arguments.config.display())),
        Err(error) => {
            let line = config::line_of_key(&arguments.config, error.key());
            complain(&format!("{}:{line}: {error}", arguments.config.display()))
        }
    }
}

fn print(text: &str) -> ExitCode {
    match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn complain(error: &dyn std::fmt::Display) -> ExitCode {
    // Where standard error is closed there is nobody to tell.
    let _ = writeln!(std::io::stderr(), "keymakerd: {error}");
    ExitCode::FAILURE
}
