//! The gate at sshd: whether it runs, takes this user at all, and takes one of their keys alone. Called by
//! [`super::run`] for a user who has keys; only root is told.

use std::net::IpAddr;

use keymaker_core::directory_file::User;
use keymaker_core::keys_file::PublishedKey;
use keymaker_core::paths;
use keymaker_core::proof::CERTIFICATE_TYPES;

use super::super::doctor::proofs::LEAST_SSHD;
use super::super::probe::sshd::admission::{Admission, AdmissionRule, admits_user};
use super::super::probe::sshd::configuration::{self, ConfigLine, LooksAt};
use super::super::probe::sshd::keys::{Obstacle, accepts, accepts_certificate, takes_certificates};
use super::super::probe::sshd::{self, SshdSettings, Started};
use super::super::probe::{self, list_setting_has};
use super::super::remedy;
use super::proof::ProvenCertificate;
use super::{LoginOffer, Shut, Walk};

const GATE: &str = "sshd";

/// Walks it. Returns sshd's settings for the user, where they can be told.
pub(super) fn lets(
    walk: &mut Walk,
    user: &User<'_>,
    offered: &LoginOffer<'_>,
    from: Option<IpAddr>,
) -> Result<Option<SshdSettings>, Shut> {
    if !probe::is_root() {
        walk.untold(GATE, "only root can ask sshd for its settings");
        return Ok(None);
    }
    let started = match sshd::started() {
        Ok(started) => started,
        Err(why) => {
            walk.untold(GATE, why);
            return Ok(None);
        }
    };
    let (options, already_runs) = match &started {
        Started::Listening(options) => (options, true),
        Started::AtAConnection(options) => (options, false),
        Started::Not => return walk.closed(GATE, "no sshd listens on this host", "systemctl enable --now ssh"),
    };
    let settings = match sshd::effective(user.name.as_str(), from, options) {
        Ok(settings) => settings,
        Err(why) if already_runs => {
            let why = format!("sshd goes by what it read before, and does not accept its configuration of now: {why}");
            walk.untold(GATE, why);
            return Ok(None);
        }
        Err(why) => {
            let why = format!("sshd does not accept its configuration: {why}");
            return walk.closed(GATE, why, "sshd -t  # names the line to correct");
        }
    };
    let configuration = configuration::of(options);
    // sshd was asked by what lies on the disk now, and about this host where no address is given.
    let mut doubts = Vec::from_iter(by_connection(&configuration.lines, from.is_some()));
    if from.is_some() && settings.get("usedns") == Some("yes") {
        doubts.push("sshd has usedns yes: it may go by a name of that address, and that is not looked up".to_owned());
    }
    if already_runs && configuration.changed > sshd::read_at().or(configuration.changed) {
        let reload = remedy::for_this_host("sshd -t && systemctl reload ssh");
        doubts.push(format!(
            "sshd's configuration was changed since sshd read it ({reload} has it read)"
        ));
    }
    match judge(&settings, user, offered, &configuration.lines, from) {
        Err(refused) if doubts.is_empty() => return walk.closed(GATE, refused.why, refused.remedy),
        Err(refused) => doubts.push(format!("else: {}", refused.why)),
        Ok(others) => doubts.extend(others),
    }
    if doubts.is_empty() {
        walk.open(GATE, "takes the user, and one of the keys is enough");
    } else {
        walk.untold(GATE, doubts.join("; "));
    }
    Ok(Some(settings))
}

/// Why sshd lets a user in by no key, and what to do.
struct SshdRefuses {
    why: String,
    remedy: String,
}

fn refuse<T>(why: impl Into<String>, remedy: impl Into<String>) -> Result<T, SshdRefuses> {
    Err(SshdRefuses {
        why: why.into(),
        remedy: remedy.into(),
    })
}

/// By settings that hold for the login. Returns what is left in doubt.
fn judge(
    settings: &SshdSettings,
    user: &User<'_>,
    offered: &LoginOffer<'_>,
    lines: &[ConfigLine],
    from: Option<IpAddr>,
) -> Result<Vec<String>, SshdRefuses> {
    let mut doubts = Vec::from_iter(takes_the_user(settings, user, lines, from)?);
    doubts.extend(takes_a_key(settings, user, offered)?);
    doubts.extend(in_place_of_a_shell(settings));
    Ok(doubts)
}

/// `AllowUsers` and its like.
fn takes_the_user(
    settings: &SshdSettings,
    user: &User<'_>,
    lines: &[ConfigLine],
    from: Option<IpAddr>,
) -> Result<Option<String>, SshdRefuses> {
    let name = user.name.as_str();
    match admits_user(settings, name, from) {
        Ok(Admission::LetsIn) => Ok(None),
        Ok(Admission::ShutsOut(rule)) => {
            let (why, remedy) = rule.said(lines, &[name.to_owned()]);
            refuse(why, remedy)
        }
        Ok(Admission::DependsOnAddress(rule)) => {
            let AdmissionRule { keyword, pattern } = &rule;
            Ok(Some(format!(
                "{keyword} {pattern} stands in {}, so it depends on where the login comes from ({SAY})",
                rule.place(lines)
            )))
        }
        Err(why) => Ok(Some(format!(
            "the groups of {name}, by which sshd may decide, are not known: {why}"
        ))),
    }
}

/// Whether one of the keys opens a login, and by itself.
fn takes_a_key(settings: &SshdSettings, user: &User<'_>, offered: &LoginOffer<'_>) -> Result<Vec<String>, SshdRefuses> {
    let is_off = |keyword: &str| settings.get(keyword).is_none_or(|value| value == "no");
    if is_off("pubkeyauthentication") {
        return refuse(
            "for this user sshd has pubkeyauthentication no, not yes",
            "keymaker doctor",
        );
    }
    let mut doubts = Vec::new();
    let methods = settings.get("authenticationmethods").unwrap_or("any");
    // sshd passes over a list with a method that is turned off.
    let lists: Vec<Vec<&str>> = methods
        .split_whitespace()
        .map(|list| {
            list.split(',')
                .map(|method| method.split(':').next().unwrap_or_default())
                .collect()
        })
        .filter(|list: &Vec<&str>| {
            list.iter().all(|method| match *method {
                "password" => !is_off("passwordauthentication"),
                // The second name is that before OpenSSH 8.7.
                "keyboard-interactive" => {
                    !is_off("kbdinteractiveauthentication") || !is_off("challengeresponseauthentication")
                }
                "hostbased" => !is_off("hostbasedauthentication"),
                "gssapi-with-mic" => !is_off("gssapiauthentication"),
                _ => true,
            })
        })
        .collect();
    if !lists
        .iter()
        .any(|list| list.contains(&"publickey") || list.contains(&"any"))
    {
        let why = format!("for this user sshd has authenticationmethods {methods}, which no key begins");
        return refuse(why, "keymaker doctor");
    }
    if !lists
        .iter()
        .any(|list| matches!(list.as_slice(), ["publickey" | "any"]))
    {
        doubts.push(format!("sshd wants more than a key: authenticationmethods {methods}"));
    }
    let keys = match offered {
        LoginOffer::Proof(proven) => return takes_the_certificate(settings, user, proven, doubts),
        LoginOffer::Keys(keys) if keys.is_empty() => {
            let name = user.name;
            if list_setting_has(paths::KEYMAKERD_TOML, "login_by", "instance-connect") {
                doubts.push("whether EC2 Instance Connect pushes a key is known to AWS alone".to_owned());
            } else {
                gives_certificates(settings)?;
            }
            if user.proofs_from.is_some() {
                doubts.push(format!(
                    "whether sshd takes a proof is said by: keymaker why {name} --proof FILE"
                ));
            }
            return Ok(doubts);
        }
        LoginOffer::Keys(keys) => keys,
    };
    let mut obstacles = Vec::new();
    for key in keys {
        match accepts(settings, user, key) {
            Ok(()) => return Ok(doubts),
            Err(obstacle) => obstacles.push((key, obstacle)),
        }
    }
    let unclear = obstacles.iter().find_map(|(key, obstacle)| match obstacle {
        Obstacle::Unclear(why) => Some(format!("whether sshd accepts {}: {why}", key.id)),
        Obstacle::Refused(_) => None,
    });
    if unclear.is_some() {
        doubts.extend(unclear);
        return Ok(doubts);
    }
    let said = obstacles.iter().map(|(key, obstacle)| match obstacle {
        Obstacle::Unclear(why) | Obstacle::Refused(why) => format!("{}: {why}", key.id),
    });
    let why = format!("sshd accepts none of the keys: {}", said.collect::<Vec<_>>().join(", "));
    refuse(why, "keymaker doctor")
}

/// Whether sshd can take any certificate of `keymaker login`: of a user who has no key, and of whom none is given.
fn gives_certificates(settings: &SshdSettings) -> Result<(), SshdRefuses> {
    if let Some((major, minor)) = sshd::version().filter(|version| *version < LEAST_SSHD) {
        let why = format!("sshd is OpenSSH {major}.{minor}, and logins by proof need 8.1");
        return refuse(why, "keymaker doctor");
    }
    let command = settings.get("authorizedkeyscommand").unwrap_or_default();
    if !command.ends_with(" %t %k") {
        let why = format!(
            "sshd does not give the keys command the certificate, by which alone the user logs in: authorizedkeyscommand {command}"
        );
        return refuse(why, remedy::NEW_DROP_IN);
    }
    if !CERTIFICATE_TYPES
        .iter()
        .any(|(certificate, plain)| takes_certificates(settings, certificate, plain).is_ok())
    {
        return refuse(
            "sshd takes no certificate of the two types that keymaker login makes",
            "keymaker doctor",
        );
    }
    Ok(())
}

/// Asks the keys command as a login by this certificate does.
fn takes_the_certificate(
    settings: &SshdSettings,
    user: &User<'_>,
    proven: &ProvenCertificate,
    mut doubts: Vec<String>,
) -> Result<Vec<String>, SshdRefuses> {
    let certificate = PublishedKey {
        id: "the certificate".to_owned(),
        line: format!("{} {}", proven.key_type, proven.base64),
        fingerprint: proven.proof.fingerprint.clone(),
    };
    match accepts_certificate(settings, user, &certificate, &proven.proof.key) {
        Ok(()) => Ok(doubts),
        Err(Obstacle::Unclear(why)) => {
            doubts.push(format!("whether sshd accepts the certificate: {why}"));
            Ok(doubts)
        }
        Err(Obstacle::Refused(why)) => refuse(
            format!("sshd does not accept the certificate: {why}"),
            "keymaker doctor",
        ),
    }
}

/// What sshd does with a user whose key it has accepted.
fn in_place_of_a_shell(settings: &SshdSettings) -> Vec<String> {
    let said = |keyword: &str, why: &str| {
        let value = settings.get(keyword).filter(|value| *value != "none")?;
        Some(format!("sshd has {keyword} {value}: {why}"))
    };
    let all = [
        said("forcecommand", "that runs in place of what the user asks for"),
        said("chrootdirectory", "the user sees nothing but that folder"),
        said("revokedkeys", "whether the user's keys are in it is not looked at"),
    ];
    all.into_iter().flatten().collect()
}

/// Settings that hang on where a login comes from, where nobody has said that, or to which address of this host.
fn by_connection(lines: &[ConfigLine], is_client_known: bool) -> Option<String> {
    let known = if is_client_known {
        LooksAt::Client
    } else {
        LooksAt::Nothing
    };
    let decides = |line: &&ConfigLine| line.looks_at > known && DECIDING.contains(&line.keyword.as_str());
    let line = lines.iter().find(decides)?;
    let (number, file, keyword) = (line.number, line.file.display(), &line.keyword);
    let said = format!("line {number} of {file} sets {keyword} only for some connections, so it depends on");
    Some(match line.looks_at {
        LooksAt::Connection => format!("{said} which way the login takes"),
        LooksAt::Client | LooksAt::Nothing => format!("{said} where the login comes from ({SAY})"),
    })
}

const SAY: &str = "keymaker why --from ADDRESS says more";

/// The keywords that decide about a login by key or certificate.
const DECIDING: [&str; 16] = [
    "allowusers",
    "denyusers",
    "allowgroups",
    "denygroups",
    "pubkeyauthentication",
    "authenticationmethods",
    "authorizedkeyscommand",
    "authorizedkeyscommanduser",
    "authorizedkeysfile",
    "pubkeyacceptedalgorithms",
    "pubkeyacceptedkeytypes",
    "casignaturealgorithms",
    "requiredrsasize",
    "revokedkeys",
    "forcecommand",
    "chrootdirectory",
];
