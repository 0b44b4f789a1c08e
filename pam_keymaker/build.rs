//! Keeps the module where it was loaded, and frees it of every library but glibc and libpam.

fn main() -> std::io::Result<()> {
    println!("cargo:rerun-if-changed=build.rs");
    // pam_end(3) unloads modules; what Rust's std registered for the exit of a thread must still be there then.
    println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
    static_unwinder::link()
}
