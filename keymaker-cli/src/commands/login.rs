//! `keymaker login` and `keymaker ssh`: a key with a certificate in which AWS says whose it is, for some minutes.
//!
//! Hosts take it where login_by in their keymakerd.toml has "proof". The key and the certificate lie in ~/.ssh/keymaker; ssh-keygen(1)
//! makes both, so that they are as OpenSSH makes them, in FIPS mode too. Under a lock: of many at once, one asks AWS.

#![expect(clippy::doc_markdown, reason = "clap prints these comments, in help and manual")]

use std::ffi::{OsStr, OsString};
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use aws_sdk_sts::types::Tag;
use clap::{Args, ValueEnum};
use keymaker_aws::{Action, AwsCallError, OutageCause};
use serde_json::json;
use sha2::{Digest, Sha256};
use ssh_key::{Certificate, HashAlg, PublicKey};

use super::CommandError;
use crate::aws::{self, AwsError, AwsOptions, with_aws};
use crate::output::Output;

/// What the command line says.
#[derive(Args, Clone, Debug, Default)]
pub struct LoginOptions {
    /// Do nothing while the present proof has a minute left.
    #[arg(long)]
    pub if_needed: bool,
    /// Give the certificate to the SSH agent too, for as long as it holds. The agent then shows it to every server that you visit.
    #[arg(long)]
    pub agent: bool,
    /// Print lines for ~/.ssh/config by which ssh, scp, rsync, git and Ansible log in so to the hosts of this pattern.
    #[arg(long, value_name = "PATTERN")]
    pub ssh_config: Option<String>,
    /// Ask for a proof that opens this instance alone.
    #[arg(long, value_name = "INSTANCE")]
    pub host: Option<String>,
    #[command(flatten)]
    pub how: HowToProve,
}

/// How a proof is made.
#[derive(Args, Clone, Debug, Default)]
pub struct HowToProve {
    /// The type of the key.
    #[arg(long, value_enum, default_value_t)]
    pub key_type: ProofKeyType,
    /// For whom the proof is: login_audience of the hosts, where their keymakerd.toml says so.
    #[arg(long, value_name = "TEXT")]
    pub audience: Option<String>,
}

/// The types of key that a proof may be for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ProofKeyType {
    /// Ed25519
    #[default]
    Ed25519,
    /// ECDSA on P-256, where FIPS 140 rules
    Ecdsa,
}

/// Why there is no proof.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    #[error("HOME is not set, so there is no place for ~/.ssh/keymaker")]
    NoHome,
    #[error("{0}: {1}")]
    File(PathBuf, io::Error),
    #[error("{0} cannot be run ({1}): install OpenSSH's client")]
    NoProgram(&'static str, io::Error),
    #[error("{0} failed: {1}")]
    Program(&'static str, String),
    #[error(
        "this account makes no tokens: its administrator turns that on by 'keymaker configure --logins', or by \
         'aws iam enable-outbound-web-identity-federation'"
    )]
    FederationOff,
    #[error(
        "you may not ask AWS for a token ({0}): ask for a policy that allows sts:GetWebIdentityToken and sts:TagGetWebIdentityToken"
    )]
    MayNotAsk(String),
    #[error(
        "you may ask AWS for a token, but not for one with tags ({0}): ask for a policy that allows sts:TagGetWebIdentityToken"
    )]
    MayNotTag(String),
    #[error(
        "your AWS session has ended ({0}): sign in again, by 'aws sso login' or 'aws login', or renew your access key"
    )]
    SessionEnded(String),
    #[error("AWS's token would be too large ({0}): have fewer tags put on your user or session")]
    TooLarge(String),
    #[error("AWS answered with something that is no token")]
    NoToken,
    #[error("{0:?} cannot stand in ~/.ssh/config: use letters, digits and any of *?.,!:@_-")]
    NotAPattern(String),
    #[error("name a host: keymaker ssh HOST")]
    NoHost,
}

/// `keymaker login`.
pub fn run(options: &LoginOptions, aws: &AwsOptions, output: &Output) -> Result<(), CommandError> {
    let place = Place::of(&options.how, options.host.as_deref(), aws)?;
    if let Some(pattern) = &options.ssh_config {
        let text = ssh_config(pattern, &place, options, aws)?;
        output.print(&text, &json!({ "ssh_config": text }));
        return Ok(());
    }
    let left = place.ready(options.if_needed, &options.how, options.host.as_deref(), aws)?;
    if options.agent {
        into_agent(&place, left.seconds)?;
    }
    if !(options.if_needed && left.kept) {
        let certificate = place.certificate();
        let text = format!(
            "For {} seconds hosts that take proofs let you in: keymaker ssh HOST, or ssh -i {} HOST",
            left.seconds,
            place.key.display()
        );
        output.print(
            &text,
            &json!({ "seconds": left.seconds, "key": place.key, "certificate": certificate }),
        );
    }
    Ok(())
}

/// `keymaker ssh`: becomes ssh.
pub fn ssh(how: &HowToProve, arguments: &[OsString], aws: &AwsOptions) -> Result<(), CommandError> {
    let instance = destination(arguments).ok_or(LoginError::NoHost)?;
    let instance = instance.rsplit('@').next().filter(|host| host.starts_with("i-"));
    let place = Place::of(how, instance, aws)?;
    place.ready(true, how, instance, aws)?;
    let mut ssh = Command::new("ssh");
    // ssh takes the certificate beside the key.
    ssh.arg("-i").arg(&place.key).args(["-o", "IdentitiesOnly=yes"]);
    if instance.is_some() {
        ssh.args(["-o", SESSION_MANAGER]);
    }
    let error = ssh.args(arguments).exec();
    Err(LoginError::NoProgram("ssh", error).into())
}

/// Where the key and the certificate of one identity and purpose lie.
struct Place {
    folder: PathBuf,
    key: PathBuf,
}

/// What is left of a proof.
struct Left {
    seconds: u64,
    /// whether it was there already
    kept: bool,
}

impl Place {
    /// Others for each profile, host and audience: a proof of one must not serve for another.
    fn of(how: &HowToProve, host: Option<&str>, aws: &AwsOptions) -> Result<Self, LoginError> {
        let home = std::env::var_os("HOME")
            .filter(|home| !home.is_empty())
            .ok_or(LoginError::NoHome)?;
        let variable = |name| std::env::var(name).unwrap_or_default();
        let meant = format!(
            "{:?}",
            (
                aws.profile.clone().unwrap_or_else(|| variable("AWS_PROFILE")),
                variable("AWS_ACCESS_KEY_ID"),
                &aws.endpoint_url,
                how.audience.as_deref(),
                how.key_type as u8,
                host,
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

    fn certificate(&self) -> PathBuf {
        self.beside("-cert.pub")
    }

    /// Sees to a proof that holds for another minute, or, where none is to be kept, to a new one.
    fn ready(&self, keep: bool, how: &HowToProve, host: Option<&str>, aws: &AwsOptions) -> Result<Left, CommandError> {
        self.make_folder()?;
        let lock = self.folder.join("lock");
        let held = File::create(&lock).and_then(|file| file.lock().map(|()| file));
        let _held = held.map_err(|error| LoginError::File(lock, error))?;
        if keep && let Some(seconds) = self.seconds_left(now()).filter(|left| *left >= ENOUGH) {
            return Ok(Left { seconds, kept: true });
        }
        let public = self.key_of_today(how.key_type)?;
        let fingerprint = public.fingerprint(HashAlg::Sha256).to_string();
        let asked = AskedToken {
            audience: how.audience.clone(),
            fingerprint,
            host: host.map(str::to_owned),
        };
        let token = with_aws(aws, |config| async move { asked.token(&config).await })?;
        self.certify(&Told::by(&token).ok_or(LoginError::NoToken)?, &token)?;
        let seconds = self.seconds_left(now()).ok_or(LoginError::NoToken)?;
        Ok(Left { seconds, kept: false })
    }

    fn make_folder(&self) -> Result<(), LoginError> {
        for folder in [self.folder.parent(), Some(&self.folder)].into_iter().flatten() {
            match DirBuilder::new().mode(0o700).create(folder) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                    return Err(LoginError::File(folder.to_owned(), error));
                }
                _ => {}
            }
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
        keygen(kind.iter().map(OsStr::new).chain([
            OsStr::new("-q"),
            OsStr::new("-N"),
            OsStr::new(""),
            OsStr::new("-C"),
            OsStr::new("keymaker"),
            OsStr::new("-f"),
            aside.as_os_str(),
        ]))?;
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

/// What AWS is asked for.
struct AskedToken {
    audience: Option<String>,
    fingerprint: String,
    host: Option<String>,
}

impl AskedToken {
    async fn token(&self, config: &aws_config::SdkConfig) -> Result<String, CommandError> {
        let audience = match &self.audience {
            Some(audience) => audience.clone(),
            None => format!("keymaker:{}", aws::identity(config).await?.account),
        };
        let request = aws::sts(config).get_web_identity_token().audience(audience);
        let request = request.duration_seconds(LIFE).signing_algorithm("ES384");
        let tags = [(KEY_TAG, Some(&self.fingerprint)), (HOST_TAG, self.host.as_ref())];
        let tags = tags
            .into_iter()
            .filter_map(|(key, value)| Tag::builder().key(key).value(value?).build().ok());
        let answer = request.set_tags(Some(tags.collect())).send().await;
        let answer = answer
            .map_err(|error| AwsCallError::from_sdk(ASK, error))
            .map_err(named)?;
        Ok(answer.web_identity_token.ok_or(LoginError::NoToken)?)
    }
}

/// The refusals for which there is something to do.
fn named(error: AwsCallError) -> CommandError {
    match error {
        AwsCallError::AccessDenied { message, .. } if message.contains("sts:TagGetWebIdentityToken") => {
            LoginError::MayNotTag(message).into()
        }
        AwsCallError::AccessDenied { message, .. } => LoginError::MayNotAsk(message).into(),
        AwsCallError::Outage {
            cause: OutageCause::Refused { code, message },
            ..
        } if code.starts_with("OutboundWebIdentityFederationDisabled") => {
            let _ = message;
            LoginError::FederationOff.into()
        }
        AwsCallError::Outage {
            cause: OutageCause::Refused { code, message },
            ..
        } if code.starts_with("JWTPayloadSizeExceeded") => LoginError::TooLarge(message).into(),
        AwsCallError::Outage {
            cause: OutageCause::Credentials(why),
            ..
        } if why.to_ascii_lowercase().contains("expired") => LoginError::SessionEnded(why).into(),
        other => AwsError::from(other).into(),
    }
}

/// What the token says of itself, which the certificate repeats.
#[derive(Debug, PartialEq, Eq)]
struct Told {
    token_id: String,
    issued_at: u64,
    ends_at: u64,
}

impl Told {
    fn by(token: &str) -> Option<Self> {
        use base64ct::{Base64UrlUnpadded, Encoding};
        let claims = Base64UrlUnpadded::decode_vec(token.split('.').nth(1)?).ok()?;
        let claims: serde_json::Value = serde_json::from_slice(&claims).ok()?;
        let token_id = claims.get("jti")?.as_str()?;
        let is_plain = token_id
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte));
        Some(Self {
            token_id: Some(token_id).filter(|id| is_plain && !id.is_empty())?.to_owned(),
            issued_at: claims.get("iat")?.as_u64()?,
            ends_at: claims.get("exp")?.as_u64()?,
        })
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

fn into_agent(place: &Place, seconds: u64) -> Result<(), LoginError> {
    // The certificate alone: an agent that knows no -C, or no lifetime, refuses.
    let run = Command::new("ssh-add")
        .args(["-q", "-C", "-t", &seconds.to_string()])
        .arg(&place.key)
        .output();
    finished("ssh-add", run)
}

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

/// Without any of ssh's tokens (%h, %r): what a server or a URL chose would stand in a command (CVE-2026-35386).
fn ssh_config(pattern: &str, place: &Place, options: &LoginOptions, aws: &AwsOptions) -> Result<String, LoginError> {
    let mut again = "keymaker login --if-needed".to_owned();
    let given = [
        ("profile", aws.profile.as_deref()),
        ("region", aws.region.as_deref()),
        ("endpoint-url", aws.endpoint_url.as_deref()),
        ("audience", options.how.audience.as_deref()),
        ("host", options.host.as_deref()),
        (
            "key-type",
            (options.how.key_type == ProofKeyType::Ecdsa).then_some("ecdsa"),
        ),
    ];
    for (name, value) in given.into_iter().filter_map(|(name, value)| Some((name, value?))) {
        is_word(value, "/")
            .then_some(())
            .ok_or_else(|| LoginError::NotAPattern(value.to_owned()))?;
        again += &format!(" --{name} {value}");
    }
    is_word(pattern, "*?!")
        .then_some(())
        .ok_or_else(|| LoginError::NotAPattern(pattern.to_owned()))?;
    let key = place.key.display();
    Ok(format!(
        "Match host \"{pattern}\" exec \"{again}\"\n  IdentityFile \"{key}\"\n  CertificateFile \"{key}-cert.pub\"\n  IdentitiesOnly yes"
    ))
}

/// Neither ssh nor a shell reads more in it than it says.
fn is_word(text: &str, more: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || ".,:@_-".contains(c) || more.contains(c);
    !text.is_empty() && !text.starts_with('-') && text.chars().all(plain)
}

/// The host among ssh's arguments, with the user before it.
fn destination(arguments: &[OsString]) -> Option<&str> {
    let mut arguments = arguments.iter().map(|argument| argument.to_str());
    while let Some(argument) = arguments.next() {
        let argument = argument?;
        let Some(options) = argument.strip_prefix('-') else {
            return Some(argument.strip_prefix("ssh://").unwrap_or(argument));
        };
        // Letters may be written together; one that takes a value has the rest, or the next argument.
        match options.find(|letter| TAKES_A_VALUE.contains(letter)) {
            Some(at) if at + 1 == options.len() => drop(arguments.next()),
            _ if options == "-" => return arguments.next().flatten(),
            _ => {}
        }
    }
    None
}

/// ssh(1).
const TAKES_A_VALUE: &str = "BbcDEeFIiJLlmOoPpQRSWw";
const SESSION_MANAGER: &str =
    "ProxyCommand=aws ssm start-session --target %h --document-name AWS-StartSSHSession --parameters portNumber=%p";
const ASK: Action = Action::named("sts:GetWebIdentityToken");
// As keymaker-proof has them, which no laptop needs.
const TOKEN_EXTENSION: &str = "proof-v1@keymaker.github.io";
const PRINCIPAL: &str = "keymaker-proof";
const KEY_TAG: &str = "keymaker-key";
const HOST_TAG: &str = "keymaker-host";
/// How long a token is to live, in seconds.
const LIFE: i32 = 300;
/// What a proof must have left to be used again, in seconds: time to connect.
const ENOUGH: u64 = 60;
const A_DAY: Duration = Duration::from_secs(86_400);

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &str) -> Vec<OsString> {
        words.split(' ').map(OsString::from).collect()
    }

    #[test]
    fn the_host_is_found_among_sshs_arguments() {
        for (arguments, host) in [
            ("h", "h"),
            ("-v h ls -l", "h"),
            ("-p 22 alice@i-1 id", "alice@i-1"),
            ("-p22 h", "h"),
            ("-vvp 22 h", "h"),
            ("-o User=x -J a,b -i f h", "h"),
            ("-- h", "h"),
            ("ssh://alice@h", "alice@h"),
        ] {
            assert_eq!(destination(&words(arguments)), Some(host), "{arguments}");
        }
        assert_eq!(destination(&words("-v")), None);
        assert_eq!(destination(&[]), None);
    }

    #[test]
    fn nothing_of_a_hostile_name_gets_into_ssh_config() {
        let place = Place::of(&HowToProve::default(), None, &AwsOptions::default()).unwrap();
        let made = |pattern: &str, profile: &str| {
            let aws = AwsOptions {
                profile: Some(profile.to_owned()),
                ..AwsOptions::default()
            };
            ssh_config(pattern, &place, &LoginOptions::default(), &aws)
        };
        let text = made("*.example.com,!bastion", "dev").unwrap();
        assert!(
            text.starts_with(
                "Match host \"*.example.com,!bastion\" exec \"keymaker login --if-needed --profile dev\"\n"
            )
        );
        assert!(!text.contains('%'));
        for bad in [
            "", "a b", "a\"b", "a\nb", "$(id)", "`id`", "%h", "a;b", "-x", "a'b", "a\\b",
        ] {
            assert!(made(bad, "dev").is_err() && made("*", bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn what_a_token_says_of_itself_is_read_and_what_no_ssh_keygen_should_see_is_not() {
        let token = |claims: &str| {
            use base64ct::{Base64UrlUnpadded, Encoding};
            format!("x.{}.x", Base64UrlUnpadded::encode_string(claims.as_bytes()))
        };
        let told = Told::by(&token(r#"{"jti":"a-1","iat":1800000000,"exp":1800000300}"#)).unwrap();
        assert_eq!(
            (told.token_id.as_str(), told.issued_at, told.ends_at),
            ("a-1", 1_800_000_000, 1_800_000_300)
        );
        for bad in [
            r#"{"jti":"-O x","iat":1,"exp":2}"#,
            r#"{"jti":"","iat":1,"exp":2}"#,
            r#"{"iat":1,"exp":2}"#,
            "[]",
        ] {
            assert_eq!(Told::by(&token(bad)), None, "{bad}");
        }
        assert_eq!(calendar(1_800_000_000), "20270115080000");
    }
}
