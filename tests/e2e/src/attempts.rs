//! What `attempts.py`, run by a user, tried at the real metadata service, and what came of it: each cell from two
//! counts that know nothing of each other, the client's own and the stand-in's record.

use std::io::{BufRead, BufReader, Lines, Write};
use std::process::{Child, ChildStdout, Command, Stdio};

use crate::metadata::{self, forget, heard_of_users};

const ATTEMPTS: &str = include_str!("../clients/attempts.py");

/// Where everybody may run the client.
pub fn client() -> String {
    metadata::client("attempts.py", ATTEMPTS)
}

/// A client that waits to be told to go on: what it does, `hold` or `meanwhile`, attempts.py says.
pub struct Running {
    child: Child,
    said: Lines<BufReader<ChildStdout>>,
}

impl Running {
    /// Starts it as `user`, and returns once it says that it has begun. The stand-in's record begins again.
    #[track_caller]
    pub fn begin(user: &str, name: &str, what: &str) -> Self {
        forget();
        let mut child = Command::new("runuser")
            .args(["-u", user, "--", &client(), name, what])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("runuser(1) runs");
        let mut said = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        let line = said.next().expect("the client speaks").expect("it is text");
        assert_eq!(line, "open");
        Self { child, said }
    }

    /// Tells it to go on, and returns what it came to.
    #[track_caller]
    pub fn end(mut self) -> Vec<Cell> {
        writeln!(self.child.stdin.take().expect("it is piped")).expect("the client listens");
        let printed: Vec<String> = self.said.map(|line| line.expect("it is text")).collect();
        self.child.wait().expect("it ends");
        cells(&printed.join("\n"))
    }
}

/// What one way came to in one state.
pub struct Cell {
    pub way: String,
    pub tries: u32,
    pub answered: u32,
    pub reached: u32,
    pub recorded: usize,
    pub error: String,
}

impl Cell {
    /// Whether anything came there, or from there.
    pub fn is_leak(&self) -> bool {
        self.reached > 0 || self.recorded > 0
    }

    /// It, for people.
    pub fn words(&self) -> String {
        match (self.is_leak(), self.answered) {
            (true, _) => format!("REACHED {} of {}, {} recorded", self.reached, self.tries, self.recorded),
            (false, 0) => format!("nothing, {} tries: {}", self.tries, self.error),
            (false, answered) => format!("credd, {answered} of {} tries", self.tries),
        }
    }
}

/// Reads what the client printed, and what the stand-in says of it.
pub fn cells(printed: &str) -> Vec<Cell> {
    let recorded = heard_of_users();
    let cells = printed.lines().map(|line| {
        let [way, tries, answered, reached, error] = line.split('\t').collect::<Vec<_>>()[..] else {
            panic!("not a line of the client: {line}");
        };
        let number = |text: &str| text.parse().expect("a count");
        Cell {
            recorded: recorded
                .iter()
                .filter(|line| line.ends_with(&format!("/{way}")))
                .count(),
            way: way.to_owned(),
            tries: number(tries),
            answered: number(answered),
            reached: number(reached),
            error: error.to_owned(),
        }
    });
    cells.collect()
}

/// Prints a row of the matrix.
pub fn show(name: &str, cells: &[Cell]) {
    println!("{name}");
    for cell in cells {
        println!("    {:24} {}", cell.way, cell.words());
    }
}
