//! Gives the module its name, keeps it where it was loaded, and frees it of every library but glibc.

use std::path::Path;

fn main() -> std::io::Result<()> {
    println!("cargo:rerun-if-changed=build.rs");
    // glibc loads it by this name.
    println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libnss_keymaker.so.2");
    // dlclose(3) while another thread is in a lookup must not take the code away.
    println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
    // rustc asks for libgcc_s.so, which every process would then load, and a small root or chroot may lack. The
    // unwinder in it, with which catch_unwind catches panics, also comes as an archive: under that name the linker
    // finds the archive first.
    let folder = std::env::var("OUT_DIR").map_err(std::io::Error::other)?;
    std::fs::write(Path::new(&folder).join("libgcc_s.so"), "GROUP ( -lgcc_eh -lgcc )\n")?;
    println!("cargo:rustc-cdylib-link-arg=-L{folder}");
    Ok(())
}
