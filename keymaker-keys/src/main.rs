//! sshd's AuthorizedKeysCommand for IAM users.

fn main() {}
