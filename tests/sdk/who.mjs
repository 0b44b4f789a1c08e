// Who am I to AWS? By the SDK's default chain, region and endpoint, as any program asks. Prints the ARN.
import { GetCallerIdentityCommand, STSClient } from "@aws-sdk/client-sts";

const identity = await new STSClient({}).send(new GetCallerIdentityCommand({}));
console.log(identity.Arn);
