//! `publish = "people"`: most of IAM's users are programs, and have no entry under names that packages want.

use super::*;

const PEOPLE: &str = "publish = \"people\"";

/// alice is in a group of ours; carol has a key alone; frobd is a program.
fn host_of_people(settings: &str) -> Host {
    let host = host(&format!("{PEOPLE}\n{settings}"));
    host.iam.add_user("carol", "AIDACAROL", 100);
    host.iam.add_key("carol", "APKACAROL", KEY);
    host.iam.add_user("frobd", "AIDAFROBD", 100);
    host
}

impl Host {
    /// As a program of this host's that resolves the name.
    async fn look_up(&self, login: &str) -> (DirectoryOutcome, Option<u32>) {
        let asked = self
            .service
            .refresh_account(name(login), Cause::Lookup { uid: 0 })
            .await;
        (asked, self.uid(login))
    }

    fn is_known_number(&self, user_id: &str) -> bool {
        let number = self.service.state().ids.kept_id(user_id).unwrap();
        let mut buffer = [0; MAX_USER_RECORD];
        self.directory().user_by_uid(number, &mut buffer).unwrap().is_some()
    }
}

// P6
#[test]
fn who_is_no_member_is_judged_by_their_keys_when_first_asked_for_and_no_pass_lists_any() {
    on_one_thread(async {
        let host = host_of_people("");
        host.service.pass().await;
        assert!(host.uid("alice").is_some());
        assert_eq!((host.uid("carol"), host.uid("frobd")), (None, None));
        assert_eq!(host.iam.calls(Action::LIST_SSH_PUBLIC_KEYS), 0);
        assert!(host.status().contains("\"not_people_unasked\": 2"));
        let (answer, carol) = host.look_up("carol").await;
        assert_eq!(answer, DirectoryOutcome::Fresh);
        assert!(carol.is_some());
        assert_eq!(host.decision("carol"), Some(LoginDecision::Allowed));
        assert_eq!(host.look_up("frobd").await, (DirectoryOutcome::Fresh, None));
        assert!(
            host.status().contains("\"not_people\": [\n    \"frobd\"\n  ]"),
            "{}",
            host.status()
        );
        // What is young is not asked for again; a key counts within five seconds.
        let calls = host.iam.all_calls();
        assert_eq!(host.look_up("frobd").await, (DirectoryOutcome::Fresh, None));
        assert_eq!(host.iam.all_calls(), calls);
        host.iam.add_key("frobd", "APKAFROBD", KEY);
        host.pass_time(5);
        assert!(host.look_up("frobd").await.1.is_some());
        // A user whom no pass has seen yet.
        host.iam.add_user("dave", "AIDADAVE", 200);
        host.iam.add_key("dave", "APKADAVE", KEY);
        host.iam.add_user("grobd", "AIDAGROBD", 200);
        assert!(host.look_up("dave").await.1.is_some());
        assert_eq!(host.look_up("grobd").await, (DirectoryOutcome::Fresh, None));
        assert_eq!(host.look_up("erin").await, (DirectoryOutcome::NoSuchUser, None));
    });
}

#[test]
fn while_keys_are_not_told_nobody_says_that_there_is_no_such_user() {
    on_one_thread(async {
        let host = host_of_people("");
        host.service.pass().await;
        host.iam.time_out(Action::LIST_SSH_PUBLIC_KEYS);
        for _ in 0..2 {
            assert_eq!(host.look_up("carol").await, (DirectoryOutcome::CannotTell, None));
        }
        assert_eq!(host.look_up("alice").await.0, DirectoryOutcome::Fresh);
    });
}

// P3
#[test]
fn who_was_published_once_stays_whatever_they_lose_until_iam_deletes_them() {
    on_one_thread(async {
        let mut host = host_of_people("");
        host.service.pass().await;
        host.look_up("carol").await;
        let before = (host.uid("alice"), host.uid("carol"));
        host.iam.delete_key("carol", "APKACAROL");
        host.iam.leave("alice", "keymaker_devs");
        host.iam.delete_key("alice", "APKA1");
        for _ in 0..2 {
            host.pass_time(300);
            host.service.pass().await;
            host.look_up("carol").await;
            host.service.refresh_keys(name("carol"), SSHD).await;
            assert_eq!((host.uid("alice"), host.uid("carol")), before);
            host.restart(PEOPLE).await;
        }
        host.iam.delete_user("carol");
        host.pass_time(300);
        host.service.pass().await;
        assert_eq!(host.uid("carol"), None);
        assert_eq!(host.decision("carol"), Some(LoginDecision::Refused(Refusal::Deleted)));
    });
}

// P2
#[test]
fn numbers_are_drawn_over_everybody_and_who_was_never_published_leaves_no_tombstone() {
    on_one_thread(async {
        let host = host_of_people("");
        host.service.pass().await;
        let number = |user_id: &str| host.service.state().ids.kept_id(user_id);
        assert!(number("AIDAFROBD").is_some() && number("AIDACAROL").is_some());
        let drawn = (number("AIDAFROBD"), number("AIDACAROL"));
        host.look_up("carol").await;
        assert_eq!((number("AIDAFROBD"), host.uid("carol")), drawn);
        assert!(!host.is_known_number("AIDAFROBD"));
        host.iam.delete_user("frobd");
        host.iam.delete_user("carol");
        host.pass_time(300);
        host.service.pass().await;
        assert!(!host.is_known_number("AIDAFROBD"));
        assert!(host.is_known_number("AIDACAROL"), "who was published leaves one");
    });
}

#[test]
fn a_tag_of_ours_makes_a_person_and_a_number_does_not() {
    on_one_thread(async {
        let host = host_of_people("tags = [\"gecos\", \"keys\", \"uid\"]\ntag_uid_range = [5000, 9000]");
        for (user, tag, value) in [
            ("gwen", "gecos", "Gwen"),
            ("kim", "keymaker:ssh-key-1", "ssh-ed25519 AAAA"),
            ("uma", "uid", "5001"),
            ("hrobd", "keymaker:uid", "5002"),
            ("shelly", "shell", "/bin/zsh"),
        ] {
            host.iam.add_user(user, &format!("AIDA{}", user.to_uppercase()), 100);
            host.iam.change_user(user, |facts| {
                facts.tags = Some(vec![(tag.to_owned(), value.to_owned())])
            });
        }
        host.service.pass().await;
        let published = ["gwen", "kim", "uma", "hrobd", "shelly"].map(|user| host.uid(user).is_some());
        assert_eq!(published, [true, true, true, false, false]);
    });
}

#[test]
fn everybody_is_published_where_the_file_says_so() {
    on_one_thread(async {
        let mut host = host_of_people("");
        host.service.pass().await;
        host.restart("publish = \"all\"").await;
        host.service.pass().await;
        assert!(host.uid("frobd").is_some());
        host.restart(PEOPLE).await;
        assert!(host.uid("frobd").is_some(), "who was published stays");
    });
}
