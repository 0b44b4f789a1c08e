//! What somebody is told who types an option of the Python keymaker's that there is none of here. docs/migrating.md has all
//! of them.

/// The sentence for these words of a command line, which clap did not accept.
pub fn said(words: impl Iterator<Item = String>) -> Option<&'static str> {
    let words: Vec<String> = words.skip(1).collect();
    let has = |word: &str| {
        words
            .iter()
            .any(|other| other == word || other.starts_with(&format!("{word}=")))
    };
    let installs = words.first().is_some_and(|word| word == "install");
    OPTIONS
        .iter()
        .find(|(option, of_install, _)| has(option) && (installs || !of_install))
        .map(|(_, _, sentence)| *sentence)
}

/// The option, whether it is one of `install`, and what to do.
const OPTIONS: [(&str, bool, &str); 2] = [
    (
        "--debug",
        false,
        "--debug was the Python keymaker's. Errors say everything here; on a host, 'keymaker log-level debug' has the daemons say more.",
    ),
    (
        "--user",
        true,
        "install --user was the Python keymaker's. sshd's keys command runs as the system user keymaker-keys, which is made with the rest.",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_predecessors_own_options_are_explained() {
        let said_to = |line: &str| said(line.split(' ').map(str::to_owned));
        assert!(said_to("keymaker --debug list-keys").is_some_and(|said| said.contains("log-level debug")));
        assert!(said_to("keymaker install --user=km").is_some_and(|said| said.contains("keymaker-keys")));
        assert_eq!(said_to("keymaker list-keys --user alice"), None);
    }
}
