"""Who am I to AWS? By the SDK's default chain, region and endpoint, as any program asks. Prints the ARN."""

import boto3

print(boto3.client("sts").get_caller_identity()["Arn"])
