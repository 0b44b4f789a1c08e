//! sshd's patterns (`ssh_config(5)`, "PATTERNS"): `*`, `?`, and lists of patterns with `!`.

use std::net::IpAddr;

/// Whether the whole text matches: `*` is any number of characters, `?` is one.
pub fn matches(text: &str, pattern: &str) -> bool {
    let (text, pattern): (Vec<char>, Vec<char>) = (text.chars().collect(), pattern.chars().collect());
    // Which beginnings of the text the pattern so far matches.
    let mut reached = vec![false; text.len() + 1];
    reached.iter_mut().take(1).for_each(|empty| *empty = true);
    for wanted in pattern {
        let before = reached.clone();
        if wanted == '*' {
            let first = before.iter().position(|reached| *reached).unwrap_or(before.len());
            reached.iter_mut().skip(first).for_each(|reached| *reached = true);
            continue;
        }
        let one = text.iter().map(|found| wanted == '?' || wanted == *found);
        let next = before.iter().zip(one).map(|(reached, one)| *reached && one);
        reached = std::iter::once(false).chain(next).collect();
    }
    reached.last() == Some(&true)
}

/// Whether a list, separated by commas, names the text. What a pattern with `!` matches, the list does not name.
pub fn list_names(list: &str, text: &str) -> bool {
    let (denied, named): (Vec<&str>, Vec<&str>) = list.split(',').partition(|pattern| pattern.starts_with('!'));
    let any = |patterns: &[&str]| {
        patterns
            .iter()
            .any(|pattern| matches(text, pattern.trim_start_matches('!')))
    };
    any(&named) && !any(&denied)
}

/// Whether a list of addresses, networks and patterns, as behind the @ of `AllowUsers`, names this address
/// (`match_host_and_ip` of OpenSSH's match.c, where a client has no other name than its address).
pub fn list_names_address(list: &str, address: IpAddr) -> bool {
    let text = address.to_string();
    let names = |pattern: &str| is_in_network(address, pattern) || matches(&text, &pattern.to_ascii_lowercase());
    let (denied, named): (Vec<&str>, Vec<&str>) = list.split(',').partition(|pattern| pattern.starts_with('!'));
    let denies = denied.iter().any(|pattern| names(pattern.trim_start_matches('!')));
    !denies && named.iter().any(|pattern| names(pattern))
}

/// Whether the address, or the network with a mask's length, has this address in it.
fn is_in_network(address: IpAddr, network: &str) -> bool {
    let (base, length) = match network.split_once('/') {
        Some((base, length)) => (base, length.parse().ok()),
        None => (network, Some(128)),
    };
    let (Ok(base), Some(length)) = (base.parse::<IpAddr>(), length) else {
        return false;
    };
    let bits = |address: IpAddr| match address {
        // At the upper end, as those of the longer form.
        IpAddr::V4(address) => u128::from(address.to_bits()) << 96,
        IpAddr::V6(address) => address.to_bits(),
    };
    let mask = u128::MAX.checked_shl(128_u32.saturating_sub(length)).unwrap_or(0);
    base.is_ipv4() == address.is_ipv4() && (bits(base) ^ bits(address)) & mask == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_matches_the_whole_text_or_nothing() {
        for (text, pattern, holds) in [
            ("alice", "alice", true),
            ("alice", "ali", false),
            ("alice", "ali*", true),
            ("alice", "*", true),
            ("", "*", true),
            ("", "?", false),
            ("alice", "a?ice", true),
            ("alice", "*l*c*", true),
            ("alice", "*x*", false),
            ("alice", "Alice", false),
            ("aXbXc", "a*X?", true),
            ("alice", "", false),
            ("alice", "!alice", false),
        ] {
            assert_eq!(matches(text, pattern), holds, "{text} {pattern}");
        }
    }

    #[test]
    fn what_a_list_denies_it_does_not_name() {
        assert!(list_names("ssh-rsa,rsa-sha2-*", "rsa-sha2-512"));
        assert!(!list_names("*,!ssh-rsa", "ssh-rsa"));
        assert!(!list_names("!ssh-rsa", "ssh-ed25519"));
    }

    #[test]
    fn a_list_of_hosts_names_an_address_as_sshd_reads_it() {
        for (list, address, holds) in [
            ("10.0.0.0/8", "10.1.2.3", true),
            ("10.0.0.0/8", "11.1.2.3", false),
            ("10.1.2.3", "10.1.2.3", true),
            ("10.1.2.3/32", "10.1.2.4", false),
            ("0.0.0.0/0", "10.1.2.4", true),
            ("0.0.0.0/0", "::1", false),
            ("10.*", "10.1.2.3", true),
            ("127.*,::1", "::1", true),
            ("2001:DB8::/32", "2001:db8:1::9", true),
            ("2001:db8::*", "2001:db8::9", true),
            ("*,!10.0.0.0/8", "10.1.2.3", false),
            ("*,!10.0.0.0/8", "192.0.2.1", true),
            ("!10.0.0.0/8", "192.0.2.1", false),
            ("bastion.example.com", "192.0.2.1", false),
        ] {
            assert_eq!(
                list_names_address(list, address.parse().unwrap()),
                holds,
                "{list} {address}"
            );
        }
    }
}
