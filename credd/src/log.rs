//! Where the log and the audit lines go.
//!
//! Both programs of this crate call it once, at start.

use tracing_subscriber::prelude::*;

/// To the journal, with each value as a field `KEYMAKER_…` (`KEYMAKER_AUDIT` is the audit line), where systemd listens;
/// else to standard error.
pub fn begin() {
    let filter = tracing_subscriber::EnvFilter::new("info,aws_config=warn,aws_smithy_runtime=warn,hyper=warn");
    let to_journal = std::env::var_os("JOURNAL_STREAM").is_some();
    match tracing_journald::layer().ok().filter(|_| to_journal) {
        Some(journal) => {
            let journal = journal.with_field_prefix(Some("KEYMAKER".into()));
            tracing_subscriber::registry().with(filter).with(journal).init();
        }
        None => tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(std::io::stderr)
            .init(),
    }
}
