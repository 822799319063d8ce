//! A whole state of the original is taken over, once, into an empty queue. After that its coordinators are refused: taking in
//! another's writes beside one's own would lose jobs.

use std::sync::Arc;

use axum::extract::State;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Shared;
use super::body::{Body, HUGE};
use super::error::Refused;
use super::reply::Reply;
use crate::coordinator::Room;
use crate::protocol::api::{Code, ErrorBody, Imported};
use crate::queue::Original;

/// Returns the routes of this file.
pub fn routes() -> OpenApiRouter<Arc<Room>> {
    OpenApiRouter::new().routes(routes!(snapshot))
}

/// What a coordinator of the original sends. Each record is read by itself: one that is broken does not spoil the others.
#[derive(Default, Deserialize)]
struct Snapshot {
    #[serde(default)]
    hosts: Vec<Box<RawValue>>,
    /// Always there: without them it is something else, such as an error that was passed on.
    jobs: Vec<Box<RawValue>>,
    #[serde(default)]
    services: Vec<Box<RawValue>>,
}

/// Takes over the state of a coordinator of the original, as its `GET /v1/state` gives it, into a queue in which
/// nothing is yet. Jobs that were running are queued again. The same state sent again changes nothing; anything else is refused.
#[utoipa::path(
    post, path = "/v1/replicate/snapshot",
    responses((status = 200, body = Imported), (status = 409, body = ErrorBody))
)]
async fn snapshot(
    State(room): Shared,
    Body { value, bytes }: Body<Snapshot, HUGE>,
) -> Result<Reply<Imported>, Refused> {
    let hash: [u8; 32] = Sha256::digest(&bytes).into();
    drop(bytes);
    let mut skipped = 0;
    let mut original = Original {
        jobs: read("job", &value.jobs, &mut skipped),
        hosts: read("host", &value.hosts, &mut skipped),
        services: read("service", &value.services, &mut skipped),
    };
    drop(value);
    original.jobs.sort_by_key(|job| job.created_at);
    // Whoever asked may go away; half a state must not be left for it.
    let taking = tokio::spawn({
        let queue = room.queue.clone();
        async move { queue.take_over(original, hash).await }
    });
    let taken = taking
        .await
        .map_err(|_| Refused::new(Code::Internal, "taking over the state broke off"))?;
    let Some((taken, changed)) = taken.map_err(|error| room.refuse(error))? else {
        return Err(Refused::new(
            Code::Conflict,
            "this queue is not empty: it takes over no state, and coordinators of the original cannot be its peers",
        ));
    };
    room.took_over().await.map_err(|error| room.refuse(error))?;
    tracing::info!(
        jobs = taken.jobs,
        hosts = taken.hosts,
        services = taken.services,
        skipped = taken.skipped + skipped,
        "the state of a coordinator of the original was taken over"
    );
    Ok(Reply::new(Imported {
        ok: true,
        changed,
        node_id: room.settings.node_id.clone(),
        jobs: taken.jobs,
        hosts: taken.hosts,
        services: taken.services,
        skipped: taken.skipped + skipped,
    }))
}

fn read<T: DeserializeOwned>(what: &str, records: &[Box<RawValue>], skipped: &mut u64) -> Vec<T> {
    let mut all = Vec::with_capacity(records.len());
    for record in records {
        match serde_json::from_str(record.get()) {
            Ok(one) => all.push(one),
            Err(error) => {
                tracing::warn!(what, %error, "a record of the original cannot be read and is left out");
                *skipped += 1;
            }
        }
    }
    all
}
