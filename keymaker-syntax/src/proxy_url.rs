//! A proxy's URL, which may hold a password. The daemons' settings files hold it and keymaker-aws takes it; it is
//! never shown whole, by nobody.

use std::fmt;

use serde::{Deserialize, Serialize, Serializer};

/// Such as `http://user:password@proxy:3128`. Debug, Display and Serialize hide user and password.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct ProxyUrl(String);

impl ProxyUrl {
    /// Takes the text as it is; keymaker-aws says whether it is a URL.
    pub fn new(url: impl Into<String>) -> Self {
        Self(url.into())
    }

    /// The whole URL, for the connection only.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ProxyUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0.split_once("://"), self.0.rsplit_once('@')) {
            (_, None) => f.write_str(&self.0),
            (scheme, Some((_, host))) => write!(f, "{}://(hidden)@{host}", scheme.map_or("", |(scheme, _)| scheme)),
        }
    }
}

impl fmt::Debug for ProxyUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for ProxyUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
