//! /etc/ec2userkeyd.conf becomes settings of credd's; ec2userkeyd's service is switched off.

use std::fs;
use std::path::Path;

use super::super::install::files::write;
use super::super::probe::run;
use super::Step;

const OLD: &str = "/etc/ec2userkeyd.conf";
const MIGRATED: &str = "/etc/ec2userkeyd.conf.migrated";
const NEW: &str = "/etc/keymaker/credd.toml";

/// What there is to do.
pub fn steps() -> Vec<Step> {
    let mut steps = Vec::new();
    if run("systemctl", &["is-enabled", "ec2userkeyd.service"]).is_ok() {
        steps.push(Step::new("stop and disable ec2userkeyd.service", || {
            run("systemctl", &["disable", "--now", "ec2userkeyd.service"]).map(|_| ())
        }));
    }
    let Ok(text) = fs::read_to_string(OLD) else {
        return steps;
    };
    let lines = imported(&text);
    let what = format!(
        "write the settings of {OLD} into {NEW}, and rename it to {MIGRATED}:\n  {}",
        lines.join("\n  ")
    );
    steps.push(Step::new(what, move || {
        let present = fs::read_to_string(NEW).unwrap_or_default();
        let key = |line: &str| line.split('=').next().unwrap_or_default().trim().to_owned();
        let ours: Vec<String> = lines.iter().map(|line| key(line)).collect();
        let kept: String = present
            .lines()
            .filter(|line| !ours.contains(&key(line)))
            .map(|line| format!("{line}\n"))
            .collect();
        write(
            Path::new(NEW),
            format!("{kept}{}\n", lines.join("\n")).as_bytes(),
            0o644,
        )?;
        fs::rename(OLD, MIGRATED).map_err(|error| error.to_string())
    }));
    steps
}

/// Its settings as lines of credd.toml. What it could not say is left out: credd has no unrestricted fall-back (fail_safe).
fn imported(text: &str) -> Vec<String> {
    let mut section = String::new();
    let mut lines = Vec::new();
    for line in text.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']').to_owned();
        }
        let Some((key, value)) = line
            .split_once(['=', ':'])
            .filter(|_| !line.starts_with(['#', ';', '[']))
        else {
            continue;
        };
        let (key, value) = (key.trim(), value.trim());
        let text = value.trim_matches(['"', '\'']);
        lines.extend(match (section.as_str(), key) {
            ("general", "credential_methods") => Some(format!("default_chain = {}", chain(value))),
            ("general", "per_user_credential_methods") => Some(format!("user_chains = {}", chains(value))),
            ("general", "per_uid_credential_methods") => Some(format!("uid_chains = {}", chains(value))),
            ("method_UserRole" | "method_CreateUserRole", "role_name_pattern") => {
                Some(format!("role_name_pattern = {text:?}"))
            }
            ("method_CreateUserRole" | "method_RestrictedInstanceRole", "iam_name_pattern") => {
                Some(format!("iam_name_pattern = {text:?}"))
            }
            ("method_RestrictedInstanceRole", "compress_user_policy") => {
                let on = ["true", "yes", "on", "1"].contains(&value.to_ascii_lowercase().as_str());
                Some(format!("compress_user_policy = {on}"))
            }
            _ => None,
        });
    }
    // The same key may stand in two sections of the old file.
    lines.sort();
    lines.dedup_by_key(|line| line.split('=').next().unwrap_or_default().to_owned());
    lines
}

fn method(name: &str) -> Option<&'static str> {
    match name.trim() {
        "UserRole" => Some("user_role"),
        "CreateUserRole" => Some("create_user_role"),
        "RestrictedInstanceRole" => Some("restricted_instance_role"),
        "InstanceRole" => Some("instance_role"),
        _ => None,
    }
}

fn chain(value: &str) -> String {
    let methods: Vec<&str> = value.split(',').filter_map(method).collect();
    format!("{methods:?}")
}

/// `joe:UserRole, InstanceRole, jane:UserRole`: a word with a colon begins the next one's chain, with spaces or without.
fn chains(value: &str) -> String {
    let mut chains: Vec<(String, Vec<&'static str>)> = Vec::new();
    for word in value.split(',') {
        let name = match word.split_once(':') {
            Some((who, name)) => {
                chains.push((who.trim().to_owned(), Vec::new()));
                name
            }
            None => word,
        };
        if let (Some((_, chain)), Some(method)) = (chains.last_mut(), method(name)) {
            chain.push(method);
        }
    }
    let tables: Vec<String> = chains
        .iter()
        .map(|(who, chain)| format!("{who:?} = {chain:?}"))
        .collect();
    format!("{{ {} }}", tables.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_old_settings_become_chains() {
        let text = "[general]\ndaemon_port = 808\ncredential_methods = UserRole, InstanceRole\n\
                    per_user_credential_methods = joe:UserRole,InstanceRole,jane:UserRole\nper_uid_credential_methods: 0-499:InstanceRole\n\
                    # credential_methods = UserRole\n[method_UserRole]\nrole_name_pattern = 'u-{username}'\n";
        assert_eq!(
            imported(text),
            [
                r#"default_chain = ["user_role", "instance_role"]"#,
                r#"role_name_pattern = "u-{username}""#,
                r#"uid_chains = { "0-499" = ["instance_role"] }"#,
                r#"user_chains = { "joe" = ["user_role", "instance_role"], "jane" = ["user_role"] }"#,
            ]
        );
    }
}
