//! Has started what could not start because an IAM user was not known yet: lines of cron, units with `User=`, and the
//! managers of users who linger.
//!
//! systemd runs it as root when keymakerd has published something (keymaker-start-late.path). On the first boot of an
//! image nobody from IAM is known until the first pass has ended; cron has read its files by then, and dropped those
//! that name somebody unknown. It acts when a name is published that was not in this boot, once for each name and unit,
//! and for nobody whom IAM or this host refuses. It takes no argument, reads nothing that users write, and starts
//! nothing but what an administrator had systemd or logind start. cron runs no line `@reboot` twice in a boot, so those
//! of a file that it dropped are lost until the next one.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::process::{Command, ExitCode};

use keymaker_core::directory_file::{Directory, MAX_USER_RECORD, Verdict};
use keymaker_core::local_files::{self, NamedLine};
use keymaker_core::paths;
use keymaker_core::published_file::reader::ReadError;
use keymaker_core::published_file::replacement::replace_file;

/// cron keeps what it read of a file, or that it dropped it, until the file's own time changes; so it is started again.
/// Its jobs go on (`KillMode=process`). Debian's name, then Fedora's.
const CRON: [&str; 2] = ["cron.service", "crond.service"];
const SYSTEM_CRONTAB: &str = "/etc/crontab";
const SYSTEM_CRONTABS: &str = "/etc/cron.d";
/// A file for each user, by name.
const USER_CRONTABS: [&str; 2] = ["/var/spool/cron/crontabs", "/var/spool/cron"];
/// systemd's runtime folder of this service; gone after a boot.
const DONE: &str = "/run/keymaker-start-late/done";
/// logind's: a file for each user who lingers, by name.
const LINGER: &str = "/var/lib/systemd/linger";
/// `EXIT_USER` of systemd.exec(5): the unit's `User=` was not known.
const UNKNOWN_USER: &str = "217";

fn main() -> ExitCode {
    match start() {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            say(&why);
            ExitCode::FAILURE
        }
    }
}

fn start() -> Result<(), String> {
    let known = names_in(Path::new(paths::DIRECTORY), Path::new(paths::PASSWD))?;
    let mut done = DoneThisBoot::read(Path::new(DONE));
    let new: Vec<&String> = known.iter().filter(|name| !done.names.contains(*name)).collect();
    if new.is_empty() {
        return Ok(());
    }
    // Where that cannot be written down, cron would be started again at each publication.
    done.keep()?;
    if is_named_to_cron(Path::new("/"), &new) {
        restart_cron()?;
    }
    let failed = show(&failed_services()?)?;
    let units: Vec<String> = late_units(&failed, &known)
        .filter(|unit| !done.units.contains(*unit))
        .map(str::to_owned)
        .collect();
    if !units.is_empty() {
        say(&format!("starting {}: their users are known now", units.join(", ")));
        systemctl(
            ["start", "--no-block", "--"]
                .into_iter()
                .chain(units.iter().map(String::as_str)),
        )?;
    }
    let lingers = |name: &&&String| Path::new(LINGER).join(name).is_file();
    for name in new.iter().filter(lingers) {
        // What logind could not do at the boot; where it has, this changes nothing.
        run(Command::new("/usr/bin/loginctl").args(["enable-linger", "--", name]))?;
    }
    done.units.extend(units);
    done.names.extend(known);
    done.keep()
}

/// Whoever from IAM may log in here, and is no local account by now (P1).
fn names_in(directory: &Path, passwd: &Path) -> Result<BTreeSet<String>, String> {
    let unreadable = |path: &Path, why: &dyn std::fmt::Display| format!("{}: {why}", path.display());
    let opened = match Directory::open_whole(directory) {
        Err(ReadError::Missing) => return Ok(BTreeSet::new()),
        opened => opened.map_err(|why| unreadable(directory, &why))?,
    };
    let text = fs::read(passwd).map_err(|why| unreadable(passwd, &why))?;
    let local: BTreeSet<&[u8]> = local_files::lines(&text)
        .filter_map(|line| Some(NamedLine::parse(line)?.name))
        .collect();
    let (mut names, mut from, mut buffer) = (BTreeSet::new(), 0, [0; MAX_USER_RECORD]);
    while let Some((next, user)) = opened
        .next_user(from, &mut buffer)
        .map_err(|why| unreadable(directory, &why))?
    {
        from = next;
        let name = user.name.as_str();
        if user.verdict == Verdict::Allowed && !user.tombstone && !local.contains(name.as_bytes()) {
            names.insert(name.to_owned());
        }
    }
    Ok(names)
}

/// For whom, and for which units, this has been done since the boot.
#[derive(Debug, Default, PartialEq, Eq)]
struct DoneThisBoot {
    names: BTreeSet<String>,
    units: BTreeSet<String>,
}

impl DoneThisBoot {
    /// Without a file nothing was done: it goes with the boot.
    fn read(path: &Path) -> Self {
        let mut done = Self::default();
        for line in fs::read_to_string(path).unwrap_or_default().lines() {
            match line.split_once(' ') {
                Some(("name", name)) => drop(done.names.insert(name.to_owned())),
                Some(("unit", unit)) => drop(done.units.insert(unit.to_owned())),
                _ => {}
            }
        }
        done
    }

    fn keep(&self) -> Result<(), String> {
        self.write(Path::new(DONE)).map_err(|why| format!("{DONE}: {why}"))
    }

    fn write(&self, path: &Path) -> io::Result<()> {
        let names = self.names.iter().map(|name| format!("name {name}\n"));
        let units = self.units.iter().map(|unit| format!("unit {unit}\n"));
        replace_file(path, names.chain(units).collect::<String>().as_bytes(), 0o600)
    }
}

/// Whether a crontab below this root belongs to one of them, or names one.
fn is_named_to_cron(root: &Path, names: &[&String]) -> bool {
    let below = |path: &str| root.join(path.trim_start_matches('/'));
    let of_a_user = |folder: &&str| names.iter().any(|name| below(folder).join(name).is_file());
    // What root cannot read, cron has not read either.
    let names_one = |file: &Path| {
        let text = fs::read(file).unwrap_or_default();
        let is_name = |word: &[u8]| names.iter().any(|name| name.as_bytes() == word);
        text.split(u8::is_ascii_whitespace).any(is_name)
    };
    USER_CRONTABS.iter().any(of_a_user)
        || names_one(&below(SYSTEM_CRONTAB))
        || fs::read_dir(below(SYSTEM_CRONTABS))
            .into_iter()
            .flatten()
            .flatten()
            .any(|file| names_one(&file.path()))
}

fn restart_cron() -> Result<(), String> {
    for unit in CRON {
        if systemctl(["show", "--property=ActiveState", "--value", unit])? == "active" {
            say(&format!(
                "starting {unit} again: a crontab names somebody who is known now"
            ));
            systemctl(["try-restart", unit])?;
        }
    }
    Ok(())
}

/// The names of failed services.
fn failed_services() -> Result<Vec<String>, String> {
    let listed = systemctl([
        "list-units",
        "--type=service",
        "--state=failed",
        "--plain",
        "--no-legend",
    ])?;
    let names = listed.lines().filter_map(|line| line.split_ascii_whitespace().next());
    Ok(names.map(str::to_owned).collect())
}

/// `Id=`, `User=` and `ExecMainStatus=` of these units, a paragraph each.
fn show(units: &[String]) -> Result<String, String> {
    if units.is_empty() {
        return Ok(String::new());
    }
    let properties = ["show", "--property=Id,User,ExecMainStatus", "--"];
    systemctl(properties.into_iter().chain(units.iter().map(String::as_str)))
}

/// Those whose user was not known when they started, and is now.
fn late_units<'s>(shown: &'s str, known: &BTreeSet<String>) -> impl Iterator<Item = &'s str> {
    shown.split("\n\n").filter_map(|unit| {
        let property = |name: &str| unit.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        let is_late = property("ExecMainStatus") == Some(UNKNOWN_USER) && known.contains(property("User")?);
        property("Id").filter(|_| is_late)
    })
}

fn systemctl<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Result<String, String> {
    run(Command::new("/usr/bin/systemctl").args(arguments))
}

/// What the program prints.
fn run(command: &mut Command) -> Result<String, String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let ended = command
        .output()
        .map_err(|why| format!("{program} cannot be run: {why}"))?;
    let printed = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if ended.status.success() {
        Ok(printed(&ended.stdout))
    } else {
        Err(format!(
            "{program} ended with {}: {}",
            ended.status,
            printed(&ended.stderr)
        ))
    }
}

/// To the journal, where systemd sends standard error.
fn say(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use keymaker_core::directory_file::{DirectoryBuilder, Header, NewUser};
    use keymaker_core::id::{IdRange, Uid};
    use keymaker_core::name::UserName;
    use test_folder::TestFolder;

    fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    // P1 P7
    #[test]
    fn nothing_is_started_for_who_is_refused_gone_or_local_by_now() {
        let folder = TestFolder::new();
        let mut header = Header::NOTHING;
        header.ranges[0] = IdRange::WIDE;
        let mut builder = DirectoryBuilder::new(&header);
        let users = [
            ("alice", Verdict::Allowed, false),
            ("bob", Verdict::NotInRequiredGroup, false),
            ("carol", Verdict::Expired, false),
            ("gone", Verdict::Deleted, true),
            ("local", Verdict::Allowed, false),
        ];
        for (number, (name, verdict, tombstone)) in (0..).zip(users) {
            let user = NewUser {
                name: UserName::parse(name.as_bytes()).unwrap(),
                uid: Uid::new(IdRange::WIDE.first + number).unwrap(),
                answered_at: 1,
                verdict,
                tombstone,
                seen_here: true,
                ended: false,
                gecos: "",
                home: "/",
                shell: "/bin/sh",
                iam_user_id: "AIDA",
                iam_user_name: name,
                proofs_from: None,
                groups: &[],
                former_names: &[],
            };
            builder.user(&user).unwrap();
        }
        let (directory, passwd) = (folder.join("directory"), folder.join("passwd"));
        fs::write(&passwd, "root:x:0:0::/root:/bin/sh\nlocal:x:1000:100::/:/bin/sh\n").unwrap();
        assert_eq!(names_in(&directory, &passwd), Ok(set(&[])));
        replace_file(&directory, &builder.build(1).unwrap(), 0o644).unwrap();
        assert_eq!(names_in(&directory, &passwd), Ok(set(&["alice"])));
        fs::remove_file(&passwd).unwrap();
        assert!(names_in(&directory, &passwd).unwrap_err().contains("passwd"));
    }

    #[test]
    fn only_a_unit_whose_user_was_not_known_and_is_now_is_late() {
        let shown = "Id=app.service\nUser=alice\nExecMainStatus=217\n\n\
                     Id=other.service\nUser=alice\nExecMainStatus=1\n\n\
                     Id=strange.service\nUser=mallory\nExecMainStatus=217\n\n\
                     ExecMainStatus=217\nUser=\nId=root.service";
        let late: Vec<&str> = late_units(shown, &set(&["alice"])).collect();
        assert_eq!(late, ["app.service"]);
    }

    #[test]
    fn cron_is_told_only_of_who_is_named_in_a_crontab_or_has_one() {
        let folder = TestFolder::new();
        let is_named = |name: &str| is_named_to_cron(&folder.join(""), &[&name.to_owned()]);
        assert!(!is_named("alice"));
        for path in ["etc/cron.d", "var/spool/cron/crontabs"] {
            fs::create_dir_all(folder.join(path)).unwrap();
        }
        fs::write(
            folder.join("etc/cron.d/backup"),
            "@hourly alice /usr/bin/backup of-bob\n",
        )
        .unwrap();
        fs::write(folder.join("etc/crontab"), "5 4 * * *\tcarol true").unwrap();
        fs::write(folder.join("var/spool/cron/crontabs/dave"), "").unwrap();
        for (name, expected) in [
            ("alice", true),
            ("bob", false),
            ("carol", true),
            ("dave", true),
            ("crontabs", false),
        ] {
            assert_eq!(is_named(name), expected, "{name}");
        }
    }

    #[test]
    fn what_was_done_is_remembered() {
        let folder = TestFolder::new();
        let path = folder.join("done");
        assert_eq!(DoneThisBoot::read(&path), DoneThisBoot::default());
        let done = DoneThisBoot {
            names: set(&["alice", "bob"]),
            units: set(&["app@1.service"]),
        };
        done.write(&path).unwrap();
        assert_eq!(DoneThisBoot::read(&path), done);
    }
}
