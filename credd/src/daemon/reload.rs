//! Takes the settings up again at SIGHUP, whole or not at all: connections that are open end by the old settings, the
//! next ones go by the new. A file that cannot be used changes nothing and is told in the journal. And drops all that
//! was issued once this host has another role.

use std::path::PathBuf;
use std::rc::Rc;

use credd_core::config::Config;
use keymaker_aws::Ask;
use keymaker_daemon::systemd;
use tokio::signal::unix::Signal;
use tokio::sync::Notify;
use tokio::time::{Duration, MissedTickBehavior, interval};

use super::parts::{DaemonParts, HostIssuer};
use crate::credentials::metrics::count;
use crate::imds::server::Server;

/// The daemon as it runs.
pub struct Running {
    /// credd.toml.
    pub file: PathBuf,
    /// The settings in force.
    pub config: Config,
    /// What stays.
    pub parts: DaemonParts,
    /// Everybody's source of credentials.
    pub issuer: HostIssuer,
    /// Everybody's server.
    pub server: Rc<Server<HostIssuer>>,
    /// Told when this host's role is to be asked for now.
    pub looked_at: Rc<Notify>,
}

/// Reloads at each signal, and follows this host's role.
pub async fn at_each(mut hangup: Signal, mut running: Running) {
    let mut ticks = interval(BETWEEN_LOOKS);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let looked_at = Rc::clone(&running.looked_at);
    loop {
        tokio::select! {
            signal = hangup.recv() => match signal {
                Some(()) => {
                    systemd::reloading();
                    running.reload_and_tell();
                    running.leave_former_role(Ask::Now).await;
                    systemd::ready();
                }
                None => return,
            },
            () = looked_at.notified() => running.leave_former_role(Ask::Now).await,
            _ = ticks.tick() => running.leave_former_role(Ask::IfDue).await,
        }
    }
}

impl Running {
    fn reload_and_tell(&mut self) {
        match self.reload() {
            Ok(()) => {
                count(&self.parts.metrics.reloads);
                tracing::info!(file = %self.file.display(), "the settings have been reloaded");
            }
            Err(error) => {
                count(&self.parts.metrics.failed_reloads);
                // The line itself says why: administrators read that, and not its fields.
                tracing::error!("the settings stay as they were: {error}");
            }
        }
    }

    /// What was issued by a role that this host no longer has is no longer an answer (P18).
    async fn leave_former_role(&mut self, ask: Ask) {
        let Some(replaced) = self.issuer.cache().source().replaced(ask).await else {
            return;
        };
        tracing::warn!(%replaced, "all that was issued is dropped: {replaced}");
        match self.parts.issuer(&self.config, None) {
            Ok(issuer) => {
                let in_use = self.issuer.in_use();
                self.issuer.become_like(&issuer);
                self.issuer.warm(in_use);
            }
            // The settings were used before, so this ends with the file that they name.
            Err(error) => tracing::error!("what was issued could not be dropped; this is tried again: {error}"),
        }
    }

    fn reload(&mut self) -> Result<(), String> {
        let config = Config::read(&self.file).map_err(|error| error.to_string())?;
        // What was issued by other settings is no longer an answer (P18).
        let kept = self.config.issues_like(&config).then(|| self.issuer.cache());
        let renewed = kept.is_none();
        let issuer = self.parts.issuer(&config, kept).map_err(|error| error.to_string())?;
        let service = self.parts.service(&config, self.issuer.clone());
        let service = service.map_err(|error| error.to_string())?;
        let in_use = self.issuer.in_use();
        self.issuer.become_like(&issuer);
        self.server.replace(service);
        if config.capture != self.parts.capture {
            tracing::warn!(
                "the key capture was changed: change credd.socket as credd.toml(5) says, then restart it \
                and credd"
            );
        }
        if renewed {
            self.issuer.warm(in_use);
        }
        self.parts.metrics_file.replace(config.metrics_file.clone());
        self.config = config;
        Ok(())
    }
}

const BETWEEN_LOOKS: Duration = Duration::from_secs(1);
