//! An order to keymakerd: asked at its login socket, answered with what was done or why not.

use std::path::Path;
use std::time::Duration;

use keymaker_core::client::{AskError, ask};
use keymaker_core::paths;
use keymaker_core::protocol::{Answer, MAX_ANSWER, Question};
use serde_json::json;

use super::HostError;
use crate::output::{Output, Progress};

/// A pass over a large account takes minutes.
const PATIENCE: Duration = Duration::from_secs(600);

/// Gives the order and prints what came of it.
pub fn run(order: Question, output: &Output) -> Result<(), HostError> {
    let progress = Progress::begin(match order {
        Question::Sync => "asking IAM about everybody",
        _ => "waiting for keymakerd",
    });
    let what = give(order)?;
    drop(progress);
    done(&what, output);
    Ok(())
}

/// Prints what was done.
pub fn done(what: &str, output: &Output) {
    output.print(what, &json!({ "done": what }));
}

/// Gives the order; returns keymakerd's sentence.
pub fn give(order: Question) -> Result<String, HostError> {
    give_within(order, PATIENCE)
}

/// The same; who waits no longer leaves keymakerd at work.
pub fn give_within(order: Question, patience: Duration) -> Result<String, HostError> {
    let mut buffer = [0; MAX_ANSWER];
    match ask(Path::new(paths::LOGIN_SOCKET), &order, patience, &mut buffer) {
        Ok(Answer::Done(text)) => Ok(text.to_owned()),
        Ok(Answer::Failed(text)) => Err(HostError::Refused(text.to_owned())),
        Ok(Answer::NotPermitted) => Err(HostError::NotRoot),
        Ok(Answer::Fresh | Answer::NoSuchUser | Answer::CannotTell | Answer::NotPublished | Answer::AwsSilent) => {
            Err(HostError::NoAnswer(AskError::Unintelligible))
        }
        Err(AskError::NotListening(error)) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            Err(HostError::NotRoot)
        }
        Err(error) => Err(HostError::NoAnswer(error)),
    }
}
