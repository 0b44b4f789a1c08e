//! Any bytes as a line of the protocol between the daemon and those who ask it: a question or an answer that is read is
//! written as a line that reads the same, is no longer than a line may be, and holds no line break.

#![no_main]

use keymaker_core::protocol::{Answer, Asker, MAX_QUESTION, Question};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|line: &[u8]| {
    if let Some(question) = Question::parse(line) {
        let written = question.to_string();
        assert_eq!(Question::parse(written.as_bytes()), Some(question));
        assert!(written.len() < MAX_QUESTION && !written.contains(|c: char| c.is_control()));
        for asker in [Asker::Anyone, Asker::KeysCommand, Asker::Credd] {
            assert!(
                !asker.may_ask(&question)
                    || matches!(question, Question::Lookup(_) | Question::Keys(_) | Question::Account(_))
            );
        }
    }
    if let Some(answer) = str::from_utf8(line).ok().and_then(Answer::parse) {
        assert_eq!(Answer::parse(&answer.to_string()), Some(answer));
    }
});
