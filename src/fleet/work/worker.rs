//! One worker from its start to its end: connect, look, work until the connection dies, again.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::core::Core;
use super::look::{Seen, look};
use super::view::State;
use super::{claim, heartbeat, register};
use crate::client::holder::{self, Report, Stop};
use crate::fleet::link::Link;
use crate::fleet::report::Status;
use crate::ssh::Error;
use crate::support::backoff::Backoff;
use crate::support::shutdown::{Shutdown, Urgency};

/// The first and the longest pause before a host is connected to again.
const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));
/// A connection that lasted so long was a good one.
const LASTED: Duration = Duration::from_secs(10);
/// How long a host whose daemon pulls is left alone before it is looked at again.
const PULLING: Duration = Duration::from_secs(30);
/// How long jobs that were told to end may take, with the time between TERM and KILL.
const GONE: Duration = Duration::from_secs(12);
/// How long the last results may take to arrive.
const LAST_RESULTS: Duration = Duration::from_secs(10);
/// How long the coordinator may take to hear that a host leaves.
const FAREWELL: Duration = Duration::from_secs(3);

/// Works for a host until `shutdown`. `again` cuts a pause short.
pub(super) async fn run(
    core: Arc<Core>,
    inbox: UnboundedReceiver<Report>,
    again: Arc<Notify>,
    mut shutdown: Shutdown,
) {
    let side_by_side = async {
        tokio::join!(
            holder::hand_in(&*core, inbox),
            holder::send_logs(&*core),
            heartbeat::keep(&core),
            register::keep(&core),
        );
    };
    let life = async {
        let mut hears = shutdown.clone();
        let mut link = None;
        tokio::select! {
            () = work(&core, &again, &mut link) => {}
            () = hears.reached(Urgency::Stop) => {}
        }
        // The connection stays until its jobs are over.
        stop(&core, &mut shutdown).await;
        if let Some(link) = link {
            let _ = timeout(FAREWELL, link.connection.close()).await;
        }
    };
    tokio::select! {
        () = side_by_side => {}
        () = life => {}
    }
    core.stands(State::Gone);
}

/// Works for ever. Leaves in `held` the connection that is open when it is dropped.
async fn work(core: &Arc<Core>, again: &Notify, held: &mut Option<Arc<Link>>) {
    let mut backoff = Backoff::new(PAUSES.0, PAUSES.1);
    loop {
        core.stands(State::Connecting);
        let pause = match connect(core).await {
            Ok((_, seen)) if seen.pulls => {
                core.introduce(None);
                leave(core).await;
                core.stands(State::Pull);
                PULLING
            }
            Ok((link, seen)) => {
                let link = Arc::new(link);
                *held = Some(Arc::clone(&link));
                core.introduce(Some(seen));
                core.block(None);
                core.stands(State::Push);
                let since = Instant::now();
                let error = tokio::select! {
                    () = claim::keep(core, &link) => continue,
                    error = link.connection.closed() => error,
                };
                let pause = down(core, &error, &mut backoff, since.elapsed() > LASTED);
                // Their ends are seen on the connection too.
                core.until(|core| core.table.running() == 0).await;
                *held = None;
                pause
            }
            Err(error) => down(core, &error, &mut backoff, false),
        };
        tokio::select! {
            () = sleep(pause) => {}
            () = again.notified() => backoff.reset(),
        }
    }
}

async fn connect(core: &Core) -> Result<(Link, Seen), Error> {
    let link = core.means.links.open(&core.host).await?;
    let seen = look(&link.connection, &core.host, &core.controller).await?;
    Ok((link, seen))
}

/// Says that the host cannot be used now. Returns how long to wait.
fn down(core: &Core, error: &Error, backoff: &mut Backoff, lasted: bool) -> Duration {
    if lasted {
        backoff.reset();
    }
    let pause = backoff.after_failure();
    let text = error.chain();
    // Whoever waits for the host is told the same word as by a run of its own.
    let word = match Status::from(error.kind()) {
        Status::Lost => Status::Unreachable,
        status => status,
    };
    core.block(Some(format!("{}: {text}", word.as_str())));
    core.stands(State::Down {
        error: text,
        retry_at: core.now().plus(pause),
    });
    pause
}

/// Lets running jobs end, for a while; then ends them; then waits until the coordinator has all results.
async fn stop(core: &Core, shutdown: &mut Shutdown) {
    core.stands(State::Draining);
    let drain_until = Instant::now() + core.means.drain;
    let idle = || core.until(|core| core.table.running() == 0);
    let mut now = shutdown.clone();
    tokio::select! {
        () = idle() => {}
        () = sleep_until(drain_until) => core.table.stop_all(&Stop::Drain),
        () = now.reached(Urgency::Now) => {}
    }
    tokio::select! {
        _ = timeout(GONE, idle()) => {}
        () = now.reached(Urgency::Now) => {}
    }
    if core.table.running() > 0 {
        core.table.stop_all(&Stop::Now);
        let _ = timeout(GONE, idle()).await;
    }
    let patience = if shutdown.urgency() >= Urgency::Now {
        FAREWELL
    } else {
        LAST_RESULTS
    };
    let _ = timeout(patience, core.until(|core| core.table.is_empty())).await;
    leave(core).await;
}

/// Takes the host out of the coordinator's list, so that nobody waits for it.
async fn leave(core: &Core) {
    core.introduce(None);
    match timeout(FAREWELL, core.means.client.deregister(&core.id)).await {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => {
            tracing::debug!(host = %core.host.name, %error, "could not deregister");
        }
        Err(_) => tracing::info!(host = %core.host.name, "could not deregister in time"),
    }
    core.agreed(None);
}
