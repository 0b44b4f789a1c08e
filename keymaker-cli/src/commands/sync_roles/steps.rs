//! From the role that is there to the one that should be: the calls, in an order in which the role at no moment allows what neither
//! allows. The boundary comes first; what is new is there before what is old goes, so that no Deny is missing in between.

use aws_sdk_iam::Client;
use aws_sdk_iam::types::Tag;
use keymaker_aws::{Action, AwsCallError};
use serde_json::Value;

use super::super::changes::Change;
use super::account::{MADE_BY, MADE_FOR, Policies, Role, THIS};
use super::wanted::{REFUSED, Wanted, nothing};
use crate::aws::call;

/// One call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Makes the role, with its boundary.
    Create,
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

/// The step that takes everything from whoever has the role.
pub fn deny_all() -> Step {
    let denial = nothing().inline.remove(REFUSED).unwrap_or_default();
    Step::Put(REFUSED.to_owned(), denial)
}

/// What is to be done.
pub fn between(present: Option<&Role>, wanted: &Wanted) -> Vec<Step> {
    let none = Policies::default();
    let old = present.map_or(&none, |role| &role.policies);
    let new = &wanted.policies;
    let mut steps = Vec::new();
    match present {
        None => steps.push(Step::Create),
        Some(role) => {
            steps.extend((role.trust != wanted.trust).then_some(Step::Trust));
            if let Some(boundary) = wanted.boundary.clone().filter(|_| role.boundary != wanted.boundary) {
                steps.push(Step::PutBoundary(boundary));
            }
        }
    }
    let puts = new
        .inline
        .iter()
        .filter(|(name, document)| old.inline.get(*name) != Some(document));
    let puts = puts.map(|(name, document)| Step::Put(name.clone(), document.clone()));
    let attaches = new.attached.difference(&old.attached).cloned().map(Step::Attach);
    let coming: Vec<Step> = puts.chain(attaches).collect();
    let detaches = old.attached.difference(&new.attached).cloned().map(Step::Detach);
    let deletes = old.inline.keys().filter(|name| !new.inline.contains_key(*name));
    let going: Vec<Step> = detaches.chain(deletes.cloned().map(Step::Delete)).collect();
    if fits(old, new) {
        steps.extend(coming);
        steps.extend(going);
    } else {
        // There is no room for both: nothing is allowed while one replaces the other.
        steps.push(deny_all());
        steps.extend(
            going
                .into_iter()
                .filter(|step| *step != Step::Delete(REFUSED.to_owned())),
        );
        steps.extend(coming);
        steps.push(Step::Delete(REFUSED.to_owned()));
    }
    let had_boundary = present.is_some_and(|role| role.boundary.is_some());
    steps.extend((had_boundary && wanted.boundary.is_none()).then_some(Step::DeleteBoundary));
    steps
}

/// Whether both the old and the new policies have room in a role at once.
fn fits(old: &Policies, new: &Policies) -> bool {
    let mut inline = old.inline.clone();
    let mut characters = 0;
    for (name, document) in &new.inline {
        // While it is replaced, only one of the two is there; the larger one counts.
        let before = inline.remove(name).map_or(0, |document| document.to_string().len());
        characters += document.to_string().len().max(before);
    }
    characters += inline
        .values()
        .map(|document| document.to_string().len())
        .sum::<usize>();
    old.attached.union(&new.attached).count() <= MOST_ATTACHED && characters <= MOST_CHARACTERS
}

/// What deletes a role: IAM wants it empty first.
pub fn deletion(role: &Role) -> Vec<Step> {
    let detaches = role.policies.attached.iter().cloned().map(Step::Detach);
    let deletes = role.policies.inline.keys().cloned().map(Step::Delete);
    std::iter::once(deny_all())
        .chain(detaches)
        .chain(deletes.filter(|step| *step != Step::Delete(REFUSED.to_owned())))
        .chain([Step::Delete(REFUSED.to_owned()), Step::DeleteRole])
        .collect()
}

impl Step {
    /// What the administrator reads of it.
    pub fn change(&self, present: Option<&Role>, wanted: &Wanted) -> Change {
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
            Self::PutBoundary(arn) => change(format!("permissions boundary of role {name}"), boundary, arn.clone()),
            Self::DeleteBoundary => change(format!("permissions boundary of role {name}"), boundary, String::new()),
            _ => self.change_of_policy(name, present.map(|role| &role.policies)),
        }
    }

    /// The same where the role goes.
    pub fn change_of(&self, role: &Role) -> Change {
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
    pub async fn make(&self, iam: &Client, wanted: &Wanted) -> Result<(), AwsCallError> {
        let name = wanted.role.name();
        match self {
            Self::Create => {
                let request = iam.create_role().role_name(name).path(wanted.role.path());
                let request = request.set_permissions_boundary(wanted.boundary.clone());
                let request = request.assume_role_policy_document(wanted.trust.to_string());
                let request = request.set_tags(Some(tags(&wanted.user_id)?));
                call!("iam:CreateRole", request).map(drop)
            }
            Self::Trust => {
                let request = iam.update_assume_role_policy().role_name(name);
                let request = request.policy_document(wanted.trust.to_string());
                call!("iam:UpdateAssumeRolePolicy", request).map(drop)
            }
            _ => self.make_on(iam, name).await,
        }
    }

    /// The same where nothing but the role's name is needed.
    pub async fn make_on(&self, iam: &Client, role: &str) -> Result<(), AwsCallError> {
        match self {
            Self::Create | Self::Trust => Ok(()),
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

fn tags(user_id: &str) -> Result<Vec<Tag>, AwsCallError> {
    let tag = |key: &str, value: &str| Tag::builder().key(key).value(value).build();
    let tags: Result<Vec<Tag>, _> = [tag(MADE_BY, THIS), tag(MADE_FOR, user_id)].into_iter().collect();
    tags.map_err(|error| AwsCallError::unreadable(Action::named("iam:CreateRole"), error.to_string()))
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

    fn steps(old: Policies, old_boundary: Option<&str>, new: Policies, boundary: Option<&str>) -> Vec<Step> {
        let role: keymaker_aws::RoleArn = "arn:aws:iam::123456789012:role/user-a".parse().unwrap();
        let present = Role {
            arn: role.clone(),
            trust: json!(1),
            policies: old,
            boundary: old_boundary.map(str::to_owned),
            made_here: true,
            made_for: None,
        };
        let wanted = Wanted {
            user: "a".to_owned(),
            user_id: String::new(),
            role,
            trust: json!(1),
            policies: new,
            boundary: boundary.map(str::to_owned),
            refused: None,
        };
        between(Some(&present), &wanted)
    }

    #[test]
    fn a_role_in_step_is_left_alone() {
        let same = policies(&["x"], &[("p", 5)]);
        assert_eq!(steps(same.clone(), Some("b"), same, Some("b")), []);
    }

    #[test]
    fn the_new_is_there_before_the_old_goes_and_the_boundary_is_never_missing() {
        let attach = Step::Attach("new".to_owned());
        let detach = Step::Detach("old".to_owned());
        let boundary = Step::PutBoundary("b".to_owned());
        let (old, new) = (policies(&["old"], &[]), policies(&["new"], &[]));
        assert_eq!(
            steps(old.clone(), None, new.clone(), Some("b")),
            [boundary, attach.clone(), detach.clone()]
        );
        assert_eq!(steps(old, Some("b"), new, None), [attach, detach, Step::DeleteBoundary]);
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
            assert_eq!(steps.last(), Some(&Step::Delete(REFUSED.to_owned())));
        }
        // Replaced under its own name, there is room.
        let step = steps(policies(&[], &[("a", 6000)]), None, policies(&[], &[("a", 6001)]), None);
        assert_eq!(step.len(), 1);
    }
}
