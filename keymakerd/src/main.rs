//! Reads users, groups and keys from IAM and publishes them to this host.

#[allow(dead_code, reason = "the sync that asks these questions comes next")]
mod config;
#[allow(dead_code, reason = "the sync that asks these questions comes next")]
mod directory;
#[allow(dead_code, reason = "the sync that asks these questions comes next")]
mod local_accounts;
#[allow(dead_code, reason = "the sync that asks these questions comes next")]
mod settings;

fn main() {}
