//! What the real metadata service has and users may read: the list of versions and the allow-list.
//!
//! `routes` reads it and nothing else does. It is data: a path that is not here does not exist for users. Folders end
//! in a slash; `{…}` stands for a value that `routes` parses. Source: "Instance metadata categories" of the EC2 User
//! Guide.

/// One path of the real service.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct PathEntry {
    /// The path below the version.
    pub pattern: &'static str,
    /// Who may read it where no rule says otherwise.
    pub readers: Readers,
    /// How long an answer stays good.
    pub freshness: Freshness,
}

/// Who may read a path by default.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Readers {
    /// Everybody on this host.
    Everybody,
    /// Only whom a rule names.
    ByRule,
}

/// How long an answer of the real service stays good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Freshness {
    /// It changes rarely, and then a minute late does no harm.
    Steady,
    /// It announces something: asked for again each time.
    Live,
}

/// The versions of the service in the order in which `/` lists them.
pub const VERSIONS: &[&str] = &[
    "1.0",
    "2007-01-19",
    "2007-03-01",
    "2007-08-29",
    "2007-10-10",
    "2007-12-15",
    "2008-02-01",
    "2008-09-01",
    "2009-04-04",
    "2011-01-01",
    "2011-05-01",
    "2012-01-12",
    "2014-02-25",
    "2014-11-05",
    "2015-10-20",
    "2016-04-19",
    "2016-06-30",
    "2016-09-02",
    "2018-03-28",
    "2018-08-17",
    "2018-09-24",
    "2019-10-01",
    "2020-10-27",
    "2021-01-03",
    "2021-03-23",
    "2021-07-15",
    "2022-07-09",
    "2022-09-24",
    "2024-04-11",
    "latest",
];

/// The allow-list.
pub const TABLE: &[PathEntry] = &[
    steady("meta-data/"),
    steady("meta-data/ami-id"),
    steady("meta-data/ami-launch-index"),
    steady("meta-data/ami-manifest-path"),
    steady("meta-data/ancestor-ami-ids"),
    live("meta-data/autoscaling/"),
    live("meta-data/autoscaling/target-lifecycle-state"),
    steady("meta-data/block-device-mapping/"),
    steady("meta-data/block-device-mapping/{device}"),
    live("meta-data/events/"),
    live("meta-data/events/maintenance/"),
    live("meta-data/events/maintenance/history"),
    live("meta-data/events/maintenance/scheduled"),
    live("meta-data/events/recommendations/"),
    live("meta-data/events/recommendations/rebalance"),
    steady("meta-data/hibernation/"),
    steady("meta-data/hibernation/configured"),
    steady("meta-data/hostname"),
    live("meta-data/instance-action"),
    steady("meta-data/instance-id"),
    steady("meta-data/instance-life-cycle"),
    steady("meta-data/instance-type"),
    steady("meta-data/ipv6"),
    steady("meta-data/kernel-id"),
    steady("meta-data/local-hostname"),
    steady("meta-data/local-ipv4"),
    steady("meta-data/mac"),
    by_rule("meta-data/managed-ssh-keys/"),
    by_rule("meta-data/managed-ssh-keys/active-keys/"),
    by_rule("meta-data/managed-ssh-keys/active-keys/{user}/"),
    by_rule("meta-data/managed-ssh-keys/signer-cert/"),
    by_rule("meta-data/managed-ssh-keys/signer-ocsp/"),
    by_rule("meta-data/managed-ssh-keys/signer-ocsp/{tag}"),
    steady("meta-data/metrics/"),
    steady("meta-data/metrics/vhostmd"),
    steady("meta-data/network/"),
    steady("meta-data/network/interfaces/"),
    steady("meta-data/network/interfaces/macs/"),
    steady("meta-data/network/interfaces/macs/{mac}/"),
    steady("meta-data/network/interfaces/macs/{mac}/device-number"),
    steady("meta-data/network/interfaces/macs/{mac}/interface-id"),
    steady("meta-data/network/interfaces/macs/{mac}/ipv4-associations/"),
    steady("meta-data/network/interfaces/macs/{mac}/ipv4-associations/{ipv4}"),
    steady("meta-data/network/interfaces/macs/{mac}/ipv4-prefix"),
    steady("meta-data/network/interfaces/macs/{mac}/ipv6-prefix"),
    steady("meta-data/network/interfaces/macs/{mac}/ipv6s"),
    steady("meta-data/network/interfaces/macs/{mac}/local-hostname"),
    steady("meta-data/network/interfaces/macs/{mac}/local-ipv4s"),
    steady("meta-data/network/interfaces/macs/{mac}/mac"),
    steady("meta-data/network/interfaces/macs/{mac}/network-card"),
    steady("meta-data/network/interfaces/macs/{mac}/network-card-index"),
    steady("meta-data/network/interfaces/macs/{mac}/owner-id"),
    steady("meta-data/network/interfaces/macs/{mac}/public-hostname"),
    steady("meta-data/network/interfaces/macs/{mac}/public-ipv4s"),
    steady("meta-data/network/interfaces/macs/{mac}/security-group-ids"),
    steady("meta-data/network/interfaces/macs/{mac}/security-groups"),
    steady("meta-data/network/interfaces/macs/{mac}/subnet-id"),
    steady("meta-data/network/interfaces/macs/{mac}/subnet-ipv4-cidr-block"),
    steady("meta-data/network/interfaces/macs/{mac}/subnet-ipv6-cidr-blocks"),
    steady("meta-data/network/interfaces/macs/{mac}/vpc-id"),
    steady("meta-data/network/interfaces/macs/{mac}/vpc-ipv4-cidr-block"),
    steady("meta-data/network/interfaces/macs/{mac}/vpc-ipv4-cidr-blocks"),
    steady("meta-data/network/interfaces/macs/{mac}/vpc-ipv6-cidr-blocks"),
    steady("meta-data/placement/"),
    steady("meta-data/placement/availability-zone"),
    steady("meta-data/placement/availability-zone-id"),
    steady("meta-data/placement/group-name"),
    steady("meta-data/placement/host-id"),
    steady("meta-data/placement/partition-number"),
    steady("meta-data/placement/region"),
    steady("meta-data/product-codes"),
    steady("meta-data/profile"),
    steady("meta-data/public-hostname"),
    steady("meta-data/public-ipv4"),
    steady("meta-data/public-keys/"),
    steady("meta-data/public-keys/{number}/"),
    steady("meta-data/public-keys/{number}/openssh-key"),
    steady("meta-data/ramdisk-id"),
    steady("meta-data/reservation-id"),
    steady("meta-data/security-groups"),
    steady("meta-data/services/"),
    steady("meta-data/services/domain"),
    steady("meta-data/services/partition"),
    live("meta-data/spot/"),
    live("meta-data/spot/instance-action"),
    live("meta-data/spot/termination-time"),
    steady("meta-data/system"),
    live("meta-data/tags/"),
    live("meta-data/tags/instance/"),
    live("meta-data/tags/instance/{tag}"),
    steady("dynamic/"),
    steady("dynamic/fws/"),
    steady("dynamic/fws/instance-monitoring"),
    steady("dynamic/instance-identity/"),
    steady("dynamic/instance-identity/document"),
    // Signatures prove to others (Vault, for one) that their bearer is this instance: not for every user.
    by_rule("dynamic/instance-identity/signature"),
    by_rule("dynamic/instance-identity/pkcs7"),
    by_rule("dynamic/instance-identity/rsa2048"),
    by_rule("user-data"),
];

const fn steady(pattern: &'static str) -> PathEntry {
    PathEntry {
        pattern,
        readers: Readers::Everybody,
        freshness: Freshness::Steady,
    }
}

const fn live(pattern: &'static str) -> PathEntry {
    PathEntry {
        pattern,
        readers: Readers::Everybody,
        freshness: Freshness::Live,
    }
}

const fn by_rule(pattern: &'static str) -> PathEntry {
    PathEntry {
        pattern,
        readers: Readers::ByRule,
        freshness: Freshness::Live,
    }
}
