//! The lines for ~/.ssh/config by which ssh itself, and whatever runs it, logs in by proof.

use super::error::LoginError;
use super::options::{LoginOptions, ProofKeyType};
use super::place::Place;
use crate::aws::AwsOptions;

/// By the last one whatever follows in the file counts for every host, so that these may stand first. Without any of ssh's tokens (%h, %r):
/// what a server or a URL chose would stand in a command (CVE-2026-35386).
pub fn lines(pattern: &str, place: &Place, options: &LoginOptions, aws: &AwsOptions) -> Result<String, LoginError> {
    let mut again = format!("keymaker login --if-needed --place {}", place.name());
    let given = [
        ("profile", aws.profile.as_deref()),
        ("region", aws.region.as_deref()),
        ("endpoint-url", aws.endpoint_url.as_deref()),
        ("audience", options.how.audience.as_deref()),
        ("host", options.how.host.as_deref()),
        (
            "key-type",
            (options.how.key_type == ProofKeyType::Ecdsa).then_some("ecdsa"),
        ),
    ];
    for (name, value) in given.into_iter().filter_map(|(name, value)| Some((name, value?))) {
        is_word(value, "/")
            .then_some(())
            .ok_or_else(|| LoginError::NotAPattern(value.to_owned()))?;
        again += &format!(" --{name} {value}");
    }
    is_word(pattern, "*?!")
        .then_some(())
        .ok_or_else(|| LoginError::NotAPattern(pattern.to_owned()))?;
    let key = place.key.display();
    Ok(format!(
        "Match host \"{pattern}\" exec \"{again}\"\n  IdentityFile \"{key}\"\n  CertificateFile \"{key}-cert.pub\"\n  IdentitiesOnly yes\n  AddKeysToAgent no\nMatch all"
    ))
}

/// Neither ssh nor a shell reads more in it than it says.
fn is_word(text: &str, more: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || ".,:@_-".contains(c) || more.contains(c);
    !text.is_empty() && !text.starts_with('-') && text.chars().all(plain)
}

#[cfg(test)]
mod tests {
    use super::super::options::HowToProve;
    use super::*;

    #[test]
    fn nothing_of_a_hostile_name_gets_into_ssh_config() {
        let place = Place::of(&HowToProve::default(), &AwsOptions::default(), Some("01234567")).unwrap();
        let made = |pattern: &str, profile: &str| {
            let aws = AwsOptions {
                profile: Some(profile.to_owned()),
                ..AwsOptions::default()
            };
            lines(pattern, &place, &LoginOptions::default(), &aws)
        };
        let text = made("*.example.com,!bastion", "dev").unwrap();
        assert!(text.starts_with(
            "Match host \"*.example.com,!bastion\" exec \"keymaker login --if-needed --place 01234567 --profile dev\"\n"
        ));
        assert!(!text.contains('%'));
        for bad in [
            "", "a b", "a\"b", "a\nb", "$(id)", "`id`", "%h", "a;b", "-x", "a'b", "a\\b",
        ] {
            assert!(made(bad, "dev").is_err() && made("*", bad).is_err(), "{bad:?}");
        }
    }
}
