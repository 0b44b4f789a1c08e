//! What `attempts.py`, run by a user, tried at the real metadata service, and what came of it: each cell from two counts that know
//! nothing of each other, the client's own and the stand-in's record.

use crate::metadata::{self, heard_of_users};

const ATTEMPTS: &str = include_str!("../clients/attempts.py");

/// Where everybody may run the client.
pub fn client() -> String {
    metadata::client("attempts.py", ATTEMPTS)
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
