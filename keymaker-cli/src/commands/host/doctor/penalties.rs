//! Whether sshd turns IAM users away by their address, for what somebody else did there: `PerSourcePenalties` of OpenSSH
//! 9.8 and newer counts refused logins, and behind a bastion or NAT everybody has one address.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::super::probe::journal_of_last_hour;
use super::super::probe::sshd::SshdSettings;
use super::super::probe::sshd::pattern::list_names_address;
use super::Findings;

/// Looks at the last hour of the journal.
pub fn look(settings: &SshdSettings, found: &mut Findings) {
    if settings.get("persourcepenalties").is_none_or(|value| value == "no") {
        return;
    }
    let dropped = journal_of_last_hour(&["_UID=0", "--identifier=sshd", "--grep=penalty: ", "--lines=1000"]);
    let turned_away = turned_away(&dropped);
    if turned_away.is_empty() {
        return;
    }
    let of_ours = journal_of_last_hour(&["KEYMAKER_EVENT=login", "--output-fields=KEYMAKER_ADDRESS"]);
    let of_ours: BTreeSet<IpAddr> = of_ours.lines().filter_map(|line| line.trim().parse().ok()).collect();
    let exempt = settings
        .get("persourcepenaltyexemptlist")
        .filter(|list| *list != "none");
    let addresses: Vec<String> = turned_away
        .intersection(&of_ours)
        .filter(|address| is_punished(exempt, **address))
        .map(IpAddr::to_string)
        .collect();
    if addresses.is_empty() {
        return;
    }
    let listed = addresses.join(",");
    found.fault(
        format!("sshd has turned away {listed} in the last hour, from where IAM users log in: logins from there were refused before"),
        "everybody who comes from that address is kept out for a while; it is nobody's fault but one user's where it is a bastion or NAT",
        match exempt {
            None => format!(
                "echo 'PerSourcePenaltyExemptList {listed}' > {EXEMPT} && sshd -t && systemctl reload ssh  # if it is one of yours"
            ),
            Some(exempt) => format!(
                "sed -i -E 's/^([[:space:]]*PerSourcePenaltyExemptList[[:space:]=]+).*/\\1{exempt},{listed}/I' /etc/ssh/sshd_config \
                 /etc/ssh/sshd_config.d/*.conf && sshd -t && systemctl reload ssh  # if it is one of yours"
            ),
        },
    );
}

/// Not who has been exempted since.
fn is_punished(exempt: Option<&str>, address: IpAddr) -> bool {
    exempt.is_none_or(|list| !list_names_address(list, address))
}

/// What of `drop connection #1 from [192.0.2.7]:50000 on [192.0.2.1]:22 penalty: failed authentication` is the client's.
fn turned_away(log: &str) -> BTreeSet<IpAddr> {
    let address = |line: &str| line.split_once(" from [")?.1.split_once("]:")?.0.parse().ok();
    log.lines()
        .filter(|line| line.starts_with("drop connection ") && line.contains(" penalty: "))
        .filter_map(address)
        .collect()
}

/// Before the files that a distribution or Keymaker places.
const EXEMPT: &str = "/etc/ssh/sshd_config.d/10-penalties.conf";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_the_clients_in_sshds_own_words_alone() {
        let log = "drop connection #1 from [192.0.2.7]:50000 on [192.0.2.1]:22 penalty: failed authentication\n\
                   drop connection #0 from [2001:db8::7]:50000 on [2001:db8::1]:22 penalty: exceeded LoginGraceTime\n\
                   drop connection #3 from [192.0.2.8]:50000 on [192.0.2.1]:22 Maxstartups\n\
                   Invalid user drop connection #1 from [192.0.2.9]:1 on [192.0.2.1]:22 penalty: x from 192.0.2.5\n";
        let expected = ["192.0.2.7", "2001:db8::7"].map(|address| address.parse().unwrap());
        assert_eq!(turned_away(log), BTreeSet::from(expected));
    }

    #[test]
    fn who_is_exempt_by_now_is_no_finding() {
        let address: IpAddr = "192.0.2.7".parse().unwrap();
        for (exempt, punished) in [
            (None, true),
            (Some("192.0.2.8"), true),
            (Some("192.0.2.8,192.0.2.7"), false),
            (Some("192.0.2.0/24"), false),
        ] {
            assert_eq!(is_punished(exempt, address), punished, "{exempt:?}");
        }
    }
}
