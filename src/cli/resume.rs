//! `--resume RUN`: goes on with a run whose command was cut off, or tells again what came of it.
//!
//! Nothing runs twice: what had begun when its controller was killed is lost, and a person decides.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;

use super::args::load_fleet;
use super::connect::CONNECT_TIMEOUT;
use super::error::Failure;
use super::exit::Exit;
use super::output::Output;
use super::perform::with_timeout;
use super::runs as records;
use super::stage::{Stage, is_live};
use super::task_args::RunArgs;
use crate::fleet::asked::{self, Asked};
use crate::fleet::dispatch::{Prepared, prepare};
use crate::fleet::file::{Host, HostName};
use crate::fleet::follow::{self, Course, Place, Reach};
use crate::fleet::ledger::{self, Keeper, Run};
use crate::fleet::recall;
use crate::fleet::report::{Kept, Status, TaskReport, Verdict};
use crate::fleet::run::{self, Begin, Means, Plan, RunEvent};
use crate::fleet::runs::{self, Presence};
use crate::protocol::{HostId, JobRecord, JobStatus, Output as Ends};
use crate::queue::Queue;
use crate::support::clock::{Clock, SystemClock};
use crate::support::shutdown::{Cause, Shutdown};

/// A run that is there already, and what we know of it.
struct Resumed<'a> {
    run: &'a Run,
    kind: &'static str,
    asked: Asked,
    jobs: Vec<JobRecord>,
    names: HashMap<HostId, String>,
    /// Its hosts, as far as the fleet file has them.
    hosts: Vec<Arc<Host>>,
    args: &'a RunArgs,
    strip: bool,
    output: &'a Output,
}

/// Goes on with the run that `word` names, for the verb `kind`.
///
/// # Errors
/// When there is no such run, it cannot be gone on with, or the result cannot be written.
pub async fn run(
    word: &str,
    kind: &'static str,
    args: &RunArgs,
    strip: bool,
    output: &Output,
) -> anyhow::Result<Exit> {
    let run = records::find(word).await?;
    check_kind(&run, kind, "--resume")?;
    args.show.prepare(output)?;
    let asked = Asked::read(&run.record.meta).map_err(|error| refused(&run, error))?;
    let fleet = load_fleet(&args.fleet, output);
    let hosts = match &fleet {
        Ok(fleet) => asked
            .hosts
            .iter()
            .filter_map(|name| fleet.host(name).cloned().map(Arc::new))
            .collect(),
        // Only going on needs it.
        Err(_) => Vec::new(),
    };
    let mut resumed = Resumed {
        kind,
        jobs: run.jobs().await?,
        names: run.host_names().await?,
        run: &run,
        asked,
        hosts,
        args,
        strip,
        output,
    };
    let is_complete = resumed.is_complete();
    match &run.keeper {
        Keeper::Running(client) => resumed.follow(client.clone()).await,
        Keeper::Own(_) | Keeper::Stopped(_) if is_complete => resumed.tell_again().await,
        Keeper::Stopped(_) => Err(Failure::usage(format!(
            "run {} was given to `fleet up`, which does not run now",
            run.record.id
        ))
        .hint("start `skyclaw fleet up`: the run goes on, and can be followed again")
        .into()),
        Keeper::Own(queue) => {
            match runs::take_over(run.record.id)? {
                Some(presence) => {
                    // Whoever had it may have ended jobs until it was ours.
                    resumed.jobs = run.jobs().await?;
                    if resumed.is_complete() {
                        return resumed.tell_again().await;
                    }
                    fleet?;
                    resumed.go_on(queue.clone(), presence).await
                }
                None => Err(Failure::usage(format!(
                    "run {} is being worked on by another skyclaw",
                    run.record.id
                ))
                .hint(format!(
                    "skyclaw fleet show {} tells how far it is",
                    run.record.id
                ))
                .into()),
            }
        }
    }
}

/// Refuses a run that another verb made: its flags are others.
///
/// # Errors
/// When it did.
pub fn check_kind(run: &Run, kind: &str, flag: &str) -> Result<(), Failure> {
    let (id, made) = (run.record.id, &run.record.kind);
    if made == kind {
        return Ok(());
    }
    Err(
        Failure::usage(format!("run {id} was made by `fleet {made}`"))
            .hint(format!("skyclaw fleet {made} {flag} {id}")),
    )
}

/// Says why a run cannot be gone on with, or repeated.
pub fn refused(run: &Run, error: asked::Error) -> anyhow::Error {
    let id = run.record.id;
    let kind = &run.record.kind;
    let hint = match &error {
        asked::Error::KeptBack(flags) => format!(
            "start a new run with {} for what `skyclaw fleet show {id}` lists as abandoned",
            flags.join(" ")
        ),
        asked::Error::Unknown | asked::Error::Agent(_) => {
            format!("start a new one with `skyclaw fleet {kind}`")
        }
    };
    Failure::usage(format!("run {id} cannot be gone on with"))
        .because(error)
        .hint(hint)
        .into()
}

impl Resumed<'_> {
    fn stage(&self) -> Stage<'_> {
        Stage {
            run: self.run.record.id,
            kind: self.kind,
            title: self.run.record.title.clone(),
            hosts: &self.hosts,
            names: self.asked.hosts.clone(),
            tasks: (0..self.jobs.len())
                .map(|at| self.asked.place(at).0)
                .collect(),
            show: &self.args.show,
            strip: self.strip,
            one_by_one: self.asked.one,
            started_at: self.run.record.created_at,
        }
    }

    fn is_complete(&self) -> bool {
        self.jobs.iter().all(|job| job.status.is_final())
    }

    fn is_live(&self) -> bool {
        is_live(&self.args.show, self.strip, self.output)
    }

    fn grace(&self) -> Duration {
        self.asked
            .grace_ms
            .map_or(self.args.task.grace, Duration::from_millis)
    }

    /// What is left until the run must end.
    fn deadline(&self) -> Option<Duration> {
        let now = SystemClock.now();
        self.asked.deadline_at.map(|at| at.since(now))
    }

    /// What stopped the run then, if all of it has ended.
    fn old_cause(&self) -> Option<Cause> {
        let stopped = |job: &JobRecord| {
            recall::verdict(job).is_some_and(|verdict| verdict.status == Status::Cancelled)
                && job
                    .cancel
                    .as_ref()
                    .and_then(|cancel| cancel.reason.as_deref())
                    .is_none_or(|reason| reason.contains(recall::NOT_STARTED))
        };
        self.jobs.iter().any(stopped).then_some(Cause::Interrupt)
    }

    /// Follows a run that `fleet up` has.
    async fn follow(&self, client: crate::client::Client) -> anyhow::Result<Exit> {
        let shutdown = Shutdown::listen().context("listen for signals")?;
        self.output.leave_on(&shutdown);
        let names: Result<Vec<HostName>, _> = self
            .asked
            .hosts
            .iter()
            .map(|name| HostName::new(name))
            .collect();
        let places = self.jobs.iter().enumerate().map(|(at, job)| {
            let (task, host) = self.asked.place(at);
            Place {
                job: job.id,
                task,
                host,
                payload: job.payload.clone(),
            }
        });
        let connect = &self.args.connect;
        let course = Course {
            group: self.run.record.id,
            places: places.collect(),
            names: names.context("the hosts of the run")?,
            deadline: self.deadline(),
            grace: self.grace(),
            // Those that are not in the fleet file any more cannot be tried.
            reach: (self.hosts.len() == self.asked.hosts.len()).then(|| Reach {
                links: connect.links(CONNECT_TIMEOUT),
                hosts: self.hosts.clone(),
            }),
            connect: connect
                .connect_timeout
                .map_or(Some(CONNECT_TIMEOUT), |limit| limit.0),
            max_output: self.args.show.cap(),
            directory: runs::directory(self.run.record.id)?,
            live: self.is_live(),
        };
        let old = self.old_cause();
        let (events, received) = run::channel();
        let carrying = follow::carry_out(course, None, client, shutdown.clone(), events);
        let cause = || shutdown.cause().or(old);
        self.stage()
            .play(carrying, received, cause, self.output)
            .await
    }

    /// Tells what came of a run that is over.
    async fn tell_again(&self) -> anyhow::Result<Exit> {
        let known = self.known()?;
        let (events, received) = run::channel();
        let live = self.is_live();
        let telling = async {
            for (unit, report) in known {
                let host = self.position(&report);
                run::tell_known(&events, unit, host, &report, live).await;
                let report = Box::new(report);
                let _ = events.send(RunEvent::Ended { unit, report }).await;
            }
            drop(events);
            anyhow::Ok(())
        };
        let cause = || self.old_cause();
        self.stage()
            .play(telling, received, cause, self.output)
            .await
    }

    fn position(&self, report: &TaskReport) -> Option<usize> {
        let name = report.host.as_ref()?;
        self.asked
            .hosts
            .iter()
            .position(|host| host == name.as_str())
    }

    /// Does what had not begun when the run was cut off.
    async fn go_on(&self, queue: Queue, presence: Presence) -> anyhow::Result<Exit> {
        let run = &self.run.record;
        let (work, spread, common) = self
            .asked
            .work()
            .map_err(|error| refused(self.run, error))?;
        if let Some(gone) = self
            .asked
            .hosts
            .iter()
            .find(|name| !self.hosts.iter().any(|host| host.name.as_str() == *name))
        {
            return Err(Failure::usage(format!(
                "run {} cannot be gone on with: host `{gone}` is not in the fleet file any more",
                run.id
            ))
            .into());
        }
        let (usual, _) = self.args.task.limit();
        let given = self.asked.timeout();
        let timeout = given.unwrap_or(usual);
        let hosts: Vec<Arc<Host>> = self
            .hosts
            .iter()
            .map(|host| with_timeout(host, timeout, given.is_some()))
            .collect();
        let Prepared { units, command, .. } = prepare(work, spread, common, &hosts)
            .map_err(|error| Failure::usage("the run").because(error))?;
        let units = self.asked.pick(units);
        if units.len() != self.jobs.len() {
            return Err(refused(self.run, asked::Error::Unknown));
        }
        let units = units
            .into_iter()
            .zip(&self.jobs)
            .map(|(unit, job)| run::Unit {
                job: job.id,
                ..unit
            })
            .collect();
        let live = self.is_live();
        let plan = Plan {
            kind: self.kind,
            title: run.title.clone(),
            meta: run.meta.clone(),
            hosts,
            units,
            command,
            input: None,
            attendant: None,
            one_by_one: self.asked.one,
            timeout,
            deadline: self.deadline(),
            grace: self.grace(),
            max_output: self.args.show.cap(),
            directory: runs::directory(run.id)?,
            live,
        };
        let known = self.known()?;
        let left = self.jobs.len() - known.len();
        self.output.note(&format!(
            "going on with run {}: {left} to do, {} known",
            run.id,
            known.len()
        ));
        let shutdown = Shutdown::listen().context("listen for signals")?;
        self.output.leave_on(&shutdown);
        let means = Means {
            queue,
            links: self.args.connect.links(CONNECT_TIMEOUT),
            clock: Arc::new(SystemClock),
        };
        let (events, received) = run::channel();
        let begin = Begin::Again(known);
        let carrying = run::carry_out(plan, run.id, begin, means, shutdown.clone(), events);
        let exit = self
            .stage()
            .play(carrying, received, || shutdown.cause(), self.output)
            .await;
        drop(presence);
        exit
    }

    /// Returns the reports of all that had begun; what has no end is lost.
    fn known(&self) -> anyhow::Result<Vec<(usize, TaskReport)>> {
        let directory = runs::directory(self.run.record.id)?;
        let mut known = Vec::new();
        for (at, job) in self.jobs.iter().enumerate() {
            let verdict = match (recall::verdict(job), job.status) {
                (Some(verdict), _) => verdict,
                (None, JobStatus::Queued) => continue,
                (None, JobStatus::Leased | JobStatus::Completed | JobStatus::Failed) => {
                    Verdict::because(Status::Lost, "skyclaw was killed while it ran")
                }
            };
            let (task, pinned) = self.asked.place(at);
            let host = ledger::host_of(job, &self.names);
            let label = match (&self.run.keeper, pinned, &host) {
                (Keeper::Running(_) | Keeper::Stopped(_), None, _) | (_, _, None) => "any",
                (_, _, Some(host)) => host.as_str(),
            };
            let kept = |ending: &str, ends: Option<&Ends>| {
                let file = directory.join(format!("{label}-{at}.{ending}"));
                recorded(&file, ends)
            };
            let result = job.result.as_ref();
            let output = (
                kept("out", result.map(|result| &result.stdout)),
                kept("err", result.map(|result| &result.stderr)),
            );
            known.push((at, recall::report(job, host, task, verdict, output)));
        }
        Ok(known)
    }
}

/// Returns a stream as it was recorded; all of it lies in `file` if it was too large for the record.
fn recorded(file: &Path, ends: Option<&Ends>) -> Kept {
    let nothing = Ends::default();
    let ends = ends.unwrap_or(&nothing);
    let file = (ends.truncated && file.exists()).then(|| file.to_owned());
    Kept::recorded(ends, file)
}
