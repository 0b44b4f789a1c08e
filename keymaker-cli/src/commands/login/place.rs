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
use ssh_key::{Certificate, HashAlg, PrivateKey, PublicKey};

use super::error::LoginError;
use super::files::{remove, remove_the_unused, rename};
use super::last::LastProof;
use super::options::{HowToProve, PLACE_NAME, ProofKeyType};
use super::token::{AskedToken, Told};
use crate::aws::{AwsOptions, with_aws};
use crate::output::Output;

/// Where the key and the certificate of one identity and purpose lie.
pub struct Place {
    folder: PathBuf,
    /// The private key; beside it the public one, and the certificate.
    pub key: PathBuf,
    /// What tells identity and purpose from others, hashed.
    meant: String,
}

/// What is left of a proof.
pub struct Left {
    /// how long it holds
    pub seconds: u64,
    /// whether it was there already
    pub kept: bool,
    /// how far this computer's clock is ahead of AWS's, in seconds, as a new proof told
    pub clock_ahead: i64,
}

impl Left {
    /// Says what is worth knowing about it.
    pub fn remark(&self, output: &Output) {
        let (off, how) = match self.clock_ahead {
            ahead if ahead >= CLOCK_OFF => (ahead, "ahead of"),
            ahead if ahead <= -CLOCK_OFF => (-ahead, "behind"),
            _ => return,
        };
        output.remark(&format!(
            "this computer's clock is {off} seconds {how} AWS's, which refuses whoever is off by five minutes: set it, by 'sudo timedatectl \
             set-ntp true' or in the system's settings"
        ));
    }
}

impl Place {
    /// Others for each profile, access key, file of credentials, host and audience: a proof of one must not serve for another. One that is named
    /// serves all in turn, and then a proof of another is none: lines in ~/.ssh/config go on when the access key is another session's.
    pub fn of(how: &HowToProve, aws: &AwsOptions, named: Option<&str>) -> Result<Self, LoginError> {
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
        let meant: String = Sha256::digest(meant).iter().map(|byte| format!("{byte:02x}")).collect();
        let name = named.or_else(|| meant.get(..PLACE_NAME)).unwrap_or_default();
        let key = folder.join(format!("id-{name}"));
        Ok(Self { folder, key, meant })
    }

    /// By which lines in ~/.ssh/config name it.
    pub fn name(&self) -> &str {
        let name = self.key.file_name().and_then(OsStr::to_str);
        name.and_then(|name| name.strip_prefix("id-")).unwrap_or_default()
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
        let kept = || {
            let left = self.seconds_left(now()).filter(|left| keep && *left >= ENOUGH);
            left.map(|seconds| Left {
                seconds,
                kept: true,
                clock_ahead: 0,
            })
        };
        // Whoever waits for AWS meanwhile holds up nobody who needs no word of it.
        if let Some(left) = kept() {
            return Ok(left);
        }
        let lock = self.folder.join("lock");
        let held = File::create(&lock).and_then(|file| file.lock().map(|()| file));
        let _held = held.map_err(|error| LoginError::File(lock, error))?;
        if let Some(left) = kept() {
            return Ok(left);
        }
        remove_the_unused(&self.folder, SystemTime::now());
        let public = self.key_of_today(how.key_type)?;
        let fingerprint = public.fingerprint(HashAlg::Sha256).to_string();
        let asked = AskedToken {
            audience: how.audience.clone(),
            fingerprint,
            host: how.host.clone(),
        };
        let caller = self.beside(".caller");
        let token = with_aws(aws, |config| async move { asked.token(config, &caller).await })?;
        let told = Told::by(&token).ok_or(LoginError::NoToken)?;
        let last = LastProof::made(&told, &self.meant, now());
        last.write(&self.beside(".proof"))?;
        self.certify(&told, &token)?;
        Ok(Left {
            seconds: self.seconds_left(now()).ok_or(LoginError::NoToken)?,
            kept: false,
            clock_ahead: last.clock_ahead(&told),
        })
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

    /// How long the certificate holds, if it is one of the present key, and of who asks now.
    fn seconds_left(&self, now: u64) -> Option<u64> {
        let certificate = Certificate::read_file(&self.certificate()).ok()?;
        let public = PublicKey::read_openssh_file(&self.beside(".pub")).ok()?;
        (certificate.public_key() == public.key_data()).then_some(())?;
        let last = LastProof::read(&self.beside(".proof"), certificate.key_id(), &self.meant)?;
        last.seconds_left(now)
    }

    /// The key; another one each day.
    fn key_of_today(&self, key_type: ProofKeyType) -> Result<PublicKey, LoginError> {
        let public = self.beside(".pub");
        let age = fs::metadata(&self.key).and_then(|metadata| metadata.modified()).ok();
        let is_young = age.is_some_and(|made| made.elapsed().is_ok_and(|age| age < A_DAY));
        // What ended between the two renames below has left one of another.
        if is_young
            && let Ok(public) = PublicKey::read_openssh_file(&public)
            && PrivateKey::read_openssh_file(&self.key)
                .is_ok_and(|key| key.public_key().key_data() == public.key_data())
        {
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
/// How far a clock may be off without a word, in seconds; from five minutes on AWS refuses what it signs.
const CLOCK_OFF: i64 = 60;

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
    fn a_public_key_that_is_another_private_ones_is_not_used_again() {
        let folder = test_folder::TestFolder::new();
        let at = |name: &str| Place {
            folder: folder.to_path_buf(),
            key: folder.join(name),
            meant: String::new(),
        };
        for key_type in [ProofKeyType::Ed25519, ProofKeyType::Ecdsa] {
            let place = at("id-1");
            let first = place.key_of_today(key_type).unwrap();
            assert_eq!(place.key_of_today(key_type).unwrap(), first);
            let other = at("id-2");
            other.key_of_today(key_type).unwrap();
            fs::copy(other.beside(".pub"), place.beside(".pub")).unwrap();
            let next = place.key_of_today(key_type).unwrap();
            let private = PrivateKey::read_openssh_file(&place.key).unwrap();
            assert_eq!(private.public_key().key_data(), next.key_data());
            for file in [&place.key, &other.key] {
                fs::remove_file(file).unwrap();
            }
        }
    }

    #[test]
    fn times_are_as_ssh_keygen_reads_them() {
        assert_eq!(calendar(1_800_000_000), "20270115080000");
    }
}
