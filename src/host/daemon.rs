//! The daemon as a whole: how it starts, what it does side by side, how it ends.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::core::{Core, Parts};
use super::error::{Error, system};
use super::kinds::Kinds;
use super::notice::{Hook, Notice};
use super::runner::{self, Runner};
use super::settings::Settings;
use super::state::StateDir;
use super::watch::{self, Watch};
use super::{
    ahead, capabilities, claim, control, facts, heartbeat, register, results, services, spare,
};
use crate::client::Client;
use crate::client::holder::{self, Held, Report, Stop};
use crate::support::clock::{Clock, SteadyClock, SystemClock};
use crate::support::privacy;
use crate::support::shutdown::{Shutdown, Urgency};

/// How often the owner's conditions are looked at.
const LOOK: Duration = Duration::from_secs(5);
/// How often the watcher is looked after.
const LOOK_AFTER: Duration = Duration::from_secs(1);
/// How long the last results may take to arrive when the daemon stops.
const LAST_RESULTS: Duration = Duration::from_secs(10);
/// How long the coordinator may take to hear that this host leaves.
const FAREWELL: Duration = Duration::from_secs(3);
/// How long killed processes may take to be gone.
const GONE: Duration = Duration::from_secs(8);

/// Runs the daemon until `shutdown`, or with `once` until nothing is left to do.
///
/// # Errors
/// When it cannot start, when another live host has its id, or when it was to run once and no
/// coordinator answered.
pub async fn run(
    settings: Settings,
    client: Client,
    hook: Hook,
    mut shutdown: Shutdown,
) -> Result<(), Error> {
    let (reports, inbox) = mpsc::unbounded_channel();
    let core = Arc::new(start(settings, client, hook, reports)?);
    let control = control::open(core.state.path()).map_err(system("open the control socket"))?;
    gather_profile(&core);
    let side_by_side = async {
        tokio::join!(
            heartbeat::keep(&core),
            holder::hand_in(&core, inbox),
            holder::send_logs(&core),
            control::keep(&core, control),
            services::keep(&core),
            conditions(&core),
            ahead::keep(&core),
            watch_watcher(&core),
        );
    };
    tokio::pin!(side_by_side);
    let registering = register::keep(&core);
    tokio::pin!(registering);
    let (ended, unknown) = tokio::select! {
        () = &mut side_by_side => (Ok(()), false),
        ended = &mut registering => (ended, true),
        () = claim::keep(&core) => (Ok(()), false),
        () = shutdown.reached(Urgency::Stop) => (Ok(()), false),
    };
    core.stopping.send_replace(true);
    tokio::select! {
        () = stop(&core, &shutdown) => {}
        () = &mut side_by_side => {}
        _ = &mut registering, if !unknown => {}
    }
    farewell(&core, &shutdown).await;
    let home = Arc::clone(&core);
    // What jobs left in other sessions is gone before this process is.
    let _ = tokio::task::spawn_blocking(move || home.watch.close()).await;
    ended
}

fn start(
    settings: Settings,
    client: Client,
    hook: Hook,
    reports: mpsc::UnboundedSender<Report>,
) -> Result<Core, Error> {
    // Before anything else: what a former life left running may be looking.
    privacy::hide();
    // What whoever started us had open is none of the jobs' business.
    runner::birth::keep_descriptors().map_err(system("close descriptors to jobs"))?;
    let state = StateDir::take(&settings.state_dir)?;
    let id = state.host_id(settings.id.as_ref())?;
    let instance = state.instance();
    let left = watch::end_leftovers(state.path(), &instance.state_id);
    if left > 0 {
        hook(Notice::Warning {
            text: format!("{left} processes of a former life were ended"),
        });
    }
    if !settings.keep_failed {
        state.clear_scratch();
    }
    let watch = Watch::start(
        &settings.program,
        state.path(),
        &instance.state_id,
        &instance.process_id,
    )
    .map_err(system("start the watcher"))?;
    let watch = Arc::new(watch);
    let kinds = Kinds::new(&settings, watch.mark(), state.scratch());
    warn(&settings, &kinds, &hook);
    let steady: Arc<dyn Clock> = Arc::new(SteadyClock::start());
    let wall: Arc<dyn Clock> = Arc::new(SystemClock);
    let slots = usize::from(settings.max_parallel);
    let runner = Runner::start(slots, &watch, &steady).map_err(system("start the slots"))?;
    let core = Core::new(Parts {
        capabilities: capabilities::of(&settings, &kinds),
        settings,
        client,
        id,
        steady,
        wall,
        runner,
        watch,
        kinds,
        reports,
        hook,
        state,
    });
    offer_kept(&core);
    let paused = control::is_paused(core.state.path());
    core.block.send_modify(|block| block.paused = paused);
    Ok(core)
}

fn warn(settings: &Settings, kinds: &Kinds, hook: &Hook) {
    let open = kinds.allowed.unlimited();
    if !open.is_empty() {
        hook(Notice::Warning {
            text: format!(
                "jobs may run anything, because {} may run; limit arguments with SKYCLAW_ALLOWED_ARGV",
                open.join(", ")
            ),
        });
    }
    if settings.commands_chosen {
        let missing = kinds.allowed.missing();
        if !missing.is_empty() {
            hook(Notice::Warning {
                text: format!("not on this machine: {}", missing.join(", ")),
            });
        }
    }
}

/// Offers results that a former life could not hand in.
fn offer_kept(core: &Core) {
    for report in results::kept(&core.state.results(), core.wall.now()) {
        core.table.insert(Held {
            lease: report.lease,
            kind: String::new(),
            submitted_by: None,
            since: core.wall.now(),
            orders: None,
        });
        tracing::info!(job = %report.lease.job_id, "offering a result of a former life");
        core.report(report);
    }
}

/// OpenClaw takes its time to tell its version, so nothing waits for it.
fn gather_profile(core: &Arc<Core>) {
    let home = Arc::clone(core);
    tokio::task::spawn_blocking(move || {
        let program: Option<PathBuf> = home.kinds.agent_file(&home.settings.agents.openclaw);
        let profile = facts::openclaw(
            home.settings.openclaw_profile,
            program.as_deref(),
            &home.settings.environment,
        );
        if profile.is_some() {
            home.profile.send_replace(profile);
        }
    });
}

/// Looks at the owner's conditions as long as the daemon runs.
async fn conditions(core: &Arc<Core>) {
    let mut said: Option<String> = None;
    let mut block = core.block.subscribe();
    loop {
        let home = Arc::clone(core);
        let look = move || spare::blocked(&home.settings.claim_when);
        let unmet = if core.settings.claim_when.is_empty() {
            None
        } else {
            tokio::task::spawn_blocking(look).await.unwrap_or_default()
        };
        core.block.send_if_modified(|block| {
            let changed = !block.known || block.unmet != unmet;
            (block.known, block.unmet) = (true, unmet);
            changed
        });
        let why = block.borrow_and_update().why();
        if why != said {
            core.tell(Notice::Blocked { why: why.clone() });
            core.beat.notify_one();
            said = why;
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK), if !core.settings.claim_when.is_empty() => {}
            _ = block.changed() => {}
        }
    }
}

/// Looks after the watcher, which any job may have stopped, and after what only the daemon can find.
async fn watch_watcher(core: &Arc<Core>) {
    loop {
        sleep(LOOK_AFTER).await;
        let home = Arc::clone(core);
        let look = move || {
            home.watch.look();
            home.watch.gather();
        };
        let _ = tokio::task::spawn_blocking(look).await;
    }
}

/// Lets what runs end, and ends what does not.
async fn stop(core: &Core, shutdown: &Shutdown) {
    let services = async {
        if let Some(services) = &core.services {
            services::stop(services, core.settings.drain, shutdown).await;
        }
    };
    // First: what has not begun does not count as running.
    tokio::join!(ahead::hand_back(core), stop_jobs(core, shutdown), services);
}

/// Lets running jobs end, for a while; then ends them; then waits until the coordinator has all results.
async fn stop_jobs(core: &Core, shutdown: &Shutdown) {
    let running = core.table.running();
    if running > 0 {
        core.tell(Notice::Stopping { running });
    }
    let drain_until = Instant::now() + core.settings.drain;
    let mut now = shutdown.clone();
    tokio::select! {
        () = until(core, |core| core.table.running() == 0) => {}
        () = sleep_until(drain_until) => core.table.stop_all(&Stop::Drain),
        () = now.reached(Urgency::Now) => {}
    }
    tokio::select! {
        done = timeout(GONE, until(core, |core| core.table.running() == 0)) => drop(done),
        () = now.reached(Urgency::Now) => {}
    }
    if core.table.running() > 0 {
        core.table.stop_all(&Stop::Now);
        let _ = timeout(GONE, until(core, |core| core.table.running() == 0)).await;
    }
    let patience = if shutdown.urgency() >= Urgency::Now {
        FAREWELL
    } else {
        LAST_RESULTS
    };
    let _ = timeout(patience, until(core, |core| core.table.is_empty())).await;
}

/// Waits until `holds`; looks whenever something ended.
async fn until(core: &Core, holds: impl Fn(&Core) -> bool) {
    while !holds(core) {
        core.freed.notified().await;
    }
}

/// Tells the coordinator that this host leaves, so that nobody waits for it.
async fn farewell(core: &Core, shutdown: &Shutdown) {
    let session = core.session.borrow().clone();
    let Some(session) = session.filter(|session| session.batch) else {
        return;
    };
    let patience = if shutdown.urgency() >= Urgency::Now {
        FAREWELL / 3
    } else {
        FAREWELL
    };
    match timeout(patience, core.client.deregister(&session.host)).await {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => tracing::info!(%error, "could not deregister"),
        Err(_) => tracing::info!("could not deregister in time"),
    }
}
