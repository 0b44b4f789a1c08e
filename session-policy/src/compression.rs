//! `compress_user_policy`: leaves out what changes nothing under the role's policies as they are now. Opt-in, because
//! the role's policies may change while a session lives: a Deny left out here is then missing.
//!
//! The session's permissions are an intersection with the role's, so an Allow never needs to be contained in the
//! role's: it is left out only if it meets none of them. A Deny is left out only if one unconditional Deny of the role
//! covers it. (The predecessor's rule, containment for both, gave suspended users their access back.)

use super::clause::Clause;
use super::pattern::Pattern;
use super::statement::{Effect, Statement};

/// What is left of `statement` under a role with these statements.
pub(super) fn compressed(statement: &Statement, role: &[&Statement]) -> Option<Statement> {
    let adds_nothing = |part: &Statement| match part.effect {
        Effect::Allow => {
            let mut allows = role.iter().filter(|of_role| of_role.effect == Effect::Allow);
            allows.all(|allow| allow.is_disjoint_from(part))
        }
        Effect::Deny => {
            let mut denies = role.iter().filter(|of_role| of_role.effect == Effect::Deny);
            denies.any(|deny| deny.conditions.is_none() && deny.covers(part))
        }
    };
    if adds_nothing(statement) {
        return None;
    }
    // A statement is the union of its parts, so each entry of its lists is judged alone.
    let with_actions = |actions| Statement {
        actions,
        ..statement.clone()
    };
    let actions = entries_kept(&statement.actions, |one| !adds_nothing(&with_actions(one)))?;
    let statement = with_actions(actions);
    let with_resources = |resources| Statement {
        resources,
        ..statement.clone()
    };
    let resources = entries_kept(&statement.resources, |one| !adds_nothing(&with_resources(one)))?;
    Some(with_resources(resources))
}

/// The list without the entries that are not to be kept; exceptions stay as they are. None if nothing is left.
fn entries_kept<P: Pattern>(clause: &Clause<P>, keep: impl Fn(Clause<P>) -> bool) -> Option<Clause<P>> {
    match clause {
        Clause::NotIn(_) => Some(clause.clone()),
        Clause::In(list) => {
            let mut list = list.clone();
            list.retain(|entry| keep(Clause::In([entry.clone()].into())));
            (!list.is_empty()).then_some(Clause::In(list))
        }
    }
}
