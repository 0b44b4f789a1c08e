//! What a pass and a publication cost against how many users there are: `bench growth` counts it, with sizes of its own.

use super::*;

/// In ten groups; all are known.
async fn host_of(users: u64) -> Host {
    let host = host("prefetch_keys = \"never\"");
    // The fake makes the whole listing for each page.
    host.iam.set_page(usize::MAX);
    for number in 0..10 {
        host.iam
            .add_group(&format!("keymaker_group{number}"), &format!("AGPA{number}"), 1);
    }
    for number in 0..users {
        let user = format!("user{number}");
        host.iam.add_user_anew(&user, &format!("AIDA{number}"), 1);
        host.iam.join(&user, &format!("keymaker_group{}", number % 10));
    }
    host.pass_time(300);
    assert_eq!(host.service.pass().await, DirectoryOutcome::Fresh);
    host
}

#[test]
fn a_steady_pass_over_many_changes_nothing() {
    let (users, times) = counted::wanted();
    on_one_thread(async {
        let host = host_of(users).await;
        let generation = host.directory().generation();
        for _ in 0..times {
            host.pass_time(300);
            assert_eq!(host.service.pass().await, DirectoryOutcome::Fresh);
        }
        assert_eq!(host.directory().generation(), generation);
    });
}

#[test]
fn a_change_of_one_among_many_is_one_publication() {
    let (users, times) = counted::wanted();
    on_one_thread(async {
        let host = host_of(users).await;
        let generation = host.directory().generation();
        for number in 0..times {
            let now = host.service.clock.unix();
            if let Some(user) = host.service.state_mut().facts.users.get_mut(&format!("AIDA{number}")) {
                user.last_login = Some(now);
            }
            host.service.publish().await.unwrap();
        }
        assert_eq!(host.directory().generation(), generation + times);
    });
}
