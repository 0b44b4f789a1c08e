//! What the hooks want to know from libpam, and how they speak to the user and to the administrator.

use std::ffi::c_int;
use std::io;

use keymaker_core::audit::{AuditField, AuditLine};
use keymaker_core::journal::Priority;
use keymaker_core::protocol::REPORT_BUDGET;
use keymaker_core::{client, journal};
use pam::constants::{PAM_ERROR_MSG, PAM_SILENT, PAM_TEXT_INFO, PamFlag, PamMessageStyle};
use pam::conv::Conv;
use pam::items::{RHost, Service, User};
use pam::module::PamHandle;

use crate::abi::calls;
use crate::ours::PamHost;

/// A call of libpam's.
pub struct Handle<'h> {
    pam: &'h PamHandle,
    silent: bool,
}

impl<'h> Handle<'h> {
    /// The handle with the flags of the call.
    pub fn new(pam: &'h PamHandle, flags: PamFlag) -> Self {
        Self {
            pam,
            silent: flags & PAM_SILENT != 0,
        }
    }

    /// `PAM_USER`: whom it is about. Never asked for by a prompt: account and session come after somebody has said it.
    pub fn user(&self) -> Option<&'h [u8]> {
        let user = self.pam.get_item::<User<'h>>().ok().flatten()?;
        Some(user.0.to_bytes())
    }

    /// `PAM_SERVICE`: the file in /etc/pam.d; empty where there is none. sshd under another name is sshd: the name is
    /// its program's, or its `PAMServiceName`.
    pub fn service(&self) -> &'h [u8] {
        if self.ssh_auth_info().is_some() {
            return b"sshd";
        }
        self.service_file()
    }

    /// `PAM_SERVICE` itself.
    fn service_file(&self) -> &'h [u8] {
        let service = self.pam.get_item::<Service<'h>>().ok().flatten();
        service.map_or(b"", |service| service.0.to_bytes())
    }

    /// `PAM_RHOST`, fit for a log line: a name may come from a foreign DNS server.
    pub fn remote_host(&self) -> Option<String> {
        let host = self.pam.get_item::<RHost<'h>>().ok().flatten()?;
        let host = host.0.to_bytes().iter().take(255);
        let host: String = host
            .map(|byte| {
                if byte.is_ascii_graphic() {
                    char::from(*byte)
                } else {
                    '?'
                }
            })
            .collect();
        (!host.is_empty()).then_some(host)
    }

    /// With what the user proved themselves to sshd (`sshd_config(5)`, "`ExposeAuthInfo`").
    pub fn ssh_auth_info(&self) -> Option<Vec<u8>> {
        calls::pam_environment(self.pam, c"SSH_AUTH_INFO_0")
    }

    /// Tells the user why the login ends here.
    pub fn refuse(&self, sentence: &str) {
        self.say(PAM_ERROR_MSG, sentence);
    }

    /// Tells the user what goes less well than it should.
    pub fn tell(&self, sentence: &str) {
        self.say(PAM_TEXT_INFO, sentence);
    }

    /// Where nobody listens, nobody is told.
    fn say(&self, style: PamMessageStyle, sentence: &str) {
        if self.silent {
            return;
        }
        if let Ok(Some(conversation)) = self.pam.get_item::<Conv<'h>>() {
            let _ = conversation.send(style, sentence);
        }
    }

    /// Has written down what was decided: by keymakerd, which knows how much is written about one user; where it does
    /// not answer at once, by this process. Nobody waits for a journal that hangs.
    pub fn audit(&self, hook: &str, mut line: AuditLine, host: &PamHost<'_>) {
        if journal::is_shut(host.dev_log) {
            return;
        }
        let service = String::from_utf8_lossy(self.service_file()).into_owned();
        let message = std::mem::take(&mut line.message);
        line.tell(AuditField::Service, &service);
        line.tell(AuditField::Address, self.remote_host().unwrap_or_default());
        line.tell(AuditField::Process, std::process::id());
        let line = line.saying(&program(), format!("pam_keymaker({service}:{hook}): {message}"));
        if client::report(host.login_socket, &line, REPORT_BUDGET).is_ok() {
            return;
        }
        match journal::send(&line.entry(), host.journal) {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => {
                let priority = if line.decision.is_refusal() {
                    Priority::Notice
                } else {
                    Priority::Info
                };
                self.log(priority, &message);
            }
            _ => {}
        }
    }

    /// Tells the administrator what happened.
    pub fn log(&self, priority: Priority, line: &str) {
        calls::syslog(self.pam, priority as c_int, line);
    }
}

/// The name of the program that asks, as syslog(3) has it: `sshd`, `sshd-session` from OpenSSH 9.8 on, `su`.
fn program() -> String {
    let name = std::fs::read("/proc/self/comm").unwrap_or_default();
    String::from_utf8_lossy(name.trim_ascii()).into_owned()
}
