//! Says the same in fewer characters: one policy of merged statements, no Sid, no entry twice, nothing that another
//! entry or statement already says. Every step keeps the meaning exactly (the random tests hold it to that).

use std::collections::{BTreeMap, BTreeSet};

use super::clause::Clause;
use super::limits::MAX_CHARACTERS;
use super::statement::{Effect, Statement};

/// The statements of one policy, in an order that depends only on what they say.
pub(super) fn compacted(statements: BTreeSet<Statement>) -> BTreeSet<Statement> {
    let mut statements = merged_resources(merged_actions(statements));
    if is_hopeless(&statements) {
        return statements;
    }
    loop {
        let reduced = statements.iter().cloned().map(Statement::reduced).collect();
        let next = without_covered(merged_resources(merged_actions(reduced)));
        if next == statements {
            return next;
        }
        statements = next;
    }
}

/// Comparing every pattern with every other takes quadratic time; what is eight times too long will not fit anyway.
fn is_hopeless(statements: &BTreeSet<Statement>) -> bool {
    let length = |statement: &Statement| statement.to_json().to_string().len();
    statements.iter().map(length).sum::<usize>() > 8 * MAX_CHARACTERS
}

/// Statements alike in all but their Action lists become one.
fn merged_actions(statements: BTreeSet<Statement>) -> BTreeSet<Statement> {
    let mut merged = BTreeMap::new();
    let mut rest = BTreeSet::new();
    for Statement {
        effect,
        conditions,
        actions,
        resources,
    } in statements
    {
        match actions {
            Clause::In(list) => {
                let alike: &mut BTreeSet<_> = merged.entry((effect, conditions, resources)).or_default();
                alike.extend(list);
            }
            Clause::NotIn(_) => {
                rest.insert(Statement {
                    effect,
                    conditions,
                    actions,
                    resources,
                });
            }
        }
    }
    rest.extend(
        merged
            .into_iter()
            .map(|((effect, conditions, resources), list)| Statement {
                effect,
                conditions,
                actions: Clause::In(list),
                resources,
            }),
    );
    rest
}

/// Statements alike in all but their Resource lists become one.
fn merged_resources(statements: BTreeSet<Statement>) -> BTreeSet<Statement> {
    let mut merged = BTreeMap::new();
    let mut rest = BTreeSet::new();
    for Statement {
        effect,
        conditions,
        actions,
        resources,
    } in statements
    {
        match resources {
            Clause::In(list) => {
                let alike: &mut BTreeSet<_> = merged.entry((effect, conditions, actions)).or_default();
                alike.extend(list);
            }
            Clause::NotIn(_) => {
                rest.insert(Statement {
                    effect,
                    conditions,
                    actions,
                    resources,
                });
            }
        }
    }
    rest.extend(
        merged
            .into_iter()
            .map(|((effect, conditions, actions), list)| Statement {
                effect,
                conditions,
                actions,
                resources: Clause::In(list),
            }),
    );
    rest
}

/// Leaves out what another statement of the same effect covers, and the Allow that a Deny covers.
fn without_covered(statements: BTreeSet<Statement>) -> BTreeSet<Statement> {
    let mut kept = statements.clone();
    for statement in statements {
        let says_it_already = |other: &Statement| {
            (other.effect == statement.effect || other.effect == Effect::Deny)
                && *other != statement
                && other.covers(&statement)
        };
        if kept.iter().any(says_it_already) {
            kept.remove(&statement);
        }
    }
    kept
}
