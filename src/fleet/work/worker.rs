//! One worker from its start to its end: connect, look, work until the connection dies, again.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use super::core::Core;
use super::lines::Lines;
use super::look::{Seen, look};
use super::view::State;
use super::{claim, heartbeat, pull, register};
use crate::client::holder::{self, Report, Stop};
use crate::fleet::file::Host;
use crate::fleet::link::Link;
use crate::ssh::{Error, Kind};
use crate::support::backoff::{Backoff, jittered};
use crate::support::shutdown::{Shutdown, Urgency};

/// The first and the longest pause before a host is connected to again.
const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));
/// A connection that lasted so long was a good one.
pub(super) const LASTED: Duration = Duration::from_secs(10);
/// A host that does not let us in is not asked more often: its server may take many logins in vain for an attack,
/// and only a person can change it.
const STRANGERS: Duration = Duration::from_secs(300);
/// How long jobs that were told to end may take, with the time between TERM and KILL.
const GONE: Duration = Duration::from_secs(12);
/// How long the last results may take to arrive.
const LAST_RESULTS: Duration = Duration::from_secs(10);
/// Why a host takes no work whose worker only waits for the end of what it has.
const LEAVES: &str = "no more is pushed to it; what runs there may end first";
/// How long a tunnel may take to be taken down.
const TAKEN_DOWN: Duration = Duration::from_secs(12);
/// How long the coordinator may take to hear that a host leaves.
pub(super) const FAREWELL: Duration = Duration::from_secs(3);

/// Works for a host until `shutdown`, or until the controller ends. `again` cuts a pause short.
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
        let mut ending = core.ending.clone();
        let mut open = Open::default();
        tokio::select! {
            () = work(&core, &again, &mut open) => {}
            () = shutdown.reached(Urgency::Stop) => {}
            () = ending.reached(Urgency::Stop) => {}
        }
        // The connection stays until its jobs are over.
        stop(&core).await;
        if let Some(lines) = open.lines {
            lines.close().await;
        }
        if let Some(tunnel) = open.tunnel {
            let _ = timeout(TAKEN_DOWN, tunnel).await;
        }
    };
    tokio::select! {
        () = side_by_side => {}
        () = life => {}
    }
    core.stands(State::Gone);
}

/// What is open to a host.
#[derive(Default)]
struct Open {
    lines: Option<Arc<Lines>>,
    tunnel: Option<JoinHandle<()>>,
}

/// Works for ever. What is in `open` when it is dropped is still to be closed.
async fn work(core: &Arc<Core>, again: &Notify, open: &mut Open) {
    let mut backoff = Backoff::new(PAUSES.0, PAUSES.1);
    loop {
        core.stands(State::Connecting);
        let pause = match connect(core).await {
            Ok((link, seen, _)) if seen.pulls => {
                let _ = timeout(FAREWELL, link.connection.close()).await;
                drop(link);
                idle(core).await;
                // Who leaves the list gives up what is not handed in.
                handed_in(core).await;
                pull::keep(core, again, (&mut backoff, &mut open.tunnel)).await
            }
            Ok((mut link, seen, host)) => {
                // It stays for good, and others want to connect.
                link.step_aside();
                let link = Arc::new(link);
                let lines = Lines::new(host, core.means.links.clone(), Arc::clone(&link));
                open.lines = Some(Arc::clone(&lines));
                let since = Instant::now();
                let ended = push(core, (&link, &lines), seen, again).await;
                open.lines = None;
                // What has a seat on a connection that lives goes on there.
                core.leave_to_itself(&lines);
                match &ended {
                    Ended::Lost(error) => down(core, error, &mut backoff, since.elapsed() > LASTED),
                    Ended::Moved => {
                        backoff.reset();
                        Duration::ZERO
                    }
                    Ended::Pulls => Duration::ZERO,
                }
            }
            Err(error) => down(core, &error, &mut backoff, false),
        };
        tokio::select! {
            () = sleep(pause) => {}
            () = again.notified() => backoff.reset(),
        }
    }
}

/// Why no more jobs are begun over some connections.
enum Ended {
    /// The first of them died.
    Lost(Error),
    /// The fleet file says another way to the host.
    Moved,
    /// A daemon there is to pull.
    Pulls,
}

/// Has jobs run there until the connection dies, or a daemon there is to pull, or the host is reached in another way.
async fn push(
    core: &Arc<Core>,
    (link, lines): (&Arc<Link>, &Arc<Lines>),
    seen: Seen,
    again: &Notify,
) -> Ended {
    let mut settings = core.settings();
    core.introduce(Some(seen));
    core.block(None);
    core.stands(State::Push);
    loop {
        if !lines.lead_to(&core.host()) {
            return Ended::Moved;
        }
        let looking = async {
            loop {
                again.notified().await;
                let host = core.host();
                // A deploy may have changed what the host can do, and who works for it.
                match look(&link.connection, &host, &core.controller).await {
                    Ok(seen) if seen.pulls => return true,
                    Ok(seen) => {
                        if core.introduce(Some(seen)) {
                            return false;
                        }
                    }
                    Err(error) => {
                        tracing::debug!(host = %core.name, error = %error.chain(), "cannot look again");
                    }
                }
            }
        };
        // A claim that is given up halfway may have had an answer, so it goes on unless it asks for the wrong
        // thing now. Then who registers anew says what it holds, and the rest goes back.
        let pulls = tokio::select! {
            biased;
            _ = settings.changed() => {
                // What is asked for next is asked for after it was registered anew.
                core.changed();
                continue;
            }
            error = link.connection.closed() => return Ended::Lost(error),
            pulls = looking => pulls,
            () = claim::keep(core, lines) => continue,
        };
        if pulls {
            core.stands(State::Draining);
            core.beat.notify_one();
            return Ended::Pulls;
        }
    }
}

/// Waits until nothing runs that was pushed: who leaves the list gives it up, and a daemon would run beside it.
async fn idle(core: &Core) {
    if core.table.running() > 0 {
        core.block(Some(LEAVES.to_owned()));
        core.stands(State::Draining);
        core.until(|core| core.table.running() == 0).await;
    }
}

/// Connects, by what the fleet file says just now, which is returned too.
pub(super) async fn connect(core: &Core) -> Result<(Link, Seen, Arc<Host>), Error> {
    let host = core.host();
    let link = core.means.links.open(&host).await?;
    let seen = look(&link.connection, &host, &core.controller).await?;
    Ok((link, seen, host))
}

/// Says that the host cannot be used now. Returns how long to wait.
fn down(core: &Core, error: &Error, backoff: &mut Backoff, lasted: bool) -> Duration {
    let strange = matches!(error.kind(), Kind::Auth | Kind::HostKey);
    fallen(core, error.chain(), strange, (backoff, lasted))
}

pub(super) fn fallen(
    core: &Core,
    text: String,
    strange: bool,
    (backoff, lasted): (&mut Backoff, bool),
) -> Duration {
    if lasted {
        backoff.reset();
    }
    let pause = match strange {
        true => jittered(STRANGERS),
        false => backoff.after_failure(),
    };
    core.block(Some(format!("unreachable: {text}")));
    core.stands(State::Down {
        error: text,
        retry_at: core.now().plus(pause),
    });
    pause
}

/// Lets running jobs end. When the controller ends they have a while for that; then they are ended. Waits until
/// the coordinator has all results.
async fn stop(core: &Core) {
    core.stands(State::Draining);
    let mut ending = core.ending.clone();
    let mut now = core.ending.clone();
    if ending.urgency() == Urgency::Running {
        core.block(Some(LEAVES.to_owned()));
    }
    let idle = || core.until(|core| core.table.running() == 0);
    let drained = async {
        ending.reached(Urgency::Stop).await;
        sleep(core.means.drain).await;
    };
    tokio::select! {
        () = idle() => {}
        () = drained => core.table.stop_all(&Stop::Drain),
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
    handed_in(core).await;
    if core.ending.urgency() == Urgency::Running {
        leave(core).await;
    }
}

/// Waits until the coordinator has all results, for a while.
async fn handed_in(core: &Core) {
    let patience = if core.ending.urgency() >= Urgency::Now {
        FAREWELL
    } else {
        LAST_RESULTS
    };
    let _ = timeout(patience, core.until(|core| core.table.is_empty())).await;
}

/// Takes the host out of the coordinator's list, so that nobody waits for it.
pub(super) async fn leave(core: &Core) {
    core.introduce(None);
    match timeout(FAREWELL, core.means.client.deregister(&core.id)).await {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => {
            tracing::debug!(host = %core.name, %error, "could not deregister");
        }
        Err(_) => tracing::info!(host = %core.name, "could not deregister in time"),
    }
    core.agreed(None);
}

#[cfg(test)]
mod tests {
    use super::super::fixture;
    use super::*;
    use crate::client::holder::{Held, key};

    #[tokio::test(start_paused = true)]
    async fn a_result_that_is_on_its_way_is_waited_for_and_not_for_ever() {
        let (core, _inbox) = fixture::core();
        let lease = fixture::lease();
        core.table.insert(Held {
            lease,
            kind: String::new(),
            submitted_by: None,
            since: core.now(),
            orders: None,
        });
        let began = Instant::now();
        let short = LAST_RESULTS / 2;
        assert!(timeout(short, handed_in(&core)).await.is_err());
        handed_in(&core).await;
        assert_eq!(began.elapsed(), short + LAST_RESULTS);
        core.forget(key(&lease));
        handed_in(&core).await;
        assert_eq!(began.elapsed(), short + LAST_RESULTS, "at once");
    }
}
