//! Which hosts have a daemon that lives. Asked of the coordinator once for all workers; of the hosts nothing.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::client::{Client, Error};
use crate::fleet::file::HostName;
use crate::protocol::api::{HostRecord, HostState};

/// How old an answer may be.
const FRESH: Duration = Duration::from_secs(5);

/// The daemons.
#[derive(Debug, Default)]
pub(super) struct Roll(Mutex<Option<(Instant, BTreeSet<String>)>>);

impl Roll {
    /// Tells whether a daemon speaks for this host.
    pub(super) async fn has(&self, client: &Client, host: &HostName) -> Result<bool, Error> {
        let mut last = self.0.lock().await;
        if let Some((at, names)) = &*last
            && at.elapsed() < FRESH
        {
            return Ok(names.contains(host.as_str()));
        }
        let names = daemons(client.hosts().await?);
        let has = names.contains(host.as_str());
        *last = Some((Instant::now(), names));
        Ok(has)
    }
}

fn daemons(hosts: Vec<HostRecord>) -> BTreeSet<String> {
    hosts
        .into_iter()
        // Where jobs are pushed to, the id is the name; a daemon has one of its own.
        .filter(|host| host.state == HostState::Live && host.id.as_str() != host.name)
        .map(|host| host.name)
        .collect()
}
