//! /etc/ec2userkeyd.conf becomes settings of credd's, as `import` reads it; ec2userkeyd's service is switched off.

mod import;

use std::fs;
use std::path::Path;

use super::super::install::files::write;
use super::super::probe::{credd, run};
use super::{MigrationStep, accepts};

/// Its unit.
pub const SERVICE: &str = "ec2userkeyd.service";
/// What changes of its own when it is taken over.
pub const FILES: [&str; 3] = [
    OLD,
    MIGRATED,
    "/etc/systemd/system/multi-user.target.wants/ec2userkeyd.service",
];
const OLD: &str = "/etc/ec2userkeyd.conf";
const MIGRATED: &str = "/etc/ec2userkeyd.conf.migrated";

/// What there is to do.
pub fn steps() -> Result<Vec<MigrationStep>, String> {
    let mut steps = Vec::new();
    if run("systemctl", &["is-enabled", SERVICE]).is_ok() {
        steps.push(MigrationStep::new("stop and disable ec2userkeyd.service", || {
            run("systemctl", &["disable", "--now", SERVICE]).map(|_| ())
        }));
    }
    if !Path::new(OLD).exists() {
        return Ok(steps);
    }
    if !Path::new(credd::PROGRAM).exists() {
        return Err(format!(
            "{OLD} exists, but credd, which takes its place, is not installed: apt-get install ./keymaker-credd_*.deb"
        ));
    }
    let imported = imported(Path::new(OLD))?;
    let settings = merged(&fs::read_to_string(credd::SETTINGS).unwrap_or_default(), &imported);
    accepts(credd::PROGRAM, "--print-config", credd::SETTINGS, &settings)?;
    let what = format!(
        "write the settings of {OLD} into {}, and rename it to {MIGRATED}:\n  {}",
        credd::SETTINGS,
        imported.replace('\n', "\n  ")
    );
    steps.push(MigrationStep::new(what, move || {
        write(Path::new(credd::SETTINGS), settings.as_bytes(), 0o644)?;
        fs::rename(OLD, MIGRATED).map_err(|error| error.to_string())
    }));
    Ok(steps)
}

/// Takes the rules away by which it brought requests to itself: killed, it leaves them, and every user's request goes to
/// where nobody answers.
pub fn without_rules() -> Option<MigrationStep> {
    let rules = rules();
    (!rules.is_empty()).then(|| {
        let what = "take ec2userkeyd's rules for 169.254.169.254 out of the table nat of iptables";
        MigrationStep::new(what, move || {
            for rule in rules {
                let arguments: Vec<&str> = ["-t", "nat", "-D"].into_iter().chain(rule.split(' ').skip(1)).collect();
                run("iptables", &arguments)?;
            }
            Ok(())
        })
    })
}

/// Those that are there, as `iptables -S` prints them.
pub fn rules() -> Vec<String> {
    rules_in(&run("iptables", &["-t", "nat", "-S", "OUTPUT"]).unwrap_or_default())
}

fn rules_in(printed: &str) -> Vec<String> {
    let brings = |line: &str| line.starts_with(CAPTURED) && line.contains(" -j DNAT --to-destination 127.0.0.1:");
    let passes = |line: &str| line.starts_with(CAPTURED) && line.contains(" --uid-owner 0 -j ACCEPT");
    // Without the second one the first is somebody else's.
    if !printed.lines().any(brings) {
        return Vec::new();
    }
    let ours = printed.lines().filter(|line| brings(line) || passes(line));
    ours.map(str::to_owned).collect()
}

const CAPTURED: &str = "-A OUTPUT -d 169.254.169.254/32 -p tcp -m tcp --dport 80 ";

/// The settings of ec2userkeyd in this file, as a credd.toml that says what could not be carried over.
pub fn imported(file: &Path) -> Result<String, String> {
    let text = fs::read_to_string(file).map_err(|why| format!("{} cannot be read: {why}", file.display()))?;
    Ok(import::from_ec2userkeyd(&text))
}

/// The settings that are there, but for those that are imported.
fn merged(present: &str, imported: &str) -> String {
    let key = |line: &str| line.split_once('=').map(|(key, _)| key.trim().to_owned());
    let ours: Vec<String> = imported
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(key)
        .collect();
    let kept = present
        .lines()
        .filter(|line| key(line).is_none_or(|key| !ours.contains(&key)));
    let kept: String = kept.map(|line| format!("{line}\n")).collect();
    format!("{kept}\n{imported}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_ec2userkeyds_own_rules_are_its_rules() {
        let rules = "-A OUTPUT -d 169.254.169.254/32 -p tcp -m tcp --dport 80 -m owner --uid-owner 0 -j ACCEPT\n\
                     -A OUTPUT -d 169.254.169.254/32 -p tcp -m tcp --dport 80 -j DNAT --to-destination 127.0.0.1:808\n";
        let others = "-P OUTPUT ACCEPT\n-A OUTPUT -d 10.0.0.1/32 -p tcp -m tcp --dport 80 -j DNAT --to-destination 127.0.0.1:808\n";
        assert_eq!(rules_in(&format!("{others}{rules}")), rules.lines().collect::<Vec<_>>());
        assert_eq!(rules_in(others), Vec::<String>::new());
        let first = rules.lines().next().unwrap();
        assert_eq!(rules_in(first), Vec::<String>::new());
    }

    #[test]
    fn what_is_imported_takes_the_place_of_what_was_there_and_the_rest_stays() {
        let present = "# Who gets what.\n#default_chain = [\"user_role\"]\ndefault_chain = [\"shared_role\"]\niam_endpoint = \"http://x\"\n";
        let imported = "# Made from ec2userkeyd.\n# - default_chain = said\ndefault_chain = [\"user_role\"]";
        assert_eq!(
            merged(present, imported),
            "# Who gets what.\n#default_chain = [\"user_role\"]\niam_endpoint = \"http://x\"\n\n\
             # Made from ec2userkeyd.\n# - default_chain = said\ndefault_chain = [\"user_role\"]\n"
        );
    }
}
