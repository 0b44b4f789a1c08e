//! The rules for names, one by one.

use std::collections::BTreeSet;
use std::path::Path;

use keymaker_core::id::IdRange;
use keymaker_core::name::NameError;

use super::*;
use crate::directory::entitlement::ids::{IdClaim, IdRules, IdScheme, Wish};
use crate::directory::entitlement::neighbours::Neighbours;
use crate::service_names::{ServiceFolders, ServiceNames};
use crate::settings::KeptSettings;

const PASSWD: &str =
    "root:x:0:0::/root:/bin/sh\nubuntu:x:1000:1000::/home/ubuntu:/bin/bash\nadm:x:3:4::/:/bin/sh\nbad:x:?:?\n";
const GROUP: &str =
    "root:x:0:\nwheel:x:10:\nsudo:x:27:\nadm:x:4:\nzero:x:0:\ndocker:x:998:\nstaff2:x:50:\nbroken:x:y:\n";

struct Host {
    config: KeymakerdConfig,
    local: LocalAccounts,
    ids: IdMap,
}

impl Host {
    fn new(config: &str) -> Self {
        Self {
            config: KeymakerdConfig::parse(config, Path::new("keymakerd.toml")).unwrap(),
            local: LocalAccounts::parse(PASSWD, GROUP, ""),
            ids: IdMap::default(),
        }
    }

    /// As after a publication in which these had these names.
    fn knowing(mut self, users: &[(&str, &str)], groups: &[(&str, &str)]) -> Self {
        for (name, id) in users {
            self.ids.hold_name(UserName::parse(name.as_bytes()).unwrap(), id);
            self.publishes(Kind::User, name, id);
        }
        for (name, id) in groups {
            self.ids.note_group(name, id);
            self.publishes(Kind::Group, name, id);
        }
        self
    }

    fn publishes(&mut self, kind: Kind, name: &str, iam_id: &str) {
        let rules = IdRules {
            scheme: IdScheme::Wide(IdRange::WIDE),
            tag_uid_range: None,
            local: &self.local,
            neighbours: &Neighbours::default(),
        };
        let claim = IdClaim {
            kind,
            iam_id,
            created: 1,
            name,
            wish: Wish::None,
        };
        assert_eq!(self.ids.assign(&[claim], &rules).ids.len(), 1);
    }

    fn accept(&self, users: &[&str], groups: &[&str]) -> AcceptedNames {
        self.accept_by(&KeptSettings::default(), users, groups)
    }

    fn accept_by(&self, kept: &KeptSettings, users: &[&str], groups: &[&str]) -> AcceptedNames {
        fn listed<'a>(names: &[&'a str]) -> Vec<InIam<'a>> {
            // The id is the name, so that an assertion can say who.
            let split = |name: &&'a str| match name.rsplit_once('/') {
                Some((path, last)) => InIam {
                    id: last,
                    name: last,
                    path: &name[..=path.len()],
                    created: 0,
                },
                None => InIam {
                    id: name,
                    name,
                    path: "/",
                    created: 0,
                },
            };
            // The one who is listed later was made later.
            let listed = names.iter().map(split).zip(1..);
            listed.map(|(entity, created)| InIam { created, ..entity }).collect()
        }
        let settings = EffectiveSettings::of(&self.config, kept);
        let rules = NameRules {
            config: &self.config,
            settings: &settings,
            local: &self.local,
            ids: &self.ids,
        };
        rules.accept(&listed(users), &listed(groups))
    }
}

impl AcceptedNames {
    fn logins(&self) -> Vec<&str> {
        self.users.keys().map(UserName::as_str).collect()
    }

    fn reason(&self, iam_name: &str) -> &EntryRefusal {
        &self
            .refused
            .iter()
            .find(|entry| entry.iam_name == iam_name)
            .unwrap()
            .reason
    }
}

#[test]
fn the_suffix_is_taken_off_byte_for_byte_and_names_without_it_are_not_ours() {
    let host = Host::new("linux_user_suffix = \"@x.org\"");
    let names = host.accept(
        &[
            "alice@x.org",
            "bob",
            "carol@X.org",
            "dave@x.org@x.org",
            "@x.org",
            "root@x.org",
        ],
        &[],
    );
    assert_eq!(
        names.users,
        BTreeMap::from([(UserName::parse(b"alice").unwrap(), "alice@x.org".to_owned())])
    );
    let refused: Vec<&str> = names.refused.iter().map(|entry| entry.iam_name.as_str()).collect();
    assert_eq!(
        refused,
        ["dave@x.org@x.org", "@x.org", "root@x.org"],
        "bob and carol are reported nowhere"
    );
}

// P1
#[test]
fn names_of_the_system_and_of_this_host_are_refused() {
    let host = Host::new("reserved_names = [\"boss\"]");
    let users = [
        "root",
        "ubuntu",
        "sudo",
        "postgres",
        "systemd-x",
        "_apt",
        "boss",
        "staff2",
        "bad",
        "broken",
        "alice",
    ];
    let names = host.accept(&users, &[]);
    assert_eq!(names.logins(), ["alice"]);
    let is = |name: &str, reason: fn(String) -> EntryRefusal| assert_eq!(*names.reason(name), reason(name.into()));
    for name in ["root", "ubuntu", "bad"] {
        is(name, EntryRefusal::LocalUser);
    }
    for name in ["sudo", "staff2", "broken"] {
        is(name, EntryRefusal::LocalGroup);
    }
    for name in ["postgres", "systemd-x", "_apt", "boss"] {
        is(name, EntryRefusal::ReservedName);
    }
    let shown = names.refused[0].to_string();
    assert_eq!(
        shown,
        "IAM user \"root\" is refused: root is a user in this host's /etc/passwd"
    );
}

#[test]
fn names_that_are_no_unix_names_are_refused() {
    let names = Host::new("").accept(
        &["Alice", "2001", "a b", "bob@x.org", "al=ice", "müller", ""],
        &["keymaker_", "keymaker_Devs"],
    );
    assert!(names.users.is_empty() && names.groups.is_empty());
    assert_eq!(
        *names.reason("2001"),
        EntryRefusal::IllegalName("2001".into(), NameError::BadStart)
    );
    assert_eq!(
        *names.reason("bob@x.org"),
        EntryRefusal::IllegalName("bob@x.org".into(), NameError::BadCharacter)
    );
    assert_eq!(names.refused.len(), 9);
}

#[test]
fn capitals_fold_in_ascii_only_and_the_later_of_two_is_refused() {
    let host = Host::new("lowercase_names = true\nlinux_user_suffix = \"@X\"");
    let names = host.accept(
        &["Alice@X", "bob@X", "BOB@X", "\u{212A}arl@X", "Root@X", "eve@x"],
        &["keymaker_Devs", "Keymaker_ops"],
    );
    assert_eq!(names.logins(), ["alice", "bob"]);
    assert_eq!(names.users.values().collect::<Vec<_>>(), ["Alice@X", "bob@X"]);
    assert_eq!(
        *names.reason("BOB@X"),
        EntryRefusal::SameName {
            name: "bob".into(),
            other_kind: Kind::User,
            other: "bob@X".into()
        }
    );
    assert!(
        matches!(names.reason("\u{212A}arl@X"), EntryRefusal::IllegalName(..)),
        "the Kelvin sign is not a k"
    );
    assert!(
        matches!(names.reason("Root@X"), EntryRefusal::LocalUser(_)),
        "names are judged after folding"
    );
    assert_eq!(names.groups.keys().collect::<Vec<_>>(), ["keymaker_Devs"]);
}

#[test]
fn a_path_narrows_who_is_published() {
    let names = Host::new("user_path_prefix = \"/staff/\"").accept(
        &["/staff/alice", "/staff/eu/bob", "/staff2/carol", "dave", "/root"],
        &[],
    );
    assert_eq!((names.logins(), names.refused.len()), (vec!["alice", "bob"], 0));
}

#[test]
fn groups_with_the_prefix_become_unix_groups() {
    let names = Host::new("").accept(&[], &["keymaker_devs", "devs", "keymaker-ops", "KEYMAKER_x"]);
    let devs = AcceptedGroup {
        group_id: "keymaker_devs".into(),
        unix: UnixGroup::Ours(GroupName::parse(b"devs").unwrap()),
    };
    assert_eq!(
        (names.groups, names.refused.len()),
        (BTreeMap::from([("keymaker_devs".to_owned(), devs)]), 0)
    );
    assert_eq!(
        Host::new("linux_group_prefix = \"\"")
            .accept(&[], &["devs"])
            .groups
            .len(),
        1
    );
}

// P1
#[test]
fn a_local_group_is_given_only_where_it_exists_and_the_file_names_it() {
    let host = Host::new("local_groups = [\"sudo\", \"adm\", \"lxd\", \"zero\", \"broken\", \"devs\"]");
    let groups = [
        "sudo", "adm", "lxd", "zero", "broken", "devs", "wheel", "docker", "root", "ubuntu", "disk",
    ];
    let groups: Vec<String> = groups.iter().map(|name| format!("keymaker_{name}")).collect();
    let names = host.accept(&[], &groups.iter().map(String::as_str).collect::<Vec<_>>());
    let unix: Vec<UnixGroup> = names.groups.values().map(|group| group.unix).collect();
    let name = |name: &str| GroupName::parse(name.as_bytes()).unwrap();
    let local = |text, gid| UnixGroup::Local { name: name(text), gid };
    assert_eq!(
        unix,
        [local("adm", 4), UnixGroup::Ours(name("devs")), local("sudo", 27)]
    );
    assert_eq!(
        *names.reason("keymaker_lxd"),
        EntryRefusal::ReservedName("lxd".into()),
        "not on this host"
    );
    assert_eq!(
        *names.reason("keymaker_disk"),
        EntryRefusal::ReservedName("disk".into())
    );
    assert_eq!(*names.reason("keymaker_zero"), EntryRefusal::RootGroup("zero".into()));
    assert_eq!(
        *names.reason("keymaker_broken"),
        EntryRefusal::LocalGroup("broken".into())
    );
    assert_eq!(
        *names.reason("keymaker_wheel"),
        EntryRefusal::LocalGroup("wheel".into()),
        "not in local_groups"
    );
    assert_eq!(
        *names.reason("keymaker_docker"),
        EntryRefusal::LocalGroup("docker".into())
    );
    assert_eq!(*names.reason("keymaker_root"), EntryRefusal::LocalUser("root".into()));
    assert_eq!(
        *names.reason("keymaker_ubuntu"),
        EntryRefusal::LocalUser("ubuntu".into())
    );
    assert!(names.reason("keymaker_docker").to_string().contains("local_groups"));
}

// P1
#[test]
fn under_an_empty_prefix_a_local_group_is_given_only_where_the_file_itself_says_prefix_and_group() {
    let groups = [
        "sudo",
        "adm",
        "devs",
        "keymaker_web",
        "keymakers",
        "keymaker-sudo",
        "keymakerd",
    ];
    let mut described = KeptSettings::default();
    described.observe("AROA", Some("keymaker_linux_group_prefix="));
    let undescribed = KeptSettings::default();
    let both = "linux_group_prefix = \"\"\nlocal_groups = [\"sudo\"]";
    for (file, kept, given) in [
        (both, &undescribed, true),
        (both, &described, true),
        ("linux_group_prefix = \"\"", &undescribed, false),
        ("linux_group_prefix = \"\"", &described, false),
        ("local_groups = [\"sudo\"]", &described, false),
        ("", &described, false),
    ] {
        let names = Host::new(file).accept_by(kept, &[], &groups);
        let is_local = |name: &str| {
            matches!(
                names.groups.get(name).map(|group| group.unix),
                Some(UnixGroup::Local { .. })
            )
        };
        assert_eq!(is_local("sudo"), given, "{file:?}");
        assert!(!is_local("adm"), "{file:?}");
        if !given {
            assert!(names.reason("sudo").to_string().contains("local_groups"), "{file:?}");
        }
        // All the others are groups of their own names.
        let ours: Vec<&str> = names
            .groups
            .iter()
            .filter(|(_, group)| matches!(group.unix, UnixGroup::Ours(_)))
            .map(|(name, _)| name.as_str())
            .collect();
        assert_eq!(ours, ["devs", "keymaker_web", "keymakers"], "{file:?}");
    }
}

#[test]
fn root_is_no_local_group_whatever_the_file_says() {
    let names = Host::new("local_groups = [\"root\"]").accept(&[], &["keymaker_root"]);
    assert_eq!(
        (names.groups.len(), names.reason("keymaker_root")),
        (0, &EntryRefusal::RootGroup("root".into()))
    );
}

// P2
#[test]
fn of_a_user_and_a_group_with_one_name_the_later_is_refused() {
    let same = |other_kind, other: &str| EntryRefusal::SameName {
        name: "devs".into(),
        other_kind,
        other: other.into(),
    };
    let (users, groups) = (["devs", "alice"], ["keymaker_ops", "keymaker_devs"]);
    let names = Host::new("").accept(&users, &groups);
    assert_eq!(names.logins(), ["alice", "devs"], "the user was made earlier");
    assert_eq!(*names.reason("keymaker_devs"), same(Kind::User, "devs"));
    let group_first = Host::new("").knowing(&[], &[("devs", "keymaker_devs")]);
    let names = group_first.accept(&users, &groups);
    assert_eq!(names.logins(), ["alice"]);
    assert_eq!(*names.reason("devs"), same(Kind::Group, "keymaker_devs"));
    assert_eq!(names.groups.len(), 2);
    // Renamed away, while a group of the name was published, and back: the name is still the user's.
    let both = Host::new("").knowing(&[("devs", "devs")], &[("devs", "keymaker_devs")]);
    assert_eq!(both.accept(&users, &groups).logins(), ["alice", "devs"]);
    // Not so who had it once and another since: the group has it now.
    let once = both.knowing(&[("another", "devs")], &[]);
    let names = once.accept(&users, &groups);
    assert_eq!((names.logins(), names.groups.len()), (vec!["alice"], 2));
    // Of two who were made in one second the smaller id.
    let group = InIam {
        id: "AGPA",
        name: "keymaker_devs",
        path: "/",
        created: 7,
    };
    let user = InIam {
        id: "AIDA",
        name: "devs",
        ..group
    };
    let host = Host::new("");
    let settings = EffectiveSettings::of(&host.config, &KeptSettings::default());
    let rules = NameRules {
        config: &host.config,
        settings: &settings,
        local: &host.local,
        ids: &host.ids,
    };
    assert_eq!(rules.accept(&[user], &[group]).groups.len(), 1);
}

// P2
#[test]
fn a_name_passes_between_a_user_and_a_group_only_once_released() {
    let had_by = |kind| EntryRefusal::HadByOtherKind {
        name: "ops".into(),
        kind,
    };
    // The group was renamed, or is gone; the user may even have had the name before it.
    for before in [&[][..], &[("ops", "ops"), ("another", "ops")]] {
        let mut host = Host::new("").knowing(before, &[("ops", "keymaker_ops")]);
        assert_eq!(*host.accept(&["ops"], &[]).reason("ops"), had_by(Kind::Group));
        host.ids.release_group("ops");
        assert_eq!(host.accept(&["ops"], &[]).logins(), ["ops"]);
    }
    let mut host = Host::new("").knowing(&[("ops", "AIDAFORMER")], &[]);
    assert_eq!(
        host.accept(&[], &["keymaker_ops"]).groups.len(),
        1,
        "nobody was here by it"
    );
    host.ids.note_presence_as("AIDAFORMER", "ops");
    assert_eq!(
        *host.accept(&[], &["keymaker_ops"]).reason("keymaker_ops"),
        had_by(Kind::User)
    );
    host.ids.release(UserName::parse(b"ops").unwrap());
    assert_eq!(host.accept(&[], &["keymaker_ops"]).groups.len(), 1);
}

// P2
#[test]
fn of_two_groups_of_one_unix_name_only_the_one_that_came_later_is_refused() {
    for name in ["devs", "sudo"] {
        let [small, large] = [format!("keymaker_{name}"), format!("keymaker_{}", name.to_uppercase())];
        let host = Host::new("lowercase_names = true");
        let names = host.accept(&["alice"], &[&small, &large]);
        assert_eq!(names.groups.keys().collect::<Vec<_>>(), [&small], "{name}");
        // An older group, renamed, takes no membership of a local group from the one that gave it.
        let names = host
            .knowing(&[], &[(name, &large)])
            .accept(&["alice"], &[&small, &large]);
        assert_eq!(names.groups.keys().collect::<Vec<_>>(), [&large], "{name}");
        assert_eq!((names.refused.len(), names.logins()), (1, vec!["alice"]), "{name}");
    }
}

// P2
#[test]
fn a_user_who_had_the_name_here_comes_before_an_older_one() {
    let mut host = Host::new("lowercase_names = true").knowing(&[("bob", "BOB")], &[]);
    host.publishes(Kind::User, "robert", "BOB");
    let names = host.accept(&["bob", "BOB"], &[]);
    assert_eq!(names.users.values().collect::<Vec<_>>(), ["BOB"]);
}

// P2
#[test]
fn of_two_users_who_fold_alike_the_one_who_was_here_keeps_the_name() {
    let host = Host::new("lowercase_names = true").knowing(&[("bob", "BOB")], &[]);
    let names = host.accept(&["bob", "BOB"], &[]);
    assert_eq!(names.users.values().collect::<Vec<_>>(), ["BOB"]);
}

// P1
#[test]
fn a_dotted_name_is_refused_where_its_first_part_is_a_name_of_the_host() {
    let host = Host::new("reserved_names = [\"boss\"]");
    let names = host.accept(
        &[
            "root.root",
            "ubuntu.x",
            "docker.root.x",
            "boss.b",
            "puppet.a",
            "ubuntu2.x",
            "daemon.x",
            "wheel.x",
            "first.last",
            "alice.",
            "x.root",
        ],
        &["keymaker_root.x", "keymaker_team.one"],
    );
    assert_eq!(names.logins(), ["alice.", "first.last", "ubuntu2.x", "x.root"]);
    let of = |name: &str, owner: &str| EntryRefusal::OwnerAndGroup(name.into(), owner.into());
    assert_eq!(*names.reason("root.root"), of("root.root", "root"));
    assert_eq!(*names.reason("docker.root.x"), of("docker.root.x", "docker"));
    assert_eq!(*names.reason("keymaker_root.x"), of("root.x", "root"));
    // A local user, a local group, a name of the settings, one of known software: each alone is enough.
    for (name, owner) in [
        ("ubuntu.x", "ubuntu"),
        ("wheel.x", "wheel"),
        ("boss.b", "boss"),
        ("puppet.a", "puppet"),
    ] {
        assert_eq!(*names.reason(name), of(name, owner));
    }
    assert_eq!(names.groups.len(), 1);
    let names = Host::new("dotted_names = false").accept(&["first.last", "alice"], &["keymaker_team.one"]);
    assert_eq!((names.logins(), names.groups.len()), (vec!["alice"], 0));
    assert_eq!(
        *names.reason("first.last"),
        EntryRefusal::DottedName("first.last".into())
    );
}

// P1
#[test]
fn a_name_before_the_dot_is_the_hosts_by_any_one_source() {
    let folder = std::env::temp_dir().join(format!("keymakerd-names-{}-{}", std::process::id(), fastrand::u64(..)));
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("x.conf"), "u relay - -\n").unwrap();
    let folders = ServiceFolders {
        sysusers: vec![folder.clone()],
        units: Vec::new(),
    };
    let mut host = Host::new("");
    host.local = LocalAccounts::parse("frieda:x:1001:1001::/:/bin/sh\n", "crew:x:1002:\n", "");
    host.local.services = ServiceNames::read(&folders);
    std::fs::remove_dir_all(&folder).unwrap();
    for owner in ["frieda", "crew", "relay"] {
        let name = format!("{owner}.x");
        let names = host.accept(&[&name], &[]);
        let refused = EntryRefusal::OwnerAndGroup(name.clone(), owner.to_owned());
        assert_eq!(*names.reason(&name), refused);
        // Nothing else refuses it.
        assert_eq!(Host::new("").accept(&[&name], &[]).logins(), [&name]);
    }
}

// P1
#[test]
fn a_newcomer_is_refused_a_name_that_etc_group_lists_as_a_member() {
    let mut host = Host::new("");
    host.local = LocalAccounts::parse(PASSWD, format!("{GROUP}docker2:x:997:alice,ubuntu\n"), "");
    let names = host.accept(&["alice", "bob"], &["keymaker_alice"]);
    assert_eq!(names.logins(), ["bob"]);
    let said = names.reason("alice").to_string();
    for part in ["line 9 of /etc/group", "alice a member of docker2"] {
        assert!(said.contains(part), "{said}");
    }
    let remedy = names.refused[0].remedy();
    assert!(remedy.contains("gpasswd -d alice docker2"), "{remedy}");
    assert_eq!(names.groups.len(), 1, "a group is no member");
    // An administrator's own `gpasswd -a` of somebody who is here.
    let host = host.knowing(&[("alice", "alice")], &[]);
    let names = host.accept(&["alice", "bob"], &[]);
    assert_eq!((names.logins(), names.kept.len()), (vec!["alice", "bob"], 0));
}

// P1
#[test]
fn a_name_that_software_wants_is_refused_to_newcomers_and_kept_by_who_was_here() {
    let users = ["puppet", "snap_microk8s", "puppet.x", "alice"];
    let groups = ["keymaker_gpio", "keymaker_ssl-cert"];
    let names = Host::new("").accept(&users, &groups);
    assert_eq!((names.logins(), names.groups.len()), (vec!["alice"], 0));
    assert_eq!(*names.reason("puppet"), EntryRefusal::ReservedName("puppet".into()));
    let host = Host::new("").knowing(
        &[("puppet", "puppet"), ("alice", "alice")],
        &[("gpio", "keymaker_gpio")],
    );
    let names = host.accept(&users, &groups);
    assert_eq!(names.logins(), ["alice", "puppet"]);
    let kept: Vec<&str> = names.kept.iter().map(|kept| kept.iam_name.as_str()).collect();
    assert_eq!(kept, ["puppet", "keymaker_gpio"]);
    // A local account of that name wins all the same, and so does what the administrator reserves.
    let mut host = host;
    host.local = LocalAccounts::parse("root:x:0:0\npuppet:x:120:120::/:/bin/sh\n", GROUP, "");
    assert!(matches!(
        host.accept(&users, &[]).reason("puppet"),
        EntryRefusal::LocalUser(_)
    ));
    let mut host = Host::new("reserved_names = [\"alice\"]").knowing(&[("alice", "alice")], &[]);
    assert!(host.accept(&["alice"], &[]).users.is_empty());
    // Somebody created again under the name is new.
    host = Host::new("").knowing(&[("puppet", "AIDAFORMER")], &[]);
    assert!(host.accept(&["puppet"], &[]).users.is_empty());
    // So is who had the name once, and another when the software came.
    host = Host::new("").knowing(&[("puppet", "puppet"), ("another", "puppet")], &[]);
    assert!(host.accept(&["puppet"], &[]).users.is_empty());
    host = Host::new("").knowing(&[("newly", "newly"), ("another", "newly")], &[]);
    host.local = LocalAccounts::parse(PASSWD, "adm:x:4:newly\n", "");
    assert!(host.accept(&["newly"], &[]).users.is_empty());
}

#[test]
fn nobody_is_both_accepted_and_refused_and_no_name_is_given_twice() {
    let host = Host::new("lowercase_names = true\nlocal_groups = [\"sudo\", \"wheel\"]");
    let pool = [
        "a", "A", "b", "root", "sudo", "wheel", "devs", "Devs", "9", "x y", "ubuntu", "lxd",
    ];
    for seed in 0..4096_usize {
        let chosen = |mask: usize| {
            pool.iter()
                .enumerate()
                .filter(move |(n, _)| mask >> n & 1 == 1)
                .map(|(_, name)| *name)
        };
        let users: Vec<&str> = chosen(seed).collect();
        let groups: Vec<String> = chosen((seed * 2_654_435) >> 7)
            .map(|name| format!("keymaker_{name}"))
            .collect();
        let groups: Vec<&str> = groups.iter().map(String::as_str).collect();
        let names = host.accept(&users, &groups);
        assert_eq!(
            names.users.len() + names.groups.len() + names.refused.len(),
            users.len() + groups.len()
        );
        let mut unix: Vec<&str> = names.logins();
        let of_groups: Vec<GroupName> = names.groups.values().map(|group| group.unix.name()).collect();
        unix.extend(of_groups.iter().map(GroupName::as_str));
        let distinct: BTreeSet<&str> = unix.iter().copied().collect();
        assert_eq!(distinct.len(), unix.len(), "{users:?} {groups:?}");
        assert!(
            names
                .users
                .keys()
                .all(|name| host.local.user(name.as_str()).is_none() && host.local.group(name.as_str()).is_none())
        );
    }
}
