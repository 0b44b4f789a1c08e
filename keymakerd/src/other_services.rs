//! The services that nsswitch.conf names beside us, and the children that ask them. keymakerd itself never asks NSS: it
//! would ask us, and a module may hang or crash. `directory::neighbours` says what is asked and what the answers mean.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use futures_util::future::LocalBoxFuture;
use keymaker_core::nsswitch;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::Command;

/// A user or a group, by name or number, put to one service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ServiceQuestion {
    /// Whether there is a user of this name.
    User(String),
    /// Whether there is a user of this number.
    Uid(u32),
    /// Whether there is a group of this name.
    Group(String),
    /// Whether there is a group of this number.
    Gid(u32),
}

/// What a service says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// It has it.
    Yes,
    /// It does not.
    No,
    /// Nobody can tell now, and why.
    CannotTell(String),
}

/// The services beside the local files and us.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OtherServices {
    /// Of users.
    pub passwd: Vec<String>,
    /// Of groups.
    pub group: Vec<String>,
}

/// Who can be asked about other services: the host's own children, or a test's table.
pub trait AskServices {
    /// The services as nsswitch.conf names them now; an error keeps those of before.
    fn services(&self) -> std::io::Result<OtherServices>;
    /// The answer to each question, in their order, within this time. What had no answer by then cannot be told.
    fn ask(&self, service: String, questions: Vec<ServiceQuestion>, limit: Duration) -> LocalBoxFuture<'_, Vec<Said>>;
}

/// The host's own.
#[derive(Clone, Debug)]
pub struct Children {
    /// nsswitch.conf(5).
    pub nsswitch: PathBuf,
    /// The program that asks one service.
    pub program: PathBuf,
}

impl OtherServices {
    /// Those of an nsswitch.conf(5). Without a line for it, glibc asks the local files only.
    pub fn parse(text: &str) -> Self {
        let others = |database| nsswitch::others(text, database).map(str::to_owned).collect();
        Self {
            passwd: others("passwd"),
            group: others("group"),
        }
    }

    /// Each service once, with whether it knows users and whether it knows groups.
    pub fn each(&self) -> impl Iterator<Item = (&String, bool, bool)> {
        let users = self
            .passwd
            .iter()
            .map(|service| (service, true, self.group.contains(service)));
        let groups = self.group.iter().filter(|service| !self.passwd.contains(service));
        users.chain(groups.map(|service| (service, false, true)))
    }

    /// Whether there is nobody beside us.
    pub fn is_empty(&self) -> bool {
        self.passwd.is_empty() && self.group.is_empty()
    }
}

impl AskServices for Children {
    fn services(&self) -> std::io::Result<OtherServices> {
        Ok(OtherServices::parse(&nsswitch::read(&self.nsswitch)?))
    }

    fn ask(&self, service: String, questions: Vec<ServiceQuestion>, limit: Duration) -> LocalBoxFuture<'_, Vec<Said>> {
        Box::pin(async move {
            let mut said = Vec::with_capacity(questions.len());
            let asked = tokio::time::timeout(limit, self.converse(&service, &questions, &mut said)).await;
            let why = match asked {
                Ok(Ok(())) => format!("{service} ended before it had answered"),
                Ok(Err(error)) => format!("{service} cannot be asked: {error}"),
                Err(_) => format!("{service} did not answer within {} s", limit.as_secs_f32()),
            };
            said.resize(questions.len(), Said::CannotTell(why));
            said
        })
    }
}

impl Children {
    /// Adds each answer to `said` as it comes. The child is killed when this is dropped.
    async fn converse(
        &self,
        service: &str,
        questions: &[ServiceQuestion],
        said: &mut Vec<Said>,
    ) -> std::io::Result<()> {
        let mut child = Command::new(&self.program)
            .arg(service)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        let (Some(mut stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(std::io::ErrorKind::BrokenPipe.into());
        };
        let text: String = questions.iter().map(|question| question.line()).collect();
        let put = async move {
            let put = stdin.write_all(text.as_bytes()).await;
            drop(stdin);
            put
        };
        let heard = async {
            let mut lines = BufReader::new(stdout).lines();
            while said.len() < questions.len()
                && let Some(line) = lines.next_line().await?
            {
                said.push(Said::parse(service, &line));
            }
            Ok(())
        };
        // A child that ends early closes its input: then what it said counts.
        let (_, heard) = tokio::join!(put, heard);
        heard
    }
}

impl ServiceQuestion {
    fn line(&self) -> String {
        match self {
            Self::User(name) => format!("user {name}\n"),
            Self::Uid(uid) => format!("uid {uid}\n"),
            Self::Group(name) => format!("group {name}\n"),
            Self::Gid(gid) => format!("gid {gid}\n"),
        }
    }
}

impl Said {
    fn parse(service: &str, line: &str) -> Self {
        match line {
            "yes" => Self::Yes,
            "no" => Self::No,
            why => Self::CannotTell(format!("{service} cannot tell: {why}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `script` in the place of the program that asks, put to it: whether there are these two users.
    async fn told(script: &str, limit: Duration) -> Vec<Said> {
        let path = std::env::temp_dir().join(format!("keymakerd-other-{}-{}", std::process::id(), fastrand::u64(..)));
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let children = Children {
            nsswitch: "/nonexistent".into(),
            program: path.clone(),
        };
        let questions = ["alice", "bob"]
            .map(|name| ServiceQuestion::User(name.to_owned()))
            .to_vec();
        let said = children.ask("sss".to_owned(), questions, limit).await;
        std::fs::remove_file(path).unwrap();
        said
    }

    #[test]
    fn the_services_beside_us_are_those_of_the_two_lines() {
        let text =
            "passwd: files [SUCCESS=merge] sss systemd keymaker\ngroup: files ldap sss keymaker\nhosts: files dns\n";
        let services = OtherServices::parse(text);
        let each: Vec<_> = services
            .each()
            .map(|(name, users, groups)| (name.as_str(), users, groups))
            .collect();
        assert_eq!(
            each,
            [("sss", true, true), ("systemd", true, false), ("ldap", false, true)]
        );
        assert!(OtherServices::parse("passwd: files keymaker\n").is_empty());
    }

    // P5
    #[tokio::test]
    async fn a_service_that_hangs_or_crashes_cannot_tell_and_its_former_answer_counts() {
        let second = Duration::from_secs(5);
        assert_eq!(
            told("read a; echo yes; read b; echo no", second).await,
            [Said::Yes, Said::No]
        );
        for script in [
            "read a; echo yes; kill -9 $$",
            "read a; echo yes; read b; echo EIO",
            "echo yes; exit 1",
        ] {
            let said = told(script, second).await;
            assert!(
                matches!(said[..], [Said::Yes, Said::CannotTell(_)]),
                "{script}: {said:?}"
            );
        }
        let began = std::time::Instant::now();
        let said = told("read a; echo no; exec sleep 3600", Duration::from_millis(200)).await;
        assert!(matches!(said[..], [Said::No, Said::CannotTell(_)]), "{said:?}");
        assert!(began.elapsed() < Duration::from_secs(60));
        assert!(matches!(
            told("exec /nonexistent", second).await[..],
            [Said::CannotTell(_), Said::CannotTell(_)]
        ));
    }

    // P5
    #[tokio::test]
    async fn twenty_thousand_questions_at_once_fill_no_pipe() {
        let path = std::env::temp_dir().join(format!("keymakerd-many-{}", std::process::id()));
        std::fs::write(&path, "#!/bin/sh\nexec sed s/.*/no/\n").unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let children = Children {
            nsswitch: "/nonexistent".into(),
            program: path.clone(),
        };
        let questions: Vec<_> = (0..20_000).map(ServiceQuestion::Uid).collect();
        let said = children.ask("sss".to_owned(), questions, Duration::from_secs(30)).await;
        std::fs::remove_file(path).unwrap();
        assert!(said.len() == 20_000 && said.iter().all(|said| *said == Said::No));
    }
}
