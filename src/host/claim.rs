//! Asks for work.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::begin::start;
use super::core::Core;
use crate::client::holder::Session;
use crate::client::{Error, RequestName};
use crate::support::backoff::{Backoff, jittered};

/// How long a claim waits for work.
const WAIT: Duration = Duration::from_secs(30);
/// With all slots busy for so long, a claim for nothing is kept open to hear of cancels.
const BUSY: Duration = Duration::from_secs(1);
/// An empty answer that comes sooner than this was not waited for.
const AT_ONCE: Duration = Duration::from_millis(50);

/// Claims until the daemon stops, or with `once` until there is nothing left.
pub(super) async fn keep(core: &Arc<Core>) {
    let mut backoff = Backoff::new(Duration::from_millis(500), core.longest_wait(WAIT));
    // Until its answer has come: asked again, a claim brings what it brought before.
    let mut name = RequestName::fresh();
    loop {
        let session = tokio::select! {
            () = core.stopping() => return,
            session = core.session() => session,
        };
        let turn = tokio::select! {
            () = core.stopping() => return,
            turn = turn(core, &session, &mut name) => turn,
        };
        match turn {
            Ok(Turn::Again) => backoff.reset(),
            Ok(Turn::Nothing) if core.settings.once => {
                // What runs may leave more to do, such as a retry.
                if core.table.is_empty() {
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

async fn turn(core: &Arc<Core>, session: &Session, name: &mut RequestName) -> Result<Turn, Error> {
    let mut block = core.block.subscribe();
    let now = block.borrow_and_update().clone();
    if !now.known || now.why().is_some() {
        if core.settings.once && now.known {
            return Ok(Turn::Nothing);
        }
        return Ok(closed(core, session, &mut block).await);
    }
    let asking = core.asking.lock().await;
    let free = if session.batch {
        core.runner.free()
    } else {
        // The original counts a lease until it has the result.
        usize::from(core.settings.max_parallel).saturating_sub(core.table.len())
    };
    if free == 0 {
        drop(asking);
        return busy(core, session).await;
    }
    if !session.wait {
        return one(core, session).await;
    }
    let max = u16::try_from(free).unwrap_or(u16::MAX);
    let wait = (!core.settings.once).then(|| session.patience());
    let sent = (core.steady.now(), Instant::now());
    let reply = tokio::select! {
        reply = core.client.claim_named(name, &session.host, max, wait) => reply?,
        _ = block.changed() => return Ok(Turn::Again),
    };
    *name = RequestName::fresh();
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

/// Waits until a slot wants work; after a while with an open request, through which cancels come at once.
async fn busy(core: &Core, session: &Session) -> Result<Turn, Error> {
    let listen = async {
        sleep(BUSY).await;
        if !session.wait {
            std::future::pending::<()>().await;
        }
        listen(core, session).await
    };
    tokio::select! {
        () = core.vacant.notified() => Ok(Turn::Again),
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
            if session.wait && !core.table.is_empty() {
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
