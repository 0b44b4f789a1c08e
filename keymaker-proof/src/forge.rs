//! For tests: tokens as AWS makes them, and certificates in which anything may be wrong. tests/proof includes this file too, and has
//! others judge them.

use base64ct::{Base64, Base64UrlUnpadded, Encoding};
use std::sync::LazyLock;

use keymaker_core::issuers_file::{IssuerKey, ProofRules};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use serde_json::{Value, json};

use keymaker_proof::certificate::{EXTENSIONS, TOKEN_EXTENSION};
use keymaker_proof::claims::NAMESPACE;

/// The time at which the tests look.
pub const NOW: u64 = 1_800_000_100;
/// When the token was made.
pub const ISSUED: u64 = 1_800_000_000;
pub const ISSUER: &str = "https://11111111-2222-3333-4444-555555555555.tokens.sts.global.api.aws";
pub const ACCOUNT: &str = "123456789012";
pub const INSTANCE: &str = "i-0123456789abcdef0";
pub const USER_ID: &str = "AIDAALICE00000000000";
pub const TOKEN_ID: &str = "0c1f7c5e-5a3c-4f5e-9a52-1f0a4dcf0001";
/// Of [`ED25519`], as ssh-keygen -l prints it.
pub const FINGERPRINT: &str = "SHA256:edV/F4HdipXmCHb1s/PWblk7mQtkHYFqQ1SGxELZntQ";
pub const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJVIdsHq0Z9wh8xz9aLmBwWbJY8mNUvXwzNlZQK9iJ0w";

/// The issuer's key of this number, 1 or 2: another one in each run.
pub fn signing_key(number: usize) -> &'static EcdsaKeyPair {
    static KEYS: LazyLock<[EcdsaKeyPair; 2]> = LazyLock::new(|| {
        let random = SystemRandom::new();
        [(); 2].map(|()| {
            let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, &random).unwrap();
            EcdsaKeyPair::from_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, pkcs8.as_ref(), &random).unwrap()
        })
    });
    &KEYS[number - 1]
}

pub fn issuer_key(number: usize) -> IssuerKey {
    IssuerKey {
        issuer: ISSUER.to_owned(),
        kid: "EC384_0".to_owned(),
        point: signing_key(number).public_key().as_ref().try_into().unwrap(),
        fetched_at: NOW - 3600,
    }
}

pub fn rules() -> ProofRules {
    ProofRules {
        account: ACCOUNT.to_owned(),
        partition: "aws".to_owned(),
        instance_id: INSTANCE.to_owned(),
        audience: "keymaker:123456789012".to_owned(),
        token_max: 300,
        max_stale: 86_400,
        bound: false,
    }
}

pub fn header() -> Value {
    json!({"alg": "ES384", "kid": "EC384_0", "typ": "JWT"})
}

/// As the public records of tokens have them.
pub fn claims() -> Value {
    json!({
        "aud": "keymaker:123456789012",
        "sub": "arn:aws:iam::123456789012:user/staff/alice",
        "https://sts.amazonaws.com/": {
            "aws_account": ACCOUNT,
            "source_region": "eu-central-1",
            "org_id": "o-abc1234567",
            "ou_path": ["o-abc1234567/r-ab12/"],
            "principal_id": "arn:aws:iam::123456789012:user/staff/alice",
            "principal_tags": {"keymaker-key": "SHA256:of-whoever-may-tag-users"},
            "request_tags": {"keymaker-key": FINGERPRINT, "keymaker-user": USER_ID},
        },
        "iss": ISSUER,
        "exp": ISSUED + 300,
        "iat": ISSUED,
        "jti": TOKEN_ID,
    })
}

/// `claims` with the member at this path (`/` between names, `~` for AWS's claims) changed; `Null` takes it away.
pub fn with(path: &str, value: Value) -> Value {
    let mut claims = claims();
    change(&mut claims, path, value);
    claims
}

pub fn change(claims: &mut Value, path: &str, value: Value) {
    let mut names: Vec<&str> = path.split('/').collect();
    let last = names.pop().unwrap();
    let mut object = claims;
    for name in names {
        object = object.get_mut(if name == "~" { NAMESPACE } else { name }).unwrap();
    }
    let object = object.as_object_mut().unwrap();
    let last = if last == "~" { NAMESPACE } else { last };
    if value.is_null() {
        object.remove(last);
    } else {
        object.insert(last.to_owned(), value);
    }
}

pub fn signed(header: &[u8], claims: &[u8], key: &EcdsaKeyPair) -> String {
    let signed = format!(
        "{}.{}",
        Base64UrlUnpadded::encode_string(header),
        Base64UrlUnpadded::encode_string(claims)
    );
    let signature = key.sign(&SystemRandom::new(), signed.as_bytes()).unwrap();
    format!("{signed}.{}", Base64UrlUnpadded::encode_string(signature.as_ref()))
}

pub fn token_of(claims: &Value) -> String {
    signed(
        header().to_string().as_bytes(),
        claims.to_string().as_bytes(),
        signing_key(1),
    )
}

/// Every field of a certificate, whatever it is worth.
#[derive(Clone)]
pub struct ForgedCertificate {
    pub certificate_type: String,
    pub plain: String,
    pub nonce: Vec<u8>,
    pub key: Vec<Vec<u8>>,
    pub serial: u64,
    pub kind: u32,
    pub key_id: String,
    pub principals: Vec<String>,
    pub after: u64,
    pub before: u64,
    pub options: Vec<u8>,
    pub extensions: Vec<(String, Vec<u8>)>,
    pub reserved: Vec<u8>,
    pub signer: Option<Vec<u8>>,
    pub signature: Vec<u8>,
    pub tail: Vec<u8>,
}

fn string(bytes: &[u8]) -> Vec<u8> {
    let mut string = (bytes.len() as u32).to_be_bytes().to_vec();
    string.extend(bytes);
    string
}

/// The certificate that carries this token.
pub fn fields(token: &str) -> ForgedCertificate {
    let blob = Base64::decode_vec(KEY.split_once(' ').unwrap().1).unwrap();
    let extension = |name: &str| {
        let value = if name == TOKEN_EXTENSION {
            string(token.as_bytes())
        } else {
            Vec::new()
        };
        (name.to_owned(), value)
    };
    ForgedCertificate {
        certificate_type: "ssh-ed25519-cert-v01@openssh.com".to_owned(),
        plain: "ssh-ed25519".to_owned(),
        nonce: vec![7; 32],
        key: vec![blob[blob.len() - 32..].to_vec()],
        serial: 0,
        kind: 1,
        key_id: TOKEN_ID.to_owned(),
        principals: vec!["keymaker-proof".to_owned()],
        after: ISSUED - 60,
        before: ISSUED + 300,
        options: Vec::new(),
        extensions: EXTENSIONS.map(extension).to_vec(),
        reserved: Vec::new(),
        signer: None,
        signature: [string(b"ssh-ed25519"), string(&[9; 64])].concat(),
        tail: Vec::new(),
    }
}

impl ForgedCertificate {
    pub fn plain_blob(&self) -> Vec<u8> {
        let key = self.key.iter().flat_map(|field| string(field));
        string(self.plain.as_bytes()).into_iter().chain(key).collect()
    }

    pub fn blob(&self) -> Vec<u8> {
        let mut blob = string(self.certificate_type.as_bytes());
        blob.extend(string(&self.nonce));
        self.key.iter().for_each(|field| blob.extend(string(field)));
        blob.extend(self.serial.to_be_bytes());
        blob.extend(self.kind.to_be_bytes());
        blob.extend(string(self.key_id.as_bytes()));
        let principals: Vec<u8> = self
            .principals
            .iter()
            .flat_map(|name| string(name.as_bytes()))
            .collect();
        blob.extend(string(&principals));
        blob.extend(self.after.to_be_bytes());
        blob.extend(self.before.to_be_bytes());
        blob.extend(string(&self.options));
        let extensions = self.extensions.iter();
        let extensions: Vec<u8> = extensions
            .flat_map(|(name, value)| [string(name.as_bytes()), string(value)].concat())
            .collect();
        blob.extend(string(&extensions));
        blob.extend(string(&self.reserved));
        blob.extend(string(&self.signer.clone().unwrap_or_else(|| self.plain_blob())));
        blob.extend(string(&self.signature));
        blob.extend(&self.tail);
        blob
    }

    pub fn base64(&self) -> String {
        Base64::encode_string(&self.blob())
    }
}
