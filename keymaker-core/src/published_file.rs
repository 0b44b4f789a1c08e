//! The container that both published files share: an immutable file, found by a few preads, trusted only when whole.
//!
//! `format.rs` states the layout, `reader.rs` opens and searches it from inside any process, `writer.rs` builds it,
//! `replacement.rs` puts it in place.

pub mod format;
pub mod reader;
pub mod replacement;
pub mod writer;

#[cfg(test)]
pub(crate) mod tests_support {
    use std::path::{Path, PathBuf};
    use std::sync::atomic::{AtomicU32, Ordering};

    /// A folder of a test's own, gone when the test ends.
    pub struct Folder(PathBuf);

    impl Folder {
        pub fn new() -> Self {
            static NUMBER: AtomicU32 = AtomicU32::new(0);
            let number = NUMBER.fetch_add(1, Ordering::Relaxed);
            let path = std::env::temp_dir().join(format!("keymaker-core-{}-{number}", std::process::id()));
            std::fs::create_dir(&path).unwrap();
            Self(path)
        }

        pub fn path(&self) -> &Path {
            &self.0
        }

        pub fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
            let path = self.0.join(name);
            super::writer::replace_file(&path, bytes, 0o644).unwrap();
            path
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }
}
