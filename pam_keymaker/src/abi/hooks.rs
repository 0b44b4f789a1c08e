//! The hooks that libpam calls: the upper floor of the border to C.
//!
//! `pam_hooks!` exports the hooks; those that are not here answer `PAM_IGNORE`. No panic gets out of them, and errno
//! comes back as it was.
#![allow(unsafe_code)]

use std::ffi::CStr;

use pam::constants::{PamFlag, PamResultCode};
use pam::module::{PamHandle, PamHooks};

use crate::handle::Handle;
use crate::ours::PamHost;
use crate::{account, session};

struct Keymaker;

pam::pam_hooks!(Keymaker);

impl PamHooks for Keymaker {
    fn acct_mgmt(pamh: &mut PamHandle, _arguments: Vec<&CStr>, flags: PamFlag) -> PamResultCode {
        account::account(&Handle::new(pamh, flags), &PamHost::this())
    }

    fn sm_open_session(pamh: &mut PamHandle, arguments: Vec<&CStr>, flags: PamFlag) -> PamResultCode {
        session::open(&Handle::new(pamh, flags), &arguments, &PamHost::this())
    }
}
