//! Signs calls to IAM for the region in which IAM of the partition lives, also where it is asked at another address. The
//! SDK knows that region with the address that it chooses by itself, and signs for the host's region where the address
//! is set; IAM refuses such a signature. Every IAM client of this crate and of the command line resolves by it.
//!
//! IAM User Guide, "Create a signed AWS API request": the credential scope names us-east-1 for IAM of the partition aws.

use aws_sdk_iam::config::endpoint::{DefaultResolver, EndpointFuture, Params, ResolveEndpoint};

/// The SDK's own resolver, with the signing region of IAM at every address.
#[derive(Debug)]
pub struct IamRegion;

impl ResolveEndpoint for IamRegion {
    fn resolve_endpoint<'a>(&'a self, params: &'a Params) -> EndpointFuture<'a> {
        EndpointFuture::new(async move {
            let sdk = DefaultResolver::new();
            let asked = sdk.resolve_endpoint(params).await?;
            let Some(address) = params.endpoint() else {
                return Ok(asked);
            };
            let region = params.region().map(str::to_owned);
            let own = Params::builder().set_region(region).build()?;
            let own = sdk.resolve_endpoint(&own).await?;
            Ok(own.into_builder().url(address.to_owned()).build())
        })
    }
}
