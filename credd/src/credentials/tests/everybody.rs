//! Ways to be somebody × chains, generated: anybody who asks has the chain that is theirs by who they are, or nothing.

use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use credd_core::accounts::LocalNames;
use credd_core::config::{Config, Method};
use keymaker_core::directory_file::Verdict;

use super::host::{ALICE, Generous, Host};
use crate::clock::Clock;
use crate::credentials::directory_accounts::HostAccounts;
use crate::credentials::people::{Keymakerd, People};
use crate::credentials::{Cache, Issuer};

const CAROL: u32 = 1_900_000_003;
/// The local account of alice's name.
const NAMESAKE: u32 = 1000;
const NOBODY: u32 = 5000;
const SUBORDINATE: u32 = 100_007;

const PASSWD: &str = "root:x:0:0::/:/bin/sh\npostgres:x:105:110::/:/bin/sh\n\tzed:x: 2555:300::/:/bin/sh\n";
const GROUP: &str = "root:x:0:\nsudo:x:27:\nlocked:x:300:bob,alice\nssl:x:301:postgres\n";

/// What is so about somebody, written down by hand.
#[derive(Clone, Copy)]
enum Truth {
    /// They have this name and these groups.
    Is(Option<&'static str>, &'static [&'static str]),
    /// The same, but nothing is said of anybody whom no chain names by user or uid.
    IfNamed(&'static str),
    /// Whether they have a name or groups cannot be told.
    Unclear,
    /// They get nothing.
    Refused,
}

/// A way to be somebody on this host.
struct Way {
    what: &'static str,
    uid: u32,
    truth: Truth,
    happens: fn(&Host),
}

const fn way(what: &'static str, uid: u32, truth: Truth, happens: fn(&Host)) -> Way {
    Way {
        what,
        uid,
        truth,
        happens,
    }
}

fn write(host: &Host, file: &str, text: &str) {
    std::fs::write(host.path(file), text).unwrap();
}

const WAYS: [Way; 22] = [
    way("root", 0, Truth::Is(Some("root"), &["root"]), |_| {}),
    way(
        "a local account in a local group",
        105,
        Truth::Is(Some("postgres"), &["ssl"]),
        |_| {},
    ),
    way(
        "a line with blanks, as glibc reads it",
        2555,
        Truth::Is(Some("zed"), &["locked"]),
        |_| {},
    ),
    way(
        "a user of the directory",
        ALICE,
        Truth::Is(Some("alice"), &["sudo", "locked"]),
        |_| {},
    ),
    way("a user whose name a local account has", ALICE, Truth::Refused, namesake),
    way(
        "a local account of a user's name",
        NAMESAKE,
        Truth::Is(Some("alice"), &["locked"]),
        namesake,
    ),
    way("not in the required group", ALICE, Truth::Refused, |host| {
        host.publish(Verdict::NotInRequiredGroup, false)
    }),
    way("deleted", ALICE, Truth::Refused, |host| {
        host.publish(Verdict::Deleted, false)
    }),
    way("expired", ALICE, Truth::Refused, |host| {
        host.publish(Verdict::Expired, false)
    }),
    way("another's name", ALICE, Truth::Refused, |host| {
        host.publish(Verdict::NameHeldByAnother, false)
    }),
    way("a tombstone", ALICE, Truth::Refused, |host| {
        host.publish(Verdict::Allowed, true)
    }),
    way("facts that are too old", ALICE, Truth::Refused, |host| {
        host.contact(host.clock.now() - Duration::from_secs(86_401));
    }),
    way("gone, as keymakerd says", ALICE, Truth::Refused, |host| {
        *host.answer.lock().unwrap() = "no-such-user"
    }),
    way(
        "a number of the directory's that nobody has",
        CAROL,
        Truth::Refused,
        |_| {},
    ),
    way("a number without a name", NOBODY, Truth::Is(None, &[]), |_| {}),
    way("a subordinate number", SUBORDINATE, Truth::Is(None, &[]), |_| {}),
    way(
        "a number that another service may know",
        NOBODY,
        Truth::Unclear,
        |host| {
            write(host, "nsswitch", "passwd: files keymaker sss\n");
        },
    ),
    way(
        "a local account beside another service",
        105,
        Truth::Is(Some("postgres"), &["ssl"]),
        |host| {
            write(host, "nsswitch", "passwd: files keymaker sss\n");
        },
    ),
    way("without /etc/passwd", 105, Truth::Refused, |host| {
        std::fs::remove_file(host.path("passwd")).unwrap()
    }),
    way("without /etc/group", ALICE, Truth::Refused, |host| {
        std::fs::remove_file(host.path("group")).unwrap()
    }),
    way(
        "a local account without the directory",
        105,
        Truth::IfNamed("postgres"),
        without_directory,
    ),
    way("a user without the directory", ALICE, Truth::Refused, without_directory),
];

fn namesake(host: &Host) {
    write(
        host,
        "passwd",
        &format!("{PASSWD}alice:x:{NAMESAKE}:{NAMESAKE}::/:/bin/sh\n"),
    );
}

fn without_directory(host: &Host) {
    std::fs::remove_file(host.path("directory")).unwrap();
}

/// One chain of each kind at most, each giving something of its own or nothing.
#[derive(Clone, Copy, Default)]
struct Chains {
    user: Option<(&'static str, bool)>,
    uids: Option<((u32, u32), bool)>,
    group: Option<(&'static str, bool)>,
    default: bool,
}

const OF_USER: Method = Method::UserRole;
const OF_UIDS: Method = Method::CreateUserRole;
const OF_GROUP: Method = Method::RestrictedInstanceRole;
const OF_NOBODY: Method = Method::InstanceRole;

impl Chains {
    /// No chain, one or two, by whoever is on the host or is not.
    fn all() -> Vec<Self> {
        let names = |names: &'static [&'static str]| names.iter().flat_map(|&name| [(name, true), (name, false)]);
        let users: Vec<_> = names(&["postgres", "alice", "zed"]).map(Some).chain([None]).collect();
        let groups: Vec<_> = names(&["sudo", "locked", "ssl", "alice"])
            .map(Some)
            .chain([None])
            .collect();
        let ranges = [(105, 105), (ALICE, ALICE), (NOBODY, 165_535)];
        let uids: Vec<_> = ranges
            .into_iter()
            .flat_map(|range| [(range, true), (range, false)])
            .map(Some)
            .chain([None])
            .collect();
        let mut all = vec![];
        for default in [true, false] {
            let none = Self {
                default,
                ..Self::default()
            };
            for &user in &users {
                all.extend(uids.iter().map(|&uids| Self { user, uids, ..none }));
                all.extend(groups.iter().map(|&group| Self { user, group, ..none }));
            }
            for &uids in &uids {
                all.extend(groups.iter().map(|&group| Self { uids, group, ..none }));
            }
        }
        all
    }

    fn text(self) -> String {
        let methods = |gives: bool, method: &str| {
            if gives {
                format!("[\"{method}\"]")
            } else {
                "[]".to_owned()
            }
        };
        let mut text = format!("default_chain = {}\n", methods(self.default, "instance_role"));
        if let Some((name, gives)) = self.user {
            text += &format!("user_chains = {{ {name} = {} }}\n", methods(gives, "user_role"));
        }
        if let Some(((first, last), gives)) = self.uids {
            text += &format!(
                "uid_chains = {{ \"{first}-{last}\" = {} }}\n",
                methods(gives, "create_user_role")
            );
        }
        if let Some((name, gives)) = self.group {
            text += &format!(
                "group_chains = {{ {name} = {} }}\n",
                methods(gives, "restricted_instance_role")
            );
        }
        text
    }

    /// By user, else by uid, else by group, else the default (credd.toml(5)).
    fn of(self, uid: u32, truth: Truth) -> Vec<Method> {
        let by = |gives: bool, method: Method| if gives { vec![method] } else { vec![] };
        let by_uid = self.uids.filter(|((first, last), _)| (*first..=*last).contains(&uid));
        let (user, groups) = match truth {
            Truth::Refused => return vec![],
            Truth::Unclear if self.user.is_some() => return vec![],
            Truth::IfNamed(name) if self.user.is_none_or(|(user, _)| user != name) && by_uid.is_none() => return vec![],
            Truth::Unclear => (None, None),
            Truth::IfNamed(name) => (Some(name), Some(&["ssl"][..])),
            Truth::Is(user, groups) => (user, Some(groups)),
        };
        if let Some((_, gives)) = self.user.filter(|(name, _)| user == Some(name)) {
            return by(gives, OF_USER);
        }
        if let Some((_, gives)) = by_uid {
            return by(gives, OF_UIDS);
        }
        match (self.group, groups) {
            (Some(_), None) => vec![],
            (Some((group, gives)), Some(groups)) if groups.contains(&group) => by(gives, OF_GROUP),
            _ => by(self.default, OF_NOBODY),
        }
    }
}

fn people(host: &Host) -> People {
    let local = LocalNames::new(host.path("passwd"), host.path("group")).with_services(host.path("nsswitch"));
    let keymakerd = Keymakerd {
        contact: host.path("contact"),
        login_socket: host.path("login.sock"),
        authz_ttl: Duration::from_secs(60),
    };
    let accounts = HostAccounts::new(local, Some(host.path("directory")));
    People::new(accounts, keymakerd, Rc::new(host.clock.clone()))
}

// P13 P18
#[tokio::test]
async fn whoever_somebody_is_and_whatever_the_chains_they_have_their_own_chain_or_nothing() {
    let chains = Chains::all();
    let (mut questions, mut gave, mut wrong) = (0, 0, vec![]);
    for way in &WAYS {
        let host = Host::new();
        write(&host, "passwd", PASSWD);
        write(&host, "group", GROUP);
        write(&host, "nsswitch", "passwd: files keymaker\n");
        (way.happens)(&host);
        for chains in &chains {
            let text = chains.text();
            let config = Config::parse(&text, Path::new("credd.toml")).unwrap();
            let source = Generous(host.clock.clone(), Rc::default());
            let cache = Cache::new(source, Rc::new(host.clock.clone()), Rc::default());
            let has = Issuer::new(people(&host), config, cache, Rc::default())
                .chain(way.uid)
                .await;
            questions += 1;
            gave += usize::from(!has.is_empty());
            if has != chains.of(way.uid, way.truth) {
                wrong.push(format!("{}, by\n{text}has {has:?}", way.what));
            }
        }
    }
    println!(
        "{} ways, {} sets of chains, {questions} questions, {gave} of them gave something",
        WAYS.len(),
        chains.len()
    );
    assert!(wrong.is_empty(), "{} wrong, such as {}", wrong.len(), wrong[0]);
}
