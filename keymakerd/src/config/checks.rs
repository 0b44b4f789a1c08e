//! What must hold between the values of keymakerd.toml and within each. Called by [`super::KeymakerdConfig::parse`]
//! only.

use keymaker_aws::{IdResolver, is_issuer};
use keymaker_core::id::{Gid, reserved_in};
use keymaker_core::issuers_file::MAX_TEXT;
use keymaker_core::name::GroupName;
use keymaker_daemon::metrics_file::is_metrics_file;

use super::{KeymakerdConfig, Scheme, Tag, id_range};
use keymaker_aws::iam_names::{is_group_name, is_prefix, is_suffix};

/// How many ids a range must hold to be drawn from.
const LEAST_IDS: u64 = 1000;
/// How many gids of /etc/group the directory's header holds, less one for keymaker-sudo.
const MOST_LOCAL_GROUPS: usize = 31;
/// A record of the directory holds 255 bytes of home; a name has up to 32.
const LONGEST_PATH: usize = 200;

/// 30 days, in seconds.
const LONGEST_STALE: u32 = 30 * 86_400;
/// The published file has room for 20 keys of each.
const MOST_ISSUERS: usize = 8;

type Problem = Option<(&'static str, String)>;

/// The first key whose value is wrong, and why.
pub fn first_problem(config: &KeymakerdConfig) -> Problem {
    times(config)
        .or_else(|| ids(config))
        .or_else(|| tag_uids(config))
        .or_else(|| group_ids(config))
        .or_else(|| names(config))
        .or_else(|| proofs(config))
        .or_else(|| paths(config))
        .or_else(|| sources(config))
}

fn times(config: &KeymakerdConfig) -> Problem {
    let KeymakerdConfig {
        authz_ttl,
        max_stale,
        sync_interval,
        ..
    } = *config;
    if !(1..=3600).contains(&authz_ttl) {
        return Some(("authz_ttl", format!("{authz_ttl} is out of range")));
    }
    if !(10..=3600).contains(&sync_interval) {
        return Some(("sync_interval", format!("{sync_interval} is out of range")));
    }
    if config.max_stale_running > LONGEST_STALE {
        return Some((
            "max_stale_running",
            format!("{} is out of range", config.max_stale_running),
        ));
    }
    let least = authz_ttl.max(2 * sync_interval);
    let range = least..=LONGEST_STALE;
    (!range.contains(&max_stale)).then(|| {
        let problem =
            format!("{max_stale} is out of range with authz_ttl = {authz_ttl} and sync_interval = {sync_interval}");
        ("max_stale", problem)
    })
}

fn ids(config: &KeymakerdConfig) -> Problem {
    let range = config.id_range.map(id_range)?;
    let wrong = |problem: &str| Some(("id_range", problem.to_owned()));
    if config.id_scheme == Scheme::Keymaker {
        return wrong("id_scheme = \"keymaker\" has a range of its own");
    }
    if range.len() < LEAST_IDS {
        return wrong("it contains too few ids");
    }
    if let Some(reserved) = reserved_in(range) {
        return wrong(&reserved.to_string());
    }
    None
}

fn tag_uids(config: &KeymakerdConfig) -> Problem {
    let wrong = |problem: &str| Some(("tag_uid_range", problem.to_owned()));
    let Some(range) = config.tag_uid_range.map(id_range) else {
        let missing = || ("tags", "\"uid\" needs tag_uid_range, which is not set".to_owned());
        return config.tags.contains(&Tag::Uid).then(missing);
    };
    if range.is_empty() {
        return wrong("the last id is below the first");
    }
    if let Some(reserved) = reserved_in(range) {
        return wrong(&reserved.to_string());
    }
    if range.overlaps(config.id_scheme().range()) {
        return wrong("it overlaps the range from which other ids are drawn, so a tag could take somebody's id");
    }
    None
}

fn group_ids(config: &KeymakerdConfig) -> Problem {
    let wrong = |problem: String| Some(("group_ids", problem));
    for (name, gid) in &config.group_ids {
        if let Err(why) = GroupName::parse(name.as_bytes()) {
            return wrong(format!("{name:?}: {why}"));
        }
        if Gid::new(*gid).is_none() {
            return wrong(format!("{gid} is reserved for the system"));
        }
        if config.group_ids.values().filter(|other| *other == gid).count() > 1 {
            return wrong(format!("two groups have the gid {gid}"));
        }
    }
    None
}

fn names(config: &KeymakerdConfig) -> Problem {
    if config.local_groups.len() > MOST_LOCAL_GROUPS {
        return Some(("local_groups", "too many names".to_owned()));
    }
    for (key, list) in [
        ("local_groups", &config.local_groups),
        ("reserved_names", &config.reserved_names),
    ] {
        let bad = list
            .iter()
            .find_map(|name| Some((name, GroupName::parse(name.as_bytes()).err()?)));
        if let Some((name, why)) = bad {
            return Some((key, format!("{name:?}: {why}")));
        }
    }
    let wrong = |key, text: &str| {
        Some((
            key,
            format!("{text:?} is too long for a name in IAM, or contains a character that none may have"),
        ))
    };
    match config {
        KeymakerdConfig {
            require_iam_group: Some(group),
            ..
        } if !group.is_empty() && !is_group_name(group) => wrong("require_iam_group", group),
        KeymakerdConfig {
            sudo_iam_group: Some(group),
            ..
        } if !is_group_name(group) => wrong("sudo_iam_group", group),
        KeymakerdConfig {
            linux_group_prefix: Some(prefix),
            ..
        } if !is_prefix(prefix) => wrong("linux_group_prefix", prefix),
        KeymakerdConfig {
            linux_user_suffix: Some(suffix),
            ..
        } if !is_suffix(suffix) => wrong("linux_user_suffix", suffix),
        _ => None,
    }
}

fn proofs(config: &KeymakerdConfig) -> Problem {
    let KeymakerdConfig {
        login_audience,
        login_token_max,
        login_proof_group,
        login_issuers,
        login_keys_file,
        ..
    } = config;
    if config.login_by.is_empty() {
        return Some(("login_by", "it is empty, so nobody could log in".to_owned()));
    }
    if let Some(audience) = login_audience
        && !((1..=MAX_TEXT).contains(&audience.len()) && audience.bytes().all(|byte| byte.is_ascii_graphic()))
    {
        return Some(("login_audience", format!("{audience:?} cannot be one")));
    }
    if !(60..=3600).contains(login_token_max) {
        return Some(("login_token_max", format!("{login_token_max} is out of range")));
    }
    if let Some(group) = login_proof_group.as_deref().filter(|group| !is_group_name(group)) {
        return Some((
            "login_proof_group",
            format!("{group:?} is too long for a name in IAM, or contains a character that none may have"),
        ));
    }
    if login_issuers.len() > MOST_ISSUERS {
        return Some(("login_issuers", "too many issuers".to_owned()));
    }
    if let Some(issuer) = login_issuers.iter().find(|issuer| !is_issuer(issuer)) {
        return Some(("login_issuers", format!("{issuer:?} is no issuer")));
    }
    let path = login_keys_file.as_deref().filter(|path| !path.is_absolute())?;
    Some(("login_keys_file", format!("{} is not absolute", path.display())))
}

fn paths(config: &KeymakerdConfig) -> Problem {
    let plain = |path: &str| {
        path.starts_with('/') && path.len() <= LONGEST_PATH && !path.chars().any(|c| c == ':' || c.is_control())
    };
    let shell = &config.default_shell;
    if !plain(shell) {
        return Some(("default_shell", format!("{shell:?} is not valid in a passwd entry")));
    }
    let home = &config.home_base;
    if !plain(home) || home.ends_with('/') {
        return Some(("home_base", format!("{home:?} is not valid in a passwd entry")));
    }
    let path = &config.user_path_prefix;
    let legal = path.starts_with('/') && path.ends_with('/') && path.bytes().all(|b| (0x21..=0x7f).contains(&b));
    (!legal || path.len() > 512).then(|| ("user_path_prefix", format!("{path:?} is not a path in IAM")))
}

fn sources(config: &KeymakerdConfig) -> Problem {
    if let Some(path) = config.metrics_file.as_deref().filter(|path| !is_metrics_file(path)) {
        return Some((
            "metrics_file",
            format!("node_exporter would not read {}", path.display()),
        ));
    }
    if let Some(grade) = config.grade.filter(|grade| *grade != 1) {
        return Some(("grade", format!("{grade} is found automatically and cannot be set")));
    }
    match (
        config.id_resolver_account.as_deref(),
        config.id_resolver_iam_role.as_deref(),
    ) {
        (None, None) | (Some(""), None | Some("")) => None,
        (None, Some(_)) => Some(("id_resolver_iam_role", "id_resolver_account is missing".to_owned())),
        (Some(_), None) => Some(("id_resolver_account", "id_resolver_iam_role is missing".to_owned())),
        (Some(account), Some(role)) => {
            let why = IdResolver::new(account, role).err()?;
            Some(("id_resolver_account", why.to_string()))
        }
    }
}
