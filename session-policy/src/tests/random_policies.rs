//! 10⁵ random users and roles: what a session may do under the session policies made for it is exactly what user and
//! role both may do, in every context and under both readings of how far a wildcard reaches.

use super::super::{
    Compression, ManagedPolicy, PolicyArn, PolicyDocument, PolicyRefusal, SessionPolicies, restricted_instance_role,
};
use super::evaluator::{ACTIONS, Evaluator, Reading, Requests, Verdict, granted};
use super::{ACCOUNT, role, user};

/// The whole 10⁵ take two minutes of a debug build and seconds of `cargo test --release -p credd --lib policy`.
const CASES: usize = if cfg!(debug_assertions) { 5_000 } else { 100_000 };
const DOCUMENTS: usize = 5_000;

#[test]
fn a_session_may_do_exactly_what_user_and_role_both_may_compressed_or_not() {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut evaluators = [Evaluator::new(Reading::Wide), Evaluator::new(Reading::WithinParts)];
    let pool: Vec<Drawn> = (0..DOCUMENTS)
        .map(|number| Drawn::new(number, random.document(), &mut evaluators))
        .collect();
    let (mut refused, mut nothing) = (0, 0);
    for case in 0..CASES {
        let case = Case::draw(case, &mut random, &pool);
        for policies in case.session_policies() {
            match policies {
                Ok(policies) => nothing += usize::from(case.holds(&policies, &mut evaluators) == Requests::default()),
                Err(PolicyRefusal::TooLong { .. }) => refused += 1,
                Err(refusal) => panic!("{refusal}\n{case:?}"),
            }
        }
    }
    // So that the comparison is not one of nothing with nothing.
    assert!(refused < CASES / 50, "{refused} of {CASES} pairs too long");
    assert!(nothing < CASES, "nothing granted in {nothing} of {CASES} pairs");
}

/// A random document, as everybody sees it. Every second one, as a managed policy, is another account's and must be
/// spelled out.
struct Drawn {
    text: String,
    document: PolicyDocument,
    verdicts: [Verdict; 2],
    arn: PolicyArn,
}

impl Drawn {
    fn new(number: usize, text: String, evaluators: &mut [Evaluator; 2]) -> Self {
        let account = if number.is_multiple_of(2) {
            ACCOUNT
        } else {
            "210987654321"
        };
        Self {
            document: super::document(&text),
            verdicts: evaluators.each_mut().map(|evaluator| evaluator.judge(&text)),
            arn: format!("arn:aws:iam::{account}:policy/p{number}").parse().unwrap(),
            text,
        }
    }
}

struct Case<'a> {
    number: usize,
    inline: Vec<&'a Drawn>,
    managed: Vec<&'a Drawn>,
    role: Vec<&'a Drawn>,
}

impl<'a> Case<'a> {
    fn draw(number: usize, random: &mut Random, pool: &'a [Drawn]) -> Self {
        let mut documents = |fewest: usize, most: usize| -> Vec<&'a Drawn> {
            let count = fewest + random.below(most + 1 - fewest);
            (0..count).map(|_| &pool[random.below(pool.len())]).collect()
        };
        let (inline, managed, role) = (documents(0, 2), documents(0, 2), documents(1, 2));
        Self {
            number,
            inline,
            managed,
            role,
        }
    }

    /// Uncompressed and compressed.
    fn session_policies(&self) -> [Result<SessionPolicies, PolicyRefusal>; 2] {
        let mut user = user(&[]);
        user.inline = self.inline.iter().map(|drawn| drawn.document.clone()).collect();
        let managed = |drawn: &&Drawn| ManagedPolicy {
            arn: drawn.arn.clone(),
            document: drawn.document.clone(),
        };
        user.managed = self.managed.iter().map(managed).collect();
        let of_role: Vec<PolicyDocument> = self.role.iter().map(|drawn| drawn.document.clone()).collect();
        [Compression::Off, Compression::AgainstRole(&of_role)]
            .map(|compression| restricted_instance_role(&user, &role(), compression))
    }

    /// Compares what STS would apply, the inline policy and what each ARN names, with user and role. What was granted.
    fn holds(&self, policies: &SessionPolicies, evaluators: &mut [Evaluator; 2]) -> Requests {
        assert!(
            policies.policy().is_some() || !policies.policy_arns().is_empty(),
            "no session policy at all: {self:?}"
        );
        let mut last = Requests::default();
        for (reading, evaluator) in evaluators.iter_mut().enumerate() {
            let of = |drawn: &&Drawn| drawn.verdicts[reading];
            let user = granted(self.inline.iter().chain(&self.managed).map(of));
            let inline = policies.policy().map(|policy| evaluator.judge(policy.as_str()));
            let by_arn = |drawn: &&&Drawn| policies.policy_arns().iter().any(|arn| arn == drawn.arn.as_str());
            let session = granted(inline.into_iter().chain(self.managed.iter().filter(by_arn).map(of)));
            let role = granted(self.role.iter().map(of));
            assert!(
                without_other_roles(both(&role, &user)) == both(&role, &session),
                "{self:?}\nsession policies: {policies:?}"
            );
            last = both(&role, &session);
        }
        last
    }
}

/// Roles do not trust the user: what the user may assume, the session may not.
fn without_other_roles(mut requests: Requests) -> Requests {
    let assume_role = ACTIONS.iter().position(|action| *action == "sts:AssumeRole").unwrap();
    requests.iter_mut().for_each(|actions| actions[assume_role] = 0);
    requests
}

impl std::fmt::Debug for Case<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "case {}", self.number)?;
        for (whose, documents) in [
            ("inline", &self.inline),
            ("managed", &self.managed),
            ("role", &self.role),
        ] {
            documents
                .iter()
                .try_for_each(|drawn| writeln!(f, "{whose}: {}", drawn.text))?;
        }
        Ok(())
    }
}

fn both(a: &Requests, b: &Requests) -> Requests {
    let mut both = *a;
    for (mine, theirs) in both.iter_mut().flatten().zip(b.iter().flatten()) {
        *mine &= theirs;
    }
    both
}

const ACTION_PATTERNS: [&str; 20] = [
    "*",
    "*",
    "s3:*",
    "S3:*",
    "s3:Get*",
    "s3:get*",
    "s3:GetObject",
    "S3:GETOBJECT",
    "s3:*Object",
    "s3:GetObject?*",
    "s3:?etObject",
    "*:Get*",
    "iam:*",
    "iam:Get*",
    "iam:GetUser",
    "i*:*User",
    "sts:AssumeRole",
    "ec2:*",
    "logs:Get*",
    "*:*",
];

const RESOURCE_PATTERNS: [&str; 24] = [
    "*",
    "*",
    "*",
    "arn:aws:s3:::*",
    "arn:aws:s3:::a",
    "arn:aws:s3:::a*",
    "arn:aws:s3:::a/*",
    "arn:aws:s3:::?",
    "arn:aws:s3:::A",
    "arn:aws:s3:::*x",
    "arn:aws:s3:::[ab]",
    "arn:aws:s3:::[ab]*",
    "arn:aws:s3:::${s3:prefix}",
    "arn:aws:s3:::${s3:prefix}*",
    "arn:aws:s3:::b/${*}",
    "arn:aws:s3:::b/?",
    "arn:aws:s3:::${$}{*",
    "arn:aws:iam::*",
    "arn:aws:iam::1:*/a",
    "arn:aws:l*x",
    "arn:aws:logs:*:log-group:*",
    "arn:aws:*:eu:1:*",
    "arn:aws:*a",
    "arn:*:1:*",
];

const CONDITIONS: [&str; 6] = [
    r#"{"StringEquals":{"s3:prefix":"a"}}"#,
    r#"{"StringEquals":{"s3:prefix":["b","a"]}}"#,
    r#"{"StringEquals":{"s3:prefix":["a","b"]}}"#,
    r#"{"Bool":{"aws:SecureTransport":true}}"#,
    r#"{"Bool":{"aws:SecureTransport":"true"},"StringEquals":{"s3:prefix":"${*}"}}"#,
    r#"{"Bool":{"aws:SecureTransport":"false"}}"#,
];

/// xorshift64*, so that every run draws the same cases.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let limit = u64::try_from(limit).unwrap();
        usize::try_from((self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % limit).unwrap()
    }

    fn document(&mut self) -> String {
        let version = [
            r#""Version":"2012-10-17","#,
            r#""Version":"2012-10-17","#,
            r#""Version":"2008-10-17","#,
            "",
        ];
        let version = version[self.below(4)];
        let statements: Vec<String> = (0..=self.below(3)).map(|_| self.statement()).collect();
        match statements.as_slice() {
            [only] if self.below(2) == 0 => format!(r#"{{{version}"Statement":{only}}}"#),
            all => format!(r#"{{{version}"Statement":[{}]}}"#, all.join(",")),
        }
    }

    fn statement(&mut self) -> String {
        let effect = ["Allow", "Allow", "Deny"][self.below(3)];
        let actions = self.element("Action", &ACTION_PATTERNS);
        let resources = self.element("Resource", &RESOURCE_PATTERNS);
        let condition = match self.below(4) {
            0 => format!(r#","Condition":{}"#, CONDITIONS[self.below(CONDITIONS.len())]),
            _ => String::new(),
        };
        format!(r#"{{"Sid":"x","Effect":"{effect}",{actions},{resources}{condition}}}"#)
    }

    fn element(&mut self, name: &str, patterns: &[&str]) -> String {
        let not = if self.below(5) == 0 { "Not" } else { "" };
        let list: Vec<String> = (0..=self.below(3))
            .map(|_| format!("{:?}", patterns[self.below(patterns.len())]))
            .collect();
        match list.as_slice() {
            [only] if self.below(2) == 0 => format!(r#""{not}{name}":{only}"#),
            all => format!(r#""{not}{name}":[{}]"#, all.join(",")),
        }
    }
}
