//! Every key of credd.toml and what it takes, in words: for the sentence about a bad value.

use keymaker_daemon::config_error::{Keys, SettingKey, key};
use keymaker_daemon::metrics_file::METRICS_FILE;

/// The file and its keys.
pub const SETTINGS: Keys = Keys {
    file: "credd.toml",
    all: &KEYS,
};

/// All of them, in the order of the sample file.
pub const KEYS: [SettingKey; 32] = [
    key("exempt_uids", "a list of uids and of names of local accounts in quotes"),
    key("capture", "\"route\" or \"nft\""),
    key(
        "nft_port",
        "a port from 1 to 1023, but not 989, which is the container endpoint's",
    ),
    key("mode", "\"enforce\" or \"observe\""),
    key("containers", "a list of networks, such as \"172.17.0.0/16\""),
    key("directory", "\"auto\", \"required\" or \"none\""),
    key("authz_ttl", "seconds, 0 to 4294967295"),
    key("default_chain", METHODS),
    key("user_chains", "a table of user names and lists of methods"),
    key(
        "uid_chains",
        "a table of uids in quotes, such as \"900-999\" or \"900\", and lists of methods; no uid twice",
    ),
    key("group_chains", "a table of Unix group names and lists of methods"),
    key(
        "role_name_pattern",
        "letters, digits and +=,.@_- with {username} among them, once, and no slash: a path goes into role_path",
    ),
    key(
        "role_path",
        "an IAM path that begins and ends with a slash, such as \"/users/\", and has no blank in it",
    ),
    key("user_role_tag", "true or false"),
    key(
        "iam_name_pattern",
        "letters, digits and +=,.@_- with {username} among them, once, and no slash",
    ),
    key(
        "id_resolver_account",
        "an account's twelve digits in quotes, together with id_resolver_iam_role",
    ),
    key("id_resolver_iam_role", "the name of a role in id_resolver_account"),
    key("compress_user_policy", "true or false"),
    key(
        "deny_actions",
        "a list of actions, such as \"iam:*\" or \"kms:Decrypt\"",
    ),
    key(
        "shared_role",
        "the ARN of a role, such as \"arn:aws:iam::123456789012:role/everybody\"",
    ),
    key("session_tags", "true or false"),
    key("require_imds_v2", "true or false"),
    key("token_hop_limit", "a number from 1 to 64"),
    key(
        "rules",
        "tables, each with allow or deny, lists of paths, and at most one of user, uids and group",
    ),
    key("container_endpoint", "true or false"),
    key("region", "an AWS region in quotes, such as \"eu-central-1\""),
    key("iam_endpoint", URL),
    key("sts_endpoint", URL),
    key(
        "metadata_endpoint",
        "a URL of the form \"http://ADDRESS[:PORT]\", with an IP address",
    ),
    key("https_proxy", "a URL of the form \"http://[user:password@]host:port\""),
    key("ca_bundle", "the path of a PEM file"),
    key("metrics_file", METRICS_FILE),
];

const METHODS: &str = "a list of any of \"user_role\", \"create_user_role\", \"restricted_instance_role\", \"instance_role\", \"shared_role\"";
const URL: &str = "an http:// or https:// URL";
