//! The third part of capture: a filter at the way out of every device, which drops what goes to the metadata addresses
//! without our mark.
//!
//! The guard marks what exempt users send, when nothing else will see it any more; what it has not judged has no mark.
//! So the filter closes where rules, routes or nftables are gone, all of them at once included, and outlives the
//! keeper. It also sees what never passes this host's own stack: links of containers and machines at a device of the
//! host's (macvlan, ipvlan, macvtap), and a bridge over it. The keeper compares it; it is not a reason to give no
//! credentials where it cannot be put up, since two parts stand before it.
//!
//! Why tc(8), and not another thing that no flush touches (`owner` and tc's other classifiers were tried on Linux 6.18
//! with nft 1.0.6; the rest is what their documentation says):
//! - `nft flush ruleset` empties netdev tables, too. A table with the flag `owner` outlives it, and ends with the
//!   process that holds it, so that a flush and a killed keeper open; the flag `persist` needs Linux 6.9.
//! - A prohibition in the main table does not count for an IPv4 socket bound to a device, is gone with the rule that
//!   leads to that table, and an exempt user needs a copy of the way to the service, which DHCP changes.
//! - systemd's `IPAddressDeny=` knows no uid, so `sudo aws` is denied with its user, and no device, so that what is on
//!   its way to credd is denied with all else. An own program at a cgroup needs `CAP_BPF`, and sees nothing that is
//!   forwarded or bridged.
//! - A classic program at clsact needs `CAP_NET_ADMIN`, Linux 4.5 and iproute2: what the other parts need. It cannot
//!   ask who owns a packet, hence the mark.
//!
//! What names its last stop in a header (source routes) the filter does not see; the guard does.

use credd_core::config::CaptureMode;
use credd_core::plan::Plan;
use serde_json::{Deserializer, Value};

use super::commands::{ToolError, json, run};
use super::guard;
use super::mark::Mark;
use super::repair::Repair;

/// What it means where the filters cannot be put up, and what to do.
pub const MISSING: &str = "the third part of capture is missing, the filter at the way out of each device: routing \
     and the guard keep users from the real service, but anything that has a link of its own at a device (macvlan, \
     ipvlan, a bridge over it) reaches it. tc(8) must run (the package iproute2, or iproute-tc), the kernel needs cls_bpf, and no device may have a qdisc of the kind ingress \
     (use clsact in its place): then systemctl restart credd-capture";

impl Mark {
    /// The one that the filters go by now, so that a new keeper changes nothing; where they cannot be read, the
    /// guard's, or anybody who is exempt would lose their way. Else a random one: in a network namespace of their own
    /// people choose marks, and a macvlan carries them here.
    pub fn in_force() -> Self {
        let filters = filters(&with_filters().unwrap_or_default());
        let marks = filters.iter().flat_map(|(_, found)| found).map(|filter| filter.mark);
        let first = marks.min_by_key(|mark| mark.0);
        first.or_else(guard::mark).unwrap_or_else(Self::random)
    }
}

/// What is said of filters that were left out because there is no guard.
pub const NO_GUARD: &str = "the filters at the way out of each device wait for the nftables table keymaker_credd: without what it marks they would \
     keep keymakerd, credd and root from the metadata service, too";

/// What differs from the plan, what is missing before what is too much.
pub fn drift(plan: &Plan, mark: Mark) -> Result<Vec<Repair>, ToolError> {
    let have = with_filters()?;
    let present = filters(&have);
    let wanted = match plan.mode {
        CaptureMode::Enforce => running(&json("ip", &["-json", "link", "show", "up"])?),
        CaptureMode::Observe => vec![],
    };
    let is_there = |device: &String| {
        let of_device = present.iter().filter(|(name, _)| name == device);
        of_device.flat_map(|(_, found)| found).any(|filter| filter.mark == mark)
    };
    let missing = wanted.iter().filter(|device| !is_there(device)).flat_map(|device| {
        let place = (!have.contains(device)).then(|| repair(&format!("qdisc add dev {device} clsact"), None));
        let filter = repair(
            &format!("filter add dev {device} egress protocol all bpf da bytecode"),
            Some(bytecode(mark)),
        );
        place.into_iter().chain([filter])
    });
    let extra = present.iter().flat_map(|(device, found)| {
        let unwanted = found
            .iter()
            .filter(|filter| filter.mark != mark || !wanted.contains(device));
        unwanted.map(move |Filter { pref, handle, .. }| {
            repair(
                &format!("filter del dev {device} egress pref {pref} protocol all handle {handle} bpf"),
                None,
            )
        })
    });
    Ok(missing.chain(extra).collect())
}

/// Whether any device has a filter of ours.
pub fn is_up() -> bool {
    filters(&with_filters().unwrap_or_default())
        .iter()
        .any(|(_, found)| !found.is_empty())
}

/// Everything that the plan needs, for showing.
pub fn all(plan: &Plan, mark: Mark) -> Vec<Repair> {
    drift(plan, mark).unwrap_or_default()
}

/// One filter of ours.
#[derive(Debug, PartialEq, Eq)]
struct Filter {
    pref: u64,
    handle: String,
    mark: Mark,
}

fn repair(words: &str, last: Option<String>) -> Repair {
    Repair::new("tc", words.split(' ').map(str::to_owned).chain(last), false)
}

/// The devices that a packet of a user can leave by.
fn running(printed: &Value) -> Vec<String> {
    let links = printed.as_array().into_iter().flatten();
    let names = links.filter_map(|link| link.get("ifname")?.as_str());
    names.filter(|name| *name != "lo").map(str::to_owned).collect()
}

/// The devices that have a place for filters.
fn with_filters() -> Result<Vec<String>, ToolError> {
    let printed = json("tc", &["-json", "qdisc", "show"])?;
    let clsact = printed
        .as_array()
        .into_iter()
        .flatten()
        .filter(|qdisc| qdisc.get("kind").and_then(Value::as_str) == Some("clsact"));
    let names = clsact.filter_map(|qdisc| qdisc.get("dev")?.as_str());
    Ok(names.map(str::to_owned).collect())
}

/// The filters of ours at each of these devices. One that goes away meanwhile has none.
fn filters(devices: &[String]) -> Vec<(String, Vec<Filter>)> {
    let show = |device: &String| format!("filter show dev {device} egress\n");
    let at_once: String = devices.iter().map(show).collect();
    let printed = run("tc", &["-json", "-batch", "-"], &at_once).unwrap_or_default();
    let lists: Vec<Value> = Deserializer::from_slice(&printed).into_iter().flatten().collect();
    let of_each = devices.iter().enumerate().map(|(index, device)| {
        let list = if lists.len() == devices.len() {
            lists.get(index).cloned()
        } else {
            json("tc", &["-json", "filter", "show", "dev", device, "egress"]).ok()
        };
        (device.clone(), list.map(|list| ours(&list)).unwrap_or_default())
    });
    of_each.collect()
}

/// Those among all that `tc -json filter show` printed that do what ours do, whatever their mark.
fn ours(printed: &Value) -> Vec<Filter> {
    let one_of_ours = |filter: &Value| {
        let options = filter.get("options")?;
        let is_verdict = options.get("direct-action").and_then(Value::as_bool) == Some(true);
        let instructions = options.pointer("/bytecode/insns")?.as_array()?;
        let number = |at: &Value, key: &str| at.get(key)?.as_u64();
        let code: Option<Vec<[u64; 4]>> = instructions
            .iter()
            .map(|at| {
                Some([
                    number(at, "code")?,
                    number(at, "jt")?,
                    number(at, "jf")?,
                    number(at, "k")?,
                ])
            })
            .collect();
        let code = code?;
        let [.., [_, _, _, mark], _, _] = *code else {
            return None;
        };
        let mark = Mark(u32::try_from(mark).ok()?);
        (is_verdict && code == program(mark)).then_some(Filter {
            pref: number(filter, "pref")?,
            handle: options.get("handle")?.as_str()?.to_owned(),
            mark,
        })
    };
    printed
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(one_of_ours)
        .collect()
}

/// As tc takes it.
fn bytecode(mark: Mark) -> String {
    let program = program(mark);
    let line = |[code, if_so, if_not, value]: &[u64; 4]| format!("{code} {if_so} {if_not} {value}");
    let lines: Vec<String> = program.iter().map(line).collect();
    format!("{},{}", lines.len(), lines.join(","))
}

/// What is to be done with a packet, `linux/filter.h`'s way: code, instructions to skip if so, if not, value. It reads
/// the frame itself, since what the kernel takes its protocol to be a raw socket says, and looks behind the tags of
/// VLANs: one of VLAN 0 is none to anybody who gets the frame. Linux goes on behind any number of them; what has three
/// goes nowhere, whatever it is.
fn program(mark: Mark) -> [[u64; 4]; 35] {
    [
        // Ethernet? Its header is 14 bytes long, and each tag another 4.
        [LOAD_HALF, 0, 0, HARDWARE_TYPE],
        [IF_EQUAL, 0, 14, 1],
        [LOAD_X, 0, 0, 14],
        [LOAD_HALF, 0, 0, 12],
        [IF_EQUAL, 1, 0, TAG],
        [IF_EQUAL, 0, 8, OUTER_TAG],
        [LOAD_X, 0, 0, 18],
        [LOAD_HALF, 0, 0, 16],
        [IF_EQUAL, 1, 0, TAG],
        [IF_EQUAL, 0, 4, OUTER_TAG],
        [LOAD_X, 0, 0, 22],
        [LOAD_HALF, 0, 0, 20],
        [IF_EQUAL, 18, 0, TAG],
        [IF_EQUAL, 17, 0, OUTER_TAG],
        [IF_EQUAL, 6, 0, 0x0800],
        [IF_EQUAL, 7, 18, 0x86dd],
        // A device without such a header (a tunnel): its packets say what they are.
        [LOAD_X, 0, 0, 0],
        [LOAD_BYTE, 0, 0, 0],
        [AND, 0, 0, 0xf0],
        [IF_EQUAL, 1, 0, 0x40],
        [IF_EQUAL, 2, 13, 0x60],
        // To 169.254.169.254?
        [LOAD_WORD_AT_X, 0, 0, 16],
        [IF_EQUAL, 8, 11, 0xa9fe_a9fe],
        // To fd00:ec2::254?
        [LOAD_WORD_AT_X, 0, 0, 24],
        [IF_EQUAL, 0, 9, 0xfd00_0ec2],
        [LOAD_WORD_AT_X, 0, 0, 28],
        [IF_EQUAL, 0, 7, 0],
        [LOAD_WORD_AT_X, 0, 0, 32],
        [IF_EQUAL, 0, 5, 0],
        [LOAD_WORD_AT_X, 0, 0, 36],
        [IF_EQUAL, 0, 3, 0x0254],
        // Without our mark it goes nowhere.
        [LOAD_WORD, 0, 0, MARK],
        [IF_EQUAL, 1, 0, mark.0 as u64],
        [RETURN, 0, 0, DROP],
        // The next filter is asked.
        [RETURN, 0, 0, NO_VERDICT],
    ]
}

/// `linux/bpf_common.h`.
const LOAD_WORD: u64 = 0x20;
const LOAD_HALF: u64 = 0x28;
const LOAD_BYTE: u64 = 0x30;
const LOAD_WORD_AT_X: u64 = 0x40;
const LOAD_X: u64 = 0x01;
const AND: u64 = 0x54;
const IF_EQUAL: u64 = 0x15;
const RETURN: u64 = 0x06;
/// `linux/filter.h`: `SKF_AD_OFF` with `SKF_AD_MARK` and `SKF_AD_HATYPE`.
const MARK: u64 = 0xffff_f000 + 20;
const HARDWARE_TYPE: u64 = 0xffff_f000 + 28;
/// `linux/if_ether.h`: `ETH_P_8021Q` and `ETH_P_8021AD`.
const TAG: u64 = 0x8100;
const OUTER_TAG: u64 = 0x88a8;
/// `linux/pkt_cls.h`: `TC_ACT_SHOT` and `TC_ACT_UNSPEC`.
const DROP: u64 = 2;
const NO_VERDICT: u64 = 0xffff_ffff;

#[cfg(test)]
mod tests {
    use super::*;

    /// What the program says of a frame: the kernel's rules for the few instructions that it has.
    fn verdict(frame: &[u8], hardware_type: u64, mark: u64) -> u64 {
        let program = program(Mark(7));
        let (mut at, mut a, mut x) = (0, 0, 0);
        let load = |from: u64, length: u64| -> Option<u64> {
            let bytes = frame.get(from as usize..(from + length) as usize)?;
            Some(bytes.iter().fold(0, |value, byte| value << 8 | u64::from(*byte)))
        };
        loop {
            let [code, if_so, if_not, value] = program[at];
            at += 1;
            let loaded = match (code, value) {
                (LOAD_HALF, HARDWARE_TYPE) => Some(hardware_type),
                (LOAD_WORD, MARK) => Some(mark),
                (LOAD_HALF, from) => load(from, 2),
                (LOAD_BYTE, from) => load(from, 1),
                (LOAD_WORD_AT_X, from) => load(x + from, 4),
                (AND, bits) => Some(a & bits),
                (LOAD_X, value) => {
                    x = value;
                    Some(a)
                }
                (IF_EQUAL, value) => {
                    at += if a == value { if_so } else { if_not } as usize;
                    Some(a)
                }
                (RETURN, value) => return value,
                _ => panic!("an instruction that is not known: {code}"),
            };
            // What is not there to be loaded ends the program, and the packet passes.
            let Some(loaded) = loaded else { return 0 };
            a = loaded;
        }
    }

    const ETHERNET: u64 = 1;
    const TUNNEL: u64 = 65_534;

    fn packets() -> Vec<(Vec<u8>, [u8; 2], bool)> {
        let v4 = |to: [u8; 4]| [&[0x45][..], &[0; 15], &to].concat();
        let v6 = |to: &str| {
            let to: std::net::Ipv6Addr = to.parse().unwrap();
            [&[0x60][..], &[0; 23], &to.octets()].concat()
        };
        let (ip, ipv6) = ([0x08, 0x00], [0x86, 0xdd]);
        vec![
            (v4([169, 254, 169, 254]), ip, true),
            (v4([169, 254, 169, 253]), ip, false),
            (v4([169, 254, 170, 2]), ip, false),
            (v4([10, 0, 0, 1]), ip, false),
            (v6("fd00:ec2::254"), ipv6, true),
            (v6("fd00:ec2::253"), ipv6, false),
            (v6("fd00:ec2::1:254"), ipv6, false),
            (v6("fd00:ec2:0:1::254"), ipv6, false),
            (v6("fd00:ec2:0:0:1::254"), ipv6, false),
            (v6("fd00:ec3::254"), ipv6, false),
            (v6("::1"), ipv6, false),
        ]
    }

    // P14
    #[test]
    fn what_goes_to_a_metadata_address_without_our_mark_is_dropped_and_nothing_else() {
        for (packet, kind, is_to_service) in packets() {
            let frame = [&[2; 12][..], &kind, &packet].concat();
            for mark in [0, 1, 6, 8, 0xffff_ffff] {
                let wanted = if is_to_service { DROP } else { NO_VERDICT };
                assert_eq!(verdict(&frame, ETHERNET, mark), wanted, "{packet:?} {mark}");
                assert_eq!(verdict(&packet, TUNNEL, mark), wanted, "{packet:?} {mark}");
            }
            assert_eq!(verdict(&frame, ETHERNET, 7), NO_VERDICT);
            assert_eq!(verdict(&packet, TUNNEL, 7), NO_VERDICT);
        }
        let arp = [&[2; 12][..], &[0x08, 0x06], &[0; 28]].concat();
        assert_eq!(verdict(&arp, ETHERNET, 0), NO_VERDICT);
    }

    // P14
    #[test]
    fn behind_the_tags_of_vlans_it_sees_the_same() {
        let (inner, outer) = ([0x81, 0x00, 0x00, 0x05], [0x88, 0xa8, 0x00, 0x00]);
        let arp = (vec![0; 28], [0x08, 0x06], false);
        for (packet, kind, is_to_service) in packets().into_iter().chain([arp]) {
            for tags in [
                &[inner][..],
                &[outer],
                &[inner, inner],
                &[outer, inner],
                &[outer, outer],
                &[inner, outer],
            ] {
                let frame = [&[2; 12][..], &tags.concat(), &kind, &packet].concat();
                let wanted = if is_to_service { DROP } else { NO_VERDICT };
                assert_eq!(verdict(&frame, ETHERNET, 0), wanted, "{packet:?} {tags:?}");
                assert_eq!(verdict(&frame, ETHERNET, 7), NO_VERDICT, "{packet:?} {tags:?}");
                for third in [inner, outer] {
                    let frame = [&[2; 12][..], &tags.concat(), &third, &kind, &packet].concat();
                    let wanted = if tags.len() == 2 || is_to_service {
                        DROP
                    } else {
                        NO_VERDICT
                    };
                    assert_eq!(verdict(&frame, ETHERNET, 0), wanted, "{packet:?} {tags:?} {third:?}");
                }
            }
        }
    }

    /// As tc 6.1 prints it.
    fn printed(program: &[[u64; 4]], verdict: bool) -> Value {
        let instructions: Vec<Value> = program
            .iter()
            .map(|[code, jt, jf, k]| serde_json::json!({"code": code, "jt": jt, "jf": jf, "k": k}))
            .collect();
        let mut options = serde_json::json!({"handle": "0x1", "not_in_hw": true,
            "bytecode": {"length": instructions.len(), "insns": instructions}});
        if verdict {
            options["direct-action"] = true.into();
        }
        serde_json::json!([{"protocol": "all", "pref": 49152, "kind": "bpf", "chain": 0},
            {"protocol": "all", "pref": 49152, "kind": "bpf", "chain": 0, "options": options}])
    }

    // P14
    #[test]
    fn only_a_filter_that_does_what_ours_does_is_taken_for_ours() {
        let whole = program(Mark(7));
        let found = ours(&printed(&whole, true));
        let expected = Filter {
            pref: 49_152,
            handle: "0x1".to_owned(),
            mark: Mark(7),
        };
        assert_eq!(found, [expected]);
        assert_eq!(ours(&printed(&whole, false)), []);
        assert_eq!(ours(&printed(&whole[1..], true)), []);
        assert_eq!(ours(&printed(&[], true)), []);
        for index in 0..whole.len() {
            for field in 0..4 {
                let mut other = whole;
                other[index][field] += 1;
                let is_another_mark = (index, field) == (32, 3);
                assert_eq!(ours(&printed(&other, true)).len(), usize::from(is_another_mark));
            }
        }
    }
}
