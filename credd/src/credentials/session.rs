//! What a session is called and which tags it has: what CloudTrail, policies and the person who reads both will see.
//! The methods use it. Two users never share a name here.

use keymaker_core::source_identity::source_identity;
use sha2::{Digest, Sha256};

use super::question::CredentialQuestion;
use super::refusal::CredentialRefusal;

/// The role session name of the caller: 2 to 64 of `[\w+=,.@-]` (STS API Reference, `AssumeRole`).
///
/// A name that fits is taken as it is, any other is changed and gets `=` and a digest of the whole. A name that holds a
/// `=` counts as one that does not fit, so what was changed never equals what was not, and digests tell the rest apart.
pub fn role_session_name(question: &CredentialQuestion) -> String {
    let Some(user) = &question.person.account.user else {
        return format!("uid={}", question.uid);
    };
    let legal = |c: char| c.is_ascii_alphanumeric() || "_+,.@-".contains(c);
    if (2..=LONGEST_NAME).contains(&user.len()) && user.chars().all(legal) {
        return user.clone();
    }
    let digest: String = Sha256::digest(user)
        .iter()
        .take(DIGEST_BYTES)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let readable: String = user
        .chars()
        .map(|c| if legal(c) { c } else { '_' })
        .take(LONGEST_NAME - 1 - digest.len())
        .collect();
    format!("{readable}={digest}")
}

/// The `SourceIdentity` of the caller: of their IAM user where that is known, the same that PAM writes at a login.
pub fn source_identity_of(question: &CredentialQuestion) -> String {
    match &question.person.iam {
        Some(iam) => source_identity(&iam.user_name, &iam.user_id).into_owned(),
        None => role_session_name(question),
    }
}

/// The session tags of the caller. `instance_id` is what AWS calls this instance's own session.
///
/// A tag that cannot be said exactly is a refusal: a policy may deny by it.
pub fn session_tags(
    question: &CredentialQuestion,
    instance_id: &str,
) -> Result<Vec<(&'static str, String)>, CredentialRefusal> {
    let account = &question.person.account;
    // Each group between two colons, so that `StringLike *:ops:*` asks for one whole group.
    let groups: String = account.groups.iter().map(|group| format!("{group}:")).collect();
    let mut tags = vec![
        ("keymaker-uid", question.uid.to_string()),
        ("keymaker-groups", format!(":{groups}")),
        ("keymaker-instance", instance_id.to_owned()),
    ];
    tags.extend(account.user.clone().map(|user| ("keymaker-user", user)));
    let legal = |c: char| c.is_alphanumeric() || " _.:/=+-@".contains(c);
    match tags
        .iter()
        .find(|(_, value)| value.len() > LONGEST_TAG || !value.chars().all(legal))
    {
        Some((tag, value)) => Err(CredentialRefusal::denied(format!(
            "AWS does not allow the value {value:?} for the session tag {tag}"
        ))),
        None => Ok(tags),
    }
}

const LONGEST_NAME: usize = 64;
const LONGEST_TAG: usize = 256;
const DIGEST_BYTES: usize = 8;

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::credentials::tests::{local, question};

    fn named(user: &str) -> String {
        role_session_name(&question(7, local(user)))
    }

    #[test]
    fn a_name_that_sts_takes_is_the_session_name() {
        for user in ["alice", "a.b-c_d", "x@y,z+1", &"n".repeat(64)] {
            assert_eq!(named(user), user);
        }
        let nameless = CredentialQuestion {
            uid: 7,
            ..CredentialQuestion::default()
        };
        assert_eq!(role_session_name(&nameless), "uid=7");
    }

    // P18
    #[test]
    fn no_two_names_share_a_session_name() {
        let long = "n".repeat(65);
        let longer = "n".repeat(66);
        let mut users: Vec<String> = ["a", "b", "a b", "a_b", "a/b", "a\u{e4}b", "uid=7", "", &long, &longer]
            .map(str::to_owned)
            .into();
        // Whatever a name became may be a name too.
        users.extend(users.clone().iter().map(|user| named(user)));
        users.sort();
        users.dedup();
        let names: HashSet<String> = users.iter().map(|user| named(user)).collect();
        assert_eq!(names.len(), users.len());
        for name in names {
            assert!((2..=64).contains(&name.len()), "{name}");
            assert!(
                name.chars().all(|c| c.is_ascii_alphanumeric() || "_+=,.@-".contains(c)),
                "{name}"
            );
        }
    }

    #[test]
    fn tags_say_who_and_where_and_refuse_what_they_cannot_say() {
        let mut person = local("alice");
        person.account.groups = vec!["alice".into(), "devs".into()];
        let tags = session_tags(&question(7, person.clone()), "i-0abc").unwrap();
        assert!(tags.contains(&("keymaker-groups", ":alice:devs:".into())));
        assert!(tags.contains(&("keymaker-user", "alice".into())));
        person.account.groups = vec!["g".repeat(31); 9];
        assert!(matches!(
            session_tags(&question(7, person), "i-0abc"),
            Err(CredentialRefusal::Denied(_))
        ));
        let odd = session_tags(&question(7, local("al*ce")), "i-0abc");
        assert!(matches!(odd, Err(CredentialRefusal::Denied(_))));
    }
}
