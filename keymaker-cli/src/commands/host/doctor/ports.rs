//! Ports: whether this host has one left to ask IAM by, and who holds the others. Any local user can hold them all.

use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv6Addr, TcpListener, UdpSocket};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use keymaker_core::paths;

use super::Findings;
use crate::commands::host::probe::text_of;

/// Sockets by protocol, as proc(5) lists them.
const LISTS: [&str; 4] = ["tcp", "tcp6", "udp", "udp6"];
/// How many processes the remedy names.
const MOST_NAMED: usize = 20;

/// Looks whether there is a port.
pub fn look(found: &mut Findings) {
    let any = (Ipv6Addr::UNSPECIFIED, 0);
    let lacking = match (TcpListener::bind(any), UdpSocket::bind(any)) {
        (Err(error), _) | (_, Err(error)) if error.kind() == std::io::ErrorKind::AddrInUse => error,
        _ => return,
    };
    let proc = Path::new("/proc");
    let passwd = text_of(paths::PASSWD).unwrap_or_default();
    let (who, remedy) = match most_of_them(&sockets(proc)) {
        Some((uid, held)) => (
            format!("{} holds {} sockets", account(&passwd, uid), held.len()),
            remedy(&holders(proc, uid, &held)),
        ),
        None => ("nobody is seen to hold them".to_owned(), "ss -tuanp".to_owned()),
    };
    found.fault(
        format!("this host has no free ports: {who} ({lacking})"),
        "IAM cannot be asked, so nobody from IAM may log in: a revocation would be missed",
        remedy,
    );
}

/// The inodes of sockets, by the uid that made them.
fn sockets(proc: &Path) -> BTreeMap<u32, Vec<u64>> {
    let mut by_uid: BTreeMap<u32, Vec<u64>> = BTreeMap::new();
    for list in LISTS {
        let text = fs::read_to_string(proc.join("net").join(list)).unwrap_or_default();
        for (uid, inode) in text.lines().skip(1).filter_map(uid_and_inode) {
            by_uid.entry(uid).or_default().push(inode);
        }
    }
    by_uid
}

/// `sl local_address rem_address st tx_queue:rx_queue tr:tm->when retrnsmt uid timeout inode …` (proc(5)).
fn uid_and_inode(line: &str) -> Option<(u32, u64)> {
    let mut fields = line.split_whitespace().skip(7);
    let uid = fields.next()?.parse().ok()?;
    let inode = fields.nth(1)?.parse().ok()?;
    Some((uid, inode))
}

fn most_of_them(sockets: &BTreeMap<u32, Vec<u64>>) -> Option<(u32, Vec<u64>)> {
    let most = sockets.iter().max_by_key(|(_, held)| held.len())?;
    Some((*most.0, most.1.clone()))
}

fn account(passwd: &str, uid: u32) -> String {
    let is_theirs = |line: &&str| line.split(':').nth(2).and_then(|id| id.parse().ok()) == Some(uid);
    match passwd.lines().find(is_theirs).and_then(|line| line.split(':').next()) {
        Some(name) => format!("{name} (uid {uid})"),
        None => format!("uid {uid}"),
    }
}

/// This uid's processes that hold any of them, by how many.
fn holders(proc: &Path, uid: u32, held: &[u64]) -> Vec<u32> {
    let held: std::collections::BTreeSet<u64> = held.iter().copied().collect();
    let is_held = |socket: &Path| {
        let inode = socket
            .to_str()
            .and_then(|name| name.strip_prefix("socket:[")?.strip_suffix(']'));
        inode
            .and_then(|inode| inode.parse().ok())
            .is_some_and(|inode| held.contains(&inode))
    };
    let mut holders = Vec::new();
    for process in fs::read_dir(proc).into_iter().flatten().flatten() {
        let Some(pid) = process.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        if !process.metadata().is_ok_and(|process| process.uid() == uid) {
            continue;
        }
        let descriptors = fs::read_dir(process.path().join("fd")).into_iter().flatten().flatten();
        let held = descriptors.filter(|fd| fs::read_link(fd.path()).is_ok_and(|file| is_held(&file)));
        holders.push((std::cmp::Reverse(held.count()), pid));
    }
    holders.sort();
    let holding = holders.into_iter().filter(|(count, _)| count.0 > 0);
    holding.map(|(_, pid)| pid).collect()
}

fn remedy(holders: &[u32]) -> String {
    let pids: Vec<String> = holders.iter().take(MOST_NAMED).map(u32::to_string).collect();
    match holders.len() {
        0 => "ss -tuanp".to_owned(),
        1..=MOST_NAMED => format!("kill {}", pids.join(" ")),
        _ => format!("kill {}  # and keymaker doctor again: there are more", pids.join(" ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // As the kernel printed them (Linux 6.12).
    const TCP: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   \
         0: 0100007F:8031 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1234 1 0 100 0 0 10 0\n   \
         1: 0100007F:8032 00000000:0000 07 00000000:00000000 00:00000000 00000000  1001        0 5678 1 0 100 0 0 10 0\n   \
         2: 0100007F:8033 00000000:0000 07 00000000:00000000 00:00000000 00000000  1001        0 5679 1 0 100 0 0 10 0\n";

    #[test]
    fn whoever_holds_most_ports_is_found_with_their_sockets() {
        let proc = std::env::temp_dir().join(format!("doctor-ports-{}", std::process::id()));
        fs::create_dir_all(proc.join("net")).unwrap();
        fs::write(proc.join("net/tcp"), TCP).unwrap();
        let most = most_of_them(&sockets(&proc));
        fs::remove_dir_all(&proc).unwrap();
        assert_eq!(most, Some((1001, vec![5678, 5679])));
        assert_eq!(
            account("root:x:0:0::/:/bin/sh\neve:x:1001:1001::/:/bin/sh\n", 1001),
            "eve (uid 1001)"
        );
    }

    #[test]
    fn the_process_that_holds_a_port_is_named() {
        let port = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).unwrap();
        let proc = Path::new("/proc");
        let uid = fs::metadata("/proc/self").unwrap().uid();
        let held = sockets(proc).remove(&uid).unwrap();
        let holders = holders(proc, uid, &held);
        assert!(holders.contains(&std::process::id()), "{holders:?}");
        assert_eq!(remedy(&[7, 5]), "kill 7 5");
        drop(port);
    }
}
