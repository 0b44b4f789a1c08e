//! Gives the module its name, keeps it where it was loaded, and frees it of every library but glibc.

fn main() -> std::io::Result<()> {
    println!("cargo:rerun-if-changed=build.rs");
    // glibc loads it by this name.
    println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libnss_keymaker.so.2");
    // dlclose(3) while another thread is in a lookup must not take the code away.
    println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
    static_unwinder::link()
}
