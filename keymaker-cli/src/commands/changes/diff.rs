//! Two texts as a diff, line by line: what people read before they agree to a change.

/// The lines of both, those removed with `-`, those added with `+`.
pub fn lines(before: &str, after: &str) -> Vec<String> {
    let (old, new): (Vec<&str>, Vec<&str>) = (before.lines().collect(), after.lines().collect());
    let common = longest_common(&old, &new);
    let (mut old, mut new) = (old.into_iter(), new.into_iter());
    let mut lines = Vec::new();
    for line in common {
        lines.extend(
            old.by_ref()
                .take_while(|&other| other != line)
                .map(|other| format!("-{other}")),
        );
        lines.extend(
            new.by_ref()
                .take_while(|&other| other != line)
                .map(|other| format!("+{other}")),
        );
        lines.push(format!(" {line}"));
    }
    lines.extend(old.map(|line| format!("-{line}")));
    lines.extend(new.map(|line| format!("+{line}")));
    lines
}

/// By dynamic programming; policies have a hundred lines.
fn longest_common<'a>(old: &[&'a str], new: &[&'a str]) -> Vec<&'a str> {
    let mut row: Vec<Vec<&str>> = vec![Vec::new(); new.len() + 1];
    for line in old {
        let mut next: Vec<Vec<&str>> = vec![Vec::new()];
        for ((other, above), above_left) in new.iter().zip(row.iter().skip(1)).zip(&row) {
            let left = next.last().cloned().unwrap_or_default();
            next.push(match line == other {
                true => [above_left.as_slice(), &[line]].concat(),
                false if above.len() > left.len() => above.clone(),
                false => left,
            });
        }
        row = next;
    }
    row.pop().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stays_stands_between_what_goes_and_what_comes() {
        assert_eq!(lines("a\nb\nc", "a\nx\nc\nd"), [" a", "-b", "+x", " c", "+d"]);
        assert_eq!(lines("", "a"), ["+a"]);
        assert_eq!(lines("a", ""), ["-a"]);
    }
}
