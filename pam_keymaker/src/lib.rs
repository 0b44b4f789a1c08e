//! `pam_keymaker.so`: decides whether an IAM user may log in here, and makes the home.
//!
//! libpam loads it into sshd, su, sudo, cron and whatever else uses the common PAM stacks, mostly as root. So it starts
//! no thread and no program, reads no environment, changes no umask, signal or directory, keeps nothing open between
//! calls, and gives every account that is not an IAM user's `PAM_IGNORE`, whatever state Keymaker is in (P12).

mod abi;
mod account;
pub mod auth_info;
mod handle;
mod home;
mod ours;
mod selinux;
mod session;
#[cfg(test)]
mod test_host;
