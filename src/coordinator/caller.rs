//! Who speaks over a connection. What that allows is decided in `admission` and `api/scope`.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use crate::queue::cluster::MemberId;
use crate::support::secret::Secret;

/// Who speaks over a connection. Known before its first byte and the same for all its requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caller {
    /// The user whose coordinator this is, or root of the same machine: may do everything, without a
    /// token.
    Owner,
    /// Whoever can reach the port: shows the shared token.
    Network(IpAddr),
    /// A host at the other end of its tunnel: acts for itself only.
    Host {
        /// The only name that it may register with.
        name: String,
        /// It may also submit jobs, and read all.
        may_submit: bool,
        /// What is said of it here; without it, its own word counts.
        said: Option<Said>,
        /// What each request must show besides, where others on that host could use the tunnel too.
        token: Option<Secret>,
    },
}

/// What decides which jobs a host gets and is not for the host to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// Its share of the work relative to other hosts, at least 1.
    pub weight: u32,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// What it can do; without it, its own word counts.
    pub capabilities: Option<Vec<String>>,
    /// How many jobs it may run at once.
    pub slots: u16,
}

/// The member of a cluster that passed a request on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Via {
    /// Its number.
    pub member: MemberId,
    /// Where its connection comes from: from itself, or from a proxy before this coordinator.
    pub address: IpAddr,
}

impl Caller {
    /// Tells whether it is on the machine whose coordinator it came to.
    pub fn is_near(&self) -> bool {
        match self {
            Self::Owner => true,
            Self::Network(address) => address.to_canonical().is_loopback(),
            Self::Host { .. } => false,
        }
    }

    /// Returns what is said here of the host that speaks.
    pub const fn said(&self) -> Option<&Said> {
        match self {
            Self::Host { said, .. } => said.as_ref(),
            Self::Owner | Self::Network(_) => None,
        }
    }

    /// Returns how many jobs it may be given of the `asked` ones.
    pub fn at_most(&self, asked: u16) -> u16 {
        self.said().map_or(asked, |said| asked.min(said.slots))
    }
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Owner => f.write_str("owner"),
            Self::Network(address) => address.fmt(f),
            Self::Host { name, .. } => write!(f, "host {name}"),
        }
    }
}
