//! How often AWS was asked what, and what it answered: what a host spends of the account's quota, and what AWS throttles.
//! Requests are counted, not calls: a listing of five pages is five, and so is what is tried again.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use aws_sdk_iam::config::interceptors::{
    AfterDeserializationInterceptorContextRef, BeforeTransmitInterceptorContextRef,
};
use aws_sdk_iam::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::orchestrator::Metadata;

use crate::call_error::{Action, AwsCallError};

/// The counts of one daemon. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct AwsCalls(Arc<Mutex<Counted>>);

#[derive(Debug, Default)]
struct Counted {
    requests: BTreeMap<String, u64>,
    answers: BTreeMap<(String, &'static str), u64>,
}

/// How often an action was answered so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnswerCount {
    /// The action as policies spell it.
    pub action: String,
    /// `ok`, `no_such_entity`, `denied`, `throttled` or `failed`.
    pub outcome: &'static str,
    /// How often.
    pub count: u64,
}

impl AwsCalls {
    /// The actions, and how many requests of each were sent.
    pub fn requests(&self) -> Vec<(String, u64)> {
        let counted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let requests = counted.requests.iter();
        requests.map(|(action, count)| (action.clone(), *count)).collect()
    }

    /// What was answered. A request that got no answer is missing here.
    pub fn answers(&self) -> Vec<AnswerCount> {
        let counted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let answers = counted.answers.iter().map(|((action, outcome), count)| AnswerCount {
            action: action.clone(),
            outcome,
            count: *count,
        });
        answers.collect()
    }
}

/// Every client of this crate has it.
#[derive(Debug)]
pub(crate) struct CountsCalls(pub(crate) AwsCalls);

impl Intercept for CountsCalls {
    fn name(&self) -> &'static str {
        "CountsCalls"
    }

    fn read_before_transmit(
        &self,
        _: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        settings: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let action = action(settings);
        let mut counted = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        *counted.requests.entry(action).or_default() += 1;
        Ok(())
    }

    fn read_after_deserialization(
        &self,
        context: &AfterDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        settings: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let (action, answer) = (action(settings), context.response());
        let outcome = if answer.status().is_success() {
            "ok"
        } else {
            let body = answer.body().bytes().and_then(|body| str::from_utf8(body).ok());
            outcome(answer.status().as_u16(), body.and_then(code))
        };
        tracing::debug!(%action, outcome, "AWS answered {action}: {outcome}");
        let mut counted = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        *counted.answers.entry((action, outcome)).or_default() += 1;
        Ok(())
    }
}

/// As policies spell it; the SDK has a fixed number of operations.
fn action(settings: &ConfigBag) -> String {
    settings.load::<Metadata>().map_or_else(String::new, |metadata| {
        format!("{}:{}", metadata.service().to_ascii_lowercase(), metadata.name())
    })
}

fn outcome(status: u16, code: Option<&str>) -> &'static str {
    match AwsCallError::from_answer(Action::named(""), status, code, None) {
        AwsCallError::NoSuchEntity { .. } => "no_such_entity",
        AwsCallError::AccessDenied { .. } => "denied",
        AwsCallError::Throttled { .. } => "throttled",
        AwsCallError::ThisHost { .. } | AwsCallError::Outage { .. } => "failed",
    }
}

/// The code of an error document: IAM and STS API Reference, "Common Errors".
fn code(body: &str) -> Option<&str> {
    let (code, _) = body.split_once("<Code>")?.1.split_once("</Code>")?;
    Some(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_document_is_sorted_as_its_code_is() {
        let document = |code: &str| format!("<ErrorResponse><Error><Code>{code}</Code></Error></ErrorResponse>");
        for (status, body, wanted) in [
            (404, document("NoSuchEntity"), "no_such_entity"),
            (403, document("AccessDenied"), "denied"),
            (400, document("Throttling"), "throttled"),
            (429, String::new(), "throttled"),
            (503, "busy".to_owned(), "failed"),
            (400, document("ValidationError"), "failed"),
        ] {
            assert_eq!(outcome(status, code(&body)), wanted, "{status} {body}");
        }
    }
}
