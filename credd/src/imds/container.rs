//! The second door: `GET /credentials` on loopback, as `AWS_CONTAINER_CREDENTIALS_FULL_URI` names it. Off unless the
//! settings say so.
//!
//! `answer` calls it for connections to that port. Anybody who asks must own the socket, as everywhere, and say the
//! token that stands in a file which only that uid can read: a program that can make connections for a user, but read
//! none of their files, gets nothing.

use hyper::header::AUTHORIZATION;
use hyper::http::request::Parts;
use hyper::{Method, StatusCode};

use super::answer::{AuditedReply, Client, UserMetadataService, decided, plain, refuse};
use super::container_door::ContainerDoor;
use super::credential_source::{CredentialSource, Reason};
use super::reply;
use crate::audit::Decision;

impl<S: CredentialSource> UserMetadataService<S> {
    /// The reply to a request at this door.
    pub(super) async fn container(&self, client: &Client, head: &Parts, door: &ContainerDoor) -> AuditedReply {
        if head.uri.path() != "/credentials" {
            return plain(reply::error(StatusCode::NOT_FOUND));
        }
        if head.method != Method::GET {
            return plain(reply::allow(StatusCode::METHOD_NOT_ALLOWED, "GET"));
        }
        let uid = client.caller.owner.uid;
        let mut said = head.headers.get_all(AUTHORIZATION).iter();
        let is_theirs = match (said.next(), said.next()) {
            (Some(token), None) => self.tokens.is_container_token(token.as_bytes(), uid),
            _ => false,
        };
        if is_theirs {
            return self.container_credentials(client).await;
        }
        match door.files.make(uid, client.share, &self.tokens.container_token(uid)) {
            Ok(()) => refuse(
                ASKED,
                StatusCode::UNAUTHORIZED,
                "the request lacks this user's token, which is now in their file",
            ),
            Err(error) => {
                let reason = Reason::new(format!("the user's token file cannot be made: {error}"));
                decided(
                    reply::error(StatusCode::SERVICE_UNAVAILABLE),
                    ASKED,
                    Decision::Transient,
                    reason,
                )
            }
        }
    }
}

/// What the audit line says was asked.
pub(super) const ASKED: &str = "container_credentials";
