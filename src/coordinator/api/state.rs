//! `GET /v1/state`: everything, for clients of the original. Changes nothing, and is never in
//! memory as a whole.

use std::sync::Arc;

use axum::extract::State as Given;
use axum::response::Response;
use bytes::Bytes;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::error::Refused;
use super::reply::JSON;
use super::stream::{self, Piece, broken};
use super::{Consistency, Shared, hosts, services, wire};
use crate::coordinator::Room;
use crate::protocol::api::{Standing, State};
use crate::queue::{Cursor, JobFilter};

/// How many jobs are read at a time.
const PAGE: u32 = 500;

/// Returns the routes of this file.
pub fn routes() -> OpenApiRouter<Arc<Room>> {
    OpenApiRouter::new().routes(routes!(state))
}

enum Next {
    Head,
    Jobs(Option<Cursor>),
    Services,
    Nothing,
}

/// Every host, job and service. In a cluster it is what the leader has, unless `consistency=local` asks for what this
/// coordinator has: that may be old, and of hosts it does not know which are there.
#[utoipa::path(get, path = "/v1/state", params(Consistency), responses((status = 200, body = State)))]
async fn state(Given(room): Shared) -> Response {
    stream::unfold(JSON, (room, Next::Head), |(room, next)| async move {
        let (piece, next) = match next {
            Next::Head => (head(&room), Next::Jobs(None)),
            Next::Jobs(from) => match jobs(&room, from).await {
                Ok((piece, next)) => (Ok(piece), next),
                Err(refused) => (Err(broken(refused)), Next::Nothing),
            },
            Next::Services => (all_services(&room).await, Next::Nothing),
            Next::Nothing => return None,
        };
        Some((piece, (room, next)))
    })
}

fn head(room: &Room) -> Piece {
    let mut out = Vec::with_capacity(1024);
    out.extend_from_slice(b"{\"nodeId\":");
    serde_json::to_writer(&mut out, &room.settings.node_id)?;
    if let Some(standing) = standing(room) {
        // One object goes on in the other.
        let text = serde_json::to_vec(&standing)?;
        let inner = text
            .strip_prefix(b"{")
            .and_then(|text| text.strip_suffix(b"}"));
        out.push(b',');
        out.extend_from_slice(inner.unwrap_or_default());
    }
    out.extend_from_slice(b",\"hosts\":");
    serde_json::to_writer(&mut out, &hosts::all(room))?;
    out.extend_from_slice(b",\"jobs\":[");
    Ok(out.into())
}

/// Returns how far this coordinator's state goes; nothing where there is no cluster.
fn standing(room: &Room) -> Option<Standing> {
    let status = room.cluster.as_ref()?.cluster.watch();
    let status = status.borrow();
    status.cluster?;
    Some(Standing {
        applied_index: status.applied,
        term: status.term,
        leader: status.leading().map(|(_, leader)| leader.name.clone()),
    })
}

async fn jobs(room: &Room, from: Option<Cursor>) -> Result<(Bytes, Next), Refused> {
    let filter = JobFilter {
        oldest_first: true,
        ..JobFilter::default()
    };
    let page = room.queue.jobs(filter, from, PAGE).await;
    let page = page.map_err(|error| room.refuse(error))?;
    let mut out = Vec::with_capacity(page.items.len() * 512);
    let mut follows = from.is_some();
    for view in page.items {
        if std::mem::replace(&mut follows, true) {
            out.push(b',');
        }
        let job = wire::job(view.job, &room.settings.node_id);
        if let Err(error) = serde_json::to_writer(&mut out, &job) {
            return Err(Refused::bad(error.to_string()));
        }
    }
    let next = match page.next {
        Some(cursor) => Next::Jobs(Some(cursor)),
        None => Next::Services,
    };
    Ok((out.into(), next))
}

async fn all_services(room: &Room) -> Piece {
    let services = services::all(room).await.map_err(broken)?;
    let mut out = b"],\"services\":".to_vec();
    serde_json::to_writer(&mut out, &services)?;
    out.push(b'}');
    Ok(out.into())
}
