//! The token: a JSON Web Signature in its compact form, by ES384 and nothing else (RFC 7515, RFC 7518).
//!
//! Called by [`crate::verify`]. Of what is not signed yet only the name of the key is read; the claims are text until a
//! published key has verified them.

use base64ct::{Base64UrlUnpadded, Encoding};
use keymaker_core::issuers_file::IssuerKey;
use ring::signature::{ECDSA_P384_SHA384_FIXED, UnparsedPublicKey};

use crate::NoProof;
use crate::json::{parse, text_of};

/// A token whose signature nobody has verified yet.
#[derive(Debug)]
pub struct Token<'t> {
    /// The name that it gives to the key which signed it.
    pub kid: String,
    signed: &'t str,
    /// The claims, unread: worth nothing before [`Self::signers`].
    pub claims: Vec<u8>,
    signature: Vec<u8>,
}

impl<'t> Token<'t> {
    /// Reads the three parts.
    pub fn parse(token: &'t str) -> Result<Self, NoProof> {
        let mut parts = token.split('.');
        let (Some(header), Some(claims), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(NoProof::Token("it has not three parts"));
        };
        let decoded = |part| Base64UrlUnpadded::decode_vec(part).map_err(|_| NoProof::Token("its base64url"));
        let kid = kid(&decoded(header)?).ok_or(NoProof::Token("its header"))?;
        let signed = token.get(..header.len() + 1 + claims.len()).unwrap_or_default();
        let token = Self {
            kid,
            signed,
            claims: decoded(claims)?,
            signature: decoded(signature)?,
        };
        if token.signature.len() != SIGNATURE {
            return Err(NoProof::Token("its signature's length"));
        }
        Ok(token)
    }

    /// The published keys that have signed it, whose name it gives, and young enough: more than one where issuers share one.
    pub fn signers<'k>(&self, keys: &'k [IssuerKey], max_stale: u32, now: u64) -> Result<Vec<&'k IssuerKey>, NoProof> {
        let (mut signers, mut why) = (Vec::new(), NoProof::UnknownKey);
        for key in keys.iter().filter(|key| key.kid == self.kid) {
            // A time in the future says nothing about when it was (P3).
            let is_fresh = key.fetched_at <= now.saturating_add(MOST_AHEAD)
                && now <= key.fetched_at.saturating_add(max_stale.into());
            if !is_fresh {
                why = NoProof::StaleKeys;
                continue;
            }
            if has_signed(&key.point, self.signed.as_bytes(), &self.signature) {
                signers.push(key);
            }
            why = NoProof::Signature;
        }
        if signers.is_empty() { Err(why) } else { Ok(signers) }
    }
}

/// Whether the key of this point has made this signature, R and S of 48 bytes each, of these bytes: ES384 (RFC 7518, 3.4).
pub fn has_signed(point: &[u8], signed: &[u8], signature: &[u8]) -> bool {
    UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, point)
        .verify(signed, signature)
        .is_ok()
}

/// The key's name, where the header is exactly `alg` ES384, `kid`, and maybe `typ` JWT.
fn kid(header: &[u8]) -> Option<String> {
    let header = parse(header)?;
    let known = |name: &String| matches!(name.as_str(), "alg" | "kid" | "typ");
    let is_ours = header.as_object()?.keys().all(known)
        && text_of(&header, "alg") == Some("ES384")
        && (header.get("typ").is_none() || text_of(&header, "typ") == Some("JWT"));
    is_ours.then(|| text_of(&header, "kid").map(str::to_owned))?
}

/// Two numbers of 48 bytes.
const SIGNATURE: usize = 96;
/// Clocks that are kept right differ by less.
const MOST_AHEAD: u64 = 300;
