//! What came of jobs and the claim for the next ones, in one request and one commit.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::claims::{self, Got, Same};
use super::error::Refused;
use crate::coordinator::Room;
use crate::coordinator::dispatch::give_back;
use crate::protocol::HostId;
use crate::protocol::api::Code;
use crate::queue::{ClaimRequest, Claimant, Completion, Error, Idempotency, LeaseRef, Report};

/// Reports, and what their answer is remembered by.
pub type Reports = (Vec<(LeaseRef, Report)>, Option<Idempotency>);
/// What came of them, and whether that was remembered.
type Told = Result<(Vec<Completion>, bool), Error>;

/// What a host asks for along with its reports.
#[derive(Debug, Clone, Copy)]
pub struct Asked {
    /// How many jobs it can begin at once.
    pub now: u16,
    /// How many more it would have at hand.
    pub ahead: u16,
}

/// Takes reports and claims jobs for the host; `same` is what it gives when it comes again. Waits for
/// no work. That a claim fails is no fault of the reports, so then there is just no work.
pub async fn exchange(
    room: &Arc<Room>,
    id: &HostId,
    reports: Reports,
    asked: Asked,
    same: Same,
) -> Result<(Told, Got), Refused> {
    let known = claims::greet(room, id)?;
    let ahead = room.ahead(asked.ahead, known.max_parallel).await;
    let claimant = Claimant {
        max: asked.now.saturating_add(ahead).min(claims::MOST),
        ..known.claimant
    };
    let mut got = Got::default();
    let told = if claimant.max > 0 && room.may_work(id) {
        let (told, given) = both(room, reports, claimant, same).await?;
        if let Some((jobs, replayed)) = given {
            (got.jobs, got.replayed) = (jobs, replayed);
        }
        told
    } else {
        room.queue.complete_many(reports.0, reports.1).await
    };
    got.heartbeat = room.leases.nudge(id);
    got.paused = got.jobs.is_empty() && !room.may_work(id);
    Ok((told, got))
}

type Given = Option<(Vec<crate::queue::Claimed>, bool)>;

/// In a task of its own, so that a request that goes away meanwhile leaves nothing behind.
async fn both(
    room: &Arc<Room>,
    reports: Reports,
    claimant: Claimant,
    same: Same,
) -> Result<(Told, Given), Refused> {
    let (tell, answer) = oneshot::channel();
    let room = Arc::clone(room);
    tokio::spawn(async move {
        let request = ClaimRequest {
            claimants: vec![claimant],
            group: None,
            lease_for: room.settings.lease_for,
        };
        let named = !matches!(same, Same::No);
        let (told, given) = match same {
            Same::No => room.queue.exchange(reports, (request, None)).await,
            Same::Answer(key) => room.queue.exchange(reports, (request, Some(key))).await,
            Same::Leases(mark) => room.queue.exchange_once(reports, (request, mark)).await,
        };
        let given = given.map_err(|error| room.refuse(error)).ok();
        if let Some((jobs, false)) = &given {
            room.took(jobs);
        }
        let answer = match told {
            Ok(told) => tell.send((Ok(told), given)),
            Err(error) => {
                // Nobody is told of jobs together with an error.
                drop(tell.send((Err(error.clone()), None)));
                Err((Err(error), given))
            }
        };
        // With a key or a name the asker will ask again and must get the same leases.
        if let Err((_, Some((jobs, _)))) = answer
            && !named
        {
            give_back(&room, jobs);
        }
    });
    let lost = |_| Refused::new(Code::Internal, "internal error");
    answer.await.map_err(lost)
}
