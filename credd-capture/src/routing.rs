//! Compares the routing rules and routes of one family with the plan, and puts right what differs.
//!
//! The keeper calls it. It only touches rules of our priorities to the metadata address, and our own table. That has a
//! route by `lo`, and for IPv4 one by every other device besides: to a socket bound to a device (`SO_BINDTODEVICE`,
//! which needs no privilege) a route by another one does not count, and where none counts, prohibitions included, the
//! kernel takes an IPv4 address to be on the device's own link. By these routes such a socket ends here, whether the
//! guard is up or not.
//!
//! Only what the host itself sends has a uid; to rules, what it forwards is root's. The rules before those about uids
//! tell the two apart by the device: a packet of the host's own comes from `lo`.

use std::net::IpAddr;

use credd_core::config::{Network, UidRange};
use credd_core::plan::{Family, JUDGED_BY_UID, Plan, RoutingRule};
use serde_json::Value;

use super::commands::{ToolError, json};
use super::repair::Repair;

/// What differs from the plan in `family`, what is missing before what is too much.
pub fn drift(plan: &Plan, family: Family) -> Result<Vec<Repair>, ToolError> {
    let wanted = plan.rules(family);
    let present = ours(&json("ip", &[flag(family), "-json", "rule", "show"])?, family);
    let is_missing = |rule: &RoutingRule| wanted.contains(rule) && !present.contains(rule);
    let missing = wanted.iter().filter(|rule| is_missing(rule)).map(|rule| {
        let add = change("add", family, rule);
        // Alone it would stop the host's own packets too, keymakerd's and root's among them.
        let stands_on_another = *rule == RoutingRule::Forwarded && is_missing(&RoutingRule::OwnTraffic);
        if stands_on_another {
            add.after_the_one_before()
        } else {
            add
        }
    });
    let mut extra: Vec<&RoutingRule> = present.iter().filter(|rule| !wanted.contains(rule)).collect();
    // Without the rules that go with it, this one would stop the host's own packets too.
    extra.sort_by_key(|rule| **rule != RoutingRule::Forwarded);
    let extra = extra.into_iter().map(|rule| change("del", family, rule));
    let (by, have) = (devices(&wanted, family)?, routes(family)?);
    let differing = |these: &[Device], those: &[Device], verb: &'static str| -> Vec<Repair> {
        let only = these.iter().filter(|device| !those.contains(device));
        only.map(|device| route(verb, family, device)).collect()
    };
    let (routes, superfluous) = (differing(&by, &have, "replace"), differing(&have, &by, "del"));
    Ok(missing.chain(routes).chain(extra).chain(superfluous).collect())
}

/// Everything that the plan needs in `family`, for showing.
pub fn all(plan: &Plan, family: Family) -> Vec<Repair> {
    let rules = plan.rules(family);
    let devices = devices(&rules, family).unwrap_or_default();
    let routes = devices.iter().map(|device| route("replace", family, device));
    rules
        .iter()
        .map(|rule| change("add", family, rule))
        .chain(routes)
        .collect()
}

/// By what our table leads here, and which of its routes that is.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Device {
    name: String,
    metric: u64,
}

/// By what our table is to lead here: nothing where no rule leads to it.
fn devices(wanted: &[RoutingRule], family: Family) -> Result<Vec<Device>, ToolError> {
    if !wanted.iter().any(|rule| matches!(rule, RoutingRule::ToCredd(_))) {
        return Ok(vec![]);
    }
    match family {
        Family::V4 => Ok(running(&json("ip", &["-json", "link", "show", "up"])?)),
        // Where IPv6 is off for `lo` by sysctl no route can lead there, and none need: the rules behind send anybody
        // who is captured nowhere. When it is switched on, `lo` gets a route, whose notice brings the keeper here.
        Family::V6 if is_off(IPV6_OF_LOOPBACK) => Ok(vec![]),
        Family::V6 => Ok(vec![Device::loopback(LOOPBACK_METRIC_V6)]),
    }
}

/// Whether the sysctl at `path` switches a family off. What cannot be read switches nothing off.
fn is_off(path: &str) -> bool {
    std::fs::read(path).is_ok_and(|text| text.trim_ascii() != b"0")
}

/// `lo`, and after it every other device that `ip -json link show up` printed: no route leads by one that is down.
fn running(printed: &Value) -> Vec<Device> {
    let links = printed.as_array().into_iter().flatten();
    let device = |link: &Value| {
        let name = link.get("ifname")?.as_str().filter(|name| *name != "lo")?.to_owned();
        let metric = link.get("ifindex")?.as_u64()?;
        Some(Device { name, metric })
    };
    let loopback = Device::loopback(0);
    std::iter::once(loopback).chain(links.filter_map(device)).collect()
}

impl Device {
    fn loopback(metric: u64) -> Self {
        Self {
            name: "lo".to_owned(),
            metric,
        }
    }
}

/// The rules of ours among all that `ip -json rule show` printed.
fn ours(printed: &Value, family: Family) -> Vec<RoutingRule> {
    let address = family.address().to_string();
    let rules = printed.as_array().into_iter().flatten();
    let to_service = rules.filter(|rule| rule.get("dst").and_then(Value::as_str) == Some(&address));
    to_service.filter_map(one_of_ours).collect()
}

/// A rule in our place that does something else is none of ours; what is missing is added beside it. It does something
/// else, too, if it says anything that ours do not: a port, a mark, a device, `not`.
fn one_of_ours(rule: &Value) -> Option<RoutingRule> {
    let mut keys = rule.as_object()?.keys();
    if !keys.all(|key| KEYS.contains(&key.as_str())) {
        return None;
    }
    let number = |key: &str| u32::try_from(rule.get(key)?.as_u64()?).ok();
    let text = |key: &str| rule.get(key).and_then(Value::as_str);
    let uids = || {
        Some(UidRange {
            first: number("uid_start")?,
            last: number("uid_end")?,
        })
    };
    let is_passed_on = number("goto") == Some(JUDGED_BY_UID);
    let is_refused = text("action") == Some("prohibit");
    let found = match (uids(), text("iif"), text("src")?) {
        (Some(uids), None, "all") if is_refused => RoutingRule::ToNowhere(uids),
        (Some(uids), None, "all") if text("table") == Some(TABLE) => RoutingRule::ToCredd(uids),
        (None, Some("lo"), "all") if is_passed_on => RoutingRule::OwnTraffic,
        (None, None, "all") if is_refused => RoutingRule::Forwarded,
        (None, None, source) if is_passed_on => RoutingRule::Container(network(source, number("srclen"))?),
        _ => return None,
    };
    (number("priority") == Some(found.priority())).then_some(found)
}

/// `ip` leaves the length of a single address out.
fn network(source: &str, length: Option<u32>) -> Option<Network> {
    let address: IpAddr = source.parse().ok()?;
    let whole = if address.is_ipv4() { 32 } else { 128 };
    let prefix = u8::try_from(length.unwrap_or(whole)).ok()?;
    Some(Network { address, prefix })
}

/// By what our table leads here now.
fn routes(family: Family) -> Result<Vec<Device>, ToolError> {
    let table = match json("ip", &[flag(family), "-json", "route", "show", "table", TABLE]) {
        Ok(table) => table,
        // A table comes into being with its first route.
        Err(ToolError::Failed(_, said)) if said.contains("FIB table does not exist") => return Ok(vec![]),
        Err(error) => return Err(error),
    };
    let address = family.address().to_string();
    let device = |route: &Value| {
        let text = |key: &str| route.get(key).and_then(Value::as_str);
        let is_ours = text("type") == Some("local") && text("dst") == Some(&address);
        let metric = route.get("metric").and_then(Value::as_u64).unwrap_or(0);
        text("dev").filter(|_| is_ours).map(|name| Device {
            name: name.to_owned(),
            metric,
        })
    };
    Ok(table.as_array().into_iter().flatten().filter_map(device).collect())
}

fn change(verb: &str, family: Family, rule: &RoutingRule) -> Repair {
    let (address, judged) = (family.address().to_string(), JUDGED_BY_UID.to_string());
    let range = |uids: &UidRange| format!("{}-{}", uids.first, uids.last);
    let (of, then): (Vec<String>, [&str; 2]) = match rule {
        RoutingRule::Container(network) => (vec!["from".to_owned(), network.to_string()], ["goto", &judged]),
        RoutingRule::OwnTraffic => (vec!["iif".to_owned(), "lo".to_owned()], ["goto", &judged]),
        RoutingRule::Forwarded => (vec![], ["type", "prohibit"]),
        RoutingRule::ToCredd(uids) => (vec!["uidrange".to_owned(), range(uids)], ["lookup", TABLE]),
        RoutingRule::ToNowhere(uids) => (vec!["uidrange".to_owned(), range(uids)], ["type", "prohibit"]),
    };
    let priority = rule.priority().to_string();
    let head = [flag(family), "rule", verb, "pref", &priority].map(str::to_owned);
    let target = ["to", &address].into_iter().chain(then).map(str::to_owned);
    Repair::new("ip", head.into_iter().chain(of).chain(target), true)
}

fn route(verb: &str, family: Family, device: &Device) -> Repair {
    let (address, metric) = (family.address().to_string(), device.metric.to_string());
    let source = if family == Family::V4 { "127.0.0.1" } else { "::1" };
    let words = [
        flag(family),
        "route",
        verb,
        "local",
        &address,
        "dev",
        &device.name,
        "src",
        source,
        "metric",
        &metric,
        "table",
        TABLE,
    ];
    Repair::new("ip", words.map(str::to_owned), device.name == "lo")
}

fn flag(family: Family) -> &'static str {
    match family {
        Family::V4 => "-4",
        Family::V6 => "-6",
    }
}

const TABLE: &str = "169";
/// What `ip -json rule show` prints of our rules. A `goto` is unresolved while nothing stands where it leads.
const KEYS: [&str; 12] = [
    "priority",
    "src",
    "srclen",
    "dst",
    "iif",
    "uid_start",
    "uid_end",
    "table",
    "action",
    "goto",
    "unresolved",
    "protocol",
];
const IPV6_OF_LOOPBACK: &str = "/proc/sys/net/ipv6/conf/lo/disable_ipv6";
/// What the kernel makes of an IPv6 route without a metric.
const LOOPBACK_METRIC_V6: u64 = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_rules_that_do_what_ours_do_are_taken_for_ours() {
        let printed = serde_json::json!([
            {"priority": 0, "src": "all", "table": "local"},
            {"priority": 97, "src": "172.17.0.0", "srclen": 16, "dst": "169.254.169.254", "goto": 100},
            {"priority": 97, "src": "10.0.0.1", "dst": "169.254.169.254", "goto": 100},
            {"priority": 98, "src": "all", "dst": "169.254.169.254", "iif": "lo", "goto": 100},
            {"priority": 99, "src": "all", "dst": "169.254.169.254", "action": "prohibit"},
            {"priority": 100, "src": "all", "dst": "169.254.169.254", "uid_start": 1, "uid_end": 997, "table": "169"},
            {"priority": 101, "src": "all", "dst": "169.254.169.254", "uid_start": 1, "uid_end": 997, "action": "prohibit"},
            {"priority": 100, "src": "all", "dst": "169.254.169.254", "uid_start": 1, "uid_end": 997, "table": "main"},
            {"priority": 100, "src": "all", "dst": "10.0.0.1", "uid_start": 1, "uid_end": 997, "table": "169"},
            {"priority": 99, "src": "all", "dst": "169.254.169.254", "uid_start": 1, "uid_end": 997, "table": "169"},
            {"priority": 98, "src": "all", "dst": "169.254.169.254", "iif": "eth0", "goto": 100},
            {"priority": 99, "src": "10.0.0.0", "srclen": 8, "dst": "169.254.169.254", "action": "prohibit"},
        ]);
        let uids = UidRange { first: 1, last: 997 };
        let expected = [
            RoutingRule::Container("172.17.0.0/16".parse().unwrap()),
            RoutingRule::Container("10.0.0.1/32".parse().unwrap()),
            RoutingRule::OwnTraffic,
            RoutingRule::Forwarded,
            RoutingRule::ToCredd(uids),
            RoutingRule::ToNowhere(uids),
        ];
        assert_eq!(ours(&printed, Family::V4), expected);
        assert_eq!(ours(&printed, Family::V6), []);
    }

    // P14
    #[test]
    fn a_rule_with_any_other_key_is_not_taken_for_ours() {
        let ours_by_place = serde_json::json!([
            {"priority": 98, "src": "all", "dst": "169.254.169.254", "iif": "lo", "goto": 100},
            {"priority": 99, "src": "all", "dst": "169.254.169.254", "action": "prohibit"},
            {"priority": 100, "src": "all", "dst": "169.254.169.254", "uid_start": 1, "uid_end": 997, "table": "169"},
            {"priority": 101, "src": "all", "dst": "169.254.169.254", "uid_start": 1, "uid_end": 997, "action": "prohibit"},
        ]);
        assert_eq!(ours(&ours_by_place, Family::V4).len(), 4);
        // As iproute2 6.1 prints them.
        for (key, value) in [
            ("dport", serde_json::json!(81)),
            ("dport_start", serde_json::json!(81)),
            ("sport", serde_json::json!(5)),
            ("fwmark", serde_json::json!("0x5")),
            ("fwmask", serde_json::json!("0xff")),
            ("oif", serde_json::json!("eth0")),
            ("tos", serde_json::json!("0x10")),
            ("ipproto", serde_json::json!("udp")),
            ("not", Value::Null),
            ("suppress_prefixlen", serde_json::json!(3)),
            ("l3mdev", Value::Null),
            ("what a later kernel has", serde_json::json!(1)),
        ] {
            let mut others = ours_by_place.clone();
            for rule in others.as_array_mut().unwrap() {
                rule[key] = value.clone();
            }
            assert_eq!(ours(&others, Family::V4), [], "{key}");
        }
    }

    #[test]
    fn only_the_route_by_lo_is_about_everybodys_requests() {
        for (name, is_of_all) in [("lo", true), ("eth0", false)] {
            let name = name.to_owned();
            let device = Device { name, metric: 2 };
            assert_eq!(route("replace", Family::V4, &device).is_of_all(), is_of_all);
        }
    }

    #[test]
    fn every_device_that_is_up_leads_here_and_lo_before_all_others() {
        let printed = serde_json::json!([{"ifindex": 1, "ifname": "lo"}, {"ifindex": 2, "ifname": "eth0"}, {}]);
        let found: Vec<(String, u64)> = running(&printed)
            .into_iter()
            .map(|device| (device.name, device.metric))
            .collect();
        assert_eq!(found, [("lo".to_owned(), 0), ("eth0".to_owned(), 2)]);
    }
}
