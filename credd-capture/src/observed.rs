//! Lists who uses the metadata service right now, for `plan`: the administrator should know before anything is
//! captured.
//!
//! It reads /proc/net/tcp and tcp6, which show every connection of this network namespace with its owner.

use std::collections::BTreeSet;
use std::fs;

/// The uids with a connection to the metadata service that is open, or was a moment ago.
pub fn users_now() -> BTreeSet<u32> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"];
    tables
        .iter()
        .filter_map(|table| fs::read_to_string(table).ok())
        .flat_map(|table| users_in(&table))
        .collect()
}

fn users_in(table: &str) -> Vec<u32> {
    let line_user = |line: &str| {
        let mut fields = line.split_whitespace();
        let (remote, uid) = (fields.nth(2)?, fields.nth(4)?);
        // A closed connection has no owner and is shown as root's.
        let inode: u64 = fields.nth(1)?.parse().ok()?;
        let address = remote.split(':').next()?;
        if inode == 0 || !SERVICE.contains(&address) {
            return None;
        }
        uid.parse().ok()
    };
    table.lines().skip(1).filter_map(line_user).collect()
}

/// 169.254.169.254, `::ffff:169.254.169.254` and `fd00:ec2::254` as the kernel prints them: 32-bit words in host order,
/// here on little-endian machines, which all EC2 instances are.
const SERVICE: [&str; 3] = [
    "FEA9FEA9",
    "0000000000000000FFFF0000FEA9FEA9",
    "C20E00FD000000000000000054020000",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_of_connections_to_the_service_are_listed_and_nobody_else() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
            0: 0100007F:A0B4 FEA9FEA9:0050 01 00000000:00000000 00:00000000 00000000  1000        0 4711 1 0 20 4 30 10 -1\n\
            1: 0100007F:A0B5 FEA9FEA9:0050 06 00000000:00000000 00:00000000 00000000     0        0 0 3 0\n\
            2: 0100007F:A0B6 0100007F:0050 01 00000000:00000000 00:00000000 00000000  1001        0 4712 1 0 20 4 30 10 -1\n";
        assert_eq!(users_in(table), [1000]);
    }
}
