//! Writes a daemon's metrics to a file that `node_exporter`'s textfile collector reads: whole or not at all, at most once
//! at a time, on a thread of its own, since a disk may hang and the daemon has others to answer.

use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// As often as Prometheus usually scrapes.
pub const METRICS_EVERY: Duration = Duration::from_secs(15);

/// What the settings may say.
pub const METRICS_FILE: &str = "an absolute path that ends in \".prom\"";

/// Whether `path` is one.
pub fn is_metrics_file(path: &Path) -> bool {
    path.is_absolute() && path.extension().is_some_and(|end| end == "prom") && path.file_stem().is_some()
}

/// The file as this daemon has written it so far.
#[derive(Clone, Default)]
pub struct MetricsFile {
    under_way: Arc<AtomicBool>,
    failed: Arc<AtomicBool>,
}

impl MetricsFile {
    /// Puts `text` at `path`. While the disk has not taken the last one, nothing is done. A failure is told once, until
    /// it has gone well again.
    pub fn write(&self, path: PathBuf, text: String) {
        if self.under_way.swap(true, Ordering::AcqRel) {
            return;
        }
        let file = self.clone();
        let written = std::thread::Builder::new().spawn(move || {
            let result = put(&path, &text);
            let failed_before = file.failed.swap(result.is_err(), Ordering::AcqRel);
            match result {
                Err(error) if !failed_before => {
                    let path = path.display();
                    tracing::warn!(%error, "the metrics cannot be written to {path} ({error}): the folder must be \
                        there, and this daemon's user and unit (ReadWritePaths=) may write in it");
                }
                Ok(()) if failed_before => tracing::info!("the metrics are written to {} again", path.display()),
                _ => {}
            }
            file.under_way.store(false, Ordering::Release);
        });
        if written.is_err() {
            self.under_way.store(false, Ordering::Release);
        }
    }
}

/// `node_exporter` reads what ends in `.prom`, so the file under construction does not.
fn put(path: &Path, text: &str) -> io::Result<()> {
    let aside = path.with_extension("prom.new");
    match fs::remove_file(&aside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&aside)?;
    file.write_all(text.as_bytes())?;
    file.set_permissions(Permissions::from_mode(0o644))?;
    fs::rename(&aside, path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use test_folder::TestFolder;

    #[test]
    fn the_file_appears_whole_and_readable_and_leaves_nothing_beside_it() {
        let folder = TestFolder::new();
        let path = folder.join("keymakerd.prom");
        fs::write(folder.join("keymakerd.prom.new"), "cut").unwrap();
        for text in ["a 1\n", "a 2\n"] {
            put(&path, text).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o644);
        assert_eq!(fs::read_dir(&*folder).unwrap().count(), 1);
        put(&folder.join("none/x.prom"), "").unwrap_err();
    }

    #[test]
    fn nothing_waits_for_a_disk_that_hangs() {
        let folder = TestFolder::new();
        let file = MetricsFile::default();
        file.under_way.store(true, Ordering::Release);
        let path = folder.join("x.prom");
        file.write(path.clone(), "a 1\n".into());
        assert!(!path.exists());
    }

    #[test]
    fn only_a_file_that_node_exporter_reads_is_one() {
        for (path, is_one) in [
            ("/run/keymaker/keymakerd.prom", true),
            ("keymakerd.prom", false),
            ("/run/keymaker/metrics", false),
            ("/run/.prom", false),
        ] {
            assert_eq!(is_metrics_file(path.as_ref()), is_one, "{path}");
        }
    }
}
