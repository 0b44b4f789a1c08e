//! Refuses an answer that broke off. The SDK's XML reader takes the end of the text for the end of the document, so that a
//! listing cut short by a proxy would pass as a shorter listing, and users would vanish. Every client of this crate has it.

use aws_sdk_iam::config::interceptors::AfterDeserializationInterceptorContextRef;
use aws_sdk_iam::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::orchestrator::Metadata;

/// The check, run on every successful answer of the query protocol.
#[derive(Debug)]
pub(crate) struct WholeAnswer;

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
        let end = format!("</{operation}Response>");
        let whole = answer
            .body()
            .bytes()
            .is_some_and(|body| body.trim_ascii_end().ends_with(end.as_bytes()));
        if whole {
            Ok(())
        } else {
            Err("it broke off, or is a page of somebody else's".into())
        }
    }
}
