//! The man page against the program: every option and every command is explained, and no other.

#![cfg(test)]

#[path = "../../credd/tests/manual_page/mod.rs"]
mod manual_page;

#[test]
fn the_man_page_explains_every_option_and_command_and_no_other() {
    manual_page::explains(
        env!("CARGO_BIN_EXE_credd-capture"),
        include_str!("../../docs/man/credd-capture.8"),
    );
}
