//! Which actions (or resources) a statement reaches: those in a list, or all but those in a list. `statement.rs` puts
//! two of them together. Like `glob.rs`, it says yes to "covers" and "is disjoint" only where that is proved.

use std::collections::BTreeSet;

use serde_json::Value;

use super::pattern::Pattern;

/// `Action`/`Resource` or `NotAction`/`NotResource`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Clause<P> {
    In(BTreeSet<P>),
    NotIn(BTreeSet<P>),
}

impl<P: Pattern> Clause<P> {
    /// Whether this clause reaches everything that `inner` reaches.
    pub(super) fn covers(&self, inner: &Self) -> bool {
        match (self, inner) {
            (Self::In(ours), Self::In(theirs)) => each_covered(theirs, ours),
            (Self::NotIn(ours), Self::In(theirs)) => !any_meet(ours, theirs),
            (Self::NotIn(ours), Self::NotIn(theirs)) => each_covered(ours, theirs),
            (Self::In(ours), Self::NotIn(_)) => has_everything(ours),
        }
    }

    /// Whether nothing is reached by both.
    pub(super) fn is_disjoint_from(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::In(ours), Self::In(theirs)) => !any_meet(ours, theirs),
            (Self::In(list), Self::NotIn(except)) | (Self::NotIn(except), Self::In(list)) => each_covered(list, except),
            (Self::NotIn(ours), Self::NotIn(theirs)) => has_everything(ours) || has_everything(theirs),
        }
    }

    /// The same reach with no entry that another entry covers.
    pub(super) fn reduced(self) -> Self {
        match self {
            Self::In(list) => Self::In(without_covered(list)),
            Self::NotIn(list) => Self::NotIn(without_covered(list)),
        }
    }

    /// The entries, and the element's name in JSON: `Action` or `NotAction`.
    pub(super) fn to_json(&self, element: &str) -> (String, Value) {
        let (name, list) = match self {
            Self::In(list) => (element.to_owned(), list),
            Self::NotIn(list) => (format!("Not{element}"), list),
        };
        let mut texts: Vec<Value> = list.iter().map(|pattern| Value::from(pattern.text())).collect();
        match (texts.pop(), texts.is_empty()) {
            (Some(only), true) => (name, only),
            (last, _) => {
                texts.extend(last);
                (name, Value::from(texts))
            }
        }
    }

    pub(super) fn patterns(&self) -> impl Iterator<Item = &P> {
        match self {
            Self::In(list) | Self::NotIn(list) => list.iter(),
        }
    }
}

fn each_covered<P: Pattern>(inner: &BTreeSet<P>, outer: &BTreeSet<P>) -> bool {
    inner
        .iter()
        .all(|theirs| outer.iter().any(|ours| ours.glob().covers(theirs.glob())))
}

fn any_meet<P: Pattern>(ours: &BTreeSet<P>, theirs: &BTreeSet<P>) -> bool {
    ours.iter()
        .any(|a| theirs.iter().any(|b| a.glob().intersects(b.glob())))
}

fn has_everything<P: Pattern>(list: &BTreeSet<P>) -> bool {
    list.iter().any(|pattern| pattern.glob().is_everything())
}

fn without_covered<P: Pattern>(list: BTreeSet<P>) -> BTreeSet<P> {
    let mut kept: Vec<P> = Vec::new();
    for pattern in list {
        if !kept.iter().any(|other| other.glob().covers(pattern.glob())) {
            kept.retain(|other| !pattern.glob().covers(other.glob()));
            kept.push(pattern);
        }
    }
    kept.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::super::pattern::ActionPattern;
    use super::*;

    fn set(texts: &[&str]) -> BTreeSet<ActionPattern> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn only(texts: &[&str]) -> Clause<ActionPattern> {
        Clause::In(set(texts))
    }

    fn all_but(texts: &[&str]) -> Clause<ActionPattern> {
        Clause::NotIn(set(texts))
    }

    #[test]
    fn a_list_is_covered_by_an_exception_only_if_nothing_in_it_meets_one() {
        assert!(all_but(&["s3:*"]).covers(&only(&["iam:X", "ec2:*"])));
        assert!(!all_but(&["s3:*"]).covers(&only(&["s3:Get*", "iam:X"])));
    }

    #[test]
    fn between_exceptions_containment_runs_the_other_way() {
        assert!(all_but(&["s3:Get*"]).covers(&all_but(&["s3:*"])));
        assert!(!all_but(&["s3:*"]).covers(&all_but(&["s3:Get*"])));
    }

    #[test]
    fn an_exception_is_covered_by_a_list_only_if_that_has_everything() {
        assert!(only(&["iam:*", "*"]).covers(&all_but(&["s3:*"])));
        assert!(!only(&["iam:*", "s3:*"]).covers(&all_but(&["s3:*"])));
    }

    #[test]
    fn disjoint_means_that_no_action_is_in_both() {
        assert!(only(&["s3:*"]).is_disjoint_from(&only(&["iam:*", "ec2:*"])));
        assert!(only(&["s3:Get*"]).is_disjoint_from(&all_but(&["s3:*", "iam:*"])));
        assert!(!all_but(&["s3:*"]).is_disjoint_from(&only(&["s3:*", "iam:GetUser"])));
        assert!(!all_but(&["s3:*"]).is_disjoint_from(&all_but(&["iam:*"])));
        assert!(all_but(&["*"]).is_disjoint_from(&all_but(&["iam:*"])));
    }

    #[test]
    fn what_another_entry_covers_is_left_out() {
        let reduced = only(&["s3:GetObject", "s3:Get*", "S3:get*", "iam:GetUser"]).reduced();
        assert_eq!(reduced.patterns().count(), 2);
        assert!(reduced.covers(&only(&["s3:GetObject", "iam:GetUser"])));
    }
}
