//! Which role the metadata service gives this instance at this moment: keymakerd, which asks at each pass, may know
//! the one before.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use credd_core::config::Config;
use keymaker_aws::MetadataService;
use serde_json::Value;
use tokio::runtime::Builder;
use tokio::time::timeout;

use super::{credd, is_root};

/// Where it is another one than `status` names. Nobody but root can be told: others would be given their own.
pub fn replaced(status: &Value) -> Option<String> {
    let known = status.get("role")?.as_str()?;
    // Where there is no credd, there are no settings either.
    let config = Config::read(Path::new(credd::SETTINGS)).unwrap_or_default();
    let is_told = is_root() && credd::is_exempt(&config, "root", 0);
    let role = is_told.then(now).flatten()?;
    (role != known).then_some(role)
}

/// None where the service does not answer, or has no role.
fn now() -> Option<String> {
    let runtime = Builder::new_current_thread().enable_all().build().ok()?;
    let asked = async {
        let service = MetadataService::hasty(&[SERVICE], PATIENCE);
        timeout(PATIENCE, service.role_name()).await.ok()?.ok()
    };
    runtime.block_on(asked)
}

const SERVICE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)), 80);
/// Somebody waits.
const PATIENCE: Duration = Duration::from_millis(500);
