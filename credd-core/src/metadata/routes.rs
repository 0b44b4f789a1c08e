//! Says for each path whether it is answered here, passed on to the real service, or does not exist.
//!
//! The server calls [`route`] with the segments of a request. What is passed on is rebuilt from `TABLE`: text of the
//! client enters an upstream path only as a value that was parsed and matches a placeholder. Nothing under a
//! `security-credentials` or `identity-credentials` path is in the table, and no rule can put it there (P15).

use super::route_table::{PathEntry, TABLE, VERSIONS};

/// What a path is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MetadataRoute {
    /// A listing that is the same for everybody.
    Listing(String),
    /// The token path: PUT only.
    Token,
    /// `meta-data/`: the real listing, less what the caller may not read, with `iam/`.
    MetaDataListing(UpstreamPath),
    /// `iam/security-credentials/`: the name of the caller's role.
    RoleList,
    /// `iam/security-credentials/ROLE` and everything below it.
    RoleCredentials(String),
    /// `iam/info`.
    InstanceProfile,
    /// A path of the real service, if the rules allow it.
    Upstream(UpstreamPath),
    /// Nothing that anybody may have.
    NotFound,
}

/// A path that may be sent to the real service. Made by this module only.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct UpstreamPath {
    path: String,
    entry: &'static PathEntry,
}

impl UpstreamPath {
    /// The path as it is sent, beginning with the version.
    pub fn as_str(&self) -> &str {
        &self.path
    }

    /// The path below the version, as rules name it.
    pub fn below_version(&self) -> impl Iterator<Item = &str> {
        self.path.trim_matches('/').split('/').skip(1)
    }

    /// Who may read it if no rule says otherwise, and how long an answer stays good.
    pub fn entry(&self) -> &'static PathEntry {
        self.entry
    }
}

/// What the path made of these segments is.
pub fn route(segments: &[String]) -> MetadataRoute {
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    let Some((first, below)) = segments.split_first() else {
        return MetadataRoute::Listing(VERSIONS.join("\n"));
    };
    let Some(version) = VERSIONS.iter().find(|version| *version == first) else {
        return MetadataRoute::NotFound;
    };
    match below {
        [] => MetadataRoute::Listing("dynamic\nmeta-data\nuser-data".to_owned()),
        ["api", "token"] => MetadataRoute::Token,
        ["meta-data", "iam", rest @ ..] => route_iam(version, rest),
        other => match upstream(version, other) {
            Some(path) if *other == ["meta-data"] => MetadataRoute::MetaDataListing(path),
            Some(path) => MetadataRoute::Upstream(path),
            None => MetadataRoute::NotFound,
        },
    }
}

/// `iam/` came with the version of 2012-01-12; version names sort by date, and `latest` after all of them.
pub fn has_iam(version: &str) -> bool {
    version >= "2012-01-12"
}

/// Answered here and nowhere else, whatever stands below.
fn route_iam(version: &str, rest: &[&str]) -> MetadataRoute {
    if !has_iam(version) {
        return MetadataRoute::NotFound;
    }
    match rest {
        [] => MetadataRoute::Listing("info\nsecurity-credentials/".to_owned()),
        ["info"] => MetadataRoute::InstanceProfile,
        ["security-credentials"] => MetadataRoute::RoleList,
        // The real service ignores what follows the role's name; it must not become a way around us.
        ["security-credentials", role, ..] => MetadataRoute::RoleCredentials((*role).to_owned()),
        _ => MetadataRoute::NotFound,
    }
}

fn upstream(version: &str, asked: &[&str]) -> Option<UpstreamPath> {
    TABLE.iter().find_map(|entry| {
        let below = rebuild(entry.pattern, asked)?;
        Some(UpstreamPath {
            path: format!("/{version}/{below}"),
            entry,
        })
    })
}

/// The entry's pattern with its placeholders filled, if it fits what was asked.
fn rebuild(pattern: &str, asked: &[&str]) -> Option<String> {
    let wanted: Vec<&str> = pattern.trim_end_matches('/').split('/').collect();
    if wanted.len() != asked.len() {
        return None;
    }
    let filled: Option<Vec<String>> = wanted.iter().zip(asked).map(|(want, got)| fill(want, got)).collect();
    // A pattern that ends in a slash is a folder, and folders are asked for with the slash.
    Some(format!(
        "{}{}",
        filled?.join("/"),
        if pattern.ends_with('/') { "/" } else { "" }
    ))
}

fn fill(want: &str, got: &str) -> Option<String> {
    match want {
        "{mac}" => mac_address(got),
        "{number}" => Some(got.parse::<u8>().ok()?.to_string()),
        "{ipv4}" => Some(got.parse::<std::net::Ipv4Addr>().ok()?.to_string()),
        "{device}" => device(got),
        "{user}" => name(got, 32, b"_.-@"),
        "{tag}" => name(got, 128, b"+-=.,_:@"),
        literal => (literal == got).then(|| literal.to_owned()),
    }
}

fn mac_address(got: &str) -> Option<String> {
    let octets: Option<Vec<u8>> = got
        .split(':')
        .map(|pair| {
            // from_str_radix would take a sign.
            let hex = pair.len() == 2 && pair.bytes().all(|digit| digit.is_ascii_hexdigit());
            if hex { u8::from_str_radix(pair, 16).ok() } else { None }
        })
        .collect();
    let octets: [u8; 6] = octets?.try_into().ok()?;
    Some(octets.map(|octet| format!("{octet:02x}")).join(":"))
}

/// The names in `block-device-mapping/`.
fn device(got: &str) -> Option<String> {
    if ["ami", "root", "swap"].contains(&got) {
        return Some(got.to_owned());
    }
    ["ebs", "ephemeral"].iter().find_map(|kind| {
        let number: u8 = got.strip_prefix(kind)?.parse().ok()?;
        Some(format!("{kind}{number}"))
    })
}

/// A free name. One that speaks of credentials is refused, so that "no upstream path has that word in it" holds without
/// exception and can be checked.
fn name(got: &str, longest: usize, marks: &[u8]) -> Option<String> {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || marks.contains(&byte);
    let fits = !got.is_empty() && got.len() <= longest && got.bytes().all(known);
    (fits && !got.to_ascii_lowercase().contains("credentials")).then(|| got.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::path::segments;

    fn of(path: &str) -> MetadataRoute {
        segments(path).map_or(MetadataRoute::NotFound, |segments| route(&segments))
    }

    fn upstream_of(path: &str) -> Option<String> {
        match of(path) {
            MetadataRoute::Upstream(path) | MetadataRoute::MetaDataListing(path) => Some(path.as_str().to_owned()),
            _ => None,
        }
    }

    #[test]
    fn every_entry_of_the_table_is_reached_by_its_own_pattern() {
        for entry in TABLE {
            let example = ["{mac}", "{number}", "{ipv4}", "{device}", "{user}", "{tag}"]
                .iter()
                .zip(["02:29:96:8f:6a:2d", "0", "203.0.113.7", "ebs1", "alice", "Name"])
                .fold(entry.pattern.to_owned(), |pattern, (placeholder, value)| {
                    pattern.replace(placeholder, value)
                });
            assert_eq!(
                upstream_of(&format!("/latest/{example}")),
                Some(format!("/latest/{example}"))
            );
            assert!(!entry.pattern.contains("credentials"), "{}", entry.pattern);
        }
    }

    #[test]
    fn placeholders_take_only_what_parses_and_give_it_back_in_one_spelling() {
        let macs = |text: &str| upstream_of(&format!("/latest/meta-data/network/interfaces/macs/{text}/mac"));
        assert!(
            macs("02:29:96:8F:6A:2D")
                .unwrap()
                .ends_with("/macs/02:29:96:8f:6a:2d/mac")
        );
        for wrong in [
            "02:29:96:8f:6a",
            "02:29:96:8f:6a:2d:00",
            "2:29:96:8f:6a:2d0",
            "x",
            "+2:29:96:8f:6a:2d",
        ] {
            assert_eq!(macs(wrong), None, "{wrong}");
        }
        assert_eq!(
            upstream_of("/latest/meta-data/public-keys/00/").unwrap(),
            "/latest/meta-data/public-keys/0/"
        );
        assert_eq!(
            upstream_of("/latest/meta-data/tags/instance/security-credentials"),
            None
        );
    }

    // P15
    #[test]
    fn nothing_below_a_credentials_folder_is_ever_upstream() {
        for below in [
            "iam/security-credentials",
            "iam/security-credentials/R",
            "iam/security-credentials/R/x/y",
            "iam/anything",
            "iam/security-credentials-extended",
            "iam/security-credentials-extended/R",
            "identity-credentials",
            "identity-credentials/ec2",
            "identity-credentials/ec2/info",
            "identity-credentials/ec2/security-credentials/ec2-instance",
            "security-credentials/R",
            "IAM/security-credentials",
        ] {
            for version in ["latest", "2021-03-23", "1.0"] {
                assert_eq!(upstream_of(&format!("/{version}/meta-data/{below}")), None, "{below}");
            }
        }
    }

    #[test]
    fn iam_is_not_there_before_its_version_and_unknown_versions_are_not_found() {
        assert_eq!(of("/2011-05-01/meta-data/iam/info"), MetadataRoute::NotFound);
        assert_eq!(of("/2012-01-12/meta-data/iam/info"), MetadataRoute::InstanceProfile);
        assert_eq!(of("/2012-01-13/meta-data/iam/info"), MetadataRoute::NotFound);
        assert_eq!(of("/Latest/meta-data/"), MetadataRoute::NotFound);
    }
}
