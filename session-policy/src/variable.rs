//! Splits text of a policy into characters and `${…}` variables. Resource patterns and condition values are read
//! through it; it never judges a variable (`binding.rs` does).
//!
//! IAM User Guide, "IAM policy elements: Variables and tags": variables exist from version 2012-10-17 on, earlier
//! documents mean the text literally; `${*}`, `${?}` and `${$}` are those three characters; `${key, 'default'}` has a
//! default value.

/// One piece of such a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    /// A character as it stands there: `*` and `?` are wildcards where wildcards are allowed.
    Character(char),
    /// `${*}`, `${?}` or `${$}`: that character and nothing else.
    Literal(char),
    /// What stands between `${` and `}`.
    Variable(&'a str),
}

/// A `${` that is not closed, is empty, or holds another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct UnreadableVariable;

/// Whether a document's version knows variables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Variables {
    /// Version 2012-10-17.
    Known,
    /// Version 2008-10-17, or none: `${` is text.
    Literal,
}

pub(super) fn pieces(text: &str, variables: Variables) -> Result<Vec<Piece<'_>>, UnreadableVariable> {
    let mut pieces = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(character) = rest.chars().next() {
        match rest.strip_prefix("${") {
            Some(opened) if variables == Variables::Known => {
                let (inside, after) = opened.split_once('}').ok_or(UnreadableVariable)?;
                pieces.push(variable(inside)?);
                rest = after;
            }
            _ => {
                pieces.push(Piece::Character(character));
                rest = rest.get(character.len_utf8()..).unwrap_or_default();
            }
        }
    }
    Ok(pieces)
}

/// The condition key that a variable stands for, without its default value, in lower case ("Key names are
/// case-insensitive").
pub(super) fn key_of(variable: &str) -> String {
    let key = variable.split_once(',').map_or(variable, |(key, _default)| key);
    key.trim().to_ascii_lowercase()
}

fn variable(inside: &str) -> Result<Piece<'_>, UnreadableVariable> {
    match inside {
        "*" => Ok(Piece::Literal('*')),
        "?" => Ok(Piece::Literal('?')),
        "$" => Ok(Piece::Literal('$')),
        _ if key_of(inside).is_empty() || inside.contains(['$', '{']) => Err(UnreadableVariable),
        _ => Ok(Piece::Variable(inside)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_predefined_variables_are_their_characters() {
        let read = pieces("${*}${?}${$}*", Variables::Known).unwrap();
        let (star, question, dollar) = (Piece::Literal('*'), Piece::Literal('?'), Piece::Literal('$'));
        assert_eq!(read, [star, question, dollar, Piece::Character('*')]);
    }

    #[test]
    fn a_variable_of_an_old_document_is_text() {
        let read = pieces("${a}", Variables::Literal).unwrap();
        assert_eq!(read, ['$', '{', 'a', '}'].map(Piece::Character));
    }

    #[test]
    fn a_variable_that_is_not_closed_or_empty_or_nested_is_unreadable() {
        for text in ["${", "a${aws:username", "${}", "${ , 'x'}", "${a${b}}"] {
            assert_eq!(pieces(text, Variables::Known), Err(UnreadableVariable), "{text}");
        }
    }

    #[test]
    fn a_variable_is_known_by_its_key_whatever_its_case_and_default() {
        assert_eq!(key_of("AWS:UserName, 'nobody'"), "aws:username");
    }
}
