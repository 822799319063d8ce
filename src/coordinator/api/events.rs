//! `GET /v1/events`: what happens, as it happens.

use std::sync::Arc;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Shared;
use super::body::Asked;
use super::stream::{self, BEAT, BEAT_TEXT, EVENTS};
use crate::coordinator::Room;
use crate::protocol::api::Event;

/// How many events are written at once.
const AT_ONCE: usize = 256;

/// Returns the routes of this file.
pub fn routes() -> OpenApiRouter<Arc<Room>> {
    OpenApiRouter::new().routes(routes!(events))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
struct Since {
    /// The same as the header `last-event-id`, for those who cannot send one.
    last_event_id: Option<String>,
}

/// A stream of events, each with its id. With `last-event-id` it goes on after that one; if events in
/// between are not remembered any more, the first is of type `gap`.
#[utoipa::path(
    get, path = "/v1/events", params(Since),
    responses((status = 200, content_type = "text/event-stream", body = Event))
)]
async fn events(State(room): Shared, Asked(since): Asked<Since>, headers: HeaderMap) -> Response {
    let last = headers
        .get("last-event-id")
        .and_then(|value| value.to_str().ok())
        .map(ToOwned::to_owned)
        .or(since.last_event_id);
    // An id of another start: everything that is remembered is news, and more was missed.
    let (after, missed) = match last.as_deref().map(str::trim).filter(|id| !id.is_empty()) {
        None => (room.feed.newest(), false),
        Some(id) => match room.feed.number(id) {
            Some(number) => (number.min(room.feed.newest()), false),
            None => (0, true),
        },
    };
    let closing = room.closing.subscribe();
    let begin = (room, after, missed, closing, true);
    stream::unfold(
        EVENTS,
        begin,
        |(room, after, missed, mut closing, first)| async move {
            if first && !missed {
                // Sends the headers, so that the reader knows that it listens.
                return Some((Ok(BEAT_TEXT), (room, after, missed, closing, false)));
            }
            if missed {
                let mut out = Vec::new();
                gap(&room, &mut out, after);
                return Some((Ok(out.into()), (room, after, false, closing, false)));
            }
            let batch = tokio::select! {
                batch = room.feed.after(after, AT_ONCE) => batch,
                () = tokio::time::sleep(BEAT) => {
                    return Some((Ok(BEAT_TEXT), (room, after, false, closing, false)));
                }
                _ = async { closing.wait_for(|closing| *closing).await.is_ok() } => return None,
            };
            let mut out = Vec::new();
            if batch.gap {
                let before = batch.events.first().map_or(after, |(number, _)| number - 1);
                gap(&room, &mut out, before);
            }
            let mut after = after;
            for (number, event) in batch.events {
                stream::event(&mut out, Some(&room.feed.id(number)), None, &event);
                after = number;
            }
            Some((Ok(out.into()), (room, after, false, closing, false)))
        },
    )
}

fn gap(room: &Room, out: &mut Vec<u8>, before: u64) {
    let gap = Event::Gap { at: room.now() };
    stream::event(out, Some(&room.feed.id(before)), None, &gap);
}
