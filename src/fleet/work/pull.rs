//! A host whose daemon pulls: the way is kept open for it, and nothing is pushed. Until its daemon came for the first
//! time the host is in the coordinator's list all the same, and says what it waits for.

use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use super::core::Core;
use super::look::Seen;
use super::roll::Daemon;
use super::view::State;
use super::worker::{FAREWELL, LASTED, connect, fallen, leave};
use crate::fleet::tunnel::{self, Tunnel};
use crate::support::backoff::Backoff;
use crate::support::shutdown::{self, Cause, Trigger};

/// How long a host whose daemon pulls is left alone before it is looked at again.
const PULLING: Duration = Duration::from_secs(30);
/// A tunnel that no daemon uses for so long may lead to a host whose daemon was taken away. It is looked at then,
/// and less and less often, down to the second.
const UNUSED: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(300));
/// How often the coordinator is asked whether there is a daemon,
const ROLL_CALL: Duration = Duration::from_secs(10);
/// and where one is to come for the first time.
const FIRST_CALL: Duration = Duration::from_secs(3);
/// What a host waits for that was never heard of.
const NOT_YET: &str = "unreachable: its daemon has not connected through the tunnel yet";

/// Keeps the way open by which a daemon there pulls, until it has to be looked again who works for the host.
/// Returns how long to wait before that.
pub(super) async fn keep(
    core: &Core,
    again: &Notify,
    (backoff, open): (&mut Backoff, &mut Option<JoinHandle<()>>),
) -> Duration {
    let Some(visits) = core.means.visits.clone() else {
        leave(core).await;
        core.stands(State::Pull);
        return PULLING;
    };
    let mut settings = core.settings();
    let tunnel = Tunnel {
        host: core.host(),
        links: core.means.links.clone(),
        controller: core.controller.clone(),
        visits,
        outlets: core.means.outlets.clone(),
    };
    let (trigger, shutdown) = shutdown::manual();
    let (mut state, task) = tunnel.start(shutdown);
    *open = Some(task);
    let ends = Ends {
        trigger,
        since: Instant::now(),
    };
    let deserted = deserted(core);
    tokio::pin!(deserted);
    let pause = loop {
        let now = state.borrow_and_update().clone();
        match now {
            tunnel::State::Connecting => {}
            tunnel::State::Up { .. } => core.stands(State::Pull),
            tunnel::State::Down { error, .. } => {
                let lasted = ends.since.elapsed() > LASTED;
                // What is to be done is on the host, where nobody looks.
                let text = match error.hint() {
                    Some(hint) => format!("{}: {hint}", error.chain()),
                    None => error.chain(),
                };
                break fallen(core, text, error.is_strange(), (backoff, lasted));
            }
            tunnel::State::Gone => break PULLING,
        }
        tokio::select! {
            changed = state.changed() => if changed.is_err() { break PULLING; },
            // Who comes through it is known from its beginning, and may be somebody else now.
            _ = settings.changed() => break Duration::ZERO,
            () = again.notified() => break Duration::ZERO,
            () = &mut deserted => break Duration::ZERO,
        }
    };
    drop(ends);
    if let Some(task) = open.take() {
        let _ = task.await;
    }
    pause
}

/// Waits until no daemon speaks for the host and its settings do not lead here any more. While one does, nothing
/// is sent to the host.
async fn deserted(core: &Core) {
    let mut patience = UNUSED.0;
    let mut missing_since = None;
    loop {
        let found = core.roll.daemon(&core.means.client, &core.name).await;
        if let Ok(daemon) = found {
            stand_in(core, daemon).await;
        }
        match found {
            Ok(Daemon::Unknown | Daemon::Silent) => {
                let since: Instant = *missing_since.get_or_insert_with(Instant::now);
                if since.elapsed() >= patience {
                    if let Ok((link, seen, _)) = connect(core).await {
                        let _ = timeout(FAREWELL, link.connection.close()).await;
                        if !seen.pulls {
                            return;
                        }
                    }
                    missing_since = None;
                    patience = (patience * 2).min(UNUSED.1);
                }
            }
            Ok(Daemon::Lives) => {
                missing_since = None;
                patience = UNUSED.0;
            }
            Err(error) => {
                tracing::debug!(host = %core.name, %error, "cannot look for its daemon");
            }
        }
        sleep(match core.stands_in() {
            true => FIRST_CALL,
            false => ROLL_CALL,
        })
        .await;
    }
}

/// Keeps the host in the coordinator's list for as long as its daemon is not, so that whoever waits for it hears why.
async fn stand_in(core: &Core, daemon: Daemon) {
    match daemon {
        Daemon::Unknown => {
            core.block(Some(NOT_YET.to_owned()));
            core.introduce(Some(Seen::default()));
        }
        Daemon::Silent | Daemon::Lives if core.stands_in() => leave(core).await,
        Daemon::Silent | Daemon::Lives => {}
    }
}

/// Takes a tunnel down when nobody waits for it any more.
struct Ends {
    trigger: Trigger,
    since: Instant,
}

impl Drop for Ends {
    fn drop(&mut self) {
        self.trigger.ask(Cause::Terminate);
    }
}
