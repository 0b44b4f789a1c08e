//! Where the key and the certificate of a proof lie, and how both are made: ssh-keygen(1) makes them, so that they are as OpenSSH makes them, in
//! FIPS mode too.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use sha2::{Digest, Sha256};
use ssh_key::{Certificate, HashAlg, PublicKey};

use super::error::LoginError;
use super::options::{HowToProve, ProofKeyType};
use super::token::{AskedToken, Told};
use crate::aws::{AwsOptions, with_aws};

/// Where the key and the certificate of one identity and purpose lie.
pub struct Place {
    folder: PathBuf,
    /// The private key; beside it the public one, and the certificate.
    pub key: PathBuf,
}

/// What is left of a proof.
pub struct Left {
    /// how long it holds
    pub seconds: u64,
    /// whether it was there already
    pub kept: bool,
}

impl Place {
    /// Others for each profile, file of credentials, host and audience: a proof of one must not serve for another.
    pub fn of(how: &HowToProve, aws: &AwsOptions) -> Result<Self, LoginError> {
        let home = std::env::var_os("HOME")
            .filter(|home| !home.is_empty())
            .ok_or(LoginError::NoHome)?;
        let variable = |name| std::env::var(name).unwrap_or_default();
        let meant = format!(
            "{:?}",
            (
                aws.profile.clone().unwrap_or_else(|| variable("AWS_PROFILE")),
                ["AWS_ACCESS_KEY_ID", "AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"].map(variable),
                &aws.endpoint_url,
                how.audience.as_deref(),
                how.key_type as u8,
                how.host.as_deref(),
            )
        );
        let folder = Path::new(&home).join(".ssh/keymaker");
        let name: String = Sha256::digest(meant)
            .iter()
            .take(4)
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let key = folder.join(format!("id-{name}"));
        Ok(Self { folder, key })
    }

    fn beside(&self, ending: &str) -> PathBuf {
        let mut name = self.key.clone().into_os_string();
        name.push(ending);
        name.into()
    }

    /// Which ssh takes by itself where it is given the key.
    pub fn certificate(&self) -> PathBuf {
        self.beside("-cert.pub")
    }

    /// Sees to a proof that holds for another minute, or, where none is to be kept, to a new one.
    pub fn ready(&self, keep: bool, how: &HowToProve, aws: &AwsOptions) -> Result<Left, LoginError> {
        self.make_folder()?;
        let kept = || self.seconds_left(now()).filter(|left| keep && *left >= ENOUGH);
        // Whoever waits for AWS meanwhile holds up nobody who needs no word of it.
        if let Some(seconds) = kept() {
            return Ok(Left { seconds, kept: true });
        }
        let lock = self.folder.join("lock");
        let held = File::create(&lock).and_then(|file| file.lock().map(|()| file));
        let _held = held.map_err(|error| LoginError::File(lock, error))?;
        if let Some(seconds) = kept() {
            return Ok(Left { seconds, kept: true });
        }
        let public = self.key_of_today(how.key_type)?;
        let fingerprint = public.fingerprint(HashAlg::Sha256).to_string();
        let asked = AskedToken {
            audience: how.audience.clone(),
            fingerprint,
            host: how.host.clone(),
        };
        let caller = self.beside(".caller");
        let token = with_aws(aws, |config| async move { asked.token(config, &caller).await })?;
        self.certify(&Told::by(&token).ok_or(LoginError::NoToken)?, &token)?;
        let seconds = self.seconds_left(now()).ok_or(LoginError::NoToken)?;
        Ok(Left { seconds, kept: false })
    }

    /// Gives the certificate to the agent, the key without it not; an agent that knows no lifetime refuses.
    pub fn give_to_agent(&self, seconds: u64) -> Result<(), LoginError> {
        let add = |arguments: &[&OsStr]| {
            let run = Command::new("ssh-add")
                .arg("-q")
                .args(arguments)
                .stdin(Stdio::null())
                .output();
            finished("ssh-add", run)
        };
        add(&[OsStr::new("-t"), OsStr::new(&seconds.to_string()), self.key.as_os_str()])?;
        // That was both. Not every ssh-add can be told -C, the certificate alone. This copy has no certificate beside it, which would go, too.
        let aside = self.beside(".agent.pub");
        fs::copy(self.beside(".pub"), &aside).map_err(|error| LoginError::File(aside.clone(), error))?;
        let plain = add(&[OsStr::new("-d"), aside.as_os_str()]);
        remove(&aside)?;
        plain
    }

    fn make_folder(&self) -> Result<(), LoginError> {
        for folder in [self.folder.parent(), Some(&self.folder)].into_iter().flatten() {
            match DirBuilder::new().mode(0o700).create(folder) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                    return Err(LoginError::File(folder.to_owned(), error));
                }
                _ => {}
            }
            ours_alone(folder)?;
        }
        Ok(())
    }

    /// How long the certificate holds, if it is one of the present key.
    fn seconds_left(&self, now: u64) -> Option<u64> {
        let certificate = Certificate::read_file(&self.certificate()).ok()?;
        let public = PublicKey::read_openssh_file(&self.beside(".pub")).ok()?;
        (certificate.public_key() == public.key_data()).then_some(())?;
        certificate.valid_before().checked_sub(now).filter(|left| *left > 0)
    }

    /// The key; another one each day.
    fn key_of_today(&self, key_type: ProofKeyType) -> Result<PublicKey, LoginError> {
        let public = self.beside(".pub");
        let age = fs::metadata(&self.key).and_then(|metadata| metadata.modified()).ok();
        let is_young = age.is_some_and(|made| made.elapsed().is_ok_and(|age| age < A_DAY));
        if is_young && let Ok(public) = PublicKey::read_openssh_file(&public) {
            return Ok(public);
        }
        let (aside, aside_public) = (self.beside(".new"), self.beside(".new.pub"));
        for file in [&aside, &aside_public, &self.certificate()] {
            remove(file)?;
        }
        let kind: &[&str] = match key_type {
            ProofKeyType::Ed25519 => &["-t", "ed25519"],
            ProofKeyType::Ecdsa => &["-t", "ecdsa", "-b", "256"],
        };
        let made = keygen(kind.iter().map(OsStr::new).chain([
            OsStr::new("-q"),
            OsStr::new("-N"),
            OsStr::new(""),
            OsStr::new("-C"),
            OsStr::new("keymaker"),
            OsStr::new("-f"),
            aside.as_os_str(),
        ]));
        made.map_err(|error| match (error, key_type) {
            (LoginError::Program(_, said), ProofKeyType::Ed25519) => LoginError::NoEd25519Key(said),
            (error, _) => error,
        })?;
        rename(&aside_public, &public)?;
        rename(&aside, &self.key)?;
        PublicKey::read_openssh_file(&public).map_err(|error| LoginError::Program("ssh-keygen", error.to_string()))
    }

    /// The certificate with this token in it, signed by the key itself: put in place whole.
    fn certify(&self, told: &Told, token: &str) -> Result<(), LoginError> {
        let (aside, made) = (self.beside(".next.pub"), self.beside(".next-cert.pub"));
        remove(&made)?;
        fs::copy(self.beside(".pub"), &aside).map_err(|error| LoginError::File(aside.clone(), error))?;
        let validity = format!(
            "{}:{}",
            calendar(told.issued_at.saturating_sub(60)),
            calendar(told.ends_at)
        );
        let extension = format!("extension:{TOKEN_EXTENSION}={token}");
        let signed = keygen([
            OsStr::new("-q"),
            OsStr::new("-s"),
            self.key.as_os_str(),
            OsStr::new("-I"),
            OsStr::new(&told.token_id),
            OsStr::new("-n"),
            OsStr::new(PRINCIPAL),
            OsStr::new("-V"),
            OsStr::new(&validity),
            OsStr::new("-O"),
            OsStr::new(&extension),
            aside.as_os_str(),
        ]);
        remove(&aside)?;
        signed?;
        rename(&made, &self.certificate())
    }
}

/// Refuses a folder in which another could put a link where files are written here, as in the home of somebody else that sudo kept.
fn ours_alone(folder: &Path) -> Result<(), LoginError> {
    let of = |error| LoginError::File(folder.to_owned(), error);
    let found = fs::metadata(folder).map_err(of)?;
    // Whoever this process is, what it makes is theirs; a name that is there already is never followed.
    let probe = folder.join(format!(".whose-{}", std::process::id()));
    let made = File::create_new(&probe).and_then(|file| file.metadata());
    remove(&probe)?;
    if found.uid() == made.map_err(of)?.uid() && found.mode() & 0o022 == 0 {
        Ok(())
    } else {
        Err(LoginError::FolderOfOthers(folder.to_owned()))
    }
}

/// `YYYYMMDDHHMMSS` in UTC, which every ssh-keygen reads.
fn calendar(unix: u64) -> String {
    use aws_smithy_types::date_time::{DateTime, Format};
    let time = DateTime::from_secs(i64::try_from(unix).unwrap_or(i64::MAX));
    let text = time.fmt(Format::DateTime).unwrap_or_default();
    text.chars().filter(char::is_ascii_digit).take(14).collect()
}

fn keygen<'a>(arguments: impl IntoIterator<Item = &'a OsStr>) -> Result<(), LoginError> {
    // Times without a zone are the local ones.
    let run = Command::new("ssh-keygen")
        .args(arguments)
        .env("TZ", "UTC0")
        .stdin(Stdio::null())
        .output();
    finished("ssh-keygen", run)
}

/// What came of a program.
fn finished(program: &'static str, run: io::Result<std::process::Output>) -> Result<(), LoginError> {
    let run = run.map_err(|error| LoginError::NoProgram(program, error))?;
    if run.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&run.stderr).trim().to_owned();
    Err(LoginError::Program(program, said))
}

fn remove(file: &Path) -> Result<(), LoginError> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(LoginError::File(file.to_owned(), error)),
        _ => Ok(()),
    }
}

fn rename(from: &Path, to: &Path) -> Result<(), LoginError> {
    fs::rename(from, to).map_err(|error| LoginError::File(to.to_owned(), error))
}

fn now() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.unwrap_or_default().as_secs()
}

// As keymaker-proof has them, which no laptop needs.
const TOKEN_EXTENSION: &str = "proof-v1@keymaker.github.io";
const PRINCIPAL: &str = "keymaker-proof";
/// What a proof must have left to be used again, in seconds: time to connect.
const ENOUGH: u64 = 60;
const A_DAY: Duration = Duration::from_secs(86_400);

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn nothing_is_written_where_others_may_write() {
        let folder = test_folder::TestFolder::new();
        let inner = folder.join("keymaker");
        DirBuilder::new().mode(0o700).create(&inner).unwrap();
        assert!(ours_alone(&inner).is_ok());
        assert_eq!(fs::read_dir(&inner).unwrap().count(), 0);
        fs::set_permissions(&inner, fs::Permissions::from_mode(0o720)).unwrap();
        assert!(matches!(ours_alone(&inner), Err(LoginError::FolderOfOthers(_))));
    }

    #[test]
    fn times_are_as_ssh_keygen_reads_them() {
        assert_eq!(calendar(1_800_000_000), "20270115080000");
    }
}
