//! Follows /etc/passwd and /etc/group, and what services of this host want to be called: a local account made now must
//! win now (P1), and a package installed now must find its names free. Watches folders, since the shadow tools replace
//! the files.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use futures_util::StreamExt;
use inotify::{EventMask, Inotify, WatchMask};
use tracing::{info, warn};

use crate::directory::iam::Iam;
use crate::directory::service::Service;
use crate::local_accounts::{LocalAccounts, LocalFiles};

/// Where watching fails, the files are looked at this often.
const POLL: Duration = Duration::from_secs(5);

/// An installation writes many files; they are read once it has paused for so long.
const SETTLING: Duration = Duration::from_millis(500);

/// Publishes again at each change, forever.
pub async fn follow_local_accounts<I: Iam + 'static>(service: Rc<Service<I>>, files: LocalFiles) {
    loop {
        if let Err(error) = follow_events(&service, &files).await {
            warn!(%error, "the local accounts cannot be watched; they are checked every few seconds: {error}");
            tokio::time::sleep(POLL).await;
            read_again(&service, &files).await;
        }
    }
}

/// Until the folders are to be watched again: what services want has changed, and with it perhaps which folders there
/// are.
async fn follow_events<I: Iam + 'static>(service: &Rc<Service<I>>, files: &LocalFiles) -> std::io::Result<()> {
    let inotify = Inotify::init()?;
    let accounts = [&files.passwd, &files.group, &files.shells];
    let mask = WatchMask::MOVED_TO | WatchMask::CLOSE_WRITE | WatchMask::DELETE;
    for file in accounts {
        inotify.watches().add(file.parent().unwrap_or(Path::new("/")), mask)?;
    }
    let folders = watched_folders(files);
    let mut watches = HashMap::new();
    for (folder, matters) in &folders {
        let mask = mask | WatchMask::CREATE | WatchMask::MOVED_FROM | WatchMask::ATTRIB | WatchMask::MASK_ADD;
        watches.insert(inotify.watches().add(folder, mask)?, matters);
    }
    // What changed before the watch was set.
    read_again(service, files).await;
    let mut events = inotify.into_event_stream([0; 4096])?;
    let names: Vec<_> = accounts.iter().filter_map(|file| file.file_name()).collect();
    let mut settled = None;
    loop {
        let settling = async {
            match settled {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        let event = tokio::select! {
            event = events.next() => event,
            () = settling => return Ok(()),
        };
        let Some(event) = event.transpose()? else { return Ok(()) };
        let name = event.name.unwrap_or_default();
        if names.contains(&name.as_os_str()) {
            read_again(service, files).await;
        }
        // A folder that is gone comes back unwatched (systemd makes those of its generators at each daemon-reload), and
        // events are lost.
        let blind = event.mask.intersects(EventMask::IGNORED | EventMask::Q_OVERFLOW);
        if blind || watches.get(&event.wd).is_some_and(|matters| matters.hold(&name)) {
            settled.get_or_insert_with(|| tokio::time::Instant::now() + SETTLING);
        }
    }
}

/// Which names in a folder may have to do with what services want.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Matters {
    /// Those of units, drop-ins and sysusers files: each login writes a scope beside the transient units.
    Files,
    /// Those of folders that are not there yet.
    Only(BTreeSet<OsString>),
}

impl Matters {
    fn hold(&self, name: &OsStr) -> bool {
        let ends = [".conf", ".service", ".socket", ".mount", ".swap"];
        let text = name.to_string_lossy();
        let unit = text.strip_suffix(".d").unwrap_or(&text);
        match self {
            Self::Files => {
                ends.iter().any(|end| unit.ends_with(end)) || ["service", "socket", "mount", "swap"].contains(&unit)
            }
            Self::Only(names) => names.contains(name),
        }
    }
}

/// The folders that say which names services want, with those of drop-ins; for one that is not there the nearest above
/// it that is.
fn watched_folders(files: &LocalFiles) -> BTreeMap<PathBuf, Matters> {
    let mut folders = BTreeMap::new();
    for folder in files.services.all() {
        let above = folder.ancestors().find(|above| above.is_dir());
        match above {
            Some(above) if above == folder => {
                folders.insert(folder.clone(), Matters::Files);
                let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
                let drop_ins = entries.map(|entry| entry.path()).filter(|path| {
                    let name = path.file_name().unwrap_or_default();
                    name.to_string_lossy().ends_with(".d") && Matters::Files.hold(name) && path.is_dir()
                });
                folders.extend(drop_ins.map(|path| (path, Matters::Files)));
            }
            Some(above) => {
                let missing = folder.strip_prefix(above).ok().and_then(|rest| rest.iter().next());
                let of_above = folders
                    .entry(above.to_owned())
                    .or_insert_with(|| Matters::Only(BTreeSet::new()));
                if let (Matters::Only(names), Some(missing)) = (of_above, missing) {
                    names.insert(missing.to_owned());
                }
            }
            None => {}
        }
    }
    folders
}

/// Reads the files and publishes where they say something new. Unreadable: what was read last stands, and NSS sees by
/// the stamps that it is old.
async fn read_again<I: Iam + 'static>(service: &Rc<Service<I>>, files: &LocalFiles) {
    let mut local = match LocalAccounts::read(files) {
        Ok(local) => local,
        Err(error) => {
            warn!(%error, "the local accounts cannot be read; what was last read stays in force: {error}");
            return;
        }
    };
    local.services.keep_unreadable(&service.state().local.services);
    if service.state().local == local {
        return;
    }
    if service.state().local.services.unreadable != local.services.unreadable {
        let unreadable = &local.services.unreadable;
        warn!(
            ?unreadable,
            "these files cannot be read, so the names that they ask for cannot be kept free: {unreadable:?}"
        );
    }
    info!("the local accounts have changed");
    service.state_mut().local = local;
    if let Err(error) = service.publish().await {
        warn!(%error, "could not publish: {error}");
    }
}
