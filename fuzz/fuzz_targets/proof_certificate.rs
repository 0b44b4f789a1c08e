//! Any bytes as the certificate that a client offers, before anything in it is believed: what is read is of one form, key and all.

#![no_main]

use base64ct::{Base64, Encoding};
use keymaker_core::public_key::SshPublicKey;
use keymaker_proof::certificate::{Certificate, MAX_TOKEN};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|blob: &[u8]| {
    let base64 = Base64::encode_string(blob);
    for key_type in [
        "ssh-ed25519-cert-v01@openssh.com",
        "ecdsa-sha2-nistp256-cert-v01@openssh.com",
    ] {
        let Ok(certificate) = Certificate::parse(key_type, &base64) else {
            continue;
        };
        assert!(SshPublicKey::parse(&certificate.key).is_some());
        assert!(certificate.token.len() <= MAX_TOKEN && !certificate.key_id.is_empty());
    }
});
