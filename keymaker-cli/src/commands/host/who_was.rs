//! `keymaker who-was ID`: whose a number is or was, a user's or a group's, from the published directory and, for root, from
//! keymakerd's map, which never forgets one. The directory has every user who is or has been on this host.

use std::path::Path;

use keymaker_core::directory_file::{Directory, MAX_USER_RECORD};
use keymaker_core::paths;
use serde_json::{Value, json};

use super::HostError;
use super::get::MAX_GROUP_RECORD;
use crate::output::Output;

/// Prints who has or had this uid.
pub fn run(uid: u32, output: &Output) -> Result<(), HostError> {
    let unreadable = |error| HostError::unreadable(paths::DIRECTORY, &error);
    let directory = Directory::open(Path::new(paths::DIRECTORY)).map_err(unreadable)?;
    let mut buffer = [0; MAX_USER_RECORD];
    let owner = match directory.user_by_uid(uid, &mut buffer).map_err(unreadable)? {
        Some(user) => json!({
            "uid": uid,
            "name": user.name.as_str(),
            "iam_user_id": user.iam_user_id,
            "iam_user_name": (!user.iam_user_name.is_empty()).then_some(user.iam_user_name),
            "present": !user.tombstone,
        }),
        None => match present_group(&directory, uid)? {
            // Whose number of today it is, and then who else had it.
            Some(group) => group,
            None => in_map(uid)?.ok_or(HostError::NobodyHad(uid))?,
        },
    };
    let text = |key: &str| owner.get(key).and_then(Value::as_str).unwrap_or_default();
    let now = match owner.get("present") {
        Some(Value::Bool(true)) => "is",
        _ => "was, and no longer is on this host",
    };
    let (number, of_whom, iam_id) = match owner.get("gid") {
        Some(_) => ("gid", "the group ", format!("IAM group id {}", text("iam_group_id"))),
        None => ("uid", "", format!("IAM user id {}", text("iam_user_id"))),
    };
    let known = if iam_id.ends_with(' ') {
        String::new()
    } else {
        format!(" ({iam_id})")
    };
    let line = format!("{number} {uid} {now} {of_whom}{}{known}", text("name"));
    output.print(&line, &owner);
    Ok(())
}

/// The group that has this number now, with its id in IAM where root asks.
fn present_group(directory: &Directory, gid: u32) -> Result<Option<Value>, HostError> {
    let unreadable = |error| HostError::unreadable(paths::DIRECTORY, &error);
    let mut buffer = vec![0; MAX_GROUP_RECORD];
    let Some(group) = directory.group_by_gid(gid, &mut buffer).map_err(unreadable)? else {
        return Ok(None);
    };
    let kept = in_map(gid)?.unwrap_or_default();
    let iam_group_id = kept.get("iam_group_id").cloned().unwrap_or_default();
    Ok(Some(
        json!({ "gid": gid, "name": group.name.as_str(), "iam_group_id": iam_group_id, "present": true }),
    ))
}

/// Who had this number and is not published, by ids.json; only root may read that.
fn in_map(id: u32) -> Result<Option<Value>, HostError> {
    Ok(map()?.and_then(|map| owner_in(&map, id)))
}

/// ids.json; `None` where this process may not read it.
pub fn map() -> Result<Option<Value>, HostError> {
    let path = Path::new(paths::PRIVATE).join("ids.json");
    let unreadable = |error: &dyn std::fmt::Display| HostError::unreadable(&path.display().to_string(), error);
    let bytes = match std::fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => return Ok(None),
        Err(error) => return Err(unreadable(&error)),
    };
    serde_json::from_slice(&bytes)
        .map(Some)
        .map_err(|error| unreadable(&error))
}

/// Who has this number, and who had it only where nobody has; a number that was handed on is its present group's.
fn owner_in(map: &Value, id: u32) -> Option<Value> {
    let holds = |kept: &Value| {
        let list = |key: &str| kept.get(key).and_then(Value::as_array).into_iter().flatten();
        let handed_on = list("handed_on").any(|number| *number == id);
        !handed_on && list("former").chain(kept.get("id")).any(|number| *number == id)
    };
    let (iam_id, kept) = map.get("kept")?.as_object()?.iter().find(|(_, kept)| holds(kept))?;
    let name = last_name(kept);
    Some(match kept.get("kind").and_then(Value::as_str)? {
        "group" => json!({ "gid": id, "name": name, "iam_group_id": iam_id, "present": false }),
        _ => json!({ "uid": id, "name": name, "iam_user_id": iam_id, "iam_user_name": null, "present": false }),
    })
}

/// The Unix name that an entry of the map had last.
pub fn last_name(kept: &Value) -> Option<&str> {
    kept.get("names")?.as_array()?.last()?.as_str()
}

/// The groups that were made again in IAM under one name: the name, the number of today, and a former one.
pub fn groups_made_again(map: &Value, present: impl Fn(&str) -> Option<u32>) -> Vec<(String, u32, u32)> {
    let kept = map.get("kept").and_then(Value::as_object);
    let groups = kept.into_iter().flatten().map(|(_, kept)| kept);
    let groups = groups.filter(|kept| kept.get("kind").and_then(Value::as_str) == Some("group"));
    let former = groups.filter_map(|kept| {
        let name = last_name(kept)?;
        let number = u32::try_from(kept.get("id")?.as_u64()?).ok()?;
        let handed_on = kept.get("handed_on").and_then(Value::as_array);
        let is_handed_on = handed_on.is_some_and(|numbers| numbers.iter().any(|handed_on| *handed_on == number));
        let now = present(name).filter(|now| *now != number && !is_handed_on)?;
        Some((name.to_owned(), now, number))
    });
    former.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_who_was_never_here_is_found_in_the_map_by_every_number() {
        let map = json!({ "kept": {
            "AIDA1": { "kind": "user", "id": 2001, "former": [2000], "created": 1, "names": ["old", "dave"] },
            "AGPA1": { "kind": "group", "id": 2002, "created": 1, "names": ["devs"] },
        }, "holders": {} });
        for uid in [2000, 2001] {
            let owner = owner_in(&map, uid).unwrap();
            assert_eq!(
                (owner["name"].as_str(), owner["iam_user_id"].as_str()),
                (Some("dave"), Some("AIDA1"))
            );
        }
        assert!(owner_in(&map, 2003).is_none());
    }

    #[test]
    fn a_group_is_found_and_one_that_was_made_again_until_its_number_is_handed_on() {
        let mut map = json!({ "kept": {
            "AGPA1": { "kind": "group", "id": 2001, "created": 1, "names": ["devs"] },
            "AGPA2": { "kind": "group", "id": 2002, "created": 2, "names": ["devs"] },
            "AGPA3": { "kind": "group", "id": 2003, "created": 2, "names": ["gone"] },
        }, "holders": {} });
        assert_eq!(owner_in(&map, 2001).unwrap()["iam_group_id"], "AGPA1");
        let present = |name: &str| (name == "devs").then_some(2002);
        assert_eq!(groups_made_again(&map, present), [("devs".to_owned(), 2002, 2001)]);
        map["kept"]["AGPA1"]["handed_on"] = json!([2001]);
        map["kept"]["AGPA2"]["former"] = json!([2002]);
        map["kept"]["AGPA2"]["id"] = json!(2001);
        assert_eq!(owner_in(&map, 2001).unwrap()["iam_group_id"], "AGPA2");
        assert!(groups_made_again(&map, |name| (name == "devs").then_some(2001)).is_empty());
    }
}
