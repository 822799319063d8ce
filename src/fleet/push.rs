//! The push worker: claims jobs on behalf of one SSH host and runs them there, on one connection.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep_until;

use crate::fleet::attend;
use crate::fleet::capture::Capture;
use crate::fleet::ephemeral;
use crate::fleet::file::Host;
use crate::fleet::link::Link;
use crate::fleet::remote::Input;
use crate::fleet::report::{Kept, Status, Verdict};
use crate::fleet::run::{InputFile, Run, RunEvent, host_id};
use crate::fleet::supervise::{self, Limits, NotStarted, Sink};
use crate::protocol::Output;
use crate::queue::{ClaimRequest, Claimant, Claimed, Renewed};
use crate::ssh::upload::Upload;
use crate::support::chain::chain;
use crate::support::ids::random_hex;
use crate::support::shutdown::{Shutdown, Urgency};
use crate::support::tasks;

/// How long the queue believes a push worker that says nothing.
const LEASE: Duration = Duration::from_secs(60);
/// How often leases are renewed: two renewals may go wrong before one is lost.
const RENEWAL: Duration = Duration::from_secs(20);
/// How often a host whose connection died is connected to again for the tasks it still has.
const RECONNECTS: u32 = 1;

/// Does all the work of the host at `at`.
pub(super) async fn work(
    run: Arc<Run>,
    at: usize,
    mut submitted: watch::Receiver<bool>,
    shutdown: Shutdown,
) {
    let Some(host) = run.plan.hosts.get(at).map(Arc::clone) else {
        return;
    };
    for attempt in 0..=RECONNECTS {
        if attempt > 0 && !run.has_open_work_for(at) {
            break;
        }
        let opened = tokio::select! {
            opened = run.means.links.open(&host) => opened,
            () = stopped(&run, &shutdown) => break,
        };
        // Gone only if the jobs could not be written; then there is nothing to do.
        if submitted.wait_for(|on_disk| *on_disk).await.is_err() {
            return;
        }
        let link = match opened {
            Ok(link) => Arc::new(link),
            Err(error) => {
                give_up(&run, at, &host, Verdict::of_error(&error)).await;
                break;
            }
        };
        let died = with_link(&run, at, &host, &link, &shutdown).await;
        if !died {
            break;
        }
        if attempt == RECONNECTS {
            let verdict = Verdict::because(Status::Lost, "the connection died twice");
            give_up(&run, at, &host, verdict).await;
        }
    }
    clean_up_late(&run, at, &host).await;
}

/// Runs tasks until none is left for this host. Returns whether the connection died.
async fn with_link(
    run: &Arc<Run>,
    at: usize,
    host: &Arc<Host>,
    link: &Arc<Link>,
    shutdown: &Shutdown,
) -> bool {
    let mut guard = None;
    let arrived = match &run.plan.attendant {
        Some(attendant) => attendant.arrive(&link.connection, host, &mut guard).await,
        None => Ok(()),
    };
    match arrived {
        Err(error) => give_up(run, at, host, not_deployed(&error)).await,
        Ok(()) => {
            if run_slots(run, at, host, link, shutdown).await {
                return true;
            }
        }
    }
    if let Some(attendant) = &run.plan.attendant
        && let Err(error) = attendant.leave(&link.connection, host, guard).await
        && !link.connection.is_closed()
    {
        tell_not_cleaned(run, at, &error).await;
    }
    link.connection.close().await;
    false
}

/// Fills the slots of a host. Returns whether the connection died.
async fn run_slots(
    run: &Arc<Run>,
    at: usize,
    host: &Arc<Host>,
    link: &Arc<Link>,
    shutdown: &Shutdown,
) -> bool {
    let died = Arc::new(AtomicBool::new(false));
    let mut slots = JoinSet::new();
    for _ in 0..host.slots.max(1) {
        let slot = Slot {
            run: Arc::clone(run),
            at,
            host: Arc::clone(host),
            link: Arc::clone(link),
            died: Arc::clone(&died),
            shutdown: shutdown.clone(),
        };
        slots.spawn(slot.work());
    }
    tasks::finish(&mut slots, |()| {}).await;
    died.load(Ordering::Relaxed)
}

/// A host that should be as it was, and is not because its connection died, is gone to once more.
async fn clean_up_late(run: &Arc<Run>, at: usize, host: &Arc<Host>) {
    let Some(attendant) = run
        .plan
        .attendant
        .as_ref()
        .filter(|attendant| attendant.owes(host))
    else {
        return;
    };
    let cleaned = match run.means.links.open(host).await {
        Ok(link) => attendant.leave(&link.connection, host, None).await,
        Err(error) => Err(error.into()),
    };
    if let Err(error) = cleaned {
        tell_not_cleaned(run, at, &error).await;
    }
}

async fn tell_not_cleaned(run: &Arc<Run>, at: usize, error: &ephemeral::Error) {
    let (why, hint) = (chain(error), error.hint());
    let verdict = match error {
        // The guard sees the end of the connection too, perhaps later than we.
        ephemeral::Error::Ssh(_) => Verdict {
            hint: Some(
                "the host takes them back when its sshd notices that we are gone; \
                 `skyclaw fleet teardown` there makes sure"
                    .to_owned(),
            ),
            ..Verdict::because(
                Status::Failed,
                format!("nobody saw whether the agent and its key are gone: {why}"),
            )
        },
        ephemeral::Error::Busy(_) | ephemeral::Error::Refused(_) | ephemeral::Error::Stays(_) => {
            Verdict {
                hint,
                ..Verdict::because(Status::Failed, format!("not cleaned up: {why}"))
            }
        }
    };
    let verdict = Box::new(verdict);
    run.tell(RunEvent::NotCleaned { host: at, verdict }).await;
}

fn not_deployed(error: &attend::Error) -> Verdict {
    let status = error
        .connection()
        .map_or(Status::Failed, |error| error.kind().into());
    Verdict {
        hint: error.hint(),
        ..Verdict::because(status, format!("deploy: {}", chain(error)))
    }
}

/// One task at a time.
struct Slot {
    run: Arc<Run>,
    at: usize,
    host: Arc<Host>,
    link: Arc<Link>,
    died: Arc<AtomicBool>,
    shutdown: Shutdown,
}

impl Slot {
    async fn work(mut self) {
        while !self.died.load(Ordering::Relaxed)
            && !self.run.is_out(self.at)
            && !is_stopped(&self.run, &self.shutdown)
        {
            let claimed = claim(&self.run, &self.host, 1).await;
            let Some(claimed) = claimed.into_iter().next() else {
                return;
            };
            self.run_task(claimed).await;
        }
    }

    async fn run_task(&mut self, claimed: Claimed) {
        let run = Arc::clone(&self.run);
        let Some(unit) = run.units.get(&claimed.job).copied() else {
            return;
        };
        let Some(planned) = run.plan.units.get(unit) else {
            return;
        };
        run.tell(RunEvent::Started {
            unit,
            host: self.at,
        })
        .await;
        let mut command = (run.plan.command)(planned, &self.host);
        if let Some(file) = &run.plan.input {
            match send_input(&self.link, file).await {
                Ok(path) => command.input = Input::File(path),
                Err(error) => {
                    self.died
                        .store(self.link.connection.is_closed(), Ordering::Relaxed);
                    let judged = Verdict {
                        status: Status::Failed,
                        ..Verdict::of_error(&error)
                    };
                    let report = run.report(planned, Some(&self.host), judged);
                    return run
                        .finish(&claimed, report, <(Output, Output)>::default())
                        .await;
                }
            }
        }
        let file = |ending: &str| {
            let name = format!("{}-{}.{ending}", self.host.name, unit);
            Capture::new(run.plan.max_output, run.plan.directory.join(name))
        };
        let mut sink = Sink {
            stdout: file("out"),
            stderr: file("err"),
            live: run.plan.live.then(|| (unit, run.events.clone())),
        };
        let limits = Limits {
            timeout: self.host.timeout.map_or(run.plan.timeout, |limit| limit.0),
            deadline: run.deadline,
            grace: run.plan.grace,
        };
        let started_at = run.means.clock.now();
        let finished = supervise::run(
            &self.link.connection,
            &command,
            limits,
            &mut sink,
            &mut self.shutdown,
        )
        .await;
        let is_missing = matches!(finished.not_started, Some(NotStarted::Missing(_)));
        if is_missing && planned.host.is_none() && !run.plan.one_by_one {
            return self
                .step_back(&claimed, Verdict::of_finished(&finished))
                .await;
        }
        if finished.lost.is_some() {
            self.died.store(true, Ordering::Relaxed);
        }
        let mut report = run.report(planned, Some(&self.host), Verdict::of_finished(&finished));
        report.attempt = u32::from(claimed.attempt.get());
        report.started_at = started_at;
        report.took = finished.took;
        report.pipe_held = finished.pipe_held;
        report.unseen = finished.unseen;
        let (stdout, stdout_ends) = Kept::take(sink.stdout);
        let (stderr, stderr_ends) = Kept::take(sink.stderr);
        (report.stdout, report.stderr) = (stdout, stderr);
        run.finish(&claimed, report, (stdout_ends, stderr_ends))
            .await;
    }
}

impl Slot {
    /// Gives a task back that any host may run, and takes no more: a host without the program would
    /// fail all of them before the others have done one.
    async fn step_back(&self, claimed: &Claimed, verdict: Verdict) {
        let run = &self.run;
        run.leases
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&claimed.job);
        let released = run
            .means
            .queue
            .release(vec![claimed.lease()], Duration::ZERO)
            .await;
        if let Err(error) = released {
            run.fail(error);
        }
        run.gave_back.store(true, Ordering::Relaxed);
        run.host_down(self.at, verdict).await;
    }
}

/// Puts the input of a task on the host. The supervisor removes it as soon as the task has it open.
async fn send_input(link: &Link, file: &InputFile) -> Result<String, crate::ssh::Error> {
    let path = format!("~/.cache/skyclaw/stdin-{}", random_hex::<8>());
    let upload = Upload {
        path,
        mode: 0o600,
        size: file.size,
        sha256: file.sha256.clone(),
        keep_old_as: None,
    };
    link.connection.upload_file(&upload, &file.path).await
}

/// Ends everything that only this host could have run, and says that the host is out.
async fn give_up(run: &Arc<Run>, at: usize, host: &Arc<Host>, verdict: Verdict) {
    let mine = run
        .plan
        .units
        .iter()
        .filter(|unit| unit.host == Some(at))
        .count();
    let mut left = mine;
    while left > 0 {
        let claimed = claim(run, host, u16::try_from(left).unwrap_or(u16::MAX)).await;
        if claimed.is_empty() {
            break;
        }
        for claimed in claimed {
            left = left.saturating_sub(1);
            let Some(unit) = run
                .units
                .get(&claimed.job)
                .and_then(|at| run.plan.units.get(*at))
            else {
                continue;
            };
            let judged = Verdict {
                status: verdict.status,
                exit: None,
                signal: None,
                error: verdict.error.clone(),
                hint: verdict.hint.clone(),
            };
            let report = run.report(unit, Some(host), judged);
            run.finish(&claimed, report, (Output::default(), Output::default()))
                .await;
        }
    }
    if mine == 0 {
        run.host_down(at, verdict).await;
    }
}

async fn claim(run: &Arc<Run>, host: &Host, most: u16) -> Vec<Claimed> {
    let request = ClaimRequest {
        claimants: vec![Claimant {
            max: most,
            ..Claimant::new(host_id(host))
        }],
        group: Some(run.group),
        lease_for: LEASE,
    };
    match run.means.queue.claim(request).await {
        Ok(claimed) => {
            let mut leases = run.leases.lock().unwrap_or_else(PoisonError::into_inner);
            leases.extend(claimed.iter().map(|claimed| (claimed.job, claimed.lease())));
            drop(leases);
            claimed
        }
        Err(error) => {
            tracing::error!(host = %host.name, error = %error, "cannot claim from the local queue");
            run.fail(error);
            Vec::new()
        }
    }
}

/// Renews what the workers of this run hold, until it is aborted.
pub(super) async fn renew_leases(run: Arc<Run>) {
    loop {
        tokio::time::sleep(RENEWAL).await;
        let held: Vec<_> = {
            let leases = run.leases.lock().unwrap_or_else(PoisonError::into_inner);
            leases.values().cloned().collect()
        };
        if held.is_empty() {
            continue;
        }
        match run.means.queue.renew(held).await {
            Ok(answers)
                if answers
                    .iter()
                    .any(|answer| matches!(answer, Renewed::LeaseLost)) =>
            {
                tracing::warn!("a lease of this run was lost; its result will not count");
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "cannot renew leases in the local queue"),
        }
    }
}

fn is_stopped(run: &Run, shutdown: &Shutdown) -> bool {
    shutdown.urgency() > Urgency::Running
        || run
            .deadline
            .is_some_and(|deadline| deadline <= tokio::time::Instant::now())
}

/// Waits until nothing may be started any more.
async fn stopped(run: &Run, shutdown: &Shutdown) {
    let mut shutdown = shutdown.clone();
    let deadline = async {
        match run.deadline {
            Some(deadline) => sleep_until(deadline).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = shutdown.reached(Urgency::Stop) => {}
        () = deadline => {}
    }
}
