//! /etc/nsswitch.conf: which services glibc asks, in which order.

/// What stands in one line: services, and actions in brackets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line(Vec<String>);

/// The line of this database in the text of an nsswitch.conf(5).
pub fn line(text: &str, database: &str) -> Option<Line> {
    let mut lines = text.lines().map(|line| line.split('#').next().unwrap_or_default());
    let services = lines.find_map(|line| line.trim().strip_prefix(database)?.trim_start().strip_prefix(':'))?;
    let spaced = services.replace('[', " [").replace(']', "] ");
    let mut words: Vec<String> = Vec::new();
    let mut open = false;
    for word in spaced.split_whitespace() {
        match words.last_mut() {
            Some(action) if open => action.push_str(&format!(" {word}")),
            _ => words.push(word.to_owned()),
        }
        open = (open || word.starts_with('[')) && !word.ends_with(']');
    }
    Some(Line(words))
}

impl Line {
    /// Where a service stands.
    pub fn position(&self, service: &str) -> Option<usize> {
        self.0.iter().position(|word| word == service)
    }

    /// Whether keymaker comes after the local files.
    pub fn is_after_files(&self) -> bool {
        let files = self.position("files").or(self.position("compat"));
        match (files, self.position("keymaker")) {
            (Some(files), Some(ours)) => files < ours,
            (_, ours) => ours.is_some(),
        }
    }

    /// An action before keymaker that ends the search where the name was not found.
    pub fn stop_before(&self) -> Option<&str> {
        let ours = self.position("keymaker")?;
        let before = self.0.iter().take(ours);
        let mut stops = before.filter(|word| word.to_ascii_lowercase().contains("notfound=return"));
        stops.next().map(String::as_str)
    }

    /// Whether the search goes on from files to keymaker after a success, which an initgroups line needs.
    pub fn continues_to_ours(&self) -> bool {
        let Some(ours) = self.position("keymaker") else {
            return false;
        };
        let before = ours.checked_sub(1).and_then(|at| self.0.get(at));
        before.is_none_or(|word| word.to_ascii_lowercase().contains("success=continue"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_with_its_actions() {
        let text = "# x\npasswd:\tfiles [NOTFOUND=return UNAVAIL=continue] keymaker # ours\ngroup: keymaker files\ninitgroups: files [SUCCESS=continue] keymaker\n";
        let passwd = line(text, "passwd").unwrap();
        assert!(passwd.is_after_files());
        assert_eq!(passwd.stop_before(), Some("[NOTFOUND=return UNAVAIL=continue]"));
        assert!(!line(text, "group").unwrap().is_after_files());
        assert!(line(text, "initgroups").unwrap().continues_to_ours());
        assert_eq!(line(text, "shadow"), None);
        assert!(!line("group: files systemd", "group").unwrap().is_after_files());
    }
}
