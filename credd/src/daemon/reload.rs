//! Takes the settings up again at SIGHUP, whole or not at all: connections that are open end by the old settings, the next
//! ones go by the new. A file that cannot be used changes nothing and is told in the journal.

use std::path::PathBuf;
use std::rc::Rc;

use tokio::signal::unix::Signal;

use super::parts::{HostIssuer, Parts};
use crate::config::Config;
use crate::credentials::metrics::count;
use crate::imds::server::Server;
use crate::notify;

/// The daemon as it runs.
pub struct Running {
    /// credd.toml.
    pub file: PathBuf,
    /// The settings in force.
    pub config: Config,
    /// What stays.
    pub parts: Parts,
    /// Everybody's source of credentials.
    pub issuer: HostIssuer,
    /// Everybody's server.
    pub server: Rc<Server<HostIssuer>>,
}

/// Reloads at each signal.
pub async fn at_each(mut hangup: Signal, mut running: Running) {
    while hangup.recv().await.is_some() {
        notify::reloading();
        match running.reload() {
            Ok(()) => {
                count(&running.parts.metrics.reloads);
                tracing::info!(file = %running.file.display(), "the settings were read again");
            }
            Err(error) => {
                count(&running.parts.metrics.failed_reloads);
                // The line itself says why: administrators read that, and not its fields.
                tracing::error!("the settings stay as they were: {error}");
            }
        }
        notify::ready();
    }
}

impl Running {
    fn reload(&mut self) -> Result<(), String> {
        let config = Config::read(&self.file).map_err(|error| error.to_string())?;
        // What was issued by other settings is no answer any more (P18).
        let kept = self.config.issues_like(&config).then(|| self.issuer.cache());
        let renewed = kept.is_none();
        let issuer = self.parts.issuer(&config, kept).map_err(|error| error.to_string())?;
        let service = self.parts.service(&config, self.issuer.clone());
        let service = service.map_err(|error| error.to_string())?;
        let in_use = self.issuer.in_use();
        self.issuer.become_like(&issuer);
        self.server.replace(service);
        if config.capture != self.parts.capture {
            tracing::warn!("capture was changed: change credd.socket as credd.toml(5) says, and restart it and credd");
        }
        if renewed {
            self.issuer.warm(in_use);
        }
        self.config = config;
        Ok(())
    }
}
