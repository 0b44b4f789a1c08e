//! Puts the sudo rule of `keymaker-sudo` in place where keymakerd.toml names a `sudo_iam_group`, and takes it away where
//! it names none.
//!
//! systemd runs it as root, without a capability, before keymakerd starts and when it is reloaded (keymaker-sudo.service);
//! the packages with `--remove`. What the settings say it asks keymakerd itself, which alone reads them. A file that is
//! not byte for byte ours is an administrator's, and stays.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, ExitCode};

use keymaker_core::published_file::reader::{ReadError, open_trusted};
use keymaker_core::sudo_rule::{self, TEXT};

const KEYMAKERD: &str = "/usr/sbin/keymakerd";
/// sudo wants no more.
const MODE: u32 = 0o440;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let wanted = match (arguments.next(), arguments.next()) {
        (None, _) => is_wanted(Path::new(KEYMAKERD)),
        (Some(word), None) if word == "--remove" => Ok(false),
        _ => Err("usage: sudo-rule [--remove]".to_owned()),
    };
    let file = Path::new(sudo_rule::FILE);
    let done = wanted.and_then(|wanted| {
        if wanted {
            place(file, sudo_rule::visudo().map(Path::new))
        } else {
            remove(file)
        }
    });
    let (line, code) = match done {
        Ok(RuleChange::Nothing) => return ExitCode::SUCCESS,
        Ok(RuleChange::Said(line)) => (line, ExitCode::SUCCESS),
        Err(why) => (
            format!("{} is left as it is: {why}", sudo_rule::FILE),
            ExitCode::FAILURE,
        ),
    };
    // To the journal, where systemd sends standard error.
    let _ = writeln!(io::stderr(), "{line}");
    code
}

/// What came of it.
#[derive(Debug, PartialEq, Eq)]
enum RuleChange {
    /// All was as it should be.
    Nothing,
    /// This is worth a line.
    Said(String),
}

/// Whether the settings name a group that may use sudo.
fn is_wanted(keymakerd: &Path) -> Result<bool, String> {
    let asked = Command::new(keymakerd)
        .args(["--print-config", "sudo_iam_group"])
        .env_clear()
        .output()
        .map_err(|error| format!("{}: {error}", keymakerd.display()))?;
    if !asked.status.success() {
        return Err(String::from_utf8_lossy(&asked.stderr).trim().to_owned());
    }
    Ok(!asked.stdout.is_empty())
}

/// Checked by sudo first, and put there whole.
fn place(file: &Path, visudo: Option<&Path>) -> Result<RuleChange, String> {
    let missing = "sudo is not installed here; once it is: systemctl start keymaker-sudo";
    let (Some(folder), Some(visudo)) = (file.parent().filter(|folder| folder.is_dir()), visudo) else {
        return Ok(RuleChange::Said(format!("sudo_iam_group has no effect: {missing}")));
    };
    match present(file).map_err(|error| error.to_string())? {
        RuleOnDisk::Ours => return Ok(RuleChange::Nothing),
        RuleOnDisk::Another => {
            let line = format!("{} was edited here, and stays as it is", file.display());
            return Ok(RuleChange::Said(line));
        }
        RuleOnDisk::Nothing => {}
    }
    // sudo passes over names with a dot.
    let aside = folder.join(".keymaker.new");
    let placed = write_aside(&aside)
        .map_err(|error| format!("{}: {error}", aside.display()))
        .and_then(|()| check(visudo, &aside))
        // Where an administrator has made one meanwhile, a rename would replace it.
        .and_then(|()| fs::hard_link(&aside, file).map_err(|error| error.to_string()));
    // What is left here, the next run removes.
    let _ = fs::remove_file(&aside);
    placed?;
    let synced = File::open(folder).and_then(|folder| folder.sync_all());
    synced.map_err(|error| format!("{}: {error}", folder.display()))?;
    Ok(RuleChange::Said(format!(
        "{} is in place: sudo_iam_group is set",
        file.display()
    )))
}

fn write_aside(aside: &Path) -> io::Result<()> {
    match fs::remove_file(aside) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut new = OpenOptions::new().write(true).create_new(true).mode(MODE).open(aside)?;
    // The mode above is subject to the umask.
    new.set_permissions(fs::Permissions::from_mode(MODE))?;
    new.write_all(TEXT.as_bytes())?;
    new.sync_all()
}

fn check(visudo: &Path, file: &Path) -> Result<(), String> {
    let run = Command::new(visudo).args(["-c", "-f"]).arg(file).env_clear().output();
    let run = run.map_err(|error| format!("{}: {error}", visudo.display()))?;
    if run.status.success() {
        return Ok(());
    }
    let said = [run.stderr, run.stdout].concat();
    let said = String::from_utf8_lossy(&said);
    Err(format!("sudo does not accept the rule: {}", said.trim()))
}

fn remove(file: &Path) -> Result<RuleChange, String> {
    match present(file).map_err(|error| error.to_string())? {
        RuleOnDisk::Nothing | RuleOnDisk::Another => Ok(RuleChange::Nothing),
        RuleOnDisk::Ours => {
            fs::remove_file(file).map_err(|error| error.to_string())?;
            Ok(RuleChange::Said(format!(
                "{} is removed: nothing needs it",
                file.display()
            )))
        }
    }
}

/// What is there now.
enum RuleOnDisk {
    Nothing,
    Ours,
    Another,
}

fn present(file: &Path) -> io::Result<RuleOnDisk> {
    let opened = match open_trusted(file) {
        Ok((opened, _)) => opened,
        Err(ReadError::Missing) => return Ok(RuleOnDisk::Nothing),
        // A link, a FIFO, a file that others may write.
        Err(ReadError::Untrusted) => return Ok(RuleOnDisk::Another),
        Err(error) => return Err(io::Error::other(error)),
    };
    let mut text = Vec::new();
    opened.take(TEXT.len() as u64 + 1).read_to_end(&mut text)?;
    Ok(if text == TEXT.as_bytes() {
        RuleOnDisk::Ours
    } else {
        RuleOnDisk::Another
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt, symlink};
    use test_folder::TestFolder;

    const ACCEPTS: &str = "/bin/true";
    const REFUSES: &str = "/bin/false";

    fn place_in(folder: &TestFolder, visudo: &str) -> Result<RuleChange, String> {
        place(&folder.join("keymaker"), Some(Path::new(visudo)))
    }

    fn names(folder: &TestFolder) -> Vec<String> {
        let entries = fs::read_dir(&**folder).unwrap();
        entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    }

    #[test]
    fn the_rule_is_placed_whole_with_sudos_mode_and_removed_again() {
        let folder = TestFolder::new();
        let file = folder.join("keymaker");
        fs::write(folder.join(".keymaker.new"), "left by a killed run").unwrap();
        assert!(matches!(place_in(&folder, ACCEPTS), Ok(RuleChange::Said(_))));
        assert_eq!(fs::read_to_string(&file).unwrap(), TEXT);
        let metadata = fs::metadata(&file).unwrap();
        assert_eq!((metadata.mode() & 0o7777, metadata.nlink()), (MODE, 1));
        assert_eq!(names(&folder), ["keymaker"]);
        assert_eq!(place_in(&folder, ACCEPTS), Ok(RuleChange::Nothing));
        assert!(matches!(remove(&file), Ok(RuleChange::Said(_))));
        assert_eq!(remove(&file), Ok(RuleChange::Nothing));
        assert!(names(&folder).is_empty());
    }

    #[test]
    fn what_sudo_does_not_accept_is_not_placed() {
        let folder = TestFolder::new();
        assert!(place_in(&folder, REFUSES).unwrap_err().contains("does not accept"));
        assert!(place_in(&folder, "/no/such/visudo").unwrap_err().contains("visudo"));
        assert!(names(&folder).is_empty());
    }

    #[test]
    fn what_an_administrator_edited_is_neither_replaced_nor_removed() {
        let folder = TestFolder::new();
        let file = folder.join("keymaker");
        for theirs in [
            String::new(),
            format!("{TEXT}# mine\n"),
            TEXT.replacen("ALL=(ALL:ALL)", "h1=(ALL)", 1),
        ] {
            fs::write(&file, &theirs).unwrap();
            assert!(matches!(place_in(&folder, ACCEPTS), Ok(RuleChange::Said(line)) if line.contains("edited")));
            assert_eq!(remove(&file), Ok(RuleChange::Nothing));
            assert_eq!(fs::read_to_string(&file).unwrap(), theirs);
        }
        fs::remove_file(&file).unwrap();
        // A link is not ours, whatever it leads to.
        fs::write(folder.join("elsewhere"), TEXT).unwrap();
        symlink(folder.join("elsewhere"), &file).unwrap();
        assert!(matches!(place_in(&folder, ACCEPTS), Ok(RuleChange::Said(line)) if line.contains("edited")));
        assert_eq!(remove(&file), Ok(RuleChange::Nothing));
        assert!(file.is_symlink());
    }

    #[test]
    fn what_dpkg_and_ucf_left_beside_it_stays() {
        let folder = TestFolder::new();
        let beside = ["keymaker.dpkg-old", "keymaker.ucf-dist"];
        for name in beside {
            fs::write(folder.join(name), TEXT).unwrap();
        }
        place_in(&folder, ACCEPTS).unwrap();
        remove(&folder.join("keymaker")).unwrap();
        let mut left = names(&folder);
        left.sort();
        assert_eq!(left, beside);
    }

    #[test]
    fn without_sudo_nothing_is_made_and_nothing_is_wrong() {
        let folder = TestFolder::new();
        let file = folder.join("sudoers.d/keymaker");
        assert!(
            matches!(place(&file, Some(Path::new(ACCEPTS))), Ok(RuleChange::Said(line)) if line.contains("not installed"))
        );
        assert!(matches!(place(&folder.join("keymaker"), None), Ok(RuleChange::Said(_))));
        assert_eq!(remove(&file), Ok(RuleChange::Nothing));
        assert!(names(&folder).is_empty());
    }

    #[test]
    fn the_setting_is_what_keymakerd_says_and_no_answer_is_no_setting() {
        let folder = TestFolder::new();
        let keymakerd = folder.join("keymakerd");
        let says = |script: &str| {
            fs::write(
                &keymakerd,
                format!("#!/bin/sh\n[ \"$*\" = '--print-config sudo_iam_group' ] || exit 9\n{script}\n"),
            )
            .unwrap();
            fs::set_permissions(&keymakerd, fs::Permissions::from_mode(0o755)).unwrap();
            is_wanted(&keymakerd)
        };
        assert_eq!(says("echo admins"), Ok(true));
        assert_eq!(says(":"), Ok(false));
        assert_eq!(says("echo line 3 >&2; exit 1"), Err("line 3".to_owned()));
        assert!(is_wanted(Path::new("/no/such/keymakerd")).is_err());
    }
}
