//! The options of `keymaker login` and `keymaker ssh`.

#![expect(clippy::doc_markdown, reason = "clap prints these comments, in help and manual")]

use clap::{Args, ValueEnum};

use super::instance::InstanceId;

/// What the command line says.
#[derive(Args, Clone, Debug, Default)]
pub struct LoginOptions {
    /// Do nothing while the present proof has a minute left.
    #[arg(long)]
    pub if_needed: bool,
    /// Give the certificate to the SSH agent too, for as long as it holds. The agent then shows it to every server that you visit.
    #[arg(long)]
    pub agent: bool,
    /// Print lines for ~/.ssh/config by which ssh, scp, rsync, git and Ansible log in so to the hosts of this pattern.
    #[arg(long, value_name = "PATTERN")]
    pub ssh_config: Option<String>,
    /// Where in ~/.ssh/keymaker the proof is kept: the lines of --ssh-config name the place of their key, whatever session you are signed in by later.
    #[arg(long, value_name = "ID", value_parser = place_name)]
    pub place: Option<String>,
    #[command(flatten)]
    pub how: HowToProve,
}

/// How a proof is made.
#[derive(Args, Clone, Debug, Default)]
pub struct HowToProve {
    /// The type of the key.
    #[arg(long, value_enum, default_value_t)]
    pub key_type: ProofKeyType,
    /// For whom the proof is: login_audience of the hosts, where their keymakerd.toml says so.
    #[arg(long, value_name = "TEXT")]
    pub audience: Option<String>,
    /// Ask for a proof that opens this instance alone, i-…; a host whose name is such an id needs no word of it.
    #[arg(long, value_name = "INSTANCE", value_parser = instance_id)]
    pub host: Option<String>,
}

/// The types of key that a proof may be for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ProofKeyType {
    /// Ed25519
    #[default]
    Ed25519,
    /// ECDSA on P-256, where FIPS 140 rules
    Ecdsa,
}

fn place_name(text: &str) -> Result<String, String> {
    let is_one = text.len() == PLACE_NAME && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    is_one
        .then(|| text.to_owned())
        .ok_or_else(|| "write eight hexadecimal digits, as in the lines of --ssh-config".to_owned())
}

fn instance_id(text: &str) -> Result<String, String> {
    let id = InstanceId::parse(text).map(|_| text.to_owned());
    id.ok_or_else(|| "write an instance's id, such as i-0123456789abcdef0".to_owned())
}

/// How long the name of a place is, in hexadecimal digits.
pub const PLACE_NAME: usize = 8;
