//! Puts a file in place of another, so that a reader, and a host whose power fails at any moment, has the old one or
//! the new one.
//!
//! Called by keymakerd for all its files, public and private.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::format::{field, u64_at};

/// Puts `bytes` in place of `path`: written aside with `mode`, fsynced, renamed, the folder fsynced. On an error the
/// old file stays.
pub fn replace_file(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    replace_on(&mut Kernel { mtime: None }, path, bytes, mode)
}

/// The same for a published file. Its generation stands in the nanoseconds of its modification time: where a later file
/// comes to have the inode, the size and the times of an earlier one, [`FileState`](super::reader::FileState) still
/// tells them apart.
pub fn replace_published(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let generation = u64_at(bytes, field::GENERATION).unwrap_or_default();
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let nanoseconds = u32::try_from(generation % 1_000_000_000).unwrap_or_default();
    let mtime = UNIX_EPOCH + Duration::new(since_1970.as_secs(), nanoseconds);
    replace_on(&mut Kernel { mtime: Some(mtime) }, path, bytes, mode)
}

fn replace_on<D: Disk>(disk: &mut D, path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let folder = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let mut aside = std::ffi::OsString::from(".");
    aside.push(name);
    aside.push(".new");
    let aside = folder.join(aside);
    // What an earlier, killed writer left.
    match disk.remove(&aside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let written = write_aside(disk, &aside, bytes, mode).and_then(|()| disk.rename(&aside, path));
    if let Err(error) = written {
        // The first error is the one to report; what is left here the next writer removes.
        let _ = disk.remove(&aside);
        return Err(error);
    }
    disk.sync_folder(folder)
}

fn write_aside<D: Disk>(disk: &mut D, aside: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut file = disk.create(aside, mode)?;
    disk.write(&mut file, bytes)?;
    disk.sync(&file)
}

/// What replacing a file asks of a disk. The tests have one that fails at any step and loses whatever it need not have
/// kept.
trait Disk {
    type File;
    fn remove(&mut self, path: &Path) -> io::Result<()>;
    fn create(&mut self, path: &Path, mode: u32) -> io::Result<Self::File>;
    fn write(&mut self, file: &mut Self::File, bytes: &[u8]) -> io::Result<()>;
    fn sync(&mut self, file: &Self::File) -> io::Result<()>;
    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()>;
    fn sync_folder(&mut self, folder: &Path) -> io::Result<()>;
}

struct Kernel {
    mtime: Option<SystemTime>,
}

impl Disk for Kernel {
    type File = File;

    fn remove(&mut self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn create(&mut self, path: &Path, mode: u32) -> io::Result<File> {
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .custom_flags(libc::O_NOFOLLOW)
            .open(path)?;
        // The mode above is subject to the umask.
        file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(mode))?;
        Ok(file)
    }

    fn write(&mut self, file: &mut File, bytes: &[u8]) -> io::Result<()> {
        file.write_all(bytes)?;
        self.mtime.map_or(Ok(()), |mtime| file.set_modified(mtime))
    }

    fn sync(&mut self, file: &File) -> io::Result<()> {
        file.sync_all()
    }

    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn sync_folder(&mut self, folder: &Path) -> io::Result<()> {
        File::open(folder)?.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use test_folder::TestFolder;

    #[test]
    fn a_replaced_file_has_its_mode_and_leaves_nothing_aside() {
        use std::os::unix::fs::MetadataExt;
        let folder = TestFolder::new();
        let path = folder.join("x");
        std::fs::write(folder.join(".x.new"), b"left by a killed writer").unwrap();
        replace_file(&path, b"one", 0o644).unwrap();
        replace_file(&path, b"two", 0o600).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(&*folder).unwrap().count(), 1);
    }

    // P4
    #[test]
    fn two_files_published_at_once_have_different_modification_times() {
        use std::os::unix::fs::MetadataExt;
        let folder = TestFolder::new();
        let path = folder.join("x");
        let mut bytes = [0; 64];
        let nanoseconds = [7_u64, 8, 2_000_000_009].map(|generation| {
            bytes[field::GENERATION..][..8].copy_from_slice(&generation.to_le_bytes());
            replace_published(&path, &bytes, 0o644).unwrap();
            let metadata = std::fs::metadata(&path).unwrap();
            assert!(
                metadata
                    .modified()
                    .unwrap()
                    .elapsed()
                    .is_ok_and(|age| age < Duration::from_secs(60))
            );
            metadata.mtime_nsec()
        });
        assert_eq!(nanoseconds, [7, 8, 9]);
    }

    const OLD: &[u8] = b"the old content";
    const NEW: &[u8] = b"the new content, which is longer";

    // P3
    #[test]
    fn a_power_failure_at_any_step_leaves_one_whole_file() {
        for leftover in [false, true] {
            let (steps, result) = steps_of_a_replacement(leftover, usize::MAX);
            assert!(result.is_ok());
            for done in 0..=steps.len() {
                let must_be_new = done == steps.len();
                for found in after_a_crash(&steps[..done]) {
                    assert!(
                        found == NEW || found == OLD && !must_be_new,
                        "{found:?} after {:?}",
                        &steps[..done]
                    );
                }
            }
        }
    }

    // P3
    #[test]
    fn a_disk_that_fails_at_any_step_leaves_one_whole_file() {
        let (steps, _) = steps_of_a_replacement(true, usize::MAX);
        for failing in 0..steps.len() {
            let (steps, result) = steps_of_a_replacement(true, failing);
            assert!(result.is_err(), "step {failing} failed");
            for found in after_a_crash(&steps) {
                assert!(found == OLD || found == NEW, "step {failing} failed");
            }
        }
    }

    // fsync(2): EINVAL where the descriptor is of something that cannot be synced. Anybody who does not ask does not
    // hear that.
    #[test]
    fn the_kernel_is_asked_to_sync_the_file_and_the_folder() {
        let (_, pipe) = io::pipe().unwrap();
        let file = File::from(std::os::fd::OwnedFd::from(pipe));
        let mut kernel = Kernel { mtime: None };
        assert_eq!(kernel.sync(&file).unwrap_err().raw_os_error(), Some(libc::EINVAL));
        let folder = kernel.sync_folder(Path::new("/proc")).unwrap_err();
        assert_eq!(folder.raw_os_error(), Some(libc::EINVAL));
    }

    /// A disk that writes down what it is asked, and fails at one step.
    struct Recorder {
        steps: Vec<Step>,
        failing: usize,
        leftover: bool,
        asked: usize,
    }

    #[derive(Clone, Debug)]
    enum Step {
        Remove,
        Create,
        Write(Vec<u8>),
        Sync,
        Rename,
        SyncFolder,
    }

    fn steps_of_a_replacement(leftover: bool, failing: usize) -> (Vec<Step>, io::Result<()>) {
        let mut disk = Recorder {
            steps: Vec::new(),
            failing,
            leftover,
            asked: 0,
        };
        let result = replace_on(&mut disk, Path::new("/folder/x"), NEW, 0o644);
        (disk.steps, result)
    }

    impl Recorder {
        fn step(&mut self, step: Step) -> io::Result<()> {
            self.asked += 1;
            if self.asked == self.failing.saturating_add(1) {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.steps.push(step);
            Ok(())
        }
    }

    impl Disk for Recorder {
        type File = ();

        fn remove(&mut self, path: &Path) -> io::Result<()> {
            assert_eq!(path, Path::new("/folder/.x.new"));
            self.step(Step::Remove)?;
            if std::mem::take(&mut self.leftover) {
                Ok(())
            } else {
                Err(io::ErrorKind::NotFound.into())
            }
        }

        fn create(&mut self, path: &Path, _mode: u32) -> io::Result<()> {
            assert_eq!(path, Path::new("/folder/.x.new"));
            self.step(Step::Create)
        }

        fn write(&mut self, (): &mut (), bytes: &[u8]) -> io::Result<()> {
            self.step(Step::Write(bytes.to_vec()))
        }

        fn sync(&mut self, (): &()) -> io::Result<()> {
            self.step(Step::Sync)
        }

        fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
            assert_eq!((from, to), (Path::new("/folder/.x.new"), Path::new("/folder/x")));
            self.step(Step::Rename)
        }

        fn sync_folder(&mut self, folder: &Path) -> io::Result<()> {
            assert_eq!(folder, Path::new("/folder"));
            self.step(Step::SyncFolder)
        }
    }

    /// Every content that the file may have when the host is up again: a rename that no sync of the folder followed may
    /// have reached the disk or not, and of bytes that no sync of their file followed, none, some, or zeros in their
    /// place.
    fn after_a_crash(steps: &[Step]) -> Vec<Vec<u8>> {
        let after = |is: fn(&Step) -> bool| {
            let at = steps.iter().position(is);
            at.map_or(&[][..], |at| &steps[at..])
        };
        let has = |steps: &[Step], is: fn(&Step) -> bool| steps.iter().any(is);
        let written = steps.iter().find_map(|step| match step {
            Step::Write(bytes) => Some(bytes.clone()),
            _ => None,
        });
        let written = written.unwrap_or_default();
        let renamed = after(|step| matches!(step, Step::Rename));
        let mut found = Vec::new();
        if renamed.is_empty() || !has(renamed, |step| matches!(step, Step::SyncFolder)) {
            found.push(OLD.to_vec());
        }
        if !renamed.is_empty()
            && has(after(|step| matches!(step, Step::Write(_))), |step| {
                matches!(step, Step::Sync)
            })
        {
            found.push(written);
        } else if !renamed.is_empty() {
            found.extend([
                Vec::new(),
                written[..written.len() / 2].to_vec(),
                vec![0; written.len()],
            ]);
        }
        found
    }
}
