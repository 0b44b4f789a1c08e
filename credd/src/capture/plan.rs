//! What capture should look like on this host: whom it spares, and by what.
//!
//! Made from the settings and the local accounts; `routing` and `guard` compare the kernel with it. It touches nothing.

use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::accounts::{AccountsError, LocalAccounts};
use crate::config::{Capture, CaptureMode, Config, Exempt, Network, UidRange};
use crate::imds::caller::METADATA_ADDRESSES;

/// The whole of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Who goes on talking to the real service.
    pub exempt: BTreeSet<u32>,
    /// Names in `exempt_uids` that no local account has: nobody is exempt by them.
    pub unknown_names: Vec<String>,
    /// How requests are brought here.
    pub capture: Capture,
    /// Whether anything is captured.
    pub mode: CaptureMode,
    /// The port of the nft way.
    pub nft_port: u16,
    /// Networks whose forwarded packets may pass.
    pub containers: Vec<Network>,
}

/// An address family of the metadata service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// 169.254.169.254
    V4,
    /// fd00:ec2::254
    V6,
}

impl Family {
    /// Both.
    pub const ALL: [Self; 2] = [Self::V4, Self::V6];

    /// The address of the metadata service.
    pub fn address(self) -> IpAddr {
        let [v4, v6] = METADATA_ADDRESSES;
        match self {
            Self::V4 => v4,
            Self::V6 => v6,
        }
    }
}

/// One `ip rule` of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoutingRule {
    /// Where it stands among all rules.
    pub priority: u32,
    /// Whose packets it is about.
    pub uids: UidRange,
}

impl Plan {
    /// What `config` means on this host.
    pub fn new(config: &Config, accounts: &LocalAccounts) -> Result<Self, AccountsError> {
        let mut exempt = BTreeSet::new();
        let mut unknown_names = vec![];
        for daemon in DAEMONS {
            exempt.extend(accounts.uid(daemon)?);
        }
        for entry in &config.exempt_uids {
            match entry {
                Exempt::Uid(uid) => exempt.extend([*uid]),
                Exempt::Name(name) => match accounts.uid(name)? {
                    Some(uid) => exempt.extend([uid]),
                    None => unknown_names.push(name.clone()),
                },
            }
        }
        Ok(Self {
            exempt,
            unknown_names,
            capture: config.capture,
            mode: config.mode,
            nft_port: config.nft_port,
            containers: config.containers.clone(),
        })
    }

    /// The uids between the exempt ones. Rules name these, and none says "exempt uids to the main table": where the way to
    /// the service stands in another table, such a rule would find nothing and fall through to ours.
    pub fn captured(&self) -> Vec<UidRange> {
        let mut ranges = vec![];
        let mut next = 0;
        for uid in self.exempt.iter().copied().filter(|uid| *uid <= LAST_UID) {
            if uid > next {
                ranges.push(UidRange {
                    first: next,
                    last: uid - 1,
                });
            }
            next = uid + 1;
        }
        if next <= LAST_UID {
            ranges.push(UidRange {
                first: next,
                last: LAST_UID,
            });
        }
        ranges
    }

    /// The rules of each family: to our table, and, should that have lost its route, to nowhere. The nft way needs none
    /// while its redirect is loaded; where it is not, nobody captured may go anywhere.
    pub fn rules(&self, guard: Guard) -> Vec<RoutingRule> {
        let priorities: &[u32] = match (self.mode, self.capture, guard) {
            (CaptureMode::Observe, _, _) | (_, Capture::Nft, Guard::Loaded) => &[],
            (_, Capture::Nft, Guard::Missing) => &[TO_NOWHERE],
            (_, Capture::Route, _) => &[TO_CREDD, TO_NOWHERE],
        };
        let of = |uids: UidRange| {
            priorities.iter().map(move |priority| RoutingRule {
                priority: *priority,
                uids,
            })
        };
        self.captured().into_iter().flat_map(of).collect()
    }
}

/// Whether the nftables half is up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guard {
    /// As planned.
    Loaded,
    /// It could not be loaded.
    Missing,
}

/// The accounts of the two daemons that ask the real service.
const DAEMONS: [&str; 2] = ["keymakerd", "credd"];
/// 4294967295 is "no uid".
const LAST_UID: u32 = u32::MAX - 1;
/// Rules that lead to our table.
pub const TO_CREDD: u32 = 100;
/// Rules that refuse.
pub const TO_NOWHERE: u32 = 101;

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(exempt: &[u32]) -> Plan {
        let accounts = LocalAccounts::new("/dev/null", "/dev/null");
        let mut plan = Plan::new(&Config::default(), &accounts).unwrap();
        plan.exempt = exempt.iter().copied().collect();
        plan
    }

    #[test]
    fn every_uid_is_either_exempt_or_captured_and_none_is_both() {
        for exempt in [
            &[][..],
            &[0],
            &[0, 1],
            &[0, 997, 998, 65_534],
            &[5, LAST_UID],
            &[u32::MAX],
        ] {
            let plan = plan(exempt);
            let ranges = plan.captured();
            for uid in [
                0,
                1,
                2,
                4,
                5,
                6,
                996,
                997,
                998,
                999,
                65_533,
                65_534,
                65_535,
                LAST_UID - 1,
                LAST_UID,
            ] {
                let captured = ranges.iter().filter(|range| range.contains(uid)).count();
                assert_eq!(captured, usize::from(!exempt.contains(&uid)), "{exempt:?} {uid}");
            }
        }
    }

    #[test]
    fn a_name_without_an_account_exempts_nobody() {
        assert_eq!(plan(&[]).unknown_names, ["root"]);
    }

    #[test]
    fn each_captured_range_is_led_here_and_where_that_fails_nowhere() {
        let rules = plan(&[0]).rules(Guard::Loaded);
        let uids = UidRange {
            first: 1,
            last: LAST_UID,
        };
        assert_eq!(
            rules,
            [RoutingRule { priority: 100, uids }, RoutingRule { priority: 101, uids }]
        );
    }
}
