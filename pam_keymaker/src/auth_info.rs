//! Reads `SSH_AUTH_INFO_0`: the keys with which a user proved themselves to sshd.
//!
//! sshd writes a line for each method that succeeded (OpenSSH, auth2.c, `auth2_update_session_info`): the method, then,
//! where a key was used, `TYPE BASE64` of the whole key, a certificate's for a certificate, and maybe more words about
//! it.

use keymaker_core::keys_file::{PublishedKey, UserKeys};
use keymaker_core::ticket::Ticket;

/// The methods that prove a key: the user's, or, for `hostbased`, that of a host which vouches for the user.
const KEY_METHODS: [&str; 2] = ["publickey", "hostbased"];

/// What sshd says about the keys of a login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProvedKeys<'k> {
    /// no key was proved: not sshd, or another method
    None,
    /// each of them is the user's
    Known(Vec<ProvedKey<'k>>),
    /// at least one is not
    Foreign,
}

/// A key of the user's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProvedKey<'k> {
    /// one that is published
    Published(&'k PublishedKey),
    /// one that the keys command has accepted: that of a certificate with a proof, or one of EC2 Instance Connect
    ByTicket(Ticket),
}

impl ProvedKey<'_> {
    /// As `ssh-keygen -l` prints it.
    pub fn fingerprint(&self) -> &str {
        match self {
            Self::Published(key) => &key.fingerprint,
            Self::ByTicket(ticket) => &ticket.fingerprint,
        }
    }
}

/// Compares the keys that `auth_info` names with the user's keys, `None` where the user has no published keys, and others with
/// the user's tickets.
pub fn proved_keys<'k>(
    auth_info: &[u8],
    keys: Option<&'k UserKeys>,
    ticket: &dyn Fn(&str) -> Option<Ticket>,
) -> ProvedKeys<'k> {
    let mut known = Vec::new();
    for line in auth_info.split(|byte| *byte == b'\n') {
        let mut words = line.split(|byte| *byte == b' ');
        let method = words.next().unwrap_or_default();
        if !KEY_METHODS.iter().any(|key_method| key_method.as_bytes() == method) {
            continue;
        }
        let (key_type, base64) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let key = keys.iter().flat_map(|keys| &keys.keys).find(|key| {
            key.line
                .split_once(' ')
                .is_some_and(|(own_type, own)| own_type.as_bytes() == key_type && own.as_bytes() == base64)
        });
        let by_ticket = || {
            (method == KEY_METHODS[0].as_bytes()).then_some(())?;
            ticket(&format!(
                "{} {}",
                str::from_utf8(key_type).ok()?,
                str::from_utf8(base64).ok()?
            ))
        };
        match key
            .map(ProvedKey::Published)
            .or_else(|| by_ticket().map(ProvedKey::ByTicket))
        {
            Some(key) => known.push(key),
            None => return ProvedKeys::Foreign,
        }
    }
    if known.is_empty() {
        ProvedKeys::None
    } else {
        ProvedKeys::Known(known)
    }
}

#[cfg(test)]
mod tests {
    use keymaker_core::id::Uid;
    use keymaker_core::name::UserName;

    use super::*;

    const ED25519: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJVIdsHq0Z9wh8xz9aLmBwWbJY8mNUvXwzNlZQK9iJ0w";
    const OTHER: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKVIdsHq0Z9wh8xz9aLmBwWbJY8mNUvXwzNlZQK9iJ0w";
    const FIDO: &str = "sk-ssh-ed25519@openssh.com AAAAGnNrLXNzaC1lZDI1NTE5QG9wZW5zc2guY29tAAAAIJVIdsHq0Z9wh8xz9aLmBwWbJY8mNUvXwzNlZQK9iJ0wAAAABHNzaDo=";

    const NO_TICKET: &dyn Fn(&str) -> Option<Ticket> = &|_| None;

    fn alice() -> UserKeys {
        let key = |line: &str| PublishedKey {
            id: "APKA1".to_owned(),
            line: line.to_owned(),
            fingerprint: String::new(),
        };
        UserKeys {
            name: UserName::parse(b"alice").unwrap(),
            uid: Uid::new(1_900_000_000).unwrap(),
            iam_user_id: "AIDAALICE".to_owned(),
            answered_at: 0,
            keys: vec![key(ED25519), key(FIDO)],
        }
    }

    // P8
    #[test]
    fn only_the_users_own_keys_are_known() {
        let keys = alice();
        let read = |text: &str| proved_keys(text.as_bytes(), Some(&keys), NO_TICKET);
        assert_eq!(
            read(&format!("publickey {ED25519}\n")),
            ProvedKeys::Known(vec![ProvedKey::Published(&keys.keys[0])])
        );
        assert_eq!(
            read(&format!("publickey {FIDO}")),
            ProvedKeys::Known(vec![ProvedKey::Published(&keys.keys[1])])
        );
        assert_eq!(
            read(&format!("publickey {ED25519} and more\n")),
            ProvedKeys::Known(vec![ProvedKey::Published(&keys.keys[0])])
        );
        assert_eq!(
            read(&format!(
                "publickey {ED25519}\nkeyboard-interactive/pam\npublickey {FIDO}\n"
            )),
            ProvedKeys::Known(vec![
                ProvedKey::Published(&keys.keys[0]),
                ProvedKey::Published(&keys.keys[1])
            ])
        );
        for text in [
            format!("publickey {OTHER}\n"),
            format!("publickey {ED25519}\npublickey {OTHER}\n"),
            format!("hostbased {OTHER} client user \"root\", client host \"elsewhere\"\n"),
            format!("publickey ssh-ed25519-cert-v01@openssh.com {}\n", &ED25519[12..]),
            format!("publickey ssh-rsa {}\n", &ED25519[12..]),
            format!("publickey {}\n", &ED25519[..ED25519.len() - 1]),
            format!("publickey  {ED25519}\n"),
            "publickey\n".to_owned(),
            "publickey ssh-ed25519".to_owned(),
            "publickey \u{fffd}\0".to_owned(),
        ] {
            assert_eq!(read(&text), ProvedKeys::Foreign, "{text:?}");
        }
    }

    #[test]
    fn other_methods_name_no_key() {
        let keys = alice();
        for text in [
            "",
            "\n",
            "password\n",
            "keyboard-interactive/pam\n",
            "gssapi-with-mic alice@EXAMPLE.ORG\n",
        ] {
            assert_eq!(
                proved_keys(text.as_bytes(), Some(&keys), NO_TICKET),
                ProvedKeys::None,
                "{text:?}"
            );
            assert_eq!(proved_keys(text.as_bytes(), None, NO_TICKET), ProvedKeys::None);
        }
    }

    // P8
    #[test]
    fn every_key_is_foreign_to_a_user_without_published_keys() {
        assert_eq!(
            proved_keys(format!("publickey {ED25519}").as_bytes(), None, NO_TICKET),
            ProvedKeys::Foreign
        );
    }

    // P21, P8
    #[test]
    fn only_a_certificate_that_was_proved_by_its_key_and_has_a_ticket_is_a_proof() {
        const CERTIFICATE: &str = "ssh-ed25519-cert-v01@openssh.com AAAA";
        let ticket = |certificate: &str| Ticket {
            certificate: certificate.to_owned(),
            name: UserName::parse(b"alice").unwrap(),
            uid: Uid::new(1_900_000_000).unwrap(),
            iam_user_id: "AIDAALICE".to_owned(),
            issued_at: 0,
            ends_at: 1,
            token_id: "1".to_owned(),
            fingerprint: "SHA256:x".to_owned(),
        };
        let has = |certificate: &str| (certificate == CERTIFICATE).then(|| ticket(certificate));
        let by_proof = ProvedKey::ByTicket(ticket(CERTIFICATE));
        let keys = alice();
        let read = |text: &str| proved_keys(text.as_bytes(), Some(&keys), &has);
        let proved = read(&format!("publickey {CERTIFICATE}\n"));
        assert_eq!(proved, ProvedKeys::Known(vec![by_proof.clone()]));
        let both = read(&format!("publickey {CERTIFICATE}\npublickey {ED25519}\n"));
        assert_eq!(
            both,
            ProvedKeys::Known(vec![by_proof, ProvedKey::Published(&keys.keys[0])])
        );
        for foreign in [
            "publickey ssh-ed25519-cert-v01@openssh.com AAAB",
            "publickey ecdsa-sha2-nistp256-cert-v01@openssh.com AAAA",
            "publickey ssh-ed25519 AAAA",
            "hostbased ssh-ed25519-cert-v01@openssh.com AAAA",
            "publickey ssh-ed25519-cert-v01@openssh.com",
        ] {
            assert_eq!(read(foreign), ProvedKeys::Foreign, "{foreign}");
        }
        let with_foreign = read(&format!("publickey {CERTIFICATE}\npublickey {OTHER}"));
        assert_eq!(with_foreign, ProvedKeys::Foreign);
    }
}
