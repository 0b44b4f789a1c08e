//! Refuses an answer that broke off, and a listing without its list. The SDK's XML reader takes the end of the text for
//! the end of the document and a list that is not there for an empty one, so that a listing cut short would pass as a
//! shorter listing: users would vanish, and with a policy a Deny. Every client of this crate and of the command line
//! has it.

use aws_sdk_iam::config::interceptors::AfterDeserializationInterceptorContextRef;
use aws_sdk_iam::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::orchestrator::Metadata;

/// The check, run on every successful answer of the query protocol.
#[derive(Debug)]
pub struct WholeAnswer;

impl Intercept for WholeAnswer {
    fn name(&self) -> &'static str {
        "WholeAnswer"
    }

    fn read_after_deserialization(
        &self,
        context: &AfterDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        settings: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let answer = context.response();
        if !answer.status().is_success() {
            return Ok(());
        }
        let operation = settings.load::<Metadata>().map_or("", |metadata| metadata.name());
        let body = answer.body().bytes().unwrap_or_default().trim_ascii_end();
        if !body.ends_with(format!("</{operation}Response>").as_bytes()) {
            return Err("it broke off, or is somebody else's page".into());
        }
        if list_of(operation).is_some_and(|element| !holds(body, element)) {
            return Err("it is a listing without its list".into());
        }
        Ok(())
    }
}

/// The element that is in every answer of a listing, empty or not.
fn list_of(operation: &str) -> Option<&'static str> {
    match operation {
        "ListUsers" | "GetGroup" => Some("Users"),
        "ListGroups" | "ListGroupsForUser" => Some("Groups"),
        "ListSSHPublicKeys" => Some("SSHPublicKeys"),
        "ListUserPolicies" | "ListGroupPolicies" | "ListRolePolicies" => Some("PolicyNames"),
        "ListAttachedUserPolicies" | "ListAttachedGroupPolicies" | "ListAttachedRolePolicies" => {
            Some("AttachedPolicies")
        }
        _ => None,
    }
}

/// Whether an element begins in `body`: `<Groups>`, `<Groups/>` or `<Groups />`.
fn holds(body: &[u8], element: &str) -> bool {
    let begin = format!("<{element}");
    body.windows(begin.len() + 1).any(|part| {
        part.strip_prefix(begin.as_bytes())
            .is_some_and(|after| matches!(after, [b'>' | b'/' | b' ']))
    })
}
