//! `keymaker assign-uids`: writes a number into each IAM user's tag keymaker:uid, so that hosts agree about small numbers that no
//! formula could give without clashes.
//!
//! What is tagged already stays. A number is drawn from the `UserId`, and the next free one taken where it is somebody's: so one
//! that a deleted user left is seldom given again, which a host that knew that user would refuse. IAM tags by name: the account is
//! read again afterwards, by `UserId`.

use std::collections::BTreeMap;

use aws_sdk_iam::Client;
use aws_sdk_iam::types::{EntityType, Tag, UserDetail};
use clap::Args;
use keymaker_aws::{Action, AwsCallError, Page, UID_TAG, all_pages};
use keymaker_core::id::{IdRange, reserved_in};
use serde_json::json;
use sha2::{Digest, Sha256};

use super::CommandError;
use super::changes::{self, Change};
use crate::aws::{self, AwsError, AwsOptions, with_aws};
use crate::output::{Output, Paint};

const DETAILS: Action = Action::named("iam:GetAccountAuthorizationDetails");
const TAG_USER: Action = Action::named("iam:TagUser");

/// Which numbers.
#[derive(Args, Debug)]
pub struct AssignUidsOptions {
    /// The numbers to assign, both ends among them, as in `tag_uid_range` of keymakerd.toml: 200000-299999.
    #[arg(long, value_name = "FIRST-LAST", value_parser = range)]
    range: IdRange,
    /// Say what would be tagged, and change nothing.
    #[arg(long)]
    dry_run: bool,
}

/// Tags everybody who has no number; returns whether everybody has one of the range, and nobody another's.
pub fn run(options: &AssignUidsOptions, aws: &AwsOptions, output: &Output) -> Result<bool, CommandError> {
    with_aws(aws, |config| async move {
        let iam = aws::iam(&config);
        let planned = plan(&read(&iam).await?, options.range);
        let mut refused = planned.refused;
        if !options.dry_run {
            for (user, uid) in &planned.assigned {
                tag(&iam, &user.name, *uid).await?;
            }
            if !planned.assigned.is_empty() {
                refused = confirmed(&planned.assigned, plan(&read(&iam).await?, options.range));
            }
        }
        print(&planned.assigned, &refused, options, output);
        Ok(refused.is_empty())
    })
}

/// An IAM user, as far as numbers go.
#[derive(Clone, Debug, PartialEq, Eq)]
struct NumberedUser {
    /// `CreateDate` in seconds since 1970, then the `UserId`: of two with one number, the first has it on every host.
    made: (i64, String),
    name: String,
    tag: Option<String>,
}

/// What is to be done, and who stays without a number of their own.
#[derive(Debug, Default, PartialEq, Eq)]
struct UidPlan {
    assigned: Vec<(NumberedUser, u32)>,
    refused: Vec<(String, String)>,
}

fn plan(users: &[NumberedUser], range: IdRange) -> UidPlan {
    let mut plan = UidPlan::default();
    let mut users: Vec<&NumberedUser> = users.iter().collect();
    users.sort_by(|one, other| one.made.cmp(&other.made));
    let mut taken: BTreeMap<u32, &str> = BTreeMap::new();
    for user in users.iter().filter(|user| user.tag.is_some()) {
        let tag = user.tag.as_deref().unwrap_or_default();
        let number = tag
            .parse::<u32>()
            .ok()
            .filter(|_| tag.bytes().all(|byte| byte.is_ascii_digit()));
        let why = match number.map(|number| (number, taken.get(&number))) {
            None => format!("the tag {UID_TAG} is {tag:?}, which is no number: remove it, and run this again"),
            Some((number, Some(first))) => {
                format!("the tag {UID_TAG} is {number}, which {first} has: remove it, and run this again")
            }
            Some((number, None)) => {
                taken.insert(number, &user.name);
                if range.contains(number) {
                    continue;
                }
                format!(
                    "the tag {UID_TAG} is {number}, outside the range: remove it, and run this again, or widen the range"
                )
            }
        };
        plan.refused.push((user.name.clone(), why));
    }
    for user in users.iter().filter(|user| user.tag.is_none()) {
        match free(&user.made.1, range, &taken) {
            Some(uid) => {
                taken.insert(uid, &user.name);
                plan.assigned.push((Clone::clone(*user), uid));
            }
            None => {
                let why = "every number of the range is somebody's: widen the range, here and in tag_uid_range";
                plan.refused.push((user.name.clone(), why.to_owned()));
            }
        }
    }
    plan
}

/// The number that the `UserId` draws, or the next one, from the beginning again after the end, that nobody has.
fn free(user_id: &str, range: IdRange, taken: &BTreeMap<u32, &str>) -> Option<u32> {
    let hash = Sha256::digest(user_id);
    let number = hash.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes));
    let drawn = u32::try_from(number.checked_rem(range.len())?).ok()?;
    let drawn = range.first.checked_add(drawn)?;
    let mut after = (drawn..=range.last).chain(range.first..drawn);
    after.find(|uid| !taken.contains_key(uid))
}

/// Who is without a number now, and whose tag another user has: a name that was moved to another user between the calls.
fn confirmed(assigned: &[(NumberedUser, u32)], now: UidPlan) -> Vec<(String, String)> {
    let mut refused = now.refused;
    for (user, uid) in assigned {
        if now.assigned.iter().any(|(still, _)| still.made == user.made) {
            let why = format!("{uid} is not the user's: the name was given to another user meanwhile; run this again");
            refused.push((user.name.clone(), why));
        }
    }
    refused
}

async fn read(iam: &Client) -> Result<Vec<NumberedUser>, AwsError> {
    let pages = all_pages(DETAILS, async |marker| {
        let request = iam.get_account_authorization_details().filter(EntityType::User);
        let answer = request.set_marker(marker).send().await;
        Page::of(DETAILS, answer, |mut page| {
            let (is_truncated, marker) = (page.is_truncated, page.marker.take());
            (vec![page], is_truncated, marker)
        })
    });
    let pages = pages.await?;
    Ok(pages
        .iter()
        .flat_map(|page| page.user_detail_list())
        .map(numbered)
        .collect())
}

fn numbered(user: &UserDetail) -> NumberedUser {
    let text = |field: Option<&str>| field.unwrap_or_default().to_owned();
    let tag = user.tags().iter().find(|tag| tag.key() == UID_TAG);
    NumberedUser {
        made: (user.create_date().map_or(0, |date| date.secs()), text(user.user_id())),
        name: text(user.user_name()),
        tag: tag.map(|tag| tag.value().to_owned()),
    }
}

async fn tag(iam: &Client, user: &str, uid: u32) -> Result<(), AwsError> {
    let tag = Tag::builder().key(UID_TAG).value(uid.to_string()).build();
    let tag = tag.map_err(|why| AwsCallError::unreadable(TAG_USER, why.to_string()))?;
    let answer = iam.tag_user().user_name(user).tags(tag).send().await;
    answer
        .map(drop)
        .map_err(|error| AwsCallError::from_sdk(TAG_USER, error).into())
}

fn print(assigned: &[(NumberedUser, u32)], refused: &[(String, String)], options: &AssignUidsOptions, output: &Output) {
    let change = |(user, uid): &(NumberedUser, u32)| Change {
        what: format!("IAM user {}: tag {UID_TAG} = {uid}", user.name),
        before: String::new(),
        after: String::new(),
    };
    let changes: Vec<Change> = assigned.iter().map(change).collect();
    let (mut text, mut value) = changes::shown(&changes, options.dry_run, output);
    for (user, why) in refused {
        text += &format!("\n{} {user}: {why}", output.paint(Paint::Bad, "refused"));
    }
    let IdRange { first, last } = options.range;
    text += &format!("\nHosts go by it with tags = [\"uid\"] and tag_uid_range = [{first}, {last}] in keymakerd.toml.");
    if let Some(fields) = value.as_object_mut() {
        let refused = refused.iter().map(|(user, why)| json!({ "user": user, "why": why }));
        fields.insert("refused".to_owned(), refused.collect());
    }
    output.print(&text, &value);
}

fn range(text: &str) -> Result<IdRange, String> {
    let ends = text
        .split_once('-')
        .and_then(|(first, last)| Some((first.parse().ok()?, last.parse().ok()?)));
    let Some((first, last)) = ends.filter(|(first, last): &(u32, u32)| first <= last) else {
        return Err("a range is two numbers, the smaller first, such as 200000-299999".to_owned());
    };
    let range = IdRange { first, last };
    reserved_in(range).map_or(Ok(range), |whose| Err(whose.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RANGE: IdRange = IdRange {
        first: 200_000,
        last: 200_009,
    };

    fn user(name: &str, made: i64, tag: Option<&str>) -> NumberedUser {
        NumberedUser {
            made: (made, format!("AIDA{name}")),
            name: name.to_owned(),
            tag: tag.map(str::to_owned),
        }
    }

    /// The account once the plan is carried out.
    fn after(users: &[NumberedUser], plan: &UidPlan) -> Vec<NumberedUser> {
        let mut users = users.to_vec();
        for user in &mut users {
            let assigned = plan.assigned.iter().find(|(assigned, _)| assigned.made == user.made);
            user.tag = assigned.map(|(_, uid)| uid.to_string()).or(user.tag.take());
        }
        users
    }

    #[test]
    fn everybody_has_one_number_of_the_range_and_a_second_run_changes_nothing() {
        let users: Vec<_> = (0..10).map(|n| user(&format!("u{n}"), n, None)).collect();
        let first = plan(&users, RANGE);
        let numbers: std::collections::BTreeSet<u32> = first.assigned.iter().map(|(_, uid)| *uid).collect();
        assert_eq!(
            numbers.into_iter().collect::<Vec<_>>(),
            (200_000..=200_009).collect::<Vec<_>>()
        );
        let mut tagged = after(&users, &first);
        assert_eq!(plan(&tagged, RANGE), UidPlan::default());
        // In whatever order IAM lists them.
        let mut reversed = users.clone();
        reversed.reverse();
        assert_eq!(plan(&reversed, RANGE), first);
        tagged.push(user("late", 99, None));
        let full = plan(&tagged, RANGE);
        assert!(
            full.assigned.is_empty() && full.refused[0].1.contains("widen"),
            "{full:?}"
        );
    }

    #[test]
    fn what_is_tagged_stays_and_whatever_is_wrong_about_it_is_said() {
        let users = [
            user("first", 1, Some("200003")),
            user("second", 2, Some("200003")),
            user("outside", 3, Some("5")),
            user("unreadable", 4, Some("+200004")),
            user("new", 5, None),
        ];
        let found = plan(&users, RANGE);
        let refused: Vec<&str> = found.refused.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(refused, ["second", "outside", "unreadable"]);
        assert!(found.refused[0].1.contains("which first has"));
        let [(new, uid)] = found.assigned.as_slice() else {
            panic!("{found:?}")
        };
        assert!(new.name == "new" && *uid != 200_003 && RANGE.contains(*uid));
    }

    #[test]
    fn a_name_that_moved_between_the_calls_is_said() {
        let users = [user("alice", 1, None)];
        let planned = plan(&users, RANGE);
        assert!(confirmed(&planned.assigned, plan(&after(&users, &planned), RANGE)).is_empty());
        let refused = confirmed(&planned.assigned, plan(&users, RANGE));
        assert!(refused[0].1.contains("another user"), "{refused:?}");
    }

    #[test]
    fn a_range_that_belongs_to_somebody_is_refused_with_their_name() {
        assert_eq!(
            range("200000-299999"),
            Ok(IdRange {
                first: 200_000,
                last: 299_999
            })
        );
        for (text, whose) in [
            ("500-2000", "0 to 999, which belong to system accounts"),
            ("500000-600000", "containers"),
            ("60000-70000", "DynamicUser"),
        ] {
            let refusal = range(text).unwrap_err();
            assert!(refusal.contains(whose), "{refusal}");
        }
        for text in ["", "5", "9-5", "a-b", "1-2-3"] {
            assert!(range(text).unwrap_err().contains("two numbers"), "{text}");
        }
    }
}
