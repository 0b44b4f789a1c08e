//! Tells [`AwsTime`] the `Date` of each of AWS's answers.

use std::time::Duration;

use aws_sdk_iam::config::interceptors::BeforeDeserializationInterceptorContextRef;
use aws_sdk_iam::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_iam::primitives::{DateTime, DateTimeFormat};
use aws_smithy_runtime_api::box_error::BoxError;

use crate::aws_time::{AwsTime, since_boot};

/// Every client of this crate has it.
#[derive(Debug)]
pub(crate) struct HearsDate(pub(crate) AwsTime);

impl Intercept for HearsDate {
    fn name(&self) -> &'static str {
        "HearsDate"
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let headers = context.response().headers();
        // Out of a cache (RFC 9111, 5.1): the date is when the answer was made, not now.
        if headers.get("age").is_some() {
            return Ok(());
        }
        let date = headers
            .get("date")
            .and_then(|text| DateTime::from_str(text, DateTimeFormat::HttpDate).ok());
        if let Some(seconds) = date.and_then(|date| u64::try_from(date.secs()).ok()) {
            self.0.hear(Duration::from_secs(seconds), since_boot());
        }
        Ok(())
    }
}
