//! From when on a proof of a user counts: since this host knows their IAM name as theirs, and since the last revocation.

use super::{IamNameHolder, IdMap};

impl IdMap {
    /// A user has this name in IAM, as known at this time of answers. What says who somebody is by that name alone, a
    /// token of AWS's, may be the former holder's if it is older.
    pub fn note_iam_name(&mut self, iam_id: &str, iam_name: &str, now: u64) {
        match self.iam_names.get_mut(iam_name) {
            Some(holder) if holder.iam_id == iam_id => {}
            known => {
                let since = if known.is_some() { now } else { 0 };
                let holder = IamNameHolder {
                    iam_id: iam_id.to_owned(),
                    since,
                };
                self.iam_names.insert(iam_name.to_owned(), holder);
            }
        }
        let Some(kept) = self.kept.get_mut(iam_id) else { return };
        match &kept.iam_name {
            Some((name, _)) if name == iam_name => {}
            known => kept.iam_name = Some((iam_name.to_owned(), if known.is_some() { now } else { 0 })),
        }
    }

    /// From when on a token for this IAM name is this user's, and not revoked; 0: as far as is known here, from their making.
    pub fn proofs_from(&self, iam_id: &str, iam_name: &str) -> u64 {
        let of_name = self.iam_names.get(iam_name).filter(|holder| holder.iam_id == iam_id);
        let kept = self.kept.get(iam_id);
        let of_user = kept
            .and_then(|kept| kept.iam_name.as_ref())
            .filter(|(name, _)| name == iam_name);
        // Whoever was not noted has no proofs.
        let (Some(of_name), Some((_, of_user))) = (of_name, of_user) else {
            return u64::MAX;
        };
        let revoked = kept.map_or(0, |kept| kept.proofs_revoked);
        [of_name.since, *of_user, revoked, self.proofs_revoked]
            .into_iter()
            .max()
            .unwrap_or(u64::MAX)
    }

    /// Proofs made before open nothing, whosever they are; 0: none was revoked so.
    pub fn proofs_revoked(&self) -> u64 {
        self.proofs_revoked
    }

    /// Proofs that were made until now, of this user or of everybody, open nothing from now on.
    pub fn revoke_proofs(&mut self, iam_id: Option<&str>, now: u64) {
        match iam_id {
            None => self.proofs_revoked = now.saturating_add(1),
            Some(iam_id) => {
                if let Some(kept) = self.kept.get_mut(iam_id) {
                    kept.proofs_revoked = now.saturating_add(1);
                }
            }
        }
    }
}
