//! `pam_keymaker`, built and linked as for the product, over decisions that panic: shows that local accounts do not
//! notice, that nobody else gets in, and that no panic gets out.
#![allow(dead_code)]

#[path = "../../../../pam_keymaker/src/account.rs"]
mod account;
#[path = "../../../../pam_keymaker/src/abi/calls.rs"]
mod calls;
#[path = "../../../../pam_keymaker/src/handle.rs"]
mod handle;
#[path = "../../../../pam_keymaker/src/abi/hooks.rs"]
mod hooks;
#[path = "../../../../pam_keymaker/src/auth_info.rs"]
mod real_auth_info;
#[path = "../../../../pam_keymaker/src/ours.rs"]
mod real_ours;
#[path = "../../../../pam_keymaker/src/session.rs"]
mod session;
// For a `cargo clippy --all-targets`; nothing here is run.
#[cfg(test)]
#[path = "../../../../pam_keymaker/src/test_host.rs"]
mod test_host;

mod abi {
    pub(crate) use crate::calls;
}

mod ours {
    pub use crate::real_ours::{LoginAccount, Ownership, PamHost};

    /// Looks into /etc/passwd as the product does, but panics there about one name.
    pub fn is_local(name: &[u8], host: &PamHost<'_>) -> bool {
        assert!(name != b"panics-early", "in the look into /etc/passwd");
        crate::real_ours::is_local(name, host)
    }

    pub fn at_login(_: &[u8]) -> bool {
        panic!("in the decision about an account")
    }
}

mod auth_info {
    use keymaker_core::keys_file::UserKeys;
    use keymaker_core::ticket::Ticket;

    pub use crate::real_auth_info::{ProvedKey, ProvedKeys};

    pub fn proved_keys<'k>(_: &[u8], _: Option<&'k UserKeys>, _: &dyn Fn(&str) -> Option<Ticket>) -> ProvedKeys<'k> {
        panic!("in the decision about a session")
    }
}

mod home {
    use std::io;
    use std::path::{Path, PathBuf};

    pub struct NewHome<'a> {
        pub path: &'a Path,
        pub uid: u32,
        pub skel: &'a Path,
        pub umask: u32,
        pub former_names: &'a [String],
    }

    pub enum Home {
        Present,
        Moved(PathBuf),
        Made {
            unlabelled: Option<io::Error>,
            former: Option<PathBuf>,
        },
    }

    pub fn provide(_: &NewHome<'_>) -> io::Result<Home> {
        Ok(Home::Present)
    }
}
