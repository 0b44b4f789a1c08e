//! Who is published, under which name and number, by which settings.

use keymaker_aws::Replaced;

use super::*;
use crate::service_names::{ServiceFolders, ServiceNames};

#[test]
fn a_pass_publishes_everyone_with_their_groups() {
    on_one_thread(async {
        let host = host("");
        assert_eq!(host.service.pass().await, DirectoryOutcome::Fresh);
        assert!(host.uid("alice").unwrap() >= 1_879_048_192);
        assert_eq!(host.groups("alice").len(), 1);
        assert_eq!(host.decision("alice"), Some(LoginDecision::Allowed));
        let generation = host.directory().generation();
        host.pass_time(300);
        assert_eq!(host.service.pass().await, DirectoryOutcome::Fresh);
        assert_eq!(
            host.directory().generation(),
            generation,
            "a pass that learned nothing wrote a file"
        );
    });
}

// P2
#[test]
fn a_user_made_again_is_another_person_until_an_administrator_says_otherwise() {
    on_one_thread(async {
        let mut host = host("");
        host.service.pass().await;
        let former = host.uid("alice").unwrap();
        host.iam.delete_user("alice");
        host.iam.add_user("alice", "AIDAALICE2", 500);
        host.pass_time(61);
        host.service.refresh_account(name("alice"), SSHD).await;
        assert_ne!(host.uid("alice").unwrap(), former);
        assert_eq!(
            host.decision("alice"),
            Some(LoginDecision::Refused(Refusal::NameHeldByAnother))
        );
        host.service.pass().await;
        host.restart("").await;
        assert_eq!(
            host.decision("alice"),
            Some(LoginDecision::Refused(Refusal::NameHeldByAnother))
        );
        let released = host.service.order_release(name("alice")).await;
        assert!(released.is_ok(), "{released:?}");
        assert_eq!(host.decision("alice"), Some(LoginDecision::Allowed));
        assert!(host.service.order_release(name("alice")).await.is_err());
        let mut buffer = [0; MAX_USER_RECORD];
        let tombstone = host
            .directory()
            .user_by_uid(former, &mut buffer)
            .unwrap()
            .map(|user| (user.tombstone, user.verdict));
        assert_eq!(tombstone, Some((true, Verdict::Deleted)));
    });
}

// P7
#[test]
fn a_refused_user_has_the_refusal_as_shell_and_no_groups() {
    on_one_thread(async {
        let mut host = host("");
        host.iam.add_group("keymaker_sudo", "AGPASUDO", 1);
        host.iam.join("alice", "keymaker_sudo");
        host.service.pass().await;
        let devs = host.groups("alice");
        let entry = |host: &Host| (host.shell("alice"), host.groups("alice"), host.member_count("devs"));
        let as_usual = ("/bin/bash".to_owned(), devs, 1);
        let refused = ("/usr/libexec/keymaker/refusal".to_owned(), vec![], 0);
        assert_eq!(entry(&host), as_usual);
        host.restart("require_iam_group = \"prod_ssh_users\"").await;
        assert_eq!(
            host.decision("alice"),
            Some(LoginDecision::Refused(Refusal::NotInRequiredGroup))
        );
        assert_eq!(entry(&host), refused);
        host.iam.join("alice", "prod_ssh_users");
        host.pass_time(61);
        host.service.refresh_account(name("alice"), SSHD).await;
        assert_eq!(entry(&host), as_usual);
        host.iam.delete_user("alice");
        host.pass_time(61);
        host.service.refresh_account(name("alice"), SSHD).await;
        assert_eq!(host.decision("alice"), Some(LoginDecision::Refused(Refusal::Deleted)));
        assert_eq!(entry(&host), refused);
    });
}

// P1
#[test]
fn local_names_and_reserved_ones_are_never_published() {
    on_one_thread(async {
        let host = host("");
        for (number, taken) in ["root", "localbob", "sudo", "postgres", "wheel"]
            .into_iter()
            .enumerate()
        {
            host.iam.add_user(taken, &format!("AIDATAKEN{number}"), 1);
        }
        host.service.pass().await;
        for taken in ["root", "localbob", "sudo", "postgres", "wheel"] {
            assert_eq!(host.uid(taken), None, "{taken}");
        }
        assert_eq!(host.service.state().published.refused.len(), 5);
        host.service.state_mut().local = LocalAccounts::parse(
            format!("{LOCAL_PASSWD}alice:x:1001:1001::/home/alice:/bin/sh\n"),
            LOCAL_GROUP,
            "",
        );
        host.service.publish().await.unwrap();
        assert_eq!(host.uid("alice"), None);
    });
}

// P2
#[test]
fn whoever_makes_a_group_of_a_users_name_stops_nobody_who_was_here() {
    on_one_thread(async {
        let mut host = host("");
        host.service.pass().await;
        let alice = host.uid("alice");
        // Older than alice, and renamed to this in IAM now.
        host.iam.add_group("keymaker_alice", "AGPAALICE", 1);
        host.iam.add_user("devs", "AIDADEVS", 0);
        host.service.pass().await;
        for _ in 0..2 {
            assert_eq!((host.uid("alice"), host.uid("devs")), (alice, None));
            assert_eq!(host.decision("alice"), Some(LoginDecision::Allowed));
            assert_eq!(host.groups("alice").len(), 1);
            let refused = host.service.state().published.refused.len();
            assert_eq!(refused, 2, "{}", host.status());
            host.restart("").await;
        }
        // The group that had the name is gone, and what was written for it here may be there still.
        host.iam.delete_group("keymaker_devs");
        host.pass_time(6);
        host.service.pass().await;
        assert_eq!(host.uid("devs"), None);
        assert!(host.service.order_release(name("devs")).await.is_ok());
        assert!(host.uid("devs").is_some(), "{}", host.status());
    });
}

// P1
#[test]
fn a_name_that_becomes_a_services_stays_with_who_has_it_and_goes_to_nobody_new() {
    on_one_thread(async {
        let host = host("");
        host.service.pass().await;
        let root = host.folder.join("sysusers.d");
        std::fs::create_dir_all(&root).unwrap();
        std::fs::write(root.join("acmed.conf"), "u acmed -\nu alice -\ng devs -\n").unwrap();
        host.service.state_mut().local.services = ServiceNames::read(&ServiceFolders {
            sysusers: vec![root],
            units: Vec::new(),
        });
        host.iam.add_user("acmed", "AIDAACMED", 1);
        host.service.pass().await;
        assert_eq!((host.uid("acmed"), host.groups("alice").len()), (None, 1));
        assert_eq!(host.decision("alice"), Some(LoginDecision::Allowed));
        let status: serde_json::Value = serde_json::from_str(&host.status()).unwrap();
        let kept: Vec<&str> = status["kept_entries"]
            .as_array()
            .unwrap()
            .iter()
            .map(|entry| entry["iam_name"].as_str().unwrap())
            .collect();
        assert_eq!(kept, ["alice", "keymaker_devs"]);
        let refused = status["refused_entries"][0]["why"].as_str().unwrap();
        assert!(refused.contains("acmed.conf:1"), "{refused}");
    });
}

// P2
#[test]
fn ids_are_not_drawn_anew_where_users_are_published_whose_map_is_lost() {
    on_one_thread(async {
        let host = host("");
        host.service.pass().await;
        let store = &host.service.store;
        assert!(store.load_ids().is_ok());
        std::fs::remove_file(host.folder.join("private/ids.json")).unwrap();
        let lost = store.load_ids().unwrap_err().to_string();
        assert!(lost.contains("private/ids.json is missing"), "{lost}");
        std::fs::write(host.folder.join("private/ids.json"), "{}").unwrap();
        let older = store.load_ids().unwrap_err().to_string();
        assert!(older.contains("or older than the users"), "{older}");
        store.reset().unwrap();
        assert!(store.load_ids().is_ok());
    });
}

#[test]
fn until_the_settings_have_been_read_once_nobody_of_ours_logs_in() {
    on_one_thread(async {
        let host = host("");
        host.iam.time_out(Action::GET_ROLE);
        host.service.pass().await;
        host.iam.add_user("dave", "AIDADAVE", 1);
        host.service.state_mut().facts = super::super::facts::Facts::of_account("123456789012".into());
        host.service
            .refresh_account(name("dave"), Cause::Lookup { uid: 0 })
            .await;
        assert_eq!(
            host.decision("dave"),
            Some(LoginDecision::CannotTell(Doubt::NeverInContact))
        );
        host.iam.mend(Action::GET_ROLE);
        host.service.pass().await;
        assert_eq!(host.decision("dave"), Some(LoginDecision::Allowed));
    });
}

// P3
#[test]
fn a_replaced_roles_description_gives_way_to_the_next_ones() {
    on_one_thread(async {
        let host = host("");
        host.iam
            .set_role("host", Some("keymaker_require_iam_group=prod_ssh_users"));
        host.service.pass().await;
        let replaced = Replaced::ByRole {
            former: "host".into(),
            present: Some("other".into()),
        };
        host.iam.set_replaced(Some(replaced));
        host.iam
            .set_role("other", Some("keymaker_require_iam_group=keymaker_devs"));
        let asked = host.iam.calls(Action::GET_ROLE);
        assert_eq!(host.service.pass().await, DirectoryOutcome::CannotTell);
        assert!(host.service.accounts().is_none() && !host.service.is_connected());
        assert_eq!(
            host.iam.calls(Action::GET_ROLE),
            asked,
            "nothing was asked as the former role"
        );
        assert_eq!(
            host.decision("alice"),
            Some(LoginDecision::Refused(Refusal::NotInRequiredGroup)),
            "what the former one said holds until the next one has spoken"
        );
        host.iam.set_replaced(None);
        host.service.ask(Some(AskedAccounts {
            id_resolver: None,
            host: host.iam.clone(),
            host_role: Some("other".into()),
            people: host.iam.clone(),
            people_nudged: host.iam.clone(),
        }));
        assert_eq!(host.service.pass().await, DirectoryOutcome::Fresh);
        assert_eq!(host.decision("alice"), Some(LoginDecision::Allowed));
        assert!(
            host.status().contains("this host has another role"),
            "{}",
            host.status()
        );
        let accepted = host.service.order_acceptance().await.unwrap();
        assert!(
            accepted.starts_with("accepted: this host has another role"),
            "{accepted}"
        );
        assert!(!accepted.contains("accept-settings"), "{accepted}");
        assert!(!host.status().contains("this host has another role"));
    });
}

#[test]
fn a_required_group_that_vanishes_from_the_description_is_kept_until_accepted() {
    on_one_thread(async {
        let host = host("");
        host.iam
            .set_role("host", Some("keymaker_require_iam_group=prod_ssh_users"));
        host.service.pass().await;
        assert_eq!(
            host.decision("alice"),
            Some(LoginDecision::Refused(Refusal::NotInRequiredGroup))
        );
        host.iam.set_role("host", Some("rubbish = = keymaker_=x"));
        host.service.pass().await;
        assert_eq!(
            host.decision("alice"),
            Some(LoginDecision::Refused(Refusal::NotInRequiredGroup))
        );
        assert_eq!(
            host.service.order_acceptance().await.as_deref(),
            Ok("accepted: the IAM group \"prod_ssh_users\" is required, and instead none would be")
        );
        assert_eq!(host.decision("alice"), Some(LoginDecision::Allowed));
    });
}

// P3
#[test]
fn a_settings_file_that_is_gone_opens_nothing_until_an_administrator_accepts() {
    on_one_thread(async {
        let mut host = host("");
        let read = |host: &Host, text: &str| {
            let state = &mut *host.service.state_mut();
            state.config = state.settings.file.take(text.parse().unwrap()).unwrap();
        };
        let refused = Some(LoginDecision::Refused(Refusal::NotInRequiredGroup));
        assert!(host.service.order_acceptance().await.is_err());
        read(&host, "require_iam_group = \"prod_ssh_users\"");
        host.service.pass().await;
        assert_eq!(host.decision("alice"), refused);
        read(&host, "");
        host.service.publish().await.unwrap();
        assert_eq!(host.decision("alice"), refused);
        assert!(host.status().contains("no longer says require_iam_group"));
        // It is on the disk, so a start says the same.
        host.restart("").await;
        read(&host, "");
        host.service.publish().await.unwrap();
        assert_eq!(host.decision("alice"), refused);
        assert_eq!(
            host.service.order_acceptance().await.as_deref(),
            Ok("accepted: keymakerd.toml no longer says require_iam_group = \"prod_ssh_users\"")
        );
        assert_eq!(host.decision("alice"), Some(LoginDecision::Allowed));
        assert!(host.service.order_acceptance().await.is_err());
    });
}

// P3
#[test]
fn settings_that_are_lost_or_damaged_beside_a_directory_are_not_no_settings() {
    on_one_thread(async {
        let host = host("");
        host.service.pass().await;
        let store = &host.service.store;
        let kept = host.folder.join("private/settings.json");
        assert!(store.load_settings().is_ok());
        std::fs::write(&kept, "{\"applied\": ").unwrap();
        assert!(store.load_settings().unwrap_err().to_string().contains("is damaged"));
        std::fs::remove_file(&kept).unwrap();
        let lost = store.load_settings().unwrap_err().to_string();
        assert!(lost.contains("private/settings.json is missing"), "{lost}");
        store.reset().unwrap();
        assert!(store.load_settings().is_ok());
    });
}

#[test]
fn members_of_sudo_iam_group_get_keymaker_sudo_and_mapped_local_groups() {
    on_one_thread(async {
        let host = host("sudo_iam_group = \"admins\"");
        host.iam.add_group("admins", "AGPAADMINS", 1);
        host.iam.add_group("keymaker_sudo", "AGPASUDO", 1);
        host.iam.join("alice", "admins");
        host.iam.join("alice", "keymaker_sudo");
        host.service.pass().await;
        let groups = host.groups("alice");
        assert!(groups.contains(&997) && groups.contains(&27), "{groups:?}");
        assert!(host.directory().header().allows_local_gid(997));
    });
}

#[test]
fn with_only_group_members_whoever_is_in_none_of_our_groups_is_not_published() {
    on_one_thread(async {
        let settings = "only_group_members = true\nrequire_iam_group = \"prod_ssh_users\"\nsudo_iam_group = \"admins\"";
        let host = host(settings);
        for (group, id) in [("admins", "AGPAADMINS"), ("billing", "AGPABILLING")] {
            host.iam.add_group(group, id, 1);
        }
        let users = ["bob", "carol", "dave", "erin"];
        for (user, id) in users.iter().zip(["AIDABOB", "AIDACAROL", "AIDADAVE", "AIDAERIN"]) {
            host.iam.add_user(user, id, 200);
        }
        host.iam.join("bob", "billing");
        host.iam.join("carol", "prod_ssh_users");
        host.iam.join("dave", "admins");
        host.service.pass().await;
        let published = ["alice", "bob", "carol", "dave", "erin"].map(|user| host.uid(user).is_some());
        assert_eq!(published, [true, false, true, true, false]);
    });
}

/// By who was put there, whatever became of the group here: otherwise its members would go when a package brings a
/// group of its name.
#[test]
fn with_only_group_members_a_group_counts_that_has_no_entry_here_itself() {
    on_one_thread(async {
        let host = host("only_group_members = true");
        for (group, user) in [
            ("keymaker_docker", "bob"),
            ("keymaker_Bad+name", "carol"),
            ("billing", "dave"),
        ] {
            host.iam.add_group(group, &format!("AGPA{user}"), 1);
            host.iam.add_user(user, &format!("AIDA{user}"), 200);
            host.iam.join(user, group);
        }
        host.service.pass().await;
        let published = ["bob", "carol", "dave"].map(|user| host.uid(user).is_some());
        assert_eq!(published, [true, true, false]);
        assert_eq!((host.groups("bob"), host.groups("carol")), (vec![], vec![]));
    });
}

// P2
#[test]
fn no_tag_makes_a_folder_of_the_systems_or_of_somebody_elses_a_home() {
    on_one_thread(async {
        let host = host("tags = [\"home\"]");
        let refused = [
            "/etc/systemd/system/ssh.service.d",
            "/root",
            "/run/systemd/system/x.d",
            "/lib64/x",
            "/home",
            "/home/bob",
            "//home/bob",
            "/home//bob",
            "/srv/../home/bob",
            "/srv/alice/",
            "srv/alice",
            "/",
        ];
        for (tag, home) in refused
            .map(|tag| (tag, "/home/alice"))
            .into_iter()
            .chain([("/srv/alice", "/srv/alice")])
        {
            let tags = vec![("home".to_owned(), tag.to_owned())];
            host.iam.change_user("alice", |alice| alice.tags = Some(tags));
            host.pass_time(3600);
            host.service.pass().await;
            let mut buffer = [0; MAX_USER_RECORD];
            let directory = host.directory();
            let alice = directory.user_by_name(name("alice"), &mut buffer).unwrap().unwrap();
            assert_eq!(alice.home, home, "{tag}");
        }
    });
}
