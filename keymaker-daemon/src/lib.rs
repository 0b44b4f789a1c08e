//! What the daemons of this project share and no other program needs. It knows nothing of AWS, people or credentials.

pub mod account_files;
pub mod audit;
pub mod bucket;
pub mod config_error;
pub mod log;
pub mod metrics;
pub mod metrics_file;
#[cfg(feature = "status-socket")]
pub mod status_socket;
pub mod systemd;
