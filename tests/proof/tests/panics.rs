//! A panic inside the verifier: the keys command sees an end without a line, and nobody else sees anything.

use keymaker_core::proof::ProofGate;
use std::process::Command;

// P24
#[test]
fn a_panic_inside_the_verifier_prints_nothing_and_ends_as_no_gate_does() {
    let run = |arguments: &[&str]| {
        let run = Command::new(env!("CARGO_BIN_EXE_panicking-verifier"))
            .args(arguments)
            .output()
            .unwrap();
        (
            run.status.code(),
            String::from_utf8(run.stdout).unwrap(),
            String::from_utf8(run.stderr).unwrap(),
        )
    };
    let (status, stdout, stderr) = run(&["ssh-ed25519-cert-v01@openssh.com", "AAAA"]);
    assert_eq!((status, stdout.as_str(), stderr.as_str()), (Some(101), "", ""));
    assert_eq!(ProofGate::of_status(101), None);
    // It is that program, and gets as far as the look.
    let (status, stdout, stderr) = run(&[]);
    assert_eq!((status, stdout.as_str()), (Some(1), ""));
    assert!(stderr.starts_with("usage: proof TYPE BASE64"), "{stderr}");
}
