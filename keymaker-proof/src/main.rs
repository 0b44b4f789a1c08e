//! `/usr/libexec/keymaker/proof TYPE BASE64`: prints what a certificate proves, in one line, or says why it proves nothing. Of a token that the
//! issuer has signed, and that is refused, it prints the name.
//!
//! The keys command runs it, as user keymaker-keys, with sshd's `%t` and `%k`, and reads the line; whatever ends this program
//! (a panic, a signal, a limit) is no proof to it. It reads the published keys of the issuer and the clock, asks nobody, and writes
//! nothing.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::SystemTime;

use keymaker_core::proof::{Proof, ProofGate};
use keymaker_core::{issuers_file, paths};
use keymaker_proof::{NoProof, RightSoFar, claims, verify_telling};

fn main() -> ExitCode {
    run(look)
}

/// The program, with what looks at a certificate; tests/proof gives it something that panics.
pub(crate) fn run(look: impl FnOnce(&str, &str) -> Result<Result<Proof, Refused>, String>) -> ExitCode {
    // The default hook would print where in our sources, to the log of whoever runs this.
    std::panic::set_hook(Box::new(|_| {}));
    let mut arguments = std::env::args_os().skip(1).map(|argument| argument.into_string().ok());
    let (Some(Some(key_type)), Some(Some(base64)), None) = (arguments.next(), arguments.next(), arguments.next())
    else {
        let _ = writeln!(
            io::stderr(),
            "usage: proof TYPE BASE64, a certificate as sshd's %t and %k"
        );
        return ExitCode::FAILURE;
    };
    match look(&key_type, &base64) {
        Ok(Ok(proof)) => match writeln!(io::stdout(), "{proof}") {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        },
        Ok(Err(Refused { why, token_id })) => {
            // Both are for the log. Where they cannot be written the refusal stands, by the number.
            let _ = writeln!(io::stderr(), "{why}");
            if let Some(token_id) = token_id {
                let _ = writeln!(io::stdout(), "{token_id}");
            }
            ExitCode::from(why.gate().status())
        }
        Err(why) => {
            let _ = writeln!(io::stderr(), "{why}");
            ExitCode::FAILURE
        }
    }
}

/// Why a certificate proves nothing, and the name of its token, where the issuer has signed that.
pub(crate) struct Refused {
    why: NoProof,
    token_id: Option<String>,
}

/// What the certificate proves by what is published here; an error where that cannot be told.
fn look(key_type: &str, base64: &str) -> Result<Result<Proof, Refused>, String> {
    let (rules, keys) = issuers_file::read(Path::new(paths::ISSUERS))
        .map_err(|error| format!("the issuer's keys cannot be read: {error}"))?;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let now = now.map_err(|_| "this host's clock is before 1970".to_owned())?;
    let mut told = Vec::new();
    let looked = verify_telling(key_type, base64, &rules, &keys, now.as_secs(), |right| {
        if let RightSoFar::Token(token) = right {
            told.clone_from(&token.claims);
        }
    });
    Ok(looked.map_err(|why| Refused {
        why,
        token_id: (why.gate() == ProofGate::Claims)
            .then(|| claims::token_id(&told))
            .flatten(),
    }))
}
