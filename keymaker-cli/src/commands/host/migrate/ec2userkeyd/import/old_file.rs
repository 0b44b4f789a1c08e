//! Reads the settings file of ec2userkeyd: which key has which value, and what a list of chains says. `import` gives
//! them their meaning; nothing here judges a value.

use std::collections::BTreeMap;

/// `section.option` → value, as Python's configparser reads it.
pub struct Ini(BTreeMap<String, String>);

impl Ini {
    /// Takes what it can read.
    pub fn parse(text: &str) -> Self {
        let (mut values, mut section, mut last) = (BTreeMap::<String, String>::new(), String::new(), None::<String>);
        for line in text.lines().filter(|line| !line.trim_start().starts_with(['#', ';'])) {
            let trimmed = line.trim();
            if line.starts_with([' ', '\t']) && !trimmed.is_empty() {
                // A line that goes on.
                if let Some(value) = last.as_ref().and_then(|key| values.get_mut(key)) {
                    value.push(' ');
                    value.push_str(trimmed);
                }
            } else if let Some(name) = trimmed.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
                section = name.to_owned();
            } else if let Some((key, value)) = trimmed.split_once(['=', ':']) {
                let key = format!("{section}.{}", key.trim().to_lowercase());
                values.insert(key.clone(), value.trim().replace("%%", "%"));
                last = Some(key);
            }
        }
        Self(values)
    }

    /// A value that is set.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// Whether it is set to yes.
    pub fn is_true(&self, key: &str) -> bool {
        self.get(key).is_some_and(is_truth)
    }

    /// All of them.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

/// A yes, as configparser takes it.
pub fn is_truth(value: &str) -> bool {
    ["1", "yes", "true", "on"].contains(&value.to_lowercase().as_str())
}

/// `joe:UserRole, InstanceRole, jane:UserRole`, with or without spaces: a name, and its methods up to the next name.
/// One without methods meant "not set" and is left out, since an empty chain denies here.
pub fn entries(text: &str) -> Vec<(&str, Vec<&str>)> {
    let mut entries: Vec<(&str, Vec<&str>)> = vec![];
    for word in words(text) {
        let method = match word.split_once(':') {
            Some((name, method)) => {
                entries.push((name, vec![]));
                method
            }
            None => word,
        };
        if let Some((_, methods)) = entries.last_mut().filter(|_| !method.is_empty()) {
            methods.push(method);
        }
    }
    entries.retain(|(_, methods)| !methods.is_empty());
    entries
}

/// The parts of a list.
pub fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split([',', ' ', '\t']).filter(|word| !word.is_empty())
}
