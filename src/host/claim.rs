//! Asks for work and starts it.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::backoff::{Backoff, jittered};
use super::core::{Core, Session};
use super::notice::Notice;
use super::runner::orders::Orders;
use super::runner::{Place, Task};
use super::table::{Held, key};
use crate::client::Error;
use crate::protocol::api::{LeaseName, LeasedJob, Release};
use crate::protocol::{JobId, LeaseToken};
use crate::support::clock::Timestamp;

/// How long a claim waits for work.
const WAIT: Duration = Duration::from_secs(30);
/// With all slots busy for so long, a claim for nothing is kept open to hear of cancels.
const BUSY: Duration = Duration::from_secs(1);
/// An empty answer that comes sooner than this was not waited for.
const AT_ONCE: Duration = Duration::from_millis(50);
/// The first and the longest time for which a job is not given out after its refusal.
const REFUSED_FOR: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// How many refused jobs are remembered.
const MOST_REFUSED: usize = 10_000;

/// Claims until the daemon stops, or with `once` until there is nothing left.
pub(super) async fn keep(core: &Arc<Core>) {
    let mut backoff = Backoff::new(Duration::from_millis(500), WAIT);
    loop {
        let session = tokio::select! {
            () = core.stopping() => return,
            session = core.session() => session,
        };
        let turn = tokio::select! {
            () = core.stopping() => return,
            turn = turn(core, &session) => turn,
        };
        match turn {
            Ok(Turn::Again) => backoff.reset(),
            Ok(Turn::Nothing) if core.settings.once => {
                // What runs may leave more to do, such as a retry.
                if core.table.len() == 0 {
                    return;
                }
                core.freed.notified().await;
            }
            Ok(Turn::Nothing) => {
                backoff.reset();
                tokio::select! {
                    () = core.stopping() => return,
                    () = sleep(jittered(core.settings.poll)) => {}
                }
            }
            Err(error) => {
                core.failed(&error);
                if core.settings.once {
                    return;
                }
                tokio::select! {
                    () = core.stopping() => return,
                    () = backoff.wait() => {}
                }
            }
        }
    }
}

/// What to do next.
enum Turn {
    /// Ask again at once.
    Again,
    /// There is no work, and the coordinator does not let us wait for it.
    Nothing,
}

async fn turn(core: &Arc<Core>, session: &Session) -> Result<Turn, Error> {
    let mut block = core.block.subscribe();
    let now = block.borrow_and_update().clone();
    if !now.known || now.why().is_some() {
        if core.settings.once && now.known {
            return Ok(Turn::Nothing);
        }
        return Ok(closed(core, session, &mut block).await);
    }
    let free = if session.batch {
        core.runner.free()
    } else {
        // The original counts a lease until it has the result.
        usize::from(core.settings.max_parallel).saturating_sub(core.table.len())
    };
    if free == 0 {
        return busy(core, session).await;
    }
    if !session.wait {
        return one(core, session).await;
    }
    let max = u16::try_from(free).unwrap_or(u16::MAX);
    let wait = (!core.settings.once).then(|| patience(session));
    let sent = (core.steady.now(), Instant::now());
    let reply = tokio::select! {
        reply = core.client.claim(&session.host, max, wait) => reply?,
        _ = block.changed() => return Ok(Turn::Again),
    };
    core.works();
    if reply.heartbeat {
        core.beat.notify_one();
    }
    let any = !reply.jobs.is_empty();
    start(core, session, reply.jobs, sent.0).await;
    if any || reply.heartbeat {
        return Ok(Turn::Again);
    }
    if core.settings.once || reply.paused || sent.1.elapsed() < AT_ONCE {
        return Ok(Turn::Nothing);
    }
    Ok(Turn::Again)
}

/// A lease counts from when the claim was sent, so a claim may not wait for most of one.
fn patience(session: &Session) -> Duration {
    session.lease_for.map_or(WAIT, |lease| WAIT.min(lease / 2))
}

/// As hosts of the original ask.
async fn one(core: &Arc<Core>, session: &Session) -> Result<Turn, Error> {
    let sent_at = core.steady.now();
    let reply = core.client.claim_one(&session.host, None).await?;
    core.works();
    match reply.job {
        Some(job) => {
            start(core, session, vec![job], sent_at).await;
            Ok(Turn::Again)
        }
        None => Ok(Turn::Nothing),
    }
}

/// Waits until a lease is over; after a while with an open request, through which cancels come at once.
async fn busy(core: &Core, session: &Session) -> Result<Turn, Error> {
    let listen = async {
        sleep(BUSY).await;
        if !session.wait {
            std::future::pending::<()>().await;
        }
        listen(core, session).await
    };
    tokio::select! {
        () = core.freed.notified() => Ok(Turn::Again),
        turn = listen => turn,
    }
}

/// Takes no work, but hears of cancels, until the owner's wishes change.
async fn closed(
    core: &Core,
    session: &Session,
    block: &mut tokio::sync::watch::Receiver<super::core::Block>,
) -> Turn {
    loop {
        let listen = async {
            if session.wait && core.table.len() > 0 {
                let _ = listen(core, session).await;
            }
            core.freed.notified().await;
        };
        tokio::select! {
            _ = block.changed() => return Turn::Again,
            () = listen => {}
        }
    }
}

async fn listen(core: &Core, session: &Session) -> Result<Turn, Error> {
    let asked = Instant::now();
    let reply = core.client.claim(&session.host, 0, Some(WAIT)).await?;
    core.works();
    if reply.heartbeat {
        core.beat.notify_one();
    }
    if asked.elapsed() < AT_ONCE {
        // Not a coordinator that waits; heartbeats will have to do.
        sleep(core.settings.heartbeat).await;
    }
    Ok(Turn::Again)
}

async fn start(core: &Arc<Core>, session: &Session, jobs: Vec<LeasedJob>, sent_at: Timestamp) {
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

/// Starts a job, or says for how long nobody should be given it.
fn start_one(
    core: &Arc<Core>,
    session: &Session,
    job: LeasedJob,
    sent_at: Timestamp,
) -> Result<(), (LeaseName, Duration)> {
    let lease = LeaseName {
        job_id: job.id,
        attempt: job.attempts,
        lease_token: job.lease_token,
    };
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
    let Some((place, orders)) = core.runner.reserve(until) else {
        return Err((lease, Duration::ZERO));
    };
    core.table.insert(Held {
        lease,
        kind: kind.clone(),
        submitted_by: job.submitted_by.clone(),
        since: core.wall.now(),
        orders: Some(Arc::clone(&orders)),
    });
    core.tell(Notice::Running {
        job: job.id,
        attempt: job.attempts,
        kind,
    });
    run(core, session, place, orders, lease, job);
    Ok(())
}

fn run(
    core: &Arc<Core>,
    session: &Session,
    place: Place,
    orders: Arc<Orders>,
    lease: LeaseName,
    job: LeasedJob,
) {
    let log = (session.logs && lease.lease_token != LeaseToken::NONE)
        .then(|| core.logs.open(lease, &orders));
    let kinds = Arc::clone(&core.kinds);
    let wall = Arc::clone(&core.wall);
    let prepare = move || -> Result<Task, _> {
        kinds.task(
            job.id,
            job.attempts,
            &job.payload,
            job.timeout_ms,
            wall.now(),
        )
    };
    let home = Arc::clone(core);
    let done = move |ran| home.ended(key(&lease), lease, ran);
    core.runner
        .begin(place, orders, log, Box::new(prepare), Box::new(done));
}

async fn give_back(core: &Core, session: &Session, leases: Vec<LeaseName>, delay: Duration) {
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
