//! What an IAM pattern matches: `*` any run of characters, `?` any one, everything else (`[` too) itself. Patterns
//! (`pattern.rs`) are compared through it.
//!
//! Both questions answer on the safe side. `covers` says yes only if it holds under every reading of how far a wildcard
//! reaches; `intersects` says no only if no reading lets the two meet. AWS is not exact here: "You can use wildcard
//! characters (* and ?) within any ARN segment … If the * wildcard is the last character of a resource ARN segment, it
//! can expand to match beyond the colon boundaries" (IAM User Guide, "Resource"); and which services compare resource
//! names without regard to case is not documented at all.

use std::collections::HashSet;

use super::variable::{Piece, UnreadableVariable, Variables, pieces};

/// A pattern, taken apart.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Glob(Vec<Symbol>);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Symbol {
    Literal(char),
    AnyOne(Reach),
    AnyRun(Reach),
    /// `${…}`: some text, known only when a request is judged.
    Variable(String),
}

/// How far a wildcard reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Reach {
    /// Over everything: in actions, and a `*` that ends a resource.
    Everything,
    /// Perhaps over colons, perhaps not; two such wildcards are alike only in the same kind of place.
    PerhapsColons { in_resource_part: bool, ends_segment: bool },
}

impl Glob {
    /// An action's pattern. "The prefix and the action name are case insensitive."
    pub(super) fn of_action(text: &str) -> Self {
        let mut symbols: Vec<Symbol> = text
            .chars()
            .map(|character| match character {
                '*' => Symbol::AnyRun(Reach::Everything),
                '?' => Symbol::AnyOne(Reach::Everything),
                other => Symbol::Literal(other.to_ascii_lowercase()),
            })
            .collect();
        symbols.dedup_by(|a, b| a.is_wildcard_run() && b.is_wildcard_run());
        Self(symbols)
    }

    /// `*`.
    pub(super) fn everything() -> Self {
        Self(vec![Symbol::AnyRun(Reach::Everything)])
    }

    /// A resource's pattern.
    pub(super) fn of_resource(text: &str, variables: Variables) -> Result<Self, UnreadableVariable> {
        let mut pieces = pieces(text, variables)?;
        pieces.dedup_by(|a, b| *a == Piece::Character('*') && a == b);
        let mut colons = 0;
        let mut symbols = Vec::with_capacity(pieces.len());
        let mut rest = pieces.into_iter().peekable();
        while let Some(piece) = rest.next() {
            let reach = Reach::PerhapsColons {
                in_resource_part: colons >= 5,
                ends_segment: rest.peek() == Some(&Piece::Character(':')),
            };
            symbols.push(match piece {
                Piece::Character('*') if rest.peek().is_none() => Symbol::AnyRun(Reach::Everything),
                Piece::Character('*') => Symbol::AnyRun(reach),
                Piece::Character('?') => Symbol::AnyOne(reach),
                Piece::Character(character) | Piece::Literal(character) => Symbol::Literal(character),
                Piece::Variable(name) => Symbol::Variable(name.to_owned()),
            });
            colons += usize::from(symbols.last() == Some(&Symbol::Literal(':')));
        }
        Ok(Self(symbols))
    }

    /// Whether everything that `inner` matches is matched by this one. No only means "not proved": `?*` covers `*a`,
    /// but that is not found.
    pub(super) fn covers(&self, inner: &Self) -> bool {
        let (mut ours, mut theirs) = (0, 0);
        // The last run of ours, and what of theirs it has not yet taken in.
        let mut run: Option<(&Symbol, usize, usize)> = None;
        while let Some(their) = inner.0.get(theirs) {
            match self.0.get(ours) {
                Some(our) if our.is_wildcard_run() => {
                    run = Some((our, ours + 1, theirs));
                    ours += 1;
                }
                Some(our) if our.stands_for(their) => {
                    ours += 1;
                    theirs += 1;
                }
                _ => {
                    let Some((symbol, after_run, next)) = run else {
                        return false;
                    };
                    if !inner.0.get(next).is_some_and(|taken| symbol.stands_for(taken)) {
                        return false;
                    }
                    run = Some((symbol, after_run, next + 1));
                    (ours, theirs) = (after_run, next + 1);
                }
            }
        }
        self.0.iter().skip(ours).all(Symbol::is_wildcard_run)
    }

    /// Whether some text may be matched by both. Yes only means "not disproved".
    pub(super) fn intersects(&self, other: &Self) -> bool {
        let mut tried = HashSet::new();
        let mut to_try = vec![(0, 0)];
        while let Some((i, j)) = to_try.pop() {
            if !tried.insert((i, j)) {
                continue;
            }
            match (self.0.get(i), other.0.get(j)) {
                (None, None) => return true,
                (Some(run), theirs) if run.may_be_a_run() => {
                    to_try.push((i + 1, j));
                    to_try.extend(theirs.map(|_| (i, j + 1)));
                }
                (ours, Some(run)) if run.may_be_a_run() => {
                    to_try.push((i, j + 1));
                    to_try.extend(ours.map(|_| (i + 1, j)));
                }
                (Some(ours), Some(theirs)) if ours.may_equal(theirs) => to_try.push((i + 1, j + 1)),
                _ => {}
            }
        }
        false
    }

    /// Whether this is `*`.
    pub(super) fn is_everything(&self) -> bool {
        matches!(self.0.as_slice(), [Symbol::AnyRun(_)])
    }

    /// The variables in it, as between `${` and `}`.
    pub(super) fn variables(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|symbol| match symbol {
            Symbol::Variable(name) => Some(name.as_str()),
            _ => None,
        })
    }

    /// The pattern as a document of version 2012-10-17 says it.
    pub(super) fn to_text(&self) -> String {
        let symbol_text = |symbol: &Symbol| match symbol {
            Symbol::Literal(special @ ('*' | '?' | '$')) => format!("${{{special}}}"),
            Symbol::Literal(character) => character.to_string(),
            Symbol::AnyOne(_) => "?".to_owned(),
            Symbol::AnyRun(_) => "*".to_owned(),
            Symbol::Variable(name) => format!("${{{name}}}"),
        };
        self.0.iter().map(symbol_text).collect()
    }
}

impl Symbol {
    fn is_wildcard_run(&self) -> bool {
        matches!(self, Self::AnyRun(_))
    }

    fn may_be_a_run(&self) -> bool {
        matches!(self, Self::AnyRun(_) | Self::Variable(_))
    }

    /// Whether this symbol, a run's part included, matches whatever `inner` may stand for.
    fn stands_for(&self, inner: &Self) -> bool {
        match (self, inner) {
            (Self::Literal(ours), Self::Literal(theirs)) => ours == theirs,
            (Self::AnyOne(reach) | Self::AnyRun(reach), Self::Literal(character)) => reach.takes(*character),
            (Self::AnyOne(ours), Self::AnyOne(theirs))
            | (Self::AnyRun(ours), Self::AnyOne(theirs) | Self::AnyRun(theirs)) => {
                *ours == Reach::Everything || ours == theirs
            }
            (Self::AnyRun(reach), Self::Variable(_)) => *reach == Reach::Everything,
            _ => false,
        }
    }

    /// Whether these two single characters may be the same one.
    fn may_equal(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Literal(ours), Self::Literal(theirs)) => ours.eq_ignore_ascii_case(theirs),
            _ => true,
        }
    }
}

impl Reach {
    fn takes(self, character: char) -> bool {
        self == Self::Everything || character != ':'
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn action(text: &str) -> Glob {
        Glob::of_action(text)
    }

    fn resource(text: &str) -> Glob {
        Glob::of_resource(text, Variables::Known).unwrap()
    }

    #[test]
    fn a_pattern_covers_what_its_wildcards_take_in() {
        for (outer, inner) in [
            ("*", "s3:*"),
            ("s3:*", "s3:Get*"),
            ("s3:Get*", "s3:GetObject"),
            ("S3:GETOBJECT", "s3:getobject"),
            ("*:*", "iam:GetUser"),
            ("s3:*Object", "s3:GetObjectObject"),
            ("s3:?et*", "s3:Get*"),
            ("iam:*Role*", "iam:*RolePolicy"),
            ("s3:**", "s3:*"),
        ] {
            assert!(action(outer).covers(&action(inner)), "{outer} covers {inner}");
        }
    }

    #[test]
    fn a_pattern_does_not_cover_what_reaches_beyond_it() {
        for (outer, inner) in [
            ("s3:Get*", "s3:*"),
            ("s3:GetObject", "s3:GetObject*"),
            ("s3:Get?", "s3:Get*"),
            ("s3:Get?", "s3:Get"),
            ("s3:*Object", "s3:GetObjectAcl"),
            ("s3:Get*", "s3:Put*"),
            ("", "s3:*"),
        ] {
            assert!(!action(outer).covers(&action(inner)), "{outer} does not cover {inner}");
        }
    }

    #[test]
    fn resources_are_compared_with_regard_to_case_and_brackets_are_literal() {
        assert!(!resource("arn:aws:s3:::A*").covers(&resource("arn:aws:s3:::a")));
        assert!(!resource("arn:aws:s3:::[ab]").covers(&resource("arn:aws:s3:::a")));
        assert!(!resource("arn:aws:s3:::[ab]").intersects(&resource("arn:aws:s3:::a")));
        assert!(resource("arn:aws:s3:::[ab]*").covers(&resource("arn:aws:s3:::[ab]/x")));
    }

    #[test]
    fn only_a_last_star_is_trusted_to_cross_a_colon() {
        let log_group = resource("arn:aws:logs:eu-west-1:1:log-group:g:log-stream:s");
        assert!(resource("arn:aws:logs:*").covers(&log_group));
        assert!(!resource("arn:aws:logs:*:log-group:g:log-stream:s").covers(&log_group));
        assert!(!resource("arn:aws:logs:eu-west-1:1:*stream:s").covers(&log_group));
        assert!(resource("arn:aws:logs:*stream:s").intersects(&log_group));
        assert!(!resource("arn:aws:x*y").covers(&resource("arn:aws:a:b:c:x*y")));
    }

    #[test]
    fn a_wildcard_takes_in_text_without_colons_and_wildcards_of_the_same_kind_of_place() {
        for (outer, inner, covers) in [
            ("arn:aws:s3:::a*c", "arn:aws:s3:::abc", true),
            ("arn:aws:s3:::a*c", "arn:aws:s3:::a:c", false),
            ("arn:aws:s3:::a?c", "arn:aws:s3:::abc", true),
            ("arn:aws:s3:::a?c", "arn:aws:s3:::a:c", false),
            ("arn:aws:s3:::a*c", "arn:aws:s3:::a*b?c", true),
            ("arn:aws:s3:::a*", "arn:aws:s3:::a*b:c", true),
            ("arn:aws:logs:*:g", "arn:aws:logs:*:g", true),
            ("arn:aws:logs:*:g", "arn:aws:logs:*b:g", false),
            ("arn:aws:logs:?*:g", "arn:aws:logs:?:g", false),
        ] {
            assert_eq!(resource(outer).covers(&resource(inner)), covers, "{outer} and {inner}");
        }
    }

    #[test]
    fn a_variable_may_be_anything_and_covers_nothing() {
        let home = resource("arn:aws:s3:::home/${s3:prefix}/x");
        assert!(home.intersects(&resource("arn:aws:s3:::home/alice/x")));
        assert!(!home.covers(&resource("arn:aws:s3:::home/alice/x")));
        assert!(resource("arn:aws:s3:::home/*").covers(&home));
        assert!(!home.intersects(&resource("arn:aws:s3:::work/*")));
    }

    #[test]
    fn patterns_intersect_when_one_text_fits_both() {
        for (a, b, meet) in [
            ("s3:Get*", "s3:*Object", true),
            ("s3:Get*", "s3:Put*", false),
            ("s3:Get?", "s3:Get", false),
            ("*a*", "*b*", true),
            ("s3:*", "S3:GetObject", true),
            ("s3:G?t", "s3:?et", true),
            ("", "*", true),
        ] {
            assert_eq!(action(a).intersects(&action(b)), meet, "{a} and {b}");
            assert_eq!(action(b).intersects(&action(a)), meet, "{b} and {a}");
        }
    }

    #[test]
    fn text_is_given_back_so_that_a_2012_document_means_the_same() {
        for text in ["*", "arn:aws:s3:::a?/*", "a${*}b${?}c${$}{d}", "x/${s3:prefix}/y"] {
            assert_eq!(resource(text).to_text(), text);
        }
        let literal = Glob::of_resource("x/${aws:username}", Variables::Literal).unwrap();
        assert_eq!(literal.to_text(), "x/${$}{aws:username}");
    }
}
