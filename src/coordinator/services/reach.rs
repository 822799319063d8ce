//! What makes services reachable whose hosts are connected through tunnels alone. Whoever keeps the tunnels provides it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::net::SocketAddr;

use crate::coordinator::{Caller, Room};
use crate::protocol::HostId;
use crate::protocol::api::{AssignmentReport, Phase};

/// Where ports of one host can be reached, or why none can.
pub type Ways = Result<BTreeMap<u16, SocketAddr>, String>;

/// Leads from this machine to ports of hosts behind tunnels.
pub trait Reach: Debug + Send + Sync {
    /// Has exactly these ports of the daemon `holder` on `host` reachable, and those that were before no longer. It is
    /// asked again each time the daemon is heard, which is every few seconds.
    ///
    /// # Errors
    /// Why no port of the host can be reached, in words that fit behind `not reachable: `.
    fn lead(&self, host: &str, holder: &HostId, ports: &BTreeSet<u16>) -> Ways;
}

/// Has those services reachable that `reports`, all that `holder` has, say are there.
pub fn ways(room: &Room, caller: &Caller, holder: &HostId, reports: &[AssignmentReport]) -> Ways {
    let (Caller::Host { name, .. }, Some(reach)) = (caller, &room.settings.reach) else {
        return Ok(BTreeMap::new());
    };
    // Who drains still has callers.
    let there = |one: &&AssignmentReport| {
        one.endpoint.is_none() && matches!(one.phase, Phase::Ready | Phase::Draining)
    };
    let ports = reports.iter().filter(there).filter_map(|one| one.port);
    reach.lead(name, holder, &ports.collect())
}
