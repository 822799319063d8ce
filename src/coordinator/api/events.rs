//! `GET /v1/events`: what happens, as it happens.

use std::sync::Arc;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use bytes::Bytes;
use serde::Deserialize;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Shared;
use super::body::Asked;
use super::error::Refused;
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
    /// Only events of these types, with commas between; `gap` comes in any case.
    only: Option<String>,
}

/// Returns the kinds that are wanted; none means all.
fn kinds(only: Option<&str>) -> Result<Vec<&'static str>, Refused> {
    let words = only.unwrap_or_default().split(',').map(str::trim);
    words
        .filter(|word| !word.is_empty())
        .map(|word| {
            let known = Event::KINDS.into_iter().find(|kind| *kind == word);
            known.ok_or_else(|| Refused::bad(format!("only: there are no events of type {word}")))
        })
        .collect()
}

/// A stream of events, each with its id. With `last-event-id` it goes on after that one; if events in
/// between are not remembered any more, the first is of type `gap`.
#[utoipa::path(
    get, path = "/v1/events", params(Since),
    responses((status = 200, content_type = "text/event-stream", body = Event))
)]
async fn events(
    State(room): Shared,
    Asked(since): Asked<Since>,
    headers: HeaderMap,
) -> Result<Response, Refused> {
    let only = kinds(since.only.as_deref())?;
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
    let reader = Reader {
        room,
        only,
        after,
        missed,
        closing,
        greeted: missed,
    };
    Ok(stream::unfold(EVENTS, reader, |mut reader| async move {
        let piece = reader.next().await?;
        Some((Ok(piece), reader))
    }))
}

struct Reader {
    room: Arc<Room>,
    only: Vec<&'static str>,
    after: u64,
    /// Something before the first event is not remembered.
    missed: bool,
    closing: watch::Receiver<bool>,
    greeted: bool,
}

impl Reader {
    /// Returns what is written next; nothing once the coordinator closes.
    async fn next(&mut self) -> Option<Bytes> {
        if !std::mem::replace(&mut self.greeted, true) {
            // Sends the headers, so that the reader knows that it listens, and from where: whoever is cut off before
            // the first event, and comes back to another leader, is told of the gap.
            let from = self.room.feed.id(self.after);
            return Some(format!("id: {from}\n:\n\n").into());
        }
        let mut out = Vec::new();
        if std::mem::take(&mut self.missed) {
            gap(&self.room, &mut out, self.after);
            return Some(out.into());
        }
        // One beat however much happens that is not wanted.
        let beat = Instant::now() + BEAT;
        while out.is_empty() {
            let closing = &mut self.closing;
            let batch = tokio::select! {
                batch = self.room.feed.after(self.after, AT_ONCE) => batch,
                () = sleep_until(beat) => return Some(BEAT_TEXT),
                _ = async { closing.wait_for(|closing| *closing).await.is_ok() } => return None,
            };
            if batch.gap {
                let first = batch.events.first();
                let before = first.map_or(self.after, |(number, _)| number - 1);
                gap(&self.room, &mut out, before);
            }
            for (number, event) in batch.events {
                self.after = number;
                let kind = event.kind();
                if self.only.is_empty() || kind == "gap" || self.only.contains(&kind) {
                    let id = self.room.feed.id(number);
                    stream::event(&mut out, Some(&id), None, &event);
                }
            }
        }
        Some(out.into())
    }
}

fn gap(room: &Room, out: &mut Vec<u8>, before: u64) {
    let gap = Event::Gap { at: room.now() };
    stream::event(out, Some(&room.feed.id(before)), None, &gap);
}
