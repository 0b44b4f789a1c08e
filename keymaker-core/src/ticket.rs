//! `/run/keymaker-keys/UID.CRC32C`: that the keys command has accepted this very certificate, or this key of EC2 Instance Connect's, for
//! this user, for PAM's session check, which sees the certificate or key and not what was decided about it.
//!
//! The keys command writes a ticket before it shows sshd a line; PAM reads it once. The folder is keymaker-keys' alone. A
//! ticket holds seven lines: the certificate's `TYPE BASE64`, the login name, the uid, IAM's `UserId`, when the token was made
//! and when it ends (unix time), the token's `jti`, and the key's fingerprint.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::crc32c::crc32c;
use crate::directory_file::{Header, User};
use crate::id::Uid;
use crate::keys_file::is_fingerprint;
use crate::name::UserName;
use crate::paths;
use crate::proof::{MAX_CERTIFICATE, is_token_id, is_young_enough};
use crate::published_file::reader::{ReadError, open_trusted};

/// What stands in place of a token's name where EC2 Instance Connect has the key.
pub const INSTANCE_CONNECT: &str = "instance-connect";

/// A ticket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// `TYPE BASE64` of the certificate, or of the key.
    pub certificate: String,
    /// The login name.
    pub name: UserName,
    /// The user id.
    pub uid: Uid,
    /// IAM's `UserId`.
    pub iam_user_id: String,
    /// When AWS made the token: unix time.
    pub issued_at: u64,
    /// When it ends.
    pub ends_at: u64,
    /// The token's `jti`, or [`INSTANCE_CONNECT`].
    pub token_id: String,
    /// The key's fingerprint.
    pub fingerprint: String,
}

/// Why a ticket was not written.
#[derive(Debug)]
pub enum TicketError {
    /// this user has as many as anybody may have
    TooMany,
    /// the folder or a file in it
    Io(io::Error),
}

impl fmt::Display for TicketError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooMany => f.write_str(
                "this user has tickets of sixteen tokens, or four of this one, as many as anybody may have; the first ends within login_token_max",
            ),
            Self::Io(error) => write!(f, "no ticket can be written to {}: {error}", paths::TICKETS),
        }
    }
}

impl Ticket {
    /// The ticket for this certificate or key, if it opens a session of that user now: name, uid and `UserId` are theirs, it has not
    /// ended, and is not older than their having the name, or, of EC2 Instance Connect, that opens logins here.
    pub fn of(folder: &Path, user: &User<'_>, header: &Header<'_>, certificate: &str, now: SystemTime) -> Option<Self> {
        let ticket = read(&path(folder, user.uid, certificate)).ok()?;
        let now = now.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_secs();
        let is_theirs = ticket.certificate == certificate
            && ticket.name == user.name
            && ticket.uid == user.uid
            && ticket.iam_user_id == user.iam_user_id;
        let counts = if ticket.token_id == INSTANCE_CONNECT {
            header.instance_connect
        } else {
            is_young_enough(ticket.issued_at, user)
        };
        (is_theirs && now < ticket.ends_at && counts).then_some(ticket)
    }

    /// Writes it, and removes what has ended of this user's.
    pub fn write(&self, folder: &Path, now: SystemTime) -> Result<(), TicketError> {
        let path = path(folder, self.uid, &self.certificate);
        if read(&path).is_ok_and(|written| written == *self) {
            return Ok(());
        }
        let (tokens, of_this_token) = self.others(folder, &path, now)?;
        if tokens >= MOST || of_this_token >= MOST_OF_A_TOKEN {
            return Err(TicketError::TooMany);
        }
        let mut aside = OsString::from(".");
        aside.push(path.file_name().unwrap_or_default());
        aside.push(format!(".{}", std::process::id()));
        let aside = folder.join(aside);
        let put = write_new(&aside, &self.to_text()).and_then(|()| fs::rename(&aside, &path));
        if put.is_err() {
            let _ = fs::remove_file(&aside);
        }
        put.map_err(TicketError::Io)
    }

    /// Of how many other tokens this user has tickets that have not ended, and how many other tickets of this one; those that have are removed.
    fn others(&self, folder: &Path, own: &Path, now: SystemTime) -> Result<(usize, usize), TicketError> {
        let since_1970 = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let (theirs, aside) = (format!("{}.", self.uid), format!(".{}.", self.uid));
        let (mut tokens, mut of_this_token) = (BTreeSet::new(), 0);
        for entry in fs::read_dir(folder).map_err(TicketError::Io)? {
            let entry = entry.map_err(TicketError::Io)?;
            let (name, path) = (entry.file_name(), entry.path());
            let begins = |with: &str| name.as_bytes().starts_with(with.as_bytes());
            if begins(&aside) {
                // Left by a run that was killed.
                let is_old = entry
                    .metadata()
                    .and_then(|metadata| metadata.modified())
                    .is_ok_and(|then| now.duration_since(then).is_ok_and(|age| age > A_MINUTE));
                if is_old {
                    let _ = fs::remove_file(path);
                }
            } else if begins(&theirs) && path != own {
                match read(&path) {
                    Ok(ticket) if since_1970.as_secs() < ticket.ends_at => {
                        of_this_token += usize::from(ticket.token() == self.token());
                        tokens.insert(ticket.token().to_owned());
                    }
                    _ => match fs::remove_file(path) {
                        // Another run saw that it had ended, too.
                        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(TicketError::Io(error)),
                        _ => {}
                    },
                }
            }
        }
        tokens.remove(self.token());
        Ok((tokens.len(), of_this_token))
    }

    /// What several tickets may be of: a pushed key is of none, so it counts for itself.
    fn token(&self) -> &str {
        if self.token_id == INSTANCE_CONNECT {
            &self.certificate
        } else {
            &self.token_id
        }
    }

    fn to_text(&self) -> String {
        format!(
            "{}\n{}\n{}\n{}\n{} {}\n{}\n{}\n",
            self.certificate,
            self.name,
            self.uid,
            self.iam_user_id,
            self.issued_at,
            self.ends_at,
            self.token_id,
            self.fingerprint
        )
    }

    /// Reads a ticket's text; `None` where it is anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let mut lines = text.split('\n');
        let mut line = || lines.next();
        let (certificate, name, uid, iam_user_id) = (line()?, line()?, line()?, line()?);
        let (issued_at, ends_at) = line()?.split_once(' ')?;
        let ticket = Self {
            certificate: certificate.to_owned(),
            name: UserName::parse(name.as_bytes()).ok()?,
            uid: Uid::new(uid.parse().ok()?)?,
            iam_user_id: iam_user_id.to_owned(),
            issued_at: issued_at.parse().ok()?,
            ends_at: ends_at.parse().ok()?,
            token_id: line().filter(|id| is_token_id(id))?.to_owned(),
            fingerprint: line().filter(|text| is_fingerprint(text))?.to_owned(),
        };
        (ticket.to_text() == text).then_some(ticket)
    }
}

fn path(folder: &Path, uid: Uid, certificate: &str) -> PathBuf {
    folder.join(format!("{uid}.{:08x}", crc32c(certificate.as_bytes())))
}

fn read(path: &Path) -> Result<Ticket, ReadError> {
    let (file, _) = open_trusted(path)?;
    let mut text = String::new();
    file.take(LONGEST).read_to_string(&mut text)?;
    Ticket::parse(&text).ok_or(ReadError::Damaged)
}

fn write_new(path: &Path, text: &str) -> io::Result<()> {
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    file?.write_all(text.as_bytes())
}

/// Of how many tokens a user has tickets at once: a person with many laptops has fewer.
const MOST: usize = 16;
/// A token has one certificate; whoever has seen it can spell its signature in a second way, which must not use up the others' room.
const MOST_OF_A_TOKEN: usize = 4;
const LONGEST: u64 = MAX_CERTIFICATE as u64 + 1024;
const A_MINUTE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory_file::records::tests_support::{with_alice, with_proofs_from};
    use crate::login::unix_time;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use test_folder::TestFolder;

    const NOW: u64 = 1_800_000_100;
    const NO_CONNECT: Header<'static> = Header::NOTHING;

    fn ticket(certificate: &str) -> Ticket {
        Ticket {
            certificate: format!("ssh-ed25519-cert-v01@openssh.com {certificate}"),
            name: UserName::parse(b"alice").unwrap(),
            uid: Uid::new(1_900_000_000).unwrap(),
            iam_user_id: "AIDA".to_owned(),
            issued_at: 1_800_000_000,
            ends_at: 1_800_000_300,
            token_id: "4dcf-1".to_owned(),
            fingerprint: "SHA256:edV/F4HdipXmCHb1s/PWblk7mQtkHYFqQ1SGxELZntQ".to_owned(),
        }
    }

    fn found(folder: &Path, certificate: &str, now: u64) -> Option<Ticket> {
        with_proofs_from(Some(1_800_000_000), |alice| {
            Ticket::of(folder, alice, &NO_CONNECT, certificate, unix_time(now))
        })
    }

    fn folder() -> TestFolder {
        let folder = TestFolder::new();
        fs::set_permissions(&*folder, fs::Permissions::from_mode(0o700)).unwrap();
        folder
    }

    // P21
    #[test]
    fn a_ticket_is_for_one_certificate_of_one_user_until_it_ends() {
        let folder = folder();
        let one = ticket("AAAA");
        one.write(&folder, unix_time(NOW)).unwrap();
        one.write(&folder, unix_time(NOW)).unwrap();
        assert_eq!(found(&folder, &one.certificate, NOW), Some(one.clone()));
        assert_eq!(found(&folder, &ticket("AAAB").certificate, NOW), None);
        assert_eq!(found(&folder, &one.certificate, one.ends_at), None);
        let at = |from| {
            with_proofs_from(from, |alice| {
                Ticket::of(&folder, alice, &NO_CONNECT, &one.certificate, unix_time(NOW))
            })
        };
        assert_eq!(
            at(Some(1_800_000_001)),
            None,
            "revoked since, or the name has another holder"
        );
        assert_eq!(at(None), None, "proofs were switched off since");
        assert!(
            with_alice(|alice| Ticket::of(&folder, alice, &NO_CONNECT, &one.certificate, unix_time(NOW))).is_none()
        );
    }

    // P21
    #[test]
    fn a_ticket_of_instance_connect_counts_only_where_that_opens_logins() {
        let folder = folder();
        let pushed = Ticket {
            certificate: "ssh-ed25519 AAAA".to_owned(),
            token_id: INSTANCE_CONNECT.to_owned(),
            ..ticket("AAAA")
        };
        pushed.write(&folder, unix_time(NOW)).unwrap();
        let with = |instance_connect, now| {
            let header = Header {
                instance_connect,
                ..NO_CONNECT
            };
            with_alice(|alice| Ticket::of(&folder, alice, &header, &pushed.certificate, unix_time(now)))
        };
        assert_eq!(with(true, NOW), Some(pushed.clone()));
        assert_eq!((with(false, NOW), with(true, pushed.ends_at)), (None, None));
    }

    // P21, P2
    #[test]
    fn a_ticket_of_another_name_uid_or_user_id_is_nobodys() {
        let mine = ticket("AAAA");
        for theirs in [
            Ticket {
                name: UserName::parse(b"bob").unwrap(),
                ..mine.clone()
            },
            Ticket {
                uid: Uid::new(1_900_000_001).unwrap(),
                ..mine.clone()
            },
            Ticket {
                iam_user_id: "AIDB".to_owned(),
                ..mine.clone()
            },
            Ticket {
                certificate: ticket("AAAB").certificate,
                ..mine.clone()
            },
        ] {
            let folder = folder();
            // As it would be after the uid changed hands, or two certificates had one checksum.
            fs::write(path(&folder, mine.uid, &mine.certificate), theirs.to_text()).unwrap();
            assert_eq!(found(&folder, &mine.certificate, NOW), None, "{theirs:?}");
        }
    }

    // P21
    #[test]
    fn what_another_may_have_put_there_is_no_ticket() {
        let folder = folder();
        let one = ticket("AAAA");
        let place = path(&folder, one.uid, &one.certificate);
        one.write(&folder, unix_time(NOW)).unwrap();
        fs::set_permissions(&place, fs::Permissions::from_mode(0o620)).unwrap();
        assert_eq!(found(&folder, &one.certificate, NOW), None, "others may write it");
        fs::rename(&place, folder.join("elsewhere")).unwrap();
        symlink(folder.join("elsewhere"), &place).unwrap();
        assert_eq!(found(&folder, &one.certificate, NOW), None, "a link");
        fs::remove_file(&place).unwrap();
        one.write(&folder, unix_time(NOW)).unwrap();
        fs::set_permissions(&*folder, fs::Permissions::from_mode(0o777)).unwrap();
        assert_eq!(
            found(&folder, &one.certificate, NOW),
            None,
            "others may write the folder"
        );
    }

    // P24
    #[test]
    fn a_user_has_tickets_of_sixteen_tokens_and_what_has_ended_makes_room() {
        let folder = folder();
        let of = |token: usize, certificate: &str| Ticket {
            token_id: format!("4dcf-{token}"),
            ..ticket(certificate)
        };
        for number in 0..MOST {
            // Each certificate in its second spelling, too: that takes no room of the others.
            for spelling in ["AA", "AB"] {
                of(number, &format!("{spelling}{number:02}"))
                    .write(&folder, unix_time(NOW))
                    .unwrap();
            }
        }
        let more = of(MOST, "BBBB");
        assert!(matches!(more.write(&folder, unix_time(NOW)), Err(TicketError::TooMany)));
        for (number, fits) in [(0, true), (1, true), (2, false)] {
            let written = of(3, &format!("CC{number:02}")).write(&folder, unix_time(NOW));
            assert_eq!(written.is_ok(), fits, "a fifth of one token has no room");
        }
        // Another user has room, and one of these may be written again.
        let bob = Ticket {
            uid: Uid::new(1_900_000_001).unwrap(),
            ..ticket("AAAA")
        };
        bob.write(&folder, unix_time(NOW)).unwrap();
        of(3, "AA03").write(&folder, unix_time(NOW)).unwrap();
        let later = Ticket {
            ends_at: NOW + 1000,
            ..more
        };
        later.write(&folder, unix_time(1_800_000_300)).unwrap();
        assert_eq!(fs::read_dir(&*folder).unwrap().count(), 2);
    }

    // P24
    #[test]
    fn where_the_folder_is_gone_nothing_is_written_and_nothing_opens() {
        let folder = TestFolder::new();
        let gone = folder.join("gone");
        assert!(matches!(
            ticket("AAAA").write(&gone, unix_time(NOW)),
            Err(TicketError::Io(_))
        ));
        assert_eq!(found(&gone, &ticket("AAAA").certificate, NOW), None);
    }

    #[test]
    fn what_a_killed_run_left_aside_goes_after_a_minute() {
        let folder = folder();
        fs::write(folder.join(".1900000000.00000000.1"), "half").unwrap();
        let now = SystemTime::now();
        let one = Ticket {
            ends_at: u64::MAX,
            ..ticket("AAAA")
        };
        one.write(&folder, now).unwrap();
        assert_eq!(fs::read_dir(&*folder).unwrap().count(), 2);
        let two = Ticket {
            ends_at: u64::MAX,
            ..ticket("AAAB")
        };
        two.write(&folder, now + Duration::from_secs(120)).unwrap();
        assert_eq!(fs::read_dir(&*folder).unwrap().count(), 2);
    }
}
