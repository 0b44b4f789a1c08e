//! keymaker(1), made from the same data as the help. A test compares it with docs/man/keymaker.1, which the packages
//! install; `KEYMAKER_WRITE_MAN=1 cargo test -p keymaker-cli manual` writes it.

#![cfg(all(target_os = "linux", feature = "host"))]

use std::io::Write;

use clap::{Command, CommandFactory};
use clap_mangen::Man;

use crate::arguments::{CommandLine, TOPICS};

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/man/keymaker.1");

/// Of the last change that matters to a reader.
const DATE: &str = "2026-11-29";

const END: &str = r#".SH BACKUPS
.B reset
and
.B migrate
keep what they take away in a new folder in /var/lib/keymaker\-backups, whose name they print; only root can read it. That of
.B reset
has who had which uid and name on this host, and the settings that were accepted; that of
.B migrate
also every file that it may change. This puts back the one named NAME, as root:
.PP
.nf
systemctl stop keymakerd
rm \-f /var/lib/keymaker/public/* /var/lib/keymaker/private/*
cp \-a /var/lib/keymaker\-backups/NAME/. /
systemctl daemon\-reload
systemctl start keymakerd
.fi
.PP
After
.B migrate
also: systemctl restart ssh. Backups are kept until somebody deletes them; an image must carry none, so
.B reset
takes
.BR \-\-no\-backup .
.SH SYNC\-ROLES BY A TIMER
keymaker\-sync\-roles.timer runs
.B sync\-roles
every ten minutes, on one host; it is off until somebody enables it. It wants two files of root's: options, and credentials of its own in the form of
~/.aws/credentials, which may do what
.B sync\-roles \-\-print\-policy
prints. The role of the instances must not have these rights: whoever has them can give themselves any other.
.PP
.nf
install \-m 0644 /dev/stdin /etc/keymaker/sync\-roles.env <<END
OPTIONS=\-\-instance\-iam\-role ROLE
AWS_REGION=us\-east\-1
END
install \-m 0600 credentials /etc/keymaker/sync\-roles.aws
systemctl enable \-\-now keymaker\-sync\-roles.timer
.fi
.PP
What each run did, and a role that is not in step, stand in the journal: journalctl \-u keymaker\-sync\-roles. Needs systemd 247 or newer.
.SH EXIT STATUS
0 done; 1 not done, or, of
.B doctor
and
.BR why ,
a finding or a closed gate; 2 wrong usage, also where something would be lost and there is neither a terminal to ask at nor
.BR \-\-yes .
.B status \-\-check
ends as a plugin of monitoring does: 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN.
What could not be done is said on standard error, with
.B \-\-json
as an object with the member
.BR error .
.SH ENVIRONMENT
What the AWS command line reads: AWS_PROFILE, AWS_REGION, AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID and their like, AWS_CA_BUNDLE, https_proxy. NO_COLOR,
or a standard output that is not a terminal, turns colours off.
.SH FILES
.I ~/.ssh/keymaker
.br
.I /run/keymaker/status.json
.br
.I /run/keymaker/login.sock
.br
.I /var/lib/keymaker/public/directory
.br
.I /etc/keymaker/sync\-roles.env
.br
.I /etc/keymaker/sync\-roles.aws
.SH EXAMPLES
A key of one's own, from any computer; an Ed25519 key goes into a tag:
.PP
.nf
keymaker upload\-key ~/.ssh/id_rsa.pub
keymaker upload\-key \-\-as\-tag ~/.ssh/id_ed25519.pub
keymaker list\-keys
.fi
.PP
The rights of the instances, and what everybody may do for themselves:
.PP
.nf
keymaker configure \-\-instance\-iam\-role web \-\-require\-iam\-group prod_ssh_users \-\-dry\-run
keymaker configure \-\-self\-service\-policy
.fi
.PP
On a host, as root: why alice cannot log in, and what else is wrong:
.PP
.nf
keymaker why alice
keymaker doctor
.fi
.SH SEE ALSO
.BR keymakerd (8),
.BR keymakerd.toml (5),
.BR nss_keymaker (8),
.BR pam_keymaker (8),
.BR keymaker\-keys (8),
.BR credd (8),
.BR credd\-capture (8)
"#;

fn page() -> Vec<u8> {
    let command = CommandLine::command();
    let man = Man::new(command.clone())
        .title("KEYMAKER")
        .date(DATE)
        .source("Keymaker")
        .manual("User commands");
    let mut page = Vec::new();
    man.render_title(&mut page).unwrap();
    man.render_name_section(&mut page).unwrap();
    man.render_synopsis_section(&mut page).unwrap();
    man.render_description_section(&mut page).unwrap();
    man.render_options_section(&mut page).unwrap();
    for (topic, names) in TOPICS {
        writeln!(page, ".SH {}", topic.to_uppercase()).unwrap();
        for name in names {
            describe(command.find_subcommand(name).unwrap(), "", &mut page);
        }
    }
    page.extend_from_slice(END.as_bytes());
    page
}

/// A heading with the synopsis, what it does, its own options; then its own commands.
fn describe(command: &Command, above: &str, page: &mut Vec<u8>) {
    let name = format!("{above}{}", command.get_name());
    let mut alone = command
        .clone()
        .disable_help_flag(true)
        .disable_help_subcommand(true)
        .bin_name(&name);
    let usage = alone.render_usage().to_string();
    let usage = usage.trim_start_matches("Usage: ").replace('-', r"\-");
    writeln!(page, ".SS {usage}").unwrap();
    let about = command.get_long_about().or(command.get_about()).unwrap().to_string();
    writeln!(page, "{}", about.replace('-', r"\-")).unwrap();
    let mut options = Vec::new();
    Man::new(alone.disable_version_flag(true))
        .render_options_section(&mut options)
        .unwrap();
    let options = String::from_utf8(options).unwrap();
    for line in options
        .lines()
        .filter(|line| !line.starts_with(".SH") && !line.starts_with(".ie") && !line.starts_with(".el"))
    {
        writeln!(page, "{line}").unwrap();
    }
    for subcommand in command.get_subcommands() {
        describe(subcommand, &format!("{name} "), page);
    }
}

#[test]
fn the_manual_page_is_made_from_the_same_source_as_the_help() {
    let made = String::from_utf8(page()).unwrap();
    if std::env::var_os("KEYMAKER_WRITE_MAN").is_some() {
        std::fs::write(PAGE, &made).unwrap();
    }
    let kept = std::fs::read_to_string(PAGE).unwrap();
    assert!(
        made == kept,
        "docs/man/keymaker.1 is out of step; KEYMAKER_WRITE_MAN=1 cargo test -p keymaker-cli manual writes it"
    );
}
