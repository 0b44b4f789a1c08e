//! A name is not a person: IAM's names move between two calls, or between two answers, and nobody becomes anybody else.

use super::*;

const OTHER_KEY: &str = include_str!("../testdata/rsa2048-other.pub");

/// alice and bob, each with a key of their own; alice is in `keymaker_devs` and `keymaker_sudo`.
fn host_of_two(settings: &str) -> Host {
    let host = host(settings);
    host.iam.add_group("keymaker_sudo", "AGPASUDO", 1);
    host.iam.join("alice", "keymaker_sudo");
    host.iam.add_user("bob", "AIDABOB", 100);
    host.iam.add_key("bob", "APKABOB", OTHER_KEY);
    host
}

impl Host {
    /// Whether the key of this id is shown to sshd for the user of this uid.
    fn opens(&self, key_id: &str, uid: u32) -> bool {
        let keys = KeysFile::open(&self.folder.join("public/keys")).unwrap();
        let mut buffer = [0; MAX_USER_RECORD];
        let directory = self.directory();
        let Some(user) = directory.user_by_uid(uid, &mut buffer).unwrap() else {
            return false;
        };
        let Some(shown) = keys.user(user.name).unwrap() else {
            return false;
        };
        shown.uid.get() == uid && shown.keys.iter().any(|key| key.id == key_id)
    }

    fn groups_of_uid(&self, uid: u32) -> Vec<u32> {
        let mut buffer = [0; MAX_USER_RECORD];
        let user = self.directory().user_by_uid(uid, &mut buffer).map(|user| {
            user.filter(|user| !user.tombstone)
                .map(|user| user.groups().collect::<Vec<_>>())
        });
        user.unwrap().unwrap_or_default()
    }
}

// P2
#[test]
fn who_swaps_two_names_within_authz_ttl_of_a_pass_opens_nobody_elses_uid() {
    on_one_thread(async {
        let host = host_of_two("");
        host.service.pass().await;
        let (alice, bob) = (host.uid("alice").unwrap(), host.uid("bob").unwrap());
        host.iam.swap_users("alice", "bob");
        host.pass_time(10);
        for login in ["alice", "bob"] {
            host.service.refresh_keys(name(login), SSHD).await;
            host.service.refresh_keys(name(login), Cause::Login).await;
        }
        assert!(!host.opens("APKABOB", alice) && !host.opens("APKA1", bob));
    });
}

// P2
#[test]
fn a_local_user_who_asks_for_a_swapped_name_gives_nobody_elses_key_to_it() {
    on_one_thread(async {
        let host = host_of_two("");
        host.service.pass().await;
        let (alice, bob) = (host.uid("alice").unwrap(), host.uid("bob").unwrap());
        host.service.refresh_keys(name("alice"), Cause::Login).await;
        host.iam.swap_users("alice", "bob");
        host.pass_time(61);
        let lookup = Cause::Lookup { uid: 1001 };
        host.service.refresh_account(name("alice"), lookup).await;
        host.service.refresh_keys(name("alice"), SSHD).await;
        host.service.pass().await;
        host.service.refresh_keys(name("alice"), Cause::Login).await;
        assert!(!host.opens("APKABOB", alice) && !host.opens("APKA1", bob));
    });
}

// P2
#[test]
fn a_user_deleted_and_made_again_brings_no_key_to_the_former_ones_uid() {
    on_one_thread(async {
        for first_looked_up in [false, true] {
            let host = host_of_two("");
            host.service.pass().await;
            let alice = host.uid("alice").unwrap();
            host.iam.add_user("alice", "AIDAMALLORY", 500);
            host.iam.add_key("alice", "APKAMALLORY", OTHER_KEY);
            host.pass_time(10);
            if first_looked_up {
                let lookup = Cause::Lookup { uid: 1001 };
                host.service.refresh_account(name("alice"), lookup).await;
            }
            host.service.refresh_keys(name("alice"), SSHD).await;
            assert!(!host.opens("APKAMALLORY", alice));
        }
    });
}

// P2
#[test]
fn who_takes_over_a_name_takes_over_no_groups() {
    on_one_thread(async {
        let host = host_of_two("");
        host.iam.add_group("keymaker_ops", "AGPAOPS", 1);
        host.iam.join("bob", "keymaker_ops");
        host.service.pass().await;
        let (alice, bob) = (host.uid("alice").unwrap(), host.uid("bob").unwrap());
        assert!(host.groups_of_uid(alice).contains(&27));
        host.iam.leave("bob", "keymaker_ops");
        host.iam.rename_user("bob", "bobby");
        host.iam.rename_user("alice", "bob");
        host.pass_time(300);
        host.service.pass().await;
        assert!(host.groups_of_uid(bob).is_empty());
        // The name bob was another's here, so alice is refused by it; the memberships are hers still.
        let state = host.service.state();
        let groups = ["AIDAALICE", "AIDABOB"].map(|id| state.facts.users[id].groups.len());
        assert_eq!(groups, [2, 0]);
    });
}

// P2
#[test]
fn names_that_move_at_any_boundary_of_a_nudge_give_nobody_elses_keys_or_groups() {
    on_one_thread(async {
        for kept_keys in [false, true] {
            for boundary in 1..8 {
                let host = host_of_two("");
                host.service.pass().await;
                let (alice, bob) = (host.uid("alice").unwrap(), host.uid("bob").unwrap());
                if kept_keys {
                    host.service.refresh_keys(name("alice"), Cause::Login).await;
                }
                host.pass_time(61);
                let mut calls = 0;
                host.iam.between_calls(move |iam, _| {
                    calls += 1;
                    if calls == boundary {
                        iam.swap_users("alice", "bob");
                    }
                });
                host.service.refresh_keys(name("alice"), SSHD).await;
                host.service.refresh_account(name("bob"), SSHD).await;
                assert!(
                    !host.opens("APKABOB", alice) && !host.opens("APKA1", bob),
                    "swapped before call {boundary}"
                );
                assert!(!host.groups_of_uid(bob).contains(&27), "swapped before call {boundary}");
            }
        }
    });
}

// P2
#[test]
fn names_that_move_at_any_boundary_of_a_pass_give_nobody_elses_keys_or_groups() {
    on_one_thread(async {
        for settings in ["prefetch_keys = \"all\"", "prefetch_keys = \"all\"\ngrade = 1"] {
            for boundary in 1..20 {
                let host = host_of_two(settings);
                host.service.pass().await;
                let (alice, bob) = (host.uid("alice").unwrap(), host.uid("bob").unwrap());
                host.pass_time(400);
                let mut calls = 0;
                host.iam.set_page(1);
                host.iam.between_calls(move |iam, _| {
                    calls += 1;
                    if calls == boundary {
                        iam.swap_users("alice", "bob");
                        iam.swap_groups("keymaker_sudo", "prod_ssh_users");
                        iam.join("alice", "keymaker_devs");
                    }
                });
                host.service.pass().await;
                assert!(
                    !host.opens("APKABOB", alice) && !host.opens("APKA1", bob),
                    "swapped before call {boundary}"
                );
                assert!(!host.groups_of_uid(bob).contains(&27), "swapped before call {boundary}");
            }
        }
    });
}

// P2
#[test]
fn a_name_borrowed_for_one_call_brings_no_foreign_groups() {
    on_one_thread(async {
        for by_pass in [false, true] {
            let host = host_of_two("");
            host.iam.join("bob", "keymaker_devs");
            host.service.pass().await;
            let bob = host.uid("bob").unwrap();
            // So that a pass asks about him.
            host.iam.leave("bob", "keymaker_devs");
            host.pass_time(61);
            let (mut swapped, calls) = (false, host.iam.calls(Action::LIST_GROUPS_FOR_USER));
            host.iam.between_calls(move |iam, action| {
                if swapped != (action == Action::LIST_GROUPS_FOR_USER) {
                    iam.swap_users("alice", "bob");
                    swapped = !swapped;
                }
            });
            if by_pass {
                host.service.pass().await;
            } else {
                host.service.refresh_account(name("bob"), Cause::Credentials).await;
            }
            assert!(host.iam.calls(Action::LIST_GROUPS_FOR_USER) > calls);
            assert!(!host.groups_of_uid(bob).contains(&27), "by a pass: {by_pass}");
            host.iam.stand_still();
        }
        // Who is in the group has it at once.
        let host = host_of_two("");
        host.service.pass().await;
        host.iam.join("bob", "keymaker_sudo");
        host.pass_time(61);
        assert_eq!(
            host.service.refresh_account(name("bob"), Cause::Login).await,
            DirectoryOutcome::Fresh
        );
        assert!(host.groups_of_uid(host.uid("bob").unwrap()).contains(&27));
    });
}

// P2 P3
#[test]
fn a_namesakes_answer_takes_no_group_from_a_member() {
    on_one_thread(async {
        let host = host_of_two("");
        host.service.pass().await;
        host.iam.leave("alice", "keymaker_sudo");
        host.pass_time(400);
        // The pass asks about her by the name that the listing told, which is bob's when it does; bob is in no group.
        let mut moved = false;
        host.iam.between_calls(move |iam, action| {
            if action == Action::GET_USER && !moved {
                iam.swap_users("alice", "bob");
                moved = true;
            }
        });
        host.service.pass().await;
        host.iam.stand_still();
        let of_alice = || host.service.state().facts.users["AIDAALICE"].groups.clone();
        assert!(of_alice().contains("AGPADEVS"), "{:?}", of_alice());
        host.pass_time(300);
        host.service.pass().await;
        assert_eq!(of_alice().into_iter().collect::<Vec<_>>(), ["AGPADEVS"]);
    });
}

// P2
#[test]
fn two_groups_that_swap_names_swap_no_members() {
    on_one_thread(async {
        for settings in ["", "grade = 1"] {
            for boundary in 1..10 {
                let host = host_of_two(settings);
                host.iam.join("bob", "prod_ssh_users");
                host.service.pass().await;
                let (alice, bob) = (host.uid("alice").unwrap(), host.uid("bob").unwrap());
                host.pass_time(400);
                let mut calls = 0;
                host.iam.set_page(1);
                host.iam.between_calls(move |iam, _| {
                    calls += 1;
                    if calls == boundary {
                        // keymaker_devs is alice's; what is named keymaker_sudo afterwards has no member.
                        iam.add_group("keymaker_later", "AGPALATER", 2);
                        iam.swap_groups("keymaker_sudo", "keymaker_later");
                    }
                });
                host.service.pass().await;
                host.iam.stand_still();
                assert!(!host.groups_of_uid(bob).contains(&27), "swapped before call {boundary}");
                host.pass_time(300);
                host.service.pass().await;
                assert!(
                    !host.groups_of_uid(alice).contains(&27),
                    "swapped before call {boundary}"
                );
            }
        }
    });
}

// P2
#[test]
fn a_user_with_the_name_of_a_group_of_iam_has_no_group_of_that_name() {
    on_one_thread(async {
        let host = host_of_two("");
        // The user was first. A line of sudoers for the group that came later is not for the user's private group.
        host.iam.add_user("dba", "AIDADBA", 100);
        host.service.pass().await;
        let group = |name: &str| {
            let mut buffer = [0; 4096];
            let name = GroupName::parse(name.as_bytes()).unwrap();
            let group = host.directory().group_by_name(name, &mut buffer).unwrap();
            group.map(|group| (group.gid.get(), group.private))
        };
        let uid = host.uid("dba").unwrap();
        assert_eq!(group("dba"), Some((uid, true)));
        host.iam.add_group("keymaker_dba", "AGPADBA", 200);
        host.iam.join("bob", "keymaker_dba");
        host.pass_time(300);
        host.service.pass().await;
        assert_eq!((host.uid("dba"), group("dba")), (Some(uid), None));
        assert!(host.status().contains("belongs to the IAM user"), "{}", host.status());
        // The group was first, and anybody who may rename users or groups takes its name.
        host.iam.rename_user("dba", "nobody-s");
        host.pass_time(300);
        host.service.pass().await;
        let gid = group("dba").unwrap().0;
        assert!(gid != uid && host.groups("bob").contains(&gid));
        host.iam.rename_group("keymaker_dba", "keymaker_away");
        host.iam.rename_user("nobody-s", "dba");
        for _ in 0..2 {
            host.pass_time(300);
            host.service.pass().await;
            assert_eq!((host.uid("dba"), group("dba")), (None, None));
        }
        assert!(
            host.status().contains("stays reserved for it until root releases it"),
            "{}",
            host.status()
        );
        assert!(host.service.order_release(name("dba")).await.is_ok());
        assert_eq!(group("dba"), Some((uid, true)));
    });
}
