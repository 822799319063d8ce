//! The way of a request that came to a member which does not lead: on to the one that does, one hop, and through a
//! change of leaders where that can be done without doing anything twice.

use std::sync::Arc;
use std::time::Duration;

use axum::http::Request;
use axum::response::{IntoResponse, Response};
use hyper::body::Incoming;
use tokio::time::{Instant, sleep, sleep_until};

use super::parcel::{Parcel, Sent, Why};
use crate::coordinator::api::error::Refused;
use crate::coordinator::api::repeat;
use crate::coordinator::cluster::{LinkError, Membership};
use crate::coordinator::front::Front;
use crate::coordinator::office::Office;
use crate::coordinator::{Caller, admission};
use crate::protocol::api::Code;
use crate::queue::cluster::{Member, MemberId, Role};

/// How long a request waits for somebody who leads.
const PATIENCE: Duration = Duration::from_secs(4);
/// Between two tries to reach the same leader.
const STEP: Duration = Duration::from_millis(50);
/// A request that was under way for less than this is said to be fresh.
const FRESH: Duration = Duration::from_millis(50);
/// How often a request is sent whose answer was lost. One that ends each leader that it comes to must not end them all.
const MOST: u32 = 3;

/// Refuses because nobody leads.
pub fn no_leader() -> Refused {
    let text = "no leader: the members of the cluster are choosing one, or too few of them are up";
    Refused::new(Code::NoLeader, text).retry_after(Duration::from_secs(1))
}

/// Says that it is not known whether the request was done.
fn answer_lost() -> Refused {
    let text = "the leader was lost while it worked on this: it may have been done. Look before asking again, \
                or ask with an x-idempotency-key: then it is done once";
    Refused::new(Code::NoLeader, text).retry_after(Duration::from_secs(1))
}

/// What a request is to do next.
enum Next {
    /// This coordinator serves by now.
    Here(Arc<Office>),
    /// It goes there.
    There((MemberId, Member)),
    /// Nobody is known.
    Nowhere,
}

fn next(front: &Front, membership: &Membership) -> Next {
    if let Some(office) = front.office() {
        return Next::Here(office);
    }
    let watch = membership.cluster.watch();
    let status = watch.borrow();
    match status.leading() {
        Some((id, member)) if id != status.id => Next::There((id, member.clone())),
        Some(_) | None => Next::Nowhere,
    }
}

/// Passes a request on to the leader, and waits for one if there is none.
pub async fn pass_on(
    front: &Front,
    membership: &Membership,
    caller: Arc<Caller>,
    request: Request<Incoming>,
) -> Response {
    let came = Instant::now();
    let before = repeat::waited(request.headers());
    let known = admission::is_known(&front.means().settings, &caller, request.headers());
    let mut parcel = match Parcel::of(request, known).await {
        Ok(parcel) => parcel,
        Err(refused) => return refused.into_response(),
    };
    let mut end = Instant::now() + PATIENCE;
    let mut lost = 0;
    loop {
        let next = next(front, membership);
        if came.elapsed() > FRESH {
            parcel.waited(before + came.elapsed());
        }
        let to = match next {
            Next::Here(office) => {
                return office.answer(caller, parcel.opened()).await;
            }
            Next::There(to) => to,
            Next::Nowhere => {
                if !news(front, membership, end).await {
                    return no_leader().into_response();
                }
                continue;
            }
        };
        let began = Instant::now();
        let why = match parcel.send(&membership.links, &to, &caller).await {
            Sent::Answered(answer) => return answer,
            Sent::Unknown(error) => {
                said(&to, &error);
                return answer_lost().into_response();
            }
            Sent::Again(same, why) => {
                parcel = same;
                why
            }
        };
        match why {
            Why::Unsent(error) => said(&to, &error),
            Why::NoLeader => {}
            Why::Lost(error) => {
                said(&to, &error);
                lost += 1;
            }
        }
        if began.elapsed() > PATIENCE / 4 {
            // It was in good hands until now.
            end = Instant::now() + PATIENCE;
        }
        if lost >= MOST || Instant::now() >= end {
            return no_leader().into_response();
        }
        sleep(STEP).await;
    }
}

fn said(to: &(MemberId, Member), error: &LinkError) {
    tracing::debug!(leader = to.1.name, %error, "a request did not reach the leader");
}

/// Waits until somebody leads, at most until `end`. Tells whether there is time left.
async fn news(front: &Front, membership: &Membership, end: Instant) -> bool {
    let mut offices = front.offices();
    let mut status = membership.cluster.watch();
    // What changed before that was seen by nobody.
    if !matches!(next(front, membership), Next::Nowhere) {
        return true;
    }
    tokio::select! {
        _ = offices.changed() => {}
        _ = status.changed() => {}
        () = sleep_until(end) => {}
    }
    Instant::now() < end
}

/// Answers a request that another member passed on here, because this one leads by its word. It is not passed on again.
pub async fn arrived(
    front: &Front,
    membership: &Membership,
    caller: Arc<Caller>,
    request: Request<Incoming>,
) -> Response {
    let end = Instant::now() + PATIENCE;
    loop {
        match next(front, membership) {
            Next::Here(office) => return office.answer(caller, request).await,
            Next::There(_) => return no_leader().into_response(),
            Next::Nowhere => {
                if membership.cluster.status().role == Role::Waiting
                    || !news(front, membership, end).await
                {
                    return no_leader().into_response();
                }
            }
        }
    }
}
