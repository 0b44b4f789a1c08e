//! What each kind of answer changes in the facts, and what no answer may change.

use super::*;
use crate::directory::iam::ssh_keys::CleanKey;

fn user(name: &str, id: &str) -> IamUser {
    IamUser {
        id: id.into(),
        name: name.into(),
        path: "/".into(),
        created: 1,
        tags: None,
        groups: None,
    }
}

fn listing(began: u64, users: &[(&str, &str)], everyone: bool) -> Listing {
    Listing {
        began,
        users: users.iter().map(|(name, id)| user(name, id)).collect(),
        everyone,
        groups: vec![group("keymaker_devs", "AGPA1")],
        members: BTreeMap::from([("AGPA1".to_owned(), members(began, "keymaker_devs", "AGPA1", &["AIDAA"]))]),
        unread: BTreeSet::new(),
        memberships: BTreeMap::new(),
    }
}

fn group(name: &str, id: &str) -> IamGroup {
    IamGroup {
        id: id.into(),
        name: name.into(),
        path: "/".into(),
        created: 1,
    }
}

fn members(asked_at: u64, name: &str, id: &str, users: &[&str]) -> Members {
    Members {
        asked_at,
        group: group(name, id),
        users: set(users),
    }
}

fn set(ids: &[&str]) -> BTreeSet<String> {
    ids.iter().map(ToString::to_string).collect()
}

/// Asked and answered at once.
fn at(time: u64) -> Asked {
    Asked::new(time, time)
}

/// Asked then, and answered when all others have been.
fn late(time: u64) -> Asked {
    Asked::new(time, 10_000)
}

fn found(asked_at: u64, user: IamUser) -> Sighting {
    Sighting {
        asked_at,
        found: Some(user),
    }
}

fn gone(asked_at: u64) -> Sighting {
    Sighting { asked_at, found: None }
}

fn many(count: usize) -> Vec<(String, String)> {
    (0..count).map(|n| (format!("user{n}"), format!("AIDA{n}"))).collect()
}

fn learned(users: &[(String, String)]) -> Facts {
    let users: Vec<(&str, &str)> = users.iter().map(|(name, id)| (name.as_str(), id.as_str())).collect();
    let mut facts = Facts::of_account("1".into());
    facts.learn_listing(&listing(100, &users, true), Vec::new(), 100);
    facts
}

fn pass_without_them(
    facts: &mut Facts,
    everyone: bool,
    now: u64,
    sighting: impl Fn(u64) -> Option<Sighting>,
) -> Vec<String> {
    let listing = listing(now, &[], everyone);
    let sightings = facts
        .missing_from(&listing, now)
        .into_iter()
        .filter_map(|(id, _)| Some((id, sighting(now)?)))
        .collect();
    facts.learn_listing(&listing, sightings, now)
}

// P3
#[test]
fn a_user_missing_from_a_listing_stays_until_iam_says_so_about_that_user() {
    let mut facts = learned(&many(2));
    assert!(pass_without_them(&mut facts, true, 200, |_| None).is_empty());
    assert_eq!(facts.users["AIDA0"].answered_at, 100);
    assert!(
        pass_without_them(&mut facts, true, 300, |now| Some(found(now, user("user0", "AIDA0"))))
            .contains(&"AIDA1".to_owned())
    );
    assert_eq!(facts.users.keys().collect::<Vec<_>>(), ["AIDA0"]);
    assert_eq!(
        pass_without_them(&mut facts, true, 400, |now| Some(gone(now))),
        ["AIDA0"]
    );
}

// P3
#[test]
fn without_a_listing_of_everyone_two_answers_ten_seconds_apart_are_needed() {
    let mut facts = learned(&many(1));
    assert!(pass_without_them(&mut facts, false, 200, |now| Some(gone(now))).is_empty());
    assert_eq!(facts.users["AIDA0"].doubted_since, Some(200));
    assert!(pass_without_them(&mut facts, false, 209, |now| Some(gone(now))).is_empty());
    assert_eq!(
        pass_without_them(&mut facts, false, 210, |now| Some(gone(now))),
        ["AIDA0"]
    );
}

// P3
#[test]
fn many_users_vanishing_at_once_wait_for_a_second_pass_but_may_not_log_in() {
    let mut facts = learned(&many(20));
    assert!(pass_without_them(&mut facts, true, 200, |now| Some(gone(now))).is_empty());
    assert!(facts.users.values().all(|user| user.doubted_since == Some(200)));
    assert_eq!(
        pass_without_them(&mut facts, true, 300, |now| Some(gone(now))).len(),
        20
    );
}

#[test]
fn a_user_seen_again_is_doubted_no_longer() {
    let mut facts = learned(&many(1));
    facts.learn_gone("user0", at(200));
    assert_eq!(facts.users["AIDA0"].doubted_since, Some(200));
    facts.learn_answers(&user("user0", "AIDA0"), &[], at(205));
    assert_eq!(
        (facts.users["AIDA0"].doubted_since, facts.users["AIDA0"].answered_at),
        (None, 205)
    );
}

// P2
#[test]
fn a_user_made_again_under_the_same_name_is_another_and_the_first_is_doubted() {
    let mut facts = learned(&many(1));
    facts.learn_answers(&user("user0", "AIDANEW"), &[], at(200));
    assert_eq!(facts.users["AIDA0"].doubted_since, Some(200));
    assert_eq!(facts.user_named("user0").map(|(id, _)| id.as_str()), Some("AIDANEW"));
}

// P9
#[test]
fn a_pass_that_began_before_a_nudge_does_not_undo_what_the_nudge_learned() {
    let mut facts = Facts::of_account("1".into());
    facts.learn_answers(&user("alice", "AIDAA"), &[], at(150));
    facts.learn_gone("alice", at(151));
    facts.learn_listing(&listing(100, &[("alice", "AIDAA")], true), Vec::new(), 160);
    assert_eq!(
        (facts.users["AIDAA"].groups.len(), facts.users["AIDAA"].doubted_since),
        (0, Some(151))
    );
}

#[test]
fn memberships_follow_the_groups_that_were_asked_for_and_deleted_groups_go() {
    let mut facts = Facts::of_account("1".into());
    facts.learn_listing(
        &listing(100, &[("alice", "AIDAA"), ("bob", "AIDAB")], true),
        Vec::new(),
        100,
    );
    assert_eq!(facts.users["AIDAA"].groups, set(&["AGPA1"]));
    let bobs = [group("keymaker_devs", "AGPA1"), group("deleted", "AGPA2")];
    facts.learn_answers(&user("bob", "AIDAB"), &bobs, at(150));
    assert_eq!(facts.users["AIDAB"].groups, set(&["AGPA1", "AGPA2"]));
    facts.learn_listing(
        &listing(200, &[("alice", "AIDAA"), ("bob", "AIDAB")], true),
        Vec::new(),
        200,
    );
    assert_eq!(
        facts.users["AIDAB"].groups,
        set(&["AGPA1"]),
        "IAM has not said that bob left"
    );
    assert_eq!(facts.users["AIDAB"].answered_at, 200);
}

fn in_devs(pass: u64, memberships: Option<Option<BTreeSet<String>>>) -> Facts {
    let mut facts = Facts::of_account("1".into());
    let users = [("alice", "AIDAA"), ("bob", "AIDAB")];
    facts.learn_listing(&listing(100, &users, true), Vec::new(), 100);
    facts.learn_answers(&user("bob", "AIDAB"), &[group("keymaker_devs", "AGPA1")], at(110));
    let mut second = listing(pass, &users, true);
    assert_eq!(
        facts.members_missing_from(&second.members),
        [("AIDAB".to_owned(), "bob".to_owned())]
    );
    let told = |groups| Memberships { asked_at: pass, groups };
    second.memberships = memberships
        .map(|groups| ("AIDAB".to_owned(), groups.map(told)))
        .into_iter()
        .collect();
    facts.learn_listing(&second, Vec::new(), pass);
    facts
}

// P3
#[test]
fn a_membership_missing_from_a_groups_listing_stays_until_iam_says_so_about_that_user() {
    let unanswered = in_devs(200, Some(None));
    let bob = &unanswered.users["AIDAB"];
    assert_eq!((bob.groups.len(), bob.answered_at), (1, 110));
    assert_eq!(unanswered.users["AIDAA"].answered_at, 200);
    let gone = in_devs(200, Some(Some(BTreeSet::new())));
    let bob = &gone.users["AIDAB"];
    assert_eq!((bob.groups.len(), bob.answered_at), (0, 200));
}

// P3 P9
#[test]
fn somebody_taken_back_into_a_group_is_in_it_five_seconds_later_however_many_passes_came_meanwhile() {
    for by_pass in [true, false] {
        let mut facts = in_devs(200, Some(Some(BTreeSet::new())));
        let mut turns = Vec::new();
        for time in [202, 204, 206, 208] {
            let mut pass = listing(time, &[("alice", "AIDAA"), ("bob", "AIDAB")], true);
            let back = set(&["AIDAA", "AIDAB"]);
            pass.members.get_mut("AGPA1").expect("it is listed").users = back;
            facts.learn_listing(&pass, Vec::new(), time);
            if !by_pass {
                facts.learn_answers(&user("bob", "AIDAB"), &[group("keymaker_devs", "AGPA1")], at(time));
            }
            turns.push(facts.is_member(&facts.users["AIDAB"], "keymaker_devs"));
        }
        assert_eq!(turns, [false, false, true, true]);
    }
}

// P3 P9
#[test]
fn a_refusal_between_two_answers_that_let_in_is_the_one_that_the_next_is_compared_with() {
    let devs = || set(&["AGPA1"]);
    let mut facts = in_devs(200, Some(Some(BTreeSet::new())));
    facts.learn_memberships("AIDAB", &devs(), late(203));
    facts.learn_memberships("AIDAB", &set(&[]), late(204));
    facts.learn_memberships("AIDAB", &devs(), late(208));
    assert!(!facts.is_member(&facts.users["AIDAB"], "keymaker_devs"));
    facts.learn_members(&members(209, "keymaker_devs", "AGPA1", &["AIDAA"]), late(209));
    facts.learn_memberships("AIDAB", &devs(), late(213));
    assert!(!facts.is_member(&facts.users["AIDAB"], "keymaker_devs"));
    facts.learn_memberships("AIDAB", &devs(), late(214));
    assert!(facts.is_member(&facts.users["AIDAB"], "keymaker_devs"));
}

// P3
#[test]
fn the_members_of_a_group_that_iam_does_not_tell_grow_old_and_nobody_else() {
    let mut facts = Facts::of_account("1".into());
    let users = [("alice", "AIDAA"), ("bob", "AIDAB")];
    facts.learn_listing(&listing(100, &users, true), Vec::new(), 100);
    let mut second = listing(200, &users, true);
    second.members.clear();
    second.unread = set(&["AGPA1"]);
    facts.learn_listing(&second, Vec::new(), 200);
    let times = ["AIDAA", "AIDAB"].map(|id| facts.users[id].answered_at);
    assert_eq!((times, facts.users["AIDAA"].groups.len()), ([100, 200], 1));
}

// P3
#[test]
fn a_group_missing_from_the_listing_is_to_be_asked_for() {
    let mut facts = Facts::of_account("1".into());
    let whole = listing(100, &[], true);
    facts.learn_listing(&whole, Vec::new(), 100);
    assert!(facts.groups_missing_from(&whole.groups).is_empty());
    let missing = facts.groups_missing_from(&[]);
    assert_eq!(
        (missing[0].id.as_str(), missing[0].name.as_str()),
        ("AGPA1", "keymaker_devs")
    );
}

// P3 P9
#[test]
fn what_is_known_from_the_future_counts_for_nothing() {
    let mut facts = learned(&many(1));
    facts.learn_gone("user0", at(100));
    let listing = listing(50, &[("renamed", "AIDA0")], true);
    facts.learn_listing(&listing, Vec::new(), 51);
    let user = &facts.users["AIDA0"];
    assert_eq!(
        (user.name.as_str(), user.doubted_since, user.answered_at),
        ("renamed", None, 50)
    );
}

/// Every order in which these may arrive.
fn orders<T: Copy>(answers: &[T]) -> Vec<Vec<T>> {
    let [first, rest @ ..] = answers else {
        return vec![Vec::new()];
    };
    let shorter = orders(rest);
    let longer = shorter.iter().flat_map(|order| {
        (0..=order.len()).map(|place| {
            let mut order = order.clone();
            order.insert(place, *first);
            order
        })
    });
    longer.collect()
}

// P3 P9
#[test]
fn of_answers_about_one_user_the_later_asked_counts_in_whatever_order_they_arrive() {
    let devs = [group("keymaker_devs", "AGPA1")];
    for order in orders(&[
        (100, true, true),
        (110, true, false),
        (120, false, false),
        (130, true, true),
    ]) {
        for last in 0..order.len() {
            let mut facts = Facts::of_account("1".into());
            facts.learn_answers(&user("alice", "AIDAA"), &[], late(50));
            for (asked_at, present, member) in &order[..=last] {
                match (present, member) {
                    (false, _) => drop(facts.learn_gone("alice", late(*asked_at))),
                    (true, true) => drop(facts.learn_answers(&user("alice", "AIDAA"), &devs, late(*asked_at))),
                    (true, false) => drop(facts.learn_answers(&user("alice", "AIDAA"), &[], late(*asked_at))),
                }
            }
            let latest = order[..=last].iter().max().unwrap();
            let alice = &facts.users["AIDAA"];
            let of_present = order[..=last].iter().filter(|(_, present, _)| *present).max();
            assert_eq!(alice.doubted_since.is_none(), latest.1, "{:?}", &order[..=last]);
            let member = of_present.is_some_and(|(_, _, member)| *member);
            assert_eq!(facts.is_member(alice, "keymaker_devs"), member, "{:?}", &order[..=last]);
        }
    }
}

// P3 P9
#[test]
fn of_answers_within_five_seconds_the_more_refusing_one_counts_and_iam_is_asked_again() {
    let devs = [group("keymaker_devs", "AGPA1")];
    for member_first in [true, false] {
        let mut facts = Facts::of_account("1".into());
        facts.learn_answers(
            &user("alice", "AIDAA"),
            if member_first { &devs } else { &[] },
            late(100),
        );
        facts.learn_answers(
            &user("alice", "AIDAA"),
            if member_first { &[] } else { &devs },
            late(103),
        );
        let alice = &facts.users["AIDAA"];
        assert!(!facts.is_member(alice, "keymaker_devs") && alice.ask_again);
        // However many answers come in between, five seconds after the refusal a later one counts.
        let refused_at = if member_first { 103 } else { 100 };
        facts.learn_answers(&user("alice", "AIDAA"), &devs, late(104));
        facts.learn_answers(&user("alice", "AIDAA"), &devs, late(refused_at + 5));
        let alice = &facts.users["AIDAA"];
        assert!(facts.is_member(alice, "keymaker_devs") && !alice.ask_again);
    }
    for gone_first in [true, false] {
        let mut facts = learned(&many(1));
        for gone in [gone_first, !gone_first] {
            if gone {
                facts.learn_gone("user0", late(200));
            } else {
                facts.learn_answers(&user("user0", "AIDA0"), &[], late(203));
            }
        }
        let refused = &facts.users["AIDA0"];
        assert!(refused.doubted_since.is_some() && refused.ask_again);
    }
}

// P3 P9
#[test]
fn an_end_of_access_that_one_of_two_answers_within_five_seconds_knows_counts() {
    let tagged = |tags: &[(&str, &str)]| IamUser {
        tags: Some(
            tags.iter()
                .map(|(tag, value)| (tag.to_string(), value.to_string()))
                .collect(),
        ),
        ..user("alice", "AIDAA")
    };
    let ends = |one: &[(&str, &str)], other: &[(&str, &str)]| {
        let mut facts = Facts::of_account("1".into());
        facts.learn_answers(&tagged(one), &[], late(100));
        facts.learn_answers(&tagged(other), &[], late(102));
        let alice = &facts.users["AIDAA"];
        assert!(alice.ask_again);
        (
            alice.tag("expires").map(str::to_owned),
            alice.tag("keymaker:ssh-key-1").is_some(),
        )
    };
    let key = ("keymaker:ssh-key-1", "ssh-ed25519 AAAA");
    assert_eq!(
        ends(&[("expires", "2026-01-01")], &[key]),
        (Some("2026-01-01".into()), false)
    );
    assert_eq!(
        ends(&[key], &[("expires", "2026-01-01"), key]),
        (Some("2026-01-01".into()), true)
    );
    let two_ends = [("expires", "2027-01-01")];
    assert_eq!(
        ends(&two_ends, &[("expires", "2026-01-01")]).0,
        Some("2026-01-01".into())
    );
    assert_eq!(ends(&two_ends, &[("expires", "soon")]).0, Some("soon".into()));
}

// P3
#[test]
fn a_listing_removes_a_user_only_five_seconds_after_their_own_answer() {
    let mut facts = Facts::of_account("1".into());
    facts.learn_answers(&user("new", "AIDANEW"), &[], at(100));
    for (began, missing) in [(96, 0), (104, 0), (105, 1)] {
        assert_eq!(
            facts.missing_from(&listing(began, &[], true), 110).len(),
            missing,
            "{began}"
        );
    }
}

// P2
#[test]
fn a_group_whose_name_another_one_has_now_gives_nothing() {
    let mut facts = Facts::of_account("1".into());
    facts.learn_answers(&user("alice", "AIDAA"), &[group("keymaker_devs", "AGPA1")], at(100));
    facts.learn_answers(&user("bob", "AIDAB"), &[group("keymaker_devs", "AGPA2")], at(200));
    let is_member = |facts: &Facts, id| facts.is_member(&facts.users[id], "keymaker_devs");
    assert!(!is_member(&facts, "AIDAA") && is_member(&facts, "AIDAB"));
    // Asked earlier, arrived later.
    facts.learn_answers(&user("alice", "AIDAA"), &[group("keymaker_devs", "AGPA1")], late(150));
    assert!(!is_member(&facts, "AIDAA") && is_member(&facts, "AIDAB"));
    // Within five seconds nobody can tell whose the name is.
    facts.learn_answers(&user("alice", "AIDAA"), &[group("keymaker_devs", "AGPA1")], late(203));
    assert!(!is_member(&facts, "AIDAA") && !is_member(&facts, "AIDAB"));
    facts.learn_answers(&user("bob", "AIDAB"), &[group("keymaker_devs", "AGPA2")], late(210));
    assert!(!is_member(&facts, "AIDAA") && is_member(&facts, "AIDAB"));
}

// P2
#[test]
fn a_member_of_a_renamed_group_waits_for_iam_to_confirm_it() {
    let (ops, sudo) = (group("keymaker_ops", "AGPA1"), group("keymaker_sudo", "AGPA1"));
    let mut facts = Facts::of_account("1".into());
    for (name, id) in [("alice", "AIDAA"), ("bob", "AIDAB")] {
        facts.learn_answers(&user(name, id), std::slice::from_ref(&ops), at(100));
    }
    let groups = |facts: &Facts, id| -> Vec<String> {
        let user = &facts.users[id];
        assert_eq!(facts.is_in(user, "AGPA1"), facts.groups_of(user).next().is_some());
        facts.groups_of(user).map(|group| group.name.clone()).collect()
    };
    // bob left, then the group was renamed.
    facts.learn_answers(&user("alice", "AIDAA"), std::slice::from_ref(&sudo), at(200));
    assert_eq!(groups(&facts, "AIDAA"), ["keymaker_sudo"]);
    assert_eq!(groups(&facts, "AIDAB"), [""; 0]);
    // A pass cannot ask about him.
    let mut pass = listing(300, &[("alice", "AIDAA"), ("bob", "AIDAB")], true);
    pass.groups = vec![sudo.clone()];
    let told = members(300, "keymaker_sudo", "AGPA1", &["AIDAA"]);
    pass.members = BTreeMap::from([("AGPA1".to_owned(), told)]);
    pass.memberships = BTreeMap::from([("AIDAB".to_owned(), None)]);
    facts.learn_listing(&pass, Vec::new(), 300);
    assert_eq!(groups(&facts, "AIDAA"), ["keymaker_sudo"]);
    assert_eq!(groups(&facts, "AIDAB"), [""; 0]);
    // Asked before, answered now.
    facts.learn_answers(&user("bob", "AIDAB"), std::slice::from_ref(&ops), late(190));
    assert_eq!(groups(&facts, "AIDAB"), [""; 0]);
    // He joins again.
    facts.learn_answers(&user("bob", "AIDAB"), &[sudo], at(400));
    assert_eq!(groups(&facts, "AIDAB"), ["keymaker_sudo"]);
}

// P2
#[test]
fn a_group_renamed_while_listed_gives_its_new_name_to_later_members_only() {
    let (ops, sudo) = (group("keymaker_ops", "AGPA1"), group("keymaker_sudo", "AGPA1"));
    let mut facts = Facts::of_account("1".into());
    let mut pass = listing(100, &[("alice", "AIDAA"), ("bob", "AIDAB")], true);
    // On two pages, with bob's groups told before.
    pass.groups = vec![ops, sudo.clone()];
    pass.members = BTreeMap::new();
    let told = |asked_at, groups| Some(Memberships { asked_at, groups });
    pass.memberships = BTreeMap::from([("AIDAB".to_owned(), told(101, set(&["AGPA1"])))]);
    facts.learn_listing(&pass, Vec::new(), 103);
    // He has left by now, and another member is asked about.
    facts.learn_answers(&user("alice", "AIDAA"), &[sudo], at(110));
    let is_member = |id| facts.is_member(&facts.users[id], "keymaker_sudo");
    assert!(is_member("AIDAA") && !is_member("AIDAB"));
}

fn listed(keys: &[(&str, bool)]) -> ListedKeys {
    let body = |id: &str| CleanKey {
        line: format!("ssh-rsa {id}"),
        fingerprint: id.to_owned(),
    };
    ListedKeys {
        active: keys.iter().map(|(id, active)| (id.to_string(), *active)).collect(),
        bodies: keys.iter().map(|(id, _)| (id.to_string(), Ok(body(id)))).collect(),
    }
}

fn usable(facts: &Facts, id: &str) -> Vec<String> {
    let keys = facts.users[id].keys.iter().flat_map(KeyFacts::usable);
    keys.map(|(id, _)| id.clone()).collect()
}

// P9
#[test]
fn of_answers_about_keys_the_later_asked_counts_and_within_five_seconds_the_more_refusing_one() {
    for order in orders(&[(100, true), (110, false), (120, true), (122, false)]) {
        let mut facts = learned(&many(1));
        for (asked_at, active) in &order {
            facts.learn_keys("AIDA0", listed(&[("APKA1", *active)]), late(*asked_at));
        }
        assert_eq!(usable(&facts, "AIDA0"), [""; 0], "{order:?}");
        facts.learn_keys("AIDA0", listed(&[("APKA1", true)]), late(127));
        assert_eq!(usable(&facts, "AIDA0"), ["APKA1"], "{order:?}");
    }
}

// P9
#[test]
fn a_key_whose_body_is_missing_keeps_no_other_key_active() {
    let mut facts = learned(&many(1));
    facts.learn_keys("AIDA0", listed(&[("APKA1", true), ("APKA2", true)]), at(100));
    let mut answer = listed(&[("APKA1", false), ("APKA2", true), ("APKA3", true)]);
    answer.bodies.clear();
    facts.learn_keys("AIDA0", answer, at(200));
    assert_eq!(usable(&facts, "AIDA0"), ["APKA2"]);
    assert!(facts.users["AIDA0"].keys.as_ref().is_some_and(|keys| keys.ask_again));
}

// P2
#[test]
fn a_key_known_as_one_users_is_nobody_elses() {
    let mut facts = learned(&many(2));
    facts.learn_keys("AIDA0", listed(&[("APKA1", true)]), at(100));
    assert_eq!(facts.learn_keys("AIDA1", listed(&[("APKA1", true)]), at(200)), None);
    // One of the two answers was wrong: neither opens anything until IAM has been asked again.
    assert!(usable(&facts, "AIDA0").is_empty() && usable(&facts, "AIDA1").is_empty());
    assert_eq!(
        facts.learn_keys("AIDA0", listed(&[("APKA1", true)]), at(300)),
        Some(true)
    );
    assert_eq!(usable(&facts, "AIDA0"), ["APKA1"]);
}

// P2
#[test]
fn what_version_0_1_kept_is_read_and_asked_for_again() {
    let kept = r#"{"account": "1", "awaiting_second_pass": [],
        "groups": {"AGPA1": {"name": "keymaker_devs", "created": 1}, "AGPA2": {"name": "keymaker_sudo", "created": 1}},
        "users": {"AIDAA": {"name": "alice", "path": "/", "created": 1, "tags": null, "tags_answered_at": 0,
            "groups": ["keymaker_devs", "AGPA2", "deleted"], "doubted_since": null, "answered_at": 0, "last_login": null,
            "keys": {"answered_at": 3, "published_at": 3, "by_id": {"APKA1": {"active": true, "body":
                {"Ok": {"line": "ssh-rsa AAAA", "fingerprint": "x"}}}}}}}}"#;
    let facts: Facts = serde_json::from_str(kept).unwrap();
    let facts = facts.since_contact(Some(100));
    let alice = &facts.users["AIDAA"];
    assert_eq!(alice.groups, set(&["AGPA1"]), "the name of a group is no GroupId");
    assert_eq!((alice.answered_at, alice.seen_at), (100, 100));
    assert_eq!(usable(&facts, "AIDAA"), ["APKA1"]);
    assert!(!alice.keys.as_ref().unwrap().recognizes(&listed(&[("APKA1", true)])));
    let again = serde_json::to_string(&facts.as_of_contact(Some(100))).unwrap();
    let again: Facts = serde_json::from_str(&again).unwrap();
    assert_eq!(again.since_contact(Some(100)).users["AIDAA"].groups, set(&["AGPA1"]));
}

// P6
#[test]
fn somebody_created_since_a_groups_members_were_told_is_in_it_at_once() {
    let learned = |created| {
        let mut facts = Facts::default();
        facts.learn_listing(&listing(100, &[], true), Vec::new(), 100);
        let dave = IamUser {
            created,
            ..user("dave", "AIDAD")
        };
        facts.learn_answers(&dave, &[group("keymaker_devs", "AGPA1")], at(102));
        let dave = &facts.users["AIDAD"];
        (dave.groups.clone(), dave.answered_at, dave.ask_again)
    };
    assert_eq!(learned(101), (set(&["AGPA1"]), 102, false));
    // Who was there before may just have been taken out.
    assert_eq!(learned(50), (set(&[]), 102, true));
}

// P2
#[test]
fn two_groups_with_one_name_within_five_seconds_give_nothing() {
    let mut facts = Facts::of_account("1".into());
    facts.learn_answers(&user("alice", "AIDAA"), &[group("keymaker_devs", "AGPA1")], at(100));
    facts.learn_answers(&user("bob", "AIDAB"), &[group("keymaker_devs", "AGPA2")], at(103));
    for id in ["AIDAA", "AIDAB"] {
        assert!(!facts.is_member(&facts.users[id], "keymaker_devs"), "{id}");
    }
}

// P2
#[test]
fn a_dispute_about_a_groups_name_ends_after_five_seconds() {
    let mut facts = Facts::of_account("1".into());
    let mut learn = |name: &str, time| {
        facts.learn_answers(&user("alice", "AIDAA"), &[group(name, "AGPA1")], at(time));
        facts.groups["AGPA1"].disputed
    };
    let disputed = [
        ("keymaker_ops", 100),
        ("keymaker_sudo", 103),
        ("keymaker_sudo", 105),
        ("keymaker_sudo", 107),
        ("keymaker_sudo", 108),
    ]
    .map(|(name, time)| learn(name, time));
    assert_eq!(disputed, [false, true, true, true, false]);
}

// P2
#[test]
fn whoever_was_in_a_group_that_is_renamed_is_asked_about_again_and_nobody_else() {
    let mut facts = Facts::of_account("1".into());
    let ops = [group("keymaker_ops", "AGPA1")];
    for (name, id, groups) in [
        ("alice", "AIDAA", &ops[..]),
        ("bob", "AIDAB", &ops),
        ("carol", "AIDAC", &[]),
    ] {
        facts.learn_answers(&user(name, id), groups, at(100));
    }
    facts.users.get_mut("AIDAC").unwrap().ask_again = true;
    facts.learn_answers(&user("dave", "AIDAD"), &[group("keymaker_sudo", "AGPA1")], at(200));
    let known = ["AIDAA", "AIDAB", "AIDAC"].map(|id| (facts.users[id].groups.len(), facts.users[id].ask_again));
    assert_eq!(known, [(0, true); 3], "an order to ask about carol was forgotten");
    let dave = &facts.users["AIDAD"];
    assert!(facts.is_member(dave, "keymaker_sudo") && !dave.ask_again);
}

// P3
#[test]
fn of_two_names_within_five_seconds_the_later_counts_for_now() {
    for answers in [[("former", 100), ("present", 103)], [("present", 103), ("former", 100)]] {
        let mut facts = Facts::of_account("1".into());
        for (name, asked_at) in answers {
            facts.learn_answers(&user(name, "AIDAA"), &[], late(asked_at));
        }
        let user = &facts.users["AIDAA"];
        assert_eq!((user.name.as_str(), user.ask_again), ("present", true), "{answers:?}");
    }
}

// P3
#[test]
fn few_vanished_users_go_at_once_and_many_wait_for_a_pass() {
    for (vanished, known, wait) in [
        (10, 10, false),
        (11, 43, true),
        (11, 44, false),
        (12, 47, true),
        (20, 60, true),
    ] {
        let mut facts = learned(&many(known));
        let kept: Vec<(String, String)> = many(known).split_off(vanished);
        let kept: Vec<(&str, &str)> = kept.iter().map(|(name, id)| (name.as_str(), id.as_str())).collect();
        let sightings = (0..vanished).map(|n| (format!("AIDA{n}"), gone(200))).collect();
        let removed = facts.learn_listing(&listing(200, &kept, true), sightings, 200);
        assert_eq!(removed.len(), if wait { 0 } else { vanished }, "{vanished} of {known}");
    }
}

// P3
#[test]
fn an_answer_older_than_the_contact_is_no_younger_after_a_restart() {
    let mut facts = Facts::of_account("1".into());
    for (name, id, asked_at) in [("alice", "AIDAA", 50), ("bob", "AIDAB", 150)] {
        facts.learn_answers(&user(name, id), &[group("keymaker_devs", "AGPA1")], at(asked_at));
    }
    let restarted = facts.as_of_contact(Some(100)).since_contact(Some(100));
    let times = ["AIDAA", "AIDAB"].map(|id| (restarted.users[id].answered_at, restarted.users[id].seen_at));
    assert_eq!(times, [(50, 50), (100, 100)]);
    assert_eq!(restarted.account.as_deref(), Some("1"));
    // Nor where there was no contact at all, or it was lost.
    let restarted = facts.as_of_contact(None).since_contact(Some(1_000));
    assert_eq!(restarted.users["AIDAB"].answered_at, 150);
}

// P2
#[test]
fn a_list_of_keys_is_a_users_by_one_key_of_theirs() {
    let recognizes = |known: &[(&str, bool)], answer: &[(&str, bool)]| {
        let mut facts = learned(&many(1));
        facts.learn_keys("AIDA0", listed(known), at(100));
        let keys = facts.users["AIDA0"].keys.as_ref().unwrap();
        keys.recognizes(&listed(answer))
    };
    let (one, other) = (("APKA1", true), ("APKA2", true));
    assert!(recognizes(&[], &[]) && recognizes(&[one], &[one, other]));
    // Somebody else may have the name by now: these would be that person's keys, or the lack of any.
    assert!(!recognizes(&[], &[one]) && !recognizes(&[one], &[]) && !recognizes(&[one], &[other]));
}

// What is not news is not written to disk; what is not said to be news reaches nobody before the next pass.
#[test]
fn an_answer_is_news_where_it_changes_anything_but_times() {
    let mut facts = Facts::of_account("1".into());
    let alice = IamUser {
        tags: Some(Vec::new()),
        ..user("alice", "AIDAA")
    };
    let (ops, devs) = (group("keymaker_ops", "AGPA1"), group("keymaker_devs", "AGPA2"));
    let mut time = 100;
    let mut learn = |facts: &mut Facts, user: &IamUser, groups: &[IamGroup]| {
        time += 100;
        facts.learn_answers(user, groups, at(time))
    };
    assert!(learn(&mut facts, &alice, std::slice::from_ref(&ops)), "somebody new");
    assert!(!learn(&mut facts, &alice, std::slice::from_ref(&ops)), "only the time");
    facts.users.get_mut("AIDAA").unwrap().ask_again = true;
    assert!(
        !learn(&mut facts, &alice, std::slice::from_ref(&ops)),
        "an order to ask"
    );
    assert!(learn(&mut facts, &alice, &[ops.clone(), devs.clone()]), "a group more");
    assert!(!learn(&mut facts, &alice, &[ops, devs.clone()]), "only the time");
    let ops = group("keymaker_ops2", "AGPA1");
    assert!(learn(&mut facts, &alice, &[ops.clone(), devs]), "a group's name");
    assert!(learn(&mut facts, &alice, std::slice::from_ref(&ops)), "a group less");
    // A group created again under the name of one that nobody looked at meanwhile.
    let anew = group("keymaker_devs", "AGPA3");
    assert!(learn(&mut facts, &alice, &[ops.clone(), anew.clone()]), "a new group");
    assert!(
        !learn(&mut facts, &alice, &[ops.clone(), anew.clone()]),
        "only the time"
    );
    let bob = user("bob", "AIDAB");
    assert!(learn(&mut facts, &bob, std::slice::from_ref(&ops)), "a second user");
    let taken = group("keymaker_devs", "AGPA1");
    assert!(learn(&mut facts, &bob, &[taken]), "a group's name is another's");
    let renamed = user("bob", "AIDAA");
    assert!(
        learn(&mut facts, &renamed, &[ops, anew]),
        "somebody's name is another's"
    );
    assert!(facts.learn_gone("bob", late(5_000)) && !facts.learn_gone("bob", late(6_000)));
    // That somebody has no keys is news once, too.
    let keys = [100, 200].map(|time| facts.learn_keys("AIDAA", listed(&[]), at(time)));
    assert_eq!(keys, [Some(true), Some(false)]);
}

// P9
#[test]
fn tags_that_were_asked_for_earlier_and_arrive_later_take_no_end_of_access_away() {
    let tagged = |tags: &[(&str, &str)]| IamUser {
        tags: Some(
            tags.iter()
                .map(|(tag, value)| (tag.to_string(), value.to_string()))
                .collect(),
        ),
        ..user("alice", "AIDAA")
    };
    let mut facts = Facts::of_account("1".into());
    facts.learn_answers(&tagged(&[("expires", "2026-01-01")]), &[], late(110));
    facts.learn_answers(&tagged(&[]), &[], late(100));
    assert_eq!(facts.users["AIDAA"].tag("expires"), Some("2026-01-01"));
}

// P9
#[test]
fn a_key_that_was_inactive_opens_five_seconds_after_that_answer_however_many_came_meanwhile() {
    let mut facts = learned(&many(1));
    for (asked_at, active, opens) in [(100, false, 0), (103, true, 0), (104, true, 0), (105, true, 1)] {
        facts.learn_keys("AIDA0", listed(&[("APKA1", active)]), late(asked_at));
        assert_eq!(usable(&facts, "AIDA0").len(), opens, "{asked_at}");
    }
}
