//! Follows /etc/passwd and /etc/group: a local account made now must win now (P1). Watches their folders, since the shadow tools
//! replace the files.

use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use futures_util::StreamExt;
use inotify::{Inotify, WatchMask};
use tracing::{info, warn};

use crate::directory::iam::Iam;
use crate::directory::service::Service;
use crate::local_accounts::{LocalAccounts, LocalFiles};

/// Where watching fails, the files are looked at this often.
const POLL: Duration = Duration::from_secs(5);

/// Publishes anew at each change, for ever.
pub async fn follow_local_accounts<I: Iam + 'static>(service: Rc<Service<I>>, files: LocalFiles) {
    loop {
        if let Err(error) = follow_events(&service, &files).await {
            warn!(%error, "the local accounts cannot be watched; they are looked at every few seconds: {error}");
        }
        tokio::time::sleep(POLL).await;
        read_again(&service, &files);
    }
}

async fn follow_events<I: Iam + 'static>(service: &Rc<Service<I>>, files: &LocalFiles) -> std::io::Result<()> {
    let inotify = Inotify::init()?;
    let mask = WatchMask::MOVED_TO | WatchMask::CLOSE_WRITE | WatchMask::DELETE;
    for file in [&files.passwd, &files.group, &files.shells] {
        inotify.watches().add(file.parent().unwrap_or(Path::new("/")), mask)?;
    }
    // What changed before the watch was set.
    read_again(service, files);
    let mut events = inotify.into_event_stream([0; 4096])?;
    let names: Vec<_> = [&files.passwd, &files.group, &files.shells]
        .iter()
        .filter_map(|file| file.file_name())
        .collect();
    while let Some(event) = events.next().await {
        if event?.name.is_some_and(|name| names.contains(&name.as_os_str())) {
            read_again(service, files);
        }
    }
    Ok(())
}

/// Reads the files and publishes where they say something new. Unreadable: what was read last stands, and NSS sees by the stamps
/// that it is old.
fn read_again<I: Iam + 'static>(service: &Rc<Service<I>>, files: &LocalFiles) {
    let local = match LocalAccounts::read(files) {
        Ok(local) => local,
        Err(error) => {
            warn!(%error, "the local accounts cannot be read; what was read last stands: {error}");
            return;
        }
    };
    if service.state().local == local {
        return;
    }
    info!("the local accounts have changed");
    service.state_mut().local = local;
    if let Err(error) = service.publish() {
        warn!(%error, "could not publish: {error}");
    }
}
