//! Ten thousand mutated certificates (a million in `./check --long`), judged by the verifier of proofs and by RustCrypto's reader of
//! certificates: none opens here that is another than ours to that. Whether a signature counts is sshd's to say; the reader says it, too.

use super::forge::{ForgedCertificate, ISSUED, NOW, TOKEN_ID, fields, issuer_key, rules, token_of, with};
use super::{Numbers, tries};
use base64ct::{Base64, Encoding};
use keymaker_core::proof::Proof;
use keymaker_proof::certificate::{EXTENSIONS, TOKEN_EXTENSION};
use keymaker_proof::{NoProof, verify};
use p256::elliptic_curve::sec1::ToEncodedPoint;
use serde_json::json;
use ssh_key::certificate::CertType;
use ssh_key::private::{EcdsaKeypair, Ed25519Keypair};
use ssh_key::public::KeyData;
use ssh_key::{Certificate, HashAlg, PrivateKey};
use std::collections::BTreeMap;

/// A key, and the certificate that it has signed for itself.
struct Good {
    key: PrivateKey,
    certificate: ForgedCertificate,
    token: String,
}

/// One of each type, the same in every run but for the signatures in the token.
fn good() -> [Good; 2] {
    let secret = p256::SecretKey::from_slice(&[7; 32]).unwrap();
    let point = secret.public_key().to_encoded_point(false);
    let ecdsa = EcdsaKeypair::NistP256 {
        public: point,
        private: secret.into(),
    };
    let ed25519 = Ed25519Keypair::from_seed(&[7; 32]);
    let (edwards, nist) = (ed25519.public.0.to_vec(), point.as_bytes().to_vec());
    let of = |key: PrivateKey, plain: &str, public: Vec<Vec<u8>>| {
        let fingerprint = key.fingerprint(HashAlg::Sha256).to_string();
        let token = token_of(&with("~/request_tags/keymaker-key", json!(fingerprint)));
        let certificate = ForgedCertificate {
            certificate_type: format!("{plain}-cert-v01@openssh.com"),
            plain: plain.to_owned(),
            key: public,
            ..fields(&token)
        };
        let mut good = Good {
            key,
            certificate,
            token,
        };
        good.certificate.signature = good.signature(&good.signed_part(&good.certificate));
        good
    };
    [
        of(ed25519.into(), "ssh-ed25519", vec![edwards]),
        of(ecdsa.into(), "ecdsa-sha2-nistp256", vec![b"nistp256".to_vec(), nist]),
    ]
}

impl Good {
    /// What the key signs: all that stands before the signature.
    fn signed_part(&self, certificate: &ForgedCertificate) -> Vec<u8> {
        let mut blob = certificate.blob();
        blob.truncate(blob.len() - certificate.tail.len() - certificate.signature.len() - 4);
        blob
    }

    fn signature(&self, signed: &[u8]) -> Vec<u8> {
        use p256::ecdsa::signature::Signer;
        let signature: ssh_key::Signature = self.key.try_sign(signed).unwrap();
        signature.try_into().unwrap()
    }

    /// What sshd would hand over as `%t` and `%k`.
    fn judged(&self, blob: &[u8]) -> Result<Proof, NoProof> {
        let named = string(blob)
            .and_then(|name| str::from_utf8(name).ok())
            .unwrap_or_default();
        verify(named, &Base64::encode_string(blob), &rules(), &[issuer_key(1)], NOW)
    }

    /// How RustCrypto's reader judges a certificate, if it can read it: nothing of ours but what it must say.
    fn judged_by_others(&self, blob: &[u8]) -> Option<Judged> {
        let read = Certificate::from_bytes(blob).ok()?;
        let extensions = EXTENSIONS.map(|name| {
            (
                name.to_owned(),
                if name == TOKEN_EXTENSION {
                    self.token.clone()
                } else {
                    String::new()
                },
            )
        });
        let key = KeyData::from(self.key.public_key());
        let is_ours = read.cert_type() == CertType::User
            && read.serial() == 0
            && read.nonce().len() == 32
            && read.key_id() == TOKEN_ID
            && read.valid_principals() == ["keymaker-proof"]
            && (read.valid_after(), read.valid_before()) == (ISSUED - 60, ISSUED + 300)
            && read.critical_options().is_empty()
            && **read.extensions() == BTreeMap::from(extensions)
            && (read.public_key(), read.signature_key()) == (&key, &key)
            && read.signature().algorithm() == key.algorithm();
        let signer = read.signature_key().fingerprint(HashAlg::Sha256);
        is_ours.then(|| Judged {
            signed: read.validate_at(NOW, [&signer]).is_ok(),
        })
    }

    /// Another blob, and whether the key has signed what is in it.
    fn mutated(&self, round: usize, numbers: &mut Numbers) -> (Vec<u8>, bool) {
        let blob = self.certificate.blob();
        let end = self.signed_part(&self.certificate).len();
        let sign = |signed: Vec<u8>| {
            let signature = self.signature(&signed);
            (
                [signed, (signature.len() as u32).to_be_bytes().to_vec(), signature].concat(),
                true,
            )
        };
        match round % 4 {
            // By whoever has seen it.
            0 => (changed(blob, 0, numbers), false),
            1 => (changed(blob, end, numbers), false),
            // By whoever has the key.
            2 => sign(changed(blob[..end].to_vec(), 0, numbers)),
            _ => {
                let mut other = self.certificate.clone();
                change_a_field(&mut other, numbers);
                let (mut blob, signed) = sign(self.signed_part(&other));
                blob.extend(&other.tail);
                (blob, signed && other.tail.is_empty())
            }
        }
    }
}

struct Judged {
    /// The signature is the key's.
    signed: bool,
}

/// One to three bytes from here on, or the end cut off; half of the time not in the token, which takes most of the place.
fn changed(mut blob: Vec<u8>, from: usize, numbers: &mut Numbers) -> Vec<u8> {
    for _ in 0..=numbers.below(3) {
        let token = blob
            .windows(3)
            .position(|three| three == b"eyJ")
            .filter(|_| numbers.below(2) == 0);
        let end = token.filter(|at| *at > from).unwrap_or(blob.len());
        let at = from + numbers.below(end - from);
        match numbers.below(6) {
            0 | 1 => blob[at] = numbers.below(256) as u8,
            2 => blob[at] ^= 1 << numbers.below(8),
            3 => drop(blob.remove(at)),
            4 => blob.insert(at, numbers.below(256) as u8),
            _ => blob.swap(at, from + numbers.below(end - from)),
        }
    }
    if numbers.below(16) == 0 {
        blob.truncate(from + 1 + numbers.below(blob.len() - from));
    }
    blob
}

/// As somebody would write a certificate of their own key.
fn change_a_field(certificate: &mut ForgedCertificate, numbers: &mut Numbers) {
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let at = numbers.below(certificate.extensions.len());
    match numbers.below(22) {
        0 => certificate.nonce = (0..32).map(|_| numbers.below(256) as u8).collect(),
        1 => certificate.nonce.resize(numbers.below(64), 7),
        2 => certificate.serial = [0, 1, u64::MAX][numbers.below(3)],
        3 => certificate.kind = numbers.below(4) as u32,
        4 => certificate.key_id = [TOKEN_ID, "", "another", &TOKEN_ID.to_uppercase()][numbers.below(4)].to_owned(),
        5 => {
            certificate.principals = names(
                [
                    &["keymaker-proof"] as &[&str],
                    &[],
                    &["keymaker-proof", "root"],
                    &["root"],
                ][numbers.below(4)],
            )
        }
        6 => {
            certificate.principals = names(
                [
                    &["keymaker-proof,root"] as &[&str],
                    &["Keymaker-proof"],
                    &["keymaker-proof\0"],
                    &[""],
                ][numbers.below(4)],
            )
        }
        7 => certificate.after = (ISSUED - 61) + numbers.below(3) as u64,
        8 => certificate.before = [ISSUED + 299, ISSUED + 300, ISSUED + 301, u64::MAX][numbers.below(4)],
        9 => {
            certificate.options = [
                pair("force-command", &prefixed(b"id")),
                pair("x", b""),
                vec![0],
                Vec::new(),
            ][numbers.below(4)]
            .clone()
        }
        10 => drop(certificate.extensions.remove(at)),
        11 => certificate.extensions.swap(at, 0),
        12 => certificate.extensions.insert(at, certificate.extensions[at].clone()),
        13 => certificate.extensions.insert(
            at,
            (
                ["no-touch-required", "a", "permit-pty\0", "z@z"][numbers.below(4)].to_owned(),
                Vec::new(),
            ),
        ),
        14 => {
            certificate.extensions[at].1 = [Vec::new(), vec![0; 4], prefixed(b"x"), vec![1]][numbers.below(4)].clone()
        }
        15 => certificate.extensions[at].1.push(numbers.below(256) as u8),
        16 => certificate.extensions[at].0.push('\0'),
        17 => certificate.reserved = vec![0; numbers.below(3)],
        18 => certificate.signer = Some([prefixed(b"ssh-ed25519"), prefixed(&[9; 32])].concat()),
        19 => certificate.key.last_mut().unwrap()[0] ^= 1 << numbers.below(8),
        20 => certificate.tail = vec![0; numbers.below(3)],
        _ => {
            let types = [
                "ssh-ed25519-cert-v01@openssh.com",
                "ecdsa-sha2-nistp256-cert-v01@openssh.com",
                "ssh-ed25519",
                "ssh-rsa-cert-v01@openssh.com",
            ];
            certificate.certificate_type = types[numbers.below(4)].to_owned();
        }
    }
}

fn prefixed(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u32).to_be_bytes(), bytes].concat()
}

fn pair(name: &str, value: &[u8]) -> Vec<u8> {
    [prefixed(name.as_bytes()), prefixed(value)].concat()
}

/// The first string of a blob.
fn string(blob: &[u8]) -> Option<&[u8]> {
    let (len, rest) = blob.split_first_chunk()?;
    rest.get(..u32::from_be_bytes(*len) as usize)
}

// P21
#[test]
fn of_ten_thousand_mutated_certificates_none_opens_that_is_another_to_others() {
    let (mut numbers, good, count) = (Numbers(0x2545_f491_4f6c_dd1d), good(), tries());
    for good in &good {
        let blob = good.certificate.blob();
        good.judged(&blob).unwrap();
        assert!(good.judged_by_others(&blob).unwrap().signed);
    }
    let (mut both, mut sshds, mut theirs_alone) = (0, 0, BTreeMap::<String, usize>::new());
    for round in 0..count {
        let good = &good[round / 4 % 2];
        let (blob, signed) = good.mutated(round, &mut numbers);
        let shown = || format!("{round}: {} {}", good.certificate.plain, Base64::encode_string(&blob));
        match (good.judged(&blob), good.judged_by_others(&blob)) {
            (Ok(_), None) => panic!("ours alone opens {}", shown()),
            (Ok(_), Some(theirs)) => {
                // Whoever has the key signs what they like; nobody else makes another that counts.
                let is_its_own = signed || blob == good.certificate.blob();
                assert_eq!(theirs.signed, is_its_own, "{}", shown());
                *(if theirs.signed { &mut both } else { &mut sshds }) += 1;
            }
            (Err(why), Some(_)) => *theirs_alone.entry(why.to_string()).or_default() += 1,
            (Err(_), None) => {}
        }
    }
    println!(
        "{count} mutated certificates: {both} open by both, {sshds} more but for their signature, which sshd looks at, none by ours alone"
    );
    println!("by theirs alone: {theirs_alone:#?}");
    assert!(both > 0 && sshds > 0);
}
