//! One statement: which requests it reaches, and whether it allows or denies them. `document.rs` reads statements,
//! `compaction.rs` and `compression.rs` compare them. It never decides a request: AWS does.

use serde_json::{Map, Value};

use super::clause::Clause;
use super::conditions::Conditions;
use super::pattern::{ActionPattern, ResourcePattern};

/// "Allow" or "Deny"; IAM's grammar knows no other value and no other case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Effect {
    Allow,
    Deny,
}

/// A statement without its Sid, which means nothing to a decision.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Statement {
    pub(super) effect: Effect,
    pub(super) conditions: Option<Conditions>,
    pub(super) actions: Clause<ActionPattern>,
    pub(super) resources: Clause<ResourcePattern>,
}

impl Statement {
    /// Whether this statement reaches, whenever `inner` does, everything that `inner` reaches. Effects are not
    /// compared.
    pub(super) fn covers(&self, inner: &Self) -> bool {
        (self.conditions.is_none() || self.conditions == inner.conditions)
            && self.actions.covers(&inner.actions)
            && self.resources.covers(&inner.resources)
    }

    /// Whether no request is reached by both, whatever the conditions.
    pub(super) fn is_disjoint_from(&self, other: &Self) -> bool {
        self.actions.is_disjoint_from(&other.actions) || self.resources.is_disjoint_from(&other.resources)
    }

    pub(super) fn reduced(self) -> Self {
        let (actions, resources) = (self.actions.reduced(), self.resources.reduced());
        Self {
            actions,
            resources,
            ..self
        }
    }

    pub(super) fn to_json(&self) -> Value {
        let mut json = Map::new();
        let effect = match self.effect {
            Effect::Allow => "Allow",
            Effect::Deny => "Deny",
        };
        json.insert("Effect".to_owned(), Value::from(effect));
        json.extend([self.actions.to_json("Action"), self.resources.to_json("Resource")]);
        json.extend(
            self.conditions
                .iter()
                .map(|block| ("Condition".to_owned(), block.to_json())),
        );
        Value::Object(json)
    }
}
