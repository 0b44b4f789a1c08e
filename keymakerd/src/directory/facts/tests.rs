//! What each kind of answer changes in the facts, and what no answer may change.

use super::*;

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
        groups: vec![IamGroup {
            id: "AGPA1".into(),
            name: "keymaker_devs".into(),
            path: "/".into(),
            created: 1,
        }],
        members: BTreeMap::from([("keymaker_devs".to_owned(), BTreeSet::from(["alice".to_owned()]))]),
        memberships: BTreeMap::new(),
    }
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

fn pass_without_them(facts: &mut Facts, everyone: bool, now: u64, sighting: impl Fn() -> Sighting) -> Vec<String> {
    let listing = listing(now, &[], everyone);
    let sightings = facts
        .missing_from(&listing)
        .into_iter()
        .map(|(id, _)| (id, sighting()))
        .collect();
    facts.learn_listing(&listing, sightings, now)
}

// P3
#[test]
fn a_user_missing_from_a_listing_stays_until_iam_says_so_about_that_user() {
    let mut facts = learned(&many(2));
    assert!(pass_without_them(&mut facts, true, 200, || Sighting::Unanswered).is_empty());
    assert_eq!(facts.users["AIDA0"].answered_at, 100);
    assert!(
        pass_without_them(&mut facts, true, 300, || Sighting::Found(user("user0", "AIDA0")))
            .contains(&"AIDA1".to_owned())
    );
    assert_eq!(facts.users.keys().collect::<Vec<_>>(), ["AIDA0"]);
    assert_eq!(pass_without_them(&mut facts, true, 400, || Sighting::Gone), ["AIDA0"]);
}

// P3
#[test]
fn without_a_listing_of_everyone_two_answers_ten_seconds_apart_are_needed() {
    let mut facts = learned(&many(1));
    assert!(pass_without_them(&mut facts, false, 200, || Sighting::Gone).is_empty());
    assert_eq!(facts.users["AIDA0"].doubted_since, Some(200));
    assert!(pass_without_them(&mut facts, false, 209, || Sighting::Gone).is_empty());
    assert_eq!(pass_without_them(&mut facts, false, 210, || Sighting::Gone), ["AIDA0"]);
}

// P3
#[test]
fn many_users_vanishing_at_once_wait_for_a_second_pass_but_may_not_log_in() {
    let mut facts = learned(&many(20));
    assert!(pass_without_them(&mut facts, true, 200, || Sighting::Gone).is_empty());
    assert!(facts.users.values().all(|user| user.doubted_since == Some(200)));
    assert_eq!(pass_without_them(&mut facts, true, 300, || Sighting::Gone).len(), 20);
}

#[test]
fn a_user_seen_again_is_doubted_no_longer() {
    let mut facts = learned(&many(1));
    facts.learn_gone("user0", 200);
    assert_eq!(facts.users["AIDA0"].doubted_since, Some(200));
    facts.learn_answers(&user("user0", "AIDA0"), &[], 201, 201);
    assert_eq!(
        (facts.users["AIDA0"].doubted_since, facts.users["AIDA0"].answered_at),
        (None, 201)
    );
}

// P2
#[test]
fn a_user_made_again_under_the_same_name_is_another_and_the_first_is_doubted() {
    let mut facts = learned(&many(1));
    facts.learn_answers(&user("user0", "AIDANEW"), &[], 200, 200);
    assert_eq!(facts.users["AIDA0"].doubted_since, Some(200));
    assert_eq!(facts.user_named("user0").map(|(id, _)| id.as_str()), Some("AIDANEW"));
}

// P9
#[test]
fn a_pass_that_began_before_a_nudge_does_not_undo_what_the_nudge_learned() {
    let mut facts = Facts::of_account("1".into());
    facts.learn_answers(&user("alice", "AIDAA"), &[], 150, 150);
    facts.learn_gone("alice", 151);
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
    assert_eq!(
        facts.users["AIDAA"].groups,
        BTreeSet::from(["keymaker_devs".to_owned()])
    );
    facts
        .users
        .get_mut("AIDAB")
        .unwrap()
        .groups
        .extend(["keymaker_devs".to_owned(), "deleted".to_owned()]);
    facts.learn_listing(
        &listing(200, &[("alice", "AIDAA"), ("bob", "AIDAB")], true),
        Vec::new(),
        200,
    );
    assert!(facts.users["AIDAB"].groups.is_empty());
    assert_eq!(facts.users["AIDAB"].answered_at, 200);
}

fn in_devs(pass: u64, memberships: Option<Option<BTreeSet<String>>>) -> Facts {
    let mut facts = Facts::of_account("1".into());
    let users = [("alice", "AIDAA"), ("bob", "AIDAB")];
    facts.learn_listing(&listing(100, &users, true), Vec::new(), 100);
    let devs = BTreeSet::from(["keymaker_devs".to_owned()]);
    facts.users.get_mut("AIDAB").unwrap().groups = devs;
    let mut second = listing(pass, &users, true);
    assert_eq!(
        facts.members_missing_from(&second.members),
        [("AIDAB".to_owned(), "bob".to_owned())]
    );
    second.memberships = memberships
        .map(|groups| ("AIDAB".to_owned(), groups))
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
    assert_eq!((bob.groups.len(), bob.answered_at), (1, 100));
    assert_eq!(unanswered.users["AIDAA"].answered_at, 200);
    let gone = in_devs(200, Some(Some(BTreeSet::new())));
    let bob = &gone.users["AIDAB"];
    assert_eq!((bob.groups.len(), bob.answered_at), (0, 200));
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

// P9
#[test]
fn after_the_clock_was_set_back_iam_is_believed_again() {
    let mut facts = learned(&many(1));
    facts.learn_gone("user0", 100);
    let listing = listing(50, &[("renamed", "AIDA0")], true);
    facts.learn_listing(&listing, Vec::new(), 51);
    let user = &facts.users["AIDA0"];
    assert_eq!(
        (user.name.as_str(), user.doubted_since, user.answered_at),
        ("renamed", None, 50)
    );
}
