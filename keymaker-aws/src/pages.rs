//! A listing of IAM from its first page to its last, or an error. The SDK's own paginator ends a listing where a page
//! lacks its marker: a user, a group or a Deny on a later page would be gone in silence. The daemons and the command
//! line list by this only.

use std::collections::HashSet;
use std::error::Error;
use std::fmt;

use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;

use crate::call_error::{Action, AwsCallError};

/// One page of a listing.
pub struct Page<T> {
    items: Vec<T>,
    is_truncated: bool,
    marker: Option<String>,
}

impl<T> Page<T> {
    /// What one call gave; `parts` takes its items, `is_truncated` and `marker`.
    pub fn of<A, E>(
        action: Action,
        answer: Result<A, SdkError<E, HttpResponse>>,
        parts: impl FnOnce(A) -> (Vec<T>, bool, Option<String>),
    ) -> Result<Self, AwsCallError>
    where
        E: ProvideErrorMetadata + Error + fmt::Debug + Send + Sync + 'static,
    {
        let answer = answer.map_err(|error| AwsCallError::from_sdk(action, error))?;
        let (items, is_truncated, marker) = parts(answer);
        Ok(Self {
            items,
            is_truncated,
            marker,
        })
    }
}

/// The items of all pages; `page_after` asks for the page behind a marker. IAM API Reference: "`IsTruncated` … you can
/// make a subsequent pagination request using the Marker"; a page may hold fewer items than `MaxItems`, even none, and
/// still be truncated. Fails where a page says that more follow but not where, and where a marker comes back a second
/// time.
pub async fn all_pages<T>(
    action: Action,
    page_after: impl AsyncFn(Option<String>) -> Result<Page<T>, AwsCallError>,
) -> Result<Vec<T>, AwsCallError> {
    let mut items = Vec::new();
    let mut seen = HashSet::new();
    let mut marker = None;
    loop {
        let page = page_after(marker).await?;
        items.extend(page.items);
        if !page.is_truncated {
            return Ok(items);
        }
        let next = page.marker.filter(|next| !next.is_empty());
        let next =
            next.ok_or_else(|| AwsCallError::unreadable(action, "a page says that more follow but not where"))?;
        if !seen.insert(next.clone()) || seen.len() > MOST_PAGES {
            return Err(AwsCallError::unreadable(action, "its pages do not come to an end"));
        }
        marker = Some(next);
    }
}

/// An account has 5,000 users at most, a page 1 at least.
const MOST_PAGES: usize = 10_000;

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test]
    async fn pages_without_end_are_given_up() {
        let count = AtomicUsize::new(0);
        let endless = all_pages(Action::LIST_USERS, async |_| {
            let marker = count.fetch_add(1, Ordering::Relaxed).to_string();
            Ok(Page {
                items: vec![()],
                is_truncated: true,
                marker: Some(marker),
            })
        });
        assert!(endless.await.unwrap_err().to_string().contains("do not come to an end"));
        assert_eq!(count.load(Ordering::Relaxed), MOST_PAGES + 1);
    }
}
