//! Who am I to AWS? By the SDK's default chain, region and endpoint, as any program asks. Prints the ARN.

use aws_config::BehaviorVersion;
use aws_sdk_sts::error::DisplayErrorContext;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), String> {
    let http = aws_smithy_http_client::Builder::new().build_http();
    let config = aws_config::defaults(BehaviorVersion::latest())
        .http_client(http)
        .load()
        .await;
    let identity = aws_sdk_sts::Client::new(&config).get_caller_identity().send().await;
    let identity = identity.map_err(|error| DisplayErrorContext(error).to_string())?;
    println!("{}", identity.arn().unwrap_or("nobody"));
    Ok(())
}
