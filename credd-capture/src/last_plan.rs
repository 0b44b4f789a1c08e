//! What the last good plan leaves on disk, for a start at which the settings or the accounts cannot be read: enough for
//! the narrowest plan, and nothing that opens more than that plan did.
//!
//! The keeper writes it after each good plan, and reads it when there is none. A file that is gone or damaged counts as
//! none.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use credd_core::accounts::LocalNames;
use credd_core::config::{Capture, CaptureMode, Config};
use credd_core::plan::Plan;

/// Where it lies; the folder is credd-capture's.
pub const LAST_PLAN: &str = "/var/lib/keymaker-credd-capture/last-plan";

/// The part that counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LastPlan {
    /// Whether root was spared.
    root: bool,
    /// The uids of keymakerd and credd.
    daemons: BTreeSet<u32>,
    capture: Capture,
    mode: CaptureMode,
    nft_port: u16,
}

impl LastPlan {
    /// What is to be kept of a good plan.
    pub fn of(plan: &Plan) -> Self {
        Self {
            root: plan.exempt.contains(&0),
            daemons: plan.daemons.clone(),
            capture: plan.capture,
            mode: plan.mode,
            nft_port: plan.nft_port,
        }
    }

    /// Of a host that never had a good plan: the defaults.
    fn none() -> Self {
        let config = Config::default();
        Self {
            root: true,
            daemons: BTreeSet::new(),
            capture: config.capture,
            mode: config.mode,
            nft_port: config.nft_port,
        }
    }

    /// The plan for now: spares root, if it was spared, and our daemons, by /etc/passwd if that can be read. No other
    /// account, no containers.
    fn narrowest(self, accounts: &LocalNames) -> Plan {
        let daemons = Plan::daemons(accounts).unwrap_or(self.daemons);
        Plan {
            exempt: daemons.iter().copied().chain(self.root.then_some(0)).collect(),
            daemons,
            unknown_names: vec![],
            capture: self.capture,
            mode: self.mode,
            nft_port: self.nft_port,
            containers: vec![],
        }
    }
}

/// Its file.
pub struct LastPlanFile {
    path: PathBuf,
    written: Option<LastPlan>,
}

impl LastPlanFile {
    /// Nothing is read or written yet.
    pub fn new(path: PathBuf) -> Self {
        Self { path, written: None }
    }

    /// What goes up where there is no good plan.
    pub fn narrowest(&self, accounts: &LocalNames) -> Plan {
        let last = fs::read(&self.path).map(|text| serde_json::from_slice(&text));
        match last {
            Ok(Ok(last)) => last,
            _ => LastPlan::none(),
        }
        .narrowest(accounts)
    }

    /// Keeps what counts of a good plan. A keeper that cannot write goes on keeping.
    pub fn keep(&mut self, plan: &Plan) {
        let last = LastPlan::of(plan);
        if self.written.as_ref() == Some(&last) {
            return;
        }
        match write(&self.path, &last) {
            Ok(()) => self.written = Some(last),
            Err(error) => {
                tracing::warn!(%error, path = %self.path.display(), "the plan cannot be kept for a start without settings")
            }
        }
    }
}

fn write(path: &Path, last: &LastPlan) -> io::Result<()> {
    let aside = path.with_extension("new");
    let mut file = fs::File::create(&aside)?;
    serde_json::to_writer(&mut file, last)?;
    file.sync_all()?;
    fs::rename(&aside, path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use test_folder::TestFolder;

    const NOBODY: u32 = 65_534;

    fn file(folder: &TestFolder) -> LastPlanFile {
        LastPlanFile::new(folder.join("last-plan"))
    }

    fn accounts_of(folder: &TestFolder, passwd: &str) -> LocalNames {
        LocalNames::new(folder.file("passwd", passwd), folder.file("group", "root:x:0:\n"))
    }

    const PASSWD: &str = "root:x:0:0::/:/bin/sh\nkeymakerd:x:901:901::/:/bin/sh\ncredd:x:902:902::/:/bin/sh\ndeploy:x:1000:1000::/:/bin/sh\n";

    fn good(settings: &str, accounts: &LocalNames) -> Plan {
        Plan::new(&Config::parse(settings, Path::new("credd.toml")).unwrap(), accounts).unwrap()
    }

    // P14
    #[test]
    fn without_settings_or_accounts_nobody_is_spared_whom_the_last_good_plan_did_not_spare() {
        let folder = TestFolder::new();
        let accounts = accounts_of(&folder, PASSWD);
        for settings in [
            "",
            "exempt_uids = []",
            "exempt_uids = [\"root\", \"deploy\", 65534]\ncontainers = [\"172.17.0.0/16\"]",
            "capture = \"nft\"\nnft_port = 77\nexempt_uids = [\"deploy\"]",
            "mode = \"observe\"",
        ] {
            let plan = good(settings, &accounts);
            file(&folder).keep(&plan);
            for now in [
                LocalNames::new(folder.join("gone"), folder.join("group")),
                accounts_of(&folder, PASSWD),
            ] {
                let narrowest = file(&folder).narrowest(&now);
                assert!(narrowest.exempt.is_subset(&plan.exempt), "{settings}");
                let ours = [0, 901, 902];
                let spared: BTreeSet<u32> = plan.exempt.iter().copied().filter(|uid| ours.contains(uid)).collect();
                assert_eq!(narrowest.exempt, spared, "{settings}");
                assert!(narrowest.containers.is_empty() && !narrowest.exempt.contains(&NOBODY));
                assert_eq!(
                    (narrowest.capture, narrowest.mode, narrowest.nft_port),
                    (plan.capture, plan.mode, plan.nft_port)
                );
            }
        }
    }

    #[test]
    fn a_number_that_was_a_daemons_and_is_somebody_elses_now_is_not_spared() {
        let folder = TestFolder::new();
        file(&folder).keep(&good("", &accounts_of(&folder, PASSWD)));
        let now = accounts_of(
            &folder,
            "root:x:0:0::/:/bin/sh\ncredd:x:903:903::/:/bin/sh\nbob:x:902:902::/:/bin/sh\n",
        );
        assert_eq!(file(&folder).narrowest(&now).exempt, BTreeSet::from([0, 903]));
    }

    // P14
    #[test]
    fn an_unusable_last_plan_captures_everybody_but_root_and_the_daemons() {
        let folder = TestFolder::new();
        let accounts = accounts_of(&folder, PASSWD);
        let check = || {
            let plan = file(&folder).narrowest(&accounts);
            assert_eq!(plan.exempt, BTreeSet::from([0, 901, 902]));
            assert_eq!((plan.capture, plan.mode), (Capture::Route, CaptureMode::Enforce));
        };
        check();
        file(&folder).keep(&good("mode = \"observe\"", &accounts));
        let path = folder.join("last-plan");
        let whole = fs::read(&path).unwrap();
        for length in 0..whole.len() {
            fs::write(&path, &whole[..length]).unwrap();
            check();
        }
        let newer = String::from_utf8(whole).unwrap().replacen('{', "{\"more\":1,", 1);
        fs::write(&path, newer).unwrap();
        check();
    }
}
