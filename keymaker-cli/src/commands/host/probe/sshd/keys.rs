//! Whether sshd would find a key of a user's: where it looks is looked at, and what it runs is run, as sshd does at
//! anybody's try to log in.

use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};

use keymaker_core::directory_file::User;
use keymaker_core::keys_file::PublishedKey;
use keymaker_core::proof::PRINCIPAL;
use keymaker_core::sys;
use ssh_key::PublicKey;

use super::super::{limited, output_of, run};
use super::{SshdSettings, pattern};
use crate::public_key;

/// What keeps a key from opening a login.
#[derive(Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// Something that does not change by itself.
    Refused(String),
    /// Something that cannot be judged from here.
    Unclear(String),
}

/// Whether sshd would accept a login by this key alone.
pub fn accepts(settings: &SshdSettings, user: &User<'_>, key: &PublishedKey) -> Result<(), Obstacle> {
    let refused = |why: String| Err(Obstacle::Refused(why));
    let kind = key.line.split(' ').next().unwrap_or_default();
    let list = ACCEPTED.iter().find_map(|keyword| settings.get(keyword)).unwrap_or("*");
    let accepts = |algorithm: &str| pattern::list_names(list, algorithm);
    // A client may begin with the one and not go on to the other, and OpenSSH's begins with 512 and does not go on.
    let by_some_clients = kind == "ssh-rsa" && !accepts("rsa-sha2-512") && (accepts("rsa-sha2-256") || accepts(kind));
    if by_some_clients {
        return Err(Obstacle::Unclear(format!(
            "PubkeyAcceptedAlgorithms is {list}, by which not every client signs"
        )));
    }
    if !accepts(if kind == "ssh-rsa" { "rsa-sha2-512" } else { kind }) {
        return refused(format!(
            "PubkeyAcceptedAlgorithms is {list}, with nothing for a key of type {kind}"
        ));
    }
    let least = settings.get("requiredrsasize").and_then(|least| least.parse().ok());
    let bits = PublicKey::from_openssh(&key.line)
        .ok()
        .and_then(|key| public_key::rsa_bits(&key));
    if let (Some(bits), Some(least)) = (bits, least)
        && bits < least
    {
        return refused(format!("requiredrsasize is {least}, and the key has {bits} bits"));
    }
    let by_command = command_shows(settings, user, key);
    if by_command.is_ok() {
        return Ok(());
    }
    match files(settings, user)
        .into_iter()
        .find(|file| shows(&text_of(file), key).is_some())
    {
        Some(file) => Err(Obstacle::Unclear(format!(
            "it stands in {}, which sshd may not trust",
            file.display()
        ))),
        None => by_command,
    }
}

/// The second name is that before OpenSSH 8.5.
const ACCEPTED: [&str; 2] = ["pubkeyacceptedalgorithms", "pubkeyacceptedkeytypes"];

/// Whether sshd takes certificates of this type that a key of the plain type has signed; else the setting that does not name them, and
/// what it says.
pub fn takes_certificates(
    settings: &SshdSettings,
    certificate: &str,
    plain: &str,
) -> Result<(), (&'static str, String)> {
    let wanted = ACCEPTED.map(|keyword| (keyword, certificate));
    for (keyword, algorithm) in wanted.into_iter().chain([("casignaturealgorithms", plain)]) {
        if let Some(list) = settings
            .get(keyword)
            .filter(|list| !pattern::list_names(list, algorithm))
        {
            return Err((keyword, list.to_owned()));
        }
    }
    Ok(())
}

/// Whether sshd would accept a login by this certificate, whose plain key is the other line: it is asked for as a key is, and what is
/// shown is its key as its own authority.
pub fn accepts_certificate(
    settings: &SshdSettings,
    user: &User<'_>,
    certificate: &PublishedKey,
    plain: &str,
) -> Result<(), Obstacle> {
    let kind = |line: &str| line.split(' ').next().unwrap_or_default().to_owned();
    takes_certificates(settings, &kind(&certificate.line), &kind(plain))
        .map_err(|(keyword, list)| Obstacle::Refused(format!("{keyword} is {list}, which does not name it")))?;
    let said = command_says(settings, user, certificate)?;
    let authority = format!("cert-authority,principals=\"{PRINCIPAL}\" {plain}");
    if said.lines().any(|line| line == authority) {
        return Ok(());
    }
    let command = settings.get("authorizedkeyscommand").unwrap_or_default();
    Err(Obstacle::Refused(format!(
        "{command} does not give its key as an authority (journalctl -t keymaker-keys says why)"
    )))
}

/// Runs the `AuthorizedKeysCommand`, and looks for the key in what it says.
fn command_shows(settings: &SshdSettings, user: &User<'_>, key: &PublishedKey) -> Result<(), Obstacle> {
    let said = command_says(settings, user, key)?;
    let command = settings.get("authorizedkeyscommand").unwrap_or_default();
    let program = command.split_whitespace().next().unwrap_or_default();
    match shows(&said, key) {
        Some("") => Ok(()),
        Some(options) => Err(Obstacle::Unclear(format!("{program} gives it with options: {options}"))),
        None => {
            let runs_as = settings.get("authorizedkeyscommanduser").unwrap_or("none");
            Err(Obstacle::Refused(format!(
                "{program}, which sshd asks as {runs_as}, does not give it"
            )))
        }
    }
}

/// What the `AuthorizedKeysCommand` says where this key is offered.
fn command_says(settings: &SshdSettings, user: &User<'_>, key: &PublishedKey) -> Result<String, Obstacle> {
    let command = settings.get("authorizedkeyscommand").unwrap_or("none");
    let refused = |why: String| Err(Obstacle::Refused(why));
    if command == "none" {
        return refused("sshd asks no AuthorizedKeysCommand".to_owned());
    }
    let runs_as = settings.get("authorizedkeyscommanduser").unwrap_or("none");
    let Ok(Some(account)) = sys::resolve_user(runs_as) else {
        return refused(format!(
            "AuthorizedKeysCommandUser {runs_as} is no account of this host"
        ));
    };
    if command.contains(['"', '\'', '\\']) {
        return Err(Obstacle::Unclear(format!("what {command} says is not looked at")));
    }
    let words: Vec<String> = command
        .split_whitespace()
        .map(|word| expanded(word, user, key))
        .collect();
    let Some((program, arguments)) = words.split_first() else {
        return refused("AuthorizedKeysCommand is empty".to_owned());
    };
    match writable(Path::new(program)) {
        None => {}
        Some((part, Writable::ByAll)) => {
            return refused(format!("sshd does not run {program}: others may change {part}"));
        }
        // Debian's sshd lets a group be that is its owner's alone.
        Some((part, Writable::ByGroup)) => {
            let why = format!("sshd may not run {program}: a group may change {part}");
            return Err(Obstacle::Unclear(why));
        }
    }
    let mut asked = limited(program);
    let said = output_of(program, asked.args(arguments).uid(account.uid).gid(account.gid));
    said.map_err(|why| Obstacle::Refused(format!("{program}, which sshd asks as {runs_as}, fails: {why}")))
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Writable {
    ByGroup,
    ByAll,
}

/// sshd runs nothing that somebody else than root could have changed: the part of the path that is most others'.
fn writable(program: &Path) -> Option<(String, Writable)> {
    const BY_GROUP: u32 = 0o020;
    const BY_ALL: u32 = 0o002;
    let parts = program.ancestors().filter_map(|part| {
        let found = std::fs::metadata(part);
        let (owner, mode) = found.map_or((0, 0), |found| (found.uid(), found.mode()));
        let by = match (owner == 0, mode & BY_ALL, mode & BY_GROUP) {
            (true, 0, 0) => return None,
            (true, 0, _) => Writable::ByGroup,
            _ => Writable::ByAll,
        };
        Some((by, part.display().to_string()))
    });
    parts.max().map(|(by, part)| (part, by))
}

/// The files of `AuthorizedKeysFile` that are there.
fn files(settings: &SshdSettings, user: &User<'_>) -> Vec<PathBuf> {
    let names = settings.get("authorizedkeysfile").unwrap_or("none").split_whitespace();
    let tokens = |name: &str| name.replace("%h", user.home).replace("%u", user.name.as_str());
    names
        .filter(|name| *name != "none")
        .map(|name| Path::new(user.home).join(tokens(name).replace("%U", &user.uid.to_string())))
        .filter(|file| file.is_file())
        .collect()
}

/// Of a file that its owner may have swapped for one that never ends.
fn text_of(file: &Path) -> String {
    run("cat", &["--", &file.to_string_lossy()]).unwrap_or_default()
}

/// The options before the key, where one of the lines has it.
fn shows<'a>(text: &'a str, key: &PublishedKey) -> Option<&'a str> {
    let mut lines = text.lines().map(str::trim).filter(|line| !line.starts_with('#'));
    lines.find_map(|line| Some(line.split_once(key.line.as_str())?.0.trim()))
}

/// The tokens of an `AuthorizedKeysCommand` (`sshd_config(5)`, "TOKENS").
fn expanded(word: &str, user: &User<'_>, key: &PublishedKey) -> String {
    let (kind, base64) = key.line.split_once(' ').unwrap_or_default();
    let mut expanded = String::new();
    let mut letters = word.chars();
    while let Some(letter) = letters.next() {
        match (letter, (letter == '%').then(|| letters.next()).flatten()) {
            ('%', Some('u')) => expanded += user.name.as_str(),
            ('%', Some('U')) => expanded += &user.uid.to_string(),
            ('%', Some('h')) => expanded += user.home,
            ('%', Some('f')) => expanded += &key.fingerprint,
            ('%', Some('t')) => expanded += kind,
            ('%', Some('k')) => expanded += base64,
            ('%', Some(other)) => expanded.push(other),
            (letter, _) => expanded.push(letter),
        }
    }
    expanded
}
