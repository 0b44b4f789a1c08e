//! Builds the module under test.
#![allow(dead_code, reason = "each test program uses a part")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

/// Builds a library as a package would have it, and says where it lies.
pub fn build(manifest: &str, package: &str, file: &str) -> PathBuf {
    // A target folder of its own: that of the surrounding cargo may be locked.
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("built");
    let cargo = cargo_build(manifest, package).arg("--target-dir").arg(&target).status();
    assert!(cargo.unwrap().success());
    target.join("release").join(file)
}

/// Cargo, about to build a package optimised.
pub fn cargo_build(manifest: &str, package: &str) -> Command {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .args([
            "build",
            "--release",
            "--locked",
            "--package",
            package,
            "--manifest-path",
        ])
        .arg(root.join(manifest));
    cargo
}

/// As a package has it.
pub static MODULE: LazyLock<PathBuf> = LazyLock::new(|| {
    std::env::var_os("KEYMAKER_NSS_MODULE").map_or_else(
        || build("Cargo.toml", "nss_keymaker", "libnss_keymaker.so"),
        PathBuf::from,
    )
});
