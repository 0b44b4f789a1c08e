//! Any bytes as claims that AWS has signed: no panic, and what opens says so in serde's own words, too.

#![no_main]

use keymaker_core::issuers_file::ProofRules;
use keymaker_proof::certificate::Certificate;
use keymaker_proof::claims::check;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

const ISSUER: &str = "https://1.example";

fuzz_target!(|claims: &[u8]| {
    let certificate = Certificate {
        key: "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJVIdsHq0Z9wh8xz9aLmBwWbJY8mNUvXwzNlZQK9iJ0w".to_owned(),
        fingerprint: "SHA256:x".to_owned(),
        key_id: "1".to_owned(),
        valid_after: 40,
        valid_before: 400,
        token: String::new(),
    };
    let rules = ProofRules {
        account: "1".to_owned(),
        partition: "aws".to_owned(),
        audience: "a".to_owned(),
        token_max: 300,
        max_stale: 86_400,
        ..ProofRules::default()
    };
    let Ok(proof) = check(claims, &certificate, &[ISSUER], &rules, 200) else {
        return;
    };
    let claims: Value = serde_json::from_slice(claims).expect("JSON");
    assert_eq!(
        (&claims["iss"], &claims["aud"], &claims["jti"]),
        (&ISSUER.into(), &"a".into(), &"1".into())
    );
    assert_eq!(
        (claims["iat"].as_u64(), claims["exp"].as_u64()),
        (Some(proof.issued_at), Some(400))
    );
    let subject = claims["sub"].as_str().expect("a subject");
    assert!(subject.starts_with("arn:aws:iam::1:user/") && subject.ends_with(&format!("/{}", proof.iam_user_name)));
    let tags = &claims["https://sts.amazonaws.com/"]["request_tags"];
    assert_eq!(
        (&tags["keymaker-key"], &tags["keymaker-user"]),
        (&"SHA256:x".into(), &proof.iam_user_id.as_str().into())
    );
});
