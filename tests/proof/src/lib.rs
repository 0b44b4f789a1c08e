//! Ten thousand mutated tokens (a million in `./check --long`), judged by the verifier of proofs, by RustCrypto's p384 with serde's own
//! values, and, in pyjwt.py, by PyJWT: none opens here that those refuse, and none that anybody may make is refused otherwise. And
//! Wycheproof's vectors for signatures of this form. certificates.rs does the same with certificates.

#![cfg(test)]

#[allow(dead_code, reason = "the verifier's own tests use the rest of it")]
#[path = "../../../keymaker-proof/src/forge.rs"]
mod forge;

mod certificates;

use forge::{
    ACCOUNT, FINGERPRINT, ISSUED, ISSUER, NOW, TOKEN_ID, USER_ID, claims, fields, header, issuer_key, rules, signed,
    signing_key, token_of,
};
use keymaker_proof::token::has_signed;
use keymaker_proof::verify;
use p384::ecdsa::{Signature, VerifyingKey, signature::Verifier};
use serde_json::{Value, json};
use std::fs::File;
use std::io::{BufWriter, Write};
use wycheproof::TestResult;
use wycheproof::ecdsa::{TestName, TestSet};

fn opens(token: &str) -> bool {
    let fields = fields(token);
    verify(
        &fields.certificate_type,
        &fields.base64(),
        &rules(),
        &[issuer_key(1)],
        NOW,
    )
    .is_ok_and(|proof| proof.iam_user_id == USER_ID)
}

/// How RustCrypto's p384 and serde's own values judge a token: nothing of ours but the rules.
fn judged_by_others(token: &str) -> bool {
    let parts: Vec<&str> = token.split('.').collect();
    let [header, claims, signature] = parts[..] else {
        return false;
    };
    let decoded = |part: &str| decode_by_hand(part);
    let (Some(head), Some(body), Some(bits)) = (decoded(header), decoded(claims), decoded(signature)) else {
        return false;
    };
    let Ok(head) = serde_json::from_slice::<Value>(&head) else {
        return false;
    };
    if head["alg"] != "ES384" || head["kid"] != "EC384_0" {
        return false;
    }
    let key = VerifyingKey::from_sec1_bytes(&issuer_key(1).point).unwrap();
    let Ok(signature) = Signature::from_slice(&bits) else {
        return false;
    };
    if key.verify(format!("{header}.{claims}").as_bytes(), &signature).is_err() {
        return false;
    }
    let Ok(claims) = serde_json::from_slice::<Value>(&body) else {
        return false;
    };
    let aws = &claims["https://sts.amazonaws.com/"];
    claims["iss"] == ISSUER
        && claims["aud"] == "keymaker:123456789012"
        && claims["iat"].as_u64().is_some_and(|iat| iat == ISSUED)
        && claims["exp"].as_u64().is_some_and(|exp| exp == ISSUED + 300)
        && claims["jti"] == TOKEN_ID
        && aws["aws_account"] == ACCOUNT
        && aws["request_tags"]["keymaker-key"] == FINGERPRINT
        && aws["request_tags"]["keymaker-user"] == USER_ID
        && claims["sub"]
            .as_str()
            .is_some_and(|sub| sub.starts_with("arn:aws:iam::123456789012:user/"))
        && claims["sub"] == aws["principal_id"]
}

fn decode_by_hand(text: &str) -> Option<Vec<u8>> {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let (mut bits, mut pending, mut bytes) = (0, 0_u32, Vec::new());
    for letter in text.bytes() {
        let value = LETTERS.iter().position(|known| *known == letter)? as u32;
        (pending, bits) = (pending << 6 | value, bits + 6);
        if bits >= 8 {
            bits -= 8;
            bytes.push((pending >> bits) as u8);
            pending &= (1 << bits) - 1;
        }
    }
    (pending == 0 && bits < 6).then_some(bytes)
}

/// xorshift: the same mutations in every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % end as u64) as usize
    }
}

/// How many mutations.
fn tries() -> usize {
    let is_long = std::env::var_os("KEYMAKER_LONG").is_some_and(|long| !long.is_empty());
    if is_long { 1_000_000 } else { 10_000 }
}

// P21
#[test]
fn of_ten_thousand_mutated_tokens_none_opens_that_others_refuse() {
    let (mut numbers, good) = (Numbers(0x9e37_79b9_7f4a_7c15), token_of(&claims()));
    let (mut opened, tries) = (0, tries());
    // For pyjwt.py: the rules first, then each token with what became of it here.
    let mut judged = std::env::var_os("KEYMAKER_JUDGED").map(|path| BufWriter::new(File::create(path).unwrap()));
    let mut tell = |line: Value| {
        if let Some(file) = &mut judged {
            writeln!(file, "{line}").unwrap();
        }
    };
    tell(
        json!({"point": issuer_key(1).point.to_vec(), "issuer": ISSUER, "audience": rules().audience, "account": ACCOUNT,
        "fingerprint": FINGERPRINT, "user_id": USER_ID, "token_id": TOKEN_ID, "issued_at": ISSUED}),
    );
    for round in 0..tries {
        // Most of them by anybody; the others signed by AWS, over claims that were changed in a byte.
        let by_anybody = round % 20 != 0;
        let token = if by_anybody {
            let mut token = good.clone().into_bytes();
            for _ in 0..=numbers.below(3) {
                let at = numbers.below(token.len());
                match numbers.below(4) {
                    0 => token[at] = b' ' + numbers.below(95) as u8,
                    1 => drop(token.remove(at)),
                    2 => token.insert(at, b'A' + numbers.below(26) as u8),
                    _ => {
                        let other = numbers.below(token.len());
                        token.swap(at, other);
                    }
                }
            }
            String::from_utf8(token).unwrap()
        } else {
            let mut text = claims().to_string().into_bytes();
            let at = numbers.below(text.len());
            match numbers.below(3) {
                0 => text[at] = numbers.below(256) as u8,
                1 => drop(text.remove(at)),
                _ => text.insert(at, b"\"{}[]:,0 e.-\\u"[numbers.below(14)]),
            }
            signed(header().to_string().as_bytes(), &text, signing_key(1))
        };
        let ours = opens(&token);
        opened += usize::from(ours);
        // Refused alike, too, but for what only we refuse: claims that are read otherwise by another reader.
        let theirs = judged_by_others(&token);
        tell(json!({"token": token, "by_anybody": by_anybody, "opens": ours}));
        assert!(theirs || !ours, "{token}");
        assert!(ours || !theirs || !by_anybody, "{token}");
    }
    assert!(opened > 0, "some mutations change nothing that counts");
    assert!(judged_by_others(&good));
}

// P21
#[test]
fn a_signature_counts_where_wycheproof_says_that_it_is_one() {
    let set = TestSet::load(TestName::EcdsaSecp384r1Sha384P1363).unwrap();
    let (mut valid, mut invalid) = (0, 0);
    for group in &set.test_groups {
        for test in &group.tests {
            let counts = has_signed(&group.key.key, &test.msg, &test.sig);
            match test.result {
                TestResult::Valid => {
                    assert!(counts, "{} {}", test.tc_id, test.comment);
                    valid += 1;
                }
                TestResult::Invalid => {
                    assert!(!counts, "{} {}", test.tc_id, test.comment);
                    invalid += 1;
                }
                TestResult::Acceptable => {}
            }
        }
    }
    println!("Wycheproof: {valid} signatures that count, {invalid} that do not");
    assert!(valid > 100 && invalid > 50);
}
