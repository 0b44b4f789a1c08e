//! What the daemon knows: settings, IAM's answers, this host's accounts and numbers, and what is published. Nothing
//! here asks or writes; [`super::service`] holds it, and the files of `asking` and `publishing` change it.

use std::collections::BTreeMap;
use std::time::Instant;

use super::asking::limits::{OfferedKeys, Outages, UnknownNames};
use super::entitlement::entitled::Known;
use super::entitlement::ids::IdMap;
use super::entitlement::neighbours::Neighbours;
use super::facts::Facts;
use super::facts::issuers::KnownIssuers;
use super::publishing::published::PublishedState;
use crate::config::KeymakerdConfig;
use crate::local_accounts::LocalAccounts;
use crate::settings::{EffectiveSettings, KeptSettings};

/// What the daemon knows.
pub struct State {
    /// The administrator's file.
    pub config: KeymakerdConfig,
    /// The role description's settings, as last read.
    pub settings: KeptSettings,
    /// What IAM last said.
    pub facts: Facts,
    /// Whose tokens open logins by proof.
    pub issuers: KnownIssuers,
    /// The accounts of this host, which always win.
    pub local: LocalAccounts,
    /// What other services of this host have, which always wins, too.
    pub neighbours: Neighbours,
    /// Who has which number and name here, forever.
    pub ids: IdMap,
    /// What is on disk for everybody to read.
    pub published: PublishedState,
    /// Whether something is known that the files do not say yet.
    pub unpublished: bool,
    /// Whether somebody has logged in of whom the files do not say so yet. No login waits for that.
    pub login_unpublished: bool,
    /// When the last pass in which everything answered began, by `AnswerClock::answer_time`; the contact file has it by
    /// the host's clock.
    pub contact: Option<u64>,
    /// The EC2 instance on which this runs, once known.
    pub instance_id: Option<String>,
    /// Which listings the role allows.
    pub grade: Grade,
    /// When a denied listing is tried again.
    pub grade_until: Option<Instant>,
    /// What is not answering.
    pub outages: Outages,
    /// What each uid may still ask about.
    pub unknown_names: UnknownNames,
    /// What clients of sshd who have proved nothing may still ask about.
    pub offered_keys: OfferedKeys,
    /// Names that IAM does not have, and until when that is believed.
    pub no_such_user: BTreeMap<String, Instant>,
    /// When a pass was last begun to look for an unknown name, and whether it has told who there is.
    pub early_pass: Option<(Instant, bool)>,
    /// Whether IAM finds users only by the case of their names, once somebody has shown it.
    pub iam_goes_by_case: Option<bool>,
    /// Tags that IAM told before this answer time are asked for in the next pass.
    pub tags_wanted: u64,
    /// The last pass's failure, for the status; `None` after a good one.
    pub last_failure: Option<String>,
    /// What could not be read in the role's description.
    pub settings_problems: Vec<String>,
    /// Why keymakerd.toml could not be used when it was last read, so that what was read before holds.
    pub settings_file_problem: Option<String>,
    /// Whether everything was forgotten by order: nothing is asked or published until the next start.
    pub halted: bool,
    /// Whether the last pass was throttled, which stretches the interval.
    pub throttled: bool,
    /// Whether the last try to reach AWS, or the last pass, ended since AWS gave no answer, and not for want of anything on this host.
    pub aws_is_silent: bool,
}

/// What the instance's role allows us to list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Grade {
    /// `GetAccountAuthorizationDetails`: everyone, with groups and tags; only where configured.
    One,
    /// `ListUsers`: everyone.
    #[default]
    Two,
    /// `ListGroups` and `GetGroup`: the members of our groups, and who is asked for by name.
    Three,
}

impl Grade {
    /// The number by which the documentation knows it.
    pub fn number(self) -> u8 {
        match self {
            Self::One => 1,
            Self::Two => 2,
            Self::Three => 3,
        }
    }
}

impl State {
    /// The settings in force: the file's, and below them the role description's.
    pub fn effective(&self) -> EffectiveSettings {
        EffectiveSettings::of(&self.config, &self.settings)
    }

    /// What waits for `keymaker accept-settings`, as sentences.
    pub fn pending_settings(&self) -> Vec<String> {
        let pending = self.settings.pending().into_iter();
        let of_the_role = pending.filter(|pending| !pending.is_settled_by(&self.config));
        let of_the_file = self.settings.file.gone().into_iter().map(|gone| gone.to_string());
        let of_another_role = self.settings.other_role.iter().filter(|_| self.config.role_settings);
        of_the_role
            .map(|pending| pending.to_string())
            .chain(of_the_file)
            .chain(of_another_role.map(ToString::to_string))
            .chain(self.issuers.pending().filter(|_| self.config.login_issuers.is_empty()))
            .collect()
    }

    /// How IAM knows the user who logs in as `login`.
    pub fn iam_name(&self, login: &str) -> String {
        self.known().iam_name(&self.ids, login)
    }

    /// What the rules go by.
    pub fn known(&self) -> Known<'_> {
        Known {
            config: &self.config,
            settings: self.effective(),
            facts: &self.facts,
            local: &self.local,
            neighbours: &self.neighbours,
        }
    }

    /// The same, beside the id map, which learns from them.
    pub fn known_and_ids(&mut self) -> (Known<'_>, &mut IdMap) {
        let known = Known {
            settings: EffectiveSettings::of(&self.config, &self.settings),
            config: &self.config,
            facts: &self.facts,
            local: &self.local,
            neighbours: &self.neighbours,
        };
        (known, &mut self.ids)
    }
}
