//! Starts claimed jobs, or gives back those that this host does not take.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use super::ahead;
use super::core::Core;
use super::notice::Notice;
use super::runner::orders::Orders;
use super::runner::{Task, Work};
use crate::client::holder::{Held, Session, key};
use crate::protocol::api::{ClaimedMany, LeaseName, LeasedJob, Release};
use crate::protocol::{JobId, LeaseToken};
use crate::support::clock::Timestamp;

/// The first and the longest time for which a job is not given out after its refusal.
const REFUSED_FOR: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// How many refused jobs are remembered.
const MOST_REFUSED: usize = 10_000;

/// Starts what may run here and gives back the rest. The claim was sent at `sent_at`.
pub(super) async fn start(
    core: &Arc<Core>,
    session: &Session,
    jobs: Vec<LeasedJob>,
    sent_at: Timestamp,
) {
    let mut back: HashMap<Duration, Vec<LeaseName>> = HashMap::new();
    for job in jobs {
        if let Err((lease, delay)) = start_one(core, session, job, sent_at) {
            back.entry(delay).or_default().push(lease);
        }
    }
    for (delay, leases) in back {
        give_back(core, session, leases, delay).await;
    }
}

/// Takes what came with the answer to results: the owner may have changed their mind meanwhile.
pub(super) async fn take(
    core: &Arc<Core>,
    session: &Session,
    claimed: ClaimedMany,
    sent_at: Timestamp,
) {
    if claimed.heartbeat {
        core.beat.notify_one();
    }
    if claimed.paused {
        ahead::hand_back(core).await;
    }
    if core.takes_work() {
        start(core, session, claimed.jobs, sent_at).await;
    } else if !claimed.jobs.is_empty() {
        let leases = claimed.jobs.iter().map(lease_of).collect();
        give_back(core, session, leases, Duration::ZERO).await;
    }
}

fn lease_of(job: &LeasedJob) -> LeaseName {
    LeaseName {
        job_id: job.id,
        attempt: job.attempts,
        lease_token: job.lease_token,
    }
}

/// Starts a job, or says for how long nobody should be given it.
fn start_one(
    core: &Arc<Core>,
    session: &Session,
    job: LeasedJob,
    sent_at: Timestamp,
) -> Result<(), (LeaseName, Duration)> {
    let lease = lease_of(&job);
    let kind = kind_of(&job);
    if !core
        .settings
        .accept
        .takes(job.submitted_by.as_deref(), &kind)
    {
        core.tell(Notice::Refused {
            job: job.id,
            attempt: job.attempts,
            kind,
            submitted_by: job.submitted_by,
        });
        return Err((lease, refusal(core, job.id)));
    }
    let until = core.table.until(sent_at, job.lease_ms);
    if job.last_try {
        // Were we killed, it would have failed without having begun.
        core.pace.slow();
    }
    let (place, orders) = match core.runner.reserve(until) {
        Some((place, orders)) => (Some(place), orders),
        None if job.last_try || core.runner.room() == 0 => return Err((lease, Duration::ZERO)),
        None => (None, Arc::new(Orders::new(until))),
    };
    core.table.insert(Held {
        lease,
        kind: kind.clone(),
        submitted_by: job.submitted_by.clone(),
        since: core.wall.now(),
        orders: Some(Arc::clone(&orders)),
    });
    let work = work(core, session, orders, lease, kind, job);
    match place {
        Some(place) => core.runner.begin(place, work),
        None => {
            core.runner.hold(lease, work);
            core.held.notify_one();
        }
    }
    Ok(())
}

/// Returns what a slot is to do for a job.
fn work(
    core: &Arc<Core>,
    session: &Session,
    orders: Arc<Orders>,
    lease: LeaseName,
    kind: String,
    job: LeasedJob,
) -> Work {
    let log = (session.logs && lease.lease_token != LeaseToken::NONE).then(|| {
        let orders = Arc::clone(&orders);
        core.logs.open(lease, Box::new(move || orders.wake()))
    });
    let here = Arc::clone(core);
    let prepare = move || -> Result<Task, _> {
        here.tell(Notice::Running {
            job: job.id,
            attempt: job.attempts,
            kind,
        });
        here.kinds.task(
            job.id,
            job.attempts,
            &job.payload,
            job.timeout_ms,
            here.wall.now(),
        )
    };
    let home = Arc::clone(core);
    let done = move |ran| home.ended(key(&lease), lease, ran);
    Work {
        orders,
        log,
        prepare: Box::new(prepare),
        done: Box::new(done),
    }
}

pub(super) async fn give_back(
    core: &Core,
    session: &Session,
    leases: Vec<LeaseName>,
    delay: Duration,
) {
    let release = Release {
        leases,
        delay_ms: u64::try_from(delay.as_millis()).unwrap_or(u64::MAX),
    };
    if session.batch {
        if let Err(error) = core.client.release(&session.host, &release).await {
            // The leases are named in no heartbeat, so they go back by themselves.
            core.failed(&error);
        }
        return;
    }
    // The original takes nothing back: all that can be said is that it will not run here.
    for lease in release.leases {
        let text = "this host does not accept the job".to_owned();
        let ran = super::runner::report::failure(
            crate::protocol::Reason::NotAllowed,
            Some(super::runner::report::NOT_ALLOWED),
            text,
            core.wall.now(),
        );
        core.ended(key(&lease), lease, ran);
    }
}

/// Each refusal by this host doubles the time in which others may be found who take the job.
fn refusal(core: &Core, job: JobId) -> Duration {
    let mut refused = core.refused.lock().unwrap_or_else(PoisonError::into_inner);
    if refused.len() >= MOST_REFUSED {
        refused.clear();
    }
    let times = refused.entry(job).or_insert(0);
    let (first, most) = REFUSED_FOR;
    let delay = first.saturating_mul(1 << (*times).min(16)).min(most);
    *times += 1;
    delay
}

/// Returns the word for the kind of a job, known or not.
fn kind_of(job: &LeasedJob) -> String {
    #[derive(serde::Deserialize)]
    struct Tag<'a> {
        #[serde(borrow)]
        kind: std::borrow::Cow<'a, str>,
    }
    serde_json::from_str::<Tag<'_>>(job.payload.as_str())
        .map_or_else(|_| "unknown".to_owned(), |tag| tag.kind.into_owned())
}
