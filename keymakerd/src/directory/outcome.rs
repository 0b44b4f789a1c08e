//! What came of asking IAM for somebody who waits. `sockets.rs` says it in the words of the protocol.

/// What is known now of a user, or of everybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DirectoryOutcome {
    /// What is published is fresh.
    Fresh,
    /// IAM says that there is no such user.
    NoSuchUser,
    /// Nobody can tell now; what is published stands.
    CannotTell,
    /// IAM has taken something from this user, and that cannot be published; or this host lacks what it takes to ask
    /// IAM. What is published does not stand for them.
    NotPublished,
    /// AWS has not answered the last pass, and this host could ask.
    AwsSilent,
}
