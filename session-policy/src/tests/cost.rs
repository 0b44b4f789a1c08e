//! What a composition costs, against tests/budgets.txt: optimized, as it is shipped, since the figure of another build
//! says nothing.

use counted::{Budgets, INSTRUCTIONS, each};

use super::super::{Compression, restricted_instance_role};
use super::{document, managed, policy, role, user};

#[test]
fn a_composition_costs_what_its_budget_says() {
    if counted::is_counted() {
        return compose(counted::wanted().1);
    }
    let mut budgets = Budgets::default();
    let instructions = |times| counted::instructions(&mut counted::this_test(INSTRUCTIONS, 10, times));
    budgets.judge("composition", "instructions", each(10, 30, instructions));
    budgets.are_kept();
}

/// A user with five policies of their own and five managed ones, under a role that allows all but one service.
fn compose(times: u64) {
    let text = |number: u64| {
        policy(&format!(
            r#"{{"Effect":"Allow","Action":["s3:GetObject","s3:List*"],"Resource":"arn:aws:s3:::bucket{number}/*"}},
               {{"Effect":"Deny","Action":"s3:DeleteObject","Resource":"arn:aws:s3:::bucket{number}/kept/*",
                 "Condition":{{"Bool":{{"aws:SecureTransport":"false"}}}}}}"#
        ))
    };
    let inline: Vec<String> = (0..5).map(text).collect();
    let mut person = user(&inline.iter().map(String::as_str).collect::<Vec<_>>());
    person.managed = (5..10)
        .map(|number| managed(&format!("arn:aws:iam::aws:policy/Managed{number}"), &text(number)))
        .collect();
    let of_role = [document(&policy(
        r#"{"Effect":"Allow","Action":"*","Resource":"*"},{"Effect":"Deny","Action":"iam:*","Resource":"*"}"#,
    ))];
    for _ in 0..times {
        restricted_instance_role(&person, &role(), Compression::AgainstRole(&of_role)).unwrap();
    }
}
