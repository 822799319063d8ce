//! Services: programs that should always run somewhere, and that the coordinator wants to run here.
//!
//! `sync` tells the coordinator how they stand and hears what is wanted; each has a thread of its own (`keeper`) that
//! starts its process and waits for it. Nothing of them needs a coordinator to go on.

mod blank;
mod drain;
mod instance;
mod keeper;
mod life;
mod logfile;
mod logs;
mod means;
mod orders;
mod original;
mod output;
mod ports;
mod ready;
mod restart;
mod sync;
mod table;
mod task;
#[cfg(test)]
mod tests;
mod two;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

pub(super) use self::sync::keep;
pub(super) use self::table::Services;
use crate::support::shutdown::{Shutdown, Urgency};

/// What hosts are called that run services.
pub(super) const CAPABILITY: &str = "service-host";
/// How long processes may take to be gone beyond what they are given.
const MARGIN: Duration = Duration::from_secs(8);
/// How long the coordinator may take to answer that we leave.
const HEARD: Duration = Duration::from_secs(2);
/// How long others may take to be ready in place of what runs here.
const HANDOVER: Duration = Duration::from_secs(12);
/// How long the coordinator may take to hear that they have ended.
const LAST_WORD: Duration = Duration::from_secs(3);

/// How services are run on a host.
#[derive(Debug, Clone)]
pub struct ServiceSettings {
    /// Whether any are.
    pub enabled: bool,
    /// The lowest port that one is given.
    pub base_port: u16,
    /// The start of the address at which others reach services here, without the port; if it is not given the
    /// coordinator takes the address that it sees.
    pub public_url: Option<String>,
}

/// Ends all services: once others serve in their place and their clients have left them, but no later than `most` from
/// now; at once if that is wanted.
pub(super) async fn stop(services: &Services, most: Duration, shutdown: &Shutdown) {
    let until = Instant::now() + most;
    let mut now = shutdown.clone();
    tokio::select! {
        () = services.handed_over(HEARD, HANDOVER.min(most / 2)) => {}
        () = now.reached(Urgency::Now) => {}
    }
    let most = until.saturating_duration_since(Instant::now());
    services.drain_all(most);
    let patience = most.saturating_add(MARGIN);
    tokio::select! {
        () = services.all_over() => {}
        () = sleep(patience) => {}
        () = now.reached(Urgency::Now) => {}
    }
    services.end_all();
    let _ = timeout(MARGIN, services.all_over()).await;
    if shutdown.urgency() < Urgency::Now {
        let _ = timeout(LAST_WORD, services.all_told()).await;
    }
}

/// Where services have their files, below the daemon's directory.
pub(super) fn home(state: &std::path::Path) -> PathBuf {
    state.join("services")
}

/// Everything that the threads of services share with the daemon.
pub(super) struct Shared {
    pub kinds: Arc<super::kinds::Kinds>,
    pub watch: Arc<super::watch::Watch>,
    pub tell: Arc<dyn Fn(super::notice::Notice) + Send + Sync>,
}
