//! `keymaker who-was UID`: whose a number is or was, from the published directory and, for root, from keymakerd's map,
//! which never forgets one. The directory has everybody who is or has been on this host.

use std::path::Path;

use keymaker_core::directory_file::{Directory, MAX_USER_RECORD};
use keymaker_core::paths;
use serde_json::{Value, json};

use super::HostError;
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
        None => in_map(uid)?.ok_or(HostError::NobodyHad(uid))?,
    };
    let text = |key: &str| owner.get(key).and_then(Value::as_str).unwrap_or_default();
    let now = match owner.get("present") {
        Some(Value::Bool(true)) => "is",
        _ => "was, and no longer is on this host",
    };
    let line = format!("uid {uid} {now} {} (IAM user id {})", text("name"), text("iam_user_id"));
    output.print(&line, &owner);
    Ok(())
}

/// Who had this uid and was never here, by ids.json; only root may read that.
fn in_map(uid: u32) -> Result<Option<Value>, HostError> {
    let path = Path::new(paths::PRIVATE).join("ids.json");
    let unreadable = |error: &dyn std::fmt::Display| HostError::unreadable(&path.display().to_string(), error);
    let bytes = match std::fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => return Ok(None),
        Err(error) => return Err(unreadable(&error)),
    };
    let map: Value = serde_json::from_slice(&bytes).map_err(|error| unreadable(&error))?;
    Ok(owner_in(&map, uid))
}

fn owner_in(map: &Value, uid: u32) -> Option<Value> {
    let had = |kept: &&Value| {
        let former = kept.get("former").and_then(Value::as_array).into_iter().flatten();
        let mut numbers = former.chain(kept.get("id"));
        kept.get("kind").and_then(Value::as_str) == Some("user") && numbers.any(|number| *number == uid)
    };
    let (iam_user_id, kept) = map.get("kept")?.as_object()?.iter().find(|(_, kept)| had(kept))?;
    let name = kept
        .get("names")
        .and_then(Value::as_array)
        .and_then(|names| names.last());
    Some(json!({ "uid": uid, "name": name, "iam_user_id": iam_user_id, "iam_user_name": null, "present": false }))
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
        assert!(owner_in(&map, 2002).is_none() && owner_in(&map, 2003).is_none());
    }
}
