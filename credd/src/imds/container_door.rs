//! What the container endpoint needs, where it is open. `container` answers there; `answer` knows by it who comes in.

use super::caller::IdentifyCaller;
use super::token_files::TokenFiles;

/// The door, where it is open. Its port on loopback is below 1024: nobody else can take it.
pub struct ContainerDoor {
    /// Who is at the other end of connections that nothing redirected.
    pub callers: Box<dyn IdentifyCaller>,
    /// Where each user's token lies.
    pub files: TokenFiles,
}
