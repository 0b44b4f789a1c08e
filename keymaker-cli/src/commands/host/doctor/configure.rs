//! What an administrator of the account does for this host: the `keymaker configure` that gives its role what it lacks, with
//! the arguments that this host needs (a bare one would leave out what its settings and credd's methods go by), and what
//! fills a group.

use keymaker_core::paths;
use serde_json::Value;

use super::super::probe::{credd, list_setting_has, run, text_setting};

/// The command, for an administrator of the account.
pub fn command(status: &Value) -> String {
    let word = |key: &str| status.get(key).and_then(Value::as_str).filter(|word| !word.is_empty());
    let mut arguments = format!("--instance-iam-role {}", word("role").unwrap_or("ROLE"));
    // Grade 3 may be what a denial has left of 2, so it is never asked for.
    if status.get("grade").and_then(Value::as_u64) == Some(1) {
        arguments += " --grade 1";
    }
    if let Some(group) =
        word("required_group").filter(|_| text_setting(paths::KEYMAKERD_TOML, "require_iam_group").is_none())
    {
        arguments += &format!(" --require-iam-group {group}");
    }
    if list_setting_has(paths::KEYMAKERD_TOML, "login_by", "proof") {
        arguments += " --logins";
    }
    if word("id_resolver_account").is_some() {
        arguments += " --cross-account-profile PROFILE_OF_THE_INSTANCES";
    }
    arguments += &methods(&run(credd::PROGRAM, &["--print-config"]).unwrap_or_default());
    format!("keymaker configure {arguments} && keymaker sync  # configure with an administrator's AWS credentials")
}

/// What puts somebody into an IAM group that has nobody who is here, and makes it where it is not there.
pub fn somebody_in(group: &str) -> String {
    format!(
        "aws iam create-group --group-name {group}; aws iam add-user-to-group --group-name {group} --user-name NAME && keymaker sync  \
         # with an administrator's AWS credentials; or correct the name where it is set: keymakerd.toml, the role's description"
    )
}

/// Those of the chains in credd's settings, as it prints them.
fn methods(config: &str) -> String {
    let Ok(config) = config.parse::<toml::Table>() else {
        return String::new();
    };
    let chains = ["default_chain", "user_chains", "uid_chains", "group_chains"];
    let chains: Vec<String> = chains
        .iter()
        .filter_map(|key| config.get(*key))
        .map(ToString::to_string)
        .collect();
    let has = |method: &str| chains.iter().any(|chain| chain.contains(&format!("\"{method}\"")));
    let mut options = String::new();
    if has("user_role") || has("create_user_role") {
        options += " --method user-role";
    }
    if has("restricted_instance_role") {
        options += " --method restricted-instance-role";
    }
    if has("instance_role") {
        options += " --method instance-role";
    }
    if has("shared_role") {
        let role = config.get("shared_role").and_then(toml::Value::as_str).unwrap_or("ARN");
        options += &format!(" --method shared-role --shared-role {role}");
    }
    options
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_names_the_methods_of_all_chains() {
        let config = "default_chain = [\"user_role\"]\nshared_role = \"arn:aws:iam::123456789012:role/all\"\n\
                      [group_chains]\ndevs = [\"restricted_instance_role\", \"shared_role\"]\n";
        assert_eq!(
            methods(config),
            " --method user-role --method restricted-instance-role --method shared-role --shared-role arn:aws:iam::123456789012:role/all"
        );
        assert_eq!(methods("default_chain = []"), "");
    }

    #[test]
    fn what_the_role_had_is_named_again() {
        let status = serde_json::json!({"role": "web", "grade": 1, "required_group": "ssh_users"});
        let command = command(&status);
        assert!(
            command.starts_with("keymaker configure --instance-iam-role web --grade 1 --require-iam-group ssh_users"),
            "{command}"
        );
    }
}
