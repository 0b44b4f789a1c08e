//! Work of one kind, as often as is wanted, and nothing else: tests/budgets.rs and `bench growth` count what each costs.

use keymaker_core::directory_file::records::MAX_GROUPS;
use keymaker_core::published_file::format::HashKey;

use crate::ask::{self, Answer, Judged};
use crate::published::{self, KnownUser, USERS};
use crate::stage;

/// Asks `count` questions: of `name`, `uid` and `group` each about another user, and of those that end in `-again` about
/// one whom this process knows already.
pub fn ask(kind: &str, count: u32) {
    super::ask_module_alone();
    let apart = stage::users() / USERS;
    assert!(apart > 0 && count <= USERS);
    let users: Vec<KnownUser> = (0..count).map(|number| KnownUser::new(number * apart)).collect();
    let mut answer = Answer::new();
    let (question, is_again) = kind.strip_suffix("-again").map_or((kind, false), |kind| (kind, true));
    for user in &users {
        let user = if is_again { &users[0] } else { user };
        let judged = match question {
            "name" => answer.user_by_name(user),
            "uid" => answer.user_by_uid(user),
            "group" => answer.group(user, false),
            "team" => answer.team(user),
            "groups" => ask::group_list(user),
            "nobody" => match answer.is_uid(user.uid + 1_000_000) {
                Ok(false) => Judged::Right,
                _ => Judged::Wrong,
            },
            _ => panic!("no such kind of question: {kind}"),
        };
        assert_eq!(judged, Judged::Right);
    }
}

/// Asks for the groups of that many users, each in as many groups as a record holds.
pub fn ask_about_most_groups(count: u32) {
    super::ask_module_alone();
    published::publish_with_most_groups();
    for number in 0..count {
        let user = KnownUser::new(number);
        // Their private group, and keymaker-users.
        assert_eq!(ask::groups_of(&user).len(), MAX_GROUPS + 2);
    }
}

/// Makes the bytes of a directory of `SIZE` users, `TIMES` times.
pub fn lay_out(times_and_size: &str) {
    let (times, size) = times_and_size.split_once(' ').unwrap();
    let (times, size): (u32, u32) = (times.parse().unwrap(), size.parse().unwrap());
    let users: Vec<KnownUser> = (0..size).map(KnownUser::new).collect();
    for _ in 0..times {
        // Under another key another table may be larger.
        published::builder_of(&users).build_with(1, HashKey([7; 16])).unwrap();
    }
}
