//! Asks for work on behalf of a host, and starts it there.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::time::{Instant, sleep, sleep_until};

use super::core::Core;
use super::job;
use super::lines::{Lines, MOST_LINES};
use super::orders::Orders;
use crate::client::holder::{Held, Holder, Session, key};
use crate::client::{Error, RequestName};
use crate::fleet::file::Host;
use crate::protocol::api::{LeaseName, LeasedJob, Release};
use crate::ssh::connect::MOST_CHANNELS;
use crate::support::backoff::{Backoff, jittered};
use crate::support::clock::{Clock, Timestamp};

/// With all slots busy for so long, a claim for nothing is kept open to hear of cancels.
const BUSY: Duration = Duration::from_secs(1);
/// An empty answer that comes sooner than this was not waited for.
const AT_ONCE: Duration = Duration::from_millis(50);
/// How long a paused queue or host is left alone.
const PAUSED: Duration = Duration::from_secs(2);

/// Returns how many jobs a host runs at once: as the fleet file says, and no more than its connections carry.
pub(super) fn slots(host: &Host) -> u16 {
    let most = u32::try_from(MOST_LINES * MOST_CHANNELS).unwrap_or(u32::MAX);
    u16::try_from(host.slots.clamp(1, most)).unwrap_or(1)
}

/// Claims and starts jobs until it is dropped.
pub(super) async fn keep(core: &Arc<Core>, lines: &Arc<Lines>) {
    let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(10));
    // Until its answer has come: asked again, a claim brings what it brought before.
    let mut name = RequestName::fresh();
    loop {
        let session = core.session().await;
        match turn(core, lines, &session, &mut name).await {
            Ok(pause) => {
                backoff.reset();
                if let Some(pause) = pause {
                    sleep(jittered(pause)).await;
                }
            }
            Err(error) => {
                core.failed(&error);
                backoff.wait().await;
            }
        }
    }
}

/// Asks once. Returns how long to wait before the next time, if at all.
async fn turn(
    core: &Arc<Core>,
    lines: &Arc<Lines>,
    session: &Session,
    name: &mut RequestName,
) -> Result<Option<Duration>, Error> {
    let (most, until) = core.crowd.most(usize::from(core.slots()));
    let free = most.saturating_sub(core.running());
    let sent = (core.steady.now(), Instant::now());
    let max = u16::try_from(free).unwrap_or(u16::MAX);
    let reply = if max == 0 {
        tokio::select! {
            () = core.freed.notified() => return Ok(None),
            () = over(until) => return Ok(None),
            reply = listen(core, session) => reply?,
        }
    } else {
        let asked =
            core.means
                .client
                .claim_named(name, &session.host, max, Some(session.patience()));
        let reply = asked.await?;
        *name = RequestName::fresh();
        reply
    };
    core.works();
    if reply.heartbeat {
        core.beat.notify_one();
    }
    let any = !reply.jobs.is_empty();
    let mut refused = Vec::new();
    for job in reply.jobs {
        refused.extend(begin(core, lines, session, job, sent.0));
    }
    if !refused.is_empty() {
        release(core, session, refused, Duration::ZERO).await;
    }
    let waited = any || reply.heartbeat || sent.1.elapsed() >= AT_ONCE;
    Ok((!waited || reply.paused).then_some(PAUSED))
}

async fn over(until: Option<Instant>) {
    match until {
        Some(until) => sleep_until(until).await,
        None => std::future::pending().await,
    }
}

async fn listen(
    core: &Core,
    session: &Session,
) -> Result<crate::protocol::api::ClaimedMany, Error> {
    sleep(BUSY).await;
    let client = &core.means.client;
    client
        .claim(&session.host, 0, Some(session.patience()))
        .await
}

/// Starts a job. Gives its lease back if there is no slot for it after all, or these connections lead to where the host
/// is no more.
fn begin(
    core: &Arc<Core>,
    lines: &Arc<Lines>,
    session: &Session,
    job: LeasedJob,
    sent_at: Timestamp,
) -> Option<LeaseName> {
    let lease = LeaseName {
        job_id: job.id,
        attempt: job.attempts,
        lease_token: job.lease_token,
    };
    let host = core.host();
    if core.running() >= usize::from(core.slots()) || !lines.lead_to(&host) {
        return Some(lease);
    }
    let orders = Arc::new(Orders::new(core.table.until(sent_at, job.lease_ms)));
    core.table.insert(Held {
        lease,
        kind: String::new(),
        submitted_by: None,
        since: core.now(),
        orders: Some(Arc::clone(&orders)),
    });
    core.held.notify_one();
    let attempt = job::Attempt {
        core: Arc::clone(core),
        lines: Arc::clone(lines),
        host,
        orders,
        lease,
        logged: session.logs,
    };
    let keeper = Arc::clone(core);
    tokio::spawn(async move {
        // Otherwise its slot would be taken and its lease renewed for ever.
        if AssertUnwindSafe(attempt.run(job))
            .catch_unwind()
            .await
            .is_err()
        {
            keeper.abandoned(key(&lease));
        }
    });
    None
}

/// Gives leases back unharmed.
pub(super) async fn release(
    core: &Core,
    session: &Session,
    leases: Vec<LeaseName>,
    delay: Duration,
) {
    let release = Release {
        leases,
        delay_ms: super::view::millis(delay),
    };
    if let Err(error) = core.means.client.release(&session.host, &release).await {
        // The leases are named in no heartbeat any more, so they go back by themselves.
        core.failed(&error);
    }
}
