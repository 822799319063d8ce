//! Who answers a request.
//!
//! ```text
//!  seat: follows who leads ──► opens and ends the office here
//!  answer ─► office: this member leads, or is alone     ──► onward ──► parcel: to the one that does
//!     │ local: from the own file, where that is asked for        │ arrived: from a member that was told so
//! ```

pub(in crate::coordinator) mod local;
mod onward;
mod parcel;
pub(in crate::coordinator) mod seat;

use std::sync::Arc;
use std::time::Duration;

use axum::http::{Method, Request};
use axum::response::{IntoResponse, Response};
use hyper::body::Incoming;

use crate::coordinator::Caller;
use crate::coordinator::api::error::Refused;
use crate::coordinator::api::reply::Reply;
use crate::coordinator::cluster::{Membership, PeerMark, is_for_peers};
use crate::coordinator::front::Front;
use crate::coordinator::office::Office;
use crate::protocol::api::{Code, Health};
use crate::queue::cluster::Role;

/// Who looks why nobody leads must see something, and whoever leaves is the one that is asked.
const OWN: [&str; 2] = ["/v1/network/peers", "/v1/network/leave"];
/// When a newcomer may be asked again.
const WAITS: Duration = Duration::from_secs(1);

/// Answers a request to this member. `office` is its own, if it has one.
pub async fn answer(
    front: &Front,
    membership: &Membership,
    office: Option<Arc<Office>>,
    (own, mark): (Arc<Caller>, &PeerMark),
    mut request: Request<Incoming>,
) -> Response {
    let path = request.uri().path();
    if is_for_peers(path) {
        return membership.door.answer(mark, &own, request).await;
    }
    let is_health = path == "/health" && matches!(*request.method(), Method::GET | Method::HEAD);
    let effective = match mark.effective(&own, &mut request) {
        Ok(effective) => effective,
        Err(refused) => return refused.into_response(),
    };
    if let Some(via) = effective.via {
        request.extensions_mut().insert(via);
    }
    if let Some(office) = office {
        return office.answer(effective.caller, request).await;
    }
    if is_health {
        return Reply::new(Health {
            ok: true,
            node_id: front.means().settings.node_id.clone(),
        })
        .into_response();
    }
    if effective.forwarded {
        return onward::arrived(front, membership, effective.caller, request).await;
    }
    let role = membership.cluster.watch().borrow().role;
    let own = OWN.contains(&request.uri().path());
    if role == Role::Waiting && !own {
        let text = "waiting to join: this coordinator is not a member of its cluster yet";
        return Refused::new(Code::Unavailable, text)
            .retry_after(WAITS)
            .into_response();
    }
    if own || local::is_asked(&request) && local::can_answer(&request) {
        return local::answer(front, effective.caller, request).await;
    }
    onward::pass_on(front, membership, effective.caller, request).await
}
