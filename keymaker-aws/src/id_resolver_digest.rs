//! What the published directory says about the id resolver that keymakerd goes by. keymakerd writes it, credd compares
//! it with its own.

use keymaker_syntax::IdResolver;
use sha2::{Digest, Sha256};

/// SHA-256 of `ACCOUNT:ROLE`.
pub fn id_resolver_digest(resolver: &IdResolver) -> [u8; 32] {
    Sha256::digest(format!("{}:{}", resolver.account(), resolver.role())).into()
}
