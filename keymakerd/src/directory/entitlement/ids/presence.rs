//! Whether a user has been on this host, and under which names: what they may have left here is theirs, numbers and names.

use super::{IdMap, KeptId};

/// Anybody who has had a name here for so long keeps it, whether they logged in or not: root may have written it into a
/// file. In seconds.
const A_DAY: u64 = 86_400;

impl IdMap {
    /// A user has been on this host: their numbers are theirs forever.
    pub fn note_presence(&mut self, iam_id: &str) {
        if let Some(kept) = self.kept.get_mut(iam_id) {
            kept.been_here = true;
            kept.without_trace.clear();
        }
    }

    /// A user has an entry here.
    pub fn note_published(&mut self, iam_id: &str) {
        if let Some(kept) = self.kept.get_mut(iam_id) {
            kept.published = true;
        }
    }

    /// Whether a user ever had one.
    pub fn was_published(&self, iam_id: &str) -> bool {
        self.kept.get(iam_id).is_some_and(|kept| kept.published)
    }

    /// A user has been on this host under this name: it is theirs until [`Self::release`].
    pub fn note_presence_as(&mut self, iam_id: &str, name: &str) {
        if let Some(names) = self.kept.get_mut(iam_id).and_then(|kept| kept.here_as.as_mut()) {
            names.insert(name.to_owned());
        }
    }

    /// A user is published under this name at this time, by the time of answers.
    pub fn note_name(&mut self, iam_id: &str, name: &str, now: u64) {
        let Some(kept) = self.kept.get_mut(iam_id) else { return };
        match &kept.named_since {
            Some((since_then, since)) if since_then == name => {
                if now >= since + A_DAY {
                    self.note_presence_as(iam_id, name);
                }
            }
            _ => kept.named_since = Some((name.to_owned(), now)),
        }
    }

    /// Names whose holder is not known to have been here under them, with the holder's `UserId` and numbers.
    pub fn names_without_presence(&self) -> impl Iterator<Item = (&str, &str, Vec<u32>)> {
        self.holders.iter().filter_map(|(name, iam_id)| {
            let kept = self.kept.get(iam_id).filter(|kept| !kept.was_here_as(name))?;
            let numbers = kept.former.iter().copied().chain([kept.id]).collect();
            Some((name.as_str(), iam_id.as_str(), numbers))
        })
    }

    /// Frees a name whose holder has another by now, or is gone, and was never here under it.
    pub fn forget_name(&mut self, name: &str, iam_id: &str) {
        let was_here = self.kept.get(iam_id).is_none_or(|kept| kept.was_here_as(name));
        if !was_here && self.holders.get(name).is_some_and(|holder| holder == iam_id) {
            self.holders.remove(name);
        }
    }

    /// A user who was never here has left nothing with this number.
    pub fn note_absence(&mut self, iam_id: &str, number: u32) {
        if let Some(kept) = self.kept.get_mut(iam_id).filter(|kept| !kept.been_here) {
            kept.without_trace.insert(number);
        }
    }
}

impl KeptId {
    pub(super) fn was_here_as(&self, name: &str) -> bool {
        self.here_as.as_ref().is_none_or(|names| names.contains(name))
    }
}
