//! Whom this host has published. Called by completion, `keymaker doctor` and `keymaker why`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use keymaker_core::directory_file::{Directory, MAX_USER_RECORD, User};
use keymaker_core::name::UserName;
use keymaker_core::paths;

use super::HostError;

/// The names of everybody whom this host has published.
pub fn published_names() -> Result<Vec<String>, HostError> {
    of_each_published(|user| user.name.to_string())
}

/// What is to be known of each of them.
pub fn of_each_published<T>(known: impl Fn(&User<'_>) -> T) -> Result<Vec<T>, HostError> {
    let unreadable = |error| HostError::unreadable(paths::DIRECTORY, &error);
    let directory = Directory::open_whole(Path::new(paths::DIRECTORY)).map_err(unreadable)?;
    let mut buffer = [0; MAX_USER_RECORD];
    let mut all = Vec::new();
    let mut from = 0;
    while let Some((next, user)) = directory.next_user(from, &mut buffer).map_err(unreadable)? {
        from = next;
        if !user.tombstone {
            all.push(known(&user));
        }
    }
    Ok(all)
}

/// What somebody typed, and the login name of whom it means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameTyped {
    /// A name in IAM or a login name, with capitals of its own.
    pub typed: String,
    /// The name here.
    pub name: UserName,
}

/// Whom what was typed means: a user's name in IAM, or the login name, whatever is capital in it. Who typed a login name as it is knows it.
pub fn meant_by(typed: &BTreeSet<&str>) -> Result<Vec<NameTyped>, HostError> {
    let small: BTreeMap<String, &str> = typed.iter().map(|typed| (typed.to_ascii_lowercase(), *typed)).collect();
    if small.is_empty() {
        return Ok(Vec::new());
    }
    let meant = of_each_published(|user| means(&small, user.iam_user_name, user.name))?;
    Ok(meant.into_iter().flatten().collect())
}

/// IAM takes no two names that differ by capitals alone.
fn means(small: &BTreeMap<String, &str>, iam_user_name: &str, name: UserName) -> Option<NameTyped> {
    let typed = small
        .get(&iam_user_name.to_ascii_lowercase())
        .or_else(|| small.get(name.as_str()))
        .filter(|typed| **typed != name.as_str())?;
    Some(NameTyped {
        typed: (*typed).to_owned(),
        name,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_typed_means_who_has_it_for_a_name_whatever_is_capital_in_it() {
        let meant = |typed: &str| {
            let small = BTreeMap::from([(typed.to_ascii_lowercase(), typed)]);
            let users = [
                ("Emil@example.com", "emil"),
                ("John.Doe", "john.doe"),
                ("alice", "alice"),
            ];
            let mut named = users.map(|(iam, name)| means(&small, iam, UserName::parse(name.as_bytes()).unwrap()));
            named
                .iter_mut()
                .find_map(Option::take)
                .map(|meant| meant.name.to_string())
        };
        for (typed, name) in [
            ("Emil@example.com", Some("emil")),
            ("emil@Example.COM", Some("emil")),
            ("EMIL", Some("emil")),
            ("John.Doe", Some("john.doe")),
            ("Alice", Some("alice")),
            // They are no mistakes.
            ("alice", None),
            ("emil", None),
            ("Mallory", None),
            ("Alice;reboot", None),
            ("Alice from 192.0.2.1", None),
            ("", None),
        ] {
            assert_eq!(meant(typed).as_deref(), name, "{typed}");
        }
    }
}
