//! Every key of keymakerd.toml and what it takes, in words: for the sentence about a bad value, and for the test that
//! compares the sample file and the man page with it.

use keymaker_daemon::config_error::{Keys, SettingKey, key};
use keymaker_daemon::metrics_file::METRICS_FILE;

/// The file and its keys.
pub const SETTINGS: Keys = Keys {
    file: "keymakerd.toml",
    all: &KEYS,
};

/// All of them, in the order of the sample file.
pub const KEYS: [SettingKey; 44] = [
    key("role_settings", "true or false"),
    key("require_iam_group", "the full name of an IAM group, or \"\" for none"),
    key("publish", "\"people\" or \"all\""),
    key("user_path_prefix", "an IAM path that begins and ends with a slash"),
    key("only_group_members", "true or false"),
    key(
        "login_by",
        "a list of any of \"iam-keys\", \"proof\", \"instance-connect\"",
    ),
    key("login_audience", "printable ASCII without blanks, up to 255 characters"),
    key("login_token_max", "seconds, 60 to 3600"),
    key("login_bound", "true or false"),
    key("login_proof_group", "the full name of an IAM group"),
    key("login_not_before", "seconds since 1970, as date +%s prints them"),
    key(
        "login_issuers",
        "a list of up to 8 https URLs without a slash at their end",
    ),
    key("login_keys_file", "the absolute path of a JSON file"),
    key("linux_user_suffix", "the end of an IAM user name, up to 63 characters"),
    key("lowercase_names", "true or false"),
    key("dotted_names", "true or false"),
    key("reserved_names", "a list of Unix names"),
    key(
        "linux_group_prefix",
        "the beginning of an IAM group name, or \"\" for all groups",
    ),
    key("local_groups", "a list of up to 31 names of local groups"),
    key("group_ids", "a table of Unix group names and free gids, each once"),
    key("sudo_iam_group", "the full name of an IAM group"),
    key("id_scheme", "\"wide\" or \"keymaker\""),
    key(
        "id_range",
        "[first, last] with at least 1000 ids, none of them reserved, with id_scheme = \"wide\"",
    ),
    key(
        "tags",
        "a list of any of \"uid\", \"home\", \"shell\", \"gecos\", \"expires\", \"keys\"",
    ),
    key(
        "tag_uid_range",
        "[first, last], free ids outside id_range, for \"uid\" in tags",
    ),
    key("default_shell", "an absolute path without colon"),
    key(
        "home_base",
        "an absolute path without colon and without slash at its end",
    ),
    key("authz_ttl", "seconds, 1 to 3600"),
    key(
        "max_stale",
        "seconds, at least authz_ttl and twice sync_interval, up to 2592000 (30 days)",
    ),
    key(
        "max_stale_running",
        "seconds, up to 2592000 (30 days), or 0 for no longer than max_stale",
    ),
    key("sync_interval", "seconds, 10 to 3600"),
    key("prefetch_keys", "\"seen\", \"required-group\", \"all\" or \"never\""),
    key("enumerate", "true or false"),
    key("end_sessions", "true, false or \"all\""),
    key("grade", "1, or nothing"),
    key(
        "id_resolver_account",
        "an account's twelve digits in quotes, together with id_resolver_iam_role, or \"\" for this account",
    ),
    key("id_resolver_iam_role", "the name of a role in id_resolver_account"),
    key("region", "an AWS region in quotes, such as \"eu-central-1\""),
    key("iam_endpoint", "a URL of the form \"https://host[:port]\""),
    key("sts_endpoint", "a URL of the form \"https://host[:port]\""),
    key("metadata_endpoint", "a URL of the form \"http://host[:port]\""),
    key("https_proxy", "a URL of the form \"http://[user:password@]host:port\""),
    key("ca_bundle", "the path of a PEM file"),
    key("metrics_file", METRICS_FILE),
];
