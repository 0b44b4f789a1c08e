//! The instance profile by which EC2 gives a role to an instance: of the role's name, as the console makes it. Only for
//! a role that `configure` made; one that carries another mark is left alone.

use keymaker_aws::AwsCallError;

use super::account::ConfiguredAccount;
use super::ours::{made_by_us, mark, unless_absent};
use crate::aws::{AwsError, call};

/// What there is.
struct Profile {
    roles: Vec<String>,
    made_by_us: bool,
}

impl ConfiguredAccount<'_> {
    /// Makes the profile, and puts the role into it.
    pub(super) async fn make_profile(&mut self, role: &str) -> Result<(), AwsError> {
        let present = self.profile(role).await?;
        if present.is_none()
            && self.change(
                format!("create instance profile {role}"),
                String::new(),
                role.to_owned(),
            )
        {
            let request = self.iam.create_instance_profile().instance_profile_name(role);
            let request = request.path(self.side.role.path()).tags(mark()?);
            call!("iam:CreateInstanceProfile", request)?;
        }
        if present.is_some_and(|profile| profile.roles.iter().any(|there| there == role)) {
            return Ok(());
        }
        let what = format!("role of instance profile {role}");
        if self.change(what, String::new(), role.to_owned()) {
            let request = self.iam.add_role_to_instance_profile().instance_profile_name(role);
            call!("iam:AddRoleToInstanceProfile", request.role_name(role))?;
        }
        Ok(())
    }

    /// Takes the role out of it, without which IAM deletes no role, and the profile away, if it is ours.
    pub(super) async fn unmake_profile(&mut self, role: &str) -> Result<(), AwsError> {
        let Some(profile) = self.profile(role).await? else {
            return Ok(());
        };
        let what = format!("role of instance profile {role}");
        if profile.roles.iter().any(|there| there == role) && self.change(what, role.to_owned(), String::new()) {
            let request = self.iam.remove_role_from_instance_profile().instance_profile_name(role);
            call!("iam:RemoveRoleFromInstanceProfile", request.role_name(role))?;
        }
        let what = format!("delete instance profile {role}");
        if profile.made_by_us && self.change(what, role.to_owned(), String::new()) {
            let request = self.iam.delete_instance_profile().instance_profile_name(role);
            call!("iam:DeleteInstanceProfile", request)?;
        }
        Ok(())
    }

    async fn profile(&self, name: &str) -> Result<Option<Profile>, AwsError> {
        let answer: Result<_, AwsCallError> = call!(
            "iam:GetInstanceProfile",
            self.iam.get_instance_profile().instance_profile_name(name)
        );
        let profile = unless_absent(answer)?.and_then(|answer| answer.instance_profile);
        Ok(profile.map(|profile| Profile {
            roles: profile.roles().iter().map(|role| role.role_name().to_owned()).collect(),
            made_by_us: made_by_us(profile.tags()),
        }))
    }
}
