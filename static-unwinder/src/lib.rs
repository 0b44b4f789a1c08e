//! For build scripts: frees what is built of `libgcc_s.so`, the unwinder with which `catch_unwind` catches panics.
//!
//! A module would bring it into every process, and a small root or chroot may lack it; a program that sshd starts for
//! each login would look for it and load it each time.

use std::io::{self, Write};
use std::path::Path;

/// Has the package's modules and programs linked with the archive of it. To be called by a build script.
pub fn link() -> io::Result<()> {
    // rustc asks for libgcc_s.so: under that name the linker finds the archive first.
    let folder = std::env::var("OUT_DIR").map_err(io::Error::other)?;
    std::fs::write(Path::new(&folder).join("libgcc_s.so"), "GROUP ( -lgcc_eh -lgcc )\n")?;
    writeln!(io::stdout(), "cargo:rustc-link-arg=-L{folder}")
}
