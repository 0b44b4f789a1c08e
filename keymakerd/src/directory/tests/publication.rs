//! What is laid out in the files, and what is left out of them.

use super::super::publishing::unsettled::Unsettled;
use super::*;
use crate::audit::tests::Lines;
use keymaker_core::audit::{AuditEvent, AuditField, AuditLine};
use keymaker_daemon::audit::AuditLog;

const COLLIDING: &str = include_str!("../../../../keymaker-core/tests/version_1/colliding_names");

// P2
#[test]
fn whoever_chooses_the_names_of_iam_users_keeps_nobody_from_coming_or_going() {
    on_one_thread(async {
        let host = host("");
        host.pass_time(300);
        host.service.pass().await;
        for (number, chosen) in COLLIDING.split_whitespace().enumerate() {
            host.iam.add_user(chosen, &format!("AIDACHOSEN{number}"), 1);
        }
        host.iam.add_user("dave", "AIDADAVE", 1);
        host.iam.delete_user("alice");
        host.pass_time(300);
        assert_eq!(host.service.pass().await, DirectoryOutcome::Fresh);
        assert_eq!((host.uid("dave").is_some(), host.uid("alice")), (true, None));
        for chosen in COLLIDING.split_whitespace() {
            assert!(host.uid(chosen).is_some(), "{chosen}");
        }
        assert!(host.status().contains("\"left_out\": []"));
    });
}

#[test]
fn an_entry_that_does_not_fit_is_left_out_and_named_and_stops_nobody() {
    on_one_thread(async {
        let host = host("");
        for number in 0..70 {
            let group = format!("keymaker_g{number}");
            host.iam.add_group(&group, &format!("AGPA{number}"), 1);
            host.iam.join("alice", &group);
        }
        host.iam.add_user("dave", "AIDADAVE", 1);
        host.pass_time(300);
        assert_eq!(host.service.pass().await, DirectoryOutcome::Fresh);
        assert_eq!((host.uid("dave").is_some(), host.uid("alice")), (true, None));
        assert!(host.status().contains("more groups or keys than fit into a record"));
        // Denied by PAM, not ignored.
        assert_eq!(host.decision("alice"), Some(LoginDecision::Refused(Refusal::NoEntry)));
    });
}

/// What has been written down so far: user, decision, what or which setting.
fn audited(lines: &Lines) -> Vec<String> {
    let lines = lines.lines.take();
    let told = |line: &AuditLine, field| line.told(field).unwrap_or("-").to_owned();
    let words = lines.iter().map(|line| {
        let [user, what, group, setting] = [
            AuditField::User,
            AuditField::What,
            AuditField::Group,
            AuditField::Setting,
        ]
        .map(|field| told(line, field));
        match line.event {
            AuditEvent::Setting => format!("{setting} {}", told(line, AuditField::To)),
            _ => format!("{user} {} {what} {group}", line.decision),
        }
    });
    words.collect()
}

#[test]
fn each_publication_writes_down_who_gained_or_lost_what_since_the_last_also_over_a_restart() {
    on_one_thread(async {
        let mut host = host("");
        let lines = Rc::new(Lines::default());
        let pass = async |host: &Host| {
            host.service
                .audit
                .begin(Rc::clone(&lines) as Rc<dyn AuditLog<AuditLine>>);
            host.pass_time(300);
            assert_eq!(host.service.pass().await, DirectoryOutcome::Fresh);
            audited(&lines)
        };
        // There was nothing to lose before.
        assert_eq!(pass(&host).await, [""; 0]);
        host.iam.add_user("dave", "AIDADAVE", 1);
        host.iam.join("dave", "keymaker_devs");
        assert_eq!(pass(&host).await, ["dave gained login -", "dave gained group devs"]);
        assert_eq!(pass(&host).await, [""; 0]);
        host.iam.leave("dave", "keymaker_devs");
        host.restart("").await;
        assert_eq!(pass(&host).await, ["dave lost group devs"]);
        host.iam.delete_user("dave");
        pass(&host).await;
        host.service.state_mut().config.require_iam_group = Some("prod_ssh_users".into());
        assert_eq!(
            pass(&host).await,
            [
                "require_iam_group \"prod_ssh_users\"",
                "alice lost login -",
                "alice lost group devs"
            ]
        );
    });
}

const SCHEMES: [&str; 2] = ["", "id_scheme = \"keymaker\""];

// P7
#[test]
fn whoever_was_never_here_and_left_nothing_has_no_tombstone_where_the_whole_range_is_ours() {
    on_one_thread(async {
        let mut host = host("");
        host.iam.add_user("dave", "AIDADAVE", 1);
        host.pass_time(300);
        host.service.pass().await;
        let uid = host.uid("dave").unwrap();
        host.iam.delete_user("dave");
        host.pass_time(300);
        host.service.pass().await;
        assert_eq!(host.tombstone(uid), Some(Verdict::Deleted));
        let first = host.settle(Unsettled::default()).await;
        assert_eq!(host.tombstone(uid), Some(Verdict::Deleted), "settled by one look");
        host.settle(first).await;
        assert_eq!((host.tombstone(uid), host.decision("dave")), (None, None));
        // PAM and credd deny the number as before.
        assert!(host.directory().header().claims_uid(uid));
        // Nor again after a restart, and the number stays theirs.
        host.restart("").await;
        assert_eq!(host.tombstone(uid), None);
        host.restart(SCHEMES[1]).await;
        assert_eq!(
            host.tombstone(uid),
            Some(Verdict::Deleted),
            "the range is no longer ours"
        );
        host.restart("").await;
        host.iam.add_user("dave", "AIDADAVE", 1);
        host.pass_time(300);
        host.service.pass().await;
        assert_eq!(host.uid("dave"), Some(uid));
        host.iam.delete_user("dave");
        host.pass_time(300);
        host.service.pass().await;
        assert_eq!(host.tombstone(uid), Some(Verdict::Deleted));
    });
}

// P20
#[test]
fn where_only_a_tombstone_says_that_a_number_is_ours_it_stays() {
    for settings in [SCHEMES[1], "tags = [\"uid\"]\ntag_uid_range = [200000, 200999]"] {
        on_one_thread(async {
            let host = host(settings);
            host.iam.add_user("dave", "AIDADAVE", 1);
            host.tag("alice", "uid", "200002");
            host.tag("dave", "uid", "200001");
            host.pass_time(300);
            host.service.pass().await;
            let uid = host.uid("dave").unwrap();
            assert!(!host.directory().header().claims_uid(uid), "{uid}");
            host.iam.delete_user("dave");
            host.pass_time(300);
            host.service.pass().await;
            let first = host.settle(Unsettled::default()).await;
            host.settle(first).await;
            assert_eq!(host.tombstone(uid), Some(Verdict::Deleted));
        });
    }
}

// P2
#[test]
fn no_tag_changes_the_number_of_somebody_who_has_just_logged_in() {
    on_one_thread(async {
        let host = host("tags = [\"uid\"]\ntag_uid_range = [200000, 200999]");
        host.tag("alice", "uid", "200002");
        host.service.pass().await;
        let uid = host.uid("alice");
        host.service.refresh_keys(name("alice"), SSHD).await;
        host.service.refresh_keys(name("alice"), Cause::Login).await;
        // Before it is written down that she has.
        assert!(host.service.state().login_unpublished);
        host.tag("alice", "uid", "200003");
        host.pass_time(300);
        host.service.refresh_account(name("alice"), SSHD).await;
        host.service.pass().await;
        assert_eq!((uid, host.uid("alice")), (Some(200_002), Some(200_002)));
    });
}

// P7
#[test]
fn whoever_has_logged_in_or_left_a_session_or_a_home_is_denied_for_ever() {
    for scheme in SCHEMES {
        on_one_thread(async {
            let mut host = host(scheme);
            let left = ["bylogin", "bysession", "byhome", "bylinger"];
            for (number, login) in left.into_iter().enumerate() {
                host.iam.add_user(login, &format!("AIDALEFT{number}"), 1);
            }
            host.pass_time(300);
            host.service.pass().await;
            host.service.refresh_keys(name("bylogin"), Cause::Login).await;
            let uids = left.map(|login| host.uid(login).unwrap());
            host.leave(&format!("run/systemd/users/{}", uids[1]));
            host.leave("home/byhome/.bashrc");
            host.leave("var/lib/systemd/linger/bylinger");
            for login in left {
                host.iam.delete_user(login);
            }
            host.pass_time(300);
            host.service.pass().await;
            let first = host.settle(Unsettled::default()).await;
            host.settle(first).await;
            std::fs::remove_dir_all(host.folder.join("root")).unwrap();
            let first = host.settle(Unsettled::default()).await;
            host.settle(first).await;
            host.restart(scheme).await;
            for (login, uid) in left.into_iter().zip(uids) {
                assert_eq!(host.tombstone(uid), Some(Verdict::Deleted), "{login}");
                assert_eq!(host.decision(login), Some(LoginDecision::Refused(Refusal::Deleted)));
            }
        });
    }
}

// P3
#[test]
fn where_a_home_cannot_be_looked_for_the_tombstone_stays() {
    for settings in ["", "tags = [\"home\"]"] {
        on_one_thread(async {
            let host = host(settings);
            host.iam.add_user("dave", "AIDADAVE", 1);
            host.tag("alice", "home", "/srv/alice");
            host.tag("dave", "home", "/srv/dave");
            host.pass_time(300);
            host.service.pass().await;
            let uid = host.uid("dave").unwrap();
            host.iam.delete_user("dave");
            host.pass_time(300);
            host.service.pass().await;
            if settings.is_empty() {
                let root = host.folder.join("root");
                std::fs::create_dir_all(&root).unwrap();
                std::os::unix::fs::symlink("home", root.join("home")).unwrap();
            }
            let first = host.settle(Unsettled::default()).await;
            host.settle(first).await;
            assert_eq!(host.tombstone(uid), Some(Verdict::Deleted));
        });
    }
}

// P7
#[test]
fn whoever_was_kept_before_this_was_recorded_is_denied_for_ever() {
    on_one_thread(async {
        let mut host = host("");
        host.iam.add_user("dave", "AIDADAVE", 1);
        host.pass_time(300);
        host.service.pass().await;
        let uid = host.uid("dave").unwrap();
        host.iam.delete_user("dave");
        host.pass_time(300);
        host.service.pass().await;
        let ids = host.folder.join("private/ids.json");
        let former = std::fs::read_to_string(&ids)
            .unwrap()
            .replace(",\"been_here\":false", "");
        assert!(!former.contains("been_here"), "{former}");
        std::fs::write(&ids, former).unwrap();
        host.restart("").await;
        let first = host.settle(Unsettled::default()).await;
        host.settle(first).await;
        assert_eq!(host.tombstone(uid), Some(Verdict::Deleted));
    });
}

impl Host {
    /// A look at a host that has nothing but what [`Self::leave`] put there.
    async fn settle(&self, before: Unsettled) -> Unsettled {
        self.service.settle(self.folder.join("root"), before).await
    }

    fn tag(&self, user: &str, key: &str, value: &str) {
        let tags = vec![(key.to_owned(), value.to_owned())];
        self.iam.change_user(user, |user| user.tags = Some(tags));
    }

    fn leave(&self, path: &str) {
        let path = self.folder.join("root").join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "").unwrap();
    }

    fn tombstone(&self, uid: u32) -> Option<Verdict> {
        let mut buffer = [0; MAX_USER_RECORD];
        let found = self.directory().user_by_uid(uid, &mut buffer).unwrap()?;
        found.tombstone.then_some(found.verdict)
    }
}
