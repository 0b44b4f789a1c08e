//! Takes secrets out of a text: private keys, secret access keys, session tokens, access key ids, passwords in URLs, and
//! the values of keys that are called so. Rather too much than too little: what is left is handed to strangers.

/// Stands where something was.
const REMOVED: &str = "[removed]";

/// The text without secrets.
pub fn without_secrets(text: &str) -> String {
    let text = without_private_keys(text);
    let lines = text.lines().map(|line| {
        let line = without_passwords_of_urls(line);
        without_long_words(&without_named_values(&without_values_of_options(&line)))
    });
    lines.map(|line| line + "\n").collect()
}

/// From `-----BEGIN … PRIVATE KEY-----` to the end of its block; to the end of the text where that is missing.
fn without_private_keys(text: &str) -> String {
    let (mut kept, mut rest) = (String::new(), text);
    while let Some(at) = rest.find(BEGIN) {
        let (before, from) = rest.split_at(at);
        kept += before;
        let head = from.lines().next().unwrap_or_default();
        if !head.contains("PRIVATE KEY") {
            kept += BEGIN;
            rest = from.get(BEGIN.len()..).unwrap_or_default();
            continue;
        }
        kept += REMOVED;
        let end = from.find(END).map(|end| end + END.len());
        let after = end.and_then(|end| from.get(end..)).unwrap_or_default();
        rest = after
            .find("-----")
            .and_then(|end| after.get(end + 5..))
            .unwrap_or_default();
    }
    kept + rest
}

/// `scheme://user:password@host` without what stands before the host.
fn without_passwords_of_urls(line: &str) -> String {
    let mut parts = line.split("://");
    let mut kept = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = part
            .find(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '<' | '>'))
            .unwrap_or(part.len());
        let (url, after) = part.split_at(end);
        kept += "://";
        match url.rsplit_once('@') {
            Some((_, host)) => kept += &format!("{REMOVED}@{host}"),
            None => kept += url,
        }
        kept += after;
    }
    kept
}

/// `password = x`, `"SecretAccessKey": "x"`, `Authorization: x`: the rest of the value, to its closing quote or the next
/// blank; of a header, to the end of the line.
fn without_named_values(line: &str) -> String {
    let (mut kept, mut rest) = (String::new(), line);
    while let Some(at) = rest.find(['=', ':']) {
        let (name, value) = rest.split_at(at);
        let (sign, value) = value.split_at(1);
        kept += name;
        kept += sign;
        rest = value;
        let last = |c: char| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '-'));
        let word = name.trim_end_matches([' ', '"', '\'']);
        let word = word.rsplit(last).next().unwrap_or_default().to_ascii_lowercase();
        if word.ends_with("authorization") {
            return kept + " " + REMOVED;
        }
        // "passwd:" begins a line of nsswitch.conf.
        let is_passwd = sign == "=" && word.ends_with("passwd");
        if !is_passwd && !NAMES.iter().any(|name| word.ends_with(name)) {
            continue;
        }
        let blank = value.len() - value.trim_start().len();
        let (blank, value) = value.split_at(blank);
        kept += blank;
        let quote = value.chars().next().filter(|c| matches!(c, '"' | '\''));
        let (length, after) = match quote {
            Some(quote) => {
                let inner = value.get(1..).unwrap_or_default();
                (inner.find(quote).map_or(value.len(), |end| end + 2), quote.to_string())
            }
            None => (
                value
                    .find(|c: char| c.is_whitespace() || matches!(c, ',' | ';' | '}'))
                    .unwrap_or(value.len()),
                String::new(),
            ),
        };
        if length > 0 {
            kept += &format!("{after}{REMOVED}{after}");
        }
        rest = value.get(length..).unwrap_or_default();
    }
    kept + rest
}

/// `--password x` of a command line, and `SetCredential=ID:x` of a unit: the next word, and all that follows.
fn without_values_of_options(line: &str) -> String {
    if let Some((id, _)) = line
        .split_once(':')
        .filter(|_| line.trim_start().starts_with("SetCredential"))
    {
        return format!("{id}:{REMOVED}");
    }
    let mut is_value = false;
    let words = line.split_inclusive(char::is_whitespace).map(|word| {
        let bare = word.trim_end();
        let option = bare
            .strip_prefix("--")
            .unwrap_or_default()
            .to_ascii_lowercase()
            .replace('-', "_");
        let was_value = std::mem::replace(&mut is_value, NAMES.iter().any(|name| option.ends_with(name)));
        if was_value && !bare.is_empty() {
            word.replacen(bare, REMOVED, 1)
        } else {
            // Several blanks may follow an option.
            is_value |= was_value;
            word.to_owned()
        }
    });
    words.collect()
}

/// Words that look like what AWS gives out: an access key id, 40 characters of base64, or 64 and more.
fn without_long_words(line: &str) -> String {
    let (mut kept, mut word) = (String::new(), String::new());
    for c in line.chars().chain(['\0']) {
        if c.is_ascii_alphanumeric() || matches!(c, '/' | '+' | '=' | '_' | '-') {
            word.push(c);
            continue;
        }
        kept += if is_secret(&word) { REMOVED } else { &word };
        word.clear();
        if c != '\0' {
            kept.push(c);
        }
    }
    kept
}

/// A value may follow its name and `=`.
fn is_secret(word: &str) -> bool {
    let value = word.trim_end_matches('=');
    let value = value.rsplit('=').next().unwrap_or_default();
    let has = |is: fn(&char) -> bool| value.chars().any(|c| is(&c));
    let is_mixed = has(char::is_ascii_lowercase) && has(char::is_ascii_uppercase) && has(char::is_ascii_digit);
    let is_key_id = value.len() == 20 && (value.starts_with("AKIA") || value.starts_with("ASIA"));
    // A fingerprint has 43 characters, a path hyphens or dots.
    let is_base64 = value
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || matches!(c, '/' | '+'));
    is_key_id || (is_mixed && ((is_base64 && value.len() == 40) || value.len() >= 64))
}

const BEGIN: &str = "-----BEGIN ";
const END: &str = "-----END";
/// What the names of such values end in.
const NAMES: [&str; 8] = [
    "password",
    "passphrase",
    "secret",
    "token",
    "secretaccesskey",
    "secret_access_key",
    "signature",
    "api_key",
];

#[cfg(test)]
mod tests {
    use super::*;

    // P19
    #[test]
    fn no_secret_is_left_in_whatever_form_it_stands() {
        let secret = "wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEYabc";
        let key = &secret[..40];
        let token = "FwoGZXIvYXdzEJr1".repeat(20);
        let pem = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAA\n-----END OPENSSH PRIVATE KEY-----";
        for (text, gone, stays) in [
            (format!("aws_secret_access_key = {key}"), key, "aws_secret_access_key"),
            (format!("got {key}."), key, "got "),
            (format!("x={key}, y"), key, ", y"),
            (
                format!("{{\"SecretAccessKey\":\"{key}\",\"Expiration\":\"2026\"}}"),
                key,
                "\"Expiration\":\"2026\"",
            ),
            (format!("{{\"Token\": \"{token}\"}}"), &token, "Token"),
            (format!("X-Amz-Security-Token: {token}"), &token, "X-Amz"),
            (format!("said {token}=="), &token, "said "),
            ("id AKIAIOSFODNN7EXAMPLE used".into(), "IOSFODNN7EXAMPLE", " used"),
            (
                "https_proxy = \"http://bob:hunter2@proxy:3128\"".into(),
                "hunter2",
                "@proxy:3128",
            ),
            (
                "to http://b@b:p/w@x:1/ and https://iam.x/".into(),
                "p/w",
                "https://iam.x/",
            ),
            ("password=hunter2 user=bob".into(), "hunter2", "user=bob"),
            ("password = 'hunter2 and more' # x".into(), "and more", "# x"),
            ("password = \"hunter2".into(), "hunter2", "password"),
            (
                "ExecStartPre=/bin/x --db-password  hunter2 --user bob".into(),
                "hunter2",
                "--user bob",
            ),
            (
                "SetCredential=tok:hunter2 and more".into(),
                "hunter2",
                "SetCredential=tok:",
            ),
            (
                "SetCredentialEncrypted=tok: k6iUCUh0RJCQyvL8k8q1UyAAAA".into(),
                "k6iUCUh0",
                "tok:",
            ),
            (
                "Authorization: AWS4-HMAC-SHA256 Credential=x, Signature=hunter2".into(),
                "hunter2",
                "Authorization",
            ),
            (format!("a {pem} b"), "b3BlbnNzaC1rZXktdjEAAAAA", " b"),
            (format!("a {}", &pem[..50]), "b3Blbn", "a "),
            (format!("a {} b", pem.replace('\n', "\\n")), "b3Blbn", " b"),
        ] {
            let left = without_secrets(&text);
            assert!(
                !left.contains(gone) && left.contains(stays) && left.contains(REMOVED),
                "{text} -> {left}"
            );
        }
    }

    #[test]
    fn what_is_no_secret_stays() {
        for text in [
            "token_hop_limit = 1",
            "SHA256:uNiVztksCsDhcc0u9e8BgrJXVGsqQrBPPpfL0pbqq1Y",
            "arn:aws:iam::123456789012:role/user-alice",
            "passwd:         files keymaker systemd",
            "iam_endpoint = \"https://iam.example.com\"",
            "-----BEGIN CERTIFICATE-----",
            "2026-11-29T18:00:00.123456+00:00 host keymakerd[1]: alice: 7 users",
        ] {
            assert_eq!(without_secrets(text).trim_end(), text);
        }
    }
}
