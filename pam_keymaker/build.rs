//! Keeps the module where it was loaded, and frees it of every library but glibc and libpam.

use std::path::Path;

fn main() -> std::io::Result<()> {
    println!("cargo:rerun-if-changed=build.rs");
    // pam_end(3) unloads modules; what Rust's std registered for the exit of a thread must still be there then.
    println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
    // rustc asks for libgcc_s.so. The unwinder in it, with which catch_unwind catches panics, also comes as an archive:
    // under that name the linker finds the archive first (nss_keymaker/build.rs does the same).
    let folder = std::env::var("OUT_DIR").map_err(std::io::Error::other)?;
    std::fs::write(Path::new(&folder).join("libgcc_s.so"), "GROUP ( -lgcc_eh -lgcc )\n")?;
    println!("cargo:rustc-cdylib-link-arg=-L{folder}");
    Ok(())
}
