//! From the role that is there to the one that should be: the calls, in an order in which the role at no moment, and
//! wherever they break off, gives a right that neither the old nor the new one gives.
//!
//! One call is one moment. Several are safe by themselves only where all of them are about policies that deny nothing:
//! whichever of these are there, a right is the old role's or the new one's. Everything else happens behind a policy
//! that denies all, put first and removed last.

use std::collections::BTreeMap;

use aws_sdk_iam::Client;
use aws_sdk_iam::types::Tag;
use keymaker_aws::{Action, AwsCallError};
use serde_json::Value;

use super::super::changes::Change;
use super::account::{ListedRole, MADE_AS, MADE_BY, MADE_FOR, Policies, THIS};
use super::wanted::{REFUSED, WantedRole, denial};
use crate::aws::call;

/// One call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RoleStep {
    /// Makes the role, with its boundary.
    Create,
    /// Has its tag say by which patterns it was made.
    Tag,
    /// Replaces the trust policy.
    Trust,
    /// Sets the boundary.
    PutBoundary(String),
    /// Takes it away.
    DeleteBoundary,
    /// Sets an inline policy.
    Put(String, Value),
    /// Takes it away.
    Delete(String),
    /// Attaches a managed policy.
    Attach(String),
    /// Takes it away.
    Detach(String),
    /// Deletes the role.
    DeleteRole,
}

/// IAM's quotas of a role: attached policies, and the characters of inline ones together.
const MOST_ATTACHED: usize = 10;
const MOST_CHARACTERS: usize = 10_240;

/// Who makes the changes: IAM, or a test.
pub trait Make {
    /// Makes one of them.
    async fn make(&self, step: &RoleStep, wanted: &WantedRole) -> Result<(), AwsCallError>;

    /// Makes one of a role that goes.
    async fn make_on(&self, step: &RoleStep, role: &str) -> Result<(), AwsCallError>;

    /// The `UserId` of the user who has this name now; `None`: nobody, as IAM says. Any doubt is an error.
    async fn user_id(&self, name: &str) -> Result<Option<String>, AwsCallError>;
}

impl Make for Client {
    async fn make(&self, step: &RoleStep, wanted: &WantedRole) -> Result<(), AwsCallError> {
        step.make(self, wanted).await
    }

    async fn make_on(&self, step: &RoleStep, role: &str) -> Result<(), AwsCallError> {
        step.make_on(self, role).await
    }

    async fn user_id(&self, name: &str) -> Result<Option<String>, AwsCallError> {
        match call!("iam:GetUser", self.get_user().user_name(name)) {
            Ok(answer) => {
                let user = answer.user().map(|user| user.user_id().to_owned());
                let missing = || AwsCallError::unreadable(Action::named("iam:GetUser"), "an answer without a user");
                user.ok_or_else(missing).map(Some)
            }
            Err(AwsCallError::NoSuchEntity { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// The step that takes everything from anybody who has the role.
pub fn deny_all() -> RoleStep {
    RoleStep::Put(REFUSED.to_owned(), denial())
}

/// Whether these steps begin so: then wherever they break off the role gives nothing.
pub fn begin_by_denial(steps: &[RoleStep]) -> bool {
    matches!(steps.first(), Some(RoleStep::Put(_, document)) if *document == denial())
}

/// What is to be done. The tag comes last: it gives no right. `managed` has the documents of the managed policies that
/// are known; any other may deny something.
pub fn between(present: Option<&ListedRole>, wanted: &WantedRole, managed: &BTreeMap<String, Value>) -> Vec<RoleStep> {
    let mut steps = rights_between(present, wanted, managed);
    let is_tagged = present.is_none_or(|role| role.made_as.as_ref() == Some(&wanted.made_as));
    steps.extend((!is_tagged).then_some(RoleStep::Tag));
    steps
}

fn rights_between(
    present: Option<&ListedRole>,
    wanted: &WantedRole,
    managed: &BTreeMap<String, Value>,
) -> Vec<RoleStep> {
    let none = Policies::default();
    let exchange = Exchange {
        old: present.map_or(&none, |role| &role.policies),
        new: &wanted.policies,
    };
    let Some(role) = present else {
        // Without a policy a role gives nothing.
        let mut steps = vec![RoleStep::Create];
        if wanted.policies != none {
            steps.extend(exchange.behind_denial(vec![]));
        }
        return steps;
    };
    let mut steps = Vec::new();
    steps.extend((role.trust != wanted.trust).then_some(RoleStep::Trust));
    if role.boundary != wanted.boundary {
        steps.push(match &wanted.boundary {
            Some(boundary) => RoleStep::PutBoundary(boundary.clone()),
            None => RoleStep::DeleteBoundary,
        });
    }
    let policies_alone = steps.is_empty() && exchange.denies_nothing(managed) && exchange.fits();
    let in_place = exchange.in_place();
    if steps.len() + in_place.len() <= 1 || policies_alone {
        steps.extend(in_place);
        return steps;
    }
    exchange.behind_denial(steps)
}

/// What deletes a role: IAM wants it empty first.
pub fn deletion(role: &ListedRole) -> Vec<RoleStep> {
    let exchange = Exchange {
        old: &role.policies,
        new: &Policies::default(),
    };
    let mut steps = exchange.behind_denial(vec![]);
    steps.push(RoleStep::DeleteRole);
    steps
}

/// The policies of a role that there are, and those that there should be.
struct Exchange<'a> {
    old: &'a Policies,
    new: &'a Policies,
}

impl Exchange<'_> {
    /// What is new comes before what is old goes.
    fn in_place(&self) -> Vec<RoleStep> {
        let puts = self.changed(self.new, self.old);
        let puts = puts.map(|(name, document)| RoleStep::Put(name.clone(), document.clone()));
        let gone = self.old.inline.keys();
        let gone = gone.filter(|name| !self.new.inline.contains_key(*name));
        puts.chain(self.attaches())
            .chain(self.detaches())
            .chain(gone.cloned().map(RoleStep::Delete))
            .collect()
    }

    /// In between, the role gives nothing. Every document that does not stay goes before another comes, so that all
    /// have room; where a role is too full for one more policy, the denial stands in the place of the largest.
    fn behind_denial(&self, of_the_role: Vec<RoleStep>) -> Vec<RoleStep> {
        let (first, last) = (place_for_denial(self.old), place_for_denial(self.new));
        let deny = |name: &str| RoleStep::Put(name.to_owned(), denial());
        let is_there = self.old.inline.get(first) == Some(&denial());
        let mut steps: Vec<RoleStep> = (!is_there).then(|| deny(first)).into_iter().collect();
        steps.extend(of_the_role);
        steps.extend(self.detaches());
        let going = self.changed(self.old, self.new).map(|(name, _)| name);
        let going = going.filter(|name| ![first, last].contains(&name.as_str()));
        steps.extend(going.cloned().map(RoleStep::Delete));
        if first != last {
            steps.push(deny(last));
            steps.extend((!self.new.inline.contains_key(first)).then(|| RoleStep::Delete(first.to_owned())));
        }
        let stays = |name: &String, document: &Value| name != first && self.old.inline.get(name) == Some(document);
        let coming = self.new.inline.iter();
        let coming = coming.filter(|(name, document)| *name != last && !stays(name, document));
        steps.extend(coming.map(|(name, document)| RoleStep::Put(name.clone(), document.clone())));
        steps.extend(self.attaches());
        steps.extend(match self.new.inline.get(last) {
            None => Some(RoleStep::Delete(last.to_owned())),
            Some(document) if *document == denial() => None,
            Some(document) => Some(RoleStep::Put(last.to_owned(), document.clone())),
        });
        steps
    }

    fn attaches(&self) -> impl Iterator<Item = RoleStep> {
        let attached = self.new.attached.difference(&self.old.attached);
        attached.cloned().map(RoleStep::Attach)
    }

    fn detaches(&self) -> impl Iterator<Item = RoleStep> {
        let detached = self.old.attached.difference(&self.new.attached);
        detached.cloned().map(RoleStep::Detach)
    }

    /// The inline policies of one that the other has not, or says otherwise.
    fn changed<'a>(&self, one: &'a Policies, other: &'a Policies) -> impl Iterator<Item = (&'a String, &'a Value)> {
        let inline = one.inline.iter();
        inline.filter(|(name, document)| other.inline.get(*name) != Some(*document))
    }

    /// Whether nothing that comes or goes has a Deny.
    fn denies_nothing(&self, managed: &BTreeMap<String, Value>) -> bool {
        let inline = self.changed(self.old, self.new).chain(self.changed(self.new, self.old));
        let attached = self.old.attached.symmetric_difference(&self.new.attached);
        inline
            .map(|(_, document)| Some(document))
            .chain(attached.map(|arn| managed.get(arn)))
            .all(|document| document.is_some_and(only_allows))
    }

    /// Whether both the old and the new policies have room in a role at once.
    fn fits(&self) -> bool {
        let mut inline = self.old.inline.clone();
        let mut length = 0;
        for (name, document) in &self.new.inline {
            // While it is replaced, only one of the two is there; the larger one counts.
            let before = inline.remove(name).map_or(0, |document| characters(&document));
            length += characters(document).max(before);
        }
        length += inline.values().map(characters).sum::<usize>();
        self.old.attached.union(&self.new.attached).count() <= MOST_ATTACHED && length <= MOST_CHARACTERS
    }
}

/// The name under which the denial of all has room beside these policies.
fn place_for_denial(policies: &Policies) -> &str {
    let length: usize = policies.inline.values().map(characters).sum();
    let is_full = length + characters(&denial()) > MOST_CHARACTERS && !policies.inline.contains_key(REFUSED);
    let largest = policies.inline.iter().max_by_key(|(_, document)| characters(document));
    let largest = largest.filter(|_| is_full);
    largest.map_or(REFUSED, |(name, _)| name)
}

fn characters(document: &Value) -> usize {
    document.to_string().len()
}

/// False for anything that is not a policy, too.
fn only_allows(document: &Value) -> bool {
    let statements = document.get("Statement");
    let list = statements.and_then(Value::as_array).into_iter().flatten();
    let one = statements.filter(|statements| statements.is_object());
    let mut statements = list.chain(one).peekable();
    statements.peek().is_some() && statements.all(|statement| statement.get("Effect") == Some(&"Allow".into()))
}

impl RoleStep {
    /// What the administrator reads of it.
    pub fn change(&self, present: Option<&ListedRole>, wanted: &WantedRole) -> Change {
        let change = |what: String, before: String, after: String| Change { what, before, after };
        let trust = format!("{:#}", wanted.trust);
        let name = wanted.role.name();
        let boundary = present.and_then(|role| role.boundary.clone()).unwrap_or_default();
        match self {
            Self::Create => change(format!("create role {name} for {}", wanted.user), String::new(), trust),
            Self::Trust => {
                let before = present.map(|role| format!("{:#}", role.trust)).unwrap_or_default();
                change(format!("trust policy of role {name}"), before, trust)
            }
            Self::Tag => {
                let before = present.and_then(|role| role.made_as.clone()).unwrap_or_default();
                change(format!("tag {MADE_AS} of role {name}"), before, wanted.made_as.clone())
            }
            Self::PutBoundary(arn) => change(format!("permissions boundary of role {name}"), boundary, arn.clone()),
            Self::DeleteBoundary => change(format!("permissions boundary of role {name}"), boundary, String::new()),
            _ => self.change_of_policy(name, present.map(|role| &role.policies)),
        }
    }

    /// The same where the role goes.
    pub fn change_of(&self, role: &ListedRole) -> Change {
        self.change_of_policy(role.arn.name(), Some(&role.policies))
    }

    fn change_of_policy(&self, role: &str, present: Option<&Policies>) -> Change {
        let before = |name: &String| {
            let document = present.and_then(|policies| policies.inline.get(name));
            document.map(|document| format!("{document:#}")).unwrap_or_default()
        };
        let (what, before, after) = match self {
            Self::Put(name, document) => (format!("inline policy {name}"), before(name), format!("{document:#}")),
            Self::Delete(name) => (format!("inline policy {name}"), before(name), String::new()),
            Self::Attach(arn) => ("attached policy".to_owned(), String::new(), arn.clone()),
            Self::Detach(arn) => ("attached policy".to_owned(), arn.clone(), String::new()),
            _ => ("all".to_owned(), role.to_owned(), String::new()),
        };
        let what = format!("{what} of role {role}");
        Change { what, before, after }
    }

    /// Makes the change.
    pub async fn make(&self, iam: &Client, wanted: &WantedRole) -> Result<(), AwsCallError> {
        let name = wanted.role.name();
        match self {
            Self::Create => {
                let request = iam.create_role().role_name(name).path(wanted.role.path());
                let request = request.set_permissions_boundary(wanted.boundary.clone());
                let request = request.assume_role_policy_document(wanted.trust.to_string());
                let request = request.set_tags(Some(tags(wanted)?));
                call!("iam:CreateRole", request).map(drop)
            }
            Self::Trust => {
                let request = iam.update_assume_role_policy().role_name(name);
                let request = request.policy_document(wanted.trust.to_string());
                call!("iam:UpdateAssumeRolePolicy", request).map(drop)
            }
            Self::Tag => {
                let request = iam.tag_role().role_name(name);
                let request = request.tags(tag("iam:TagRole", MADE_AS, &wanted.made_as)?);
                call!("iam:TagRole", request).map(drop)
            }
            _ => self.make_on(iam, name).await,
        }
    }

    /// The same where nothing but the role's name is needed.
    pub async fn make_on(&self, iam: &Client, role: &str) -> Result<(), AwsCallError> {
        match self {
            Self::Create | Self::Trust | Self::Tag => Ok(()),
            Self::PutBoundary(arn) => {
                let request = iam.put_role_permissions_boundary().role_name(role);
                call!("iam:PutRolePermissionsBoundary", request.permissions_boundary(arn)).map(drop)
            }
            Self::DeleteBoundary => {
                let request = iam.delete_role_permissions_boundary().role_name(role);
                call!("iam:DeleteRolePermissionsBoundary", request).map(drop)
            }
            Self::Put(name, document) => {
                let request = iam.put_role_policy().role_name(role).policy_name(name);
                call!("iam:PutRolePolicy", request.policy_document(document.to_string())).map(drop)
            }
            Self::Delete(name) => {
                let request = iam.delete_role_policy().role_name(role).policy_name(name);
                call!("iam:DeleteRolePolicy", request).map(drop)
            }
            Self::Attach(arn) => {
                let request = iam.attach_role_policy().role_name(role).policy_arn(arn);
                call!("iam:AttachRolePolicy", request).map(drop)
            }
            Self::Detach(arn) => {
                let request = iam.detach_role_policy().role_name(role).policy_arn(arn);
                call!("iam:DetachRolePolicy", request).map(drop)
            }
            Self::DeleteRole => call!("iam:DeleteRole", iam.delete_role().role_name(role)).map(drop),
        }
    }
}

fn tags(wanted: &WantedRole) -> Result<Vec<Tag>, AwsCallError> {
    let tags = [(MADE_BY, THIS), (MADE_FOR, &wanted.user_id), (MADE_AS, &wanted.made_as)];
    tags.into_iter()
        .map(|(key, value)| tag("iam:CreateRole", key, value))
        .collect()
}

fn tag(action: &'static str, key: &str, value: &str) -> Result<Tag, AwsCallError> {
    let tag = Tag::builder().key(key).value(value).build();
    tag.map_err(|error| AwsCallError::unreadable(Action::named(action), error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn policies(attached: &[&str], inline: &[(&str, usize)]) -> Policies {
        let inline = inline
            .iter()
            .map(|(name, size)| ((*name).to_owned(), json!("x".repeat(*size))));
        Policies {
            inline: inline.collect(),
            attached: attached.iter().map(|&arn| arn.to_owned()).collect(),
        }
    }

    fn steps(old: Policies, old_boundary: Option<&str>, new: Policies, boundary: Option<&str>) -> Vec<RoleStep> {
        let role: keymaker_aws::RoleArn = "arn:aws:iam::123456789012:role/user-a".parse().unwrap();
        let present = ListedRole {
            arn: role.clone(),
            trust: json!(1),
            policies: old,
            boundary: old_boundary.map(str::to_owned),
            made_here: true,
            made_for: None,
            made_as: Some(String::new()),
        };
        let wanted = WantedRole {
            user: "a".to_owned(),
            user_id: String::new(),
            role,
            made_as: String::new(),
            trust: json!(1),
            policies: new,
            boundary: boundary.map(str::to_owned),
            refused: None,
        };
        let allows = json!({ "Statement": { "Effect": "Allow", "Action": "*", "Resource": "*" } });
        let known = ["old", "new", "x"].map(|arn| (arn.to_owned(), allows.clone()));
        between(Some(&present), &wanted, &known.into())
    }

    #[test]
    fn a_role_in_step_is_left_alone() {
        let same = policies(&["x"], &[("p", 5)]);
        assert_eq!(steps(same.clone(), Some("b"), same, Some("b")), []);
    }

    #[test]
    fn where_nothing_denies_the_new_is_there_before_the_old_goes() {
        let (old, new) = (policies(&["old"], &[]), policies(&["new"], &[]));
        assert_eq!(
            steps(old, Some("b"), new, Some("b")),
            [RoleStep::Attach("new".to_owned()), RoleStep::Detach("old".to_owned())]
        );
    }

    #[test]
    fn one_call_is_one_moment_and_more_of_which_one_may_deny_happen_behind_a_denial() {
        let boundary = RoleStep::PutBoundary("b".to_owned());
        let same = policies(&["old"], &[]);
        assert_eq!(
            steps(same.clone(), None, same.clone(), Some("b")),
            std::slice::from_ref(&boundary)
        );
        let more = steps(same.clone(), None, policies(&["old", "new"], &[]), Some("b"));
        let end = RoleStep::Delete(REFUSED.to_owned());
        assert_eq!(
            more,
            [deny_all(), boundary, RoleStep::Attach("new".to_owned()), end.clone()]
        );
        let unknown = RoleStep::Attach("unknown".to_owned());
        assert_eq!(
            steps(same.clone(), None, policies(&["old", "unknown"], &[]), None),
            [unknown]
        );
        let both = steps(same.clone(), None, policies(&["unknown"], &[]), None);
        assert_eq!(
            (both.first(), both.last(), both.len()),
            (Some(&deny_all()), Some(&end), 4)
        );
        // What a run that broke off left there is removed last.
        let mut left = same;
        left.inline.insert(REFUSED.to_owned(), denial());
        let resumed = steps(left, None, policies(&["old", "new"], &[]), None);
        assert_eq!(resumed, [RoleStep::Attach("new".to_owned()), end]);
    }

    #[test]
    fn where_both_have_no_room_nothing_is_allowed_in_between() {
        let full: Vec<String> = (0..10).map(|number| number.to_string()).collect();
        let full: Vec<&str> = full.iter().map(String::as_str).collect();
        for (old, new) in [
            (policies(&full, &[]), policies(&["new"], &[])),
            (policies(&[], &[("a", 6000)]), policies(&[], &[("b", 6000)])),
        ] {
            let steps = steps(old, None, new, None);
            assert_eq!(steps.first(), Some(&deny_all()));
            assert_eq!(steps.last(), Some(&RoleStep::Delete(REFUSED.to_owned())));
        }
        // Replaced under its own name, there is room.
        let step = steps(policies(&[], &[("a", 6000)]), None, policies(&[], &[("a", 6001)]), None);
        assert_eq!(step.len(), 1);
    }
}
