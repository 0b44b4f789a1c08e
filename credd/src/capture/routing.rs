//! Compares the routing rules and routes of one family with the plan, and puts right what differs.
//!
//! The keeper calls it. It only touches rules of our two priorities to the metadata address, and our own table.

use serde_json::Value;

use super::commands::{CommandError, json, run};
use super::plan::{Family, Guard, Plan, RoutingRule, TO_CREDD, TO_NOWHERE};
use crate::config::UidRange;

/// One thing that is not as planned, as the `ip` command that puts it right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repair(Vec<String>);

impl Repair {
    /// The command as an administrator would type it.
    pub fn line(&self) -> String {
        format!("ip {}", self.0.join(" "))
    }

    /// Runs it.
    pub fn apply(&self) -> Result<(), CommandError> {
        let arguments: Vec<&str> = self.0.iter().map(String::as_str).collect();
        run("ip", &arguments, "").map(|_| ())
    }
}

/// What differs from the plan in `family`, what is missing before what is too much.
pub fn drift(plan: &Plan, family: Family, guard: Guard) -> Result<Vec<Repair>, CommandError> {
    let wanted = plan.rules(guard);
    let present = ours(&json("ip", &[flag(family), "-json", "rule", "show"])?, family);
    let missing = wanted
        .iter()
        .filter(|rule| !present.contains(rule))
        .map(|rule| change("add", family, rule));
    let extra = present
        .iter()
        .filter(|rule| !wanted.contains(rule))
        .map(|rule| change("del", family, rule));
    let route = match (!wanted.iter().any(|rule| rule.priority == TO_CREDD), has_route(family)?) {
        (false, false) => Some(route("replace", family)),
        (true, true) => Some(route("del", family)),
        _ => None,
    };
    Ok(missing.chain(route).chain(extra).collect())
}

/// Everything that the plan needs in `family`, for showing.
pub fn all(plan: &Plan, family: Family) -> Vec<Repair> {
    let rules = plan.rules(Guard::Loaded);
    let route = (!rules.is_empty()).then(|| route("replace", family));
    rules
        .iter()
        .map(|rule| change("add", family, rule))
        .chain(route)
        .collect()
}

/// The rules of ours among all that `ip -json rule show` printed.
fn ours(printed: &Value, family: Family) -> Vec<RoutingRule> {
    let address = family.address().to_string();
    let rules = printed.as_array().into_iter().flatten();
    let to_service = rules.filter(|rule| rule.get("dst").and_then(Value::as_str) == Some(&address));
    to_service.filter_map(one_of_ours).collect()
}

fn one_of_ours(rule: &Value) -> Option<RoutingRule> {
    let number = |key: &str| u32::try_from(rule.get(key)?.as_u64()?).ok();
    let text = |key: &str| rule.get(key).and_then(Value::as_str);
    let priority = number("priority")?;
    let right = match priority {
        TO_CREDD => text("table") == Some(TABLE),
        TO_NOWHERE => text("action") == Some("prohibit"),
        _ => return None,
    };
    // A rule in our place that does something else is none of ours; what is missing is added beside it.
    right.then_some(RoutingRule {
        priority,
        uids: UidRange {
            first: number("uid_start")?,
            last: number("uid_end")?,
        },
    })
}

fn has_route(family: Family) -> Result<bool, CommandError> {
    let table = match json("ip", &[flag(family), "-json", "route", "show", "table", TABLE]) {
        Ok(table) => table,
        // A table comes into being with its first route.
        Err(CommandError::Failed(_, said)) if said.contains("FIB table does not exist") => return Ok(false),
        Err(error) => return Err(error),
    };
    let address = family.address().to_string();
    let is_ours = |route: &Value| {
        let text = |key: &str| route.get(key).and_then(Value::as_str);
        text("type") == Some("local") && text("dst") == Some(&address) && text("dev") == Some("lo")
    };
    Ok(table.as_array().is_some_and(|routes| routes.iter().any(is_ours)))
}

fn change(verb: &str, family: Family, rule: &RoutingRule) -> Repair {
    let target: &[&str] = if rule.priority == TO_CREDD {
        &["lookup", TABLE]
    } else {
        &["prohibit"]
    };
    let (priority, uids) = (
        rule.priority.to_string(),
        format!("{}-{}", rule.uids.first, rule.uids.last),
    );
    let address = family.address().to_string();
    let head = [
        flag(family),
        "rule",
        verb,
        "pref",
        &priority,
        "uidrange",
        &uids,
        "to",
        &address,
    ];
    Repair(head.iter().chain(target).map(|word| (*word).to_owned()).collect())
}

fn route(verb: &str, family: Family) -> Repair {
    let address = family.address().to_string();
    let source = if family == Family::V4 { "127.0.0.1" } else { "::1" };
    let words = [
        flag(family),
        "route",
        verb,
        "local",
        &address,
        "dev",
        "lo",
        "src",
        source,
        "table",
        TABLE,
    ];
    Repair(words.map(str::to_owned).into())
}

fn flag(family: Family) -> &'static str {
    match family {
        Family::V4 => "-4",
        Family::V6 => "-6",
    }
}

const TABLE: &str = "169";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_rules_that_do_what_ours_do_are_taken_for_ours() {
        let printed = serde_json::json!([
            {"priority": 0, "src": "all", "table": "local"},
            {"priority": 100, "src": "all", "dst": "169.254.169.254", "uid_start": 1, "uid_end": 997, "table": "169"},
            {"priority": 101, "src": "all", "dst": "169.254.169.254", "uid_start": 1, "uid_end": 997, "action": "prohibit"},
            {"priority": 100, "src": "all", "dst": "169.254.169.254", "uid_start": 1, "uid_end": 997, "table": "main"},
            {"priority": 100, "src": "all", "dst": "10.0.0.1", "uid_start": 1, "uid_end": 997, "table": "169"},
            {"priority": 99, "src": "all", "dst": "169.254.169.254", "uid_start": 1, "uid_end": 997, "table": "169"},
        ]);
        let uids = UidRange { first: 1, last: 997 };
        let expected = [TO_CREDD, TO_NOWHERE].map(|priority| RoutingRule { priority, uids });
        assert_eq!(ours(&printed, Family::V4), expected);
        assert_eq!(ours(&printed, Family::V6), []);
    }
}
