//! The lines of passwd(5) and group(5) as glibc reads them: generated files, laid over /etc/passwd and /etc/group in a
//! mount namespace of the test's own, and getent(1) of this host. Root only.

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::process::Command;

    use keymaker_core::local_files::{GroupLine, NamedLine, PasswdLine, has_id, lines, names, number_of};
    use test_folder::TestFolder;

    // P3
    #[test]
    fn no_random_line_is_read_otherwise_than_by_glibc() {
        let folder = TestFolder::new();
        let mut dice = Dice(0x5eed);
        let (passwd, group) = (text(&mut dice, 100_000, 7, true), text(&mut dice, 100_000, 4, true));
        let Some(asked) = getent(&folder, &passwd, &group, &["passwd"]) else {
            return;
        };
        let mine: Vec<_> = lines(&passwd).filter_map(PasswdLine::parse).collect();
        let glibcs: Vec<_> = asked.iter().filter_map(|line| passwd_of(line)).collect();
        assert!(mine.len() > 5_000, "too few lines are entries: {}", mine.len());
        assert_eq!(mine.len(), glibcs.len());
        for (mine, glibcs) in mine.iter().zip(&glibcs) {
            assert_eq!(
                (mine.name, mine.uid, mine.gid),
                (glibcs.0.as_slice(), glibcs.1, glibcs.2)
            );
        }
        let asked = getent(&folder, &passwd, &group, &["group"]).unwrap();
        let mine: Vec<_> = lines(&group).filter_map(GroupLine::parse).collect();
        let glibcs: Vec<_> = asked.iter().filter_map(|line| group_of(line)).collect();
        assert!(mine.len() > 5_000, "too few lines are entries: {}", mine.len());
        assert_eq!(mine.len(), glibcs.len());
        for (mine, glibcs) in mine.iter().zip(&glibcs) {
            let members: Vec<&[u8]> = mine.members().collect();
            assert_eq!(
                (mine.name, mine.gid, members.join(&b','.to_owned())),
                (glibcs.0.as_slice(), glibcs.1, glibcs.2.clone())
            );
        }
    }

    // P1
    #[test]
    fn whatever_glibc_finds_is_taken_and_a_scan_of_the_file_says_the_same() {
        let folder = TestFolder::new();
        let mut dice = Dice(0xacc);
        let text = text(&mut dice, 1_000, 7, false);
        let path = folder.join("passwd");
        std::fs::write(&path, &text).unwrap();
        let taken: Vec<_> = lines(&text).filter_map(NamedLine::parse).collect();
        for line in lines(&text) {
            if let Some(PasswdLine { name, uid, gid, .. }) = PasswdLine::parse(line) {
                let (id, gid) = (Some(uid), Some(gid));
                assert_eq!(NamedLine::parse(line), Some(NamedLine { name, id, gid }));
            }
        }
        for name in USERS.iter().chain(&["+", "-bob", "#al", "b b", "nobody", "al"]) {
            let is_taken = taken.iter().any(|line| line.name == name.as_bytes());
            assert_eq!(names(&path, name).unwrap(), is_taken, "{name}");
            let first = taken.iter().find(|line| line.name == name.as_bytes());
            assert_eq!(
                number_of(&path, name).unwrap(),
                first.and_then(|line| line.id),
                "{name}"
            );
        }
        let ids = taken.iter().filter_map(|line| line.id).take(300);
        for id in ids.chain(0..50).chain([4_294_967_294, u32::MAX]) {
            let is_taken = taken.iter().any(|line| line.id == Some(id));
            assert_eq!(has_id(&path, id).unwrap(), is_taken, "{id}");
        }
    }

    // P3
    #[test]
    fn nobody_is_in_another_group_than_glibc_says() {
        let folder = TestFolder::new();
        let mut dice = Dice(0xfeed);
        for _ in 0..20 {
            let group = text(&mut dice, 200, 4, false);
            let mut words = vec!["initgroups"];
            words.extend(USERS);
            let Some(asked) = getent(&folder, b"root:x:0:0::/:/bin/sh\n", &group, &words) else {
                return;
            };
            for (user, line) in USERS.iter().zip(&asked) {
                let line = String::from_utf8_lossy(line).into_owned();
                let glibcs: BTreeSet<u32> = line
                    .split_whitespace()
                    .skip(1)
                    .map(|gid| gid.parse().unwrap())
                    .collect();
                let of_user = |line: &GroupLine<'_>| line.members().any(|member| member == user.as_bytes());
                let memberships = lines(&group).filter_map(GroupLine::parse_membership);
                let mine: BTreeSet<u32> = memberships.filter(of_user).map(|line| line.gid).collect();
                // (gid_t) -1 is the primary group of this question.
                let without =
                    |set: BTreeSet<u32>| set.into_iter().filter(|gid| *gid != u32::MAX).collect::<BTreeSet<_>>();
                assert_eq!(without(mine), without(glibcs), "{user}");
            }
        }
    }

    const USERS: [&str; 6] = ["alice", "bob", "a", "zed", "b:x", "al"];

    struct Dice(u64);

    impl Dice {
        fn roll(&mut self, limit: usize) -> usize {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            usize::try_from(self.0 >> 11).unwrap() % limit
        }

        fn of<'a>(&mut self, words: &[&'a str]) -> &'a str {
            words[self.roll(words.len())]
        }
    }

    /// getent prints no entry with a colon in its last field.
    fn text(dice: &mut Dice, number: usize, fields: usize, is_printed: bool) -> Vec<u8> {
        let mut text = vec![];
        for _ in 0..number {
            let line = loop {
                let line = line(dice, fields);
                let colons = line.iter().filter(|byte| **byte == b':').count();
                if !is_printed || colons < fields {
                    break line;
                }
            };
            text.extend(line);
            text.push(b'\n');
        }
        // The last line has no end.
        text.pop();
        text
    }

    fn line(dice: &mut Dice, fields: usize) -> Vec<u8> {
        const BLANKS: [&str; 9] = ["", "", "", "", "", " ", "\t", " \x0b\r", "\x0c"];
        const NAMES: [&str; 10] = ["alice", "bob", "a", "zed", "", "+", "-bob", "#al", "b b", "\u{e9}"];
        const SIGNS: [&str; 7] = ["", "", "", "", "", "+", "-"];
        const NUMBERS: [&str; 15] = [
            "0",
            "7",
            "007",
            "2555",
            "4294967294",
            "4294967295",
            "4294967296",
            "18446744073709551615",
            "18446744073709551616",
            "18446744073709551613",
            "99999999999999999999999",
            "",
            "x",
            "12y",
            "1 ",
        ];
        const MEMBERS: [&str; 9] = ["alice", " bob", "alice ", "", "a", "b:x", "\tzed", "al", "+"];
        let mut line = format!("{}{}", dice.of(&BLANKS), dice.of(&NAMES));
        let wanted = if dice.roll(10) == 0 {
            dice.roll(fields + 2)
        } else {
            fields - 1
        };
        for index in 0..wanted {
            line.push(':');
            let is_number = index == 1 || (index == 2 && fields > 4);
            if is_number && dice.roll(3) == 0 {
                line += &format!("{}{}{}", dice.of(&BLANKS), dice.of(&SIGNS), dice.of(&NUMBERS));
            } else if is_number {
                line += &dice.roll(70_000).to_string();
            } else if index == 2 {
                let members: Vec<&str> = (0..dice.roll(5)).map(|_| dice.of(&MEMBERS)).collect();
                line += &members.join(",");
            } else {
                line += dice.of(&["x", "", "*", " "]);
            }
        }
        if dice.roll(2000) == 0 {
            line += &"l".repeat(5000);
        }
        line.into_bytes()
    }

    /// What getent says where these are the files; None where that cannot be tried.
    fn getent(folder: &TestFolder, passwd: &[u8], group: &[u8], words: &[&str]) -> Option<Vec<Vec<u8>>> {
        for (name, text) in [("passwd", passwd), ("group", group)] {
            std::fs::write(folder.join(name), text).unwrap();
        }
        let script =
            "mount --bind $0/passwd /etc/passwd && mount --bind $0/group /etc/group && exec getent -s files \"$@\"";
        let output = Command::new("unshare")
            .args(["--mount", "sh", "-c", script])
            .arg(&**folder)
            .args(words)
            .output();
        let output = match output {
            Ok(output) if !String::from_utf8_lossy(&output.stderr).contains("permitted") => output,
            _ => {
                println!("not run: mount namespaces are not permitted here");
                return None;
            }
        };
        assert!(output.status.success(), "{output:?}");
        let mut said: Vec<Vec<u8>> = output.stdout.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
        said.pop();
        Some(said)
    }

    fn passwd_of(line: &[u8]) -> Option<(Vec<u8>, u32, u32)> {
        let fields: Vec<&[u8]> = line.split(|byte| *byte == b':').collect();
        let number = |index: usize| std::str::from_utf8(fields[index]).unwrap().parse().unwrap();
        let compat = matches!(fields[0].first(), Some(b'+' | b'-'));
        (!compat).then(|| (fields[0].to_vec(), number(2), number(3)))
    }

    fn group_of(line: &[u8]) -> Option<(Vec<u8>, u32, Vec<u8>)> {
        let fields: Vec<&[u8]> = line.splitn(4, |byte| *byte == b':').collect();
        let number = |index: usize| std::str::from_utf8(fields[index]).unwrap().parse().unwrap();
        let compat = matches!(fields[0].first(), Some(b'+' | b'-'));
        (!compat).then(|| (fields[0].to_vec(), number(2), fields[3].to_vec()))
    }
}
