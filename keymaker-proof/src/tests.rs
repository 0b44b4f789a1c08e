//! What opens nothing: every way in which a certificate or a token can differ from a proof for this key, host and time.

use keymaker_core::issuers_file::{IssuerKey, ProofRules};
use keymaker_core::proof::{MAX_CERTIFICATE, Proof};
use serde_json::{Value, json};

use crate::certificate::{Certificate, MAX_TOKEN};
use crate::forge::*;
use crate::{NoProof, claims as read_claims, verify};

fn verified(fields: &ForgedCertificate, rules: &ProofRules, keys: &[IssuerKey], now: u64) -> Result<Proof, NoProof> {
    verify(&fields.certificate_type, &fields.base64(), rules, keys, now)
}

fn of(fields: &ForgedCertificate) -> Result<Proof, NoProof> {
    verified(fields, &rules(), &[issuer_key(1)], NOW)
}

fn of_claims(claims: &Value) -> Result<Proof, NoProof> {
    of(&fields(&token_of(claims)))
}

fn alices() -> Proof {
    Proof {
        iam_user_name: "alice".to_owned(),
        iam_user_id: USER_ID.to_owned(),
        issued_at: ISSUED,
        ends_at: ISSUED + 300,
        token_id: TOKEN_ID.to_owned(),
        fingerprint: FINGERPRINT.to_owned(),
        key: KEY.to_owned(),
    }
}

// P21
#[test]
fn a_token_of_awss_for_this_key_is_a_proof_of_its_user() {
    assert_eq!(of_claims(&claims()), Ok(alices()));
    assert_eq!(Proof::parse(&alices().to_string()), Some(alices()));
    // What a later AWS may say besides.
    assert_eq!(of_claims(&with("~/new_claim", json!({"a": [1, 2.5]}))), Ok(alices()));
    assert_eq!(of_claims(&with("nbf", json!(1e9))), Ok(alices()));
    assert_eq!(of_claims(&with("~/subject_mode", json!("AWSIdentity"))), Ok(alices()));
    assert_eq!(of_claims(&with("~/request_tags/team", json!("x"))), Ok(alices()));
    let without_typ = signed(
        br#"{"kid":"EC384_0","alg":"ES384"}"#,
        claims().to_string().as_bytes(),
        signing_key(1),
    );
    assert_eq!(of(&fields(&without_typ)), Ok(alices()));
}

// P21
#[test]
fn a_proof_by_an_ecdsa_key_is_one_too() {
    let mut point = vec![4; 65];
    point[40] = 1;
    let mut fields = fields("");
    fields.certificate_type = "ecdsa-sha2-nistp256-cert-v01@openssh.com".to_owned();
    fields.plain = "ecdsa-sha2-nistp256".to_owned();
    fields.key = vec![b"nistp256".to_vec(), point];
    fields.signature = ecdsa_signature(&[&[5], &[0, 0x80]]);
    let fingerprint = Certificate::parse(&fields.certificate_type, &fields.base64())
        .unwrap()
        .fingerprint;
    let token = token_of(&with("~/request_tags/keymaker-key", json!(fingerprint)));
    let mut given = fields.clone();
    given.extensions = crate::forge::fields(&token).extensions;
    assert_eq!(of(&given).unwrap().iam_user_name, "alice");
    let others: [&[&[u8]]; 9] = [
        &[&[0, 5], &[6]],
        &[&[5], &[0, 6]],
        &[&[5], &[]],
        &[&[0], &[6]],
        &[&[0x80], &[6]],
        &[&[5]],
        &[&[5], &[6], &[7]],
        // Larger than any that counts.
        &[&[1; 33], &[6]],
        &[&[5], &[0x7f; 33]],
    ];
    for written in others {
        let mut other = given.clone();
        other.signature = ecdsa_signature(written);
        assert!(matches!(of(&other), Err(NoProof::Certificate(_))), "{written:?}");
    }
    given.key[0] = b"nistp384".to_vec();
    assert!(matches!(of(&given), Err(NoProof::Certificate(_))));
}

/// Of these numbers, as RFC 5656 writes it.
fn ecdsa_signature(numbers: &[&[u8]]) -> Vec<u8> {
    let string = |bytes: &[u8]| [&(bytes.len() as u32).to_be_bytes(), bytes].concat();
    let numbers: Vec<u8> = numbers.iter().flat_map(|number| string(number)).collect();
    [string(b"ecdsa-sha2-nistp256"), string(&numbers)].concat()
}

// P21
#[test]
fn a_certificate_with_anything_otherwise_is_none() {
    let good = || fields(&token_of(&claims()));
    let changed = |what: &str, change: &dyn Fn(&mut ForgedCertificate)| {
        let mut fields = good();
        change(&mut fields);
        assert!(
            matches!(of(&fields), Err(NoProof::Certificate(_))),
            "{what}: {:?}",
            of(&fields)
        );
    };
    changed("a host's", &|fields| fields.kind = 2);
    changed("a serial number", &|fields| fields.serial = 1);
    changed("a short nonce", &|fields| fields.nonce = vec![7; 31]);
    changed("no nonce", &|fields| fields.nonce.clear());
    changed("no key id", &|fields| fields.key_id.clear());
    changed("a key id with a newline", &|fields| fields.key_id = "a\nb".to_owned());
    changed("no principal: everybody's", &|fields| fields.principals.clear());
    changed("two principals", &|fields| fields.principals.push("root".to_owned()));
    changed("another principal", &|fields| {
        fields.principals = vec!["alice".to_owned()]
    });
    changed("a principal with a comma", &|fields| {
        fields.principals = vec!["keymaker-proof,root".to_owned()];
    });
    changed("force-command", &|fields| {
        fields.options = [&[0, 0, 0, 13][..], b"force-command", &[0, 0, 0, 6, 0, 0, 0, 2], b"id"].concat();
    });
    changed("an extra extension", &|fields| {
        fields.extensions.push(("z@x".to_owned(), vec![]))
    });
    changed("no-touch-required", &|fields| {
        fields.extensions.insert(0, ("no-touch-required".to_owned(), vec![]));
    });
    changed("without permit-pty", &|fields| drop(fields.extensions.remove(3)));
    changed("in another order", &|fields| fields.extensions.swap(0, 1));
    changed("twice the token", &|fields| {
        fields.extensions.push(fields.extensions[5].clone())
    });
    changed("an extension with a value", &|fields| {
        fields.extensions[3].1 = vec![0, 0, 0, 0]
    });
    changed("a token with a tail", &|fields| fields.extensions[5].1.push(0));
    changed("a reserved field", &|fields| fields.reserved = vec![0]);
    changed("signed by another key: a foreign CA", &|fields| {
        let mut other = fields.plain_blob();
        *other.last_mut().unwrap() ^= 1;
        fields.signer = Some(other);
    });
    changed("signed by nobody", &|fields| fields.signer = Some(Vec::new()));
    changed("a signature of another type", &|fields| fields.signature[4] = b'x');
    changed("a signature with a tail", &|fields| fields.signature.push(0));
    changed("a longer signature", &|fields| {
        fields.signature.splice(15..19, 65_u32.to_be_bytes());
        fields.signature.push(0);
    });
    changed("a tail", &|fields| fields.tail.push(0));
    changed("another type inside", &|fields| fields.plain = "ssh-rsa".to_owned());
    changed("a short key", &|fields| fields.key[0].truncate(31));
    let base64 = good().base64();
    for (key_type, base64) in [
        ("ssh-ed25519", base64.clone()),
        ("ssh-rsa-cert-v01@openssh.com", base64.clone()),
        ("ecdsa-sha2-nistp256-cert-v01@openssh.com", base64.clone()),
        ("ssh-ed25519-cert-v01@openssh.com", String::new()),
        ("ssh-ed25519-cert-v01@openssh.com", format!("{base64}=")),
        ("ssh-ed25519-cert-v01@openssh.com", format!(" {base64}")),
        ("ssh-ed25519-cert-v01@openssh.com", format!("{base64}\n")),
        ("ssh-ed25519-cert-v01@openssh.com", base64.replace('A', "-")),
    ] {
        let looked = verify(key_type, &base64, &rules(), &[issuer_key(1)], NOW);
        assert!(matches!(looked, Err(NoProof::Certificate(_))), "{key_type} {looked:?}");
    }
}

// P21, P24
#[test]
fn a_certificate_cut_or_long_anywhere_is_none() {
    let blob = fields(&token_of(&claims())).blob();
    for len in 0..blob.len() {
        let base64 = <base64ct::Base64 as base64ct::Encoding>::encode_string(&blob[..len]);
        let looked = verify(
            "ssh-ed25519-cert-v01@openssh.com",
            &base64,
            &rules(),
            &[issuer_key(1)],
            NOW,
        );
        assert!(looked.is_err(), "{len}");
    }
    for len in [4_097, 16 * 1024 + 1, 130_000, 4_000_000] {
        let looked = verify("ssh-ed25519-cert-v01@openssh.com", &"A".repeat(len), &rules(), &[], NOW);
        assert!(matches!(looked, Err(NoProof::Certificate(_))), "{len}");
    }
    let longest = verify(
        "ssh-ed25519-cert-v01@openssh.com",
        &"A".repeat(MAX_CERTIFICATE),
        &rules(),
        &[],
        NOW,
    );
    assert_ne!(longest, Err(NoProof::Certificate("it is too long")));
    let longer = "A".repeat(MAX_CERTIFICATE + 1);
    let longer = verify("ssh-ed25519-cert-v01@openssh.com", &longer, &rules(), &[], NOW);
    assert_eq!(longer, Err(NoProof::Certificate("it is too long")));
    let long = with("~/padding", json!("x".repeat(MAX_TOKEN)));
    assert!(matches!(of_claims(&long), Err(NoProof::Certificate(_))));
}

// P21
#[test]
fn a_token_of_another_form_is_none() {
    let token = token_of(&claims());
    let parts: Vec<&str> = token.split('.').collect();
    let headers = [
        r#"{"alg":"none","kid":"EC384_0"}"#,
        r#"{"alg":"HS384","kid":"EC384_0"}"#,
        r#"{"alg":"RS256","kid":"EC384_0"}"#,
        r#"{"alg":"ES256","kid":"EC384_0"}"#,
        r#"{"alg":"es384","kid":"EC384_0"}"#,
        r#"{"alg":["ES384"],"kid":"EC384_0"}"#,
        r#"{"alg":"ES384"}"#,
        r#"{"alg":"ES384","kid":1}"#,
        r#"{"kid":"EC384_0"}"#,
        r#"{"alg":"ES384","kid":"EC384_0","typ":"jwt"}"#,
        r#"{"alg":"ES384","kid":"EC384_0","typ":1}"#,
        r#"{"alg":"ES384","kid":"EC384_0","jku":"https://evil"}"#,
        r#"{"alg":"ES384","kid":"EC384_0","jwk":{}}"#,
        r#"{"alg":"ES384","kid":"EC384_0","crit":["b64"],"b64":false}"#,
        r#"{"alg":"none","alg":"ES384","kid":"EC384_0"}"#,
        r#"{"alg":"ES384","kid":"x","kid":"EC384_0"}"#,
        "[]",
        "",
    ];
    let with_header = |header: &&str| signed(header.as_bytes(), claims().to_string().as_bytes(), signing_key(1));
    let mut tokens: Vec<String> = headers.iter().map(with_header).collect();
    tokens.extend([
        String::new(),
        "..".to_owned(),
        parts[..2].join("."),
        format!("{}.{}.", parts[0], parts[1]),
        format!("{token}."),
        format!("{token}.x"),
        format!("{token}="),
        format!(" {token}"),
        format!("{token}\n"),
        format!("{}.{}.{}AA", parts[0], parts[1], parts[2]),
        format!("{}.{}.{}", parts[0], parts[1], &parts[2][..124]),
        // Another spelling of the same bits.
        format!("{}.{}.{}", parts[0], parts[1].replacen('J', "+", 1), parts[2]),
    ]);
    for token in tokens {
        assert!(
            matches!(of(&fields(&token)), Err(NoProof::Token(_))),
            "{token}: {:?}",
            of(&fields(&token))
        );
    }
}

// P21
#[test]
fn bits_that_base64_does_not_need_are_zero() {
    // 1 or 2 bytes over: the last character has bits to spare, and eight or four spellings.
    for pad in 0..3 {
        let claims = with("~/pad", json!("x".repeat(pad)));
        let token = token_of(&claims);
        let (rest, signature) = token.rsplit_once('.').unwrap();
        let (header, part) = rest.split_once('.').unwrap();
        let last = part.as_bytes()[part.len() - 1];
        for other in b'0'..=b'z' {
            if other == last {
                continue;
            }
            let other = format!("{header}.{}{}.{signature}", &part[..part.len() - 1], char::from(other));
            assert!(of(&fields(&other)).is_err());
        }
        assert!(of(&fields(&token)).is_ok());
    }
}

// P21
#[test]
fn only_a_published_key_of_that_name_and_of_its_own_issuer_counts() {
    let good = fields(&token_of(&claims()));
    let by = |keys: &[IssuerKey]| verified(&good, &rules(), keys, NOW);
    let other_name = IssuerKey {
        kid: "EC384_1".to_owned(),
        ..issuer_key(1)
    };
    let other_issuer = IssuerKey {
        issuer: "https://evil.example".to_owned(),
        ..issuer_key(2)
    };
    let thief = IssuerKey {
        issuer: "https://evil.example".to_owned(),
        ..issuer_key(1)
    };
    assert_eq!(by(&[]), Err(NoProof::UnknownKey), "an empty set");
    assert_eq!(
        by(&[other_name]),
        Err(NoProof::UnknownKey),
        "a key removed from the set"
    );
    assert_eq!(by(&[issuer_key(2)]), Err(NoProof::Signature), "a forged token");
    // The same kid in two issuers, in either order: the one that signed it must be the one that it names.
    assert_eq!(by(&[other_issuer.clone(), issuer_key(1)]), Ok(alices()));
    assert_eq!(by(&[issuer_key(1), other_issuer]), Ok(alices()));
    assert_eq!(by(std::slice::from_ref(&thief)), Err(NoProof::Claims("its issuer")));
    // One key that two issuers show under one name, in either order.
    assert_eq!(by(&[thief.clone(), issuer_key(1)]), Ok(alices()));
    assert_eq!(by(&[issuer_key(1), thief]), Ok(alices()));
    let mut broken = issuer_key(1);
    broken.point[50] ^= 1;
    assert_eq!(by(&[broken]), Err(NoProof::Signature), "no point of the curve");
}

// P22
#[test]
fn keys_older_than_max_stale_or_from_the_future_open_nothing() {
    let good = fields(&token_of(&claims()));
    let at = |fetched_at: u64| {
        let key = IssuerKey {
            fetched_at,
            ..issuer_key(1)
        };
        verified(&good, &rules(), &[key], NOW)
    };
    assert_eq!(at(NOW - 86_400), Ok(alices()));
    assert_eq!(at(NOW - 86_401), Err(NoProof::StaleKeys));
    assert_eq!(at(0), Err(NoProof::StaleKeys));
    assert_eq!(at(NOW + 300), Ok(alices()));
    assert_eq!(at(NOW + 301), Err(NoProof::StaleKeys));
    assert_eq!(at(u64::MAX), Err(NoProof::StaleKeys));
}

// P21
#[test]
fn claims_that_are_not_for_this_login_open_nothing() {
    let evil = "https://evil.tokens.sts.global.api.aws";
    for (path, values) in [
        ("iss", json!([evil, format!("{ISSUER}/"), null, 1, [ISSUER]])),
        (
            "aud",
            json!([
                "keymaker",
                "keymaker:123456789013",
                "keymaker:123456789012 ",
                ["keymaker:123456789012"],
                ["keymaker:123456789012", "x"],
                null,
                {"keymaker:123456789012": 1}
            ]),
        ),
        (
            "iat",
            json!([null, NOW + 61, 1.8e9, "1800000000", -1, ISSUED + 300, ISSUED + 301, 0]),
        ),
        (
            "exp",
            json!([null, NOW, NOW - 1, ISSUED, ISSUED + 301, 1.8e9, "1800000300", u64::MAX]),
        ),
        ("jti", json!([null, "", "other", 1, "a b", "x".repeat(129)])),
        ("~", json!([null, "x", [], {}])),
        (
            "~/aws_account",
            json!([null, "123456789013", 123_456_789_012_u64, "12345678901"]),
        ),
        (
            "~/principal_id",
            json!([null, "arn:aws:iam::123456789012:user/alice", "AIDAALICE", ""]),
        ),
        ("~/request_tags", json!([null, {}, [], "x"])),
        (
            "~/request_tags/keymaker-key",
            json!([
                null,
                "",
                "SHA256:",
                format!("{FINGERPRINT}="),
                FINGERPRINT.to_lowercase(),
                [FINGERPRINT]
            ]),
        ),
        ("~/request_tags/Keymaker-Key", json!([FINGERPRINT, "x", ""])),
        ("~/request_tags/KEYMAKER-KEY", json!([FINGERPRINT])),
        // The Kelvin sign is small k in other letters.
        ("~/request_tags/\u{212a}eymaker-key", json!([FINGERPRINT])),
        (
            "~/request_tags/keymaker-host",
            json!(["i-0", "", "*", [INSTANCE], INSTANCE.to_uppercase()]),
        ),
        ("~/request_tags/Keymaker-host", json!([INSTANCE])),
        (
            "~/request_tags/keymaker-user",
            json!([null, "", "AIDA 1", "AIDA-1", [USER_ID], 1, "A".repeat(129)]),
        ),
        ("~/request_tags/Keymaker-User", json!([USER_ID, ""])),
        (
            "~/subject_mode",
            json!(["OriginIdentity", "", ["AWSIdentity"], "awsidentity"]),
        ),
        ("subject_mode", json!(["OriginIdentity"])),
        ("~/scope", json!(["s3:GetObject", "", {}])),
        ("scope", json!(["openid"])),
        ("~/Scope", json!(["x"])),
        (
            "~/federated_provider",
            json!(["arn:aws:iam::123456789012:oidc-provider/x"]),
        ),
        ("~/identity_store_user_id", json!(["1"])),
        ("~/identity_store_arn", json!(["1"])),
        ("~/ec2_source_instance_arn", json!(["1"])),
        ("~/ec2_role_delivery", json!(["2.0"])),
        ("~/lambda_source_function_arn", json!(["1"])),
        ("~/glue_credential_issuing_service", json!(["1"])),
        ("ec2_role_delivery", json!(["2.0"])),
    ] {
        for value in values.as_array().unwrap() {
            let looked = of_claims(&with(path, value.clone()));
            assert!(
                matches!(looked, Err(NoProof::Claims(_) | NoProof::Certificate(_))),
                "{path} {value}: {looked:?}"
            );
        }
    }
}

// P21
#[test]
fn who_is_no_iam_user_of_this_account_is_nobody() {
    let of_subject = |subject: &str| {
        let mut claims = claims();
        change(&mut claims, "sub", json!(subject));
        change(&mut claims, "~/principal_id", json!(subject));
        of_claims(&claims)
    };
    for subject in [
        "arn:aws:iam::123456789012:root",
        "arn:aws:iam::123456789012:role/alice",
        "arn:aws:iam::123456789012:role/user/alice",
        "arn:aws:sts::123456789012:assumed-role/alice/alice",
        "arn:aws:sts::123456789012:federated-user/alice",
        "arn:aws:iam::123456789013:user/alice",
        "arn:aws-cn:iam::123456789012:user/alice",
        "arn:awsx:iam::123456789012:user/alice",
        "arn:aws:iam:eu-central-1:123456789012:user/alice",
        "arn:aws:iam::123456789012:user/aws-reserved/sso.amazonaws.com/alice",
        "arn:aws:iam::123456789012:user/",
        "arn:aws:iam::123456789012:user",
        "arn:aws:iam::123456789012:users/alice",
        "arn:aws:iam::123456789012:User/alice",
        "arn:aws:iam::123456789012:user/al ice",
        "arn:aws:iam::123456789012:user/alice\n",
        "arn:aws:iam::123456789012:user/al\u{ed}ce",
        " arn:aws:iam::123456789012:user/alice",
        "alice",
        "",
    ] {
        assert!(matches!(of_subject(subject), Err(NoProof::Claims(_))), "{subject}");
    }
    let long = format!("arn:aws:iam::123456789012:user/{}", "a".repeat(65));
    assert!(of_subject(&long).is_err());
    // The path does not matter: names are unique in an account, and IAM lets a path be changed.
    for (subject, name) in [
        ("arn:aws:iam::123456789012:user/alice", "alice"),
        ("arn:aws:iam::123456789012:user/a/b/c/alice", "alice"),
        ("arn:aws:iam::123456789012:user/root/bob@x.org", "bob@x.org"),
        ("arn:aws:iam::123456789012:user/user/user", "user"),
    ] {
        assert_eq!(of_subject(subject).unwrap().iam_user_name, name);
    }
}

// P21
#[test]
fn where_the_account_or_its_partition_is_not_known_nobody_is_its_user() {
    let opens = |rules: &ProofRules, subject: &str| {
        let mut claims = with("~/principal_id", json!(subject));
        claims["sub"] = json!(subject);
        claims["https://sts.amazonaws.com/"]["aws_account"] = json!(rules.account);
        verified(&fields(&token_of(&claims)), rules, &[issuer_key(1)], NOW).is_ok()
    };
    let unknown = |partition: &str, account: &str| ProofRules {
        partition: partition.to_owned(),
        account: account.to_owned(),
        ..rules()
    };
    assert!(opens(&rules(), "arn:aws:iam::123456789012:user/alice"));
    assert!(!opens(&unknown("", ACCOUNT), "arn::iam::123456789012:user/alice"));
    assert!(!opens(&unknown("aws", ""), "arn:aws:iam:::user/alice"));
}

#[test]
fn a_token_has_a_name_for_the_log_where_it_can_be_one() {
    let of = |claims: &Value| read_claims::token_id(claims.to_string().as_bytes());
    assert_eq!(of(&claims()), Some(TOKEN_ID.to_owned()));
    // Whatever else of it is refused.
    assert_eq!(of(&json!({"jti": "a-1"})), Some("a-1".to_owned()));
    for bad in [
        json!({}),
        json!({"jti": 1}),
        json!({"jti": ""}),
        json!({"jti": "a\nb"}),
        json!([]),
    ] {
        assert_eq!(of(&bad), None, "{bad}");
    }
    assert_eq!(read_claims::token_id(br#"{"jti":"a-1","jti":"b-2"}"#), None);
}

// P21
#[test]
fn a_token_for_a_host_opens_that_host_and_where_it_must_name_one_no_other() {
    let here = fields(&token_of(&with("~/request_tags/keymaker-host", json!(INSTANCE))));
    let any = fields(&token_of(&claims()));
    let rules_of = |bound, instance: &str| ProofRules {
        bound,
        instance_id: instance.to_owned(),
        ..rules()
    };
    let opens = |fields: &ForgedCertificate, rules: ProofRules| verified(fields, &rules, &[issuer_key(1)], NOW).is_ok();
    assert!(opens(&here, rules_of(false, INSTANCE)) && opens(&here, rules_of(true, INSTANCE)));
    assert!(opens(&any, rules_of(false, INSTANCE)) && opens(&any, rules_of(false, "")));
    assert!(!opens(&any, rules_of(true, INSTANCE)));
    assert!(!opens(&here, rules_of(false, "i-1")) && !opens(&here, rules_of(false, "")));
    let empty = fields(&token_of(&with("~/request_tags/keymaker-host", json!(""))));
    assert!(!opens(&empty, rules_of(true, "")));
}

// P21
#[test]
fn rules_that_say_nothing_open_nothing() {
    let good = fields(&token_of(&claims()));
    let nothing = ProofRules {
        max_stale: 86_400,
        ..ProofRules::default()
    };
    assert!(verified(&good, &nothing, &[issuer_key(1)], NOW).is_err());
    let no_audience = fields(&token_of(&with("aud", json!(""))));
    let rules = ProofRules {
        audience: String::new(),
        ..rules()
    };
    assert!(verified(&no_audience, &rules, &[issuer_key(1)], NOW).is_err());
}

// P21
#[test]
fn a_name_twice_in_the_claims_opens_nothing_at_any_depth() {
    let text = claims().to_string();
    for (once, twice) in [
        ("\"aud\":", "\"aud\":\"keymaker:123456789012\",\"aud\":"),
        ("\"aws_account\":", "\"aws_account\":\"123456789012\",\"aws_account\":"),
        ("\"request_tags\":{", "\"request_tags\":{\"keymaker-key\":\"x\","),
        ("\"org_id\":", "\"deep\":{\"a\":{\"b\":1,\"b\":1}},\"org_id\":"),
    ] {
        assert!(text.contains(once));
        let twice = signed(
            header().to_string().as_bytes(),
            text.replacen(once, twice, 1).as_bytes(),
            signing_key(1),
        );
        assert!(matches!(of(&fields(&twice)), Err(NoProof::Claims(_))), "{once}");
    }
}

// P21
#[test]
fn a_token_counts_from_a_minute_before_it_until_it_ends() {
    let good = fields(&token_of(&claims()));
    let at = |now: u64| {
        let key = IssuerKey {
            fetched_at: now,
            ..issuer_key(1)
        };
        verified(&good, &rules(), &[key], now).is_ok()
    };
    assert!(!at(ISSUED - 61) && at(ISSUED - 60) && at(ISSUED) && at(ISSUED + 299));
    assert!(!at(ISSUED + 300) && !at(ISSUED + 301) && !at(0) && !at(u64::MAX));
}

// P21
#[test]
fn a_certificate_of_other_times_than_its_tokens_is_no_proof() {
    for (after, before) in [
        (0, u64::MAX),
        (ISSUED, ISSUED + 300),
        (ISSUED - 60, ISSUED + 301),
        (ISSUED - 61, ISSUED + 300),
    ] {
        let mut fields = fields(&token_of(&claims()));
        (fields.after, fields.before) = (after, before);
        assert!(matches!(of(&fields), Err(NoProof::Claims(_))), "{after} {before}");
    }
}

// P21
#[test]
fn a_certificate_as_ssh_keygen_makes_it_is_of_the_form() {
    // ssh-keygen -s k -I 0c1f7c5e -n keymaker-proof -V 20270115075900:20270115080500 -O extension:proof-v1@keymaker.github.io=aa.bb.cc
    let mut words = include_str!("../testdata/ssh-keygen-cert.pub").split(' ');
    let certificate = Certificate::parse(words.next().unwrap(), words.next().unwrap()).unwrap();
    assert_eq!(
        (certificate.token.as_str(), certificate.key_id.as_str()),
        ("aa.bb.cc", "0c1f7c5e")
    );
    assert_eq!(
        (certificate.valid_after, certificate.valid_before),
        (ISSUED - 60, ISSUED + 300)
    );
    assert_eq!(
        certificate.fingerprint,
        "SHA256:bssw8I7M6kjMk8LVokeYfh544JNFvIOD6hWFwmsI8eo"
    );
}
