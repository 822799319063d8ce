//! Which hosts have a daemon. Asked of the coordinator once for all workers; of the hosts nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::client::{Client, Error};
use crate::fleet::file::HostName;
use crate::protocol::api::{HostRecord, HostState};

/// How old an answer may be.
const FRESH: Duration = Duration::from_secs(2);

/// How the daemon of a host stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Daemon {
    /// None was ever heard of.
    Unknown,
    /// It was there.
    Silent,
    /// It is there.
    Lives,
}

/// The daemons.
#[derive(Debug, Default)]
pub(super) struct Roll(Mutex<Option<(Instant, BTreeMap<String, Daemon>)>>);

impl Roll {
    /// Tells how the daemon stands that speaks for this host.
    pub(super) async fn daemon(&self, client: &Client, host: &HostName) -> Result<Daemon, Error> {
        let mut last = self.0.lock().await;
        if let Some((at, daemons)) = &*last
            && at.elapsed() < FRESH
        {
            return Ok(of(daemons, host));
        }
        let daemons = daemons(client.hosts().await?);
        let daemon = of(&daemons, host);
        *last = Some((Instant::now(), daemons));
        Ok(daemon)
    }
}

fn of(daemons: &BTreeMap<String, Daemon>, host: &HostName) -> Daemon {
    let known = daemons.get(host.as_str());
    known.copied().unwrap_or(Daemon::Unknown)
}

fn daemons(hosts: Vec<HostRecord>) -> BTreeMap<String, Daemon> {
    let mut daemons = BTreeMap::new();
    // Where jobs are pushed to, the id is the name; a daemon has one of its own.
    for host in hosts {
        if host.id.as_str() == host.name {
            continue;
        }
        let daemon = match host.state {
            HostState::Live => Daemon::Lives,
            HostState::Stale | HostState::Down | HostState::Unknown => Daemon::Silent,
        };
        let known = daemons.entry(host.name).or_insert(daemon);
        *known = daemon.max(*known);
    }
    daemons
}
