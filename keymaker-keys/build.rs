//! Frees what sshd starts for each login of every library but glibc.

fn main() -> std::io::Result<()> {
    println!("cargo:rerun-if-changed=build.rs");
    static_unwinder::link()
}
