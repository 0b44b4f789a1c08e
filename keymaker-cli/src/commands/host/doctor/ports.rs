//! Ports: whether this host has one left to ask IAM by, and who holds the others. Any local user can hold them all.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use keymaker_core::paths;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketType, bind, socket};

use super::Findings;
use super::finding::FaultCause;
use crate::commands::host::probe::{local_name_of, text_of};

/// Fewer sockets than this are not what takes a host's ports.
const MANY: usize = 1000;
/// How many processes the remedy names.
const MOST_NAMED: usize = 20;

/// How many sockets each process of one uid holds, the most first.
type Holders = Vec<(usize, u32)>;

/// Looks whether there is a port.
pub fn look(found: &mut Findings) {
    let lacking = [SocketType::STREAM, SocketType::DGRAM]
        .into_iter()
        .try_for_each(take_a_port);
    let lacking = match lacking {
        Ok(()) => return,
        Err(Errno::ADDRINUSE) => io::Error::from(Errno::ADDRINUSE),
        Err(why) => {
            let why = io::Error::from(why);
            return found.note(format!("could not find out whether this host has free ports: {why}"));
        }
    };
    let (who, remedy) = match most_of_them(sockets(Path::new("/proc"))) {
        Some((uid, holders)) => (
            format!("{} holds {} sockets", account(uid), total(&holders)),
            remedy(&holders),
        ),
        None => ("their holder cannot be seen".to_owned(), "ss -tuanp".to_owned()),
    };
    found.fault(
        format!("this host has no free ports: {who} ({lacking})"),
        "programs cannot connect; keymakerd asks IAM from ports of its own, but if it found none when it started, nobody from IAM may log in",
        remedy,
    )
    .is(FaultCause::Ports);
}

/// Asked as connect(2) asks: by IPv6 for both families, or by IPv4 on a host without the other. (The standard library's
/// listener shares addresses, which finds ports where connect finds none.)
fn take_a_port(kind: SocketType) -> Result<(), Errno> {
    let any = |ip: IpAddr| SocketAddr::new(ip, 0);
    match socket(AddressFamily::INET6, kind, None) {
        Ok(socket) => bind(&socket, &any(Ipv6Addr::UNSPECIFIED.into())),
        Err(Errno::AFNOSUPPORT) => bind(
            socket(AddressFamily::INET, kind, None)?,
            &any(Ipv4Addr::UNSPECIFIED.into()),
        ),
        Err(why) => Err(why),
    }
}

/// Who holds sockets, by uid. Counted by descriptors: no list in /proc/net has a TCP socket that is bound and nothing
/// more.
fn sockets(proc: &Path) -> BTreeMap<u32, Holders> {
    let mut by_uid: BTreeMap<u32, Holders> = BTreeMap::new();
    for process in fs::read_dir(proc).into_iter().flatten().flatten() {
        let Some(pid) = process.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let is_socket = |file: &Path| file.as_os_str().as_encoded_bytes().starts_with(b"socket:[");
        let descriptors = fs::read_dir(process.path().join("fd")).into_iter().flatten().flatten();
        let held = descriptors.filter(|fd| fs::read_link(fd.path()).is_ok_and(|file| is_socket(&file)));
        match (held.count(), uid_of(&process.path())) {
            (0, _) | (_, None) => {}
            (held, Some(uid)) => by_uid.entry(uid).or_default().push((held, pid)),
        }
    }
    for holders in by_uid.values_mut() {
        holders.sort_unstable_by(|one, other| other.cmp(one));
    }
    by_uid
}

/// `Uid: real effective …` (proc(5)); the owner of the folder is root where a process lets nobody trace it.
fn uid_of(process: &Path) -> Option<u32> {
    let status = text_of(process.join("status").to_str()?).ok()?;
    let uids = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    uids.split_whitespace().nth(1)?.parse().ok()
}

fn total(holders: &Holders) -> usize {
    holders.iter().map(|(held, _)| held).sum()
}

fn most_of_them(sockets: BTreeMap<u32, Holders>) -> Option<(u32, Holders)> {
    let most = sockets.into_iter().max_by_key(|(_, holders)| total(holders))?;
    Some(most).filter(|(_, holders)| total(holders) >= MANY)
}

fn account(uid: u32) -> String {
    match local_name_of(paths::PASSWD, uid) {
        Some(name) => format!("{name} (uid {uid})"),
        None => format!("uid {uid}"),
    }
}

fn remedy(holders: &Holders) -> String {
    let pids: Vec<String> = holders
        .iter()
        .take(MOST_NAMED)
        .map(|(_, pid)| pid.to_string())
        .collect();
    let more = if holders.len() > MOST_NAMED {
        "  # then run keymaker doctor again: there are more"
    } else {
        ""
    };
    format!("kill {}{more}", pids.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_holds_most_ports_is_found_with_their_processes() {
        let mut sockets = BTreeMap::from([(0, vec![(900, 1)]), (1001, vec![(800, 7), (700, 5)])]);
        assert_eq!(most_of_them(sockets.clone()), Some((1001, vec![(800, 7), (700, 5)])));
        assert_eq!(remedy(&vec![(800, 7), (700, 5)]), "kill 7 5");
        sockets.remove(&1001);
        assert_eq!(most_of_them(sockets), None);
        assert_eq!(account(0), "root (uid 0)");
        assert_eq!(account(4_000_000_000), "uid 4000000000");
    }

    #[test]
    fn a_socket_that_no_list_has_is_counted_by_its_process() {
        let own = || {
            let sockets = sockets(Path::new("/proc"));
            let holders = sockets
                .get(&rustix::process::geteuid().as_raw())
                .cloned()
                .unwrap_or_default();
            holders
                .iter()
                .find(|(_, pid)| *pid == std::process::id())
                .map_or(0, |(held, _)| *held)
        };
        let bound: Vec<_> = (0..50)
            .map(|_| {
                let bound = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
                bind(&bound, &SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
                bound
            })
            .collect();
        assert!(own() >= bound.len());
    }

    #[test]
    fn where_there_are_ports_none_is_lacking() {
        assert_eq!(take_a_port(SocketType::STREAM), Ok(()));
        assert_eq!(take_a_port(SocketType::DGRAM), Ok(()));
    }
}
