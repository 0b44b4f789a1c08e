//! The keymaker command.

fn main() {}
