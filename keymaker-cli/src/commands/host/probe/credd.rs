//! credd: its programs, its units, and what it answers root at its status socket.

use credd_core::config::{Config, Exempt};
use keymaker_core::paths;
use serde_json::Value;

use super::{local_line, status_socket};

/// The daemon.
pub const PROGRAM: &str = "/usr/sbin/credd";
/// What brings requests to it.
pub const CAPTURE: &str = "/usr/libexec/keymaker/credd-capture";
/// Its settings.
pub const SETTINGS: &str = "/etc/keymaker/credd.toml";
/// The daemon's unit; the others come and go with it.
pub const SERVICE: &str = "credd.service";
/// The unit that keeps the rules.
pub const CAPTURE_UNIT: &str = "credd-capture.service";
/// All of its units.
pub const UNITS: [&str; 3] = [SERVICE, "credd.socket", CAPTURE_UNIT];
/// Where credd-capture says in one word how capture stands.
pub const CAPTURE_STATE: &str = "/run/keymaker-credd-capture/state";
/// Where it answers root.
pub const STATUS_SOCKET: &str = "/run/keymaker-credd/status.sock";

/// A local account that asked for credentials and was given none.
pub struct AccountTurnedAway {
    /// its name in /etc/passwd
    pub user: String,
    /// its number
    pub uid: u32,
    /// how often, since credd started
    pub requests: u64,
    /// when last, in UTC
    pub last: String,
}

/// Those of whom neither a chain nor `exempt_uids` speaks.
pub fn turned_away(config: &Config) -> Result<Vec<AccountTurnedAway>, String> {
    let told: Vec<Value> = serde_json::from_str(&ask("/turned-away")?).map_err(|error| error.to_string())?;
    let account = |told: &Value| {
        Some(AccountTurnedAway {
            user: told.get("user")?.as_str()?.to_owned(),
            uid: told.get("uid")?.as_u64()?.try_into().ok()?,
            requests: told.get("requests")?.as_u64()?,
            last: told.get("last")?.as_str()?.to_owned(),
        })
    };
    let mut accounts: Vec<AccountTurnedAway> = told.iter().filter_map(account).collect();
    accounts.retain(|account| !is_exempt(config, &account.user, account.uid));
    Ok(accounts)
}

/// Whether `exempt_uids` names the account. A name counts of a local account only.
pub fn is_exempt(config: &Config, user: &str, uid: u32) -> bool {
    config.exempt_uids.iter().any(|entry| match entry {
        Exempt::Uid(exempt) => *exempt == uid,
        Exempt::Name(name) => name == user && local_line(paths::PASSWD, user).is_some(),
    })
}

/// The line of credd.toml that exempts these accounts, besides those that it exempts now.
pub fn exempt_line<'a>(config: &Config, users: impl Iterator<Item = &'a str>) -> String {
    let now = config.exempt_uids.iter().map(|entry| match entry {
        Exempt::Uid(uid) => uid.to_string(),
        Exempt::Name(name) => format!("\"{name}\""),
    });
    let all: Vec<String> = now.chain(users.map(|user| format!("\"{user}\""))).collect();
    format!("exempt_uids = [{}]", all.join(", "))
}

/// What exempts these accounts, which /etc/passwd has.
pub fn exempting<'a>(config: &Config, users: impl Iterator<Item = &'a str>) -> String {
    format!(
        "sed -i -e '1i {}' -e '/^exempt_uids *=.*]/d' {SETTINGS}; systemctl reload {SERVICE}",
        exempt_line(config, users)
    )
}

/// Accounts below belong to software (`SYS_UID_MAX` of login.defs(5)).
pub const FIRST_PERSON: u32 = 1000;

/// What it answers, such as `/why/1000`.
pub fn ask(path: &str) -> Result<String, String> {
    status_socket::ask(STATUS_SOCKET, "GET", path)
}
