//! One entry of an Action or of a Resource list. Statements (`clause.rs`, `document.rs`) and the settings
//! (`deny_actions`) are made of them.

use std::str::FromStr;

use super::glob::Glob;
use super::refusal::PolicyRefusal;
use super::variable::{UnreadableVariable, Variables};

/// What an entry of either list can do.
pub(super) trait Pattern: Clone + Ord {
    fn glob(&self) -> &Glob;
    /// As a document of version 2012-10-17 says it.
    fn text(&self) -> String;
}

/// An action pattern, such as `s3:Get*` or `*`: service prefix, colon, name, compared without regard to case.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ActionPattern {
    glob: Glob,
    text: String,
}

impl ActionPattern {
    pub(super) fn everything() -> Self {
        let (glob, text) = (Glob::everything(), "*".to_owned());
        Self { glob, text }
    }
}

impl Pattern for ActionPattern {
    fn glob(&self) -> &Glob {
        &self.glob
    }

    fn text(&self) -> String {
        self.text.clone()
    }
}

impl FromStr for ActionPattern {
    type Err = PolicyRefusal;

    /// IAM's grammar: "a service namespace, a colon, and the name of an action. Action names can include wildcards". A
    /// `$` is refused, since variables have no meaning in actions.
    fn from_str(text: &str) -> Result<Self, PolicyRefusal> {
        let printable = text.chars().all(|c| c.is_ascii_graphic() && c != '$');
        if !printable || !(text == "*" || text.contains(':')) {
            return Err(PolicyRefusal::NoAction(text.to_owned()));
        }
        let glob = Glob::of_action(text);
        let text = text.to_owned();
        Ok(Self { glob, text })
    }
}

/// A resource pattern, such as `arn:aws:s3:::bucket/*` or `*`, compared with regard to case.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ResourcePattern(Glob);

impl ResourcePattern {
    pub(super) fn parse(text: &str, variables: Variables) -> Result<Self, UnreadableVariable> {
        Glob::of_resource(text, variables).map(Self)
    }

    pub(super) fn everything() -> Self {
        Self(Glob::everything())
    }
}

impl Pattern for ResourcePattern {
    fn glob(&self) -> &Glob {
        &self.0
    }

    fn text(&self) -> String {
        self.0.to_text()
    }
}
