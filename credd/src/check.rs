//! `credd --check`: the settings, the way to AWS and what each method in the chains needs, as a table that says what is
//! missing and what to do. `main` prints it; nothing is changed.

use std::fmt::Write;
use std::path::Path;
use std::rc::Rc;

use credd_core::accounts::LocalNames;
use credd_core::capture_state;
use credd_core::config::{Config, KEYMAKERD_TRACES};
use credd_core::plan::Plan;
use keymaker_aws::AwsCalls;
use keymaker_core::directory_file::Directory;
use keymaker_core::paths;

use crate::clock::{Clock, HostClock};
use crate::credentials::trial::{Missing, Tried};
use crate::daemon::DaemonError;

/// The table, and whether nothing is missing.
pub async fn run(file: &Path, config: &Config, capture_state: &Path) -> (String, bool) {
    let mut tried = vec![Tried {
        what: format!("{} is valid", file.display()),
        missing: None,
    }];
    tried.extend(directory(config));
    tried.push(capture(capture_state));
    match crate::daemon::chain(config, &(Rc::new(HostClock) as Rc<dyn Clock>), AwsCalls::default()) {
        Ok(chain) => tried.extend(chain.try_out(config).await),
        Err(error) => tried.push(unusable(&error)),
    }
    let all = tried.iter().all(|tried| tried.missing.is_none());
    (format!("{}{}", table(&tried), notes(config)), all)
}

/// Whether the users of keymakerd can be read, where they are wanted.
fn directory(config: &Config) -> Option<Tried> {
    let wanted = config.directory.is_required(&KEYMAKERD_TRACES);
    wanted.then(|| Tried {
        what: format!("the directory of keymakerd, {}", paths::DIRECTORY),
        missing: Directory::open(Path::new(paths::DIRECTORY)).err().map(|error| Missing {
            why: error.to_string(),
            remedy: "systemctl enable --now keymakerd, or directory = \"none\"".to_owned(),
        }),
    })
}

/// What is not a fault, since settings may be meant for many hosts.
fn notes(config: &Config) -> String {
    let plan = Plan::new(config, &LocalNames::host());
    let sentences = plan.iter().flat_map(Plan::unknown);
    sentences.map(|sentence| format!("note     {sentence}\n")).collect()
}

fn capture(state: &Path) -> Tried {
    Tried {
        what: "capture".to_owned(),
        missing: capture_state::problem(state).map(|why| Missing {
            why: why.to_owned(),
            remedy: "credd-capture check says what is not as planned".to_owned(),
        }),
    }
}

fn unusable(error: &DaemonError) -> Tried {
    Tried {
        what: "the way to AWS".to_owned(),
        missing: Some(Missing {
            why: error.to_string(),
            remedy: "correct credd.toml".to_owned(),
        }),
    }
}

fn table(tried: &[Tried]) -> String {
    let mut text = String::new();
    for Tried { what, missing } in tried {
        // Writing to a String does not fail.
        let _ = match missing {
            None => writeln!(text, "ok       {what}"),
            Some(Missing { why, remedy }) => writeln!(text, "MISSING  {what}\n         {why}\n         -> {remedy}"),
        };
    }
    text
}
