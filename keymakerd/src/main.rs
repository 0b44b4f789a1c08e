//! Reads users, groups and keys from IAM and publishes them to this host.

fn main() {}
