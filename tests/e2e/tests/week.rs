//! A week of a host that is stopped, sleeps and loses AWS: who could do what when, as a table that the run prints. In a moment, by touched
//! files; `tests/vm/week` is the long form.

use std::time::{Duration, Instant};

use e2e::{Host, make_user, run, sh, ssh, uid, until};

/// What somebody wants to do.
const DOINGS: [&str; 6] = [
    "ssh of alice",
    "her sudo",
    "her jobs of cron",
    "her user manager",
    "ssh of somebody new",
    "her credentials",
];

/// What leads to a moment, and what then works, in the order of [`DOINGS`].
struct Moment {
    when: &'static str,
    script: &'static str,
    is_silent: bool,
    works: [bool; 6],
}

/// How soon after IAM answers somebody is to get in. (Printed: a busy machine of tests says little about it.)
const GOAL: Duration = Duration::from_secs(10);

const WEEK: [Moment; 7] = [
    Moment {
        when: "the first boot",
        script: "true",
        is_silent: false,
        works: [true; 6],
    },
    Moment {
        when: "Monday, after three days off",
        script: "systemctl stop credd keymakerd; rm -f /run/keymaker/alive; touch -d '3 days ago' /var/lib/keymaker/public/contact
                 systemctl start keymakerd",
        is_silent: false,
        works: [true; 6],
    },
    // The clock jumps, and keymakerd has run all the time.
    Moment {
        when: "resumed, after 25 hours",
        script: "touch -d '25 hours ago' /var/lib/keymaker/public/contact",
        is_silent: false,
        works: [true; 6],
    },
    Moment {
        when: "AWS is silent for an hour",
        script: "sandbox-fault down; systemctl stop keymakerd; touch -d '1 hour ago' /var/lib/keymaker/public/contact; systemctl start keymakerd",
        is_silent: true,
        works: [true, true, true, true, false, true],
    },
    Moment {
        when: "for 30 hours",
        script: "systemctl stop keymakerd; touch -d '30 hours ago' /var/lib/keymaker/public/contact; systemctl start keymakerd",
        is_silent: true,
        works: [false, true, true, true, false, false],
    },
    Moment {
        when: "for 8 days",
        script: "systemctl stop keymakerd; touch -d '8 days ago' /var/lib/keymaker/public/contact; systemctl start keymakerd",
        is_silent: true,
        works: [false; 6],
    },
    Moment {
        when: "AWS is back, throttled first",
        script: "sandbox-fault throttle:GetRole; systemctl restart keymakerd
                 timeout 20 sh -c 'until jq -e .last_failure /run/keymaker/status.json | grep -q GetRole; do sleep 0.1; done'
                 sandbox-fault none",
        is_silent: false,
        works: [true; 6],
    },
];

// P5 P6 P7 P20
#[test]
fn in_a_week_of_stops_and_outages_everybody_can_do_what_they_may_and_nothing_else() {
    let _host = Host::with_settings("sudo_iam_group = \"keymaker_sudo\"\nsync_interval = 10");
    sh("keymaker capture up");
    ssh("alice", "true").ok();
    let mut table = vec![
        row("", DOINGS.map(str::to_owned)),
        row("---", DOINGS.map(|_| "---".to_owned())),
    ];
    let mut first_logins = Vec::new();
    let mut wrong = Vec::new();
    let manager = format!("user@{}", uid("alice"));
    for (number, moment) in WEEK.iter().enumerate() {
        let newcomer = format!("new{number}");
        // An administrator's work, which no fault touches.
        make_user(&newcomer, &["keymaker_devs"]);
        sh(moment.script);
        if moment.is_silent {
            until("AWS is known to be silent", Duration::from_secs(30), || {
                sh("jq .aws_is_silent /run/keymaker/status.json") == "true"
            });
        } else {
            let answers = Instant::now();
            until("alice gets in", Duration::from_secs(30), || {
                ssh("alice", "true").status == 0
            });
            first_logins.push((moment.when, answers.elapsed()));
        }
        let works = [
            ssh("alice", "true").status == 0,
            run("runuser -u alice -- sudo -n true").status == 0,
            run("pamtester cron alice acct_mgmt").status == 0,
            run(&format!("systemctl stop {manager}; systemctl start {manager}")).status == 0,
            ssh(&newcomer, "true").status == 0,
            run("runuser -u alice -- sh -c 'a=http://169.254.169.254/latest; t=$(curl -sSf -X PUT -H \"X-aws-ec2-metadata-token-ttl-seconds: 60\" $a/api/token)
                 curl -sSf -H \"X-aws-ec2-metadata-token: $t\" $a/meta-data/iam/security-credentials/'")
            .status
                == 0,
        ];
        table.push(row(
            moment.when,
            works.map(|works| if works { "yes" } else { "no" }.to_owned()),
        ));
        if works != moment.works {
            wrong.push(format!("{}: {:?}", moment.when, moment.works));
        }
    }
    println!("{}\n", table.join("\n"));
    println!(
        "| | from IAM's answer to the first login | within {} s |\n|---|---|---|",
        GOAL.as_secs()
    );
    for (when, took) in first_logins {
        let within = if took <= GOAL { "yes" } else { "no" };
        println!("| {when} | {:.1} s | {within} |", took.as_secs_f32());
    }
    assert!(
        wrong.is_empty(),
        "not as it should be: {wrong:#?}\n{}",
        table.join("\n")
    );
}

fn row(first: &str, cells: [String; 6]) -> String {
    format!("| {first} | {} |", cells.join(" | "))
}
