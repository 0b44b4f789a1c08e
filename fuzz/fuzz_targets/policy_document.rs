//! Any bytes as a policy document: read or refused, never a panic; and what is made of one fits STS's limits, ends by
//! denying every other role (P18), and, read without that end, is made into the same text again.

#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};
use session_policy::{Compression, PolicyDocument, UserPolicies, restricted_instance_role};

fuzz_target!(|text: &str| {
    let _ = PolicyDocument::from_iam("fuzzed", text);
    let Ok(document) = PolicyDocument::parse("fuzzed", text) else {
        return;
    };
    let Some(policy) = session_policy(&document) else {
        return;
    };
    assert!(policy.chars().count() <= 2048);
    let mut made: Value = serde_json::from_str(&policy).expect("a policy is JSON");
    let statements = made["Statement"].as_array_mut().expect("a policy has statements");
    let last = statements.pop().expect("one at least");
    if statements.is_empty() {
        // Of a document that allows nothing.
        assert_eq!(last, json!({"Effect": "Deny", "Action": "*", "Resource": "*"}));
        return;
    }
    assert_eq!(
        last,
        json!({"Effect": "Deny", "Action": "sts:AssumeRole*", "Resource": "*"})
    );
    let again = PolicyDocument::parse("made", &made.to_string()).expect("what was made is read");
    assert_eq!(session_policy(&again).as_ref(), Some(&policy));
});

fn session_policy(document: &PolicyDocument) -> Option<String> {
    let user = UserPolicies {
        account: "123456789012".parse().expect("an account"),
        permissions_boundary: None,
        inline: vec![document.clone()],
        managed: Vec::new(),
    };
    let role = "arn:aws:iam::123456789012:role/web".parse().expect("a role");
    let of_role = [document.clone()];
    let _ = restricted_instance_role(&user, &role, Compression::AgainstRole(&of_role));
    let policies = restricted_instance_role(&user, &role, Compression::Off).ok()?;
    Some(
        policies
            .policy()
            .expect("without ARNs there is an inline policy")
            .as_str()
            .to_owned(),
    )
}
