//! `keymaker why USER`: each gate between a name and a shell, and between a user and credentials, with its evidence.
//! The first closed gate is the answer.
//!
//! Here are the walk and the gates up to the directory; `gates` has those of a user who is in it, `proof` those of
//! a certificate, `at_sshd` and `at_pam` theirs, `credentials` those of credd.

mod at_pam;
mod at_sshd;
mod credentials;
mod gates;
mod proof;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::Path;

use keymaker_core::client::{AskError, ask};
use keymaker_core::directory_file::{Directory, MAX_USER_RECORD, Verdict};
use keymaker_core::keys_file::PublishedKey;
use keymaker_core::name::{NameError, UserName};
use keymaker_core::protocol::{ACCOUNT_BUDGET, Answer, LOOKUP_BUDGET, MAX_ANSWER, Question};
use keymaker_core::{paths, reserved_names};
use serde_json::{Value, json};

use self::proof::ProvenCertificate;
use super::get::group_names;
use super::probe::list_setting_has;
use super::published::{NameTyped, meant_by};
use super::{HostError, probe, remedy as remedies};
use crate::output::{Output, Paint};

/// What the user offers sshd.
enum LoginOffer<'a> {
    /// one of their keys in IAM
    Keys(Vec<PublishedKey>),
    /// a certificate
    Proof(&'a ProvenCertificate),
}

/// What a gate says.
#[derive(Debug)]
enum GateState {
    /// The user passes; the evidence.
    Open(String),
    /// The user does not pass; why, and what to do.
    Closed(String, String),
    /// It cannot be told by the caller.
    Untold(String),
}

struct Gate {
    name: &'static str,
    state: GateState,
}

/// The gates passed so far; `Err` once one is closed.
struct Walk {
    gates: Vec<Gate>,
}

struct Shut;

impl Walk {
    /// The first closed gate, which is the last: why, and what to do.
    fn answer(&self) -> Option<(&str, &str)> {
        match &self.gates.last()?.state {
            GateState::Closed(why, remedy) => Some((why, remedy)),
            _ => None,
        }
    }

    /// Whether nobody could look at some gate.
    fn untold_somewhere(&self) -> bool {
        self.gates.iter().any(|gate| matches!(gate.state, GateState::Untold(_)))
    }

    fn open(&mut self, name: &'static str, evidence: impl Into<String>) {
        let state = GateState::Open(evidence.into());
        self.gates.push(Gate { name, state });
    }

    fn untold(&mut self, name: &'static str, why: impl Into<String>) {
        let state = GateState::Untold(why.into());
        self.gates.push(Gate { name, state });
    }

    fn closed<T>(&mut self, name: &'static str, why: impl Into<String>, remedy: impl Into<String>) -> Result<T, Shut> {
        let state = GateState::Closed(why.into(), remedies::for_this_host(&remedy.into()));
        self.gates.push(Gate { name, state });
        Err(Shut)
    }
}

/// Prints the gates, for a login from this address and by this certificate where they are given; returns whether the user may log in.
pub fn run(user: &str, from: Option<IpAddr>, proof: Option<&Path>, output: &Output) -> Result<bool, HostError> {
    // As sshd has it, whose socket takes both kinds.
    let from = from.map(|address| address.to_canonical());
    let mut to_shell = Walk { gates: Vec::new() };
    let passed = walk_all(&mut to_shell, user, from, proof).is_ok();
    let mut to_credentials = Walk { gates: Vec::new() };
    let is_local = probe::local_line(paths::PASSWD, user).is_some();
    let sudo = passed.then(|| sudo(user)).flatten();
    let credentials = (passed || is_local).then(|| credentials::walk(&mut to_credentials, user).is_ok());
    let mut text = String::new();
    for gate in to_shell.gates.iter().chain(&to_credentials.gates) {
        let (paint, word, said) = match &gate.state {
            GateState::Open(evidence) => (Paint::Good, "open  ", evidence),
            GateState::Closed(why, _) => (Paint::Bad, "CLOSED", why),
            GateState::Untold(why) => (Paint::Doubtful, "?     ", why),
        };
        text += &format!("{} {:<11} {said}\n", output.paint(paint, word), gate.name);
    }
    // What is not a name may be anything: lines of its own, or what a terminal obeys.
    let shown = match UserName::parse(user.as_bytes()) {
        Ok(name) => name.to_string(),
        Err(_) => format!("{user:?}"),
    };
    text += &match to_shell.answer() {
        Some((_, remedy)) if is_local => format!(
            "{shown} is a local account, so IAM has no say in whether it logs in.\nIf you mean an IAM user of this name: {remedy}"
        ),
        Some((why, remedy)) => format!("{shown} may not log in here: {why}\nWhat to do: {remedy}"),
        None if to_shell.untold_somewhere() => format!("{shown} may log in here, as far as can be told."),
        None => format!("{shown} may log in here."),
    };
    if let Some((why, remedy)) = to_credentials.answer() {
        text += &format!("\n{shown} gets no AWS credentials here: {why}\nWhat to do: {remedy}");
    }
    if let Some((_, sentence)) = &sudo {
        text += &format!("\nsudo: {sentence}.");
    }
    let value = json!({
        "user": user,
        "from": from.map(|address| address.to_string()),
        // null: it cannot be told, or a local account, of which IAM and Keymaker know nothing.
        "may_log_in": (!is_local && (!passed || !to_shell.untold_somewhere())).then_some(passed),
        // null: it cannot be told, or nobody came so far.
        "becomes_root": sudo.as_ref().and_then(|(becomes_root, _)| *becomes_root),
        "sudo": sudo.as_ref().map(|(_, sentence)| sentence),
        "gates": to_shell.gates.iter().map(gate_value).collect::<Vec<_>>(),
        // null: it cannot be told, or nobody came so far.
        "gets_credentials": credentials.filter(|passed| !passed || !to_credentials.untold_somewhere()),
        "credential_gates": to_credentials.gates.iter().map(gate_value).collect::<Vec<_>>(),
    });
    output.print(&text, &value);
    Ok(passed)
}

/// What sudo does for a user from IAM.
fn sudo(user: &str) -> Option<(Option<bool>, String)> {
    let name = UserName::parse(user.as_bytes()).ok()?;
    let directory = Directory::open(Path::new(paths::DIRECTORY)).ok()?;
    let groups = group_names(&directory, name).ok()?;
    Some(probe::sudo::for_user(user, &groups))
}

fn gate_value(gate: &Gate) -> Value {
    let (state, said, remedy) = match &gate.state {
        GateState::Open(evidence) => ("open", evidence, None),
        GateState::Closed(why, remedy) => ("closed", why, Some(remedy)),
        GateState::Untold(why) => ("unknown", why, None),
    };
    json!({ "gate": gate.name, "state": state, "evidence": said, "remedy": remedy })
}

fn walk_all(walk: &mut Walk, text: &str, from: Option<IpAddr>, proof: Option<&Path>) -> Result<(), Shut> {
    let name = legal_name(walk, text)?;
    let proven = proof.map(|file| proof::proves(walk, file)).transpose()?;
    let directory = match Directory::open(Path::new(paths::DIRECTORY)) {
        Ok(directory) => directory,
        Err(error) => {
            return walk.closed("directory", format!("{}: {error}", paths::DIRECTORY), "keymaker doctor");
        }
    };
    // The nudge may have it written again.
    let (asked, files_stand) = nudge(name);
    let directory = Directory::open(Path::new(paths::DIRECTORY)).unwrap_or(directory);
    let mut buffer = [0; MAX_USER_RECORD];
    let user = directory.user_by_name(name, &mut buffer).ok().flatten();
    // Who had an entry once, and is refused one now, is told why below.
    let Some(user) = user.filter(|user| user.verdict != Verdict::NoEntry) else {
        return not_in_directory(walk, name, asked);
    };
    let header = directory.header();
    walk.open(
        "directory",
        format!(
            "IAM user {} ({}) of account {}, in generation {}, read by grade {}{}",
            user.iam_user_name,
            user.iam_user_id,
            header.account,
            directory.generation(),
            status().get("grade").unwrap_or(&Value::Null),
            if user.seen_here {
                ", kept fresh since a login asked for the keys"
            } else {
                ""
            }
        ),
    );
    if !files_stand {
        let why = "this host cannot ask IAM, or cannot write down what IAM said, so no login may rely on what was \
            published before";
        return walk.closed("freshness", why, "keymaker doctor");
    }
    if let Some(proven) = &proven {
        proof::is_of(walk, &user, &proven.proof)?;
    }
    gates::decision(walk, &directory, &user)?;
    gates::resolves(walk, name, &user)?;
    gates::groups(walk, &directory, &user)?;
    let offered = match &proven {
        Some(proven) => LoginOffer::Proof(proven),
        None => LoginOffer::Keys(gates::keys(walk, &directory, &user)?),
    };
    let by_pushed_key = list_setting_has(paths::KEYMAKERD_TOML, "login_by", "instance-connect");
    if matches!(&offered, LoginOffer::Keys(keys) if keys.is_empty()) && user.proofs_from.is_some() && !by_pushed_key {
        proof::has_an_issuer(walk)?;
    }
    let settings = at_sshd::lets(walk, &user, &offered, from)?;
    at_pam::lets(walk, &user, settings.as_ref(), from)?;
    gates::home(walk, &user);
    gates::shell(walk, &user)?;
    Ok(())
}

fn legal_name(walk: &mut Walk, text: &str) -> Result<UserName, Shut> {
    let name = match UserName::parse(text.as_bytes()) {
        Ok(name) => name,
        Err(why) => return not_a_name(walk, text, why),
    };
    for (file, what) in [(paths::PASSWD, "account"), (paths::GROUP, "group")] {
        if let Some(line) = probe::local_line(file, text) {
            let why =
                format!("{text} is a local {what} ({file}: {line}), and local {what}s win: IAM opens nothing for it");
            return walk.closed("name", why, "rename the user in IAM");
        }
    }
    if reserved_names::is_reserved(text) {
        return walk.closed(
            "name",
            format!("{text} is reserved for the system"),
            "rename the user in IAM",
        );
    }
    walk.open("name", "a legal name that no local account has");
    Ok(name)
}

/// What is no Unix name may be a name in IAM.
fn not_a_name<T>(walk: &mut Walk, text: &str, why: NameError) -> Result<T, Shut> {
    // A second name of one uid would have a home and rules of its own, so there is none (and a Mac sends its own name as
    // it is).
    let meant = meant_by(&BTreeSet::from([text])).unwrap_or_default();
    if let Some(NameTyped { name, .. }) = meant.first() {
        let why = format!("{text:?} is no name of this host: the name here is {name}");
        let remedy =
            format!("ssh {name}@…, or the line \"User {name}\" in ~/.ssh/config; keymaker why {name}  # says more");
        return walk.closed("name", why, remedy);
    }
    let refused = refused_user(|iam_name| iam_name == text);
    let (why, remedy) = refused.unwrap_or_else(|| (format!("{text:?}: {why}"), "rename the user in IAM".to_owned()));
    walk.closed("name", why, remedy)
}

/// Why this host refuses an entry to the first user of such a name in IAM, and what to do.
fn refused_user(is_meant: impl Fn(&str) -> bool) -> Option<(String, String)> {
    let status = status();
    let entries = status.get("refused_entries")?.as_array()?;
    let word = |entry: &Value, key: &str| entry.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let mut entries = entries.iter();
    let entry = entries.find(|entry| word(entry, "kind") == "user" && is_meant(&word(entry, "iam_name")))?;
    Some((word(entry, "why"), word(entry, "remedy")))
}

/// The IAM user of such a name whom this host takes for a program.
fn program(is_meant: impl Fn(&str) -> bool) -> Option<String> {
    let status = status();
    let names = status.get("not_people")?.as_array()?;
    let mut names = names.iter().filter_map(Value::as_str);
    names.find(|iam_name| is_meant(iam_name)).map(str::to_owned)
}

/// Why a name that IAM was asked about is not among the published.
enum Unpublished {
    NotInIam,
    LeftOut,
}

/// Asks as a login would, as far as the caller may: what is to be said of a name that is not published, and whether a
/// login goes by what is.
fn nudge(name: UserName) -> (Result<Unpublished, String>, bool) {
    let mut buffer = [0; MAX_ANSWER];
    let answer = if probe::is_root() {
        ask(
            Path::new(paths::LOGIN_SOCKET),
            &Question::Keys(name),
            ACCOUNT_BUDGET,
            &mut buffer,
        )
    } else {
        ask(
            Path::new(paths::LOOKUP_SOCKET),
            &Question::Lookup(name),
            LOOKUP_BUDGET,
            &mut buffer,
        )
    };
    let files_stand = !matches!(answer, Ok(Answer::NotPublished) | Err(AskError::ThisHost(_)));
    let said = match answer {
        Ok(Answer::NoSuchUser) => Ok(Unpublished::NotInIam),
        Ok(Answer::CannotTell) => Err("keymakerd cannot verify whether IAM has the user".to_owned()),
        Ok(Answer::Fresh) => Ok(Unpublished::LeftOut),
        Ok(_) => Err("keymakerd does not publish the user".to_owned()),
        Err(error) => Err(format!("keymakerd does not answer: {error}")),
    };
    (said, files_stand)
}

/// Refused an entry, unknown to IAM, or nobody can tell.
fn not_in_directory<T>(walk: &mut Walk, name: UserName, asked: Result<Unpublished, String>) -> Result<T, Shut> {
    // The suffix of a name in IAM is not known here; it does not begin with a character of a Unix name in practice.
    let meant = |iam_name: &str| {
        let base = iam_name.split('@').next();
        base.is_some_and(|base| base.eq_ignore_ascii_case(name.as_str()))
    };
    if let Some((why, remedy)) = refused_user(meant) {
        let why = format!("IAM has the user, and this host refuses it an entry: {why}");
        return walk.closed("directory", why, remedy.replace("NAME", name.as_str()));
    }
    if let Some(iam_name) = program(meant) {
        let why = format!(
            "IAM has {iam_name}, who has no entry here, since nothing says that this is a person: no SSH key, no tag of ours, no group of ours"
        );
        let remedy = format!(
            "put the IAM user into a group of ours, or keymaker upload-key FILE --user {iam_name}; publish = \"all\" in {} publishes everybody",
            paths::KEYMAKERD_TOML
        );
        return walk.closed("directory", why, remedy);
    }
    match asked {
        Ok(Unpublished::NotInIam) => walk.closed(
            "directory",
            "not among the published users; IAM says that there is no such user",
            "create the user in IAM, or see 'keymaker status' for the account and the settings that decide who is published",
        ),
        Ok(Unpublished::LeftOut) => walk.closed(
            "directory",
            "not among the published users; keymakerd does not publish the user, whom IAM has",
            format!(
                "change the user's path or groups in IAM, or user_path_prefix and only_group_members in {}, whichever leaves them out",
                paths::KEYMAKERD_TOML
            ),
        ),
        Err(why) => walk.closed("directory", format!("not among the published users; {why}"), "keymaker doctor"),
    }
}

/// What keymakerd says of itself; nothing where it has not run.
fn status() -> Value {
    let text = std::fs::read_to_string(paths::STATUS).unwrap_or_default();
    serde_json::from_str(&text).unwrap_or_default()
}
