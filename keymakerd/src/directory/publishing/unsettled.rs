//! Who may have left something on this host, and who not: what `composition` lists and `traces` looks for.

use std::collections::BTreeSet;

/// What nobody knows yet to have left anything, or to have left nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unsettled {
    /// Users who are gone.
    pub gone: BTreeSet<Gone>,
    /// Names that users had, who may be there still.
    pub names: BTreeSet<FormerName>,
}

/// A user who is gone, and a number that they had.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Gone {
    /// IAM's `UserId`.
    pub iam_id: String,
    /// Every Unix name that they had here.
    pub names: Vec<String>,
    /// The number.
    pub uid: u32,
}

/// A name that its holder has no longer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FormerName {
    /// The Unix name.
    pub name: String,
    /// The holder's `UserId`.
    pub iam_id: String,
    /// The holder's numbers.
    pub numbers: Vec<u32>,
}

impl Unsettled {
    pub(super) fn is_empty(&self) -> bool {
        self.gone.is_empty() && self.names.is_empty()
    }
}
