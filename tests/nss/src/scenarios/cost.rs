//! Questions of one kind, as many as are wanted, and nothing else: tests/budgets.rs counts what each costs.

use crate::ask::{self, Answer, Judged};
use crate::published::KnownUser;

/// Asks `count` questions: of `name`, `uid` and `group` each about another user, and of those that end in `-again` about
/// one whom this process knows already.
pub fn ask(kind: &str, count: usize) {
    super::ask_module_alone();
    let (mut answer, users) = (Answer::new(), KnownUser::all());
    assert!(count <= users.len());
    let (question, is_again) = kind.strip_suffix("-again").map_or((kind, false), |kind| (kind, true));
    for user in &users[..count] {
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
