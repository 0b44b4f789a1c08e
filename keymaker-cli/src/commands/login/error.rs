//! Why there is no proof, and what to do: the sentences that people read.

use std::io;
use std::path::PathBuf;

use crate::aws::AwsError;

/// Why there is no proof.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    #[error("{0}")]
    Aws(AwsError),
    #[error("HOME is not set, so there is no place for ~/.ssh/keymaker")]
    NoHome,
    #[error("{0}: {1}")]
    File(PathBuf, io::Error),
    #[error(
        "{0} is not yours alone, so no key is written there: chown it, chmod go-w it, or set HOME to your own (sudo -H does)"
    )]
    FolderOfOthers(PathBuf),
    #[error("{0} cannot be run ({1}): install OpenSSH's client")]
    NoProgram(&'static str, io::Error),
    #[error("{0} failed: {1}")]
    Program(&'static str, String),
    #[error(
        "ssh-keygen makes no ED25519 key ({0}): where this computer permits none, as in FIPS mode, take another one by --key-type ecdsa"
    )]
    NoEd25519Key(String),
    #[error(
        "this account makes no tokens: its administrator turns that on by 'keymaker configure --logins', or by \
         'aws iam enable-outbound-web-identity-federation'"
    )]
    FederationOff,
    #[error(
        "you may not ask AWS for a token ({0}): ask for a policy that allows sts:GetWebIdentityToken and sts:TagGetWebIdentityToken, such as \
         KeymakerLogins of 'keymaker configure --logins'; if you have it, sign in with your second factor"
    )]
    MayNotAsk(String),
    #[error(
        "you may not ask AWS for a token with an access key alone ({0}): if you have a policy for it that wants a second factor, as KeymakerLogins \
         does, get a session with one, by 'aws sts get-session-token --serial-number ARN --token-code CODE' or 'aws login'; if not, ask for \
         a policy that allows sts:GetWebIdentityToken and sts:TagGetWebIdentityToken, such as KeymakerLogins of 'keymaker configure --logins'"
    )]
    MayNotAskByKey(String),
    #[error(
        "a policy forbids you to ask AWS for a token ({0}), whatever another one allows: where it is the one that 'keymaker configure --logins' writes, \
         tokens for logins are for IAM users alone, so sign in as one; otherwise sign in with your second factor, or ask whoever wrote it"
    )]
    Forbidden(String),
    #[error(
        "you may ask AWS for a token, but not for one with tags ({0}): ask for a policy that allows sts:TagGetWebIdentityToken"
    )]
    MayNotTag(String),
    #[error(
        "your AWS session has ended ({0}): sign in again, by 'aws sso login' or 'aws login', or renew your access key"
    )]
    SessionEnded(String),
    #[error(
        "AWS refuses what this computer signs by its clock ({0}): set the clock, by 'sudo timedatectl set-ntp true' or in the system's settings"
    )]
    ClockOff(String),
    #[error("AWS's token would be too large ({0}): have fewer tags put on your user or session")]
    TooLarge(String),
    #[error(
        "no credentials of 'aws login' can be read by this program: 'eval \"$(aws configure export-credentials --format env)\"' hands them over, as \
         does credential_process in ~/.aws/config, or take a newer keymaker ({0})"
    )]
    TooOld(String),
    #[error(
        "this STS does not know tokens ({0}): choose a region's own with --region, for the global one has none, or another --endpoint-url"
    )]
    NoSuchCall(String),
    #[error("AWS answered with something that is no token")]
    NoToken,
    #[error("{0:?} cannot stand in ~/.ssh/config: use letters, digits and any of *?.,!:@_-")]
    NotAPattern(String),
    #[error("name a host: keymaker ssh HOST")]
    NoHost,
    #[error(
        "{0} cannot be reached by its id: install version 2 of the AWS CLI, for an EC2 Instance Connect endpoint, and Session Manager's plugin, for \
         Session Manager. Or say how to get there, by -o ProxyCommand=… or in ~/.ssh/config, or name the host: keymaker ssh --host {0} HOST"
    )]
    NoWay(String),
}

impl From<AwsError> for LoginError {
    fn from(error: AwsError) -> Self {
        Self::Aws(error)
    }
}
