//! Where everything lies on a host. Programs take paths as parameters; these are the ones that `main` and the modules
//! pass in.

/// The folder of the published files; world-readable, owned by keymakerd.
pub const PUBLIC: &str = "/var/lib/keymaker/public";
/// Users, groups and who may log in: what NSS and PAM read.
pub const DIRECTORY: &str = "/var/lib/keymaker/public/directory";
/// The public keys of users: what sshd's keys command and the session check read.
pub const KEYS: &str = "/var/lib/keymaker/public/keys";
/// By whose signatures a proof opens a login, and what its token must say; there only where proofs are or were on.
pub const ISSUERS: &str = "/var/lib/keymaker/public/issuers";
/// What the keys command has accepted, for PAM's session check; keymaker-keys' alone.
pub const TICKETS: &str = "/run/keymaker-keys";
/// Verifies one proof.
pub const PROOF: &str = "/usr/libexec/keymaker/proof";
/// AWS's program for EC2 Instance Connect, where the packages of Debian and Ubuntu have it, and of Amazon Linux.
pub const INSTANCE_CONNECT: [&str; 2] = [
    "/usr/share/ec2-instance-connect/eic_run_authorized_keys",
    "/opt/aws/bin/eic_run_authorized_keys",
];
/// Its modification time is the last pass in which every listing of the grade and `GetRole` answered.
pub const CONTACT: &str = "/var/lib/keymaker/public/contact";
/// What only keymakerd reads: the id map, kept settings, what IAM last said.
pub const PRIVATE: &str = "/var/lib/keymaker/private";
/// Anybody may ask here whether a name exists.
pub const LOOKUP_SOCKET: &str = "/run/keymaker/lookup.sock";
/// Root, the keys command and credd ask here.
pub const LOGIN_SOCKET: &str = "/run/keymaker/login.sock";
/// Beside the sockets: keymakerd touches it every second, so that its age tells a daemon that hangs from one that is
/// busy.
pub const HEARTBEAT: &str = "alive";
/// What keymakerd thinks of itself: grade, errors, refused users.
pub const STATUS: &str = "/run/keymaker/status.json";
/// The administrator's settings for keymakerd.
pub const KEYMAKERD_TOML: &str = "/etc/keymaker/keymakerd.toml";
/// The local accounts, which always win.
pub const PASSWD: &str = "/etc/passwd";
/// The local groups, which always win.
pub const GROUP: &str = "/etc/group";
/// Which services glibc asks.
pub const NSSWITCH: &str = "/etc/nsswitch.conf";
/// Asks another service of this host whom it knows: keymakerd's child.
pub const OTHER_SERVICE: &str = "/usr/libexec/keymaker/other-service";
/// Says to a refused user, in one sentence, why.
pub const REFUSAL: &str = "/usr/libexec/keymaker/refusal";
/// The local group that sshd's `Match` goes by; every user of ours is in it.
pub const KEYMAKER_USERS: &str = "keymaker-users";
/// The local group that `/etc/sudoers.d/keymaker` names.
pub const KEYMAKER_SUDO: &str = "keymaker-sudo";
/// The system user as which sshd runs the keys command; its group may ask at the login socket.
pub const KEYMAKER_KEYS: &str = "keymaker-keys";
