//! The formulas against numbers worked out elsewhere, and who gets an id that two want.

use super::*;
use crate::directory::entitlement::neighbours::Neighbours;

/// Worked out by Python, independently: for an id `i` and `h = hashlib.sha256(i.encode()).digest()`
/// `2000 + int.from_bytes(h[-2:], "little") // 2` and `1879048192 + int.from_bytes(h[:8], "big") % 268304384`.
/// The first is the vector that the Python keymaker publishes.
const VECTORS: [(&str, u32, u32); 21] = [
    ("AKIAIJLRCB5E7CGTDF5A", 26594, 2021158106),
    ("AIDAA165438A9E9FDBBB6", 10939, 1940085766),
    ("AIDAC5EA71554C774DAF7", 9720, 1995770223),
    ("AIDAB9C69E5488FF88B92", 4182, 2032762808),
    ("AIDAE2E5F0FD9054A3239", 5132, 1880302484),
    ("AIDA96D828ACDA84E1BC8", 29371, 2009053202),
    ("AIDA48BA20EF1CF0B44EC", 25068, 1977807769),
    ("AIDAB9180ECFA653D2721", 3638, 2008013970),
    ("AIDADD4EBA1A97311DF42", 29777, 2075002883),
    ("AIDA3C3C92FF20335765D", 12221, 1890594273),
    ("AIDA98B6E4E77966F30DE", 25392, 1935864433),
    ("AIDA1FD0594DBEC976178", 21427, 2090958264),
    ("AIDAED714EF14607C536B", 16558, 2095833194),
    ("AIDAE6D3EA2083812359B", 18955, 1907037282),
    ("AIDA8EFC7DBA341D39A93", 27042, 2045154775),
    ("AGPA0C5F26FB31C0368E4", 29489, 2045932157),
    ("AGPAA46E558D11CB2400B", 2774, 2051633185),
    ("AGPA077564FB04323D23B", 20631, 2073368928),
    ("AGPAE8032F26760BC5821", 10625, 2044710055),
    ("AGPA9865E9D9FEFA7E998", 11684, 2082944350),
    ("AGPA9AEC92159710ADC61", 22469, 1897152869),
];

/// Two `UserIds` to which the Python formula gives one uid, and that uid.
const X: &str = "AIDACOLLIDE0000000023";
const Y: &str = "AIDACOLLIDE0000000035";
const BOTH: u32 = 4442;

struct Host {
    map: IdMap,
    local: LocalAccounts,
    scheme: IdScheme,
    tag_uid_range: Option<IdRange>,
}

impl Host {
    fn who_was(&self, id: u32) -> Option<WhoWas<'_>> {
        self.map
            .everybody()
            .find(|known| known.id == id || known.former.contains(&id))
    }

    fn new() -> Self {
        Self {
            map: IdMap::default(),
            local: LocalAccounts::default(),
            scheme: IdScheme::Keymaker,
            tag_uid_range: Some(IdRange {
                first: 200_000,
                last: 299_999,
            }),
        }
    }

    fn assign(&mut self, claims: &[IdClaim<'_>]) -> AssignedIds {
        let rules = IdRules {
            scheme: self.scheme,
            tag_uid_range: self.tag_uid_range,
            local: &self.local,
            neighbours: &Neighbours::default(),
        };
        self.map.assign(claims, &rules)
    }
}

fn user<'a>(iam_id: &'a str, created: u64, name: &'a str) -> IdClaim<'a> {
    IdClaim {
        kind: Kind::User,
        iam_id,
        created,
        name,
        wish: Wish::None,
    }
}

fn refusal(assigned: &AssignedIds, iam_id: &str) -> Option<EntryRefusal> {
    assert!(!assigned.ids.contains_key(iam_id));
    assigned
        .refused
        .iter()
        .find(|(id, _)| id == iam_id)
        .map(|(_, refusal)| refusal.clone())
}

fn disputed(other: &str) -> Option<EntryRefusal> {
    Some(EntryRefusal::IdDisputed {
        id: BOTH,
        other: other.to_owned(),
    })
}

fn owned(id: u32, owner: &str) -> Option<EntryRefusal> {
    Some(EntryRefusal::IdOwned {
        id,
        owner: owner.to_owned(),
    })
}

fn name(name: &str) -> UserName {
    UserName::parse(name.as_bytes()).unwrap()
}

#[test]
fn both_formulas_give_the_numbers_that_python_gives() {
    for (iam_id, python, wide) in VECTORS {
        assert_eq!(IdScheme::Keymaker.draw(iam_id), python, "{iam_id}");
        assert_eq!(IdScheme::Wide(IdRange::WIDE).draw(iam_id), wide, "{iam_id}");
    }
}

#[test]
fn a_formula_never_leaves_its_range() {
    let narrow = IdScheme::Wide(IdRange {
        first: 70_000,
        last: 71_499,
    });
    let mut drawn = BTreeSet::new();
    for n in 0..20_000 {
        let iam_id = format!("AIDA{n:017}");
        for scheme in [narrow, IdScheme::Keymaker, IdScheme::Wide(IdRange::WIDE)] {
            assert!(scheme.range().contains(scheme.draw(&iam_id)));
        }
        drawn.insert(narrow.draw(&iam_id));
    }
    assert_eq!(drawn.len(), 1500, "every id of a small range comes up");
}

// P2
#[test]
fn of_two_who_want_one_uid_the_one_made_first_has_it_on_every_host() {
    for claims in [
        [user(X, 100, "x"), user(Y, 200, "y")],
        [user(Y, 200, "y"), user(X, 100, "x")],
    ] {
        let mut host = Host::new();
        let assigned = host.assign(&claims);
        assert_eq!(assigned.ids, HashMap::from([(X.to_owned(), BOTH)]));
        assert_eq!(refusal(&assigned, Y), owned(BOTH, X));
        assert_eq!(host.assign(&claims), assigned, "and again at the next pass");
        assert!(!host.assign(&claims[..1]).ids.contains_key(Y), "and when one is away");
    }
    let same_second = Host::new().assign(&[user(Y, 100, "y"), user(X, 100, "x")]);
    assert_eq!(
        same_second.ids.keys().collect::<Vec<_>>(),
        [X],
        "then the smaller UserId"
    );
}

// P2
#[test]
fn both_are_refused_where_the_later_one_was_here_first() {
    let mut host = Host::new();
    assert_eq!(host.assign(&[user(Y, 200, "y")]).ids[Y], BOTH);
    let assigned = host.assign(&[user(X, 100, "x"), user(Y, 200, "y")]);
    assert_eq!(
        (refusal(&assigned, X), refusal(&assigned, Y)),
        (disputed(Y), disputed(X))
    );
    // The administrator gives the earlier one a uid by tag: then nobody disputes.
    let tagged = IdClaim {
        wish: Wish::Tag("200001"),
        ..user(X, 100, "x")
    };
    let assigned = host.assign(&[tagged, user(Y, 200, "y")]);
    assert_eq!((assigned.ids[X], assigned.ids[Y]), (200_001, BOTH));
}

#[test]
fn a_group_of_a_map_from_before_holders_were_noted_is_known_by_its_last_name() {
    let mut host = Host::new();
    let group = |name| IdClaim {
        kind: Kind::Group,
        ..user("AGPADEVS", 100, name)
    };
    host.assign(&[group("devs")]);
    host.assign(&[group("ops")]);
    host.assign(&[user(X, 100, "x")]);
    let has = |kind, name, id| host.map.has_name(kind, name, id);
    assert!(has(Kind::Group, "ops", "AGPADEVS"));
    assert!(!has(Kind::Group, "devs", "AGPADEVS") && !has(Kind::Group, "ops", "AGPAOPS"));
    assert!(!has(Kind::User, "x", X), "users' holders were always noted");
}

// P2
#[test]
fn the_uid_of_somebody_gone_goes_to_nobody() {
    let mut host = Host::new();
    host.assign(&[user(X, 100, "x")]);
    let assigned = host.assign(&[user(Y, 50, "x")]);
    assert_eq!(refusal(&assigned, Y), owned(BOTH, X));
    let was = host.who_was(BOTH).unwrap();
    assert_eq!((was.iam_id, was.names, was.created), (X, &["x".to_owned()][..], 100));
    assert_eq!(host.who_was(1), None);
    assert_eq!(host.map.used(IdRange::PYTHON), 1);
    assert_eq!(
        host.map.used(IdRange {
            first: BOTH + 1,
            last: BOTH + 1000
        }),
        0
    );
}

#[test]
fn the_order_of_iams_list_changes_nothing() {
    let ids: Vec<String> = (0..600).map(|n| format!("AIDACOLLIDE{n:010}")).collect();
    let claims: Vec<IdClaim<'_>> = ids
        .iter()
        .zip((0..).map(|n| n * 7919 % 601))
        .map(|(id, at)| user(id, at, "u"))
        .collect();
    let mut host = Host::new();
    let mut expected = host.assign(&claims);
    expected.refused.sort_by(|a, b| a.0.cmp(&b.0));
    assert!(!expected.refused.is_empty());
    for shift in [1, 299, 450] {
        let mut rotated = claims.clone();
        rotated.rotate_left(shift);
        rotated.swap(0, 100);
        let mut assigned = Host::new().assign(&rotated);
        assigned.refused.sort_by(|a, b| a.0.cmp(&b.0));
        assert_eq!(assigned, expected);
    }
    let uids: BTreeSet<&u32> = expected.ids.values().collect();
    assert_eq!(uids.len(), expected.ids.len(), "no uid is given twice");
}

#[test]
fn the_map_wins_over_the_formula() {
    let mut host = Host::new();
    host.assign(&[user(X, 100, "x")]);
    host.scheme = IdScheme::Wide(IdRange::WIDE);
    let assigned = host.assign(&[user(X, 100, "renamed"), user(Y, 200, "y")]);
    assert_eq!(
        assigned.ids[X], BOTH,
        "a renamed user keeps the uid, and so does one whose scheme changed"
    );
    assert!(IdRange::WIDE.contains(assigned.ids[Y]));
    assert_eq!(host.who_was(BOTH).unwrap().names, ["x", "renamed"]);
}

// P1
#[test]
fn a_local_id_refuses_that_user_and_nobody_else() {
    for passwd in ["ec2-user:x:4442:1000::/:/bin/sh", "ec2-user:x:1000:4442::/:/bin/sh"] {
        let mut host = Host::new();
        host.local = LocalAccounts::parse(passwd, "", "");
        let assigned = host.assign(&[user(X, 100, "x"), user(VECTORS[1].0, 1, "z")]);
        assert_eq!(refusal(&assigned, X), Some(EntryRefusal::LocalId(BOTH)));
        assert_eq!(assigned.uid(VECTORS[1].0).map(Uid::get), Some(10_939));
    }
    let mut host = Host::new();
    host.assign(&[user(X, 100, "x")]);
    host.local = LocalAccounts::parse("", "late:x:4442:", "");
    assert_eq!(
        refusal(&host.assign(&[user(X, 100, "x")]), X),
        Some(EntryRefusal::LocalId(BOTH)),
        "one added later too"
    );
}

// P1
#[test]
fn a_reserved_id_in_the_map_is_given_to_nobody() {
    let text = format!("{{\"kept\":{{\"{X}\":{{\"kind\":\"user\",\"id\":0,\"created\":1,\"names\":[]}}}}}}");
    let mut host = Host {
        map: serde_json::from_str(&text).unwrap(),
        ..Host::new()
    };
    assert_eq!(
        refusal(&host.assign(&[user(X, 1, "x")]), X),
        Some(EntryRefusal::ReservedId(0))
    );
}

#[test]
fn users_and_groups_draw_from_one_space() {
    let group = IdClaim {
        kind: Kind::Group,
        ..user(Y, 200, "devs")
    };
    let assigned = Host::new().assign(&[user(X, 100, "x"), group]);
    assert_eq!(
        (assigned.uid(X).map(Uid::get), refusal(&assigned, Y)),
        (Some(BOTH), owned(BOTH, X))
    );
}

// P2
#[test]
fn a_tag_gives_a_uid_in_its_range_that_nobody_else_had() {
    let mut host = Host::new();
    let tagged = |iam_id, value| IdClaim {
        wish: Wish::Tag(value),
        ..user(iam_id, 100, "t")
    };
    for (value, expected) in [
        ("", EntryRefusal::UnreadableTagUid("".into())),
        ("+200001", EntryRefusal::UnreadableTagUid("+200001".into())),
        ("99999999999", EntryRefusal::UnreadableTagUid("99999999999".into())),
        ("0", EntryRefusal::TagUidOutside(0, host.tag_uid_range.unwrap())),
        (
            "300000",
            EntryRefusal::TagUidOutside(300_000, host.tag_uid_range.unwrap()),
        ),
    ] {
        assert_eq!(refusal(&host.assign(&[tagged(X, value)]), X), Some(expected));
    }
    assert_eq!(host.assign(&[user(X, 100, "t")]).ids[X], BOTH);
    assert_eq!(host.assign(&[tagged(X, "200001")]).ids[X], 200_001);
    assert_eq!(host.assign(&[tagged(X, "200002")]).ids[X], 200_002);
    assert_eq!(
        host.assign(&[user(X, 100, "t")]).ids[X],
        200_002,
        "without the tag the last one stays"
    );
    for (iam_id, value) in [(Y, "200001"), (VECTORS[1].0, "200002")] {
        assert_eq!(
            refusal(&host.assign(&[tagged(iam_id, value)]), iam_id),
            owned(value.parse().unwrap(), X)
        );
    }
    assert_eq!(
        refusal(&host.assign(&[user(Y, 1, "y")]), Y),
        owned(BOTH, X),
        "nor the first one"
    );
    assert_eq!(host.who_was(200_001).map(|was| was.iam_id), Some(X));
    assert_eq!(host.assign(&[tagged(X, "200001")]).ids[X], 200_001, "back again");
    assert_eq!(host.who_was(200_002).unwrap().former, [BOTH, 200_002]);
}

// P2
#[test]
fn no_tag_changes_the_number_of_somebody_who_has_been_here_or_takes_their_entry() {
    let mut host = Host::new();
    let tagged = |value| IdClaim {
        wish: Wish::Tag(value),
        ..user(X, 100, "x")
    };
    assert_eq!(host.assign(&[user(X, 100, "x")]).ids[X], BOTH);
    host.map.note_presence(X);
    for value in ["200001", "", "junk", "0", "300000"] {
        assert_eq!(host.assign(&[tagged(value)]).ids[X], BOTH, "{value}");
    }
}

// P2
#[test]
fn former_names_are_those_under_which_somebody_was_here_and_that_nobody_else_holds() {
    let mut host = Host::new();
    for (login, was_here) in [("al", true), ("allie", false), ("alice", true), ("alicia", true)] {
        host.assign(&[user(X, 100, login)]);
        host.map.hold_name(name(login), X);
        if was_here {
            host.map.note_presence_as(X, login);
        }
    }
    assert_eq!(host.map.former_names(X, name("alicia")), [name("alice"), name("al")]);
    host.map.release(name("alice"));
    assert_eq!(host.map.former_names(X, name("alicia")), [name("al")]);
    host.map.hold_name(name("alice"), Y);
    assert_eq!(host.map.former_names(X, name("alicia")), [name("al")]);
    assert_eq!(host.map.former_names(Y, name("alice")), []);
}

#[test]
fn the_file_gives_a_group_its_gid() {
    let mut host = Host::new();
    let group = |gid| IdClaim {
        kind: Kind::Group,
        wish: Wish::GroupIds(gid),
        ..user("AGPADEVS", 900, "devs")
    };
    let assigned = host.assign(&[user(X, 100, "x"), group(BOTH)]);
    assert_eq!(
        (assigned.gid("AGPADEVS").map(Gid::get), refusal(&assigned, X)),
        (Some(BOTH), owned(BOTH, "AGPADEVS"))
    );
    let mut host = Host::new();
    host.assign(&[user(X, 100, "x")]);
    let assigned = host.assign(&[user(X, 100, "x"), group(BOTH)]);
    assert_eq!(
        (assigned.ids[X], refusal(&assigned, "AGPADEVS")),
        (BOTH, owned(BOTH, X)),
        "but not one that a user has"
    );
    assert_eq!(host.assign(&[group(5001)]).ids["AGPADEVS"], 5001);
}

// P2
#[test]
fn a_group_made_again_gets_the_number_of_its_forerunner_by_the_file_alone() {
    let group = |iam_id, name, wish| IdClaim {
        kind: Kind::Group,
        wish,
        ..user(iam_id, 900, name)
    };
    let mut host = Host::new();
    let former = host
        .assign(&[group("AGPAOLD", "devs", Wish::None), user(X, 100, "x")])
        .ids["AGPAOLD"];
    let drawn = host.assign(&[group("AGPANEW", "devs", Wish::None)]).ids["AGPANEW"];
    assert_ne!(drawn, former);
    let by_file = |iam_id, name| group(iam_id, name, Wish::GroupIds(former));
    // Not one of another name, not while the former is there, and never a user's.
    let other = host.assign(&[by_file("AGPAOPS", "ops")]);
    assert_eq!(refusal(&other, "AGPAOPS"), owned(former, "AGPAOLD"));
    let both = host.assign(&[group("AGPAOLD", "former", Wish::None), by_file("AGPANEW", "devs")]);
    assert_eq!(refusal(&both, "AGPANEW"), owned(former, "AGPAOLD"));
    let users = host.assign(&[group("AGPANEW", "x", Wish::GroupIds(BOTH))]);
    assert_eq!(refusal(&users, "AGPANEW"), owned(BOTH, X));
    let handed_on = host.assign(&[by_file("AGPANEW", "devs")]);
    assert_eq!(handed_on.ids["AGPANEW"], former);
    // It stays so, across a restart and without the line.
    let text = serde_json::to_string(&host.map).unwrap();
    host.map = serde_json::from_str(&text).unwrap();
    assert_eq!(host.assign(&[by_file("AGPANEW", "devs")]).ids["AGPANEW"], former);
    assert_eq!(
        host.assign(&[group("AGPANEW", "devs", Wish::None)]).ids["AGPANEW"],
        former
    );
    let back = host.assign(&[
        group("AGPAOLD", "former", Wish::None),
        group("AGPANEW", "devs", Wish::None),
    ]);
    assert_eq!(refusal(&back, "AGPAOLD"), owned(former, "AGPANEW"));
}

// P2
#[test]
fn a_name_stays_with_the_user_id_that_had_it_until_it_is_released() {
    let mut host = Host::new();
    host.assign(&[user(X, 100, "alice")]);
    let alice = name("alice");
    assert_eq!(host.map.holder_of_name(alice), None);
    assert_eq!(host.map.hold_name(alice, X), NameHeld::Own);
    assert_eq!(host.map.hold_name(alice, X), NameHeld::Own);
    assert_eq!(host.map.hold_name(alice, "AIDANEW"), NameHeld::ByAnother(X.to_owned()));
    assert_eq!(host.map.hold_name(name("bob"), "AIDANEW"), NameHeld::Own);
    assert_eq!(host.map.release(alice), Some((X.to_owned(), Some(BOTH))));
    assert_eq!(host.map.release(alice), None);
    assert_eq!(host.map.hold_name(alice, "AIDANEW"), NameHeld::Own);
    assert_eq!(
        host.who_was(BOTH).unwrap().names,
        ["alice"],
        "who had it is still known"
    );
}

#[test]
fn the_map_survives_the_disk() {
    let mut host = Host::new();
    host.assign(&[
        user(X, 100, "x"),
        IdClaim {
            wish: Wish::Tag("200001"),
            ..user(Y, 1, "y")
        },
    ]);
    host.map.hold_name(name("x"), X);
    let text = serde_json::to_string(&host.map).unwrap();
    assert_eq!(serde_json::from_str::<IdMap>(&text).unwrap(), host.map);
    assert_eq!(serde_json::from_str::<IdMap>("{}").unwrap(), IdMap::default());
}

/// Users and groups draw from one space; of so many of both, how likely it is that any two have one number.
fn any_clash(drawn: u32, ids: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let none: f64 = (0..drawn).map(|taken| 1.0 - f64::from(taken) / ids as f64).product();
    100.0 * (1.0 - none)
}

#[test]
fn the_table_of_probabilities_is_what_the_formula_gives() {
    let document = include_str!("../../../../../docs/ids.md");
    let counts = [10, 50, 100, 200, 500, 1000, 5000];
    let small = IdRange {
        first: 65_536,
        last: 524_287,
    };
    for (label, range) in [
        ("`id_scheme = \"keymaker\"`", IdRange::PYTHON),
        ("`id_range = [65536, 524287]`", small),
        ("`id_range = [1879048192, 2147352575]` (default)", IdRange::WIDE),
    ] {
        let cells: Vec<String> = counts
            .iter()
            .map(|drawn| format!("{:.2} %", any_clash(*drawn, range.len())))
            .collect();
        let row = format!("| {label} | {} | {} |", range.len(), cells.join(" | "));
        assert!(document.contains(&row), "docs/ids.md lacks\n{row}");
        assert!(!range.holds_reserved());
    }
    let next = IdRange { last: 524_288, ..small };
    assert!(next.holds_reserved(), "no range below 2,097,152 is larger");
}
