//! What is there already, and whether it was made here.

use aws_sdk_iam::types::Tag;
use keymaker_aws::AwsCallError;

use crate::aws::AwsError;

/// The tag of whatever is made here.
pub fn mark() -> Result<Tag, AwsError> {
    let tag = Tag::builder().key(MADE_BY).value("configure").build();
    tag.map_err(|error| AwsError::NoRuntime(error.to_string()))
}

/// Whether these are the tags of something that was made here.
pub fn made_by_us(tags: &[Tag]) -> bool {
    tags.iter()
        .any(|tag| tag.key() == MADE_BY && tag.value() == "configure")
}

/// The error of a call, but for the entity not being there.
pub fn unless_absent<T>(answer: Result<T, AwsCallError>) -> Result<Option<T>, AwsError> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(AwsCallError::NoSuchEntity { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// A tag.
const MADE_BY: &str = "keymaker:made-by";
