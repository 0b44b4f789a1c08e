//! The nftables half: an own table that stops whatever routing did not catch.
//!
//! The keeper loads it and compares it. It accepts exempt owners and then rejects everything to the metadata addresses;
//! it never asks for "not exempt", which a packet without an owner would not match. What it lets through it marks for
//! `egress`.

use std::fmt::Write;

use credd_core::config::{Capture, CaptureMode};
use credd_core::plan::{Family, Plan};
use serde_json::Value;

use super::commands::{ToolError, json, run};
use super::mark::Mark;

/// The ruleset of `plan` as `nft -f` takes it. Loading is atomic and may be repeated.
pub fn ruleset(plan: &Plan, mark: Mark) -> String {
    let mut text = format!("table inet {TABLE}\ndelete table inet {TABLE}\ntable inet {TABLE} {{\n");
    let uids: Vec<String> = plan.exempt.iter().map(u32::to_string).collect();
    let elements = if uids.is_empty() {
        String::new()
    } else {
        format!("elements = {{ {} }}; ", uids.join(", "))
    };
    let _ = writeln!(text, "  set exempt {{ type uid; {elements}}}");
    text.push_str(&match plan.mode {
        CaptureMode::Observe => observing(),
        CaptureMode::Enforce => enforcing(plan, mark),
    });
    text.push_str("}\n");
    text
}

/// Loads the ruleset.
pub fn load(plan: &Plan, mark: Mark) -> Result<(), ToolError> {
    run("nft", &["-f", "-"], &ruleset(plan, mark)).map(|_| ())
}

/// Takes the table away.
pub fn unload() -> Result<(), ToolError> {
    run(
        "nft",
        &["-f", "-"],
        &format!("table inet {TABLE}\ndelete table inet {TABLE}\n"),
    )
    .map(|_| ())
}

/// What the kernel has in our table, without handles, counts and what was observed: two of these are equal if and only
/// if they filter alike. None where there is no table.
pub fn fingerprint() -> Result<Option<String>, ToolError> {
    match json("nft", &["-j", "list", "table", "inet", TABLE]) {
        Ok(mut listed) => {
            strip(&mut listed);
            Ok(Some(listed.to_string()))
        }
        Err(ToolError::Failed(_, said)) if said.contains("No such file or directory") => Ok(None),
        Err(error) => Err(error),
    }
}

/// The mark that the table in the kernel gives to what it lets through; None where there is none, or it cannot be read.
pub fn mark() -> Option<Mark> {
    let listed = json("nft", &["-j", "list", "table", "inet", TABLE]).ok()?;
    mark_in(&listed)
}

fn mark_in(listed: &Value) -> Option<Mark> {
    let objects = listed.get("nftables")?.as_array()?.iter();
    let mut expressions = objects
        .filter_map(|object| object.pointer("/rule/expr")?.as_array())
        .flatten();
    let marks = expressions.find_map(|expression| {
        let mangle = expression.get("mangle")?;
        let is_mark = mangle.pointer("/key/meta/key")?.as_str()? == "mark";
        mangle.get("value")?.as_u64().filter(|_| is_mark)
    });
    marks.and_then(|mark| u32::try_from(mark).ok()).map(Mark)
}

/// Whether the table with this fingerprint has as many rules as `plan` wants: what can be told without having loaded
/// it.
pub fn is_whole(plan: &Plan, fingerprint: &str) -> bool {
    let rules = ruleset(plan, Mark(1));
    let wanted = rules
        .lines()
        .filter(|line| line.starts_with("    ") && !line.starts_with("    type "));
    fingerprint.matches("{\"rule\":").count() == wanted.count()
}

/// The uids that asked for the metadata service while it was only observed.
pub fn seen() -> Result<Vec<u32>, ToolError> {
    let listed = json("nft", &["-j", "list", "set", "inet", TABLE, "seen"])?;
    let mut uids = vec![];
    collect_uids(&listed, &mut uids);
    Ok(uids)
}

fn enforcing(plan: &Plan, mark: Mark) -> String {
    let mut text = String::new();
    let _ = writeln!(
        text,
        "  chain output {{\n    type filter hook output priority 0; policy accept;"
    );
    for family in Family::ALL {
        let _ = writeln!(text, "    {} jump guard", daddr(family));
    }
    for elsewhere in SOURCE_ROUTED {
        let _ = writeln!(text, "    {elsewhere} jump guard");
    }
    if plan.capture == Capture::Nft {
        // Nobody reaches credd's port but through the redirect (H10).
        let port = plan.nft_port;
        let _ = writeln!(text, "    tcp dport {port} ct status dnat accept");
        let _ = writeln!(
            text,
            "    fib daddr type local tcp dport {port} counter reject with tcp reset"
        );
    }
    text.push_str("  }\n  chain guard {\n");
    if plan.capture == Capture::Route {
        // On its way to credd.
        text.push_str("    oifname \"lo\" accept\n");
    }
    text.push_str("    meta skuid @exempt accept\n");
    text.push_str(
        "    meta l4proto tcp counter reject with tcp reset\n    counter reject with icmpx type admin-prohibited\n  }\n",
    );
    text.push_str("  chain forward {\n    type filter hook forward priority 0; policy accept;\n");
    for network in &plan.containers {
        let (keyword, family) = if network.address.is_ipv4() {
            ("ip", Family::V4)
        } else {
            ("ip6", Family::V6)
        };
        let _ = writeln!(
            text,
            "    {keyword} saddr {network} {} {} accept",
            daddr(family),
            marked(mark)
        );
    }
    for family in Family::ALL {
        let _ = writeln!(text, "    {} counter drop", daddr(family));
    }
    for elsewhere in SOURCE_ROUTED {
        let _ = writeln!(text, "    {elsewhere} counter drop");
    }
    // The last that sees a packet, so that no firewall takes our mark for one of its own.
    text.push_str("  }\n  chain leave {\n    type filter hook postrouting priority 300; policy accept;\n");
    for family in Family::ALL {
        let _ = writeln!(text, "    {} meta skuid @exempt {}", daddr(family), marked(mark));
    }
    text.push_str("  }\n");
    if plan.capture == Capture::Nft {
        text.push_str("  chain to_credd {\n    type nat hook output priority -100; policy accept;\n");
        text.push_str("    meta skuid @exempt return\n");
        for family in Family::ALL {
            let _ = writeln!(
                text,
                "    {} tcp dport 80 redirect to :{}",
                daddr(family),
                plan.nft_port
            );
        }
        text.push_str("  }\n");
    }
    text
}

/// Nothing is stopped: who would have been captured is noted.
fn observing() -> String {
    let mut text = "  set seen { type uid; size 65535; flags dynamic,timeout; timeout 1d; }\n".to_owned();
    text.push_str("  chain output {\n    type filter hook output priority 0; policy accept;\n");
    for family in Family::ALL {
        let _ = writeln!(
            text,
            "    {} meta skuid != @exempt update @seen {{ meta skuid }}",
            daddr(family)
        );
    }
    text.push_str("  }\n");
    text
}

fn marked(mark: Mark) -> String {
    format!("meta mark set {:#010x}", mark.0)
}

fn daddr(family: Family) -> String {
    let keyword = if family == Family::V4 { "ip" } else { "ip6" };
    format!("{keyword} daddr {}", family.address())
}

fn strip(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            let is_seen = fields.get("name").and_then(Value::as_str) == Some("seen");
            let passing = ["handle", "counter", "metainfo"];
            fields.retain(|key, _| !(passing.contains(&key.as_str()) || is_seen && key == "elem"));
            fields.values_mut().for_each(strip);
        }
        Value::Array(items) => items.iter_mut().for_each(strip),
        _ => {}
    }
}

/// An element is `1000`, or `{"elem": {"val": 1000, "expires": …}}`.
fn collect_uids(value: &Value, uids: &mut Vec<u32>) {
    match value {
        Value::Object(fields) => {
            let elements = fields
                .get("elem")
                .into_iter()
                .flat_map(|elem| elem.as_array().into_iter().flatten());
            let uid = |element: &Value| element.pointer("/elem/val").unwrap_or(element).as_u64();
            uids.extend(elements.filter_map(|element| u32::try_from(uid(element)?).ok()));
            fields.values().for_each(|field| collect_uids(field, uids));
        }
        Value::Array(items) => items.iter().for_each(|item| collect_uids(item, uids)),
        _ => {}
    }
}

/// A packet that names its last stop in a header that nobody here looks into, and another address as its destination.
/// Any user may send one, and a router that follows such headers would bring it to the metadata service.
const SOURCE_ROUTED: [&str; 3] = ["exthdr rt exists", "ip option lsrr exists", "ip option ssrr exists"];

const TABLE: &str = "keymaker_credd";

#[cfg(test)]
mod tests {
    use super::*;
    use credd_core::accounts::LocalNames;
    use credd_core::config::Config;
    use test_folder::TestFolder;

    #[test]
    fn counts_and_handles_are_no_drift_and_a_changed_rule_is() {
        let listed = |packets: u64, target: &str| {
            let mut value = serde_json::json!({"nftables": [
                {"metainfo": {"version": packets}},
                {"set": {"name": "seen", "handle": packets, "elem": [packets]}},
                {"rule": {"handle": packets, "expr": [{"counter": {"packets": packets}}, {"jump": {"target": target}}]}},
            ]});
            strip(&mut value);
            value
        };
        assert_eq!(listed(1, "guard"), listed(2, "guard"));
        assert_ne!(listed(1, "guard"), listed(1, "other"));
    }

    // P14
    #[test]
    fn whoever_else_is_let_through_is_drift_and_whoever_was_seen_is_not() {
        let listed = |exempt: &[u32], seen: &[u32]| {
            let mut value = serde_json::json!({"nftables": [
                {"set": {"name": "exempt", "elem": exempt}},
                {"set": {"name": "seen", "elem": seen}},
            ]});
            strip(&mut value);
            value
        };
        assert_ne!(listed(&[0], &[]), listed(&[0, 1000], &[]));
        assert_eq!(listed(&[0], &[]), listed(&[0], &[1000]));
    }

    // P14
    #[test]
    fn a_table_with_a_rule_too_few_or_too_many_is_not_whole() {
        let folder = TestFolder::new();
        let accounts = LocalNames::new(
            folder.file("passwd", "root:x:0:0\n"),
            folder.file("group", "root:x:0:\n"),
        );
        for (text, rules) in [("", 16), ("capture = \"nft\"", 20), ("mode = \"observe\"", 2)] {
            let config = Config::parse(text, "credd.toml".as_ref()).unwrap();
            let plan = Plan::new(&config, &accounts).unwrap();
            let listed = |rules: usize| format!("[{}{{\"set\":{{}}}}]", "{\"rule\":{}},".repeat(rules));
            let whole: Vec<usize> = (0..40).filter(|rules| is_whole(&plan, &listed(*rules))).collect();
            assert_eq!(whole, [rules], "{text}");
        }
    }

    #[test]
    fn what_only_looks_notes_every_uid_that_is_not_exempt_in_both_families() {
        let config = Config::parse("mode = \"observe\"", "credd.toml".as_ref()).unwrap();
        let folder = TestFolder::new();
        let accounts = LocalNames::new(
            folder.file("passwd", "root:x:0:0\n"),
            folder.file("group", "root:x:0:\n"),
        );
        let mut plan = Plan::new(&config, &accounts).unwrap();
        plan.exempt = [0].into();
        let expected = "table inet keymaker_credd\ndelete table inet keymaker_credd\ntable inet keymaker_credd {\n  \
             set exempt { type uid; elements = { 0 }; }\n  \
             set seen { type uid; size 65535; flags dynamic,timeout; timeout 1d; }\n  \
             chain output {\n    type filter hook output priority 0; policy accept;\n    \
             ip daddr 169.254.169.254 meta skuid != @exempt update @seen { meta skuid }\n    \
             ip6 daddr fd00:ec2::254 meta skuid != @exempt update @seen { meta skuid }\n  }\n}\n";
        assert_eq!(ruleset(&plan, Mark(7)), expected);
    }

    // P14
    #[test]
    fn the_guard_stops_every_protocol_and_every_way_around_it_and_nothing_else() {
        let folder = TestFolder::new();
        let accounts = LocalNames::new(
            folder.file("passwd", "root:x:0:0\n"),
            folder.file("group", "root:x:0:\n"),
        );
        let mut plan = Plan::new(&Config::default(), &accounts).unwrap();
        plan.exempt = [0, 998].into();
        plan.containers = vec!["172.17.0.0/16".parse().unwrap()];
        let begin = "table inet keymaker_credd\ndelete table inet keymaker_credd\ntable inet keymaker_credd {\n  \
             set exempt { type uid; elements = { 0, 998 }; }\n";
        let output = |more: &str, first: &str| {
            format!(
                "  chain output {{\n    type filter hook output priority 0; policy accept;\n    \
                 ip daddr 169.254.169.254 jump guard\n    ip6 daddr fd00:ec2::254 jump guard\n    \
                 exthdr rt exists jump guard\n    ip option lsrr exists jump guard\n    ip option ssrr exists jump guard\n{more}  }}\n  \
                 chain guard {{\n{first}    meta skuid @exempt accept\n    meta l4proto tcp counter reject with tcp reset\n    \
                 counter reject with icmpx type admin-prohibited\n  }}\n"
            )
        };
        let forward = "  chain forward {\n    type filter hook forward priority 0; policy accept;\n    \
             ip saddr 172.17.0.0/16 ip daddr 169.254.169.254 meta mark set 0x00000007 accept\n    \
             ip daddr 169.254.169.254 counter drop\n    ip6 daddr fd00:ec2::254 counter drop\n    \
             exthdr rt exists counter drop\n    ip option lsrr exists counter drop\n    ip option ssrr exists counter drop\n  }\n  \
             chain leave {\n    type filter hook postrouting priority 300; policy accept;\n    \
             ip daddr 169.254.169.254 meta skuid @exempt meta mark set 0x00000007\n    \
             ip6 daddr fd00:ec2::254 meta skuid @exempt meta mark set 0x00000007\n  }\n";
        let route = output("", "    oifname \"lo\" accept\n");
        assert_eq!(ruleset(&plan, Mark(7)), format!("{begin}{route}{forward}}}\n"));
        plan.capture = Capture::Nft;
        let own_port = "    tcp dport 988 ct status dnat accept\n    fib daddr type local tcp dport 988 counter reject with tcp reset\n";
        let nft = output(own_port, "");
        let to_credd = "  chain to_credd {\n    type nat hook output priority -100; policy accept;\n    \
             meta skuid @exempt return\n    ip daddr 169.254.169.254 tcp dport 80 redirect to :988\n    \
             ip6 daddr fd00:ec2::254 tcp dport 80 redirect to :988\n  }\n";
        assert_eq!(ruleset(&plan, Mark(7)), format!("{begin}{nft}{forward}{to_credd}}}\n"));
    }

    // P14
    #[test]
    fn the_guard_does_what_the_file_says_and_no_more() {
        let folder = TestFolder::new();
        let accounts = LocalNames::new(
            folder.file("passwd", "root:x:0:0\n"),
            folder.file("group", "root:x:0:\n"),
        );
        let guard = |text: &str| {
            let config = Config::parse(text, "credd.toml".as_ref()).unwrap();
            ruleset(&Plan::new(&config, &accounts).unwrap(), Mark(7))
        };
        for (text, expected) in [
            ("exempt_uids = [33]", "elements = { 33 }"),
            (
                "containers = [\"172.17.0.0/16\"]",
                "ip saddr 172.17.0.0/16 ip daddr 169.254.169.254 meta mark set",
            ),
            ("capture = \"nft\"", "redirect to :988"),
            ("capture = \"nft\"\nnft_port = 77", "redirect to :77"),
        ] {
            assert!(
                guard(text).contains(expected) && !guard("").contains(expected),
                "{text}"
            );
        }
        // What only looks stops nobody.
        assert!(guard("").contains("reject") && !guard("mode = \"observe\"").contains("reject"));
    }

    #[test]
    fn the_mark_that_the_guard_gives_is_read_from_it() {
        let rule = |key: &str| {
            serde_json::json!({"rule": {"chain": "leave", "expr": [
                {"match": {"op": "==", "left": {"meta": {"key": "skuid"}}, "right": "@exempt"}},
                {"mangle": {"key": {"meta": {"key": key}}, "value": 843_659_202}}]}})
        };
        let listed =
            |key: &str| serde_json::json!({"nftables": [{"metainfo": {}}, {"chain": {"name": "leave"}}, rule(key)]});
        assert_eq!(mark_in(&listed("mark")), Some(Mark(843_659_202)));
        assert_eq!(mark_in(&listed("priority")), None);
        assert_eq!(mark_in(&serde_json::json!({"nftables": []})), None);
    }

    #[test]
    fn observed_uids_are_read_in_both_spellings() {
        let listed = serde_json::json!({"nftables": [{"set": {"name": "seen", "elem": [
            33, {"elem": {"val": 1000, "timeout": 86400, "expires": 5}}
        ]}}]});
        let mut uids = vec![];
        collect_uids(&listed, &mut uids);
        assert_eq!(uids, [33, 1000]);
    }
}
