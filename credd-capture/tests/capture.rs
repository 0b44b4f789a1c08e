//! Capture, end to end, in network namespaces of the test's own: the built credd and credd-capture between users, a
//! router and a stand-in for the real service. `capture.py` and `capture_matrix.py` hold the promises; this file starts
//! them.

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::process::Command;

    // P14 H6 H7 H8
    #[test]
    fn no_user_reaches_the_real_service_whatever_happens_to_capture() {
        in_namespaces("capture.py", "all");
    }

    // P14
    #[test]
    fn whichever_step_fails_users_reach_nothing_exempt_ones_the_service_and_a_trial_leaves_nothing() {
        in_namespaces("capture.py", "steps");
    }

    // P14
    #[test]
    fn with_any_one_and_any_two_faults_no_way_leads_to_the_real_service() {
        in_namespaces("capture_matrix.py", "faults");
    }

    // P14
    #[test]
    fn each_line_of_capture_is_missed_by_some_way_when_it_is_taken_out() {
        in_namespaces("capture_matrix.py", "lines");
    }

    fn in_namespaces(script: &str, what: &str) {
        let script = format!("{}/tests/{script}", env!("CARGO_MANIFEST_DIR"));
        let capture = Path::new(env!("CARGO_BIN_EXE_credd-capture"));
        let credd = capture.with_file_name("credd");
        assert!(credd.exists(), "{} is not built: cargo build -p credd", credd.display());
        let programs = [&credd, capture];
        // A pid namespace as well: whatever the script leaves behind dies with it.
        let namespaces = [
            "--net",
            "--mount",
            "--pid",
            "--fork",
            "--kill-child",
            "--mount-proc",
            "--",
            "python3",
            &script,
        ];
        let output = Command::new("unshare")
            .args(namespaces)
            .args(programs)
            .arg(what)
            .output();
        let output = output.expect("install util-linux, which has unshare(1)");
        let said = format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        assert!(output.status.code() != Some(78), "{}", said.trim());
        let not_permitted = rustix::process::getuid().as_raw() != 0 || output.status.code() == Some(77);
        if not_permitted && !output.status.success() {
            println!("not run: {}", said.trim());
            return;
        }
        assert!(output.status.success(), "{said}");
        println!("{said}");
    }
}
