//! The program `proof` as it is, over a look at the certificate that panics.

#[allow(dead_code, reason = "the product's own look is not taken here")]
#[path = "../../../../keymaker-proof/src/main.rs"]
mod program;

use std::process::ExitCode;

fn main() -> ExitCode {
    program::run(|_, _| panic!("inside the verifier"))
}
