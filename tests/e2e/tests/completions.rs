//! Completions, as they appear on the screen of a real terminal (tmux) in a real bash, zsh and fish, with the packages'
//! own files and nothing else configured but the prompt. `--nocapture` shows the screens.

use std::fs;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use e2e::{Host, NOISE, key_id, run, sh, until};

const PROMPT: &str = "ready>";

/// A shell at a terminal of its own, with the administrator's AWS credentials.
struct Terminal {
    shell: &'static str,
    tmux: String,
}

impl Terminal {
    fn open(shell: &'static str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let home = "/run/e2e/terminal";
        fs::create_dir_all(format!("{home}/fish")).expect("/run can be written");
        let bash = format!(". /usr/share/bash-completion/bash_completion; PS1='{PROMPT} '\n");
        let zsh = format!("autoload -U compinit; compinit -u; PS1='{PROMPT} '\n");
        let fish = format!("function fish_prompt; echo '{PROMPT} '; end; function fish_greeting; end\n");
        for (file, content) in [(".bashrc", bash), (".zshrc", zsh), ("fish/config.fish", fish)] {
            fs::write(format!("{home}/{file}"), content).expect("/run can be written");
        }
        let started = match shell {
            "bash" => format!("bash --rcfile {home}/.bashrc -i"),
            "zsh" => "zsh -i".to_owned(),
            _ => "fish -i".to_owned(),
        };
        let tmux = format!("tmux -L completions{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        sh(&format!(
            "LC_ALL=C.UTF-8 ZDOTDIR={home} XDG_CONFIG_HOME={home} sandbox-admin {tmux} -f /dev/null new-session -d -x 150 -y 70 '{started}'"
        ));
        let terminal = Self { shell, tmux };
        until(&format!("{shell} has its prompt"), Duration::from_secs(30), || {
            terminal.screen() == PROMPT
        });
        terminal
    }

    fn screen(&self) -> String {
        sh(&format!("{} capture-pane -p", self.tmux)).trim().to_owned()
    }

    /// Types this and as many tabs; all of `expected` comes on the screen.
    #[track_caller]
    fn shows(&self, typed: &str, tabs: usize, expected: &[&str]) {
        sh(&format!("{} send-keys -l -- '{typed}'", self.tmux));
        for _ in 0..tabs {
            sh(&format!("{} send-keys Tab", self.tmux));
        }
        until(
            &format!("{}: after {typed:?} the screen shows {expected:?}", self.shell),
            Duration::from_secs(30),
            || {
                let screen = self.screen();
                expected.iter().all(|word| screen.contains(word))
            },
        );
        println!("---- {}, {typed:?} and {tabs} × Tab\n{}", self.shell, self.screen());
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        run(&format!("{} kill-server", self.tmux));
    }
}

fn complete_in(shell: &'static str) {
    let _host = Host::fresh();
    let key = key_id("carol");
    let shows = |typed: &str, tabs, expected: &[&str]| Terminal::open(shell).shows(typed, tabs, expected);
    shows(
        "keymaker ",
        2,
        &["upload-key", "list-keys", "configure", "sync-roles", "doctor", "why"],
    );
    shows("keymaker upl", 1, &["keymaker upload-key"]);
    shows("keymaker capture ", 2, &["plan", "up", "down", "status"]);
    shows(
        "keymaker list-keys --",
        2,
        &["--user", "--json", "--profile", "--endpoint-url"],
    );
    shows("keymaker configure --meth", 1, &["keymaker configure --method"]);
    shows(
        "keymaker configure --method ",
        2,
        &["user-role", "restricted-instance-role", "shared-role"],
    );
    // Names that this host has published, and keys that IAM has now.
    shows("keymaker why al", 1, &["keymaker why alice"]);
    shows("keymaker why ", 2, &["alice", "bob", "carol"]);
    shows("keymaker list-keys --user ca", 1, &["keymaker list-keys --user carol"]);
    shows(
        "keymaker disable-key --user carol APK",
        1,
        &[&format!("keymaker disable-key --user carol {key}")],
    );
}

#[test]
fn bash_completes_commands_options_users_and_keys() {
    complete_in("bash");
}

#[test]
fn zsh_completes_commands_options_users_and_keys() {
    complete_in("zsh");
}

#[test]
fn fish_completes_commands_options_users_and_keys() {
    complete_in("fish");
}

#[test]
fn while_aws_hangs_the_prompt_is_back_within_a_second() {
    let _host = Host::fresh();
    sh("sandbox-fault hang");
    let began = Instant::now();
    let asked = run("_CLAP_COMPLETE_INDEX=4 COMPLETE=zsh keymaker -- keymaker disable-key --user carol APK");
    let waited = began.elapsed();
    sh("sandbox-fault none");
    assert!(waited < Duration::from_secs(1) + NOISE, "{waited:?}: {asked}");
}
