//! What a user's role should be: pure, from the account alone. Nothing here asks AWS.

use std::fmt::Write;

use keymaker_aws::{RoleArn, trusts_only};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::account::{ListedAccount, ListedRole, ListedUser, MADE_BY, MADE_FOR, Policies, THIS};
use super::bound;
use super::options::{SyncRolesOptions, Trust};

/// A user's role as it should be.
#[derive(Debug)]
pub struct WantedRole {
    /// The IAM user.
    pub user: String,
    /// The `UserId`.
    pub user_id: String,
    /// The role.
    pub role: RoleArn,
    /// What its tag says of how it was made.
    pub made_as: String,
    /// Who may assume it.
    pub trust: Value,
    /// What it may do.
    pub policies: Policies,
    /// The user's, an ARN.
    pub boundary: Option<String>,
    /// Why the user's policies cannot be a role's. The role then denies everything.
    pub refused: Option<String>,
}

/// The inline policy of a role that must give nothing.
pub const REFUSED: &str = "keymaker-refused";

/// The role of `user`; `Err` where there can be none.
pub fn of(
    user: &ListedUser,
    username: &str,
    account: &ListedAccount,
    options: &SyncRolesOptions,
    instances: &RoleArn,
) -> Result<WantedRole, String> {
    let name = options.role_name_pattern.with(username);
    let role = RoleArn::new(
        instances.partition().clone(),
        instances.account().clone(),
        &options.role_path,
        &name,
    )
    .map_err(|why| format!("the user can have no role: {why}"))?;
    let mut policies = Policies::default();
    merge(&mut policies, "user", &user.name, &user.policies);
    for group in &user.groups {
        let found = account
            .groups
            .get(group)
            .ok_or_else(|| missing(&format!("the group {group}")))?;
        merge(&mut policies, "group", group, found);
    }
    if let Some(unread) = unread(&policies, user.boundary.as_deref(), account) {
        return Err(missing(unread));
    }
    let boundary = user.boundary.as_ref().and_then(|arn| account.managed.get(arn));
    let managed = policies.attached.iter().filter_map(|arn| account.managed.get(arn));
    let mut documents = policies.inline.values().chain(managed).chain(boundary);
    let refused = documents.find_map(bound::first_key).map(|key| {
        format!("the user's policies go by {key}, which means something else in a role: say it without that key")
    });
    if refused.is_some() {
        policies = nothing();
    }
    Ok(WantedRole {
        user: user.name.clone(),
        user_id: user.id.clone(),
        role,
        made_as: made_as(options),
        trust: trust(options.trust, instances),
        policies,
        boundary: user.boundary.clone(),
        refused,
    })
}

/// What a role lacks that is made without it may be a Deny, so it is not made.
fn missing(what: &str) -> String {
    format!("IAM's listing lacks {what}, which the user has; the role stays as it is: run this again")
}

/// A policy of which nobody can tell what it says: one of the account's own that is not in the listing, or a document
/// that is none. AWS's own policies are in no listing.
fn unread<'a>(policies: &'a Policies, boundary: Option<&'a str>, account: &ListedAccount) -> Option<&'a str> {
    let is_aws_own = |arn: &str| arn.contains(":iam::aws:policy/");
    let is_read = |arn: &str| account.managed.get(arn).is_some_and(Value::is_object);
    let managed = policies.attached.iter().map(String::as_str).chain(boundary);
    let mut unread = managed.filter(|arn| !is_aws_own(arn) && !is_read(arn));
    let mut inline = policies.inline.iter().filter(|(_, document)| !document.is_object());
    unread.next().or_else(|| inline.next().map(|(name, _)| name.as_str()))
}

/// The patterns as a tag can say them: IAM takes no braces and no comma there, and a name has neither slash nor colon.
pub fn made_as(options: &SyncRolesOptions) -> String {
    format!(
        "{} {}",
        options.role_name_pattern.with("/"),
        options.iam_name_pattern.with("/")
    )
    .replace(',', ":")
}

impl WantedRole {
    /// Why the role that is there is not one of ours to change; nothing where it is.
    pub fn not_ours(&self, present: &ListedRole, instances: &RoleArn) -> Option<String> {
        let role = &present.arn;
        if !trusts_only(&present.trust.to_string(), instances) {
            return Some(format!(
                "{role} is there already and may be assumed by others than {instances} or its account: delete it, or \
                 correct its trust policy"
            ));
        }
        if *role != self.role {
            return Some(format!(
                "{role} is there already, under another path: delete it, or see --role-path"
            ));
        }
        let handed_over = format!(
            "aws iam tag-role --role-name {} --tags Key={MADE_BY},Value={THIS} Key={MADE_FOR},Value={}",
            role.name(),
            self.user_id
        );
        if !present.made_here {
            return Some(format!(
                "{role} is there already, and somebody else made it: delete it, or hand it over, by which its own policies go: \
                 {handed_over}"
            ));
        }
        (present.made_for.as_deref() != Some(&self.user_id)).then(|| {
            format!("{role} was made for another IAM user of that name: delete it, or hand it over: {handed_over}")
        })
    }
}

/// A role of ours that is nobody's by its name.
pub struct Former {
    /// The IAM user who is to be asked for once more; `None`: it stays, since it was made by other patterns or does not
    /// say for whom.
    pub asked: Option<String>,
    owner: String,
    /// Whether IAM has the owner, under this very name.
    is_there: bool,
}

/// Whether the role was made for somebody whom IAM no longer has, or has under another name. One by another pattern or
/// path may be another fleet's, and is named only where its owner is gone.
pub fn former(role: &ListedRole, account: &ListedAccount, options: &SyncRolesOptions) -> Option<Former> {
    let Some(owner) = role.made_for.clone() else {
        return Some(Former {
            asked: None,
            owner: String::new(),
            is_there: false,
        });
    };
    let username = options.role_name_pattern.username_in(role.arn.name());
    let by_others = role.made_as.as_ref().is_some_and(|made| *made != made_as(options));
    let username = username.filter(|_| role.arn.path() == options.role_path && !by_others);
    let name = username.map(|username| options.iam_name_pattern.with(username));
    match account.users.iter().find(|user| user.id == owner) {
        None => Some(Former {
            asked: name,
            owner,
            is_there: false,
        }),
        Some(user) => name.filter(|name| *name != user.name).map(|_| Former {
            asked: Some(user.name.clone()),
            owner,
            is_there: true,
        }),
    }
}

impl Former {
    /// Whether the user who has the name, as IAM says now, shows that the role is nobody's.
    pub fn is_confirmed_by(&self, user_id: Option<&str>) -> bool {
        (user_id == Some(&self.owner)) == self.is_there
    }
}

/// The trust policy of a role of ours.
pub fn trust(trust: Trust, instances: &RoleArn) -> Value {
    let principal = match trust {
        Trust::InstanceRole => instances.to_string(),
        Trust::Account => format!("arn:{}:iam::{}:root", instances.partition(), instances.account()),
    };
    json!({ "Version": "2012-10-17", "Statement": [{
        "Effect": "Allow",
        "Principal": { "AWS": principal },
        "Action": ["sts:AssumeRole", "sts:TagSession", "sts:SetSourceIdentity"],
    }] })
}

/// A policy that denies all.
pub fn denial() -> Value {
    json!({ "Version": "2012-10-17", "Statement": [{ "Effect": "Deny", "Action": "*", "Resource": "*" }] })
}

/// The policies of a role that gives nothing.
pub fn nothing() -> Policies {
    Policies {
        inline: [(REFUSED.to_owned(), denial())].into(),
        ..Policies::default()
    }
}

/// Two groups may have an inline policy of the same name: each gets a name of its own in the role.
fn merge(into: &mut Policies, kind: &str, holder: &str, from: &Policies) {
    into.attached.extend(from.attached.iter().cloned());
    for (name, document) in &from.inline {
        into.inline.insert(inline_name(kind, holder, name), document.clone());
    }
}

/// IAM takes 128 characters, and both names may be as long.
fn inline_name(kind: &str, holder: &str, name: &str) -> String {
    let digest = Sha256::digest(format!("{kind}/{holder}/{name}").as_bytes());
    let mut end = String::new();
    for byte in digest.iter().take(8) {
        let _ = write!(end, "{byte:02x}");
    }
    let start: String = format!("{kind}.{holder}.{name}").chars().take(100).collect();
    format!("{start}.{end}")
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[test]
    fn inline_policies_of_one_name_stay_apart_and_names_fit() {
        let mut merged = Policies::default();
        let one = Policies {
            inline: [("same".to_owned(), json!(1))].into(),
            ..Policies::default()
        };
        for (kind, holder) in [("user", "a"), ("group", "a"), ("group", "a.same"), ("group", "b")] {
            merge(&mut merged, kind, holder, &one);
        }
        assert_eq!(merged.inline.len(), 4);
        assert!(inline_name("group", &"g".repeat(128), &"p".repeat(128)).len() <= 128);
        assert_ne!(inline_name("group", "a", "b.c"), inline_name("group", "a.b", "c"));
    }

    // P18
    #[test]
    fn no_role_is_made_without_a_policy_of_the_users_that_the_listing_lacks() {
        let allow = || json!({ "Statement": [] });
        let local = "arn:aws:iam::123456789012:policy/p";
        let boss = || ListedUser {
            name: "boss".to_owned(),
            id: "AIDABOSS".to_owned(),
            groups: vec!["ops".to_owned()],
            policies: Policies {
                inline: [("i".to_owned(), allow())].into(),
                attached: [local, "arn:aws:iam::aws:policy/ReadOnlyAccess"]
                    .map(str::to_owned)
                    .into(),
            },
            boundary: Some("arn:aws:iam::123456789012:policy/b".to_owned()),
        };
        let whole = || ListedAccount {
            groups: [("ops".to_owned(), Policies::default())].into(),
            managed: [local, "arn:aws:iam::123456789012:policy/b"]
                .map(|arn| (arn.to_owned(), allow()))
                .into(),
            ..ListedAccount::default()
        };
        let role = |user: ListedUser, account: ListedAccount| {
            let arguments = ["sync-roles", "--instance-iam-role", "instances"];
            let options = super::super::crashes::Options::try_parse_from(arguments)
                .unwrap()
                .options;
            let instances = "arn:aws:iam::123456789012:role/instances".parse().unwrap();
            of(&user, &user.name, &account, &options, &instances)
        };
        assert!(role(boss(), whole()).unwrap().refused.is_none());
        for lack in [
            |account: &mut ListedAccount| drop(account.groups.remove("ops")),
            |account: &mut ListedAccount| drop(account.managed.remove("arn:aws:iam::123456789012:policy/p")),
            |account: &mut ListedAccount| drop(account.managed.remove("arn:aws:iam::123456789012:policy/b")),
            |account: &mut ListedAccount| {
                drop(
                    account
                        .managed
                        .insert("arn:aws:iam::123456789012:policy/p".to_owned(), Value::Null),
                )
            },
        ] {
            let mut account = whole();
            lack(&mut account);
            assert!(role(boss(), account).unwrap_err().contains("listing lacks"));
        }
        let mut user = boss();
        user.policies.inline.insert("i".to_owned(), Value::Null);
        assert!(role(user, whole()).unwrap_err().contains("listing lacks user.boss.i"));
    }
}
