//! `sync-roles` breaks off at each of its calls, in each way that a call can fail, in generated situations: the role
//! never has a right that neither the old nor the new policies give, and the next run completes it. Judged by the
//! evaluator of credd's policy tests, which shares no code with what makes the steps.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, HashMap};

use clap::Parser;
use keymaker_aws::{Action, AwsCallError, OutageCause, RoleArn};
use serde_json::{Value, json};

use super::account::{ListedAccount, ListedRole, ListedUser, Policies};
use super::options::{SyncRolesOptions, Trust};
use super::steps::{self, Make, RoleStep};
use super::wanted::WantedRole;
use super::{Done, wanted};

#[path = "../../../../session-policy/src/tests/evaluator.rs"]
mod evaluator;
use evaluator::{ACTIONS, CONTEXTS, Evaluator, RESOURCES, Reading, Requests, Verdict, granted};

const SITUATIONS: u64 = 50;
const MADE_AS: &str = "user-/ /";
const MOST_ATTACHED: usize = 10;
const MOST_CHARACTERS: usize = 10_240;

// P18
#[tokio::test]
async fn a_run_that_breaks_off_at_any_call_adds_no_right() {
    let mut judge = Judge::new();
    let (mut moments, mut calls, mut with_rights) = (0, 0, 0);
    for seed in 1..=SITUATIONS {
        let situation = Situation::draw(&mut Random(seed));
        let mut judge = |role: Option<&ListedRole>| situation.rights(role, &mut judge);
        let (before, after) = (judge(situation.present.as_ref()), judge(Some(&situation.done())));
        with_rights += usize::from(before != NONE || after != NONE);
        let whole = situation.run(&situation.present, None).await;
        assert_eq!(whole.outcome, Ok(0), "situation {seed}");
        assert_eq!(judge(whole.last()), after, "situation {seed}");
        let mut check = |run: &Run, from: usize, place: &str| {
            for moment in run.moments.iter().skip(from) {
                moments += 1;
                let there = judge(moment.as_ref());
                assert!(
                    within(&there, &before, &after),
                    "situation {seed}, {place}: {:?}",
                    run.made
                );
            }
        };
        check(&whole, 0, "undisturbed");
        calls += whole.moments.len();
        for at in 0..whole.moments.len() {
            for fault in [Fault::Lost, Fault::Denied, Fault::Quota] {
                let place = format!("{fault:?} at call {at}");
                let run = situation.run(&situation.present, Some((at, fault))).await;
                check(&run, at, &place);
                let again = situation.run(&run.last().map(copy), None).await;
                check(&again, 0, &place);
                assert!(again.outcome.is_ok(), "situation {seed}, {place}");
                let last = again.last().unwrap();
                assert_eq!(
                    (&last.policies, &last.boundary, &last.trust),
                    situation.as_wanted(),
                    "situation {seed}, {place}"
                );
                let settled = situation.run(&Some(copy(last)), None).await;
                assert_eq!(settled.moments.len(), 0, "nothing is left to do: {:?}", settled.made);
            }
        }
    }
    println!("{SITUATIONS} situations, {with_rights} with rights, {calls} calls, {moments} moments");
    assert!(
        with_rights > 25,
        "the comparison is not one of nothing with nothing: {with_rights}"
    );
}

// P18
#[tokio::test]
async fn a_role_that_is_deleted_gives_less_and_less() {
    let mut judge = Judge::new();
    for seed in 1..=SITUATIONS {
        let situation = Situation::draw(&mut Random(seed));
        let Some(role) = &situation.present else { continue };
        let before = situation.rights(Some(role), &mut judge);
        let iam = Fake::new(&Some(copy(role)), None);
        for step in steps::deletion(role) {
            iam.make(&step, &situation.wanted).await.unwrap();
        }
        let moments = iam.moments.into_inner();
        assert!(matches!(moments.last(), Some(None)), "situation {seed}");
        for moment in &moments {
            let there = situation.rights(moment.as_ref(), &mut judge);
            assert!(within(&there, &before, &NONE), "situation {seed}");
        }
    }
}

// P2
#[tokio::test]
async fn a_role_that_is_nobodys_by_its_name_goes_with_prune_and_no_other_does() {
    struct Case {
        what: &'static str,
        role: &'static str,
        listed: &'static [(&'static str, &'static str)],
        now: &'static [(&'static str, &'static str)],
        arguments: &'static [&'static str],
        made_for: Option<&'static str>,
        made_as: Option<&'static str>,
        named: bool,
        deleted: bool,
    }
    let base = Case {
        what: "",
        role: "role/user-boss",
        listed: &[("boss", "AIDABOSS")],
        now: &[("boss", "AIDABOSS")],
        arguments: &["--prune", "--yes"],
        made_for: Some("AIDABOSS"),
        made_as: Some("user-/ /"),
        named: false,
        deleted: false,
    };
    let cases = [
        Case {
            what: "its owner has it",
            ..base
        },
        Case {
            what: "renamed",
            listed: &[("boss2", "AIDABOSS")],
            now: &[("boss2", "AIDABOSS")],
            deleted: true,
            ..base
        },
        Case {
            what: "renamed, and another has the name",
            listed: &[("boss2", "AIDABOSS"), ("boss", "AIDAM")],
            now: &[("boss2", "AIDABOSS"), ("boss", "AIDAM")],
            deleted: true,
            ..base
        },
        Case {
            what: "made again",
            listed: &[("boss", "AIDANEW")],
            now: &[("boss", "AIDANEW")],
            deleted: true,
            ..base
        },
        Case {
            what: "gone",
            listed: &[],
            now: &[],
            deleted: true,
            ..base
        },
        Case {
            what: "gone, no --prune",
            listed: &[],
            now: &[],
            arguments: &[],
            named: true,
            ..base
        },
        Case {
            what: "renamed, --dry-run",
            listed: &[("boss2", "AIDABOSS")],
            now: &[("boss2", "AIDABOSS")],
            arguments: &["--prune", "--dry-run"],
            ..base
        },
        Case {
            what: "a listing cut short",
            listed: &[],
            named: true,
            ..base
        },
        Case {
            what: "renamed back since",
            listed: &[("boss2", "AIDABOSS")],
            named: true,
            ..base
        },
        Case {
            what: "another fleet's pattern",
            role: "role/dev-boss",
            listed: &[("boss2", "AIDABOSS")],
            now: &[("boss2", "AIDABOSS")],
            ..base
        },
        Case {
            what: "another fleet's pattern, which overlaps",
            role: "role/user-dev-boss",
            made_as: Some("user-dev-/ /"),
            ..base
        },
        Case {
            what: "another fleet's users, whose names overlap",
            listed: &[("boss-dev", "AIDABOSS")],
            now: &[("boss-dev", "AIDABOSS")],
            made_as: Some("user-/ /-dev"),
            ..base
        },
        Case {
            what: "another fleet's, and its owner is gone",
            role: "role/user-dev-boss",
            made_as: Some("user-dev-/ /"),
            listed: &[],
            now: &[],
            named: true,
            ..base
        },
        Case {
            what: "renamed, made by an earlier version",
            made_as: None,
            listed: &[("boss2", "AIDABOSS")],
            now: &[("boss2", "AIDABOSS")],
            deleted: true,
            ..base
        },
        Case {
            what: "it does not say for whom it was made",
            made_for: None,
            named: true,
            ..base
        },
        Case {
            what: "another fleet's path",
            role: "role/dev/user-boss",
            listed: &[("boss2", "AIDABOSS")],
            now: &[("boss2", "AIDABOSS")],
            ..base
        },
    ];
    for case in cases {
        let mut role = Situation::draw(&mut Random(3)).done();
        role.arn = format!("arn:aws:iam::123456789012:{}", case.role).parse().unwrap();
        role.made_for = case.made_for.map(str::to_owned);
        role.made_as = case.made_as.map(str::to_owned);
        let iam = Fake::new(&Some(copy(&role)), None);
        let named = |users: &[(&str, &str)]| -> BTreeMap<String, String> {
            users
                .iter()
                .map(|(name, id)| ((*name).to_owned(), (*id).to_owned()))
                .collect()
        };
        *iam.users.borrow_mut() = named(case.now);
        let user = |(name, id): (String, String)| ListedUser {
            name,
            id,
            groups: Vec::new(),
            policies: Policies::default(),
            boundary: None,
        };
        let mut account = ListedAccount {
            users: named(case.listed).into_iter().map(user).collect(),
            roles: [(role.arn.name().to_owned(), role)].into(),
            ..ListedAccount::default()
        };
        let arguments = ["sync-roles", "--instance-iam-role", "instances"];
        let options = Options::try_parse_from(arguments.iter().chain(case.arguments))
            .unwrap()
            .options;
        let mut done = Done::default();
        done.former(&iam, &mut account, &options).await.unwrap();
        assert_eq!(iam.role.borrow().is_none(), case.deleted, "{}", case.what);
        assert_eq!(done.gone.len(), usize::from(case.named), "{}", case.what);
        // Anybody who has the name now finds it free in the same run, and with --dry-run sees so.
        let foreseen = case.deleted || case.arguments.contains(&"--dry-run");
        assert_eq!(account.roles.is_empty(), foreseen, "{}", case.what);
    }
}

#[derive(Parser)]
pub struct Options {
    #[command(flatten)]
    pub options: SyncRolesOptions,
}

/// What a role gives to the instances, and what to the rest of their account.
type Rights = [Requests; 2];

const NONE: Rights = [[[0; ACTIONS.len()]; CONTEXTS.len()]; 2];

fn within(there: &Rights, before: &Rights, after: &Rights) -> bool {
    let flat = |rights: &Rights| rights.iter().flatten().flatten().copied().collect::<Vec<u16>>();
    let (there, before, after) = (flat(there), flat(before), flat(after));
    let either = before.iter().zip(after).map(|(before, after)| before | after);
    there.iter().zip(either).all(|(there, either)| there & !either == 0)
}

/// The evaluator, which is asked about each document once.
struct Judge {
    evaluator: Evaluator,
    known: HashMap<String, Verdict>,
}

impl Judge {
    fn new() -> Self {
        Self {
            evaluator: Evaluator::new(Reading::Wide),
            known: HashMap::new(),
        }
    }

    fn of(&mut self, document: &Value) -> Verdict {
        let text = document.to_string();
        let judged = self.known.entry(text);
        *judged.or_insert_with_key(|text| self.evaluator.judge(text))
    }
}

/// A role as it is, and as it should be.
struct Situation {
    present: Option<ListedRole>,
    wanted: WantedRole,
    /// What every managed policy says.
    managed: BTreeMap<String, Value>,
}

/// What came of a run.
struct Run {
    /// How many users were refused; `Err`: it broke off.
    outcome: Result<usize, ()>,
    /// The role after each call.
    moments: Vec<Option<ListedRole>>,
    made: Vec<RoleStep>,
    begin: Option<ListedRole>,
}

impl Run {
    fn last(&self) -> Option<&ListedRole> {
        self.moments.last().unwrap_or(&self.begin).as_ref()
    }
}

impl Situation {
    fn draw(random: &mut Random) -> Self {
        // Half of the managed policies are AWS's own: their documents are not in the account.
        let arn = |number: usize| match number % 2 {
            0 => format!("arn:aws:iam::123456789012:policy/p{number}"),
            _ => format!("arn:aws:iam::aws:policy/p{number}"),
        };
        let managed = (0..14).map(|number| (arn(number), random.document()));
        let managed: BTreeMap<String, Value> = managed.collect();
        let role: RoleArn = "arn:aws:iam::123456789012:role/user-a".parse().unwrap();
        let old = random.policies(&managed, None);
        let new = random.policies(&managed, Some(&old));
        let refused = random.below(8) == 0;
        let wanted = WantedRole {
            user: "a".to_owned(),
            user_id: "AIDAA".to_owned(),
            role: role.clone(),
            made_as: MADE_AS.to_owned(),
            trust: random.trust(),
            policies: if refused { wanted::nothing() } else { new },
            boundary: random.boundary(&managed),
            refused: refused.then(|| "it is refused".to_owned()),
        };
        let present = ListedRole {
            arn: role,
            trust: random.trust(),
            policies: old,
            boundary: random.boundary(&managed),
            made_here: true,
            made_for: Some("AIDAA".to_owned()),
            made_as: (random.below(2) > 0).then(|| MADE_AS.to_owned()),
        };
        Self {
            present: (random.below(4) > 0).then_some(present),
            wanted,
            managed,
        }
    }

    async fn run(&self, begin: &Option<ListedRole>, fault: Option<(usize, Fault)>) -> Run {
        let iam = Fake::new(begin, fault);
        let mut account = ListedAccount::default();
        let local = self.managed.iter().filter(|(arn, _)| !arn.contains(":aws:policy/"));
        account.managed = local.map(|(arn, document)| (arn.clone(), document.clone())).collect();
        if let Some(role) = begin {
            account.roles.insert("user-a".to_owned(), copy(role));
        }
        let mut done = Done::default();
        let wanted = WantedRole {
            user: self.wanted.user.clone(),
            user_id: self.wanted.user_id.clone(),
            role: self.wanted.role.clone(),
            made_as: self.wanted.made_as.clone(),
            trust: self.wanted.trust.clone(),
            policies: self.wanted.policies.clone(),
            boundary: self.wanted.boundary.clone(),
            refused: None,
        };
        let outcome = done.bring_about(&iam, &account, wanted, &instances(), false).await;
        Run {
            outcome: outcome.map(|()| done.refused.len()).map_err(drop),
            moments: iam.moments.into_inner(),
            made: iam.made.into_inner(),
            begin: begin.as_ref().map(copy),
        }
    }

    fn as_wanted(&self) -> (&Policies, &Option<String>, &Value) {
        (&self.wanted.policies, &self.wanted.boundary, &self.wanted.trust)
    }

    fn done(&self) -> ListedRole {
        ListedRole {
            arn: self.wanted.role.clone(),
            trust: self.wanted.trust.clone(),
            policies: self.wanted.policies.clone(),
            boundary: self.wanted.boundary.clone(),
            made_here: true,
            made_for: Some(self.wanted.user_id.clone()),
            made_as: Some(self.wanted.made_as.clone()),
        }
    }

    fn rights(&self, role: Option<&ListedRole>, judge: &mut Judge) -> Rights {
        let Some(role) = role else { return NONE };
        let attached = role.policies.attached.iter().map(|arn| &self.managed[arn]);
        let documents = role.policies.inline.values().chain(attached);
        let verdicts: Vec<Verdict> = documents.map(|document| judge.of(document)).collect();
        let mut rights = granted(verdicts);
        if let Some(boundary) = &role.boundary {
            let limit = granted([judge.of(&self.managed[boundary])]);
            for (right, limit) in rights.iter_mut().flatten().zip(limit.iter().flatten()) {
                *right &= limit;
            }
        }
        let account = role.trust == wanted::trust(Trust::Account, &instances());
        [rights, if account { rights } else { NONE[0] }]
    }
}

fn instances() -> RoleArn {
    "arn:aws:iam::123456789012:role/instances".parse().unwrap()
}

fn copy(role: &ListedRole) -> ListedRole {
    ListedRole {
        arn: role.arn.clone(),
        trust: role.trust.clone(),
        policies: role.policies.clone(),
        boundary: role.boundary.clone(),
        made_here: role.made_here,
        made_for: role.made_for.clone(),
        made_as: role.made_as.clone(),
    }
}

/// What becomes of one call, and of those after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// The program is gone, or the network: this call has arrived, nothing more does.
    Lost,
    /// This call is denied; others would not be.
    Denied,
    /// IAM refuses this call by a quota; others it takes.
    Quota,
}

/// One role in IAM.
struct Fake {
    role: RefCell<Option<ListedRole>>,
    fault: Option<(usize, Fault)>,
    calls: Cell<usize>,
    moments: RefCell<Vec<Option<ListedRole>>>,
    made: RefCell<Vec<RoleStep>>,
    /// `UserIds` by name, as `GetUser` says.
    users: RefCell<BTreeMap<String, String>>,
}

impl Fake {
    fn new(role: &Option<ListedRole>, fault: Option<(usize, Fault)>) -> Self {
        Self {
            role: RefCell::new(role.as_ref().map(copy)),
            fault,
            calls: Cell::new(0),
            moments: RefCell::default(),
            made: RefCell::default(),
            users: RefCell::default(),
        }
    }

    fn apply(&self, step: &RoleStep, wanted: &WantedRole) -> Result<(), AwsCallError> {
        let mut present = self.role.borrow_mut();
        if *step == RoleStep::Create {
            assert!(present.is_none(), "it exists");
            *present = Some(ListedRole {
                arn: wanted.role.clone(),
                trust: wanted.trust.clone(),
                policies: Policies::default(),
                boundary: wanted.boundary.clone(),
                made_here: true,
                made_for: Some(wanted.user_id.clone()),
                made_as: Some(wanted.made_as.clone()),
            });
            return Ok(());
        }
        let role = present.as_mut().ok_or(AwsCallError::NoSuchEntity { action: ACTION })?;
        let policies = &mut role.policies;
        match step {
            RoleStep::Create => {}
            RoleStep::Tag => role.made_as = Some(wanted.made_as.clone()),
            RoleStep::Trust => role.trust = wanted.trust.clone(),
            RoleStep::PutBoundary(arn) => role.boundary = Some(arn.clone()),
            RoleStep::DeleteBoundary => role.boundary = None,
            RoleStep::Put(name, document) => {
                let former = policies.inline.insert(name.clone(), document.clone());
                let length: usize = policies
                    .inline
                    .values()
                    .map(|document| document.to_string().len())
                    .sum();
                if length > MOST_CHARACTERS {
                    match former {
                        Some(former) => policies.inline.insert(name.clone(), former),
                        None => policies.inline.remove(name),
                    };
                    return Err(refused("LimitExceeded"));
                }
            }
            RoleStep::Attach(arn) => {
                if policies.attached.len() >= MOST_ATTACHED {
                    return Err(refused("LimitExceeded"));
                }
                policies.attached.insert(arn.clone());
            }
            RoleStep::Delete(name) => assert!(policies.inline.remove(name).is_some(), "{name} is not there"),
            RoleStep::Detach(arn) => assert!(policies.attached.remove(arn), "{arn} is not there"),
            RoleStep::DeleteRole => {
                assert_eq!(*policies, Policies::default());
                *present = None;
            }
        }
        Ok(())
    }
}

const ACTION: Action = Action::named("iam:Something");

fn refused(code: &str) -> AwsCallError {
    let (code, message) = (code.to_owned(), String::new());
    let cause = OutageCause::Refused { code, message };
    AwsCallError::Outage { action: ACTION, cause }
}

impl Make for Fake {
    async fn make(&self, step: &RoleStep, wanted: &WantedRole) -> Result<(), AwsCallError> {
        let number = self.calls.replace(self.calls.get() + 1);
        let lost = AwsCallError::Outage {
            action: ACTION,
            cause: OutageCause::Timeout,
        };
        match self.fault {
            Some((at, Fault::Lost)) if number > at => return Err(lost),
            Some((at, Fault::Quota)) if number == at => return Err(refused("LimitExceeded")),
            Some((at, Fault::Denied)) if number == at => {
                return Err(AwsCallError::AccessDenied {
                    action: ACTION,
                    message: String::new(),
                });
            }
            _ => {}
        }
        self.made.borrow_mut().push(step.clone());
        self.apply(step, wanted)?;
        self.moments.borrow_mut().push(self.role.borrow().as_ref().map(copy));
        match self.fault {
            Some((at, Fault::Lost)) if number == at => Err(lost),
            _ => Ok(()),
        }
    }

    async fn make_on(&self, step: &RoleStep, _: &str) -> Result<(), AwsCallError> {
        let mut present = self.role.borrow_mut();
        if *step == RoleStep::DeleteRole {
            let role = present.take().expect("a role");
            assert_eq!(role.policies, Policies::default());
            return Ok(());
        }
        let role = present.as_mut().expect("a role");
        match step {
            RoleStep::Put(name, document) => drop(role.policies.inline.insert(name.clone(), document.clone())),
            RoleStep::Delete(name) => drop(role.policies.inline.remove(name)),
            RoleStep::Detach(arn) => drop(role.policies.attached.remove(arn)),
            other => panic!("{other:?} of a role that goes"),
        }
        Ok(())
    }

    async fn user_id(&self, name: &str) -> Result<Option<String>, AwsCallError> {
        Ok(self.users.borrow().get(name).cloned())
    }
}

/// xorshift64*, so that every run draws the same situations.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let limit = u64::try_from(limit).unwrap();
        usize::try_from((self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % limit).unwrap()
    }

    fn policies(&mut self, managed: &BTreeMap<String, Value>, like: Option<&Policies>) -> Policies {
        let mut policies = Policies::default();
        for number in 0..self.below(5) {
            policies.inline.insert(format!("i{number}"), self.document());
        }
        let count = [0, 1, 2, 3, 10][self.below(5)];
        let arns: Vec<&String> = managed.keys().collect();
        while policies.attached.len() < count {
            policies.attached.insert(arns[self.below(arns.len())].clone());
        }
        // Some of it as it was.
        let kept = like.map(|like| &like.inline).into_iter().flatten();
        for (name, document) in kept {
            if self.below(2) == 0 {
                policies.inline.insert(name.clone(), document.clone());
            }
        }
        // Now and then no room is left for a word.
        let length = |policies: &Policies| policies.inline.values().map(|it| it.to_string().len()).sum::<usize>();
        while length(&policies) > MOST_CHARACTERS {
            policies.inline.pop_last();
        }
        if self.below(6) == 0 && length(&policies) + 200 < MOST_CHARACTERS {
            let mut filling = self.document();
            let room = MOST_CHARACTERS - length(&policies) - filling.to_string().len() - r#","Id":"""#.len();
            filling["Id"] = json!("x".repeat(room));
            policies.inline.insert("z".to_owned(), filling);
        }
        policies
    }

    fn boundary(&mut self, managed: &BTreeMap<String, Value>) -> Option<String> {
        let arns: Vec<&String> = managed.keys().collect();
        (self.below(3) == 0).then(|| arns[self.below(arns.len())].clone())
    }

    fn trust(&mut self) -> Value {
        let trust = if self.below(4) == 0 {
            Trust::Account
        } else {
            Trust::InstanceRole
        };
        wanted::trust(trust, &instances())
    }

    fn document(&mut self) -> Value {
        let statements: Vec<Value> = (0..=self.below(2)).map(|_| self.statement()).collect();
        json!({ "Version": "2012-10-17", "Statement": statements })
    }

    fn statement(&mut self) -> Value {
        let effect = ["Allow", "Allow", "Allow", "Deny"][self.below(4)];
        let actions = [
            "*",
            "s3:*",
            "s3:Get*",
            "iam:*",
            "ec2:*",
            "dynamodb:GetItem",
            "sts:AssumeRole",
        ];
        let actions: BTreeSet<&str> = (0..=self.below(2))
            .map(|_| actions[self.below(actions.len())])
            .collect();
        let resource = if self.below(3) == 0 {
            RESOURCES[1 + self.below(8)]
        } else {
            "*"
        };
        let mut statement = json!({ "Effect": effect, "Action": actions, "Resource": resource });
        if self.below(5) == 0 {
            statement["Condition"] = json!({ "Bool": { "aws:SecureTransport": "true" } });
        }
        statement
    }
}
