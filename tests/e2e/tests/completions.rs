//! Completions, as they appear on the screen of a real terminal (tmux) in a real bash, zsh and fish, with the packages' own files and
//! nothing else configured but the prompt. `--nocapture` shows the screens.

use std::fs;
use std::time::Duration;

use e2e::{Host, key_id, run, sh, until};

const TMUX: &str = "tmux -L completions";
const PROMPT: &str = "ready>";

/// A shell at a terminal, with the administrator's AWS credentials.
struct Terminal(&'static str);

impl Terminal {
    fn open(shell: &'static str) -> Self {
        let home = "/run/e2e/terminal";
        fs::create_dir_all(format!("{home}/fish")).expect("/run can be written");
        for (file, content) in [
            (
                ".bashrc",
                format!(". /usr/share/bash-completion/bash_completion; PS1='{PROMPT} '\n"),
            ),
            (
                ".zshrc",
                format!("autoload -U compinit; compinit -u; PS1='{PROMPT} '\n"),
            ),
            (
                "fish/config.fish",
                format!("function fish_prompt; echo '{PROMPT} '; end; function fish_greeting; end\n"),
            ),
        ] {
            fs::write(format!("{home}/{file}"), content).expect("/run can be written");
        }
        let started = match shell {
            "bash" => format!("bash --rcfile {home}/.bashrc -i"),
            "zsh" => "zsh -i".to_owned(),
            _ => "fish -i".to_owned(),
        };
        run(&format!("{TMUX} kill-server"));
        sh(&format!(
            "LC_ALL=C.UTF-8 ZDOTDIR={home} XDG_CONFIG_HOME={home} sandbox-admin {TMUX} -f /dev/null new-session -d -x 150 -y 70 '{started}'"
        ));
        let terminal = Self(shell);
        until(&format!("{shell} has its prompt"), Duration::from_secs(20), || {
            terminal.screen().contains(PROMPT)
        });
        terminal
    }

    fn screen(&self) -> String {
        sh(&format!("{TMUX} capture-pane -p")).trim_end().to_owned()
    }

    fn press(&self, keys: &str) {
        sh(&format!("{TMUX} send-keys {keys}"));
    }

    /// Types this and as many tabs; all of `expected` comes on the screen.
    #[track_caller]
    fn shows(&self, typed: &str, tabs: usize, expected: &[&str]) {
        // The first may only close a list of completions.
        until("the screen is empty", Duration::from_secs(20), || {
            self.press("C-c");
            self.press("C-l");
            self.screen().trim() == PROMPT
        });
        sh(&format!("{TMUX} send-keys -l -- '{typed}'"));
        for _ in 0..tabs {
            self.press("Tab");
        }
        until(
            &format!("{}: after {typed:?} the screen shows {expected:?}", self.0),
            Duration::from_secs(20),
            || {
                let screen = self.screen();
                expected.iter().all(|word| screen.contains(word))
            },
        );
        println!("---- {}, {typed:?} and {tabs} × Tab\n{}", self.0, self.screen());
    }
}

fn complete_in(shell: &'static str) {
    let _host = Host::fresh();
    let key = key_id("carol");
    let terminal = Terminal::open(shell);
    terminal.shows(
        "keymaker ",
        2,
        &["upload-key", "list-keys", "configure", "sync-roles", "doctor", "why"],
    );
    terminal.shows("keymaker upl", 1, &["keymaker upload-key"]);
    terminal.shows("keymaker capture ", 2, &["plan", "up", "down", "status"]);
    terminal.shows(
        "keymaker list-keys --",
        2,
        &["--user", "--json", "--profile", "--endpoint-url"],
    );
    terminal.shows("keymaker configure --meth", 1, &["keymaker configure --method"]);
    terminal.shows(
        "keymaker configure --method ",
        2,
        &["user-role", "restricted-instance-role", "shared-role"],
    );
    // Names that this host has published, and keys that IAM has now.
    terminal.shows("keymaker why al", 1, &["keymaker why alice"]);
    terminal.shows("keymaker why ", 2, &["alice", "bob", "carol"]);
    terminal.shows("keymaker list-keys --user ca", 1, &["keymaker list-keys --user carol"]);
    terminal.shows(
        "keymaker disable-key --user carol APK",
        1,
        &[&format!("keymaker disable-key --user carol {key}")],
    );
    sh(&format!("{TMUX} kill-server"));
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
