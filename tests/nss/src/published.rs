//! What this host's directory holds, and what the right answer about each of its users and groups is.

use std::ffi::CString;
use std::path::Path;

use keymaker_core::directory_file::records::MAX_GROUPS;
use keymaker_core::directory_file::{DirectoryBuilder, FileStamp, Header, NewGroup, NewUser, Verdict};
use keymaker_core::id::{Gid, IdRange, Uid};
use keymaker_core::name::{GroupName, UserName};
use keymaker_core::paths;
use keymaker_core::published_file::writer::replace_published;

/// How many users are in every publication.
pub const USERS: u32 = 500;
/// How many groups are, each with every seventh user.
pub const TEAMS: u32 = 7;
const FIRST_UID: u32 = 1_900_000_000;
const FIRST_TEAM: u32 = 2_000_000_000;
/// The local groups that users are in.
pub const SUDO: u32 = 27;
pub const KEYMAKER_USERS: u32 = 990;

/// One of the users that are in every publication.
#[derive(Clone)]
pub struct KnownUser {
    number: u32,
    pub uid: u32,
    pub name: CString,
    pub gecos: CString,
    pub home: CString,
    /// The supplementary groups, the team first.
    pub groups: [u32; 3],
}

impl KnownUser {
    pub fn new(number: u32) -> Self {
        let text = |text: String| CString::new(text).unwrap();
        Self {
            number,
            uid: FIRST_UID + number,
            name: text(format!("user{number}")),
            gecos: text(format!("The user number {number}")),
            home: text(format!("/home/user{number}")),
            groups: [team(number % TEAMS), SUDO, KEYMAKER_USERS],
        }
    }

    /// One whose full name is the number of the publication.
    pub fn signed(number: u32, publication: u64) -> Self {
        Self {
            gecos: CString::new(publication.to_string()).unwrap(),
            ..Self::new(number)
        }
    }

    /// One whom a real keymakerd publishes, as a line says: name, uid, and the gids of the team, of sudo and of
    /// keymaker-users.
    pub fn of_line(line: &str) -> Self {
        let (name, ids) = line.split_once(' ').expect("a name, a space and four numbers");
        let ids: Vec<u32> = ids.split(' ').map(|id| id.parse().unwrap()).collect();
        let [uid, groups @ ..] = ids.as_slice() else {
            panic!("no uid in {line:?}")
        };
        let text = |text: String| CString::new(text).unwrap();
        Self {
            number: 0,
            uid: *uid,
            name: text(name.to_owned()),
            gecos: text(name.to_owned()),
            home: text(format!("/home/{name}")),
            groups: groups.try_into().unwrap(),
        }
    }

    /// All of them.
    pub fn all() -> Vec<Self> {
        (0..USERS).map(Self::new).collect()
    }
}

/// The gid of this team.
pub fn team(number: u32) -> u32 {
    FIRST_TEAM + number
}

/// The bytes of the directory's publication `number`: the known users, and others that make each publication's layout
/// differ.
pub fn directory(number: u64) -> Vec<u8> {
    let users: Vec<KnownUser> = (0..USERS + number as u32 % 8 * 150).map(KnownUser::new).collect();
    builder_of(&users).build(number).unwrap()
}

/// One in which publication `number` is the full name of every user: 20 of them.
pub fn signed_directory(number: u64) -> Vec<u8> {
    let users: Vec<KnownUser> = (0..20).map(|user| KnownUser::signed(user, number)).collect();
    builder_of(&users).build(number).unwrap()
}

/// The bytes of a directory of this many users.
pub fn directory_of(users: u32) -> Vec<u8> {
    let users: Vec<KnownUser> = (0..users).map(KnownUser::new).collect();
    builder_of(&users).build(1).unwrap()
}

/// A directory of these users, to be laid out.
pub fn builder_of(users: &[KnownUser]) -> DirectoryBuilder {
    let mut builder = empty();
    for user in users.iter().rev() {
        add(&mut builder, user, &[team(user.number % TEAMS), SUDO]);
    }
    for number in 0..TEAMS {
        let members: Vec<UserName> = users
            .iter()
            .filter(|user| user.number < USERS && user.number % TEAMS == number)
            .map(|user| UserName::parse(user.name.as_bytes()).unwrap())
            .collect();
        add_group(&mut builder, &format!("team{number}"), team(number), &members);
    }
    builder
}

fn empty() -> DirectoryBuilder {
    let stamp = |path: &str| FileStamp::of(&std::fs::metadata(path).unwrap());
    let mut header = Header {
        account: "123456789012",
        keymaker_users_gid: KEYMAKER_USERS,
        passwd: stamp(paths::PASSWD),
        group: stamp(paths::GROUP),
        ..Header::NOTHING
    };
    header.ranges[0] = IdRange::WIDE;
    header.local_gids[0] = SUDO;
    DirectoryBuilder::new(&header)
}

/// Puts publication `number` in place.
pub fn publish(number: u64) {
    put(&directory(number));
}

/// Puts a publication of this many users in place.
pub fn publish_of(users: u32) {
    put(&directory_of(users));
}

/// Puts one in place whose users are each in as many groups as a record holds.
pub fn publish_with_most_groups() {
    let groups: Vec<u32> = (0..MAX_GROUPS as u32).map(team).collect();
    let mut builder = empty();
    for number in 0..USERS {
        add(&mut builder, &KnownUser::new(number), &groups);
    }
    put(&builder.build(1).unwrap());
}

fn put(directory: &[u8]) {
    std::fs::create_dir_all(paths::PUBLIC).unwrap();
    replace_published(Path::new(paths::DIRECTORY), directory, 0o644).unwrap();
}

fn add(builder: &mut DirectoryBuilder, user: &KnownUser, groups: &[u32]) {
    let name = user.name.to_str().unwrap();
    let new = NewUser {
        name: UserName::parse(name.as_bytes()).unwrap(),
        uid: Uid::new(user.uid).unwrap(),
        answered_at: 0,
        verdict: Verdict::Allowed,
        tombstone: false,
        seen_here: user.number < 10,
        ended: false,
        gecos: user.gecos.to_str().unwrap(),
        home: user.home.to_str().unwrap(),
        shell: "/bin/bash",
        iam_user_id: "AIDAEXAMPLE",
        iam_user_name: name,
        proofs_from: None,
        groups,
        former_names: &[],
    };
    builder.user(&new).unwrap();
    add_group(builder, name, user.uid, &[]);
}

fn add_group(builder: &mut DirectoryBuilder, name: &str, gid: u32, members: &[UserName]) {
    let group = NewGroup {
        name: GroupName::parse(name.as_bytes()).unwrap(),
        gid: Gid::new(gid).unwrap(),
        private: members.is_empty(),
        members,
    };
    builder.group(&group).unwrap();
}
