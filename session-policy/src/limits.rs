//! How much STS takes of one call; `session_policies` quotes the source.

/// Characters of the inline policy and all ARNs together.
pub(super) const MAX_CHARACTERS: usize = 2048;

/// ARNs of managed policies in one call.
pub(super) const MAX_POLICY_ARNS: usize = 10;
