//! Whom to connect to and how: values only, resolved before any packet is sent.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::ssh::auth::Identities;
use crate::ssh::known_hosts::KnownHosts;
use crate::ssh::throttle::Throttle;

/// One machine to log in to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// A name or an address, IPv6 without brackets.
    pub host: String,
    /// The TCP port.
    pub port: u16,
    /// The login name there.
    pub user: String,
    /// Key files to use instead of the agent and the default keys.
    pub keys: Vec<PathBuf>,
    /// The only host key to accept, as `SHA256:…`; it outweighs known_hosts.
    pub pinned: Option<String>,
}

impl Target {
    /// Returns `user@host:port` for messages, IPv6 in brackets.
    pub fn address(&self) -> String {
        if self.host.contains(':') {
            format!("{}@[{}]:{}", self.user, self.host, self.port)
        } else {
            format!("{}@{}:{}", self.user, self.host, self.port)
        }
    }
}

/// What to do with a host key that nobody vouched for. A changed key is refused in every case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HostKeyPolicy {
    /// Remember an unknown key and go on.
    #[default]
    AcceptNew,
    /// Refuse an unknown key.
    Strict,
    /// Go on with any unknown key and remember nothing.
    Off,
}

/// How often a silent server is asked for a sign of life, unless somebody says otherwise.
pub const KEEPALIVE: Duration = Duration::from_secs(15);

/// What all connections of one run share.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The limit for TCP, banner, key exchange and login together; none = wait for ever.
    pub connect_timeout: Option<Duration>,
    /// How often a silent server is asked for a sign of life; none = never, as long as TCP holds out.
    pub keepalive: Option<Duration>,
    /// Who the servers must be.
    pub known_hosts: Arc<KnownHosts>,
    /// Who we are.
    pub identities: Arc<Identities>,
    /// How many handshakes at once.
    pub throttle: Arc<Throttle>,
}
