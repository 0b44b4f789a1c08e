//! Publications that each say something else: from the moment that one is there, no thread, no child and no process is told
//! what an earlier one said.

use std::sync::atomic::{AtomicU64, Ordering};

use keymaker_core::paths;
use keymaker_core::published_file::writer::replace_published;

use crate::ask::{Answer, Judged};
use crate::published::{self, KnownUser};

/// Every so many publications a child asks, too.
const BETWEEN_CHILDREN: u64 = 8;

/// Asks after each of `count` publications, and in another thread all the time.
pub fn are_seen_at_once(count: u64) {
    replace(1);
    let (published, mut answers, mut wrong) = (AtomicU64::new(1), 0, 0);
    std::thread::scope(|scope| {
        let others = scope.spawn(|| ask_without_pause(&published, count));
        let mut answer = Answer::new();
        for number in 2..=count {
            replace(number);
            published.store(number, Ordering::Release);
            for user in [3, 4, 3] {
                let user = KnownUser::signed(user, number);
                let judged = [answer.user_by_name(&user), answer.user_by_uid(&user)];
                answers += 2;
                wrong += judged.iter().filter(|judged| **judged != Judged::Right).count();
            }
            if number % BETWEEN_CHILDREN == 0 {
                answers += 1;
                wrong += usize::from(!child_is_told(number));
            }
        }
        let (of_others, wrong_of_others) = others.join().unwrap();
        (answers, wrong) = (answers + of_others, wrong + wrong_of_others);
    });
    println!("{count} publications, {answers} answers, {wrong} of an earlier publication");
    assert_eq!(wrong, 0);
}

fn replace(number: u64) {
    replace_published(paths::DIRECTORY.as_ref(), &published::signed_directory(number), 0o644).unwrap();
}

/// Each answer must be of the publication that was there before the question, or of a later one. Returns how many came,
/// and how many were not.
fn ask_without_pause(published: &AtomicU64, last: u64) -> (u64, usize) {
    let (mut answer, user) = (Answer::new(), KnownUser::new(3));
    let (mut answers, mut wrong) = (0, 0);
    loop {
        let before = published.load(Ordering::Acquire);
        let told: u64 = answer.full_name(&user).unwrap().to_str().unwrap().parse().unwrap();
        answers += 1;
        wrong += usize::from(told < before);
        if before == last {
            return (answers, wrong);
        }
    }
}

/// A child of this moment, in which the other thread may have been anywhere, asks for what is there.
fn child_is_told(number: u64) -> bool {
    // SAFETY: the child asks, allocates nothing, and ends.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let (mut answer, mut right) = (Answer::new(), true);
        for user in [3, 5, 3] {
            let told = answer.full_name(&KnownUser::new(user));
            right &= told.and_then(|name| name.to_str().ok()?.parse().ok()) == Some(number);
        }
        // SAFETY: takes a number and does not come back.
        unsafe { libc::_exit(i32::from(!right)) };
    }
    let mut status = 0;
    // SAFETY: a child of ours, and a live number.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0
}
