//! Whom sshd has turned away for a name that they typed otherwise than this host has it: with capitals, as a Mac sends the name of its
//! own account, or as an e-mail address. sshd asks none of our programs about somebody whom NSS does not know, so its journal is read.
//!
//! What it holds is strangers' words. Of these only such a word is told as a published user has for a name, by its letters.

use std::collections::BTreeSet;

use super::super::probe::journal_of_last_hour;
use super::super::published::{NameTyped, meant_by};
use super::Findings;

/// Told at most.
const MOST_NAMED: usize = 3;

/// Looks at the last hour of the journal. Before OpenSSH 9.8 sshd wrote these lines, since then sshd-session; either as root, while
/// logger(1) writes as either for everybody.
pub fn look(found: &mut Findings) {
    let identifiers = ["--identifier=sshd", "--identifier=sshd-session", "_UID=0"];
    let lines = journal_of_last_hour(&[&identifiers[..], &["--grep=^Invalid user ", "--lines=1000"]].concat());
    // A directory that cannot be read is told with the files.
    let meant = meant_by(&typed(&lines)).unwrap_or_default();
    for NameTyped { typed, name } in meant.iter().take(MOST_NAMED) {
        found.note(format!(
            "somebody tried to log in as {typed:?} in the last hour: the name here is {name} (ssh {name}@…, or the line \"User {name}\" in their \
             ~/.ssh/config)"
        ));
    }
}

/// The names in lines such as `Invalid user John.Doe from 192.0.2.7 port 50000`.
fn typed(log: &str) -> BTreeSet<&str> {
    let name = |line| str::strip_prefix(line, "Invalid user ")?.rsplit_once(" from ");
    log.lines().filter_map(name).map(|(name, _)| name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_what_the_client_said_up_to_sshds_own_last_words() {
        let log = "Invalid user John.Doe from 192.0.2.7 port 50000\n\
                   Invalid user ro ot from 192.0.2.1 port 1 from 2001:db8::7 port 50001\n\
                   Invalid user  from 192.0.2.7 port 50002\n\
                   Invalid user $(reboot)'\\033[2J from 192.0.2.7 port 50003\n\
                   Connection closed by invalid user Jane from 192.0.2.7 port 50004\n\
                   Invalid user without its end\n\n";
        let expected = ["John.Doe", "ro ot from 192.0.2.1 port 1", "", "$(reboot)'\\033[2J"];
        assert_eq!(typed(log), BTreeSet::from(expected));
    }
}
