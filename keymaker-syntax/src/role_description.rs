//! The settings in the description of the instance's role, word by word, exactly as the Python keymaker reads them.
//! keymakerd, credd and `keymaker configure` read a description here and nowhere else: two readers had come to differ
//! in words that hold a second `=` and in a quote without its other half, and credd took another role for the id
//! resolver than keymakerd did.
//!
//! What a value may be, and whether a change of it applies, keymakerd's `settings` decides.

use crate::arn::ArnError;
use crate::id_resolver::IdResolver;

/// The account of the id resolver.
pub const ID_RESOLVER_ACCOUNT: &str = "keymaker_id_resolver_account";
/// The id resolver's role.
pub const ID_RESOLVER_IAM_ROLE: &str = "keymaker_id_resolver_iam_role";
/// The IAM group that a user must be in to log in.
pub const REQUIRE_IAM_GROUP: &str = "keymaker_require_iam_group";
/// What an IAM user name ends in and the Unix name does not.
pub const LINUX_USER_SUFFIX: &str = "keymaker_linux_user_suffix";
/// What the name of an IAM group begins with that becomes a Unix group.
pub const LINUX_GROUP_PREFIX: &str = "keymaker_linux_group_prefix";

/// The words of a description that are settings, in their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoleDescription(Vec<(String, String)>);

impl RoleDescription {
    /// Splits at blanks and commas; a word counts if it begins with `keymaker_` and holds one `=`. A value is joined
    /// of its quoted and unquoted parts, as Python's shlex does it.
    pub fn parse(description: &str) -> Self {
        let setting = |word: &str| {
            let (key, value) = word.split_once('=')?;
            (key.starts_with("keymaker_") && !value.contains('=')).then(|| (key.to_owned(), joined(value)))
        };
        let words = description.split(|c: char| c.is_whitespace() || c == ',');
        Self(words.filter_map(setting).collect())
    }

    /// What the description says for a key. As in Python's dict, the last of two words with one key counts.
    pub fn value(&self, key: &str) -> Option<&str> {
        let mut of_key = self.0.iter().rev().filter(|(word, _)| word == key);
        of_key.next().map(|(_, value)| value.as_str())
    }

    /// All keys, in the order of the words; one that stands there twice comes twice.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(key, _)| key.as_str())
    }

    /// The id resolver; `None` where the description names none.
    pub fn id_resolver(&self) -> Result<Option<IdResolver>, IdResolverError> {
        match (self.value(ID_RESOLVER_ACCOUNT), self.value(ID_RESOLVER_IAM_ROLE)) {
            (None, None) => Ok(None),
            (Some(account), Some(role)) => {
                let resolver = IdResolver::new(account, role);
                resolver.map(Some).map_err(IdResolverError::Illegal)
            }
            (Some(_), None) => Err(IdResolverError::Lacks(ID_RESOLVER_IAM_ROLE)),
            (None, Some(_)) => Err(IdResolverError::Lacks(ID_RESOLVER_ACCOUNT)),
        }
    }
}

/// Why a description names no id resolver that could be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IdResolverError {
    /// It has one of the two words; this key is missing.
    Lacks(&'static str),
    /// The account or the role cannot be one.
    Illegal(ArnError),
}

/// Python, `shlex.split`, POSIX mode, of one word: quotes go, what they hold stays, and a backslash keeps the next
/// character, between double quotes only these two. A quote without its other half, which Python does not read, belongs to
/// the value.
fn joined(value: &str) -> String {
    let (mut text, mut within) = (String::new(), None);
    let mut characters = value.chars().peekable();
    while let Some(character) = characters.next() {
        let next = characters.peek().copied();
        match (within, character) {
            (None, '"' | '\'') => within = Some(character),
            (Some(quote), found) if quote == found => within = None,
            (None, '\\') | (Some('"'), '\\') if within.is_none() || matches!(next, Some('"' | '\\')) => {
                match characters.next() {
                    Some(kept) => text.push(kept),
                    None => return value.to_owned(),
                }
            }
            _ => text.push(character),
        }
    }
    if within.is_some() { value.to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    // The five examples of the Python keymaker.
    #[test]
    fn a_description_is_split_as_the_python_keymaker_splits_it() {
        let words = RoleDescription::parse;
        for description in [
            "keymaker_a=b, keymaker_c=d",
            "keymaker_a=b, keymaker_c='d'",
            "keymaker_a=b, keymaker_c=\"d\"",
            "keymaker_a=b,  keymaker_c=d",
            "Role's description keymaker_a=b keymaker_c=d e=f",
        ] {
            let expected = [("keymaker_a", "b"), ("keymaker_c", "d")].map(|(k, v)| (k.to_owned(), v.to_owned()));
            assert_eq!(words(description).0, expected, "{description}");
        }
        let none = words("keymaker_a=b=c keymaker_d a_keymaker_e=f KEYMAKER_g=h");
        assert_eq!(none.keys().count(), 0);
        assert_eq!(words("keymaker_a=1\nkeymaker_a=2").value("keymaker_a"), Some("2"));
    }

    /// The right column is what Python 3's `shlex.split` makes of the left one.
    #[test]
    fn a_value_is_joined_as_pythons_shlex_joins_it() {
        for (written, read) in [
            ("a", "a"),
            ("\"a\"", "a"),
            ("'a'", "a"),
            ("\"@ex\"'ample'.com", "@example.com"),
            ("a\"b\"c", "abc"),
            ("''", ""),
            ("", ""),
            (r#"a\"b"#, "a\"b"),
            (r#""a\"b""#, "a\"b"),
            (r#""a\b""#, r"a\b"),
            (r"'a\'", r"a\"),
            (r"\@x", "@x"),
        ] {
            let description = RoleDescription::parse(&format!("keymaker_a={written}"))
                .value("keymaker_a")
                .map(str::to_owned);
            assert_eq!(description.as_deref(), Some(read), "{written}");
        }
    }

    #[test]
    fn the_words_of_the_description_name_the_id_resolver() {
        let of = |text: &str| RoleDescription::parse(text).id_resolver();
        let other = IdResolver::new("210987654321", "path/Resolver").unwrap();
        for text in [
            "keymaker_id_resolver_account=210987654321 keymaker_id_resolver_iam_role=path/Resolver",
            "x, keymaker_id_resolver_iam_role='path/Resolver',keymaker_id_resolver_account=\"210987654321\" y",
            "keymaker_id_resolver_account=1 keymaker_id_resolver_account=210987654321\nkeymaker_id_resolver_iam_role=path/Resolver",
        ] {
            assert_eq!(of(text), Ok(Some(other.clone())), "{text}");
        }
        assert_eq!(of(""), Ok(None));
        for (text, missing) in [
            ("keymaker_id_resolver_account=210987654321", ID_RESOLVER_IAM_ROLE),
            ("keymaker_id_resolver_iam_role=R", ID_RESOLVER_ACCOUNT),
        ] {
            assert_eq!(of(text), Err(IdResolverError::Lacks(missing)), "{text}");
        }
        for text in [
            "keymaker_id_resolver_account=12 keymaker_id_resolver_iam_role=R",
            "keymaker_id_resolver_account=210987654321 keymaker_id_resolver_iam_role=a*b",
        ] {
            assert!(matches!(of(text), Err(IdResolverError::Illegal(_))), "{text}");
        }
    }

    #[test]
    fn a_word_with_two_equals_signs_is_none_and_a_lone_quote_belongs_to_the_value() {
        let role = |text: &str| {
            let description = RoleDescription::parse(text);
            description.value(ID_RESOLVER_IAM_ROLE).map(str::to_owned)
        };
        let key = ID_RESOLVER_IAM_ROLE;
        assert_eq!(role(&format!("{key}=R {key}=x=y")).as_deref(), Some("R"));
        assert_eq!(role(&format!("{key}=a=b")), None);
        assert_eq!(role(&format!("{key}=\"R")).as_deref(), Some("\"R"));
        assert_eq!(role(&format!("{key}='R\"")).as_deref(), Some("'R\""));
        assert_eq!(role(&format!("{key}=''R''")).as_deref(), Some("R"));
    }
}
