//! May an IAM user log in here, as far as IAM's facts and the settings say? The holder of a name is judged in
//! `composition`.

use keymaker_core::directory_file::Verdict;

use crate::config::{KeymakerdConfig, Tag};
use crate::directory::facts::dates::day_after;
use crate::directory::facts::{Facts, UserFacts};
use crate::settings::EffectiveSettings;

/// The verdict at `now`, unix time.
pub fn by_facts(
    user: &UserFacts,
    facts: &Facts,
    config: &KeymakerdConfig,
    settings: &EffectiveSettings,
    now: u64,
) -> Verdict {
    if user.doubted_since.is_some() {
        return Verdict::Deleted;
    }
    if settings
        .require_iam_group
        .as_ref()
        .is_some_and(|required| !facts.is_member(user, required))
    {
        return Verdict::NotInRequiredGroup;
    }
    let expires = config
        .tags
        .contains(&Tag::Expires)
        .then(|| user.tag("expires"))
        .flatten();
    if expires.is_some_and(|date| day_after(date).is_none_or(|end| now >= end)) {
        return Verdict::Expired;
    }
    Verdict::Allowed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::facts::order::Asked;
    use crate::directory::iam::IamUser;
    use crate::settings::KeptSettings;

    fn expiring(date: &str) -> UserFacts {
        let alice = IamUser {
            id: "AIDAALICE".to_owned(),
            name: "alice".to_owned(),
            path: "/".to_owned(),
            created: 1,
            tags: Some(vec![("expires".to_owned(), date.to_owned())]),
            groups: None,
        };
        let mut facts = Facts::default();
        facts.learn_answers(&alice, &[], Asked::new(1, 1));
        facts.users.remove("AIDAALICE").unwrap()
    }

    // P7
    #[test]
    fn a_user_expires_after_the_last_day_and_by_an_unreadable_date() {
        const END: u64 = 1_798_761_600;
        let verdict = |expires: &str, settings: &str, now| {
            let config = KeymakerdConfig::parse(settings, "keymakerd.toml".as_ref()).unwrap();
            let in_force = EffectiveSettings::of(&config, &KeptSettings::default());
            by_facts(&expiring(expires), &Facts::default(), &config, &in_force, now)
        };
        let enabled = "tags = [\"expires\"]";
        assert_eq!(verdict("2026-12-31", enabled, END - 1), Verdict::Allowed);
        assert_eq!(verdict("2026-12-31", enabled, END), Verdict::Expired);
        assert_eq!(verdict("soon", enabled, 0), Verdict::Expired);
        assert_eq!(verdict("2026-12-31", "", END), Verdict::Allowed);
    }
}
