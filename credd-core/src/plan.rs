//! What capture should look like on this host: whom it spares, and by what.
//!
//! Made from the settings and the local accounts; `routing` and `guard` compare the kernel with it. It touches nothing.

use std::collections::BTreeSet;
use std::net::IpAddr;

use keymaker_daemon::account_files::AccountFilesError;

use crate::accounts::LocalNames;
use crate::config::{Capture, CaptureMode, Config, Exempt, Network, UidRange};
use crate::metadata::METADATA_ADDRESSES;

/// The whole of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Who goes on talking to the real service.
    pub exempt: BTreeSet<u32>,
    /// Of these, keymakerd and credd.
    pub daemons: BTreeSet<u32>,
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
    /// `fd00:ec2::254`
    V6,
}

impl Family {
    /// Both.
    pub const ALL: [Self; 2] = [Self::V4, Self::V6];

    /// Those that this kernel has: without IPv6 (`ipv6.disable=1`) there is nothing of it to capture.
    pub fn here() -> impl Iterator<Item = Self> {
        let has_v6 = std::path::Path::new("/proc/net/if_inet6").exists();
        Self::ALL
            .into_iter()
            .filter(move |family| *family == Self::V4 || has_v6)
    }

    /// The address of the metadata service.
    pub fn address(self) -> IpAddr {
        let [v4, v6] = METADATA_ADDRESSES;
        match self {
            Self::V4 => v4,
            Self::V6 => v6,
        }
    }
}

/// One `ip rule` of ours about what is sent to the metadata service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoutingRule {
    /// What containers of this network send may pass.
    Container(Network),
    /// What this host itself sends is judged by the rules about uids.
    OwnTraffic,
    /// Whatever is left has been forwarded, and goes nowhere.
    Forwarded,
    /// What these uids send goes to our table.
    ToCredd(UidRange),
    /// Should that have lost its routes, it goes nowhere.
    ToNowhere(UidRange),
}

impl RoutingRule {
    /// Where it stands among all rules.
    pub fn priority(self) -> u32 {
        match self {
            Self::Container(_) => 97,
            Self::OwnTraffic => 98,
            Self::Forwarded => 99,
            Self::ToCredd(_) => JUDGED_BY_UID,
            Self::ToNowhere(_) => 101,
        }
    }
}

impl Plan {
    /// What `config` means on this host.
    pub fn new(config: &Config, accounts: &LocalNames) -> Result<Self, AccountFilesError> {
        let daemons = Self::daemons(accounts)?;
        let mut exempt = daemons.clone();
        let mut unknown_names = vec![];
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
            daemons,
            unknown_names,
            capture: config.capture,
            mode: config.mode,
            nft_port: config.nft_port,
            containers: config.containers.clone(),
        })
    }

    /// A sentence, with the remedy, for each name in `exempt_uids` that exempts nobody.
    pub fn unknown(&self) -> impl Iterator<Item = String> {
        self.unknown_names.iter().map(|name| {
            format!(
                "exempt_uids in credd.toml names {name}, which exempts nobody: /etc/passwd has no such account, and users of IAM or of another \
                 service cannot be exempt. Remove the name, or give a chain with instance_role to the user who needs \
                 that role"
            )
        })
    }

    /// The uids of our daemons that ask the real service.
    pub fn daemons(accounts: &LocalNames) -> Result<BTreeSet<u32>, AccountFilesError> {
        let mut daemons = BTreeSet::new();
        for daemon in DAEMONS {
            daemons.extend(accounts.uid(daemon)?);
        }
        Ok(daemons)
    }

    /// The uids between the exempt ones. Rules name these, and none says "exempt uids to the main table": where the way
    /// to the service stands in another table, such a rule would find nothing and fall through to ours.
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

    /// The rules of a family: to our table, and, should that have lost its route, to nowhere. The nft way has the same:
    /// its redirect turns what goes to `lo` to credd's port, and where that is gone nobody listens. In the order in
    /// which they are put up: to send on what is forwarded before there is a rule for the host's own would cut
    /// everybody off.
    pub fn rules(&self, family: Family) -> Vec<RoutingRule> {
        let captured = self.captured();
        match self.mode {
            CaptureMode::Observe => vec![],
            CaptureMode::Enforce => {
                let to_nowhere = captured.iter().copied().map(RoutingRule::ToNowhere);
                let of_family = |network: &&Network| network.address.is_ipv4() == family.address().is_ipv4();
                let containers = self.containers.iter().filter(of_family).copied();
                let to_credd = captured.iter().copied().map(RoutingRule::ToCredd);
                to_credd
                    .chain(to_nowhere)
                    .chain(containers.map(RoutingRule::Container))
                    .chain([RoutingRule::OwnTraffic, RoutingRule::Forwarded])
                    .collect()
            }
        }
    }
}

/// The accounts of the two daemons that ask the real service.
const DAEMONS: [&str; 2] = ["keymakerd", "credd"];
/// 4294967295 is "no uid".
const LAST_UID: u32 = u32::MAX - 1;
/// The first of the rules about uids.
pub const JUDGED_BY_UID: u32 = 100;

#[cfg(test)]
mod tests {
    use super::*;
    use test_folder::TestFolder;

    fn plan(exempt: &[u32]) -> Plan {
        let folder = TestFolder::new();
        let accounts = LocalNames::new(
            folder.file("passwd", "toor:x:0:0\n"),
            folder.file("group", "root:x:0:\n"),
        );
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
        let said: Vec<String> = plan(&[]).unknown().collect();
        assert!(
            said.len() == 1 && said[0].contains("names root") && said[0].contains("Remove the name"),
            "{said:?}"
        );
    }

    #[test]
    fn each_captured_range_is_led_here_and_what_is_forwarded_nowhere() {
        let uids = UidRange {
            first: 1,
            last: LAST_UID,
        };
        let network = "172.17.0.0/16".parse().unwrap();
        let mut plan = plan(&[0]);
        plan.containers = vec![network];
        let (to_credd, to_nowhere) = (RoutingRule::ToCredd(uids), RoutingRule::ToNowhere(uids));
        let (own, forwarded) = (RoutingRule::OwnTraffic, RoutingRule::Forwarded);
        let container = RoutingRule::Container(network);
        for capture in [Capture::Route, Capture::Nft] {
            plan.capture = capture;
            assert_eq!(
                plan.rules(Family::V4),
                [to_credd, to_nowhere, container, own, forwarded]
            );
            assert_eq!(plan.rules(Family::V6), [to_credd, to_nowhere, own, forwarded]);
        }
        plan.mode = CaptureMode::Observe;
        assert_eq!(plan.rules(Family::V4), []);
    }
}
