//! What keys of keymakerd.toml change for those who read what is published, where no other test shows it.
//! tests/settings.md names a test for each key.

use super::*;
use keymaker_core::id::IdRange;

/// A host whose first pass was made by these settings.
async fn after_a_pass(settings: &str, change: impl FnOnce(&IamFake)) -> Host {
    let host = host(settings);
    change(&host.iam);
    host.service.pass().await;
    host
}

/// Number, full name, home and shell.
fn entry(host: &Host, login: &str) -> Option<(u32, String, String, String)> {
    let mut buffer = [0; MAX_USER_RECORD];
    let directory = host.directory();
    let user = directory.user_by_name(name(login), &mut buffer).unwrap()?;
    let texts = [user.gecos, user.home, user.shell].map(str::to_owned);
    let [gecos, home, shell] = texts;
    Some((user.uid.get(), gecos, home, shell))
}

fn gid(host: &Host, group: &str) -> u32 {
    let mut buffer = [0; 4096];
    let group = GroupName::parse(group.as_bytes()).unwrap();
    let directory = host.directory();
    directory.group_by_name(group, &mut buffer).unwrap().unwrap().gid.get()
}

#[test]
fn with_only_group_members_nobody_is_published_who_is_in_no_group_of_ours() {
    on_one_thread(async {
        for (settings, carol) in [("", true), ("only_group_members = true", false)] {
            let host = after_a_pass(settings, |iam| iam.add_user("carol", "AIDACAROL", 1)).await;
            let published = (host.uid("alice").is_some(), host.uid("carol").is_some());
            assert_eq!(published, (true, carol), "{settings}");
        }
    });
}

#[test]
fn ids_are_drawn_by_the_scheme_and_from_the_range_that_the_file_names() {
    on_one_thread(async {
        let own = IdRange {
            first: 10_000,
            last: 19_999,
        };
        for (settings, range) in [
            ("", IdRange::WIDE),
            ("id_scheme = \"keymaker\"", IdRange::PYTHON),
            ("id_range = [10000, 19999]", own),
        ] {
            let host = after_a_pass(settings, |_| ()).await;
            let ids = [host.uid("alice").unwrap(), gid(&host, "devs")];
            assert!(ids.iter().all(|id| range.contains(*id)), "{settings}: {ids:?}");
        }
    });
}

#[test]
fn a_group_has_the_gid_that_the_file_gives_it() {
    on_one_thread(async {
        let host = after_a_pass("group_ids = { devs = 5001 }", |_| ()).await;
        assert_eq!(gid(&host, "devs"), 5001);
        assert!(host.groups("alice").contains(&5001));
    });
}

#[test]
fn home_and_shell_are_the_files_unless_a_tag_may_decide_and_does() {
    on_one_thread(async {
        let tags = [
            ("uid", "200007"),
            ("home", "/data/alice"),
            ("shell", "/bin/zsh"),
            ("gecos", "Alice A."),
            ("expires", "2020-01-01"),
        ];
        let tags: Vec<(String, String)> = tags.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        let by = async |settings: &str| {
            let tags = Some(tags.clone());
            let change = |iam: &IamFake| iam.change_user("alice", |alice| alice.tags = tags);
            after_a_pass(settings, change).await
        };
        let plain = by("").await;
        let (uid, gecos, home, shell) = entry(&plain, "alice").unwrap();
        assert!(IdRange::WIDE.contains(uid));
        assert_eq!([&gecos, &home, &shell], ["alice", "/home/alice", "/bin/bash"]);
        assert_eq!(plain.decision("alice"), Some(LoginDecision::Allowed));
        let base = by("home_base = \"/srv/people\"\ndefault_shell = \"/bin/sh\"").await;
        let texts = (gecos, "/srv/people/alice".to_owned(), "/bin/sh".to_owned());
        assert_eq!(entry(&base, "alice"), Some((uid, texts.0, texts.1, texts.2)));
        let all = "tags = [\"uid\", \"home\", \"shell\", \"gecos\", \"expires\"]\ntag_uid_range = ";
        let tagged = by(&format!("{all}[200000, 299999]")).await;
        let texts = ["Alice A.", "/data/alice"].map(str::to_owned);
        let [gecos, home] = texts;
        let found = entry(&tagged, "alice").unwrap();
        assert_eq!((found.0, found.1, found.2), (200_007, gecos, home));
        // Her last day is over.
        assert_eq!(tagged.decision("alice"), Some(LoginDecision::Refused(Refusal::Expired)));
        // What `keymaker assign-uids` wrote goes before a plain tag.
        let numbered = async |assigned: &str| {
            let tags = [("uid", "200007"), ("keymaker:uid", assigned)];
            let tags = tags.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
            let change = |iam: &IamFake| iam.change_user("alice", |alice| alice.tags = Some(tags));
            after_a_pass("tags = [\"uid\"]\ntag_uid_range = [200000, 299999]", change).await
        };
        assert_eq!(entry(&numbered("200008").await, "alice").unwrap().0, 200_008);
        assert_eq!(entry(&numbered("1").await, "alice"), None);
        // Outside of what a tag may ask for.
        assert_eq!(entry(&by(&format!("{all}[300000, 399999]")).await, "alice"), None);
    });
}

#[test]
fn a_key_in_a_tag_is_published_with_the_age_of_the_users_facts() {
    on_one_thread(async {
        let (hour, later) = (3600, 1_000);
        for (settings, published) in [("", None), ("tags = [\"keys\"]", Some((1, 500_000 * hour)))] {
            let host = host(settings);
            host.service.clock.stop(500_000 * hour + later);
            host.iam.add_user("bob", "AIDABOB", 1);
            let tag = ("keymaker:ssh-key-1".to_owned(), KEY.to_owned());
            host.iam.change_user("alice", |alice| alice.tags = Some(vec![tag]));
            host.service.pass().await;
            let keys = KeysFile::open(&host.folder.join("public/keys")).unwrap();
            let of = |login| keys.user(name(login)).unwrap();
            assert_eq!(
                of("alice").map(|user| (user.keys.len(), user.answered_at)),
                published,
                "{settings}"
            );
            assert_eq!(of("bob"), None);
        }
    });
}

#[test]
fn a_home_or_shell_that_a_tag_says_and_this_host_does_not_give_is_said() {
    on_one_thread(async {
        let tags = |home: &str, shell: &str| {
            Some(vec![
                ("home".to_owned(), home.to_owned()),
                ("shell".to_owned(), shell.to_owned()),
            ])
        };
        for (home, shell, said) in [("/etc/alice", "/no/such", 2), ("/srv/alice", "/bin/bash", 0)] {
            for (settings, said) in [("tags = [\"home\", \"shell\"]", said), ("tags = [\"gecos\"]", 0)] {
                let host = after_a_pass(settings, |iam| {
                    iam.change_user("alice", |alice| alice.tags = tags(home, shell));
                })
                .await;
                let unusable = host.service.state().published.unusable_tags.clone();
                assert_eq!(unusable.len(), said, "{settings}: {unusable:?}");
                assert!(
                    unusable.iter().all(|tag| tag.contains(" of alice says ")),
                    "{unusable:?}"
                );
            }
        }
    });
}

#[test]
fn however_many_they_are_one_pass_learns_the_tags_of_all_and_an_order_what_was_changed_of_any() {
    on_one_thread(async {
        let host = host("tags = [\"gecos\"]");
        let user = |number: u64| format!("user{number}");
        for number in 0..300 {
            host.iam.add_user(&user(number), &format!("AIDAUSER{number}"), 1);
        }
        host.service.pass().await;
        assert!((0..300).all(|number| host.uid(&user(number)).is_some()));
        let tag = ("gecos".to_owned(), "Somebody Else".to_owned());
        host.iam.change_user(&user(299), |one| one.tags = Some(vec![tag]));
        host.pass_time(60);
        host.service.pass().await;
        assert_ne!(
            entry(&host, &user(299)).unwrap().1,
            "Somebody Else",
            "it is not old yet"
        );
        host.service.order_pass().await.unwrap();
        assert_eq!(entry(&host, &user(299)).unwrap().1, "Somebody Else");
    });
}

// P9
#[test]
fn facts_are_asked_for_again_once_they_are_older_than_authz_ttl() {
    on_one_thread(async {
        for (settings, asked) in [("authz_ttl = 90", false), ("authz_ttl = 30", true)] {
            let host = after_a_pass(settings, |_| ()).await;
            let before = host.iam.all_calls();
            host.pass_time(60);
            assert_eq!(
                host.service.refresh_account(name("alice"), SSHD).await,
                DirectoryOutcome::Fresh
            );
            assert_eq!(host.iam.all_calls() > before, asked, "{settings}");
        }
    });
}

// P9
#[test]
fn nobody_logs_in_once_iam_was_last_heard_of_longer_than_max_stale_ago() {
    on_one_thread(async {
        let late = LoginDecision::CannotTell(Doubt::OutOfContact);
        for (settings, after) in [("max_stale = 900", LoginDecision::Allowed), ("max_stale = 600", late)] {
            let host = after_a_pass(settings, |_| ()).await;
            host.pass_time(750);
            assert_eq!(host.decision("alice"), Some(after), "{settings}");
        }
    });
}

#[test]
fn a_pass_fetches_the_keys_of_whom_the_file_names_once_in_a_sync_interval() {
    on_one_thread(async {
        for (settings, fetched) in [
            ("prefetch_keys = \"never\"", [0, 0, 0]),
            ("prefetch_keys = \"all\"\nsync_interval = 100", [1, 1, 2]),
            ("prefetch_keys = \"all\"\nsync_interval = 40", [1, 2, 3]),
        ] {
            let host = host(settings);
            let mut calls = Vec::new();
            for _ in 0..3 {
                host.service.pass().await;
                calls.push(host.iam.calls(Action::LIST_SSH_PUBLIC_KEYS));
                host.pass_time(60);
            }
            assert_eq!(calls, fetched, "{settings}");
            assert_eq!(host.keys("alice"), fetched[0], "{settings}");
        }
    });
}

// P3
#[test]
fn nothing_is_published_without_the_roles_description_unless_the_file_says_that_it_holds_no_settings() {
    on_one_thread(async {
        for (settings, published) in [("", false), ("role_settings = false", true)] {
            let host = after_a_pass(settings, |iam| iam.time_out(Action::GET_ROLE)).await;
            let directory = Directory::open(&host.folder.join("public/directory"));
            assert_eq!(directory.is_ok(), published, "{settings}");
        }
    });
}

#[test]
fn the_file_says_whether_everybody_is_listed() {
    on_one_thread(async {
        for (settings, all) in [("", false), ("enumerate = true", true)] {
            let host = after_a_pass(settings, |_| ()).await;
            assert_eq!(host.directory().header().enumerate_all, all);
        }
    });
}
