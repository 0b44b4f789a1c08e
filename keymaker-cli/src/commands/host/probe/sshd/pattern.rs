//! sshd's patterns (`ssh_config(5)`, "PATTERNS"): `*`, `?`, and lists of patterns with `!`.

/// Whether the whole text matches: `*` is any number of characters, `?` is one.
pub fn matches(text: &str, pattern: &str) -> bool {
    let (text, pattern): (Vec<char>, Vec<char>) = (text.chars().collect(), pattern.chars().collect());
    // Which beginnings of the text the pattern so far matches.
    let mut reached = vec![false; text.len() + 1];
    reached.iter_mut().take(1).for_each(|empty| *empty = true);
    for wanted in pattern {
        let before = reached.clone();
        if wanted == '*' {
            let first = before.iter().position(|reached| *reached).unwrap_or(before.len());
            reached.iter_mut().skip(first).for_each(|reached| *reached = true);
            continue;
        }
        let one = text.iter().map(|found| wanted == '?' || wanted == *found);
        let next = before.iter().zip(one).map(|(reached, one)| *reached && one);
        reached = std::iter::once(false).chain(next).collect();
    }
    reached.last() == Some(&true)
}

/// Whether a list, separated by commas, names the text. What a pattern with `!` matches, the list does not name.
pub fn list_names(list: &str, text: &str) -> bool {
    let (denied, named): (Vec<&str>, Vec<&str>) = list.split(',').partition(|pattern| pattern.starts_with('!'));
    let any = |patterns: &[&str]| {
        patterns
            .iter()
            .any(|pattern| matches(text, pattern.trim_start_matches('!')))
    };
    any(&named) && !any(&denied)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_matches_the_whole_text_or_nothing() {
        for (text, pattern, holds) in [
            ("alice", "alice", true),
            ("alice", "ali", false),
            ("alice", "ali*", true),
            ("alice", "*", true),
            ("", "*", true),
            ("", "?", false),
            ("alice", "a?ice", true),
            ("alice", "*l*c*", true),
            ("alice", "*x*", false),
            ("alice", "Alice", false),
            ("aXbXc", "a*X?", true),
            ("alice", "", false),
            ("alice", "!alice", false),
        ] {
            assert_eq!(matches(text, pattern), holds, "{text} {pattern}");
        }
    }

    #[test]
    fn what_a_list_denies_it_does_not_name() {
        assert!(list_names("ssh-rsa,rsa-sha2-*", "rsa-sha2-512"));
        assert!(!list_names("*,!ssh-rsa", "ssh-rsa"));
        assert!(!list_names("!ssh-rsa", "ssh-ed25519"));
    }
}
