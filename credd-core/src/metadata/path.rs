//! Turns the path of a request into decoded segments, or refuses it.
//!
//! The server calls it before anything else looks at the path. Routing compares whole segments only, so a path has one
//! reading here; whatever could have a second one in the real service (`//`, `..`, `%2F`, `;`, `\`) is refused, not
//! cleaned (H1, H2).

/// Why a path is not a metadata path. Both are answered 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathError {
    /// The path is longer than 1 KiB.
    TooLong,
    /// The path has an empty, `.` or `..` segment, a character that no metadata path has, or a broken escape.
    Ambiguous,
}

/// The segments of a path: none for `/`. One slash at the end means nothing, as in the real service.
pub fn segments(path: &str) -> Result<Vec<String>, PathError> {
    if path.len() > LONGEST {
        return Err(PathError::TooLong);
    }
    let below = path.strip_prefix('/').ok_or(PathError::Ambiguous)?;
    if below.is_empty() {
        return Ok(Vec::new());
    }
    below
        .strip_suffix('/')
        .unwrap_or(below)
        .split('/')
        .map(segment)
        .collect()
}

fn segment(raw: &str) -> Result<String, PathError> {
    let mut decoded = String::with_capacity(raw.len());
    let mut bytes = raw.bytes();
    while let Some(byte) = bytes.next() {
        let plain = match byte {
            b'%' => escape(bytes.next(), bytes.next()).ok_or(PathError::Ambiguous)?,
            other => other,
        };
        // A second escape in what was decoded, an encoded slash or a control character are all not plain.
        if !is_plain(plain) {
            return Err(PathError::Ambiguous);
        }
        decoded.push(char::from(plain));
    }
    match decoded.as_str() {
        "" | "." | ".." => Err(PathError::Ambiguous),
        _ => Ok(decoded),
    }
}

fn escape(high: Option<u8>, low: Option<u8>) -> Option<u8> {
    let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
    u8::try_from(digit(high)? << 4 | digit(low)?).ok()
}

/// The characters of role names (`[\w+=,.@-]`), tag keys, addresses and of every name in the service.
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~:@+=,".contains(&byte)
}

const LONGEST: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_path_gives_its_segments_with_or_without_a_slash_at_the_end() {
        let expected = Ok(vec!["latest".to_owned(), "meta-data".to_owned()]);
        assert_eq!(segments("/latest/meta-data"), expected);
        assert_eq!(segments("/latest/meta-data/"), expected);
        assert_eq!(segments("/latest/meta%2Ddata"), expected);
        assert_eq!(segments("/"), Ok(vec![]));
        assert_eq!(segments("/a%40b"), Ok(vec!["a@b".to_owned()]));
    }

    // P14
    #[test]
    fn whatever_has_two_readings_is_refused() {
        for path in [
            "",
            "latest",
            "//",
            "//latest",
            "/latest//",
            "/latest//meta-data",
            "/./latest",
            "/latest/.",
            "/latest/..",
            "/../latest",
            "/%2e%2e/latest",
            "/%2e/latest",
            "/.%2e/latest",
            "/latest%2Fmeta-data",
            "/latest%2fmeta-data",
            "/latest%252Fmeta-data",
            "/latest%25",
            "/latest%00",
            "/latest%",
            "/latest%2",
            "/latest%zz",
            "/latest;x",
            "/latest\\meta-data",
            "/latest%5c",
            "/lat\u{e9}st",
            "/latest%c3%a9",
            "/latest meta",
            "/latest%20",
            "/latest%0a",
            "/latest?x",
            "/latest#x",
            "/latest*",
            "/latest%ff",
        ] {
            assert_eq!(segments(path), Err(PathError::Ambiguous), "{path}");
        }
    }

    #[test]
    fn more_than_a_kibibyte_is_refused() {
        assert!(segments(&format!("/{}", "a".repeat(1023))).is_ok());
        assert_eq!(segments(&format!("/{}", "a".repeat(1024))), Err(PathError::TooLong));
    }
}
