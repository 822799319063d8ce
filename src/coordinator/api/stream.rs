//! Answers that are written piece by piece.

use std::time::Duration;

use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream::{self, Stream};
use serde::Serialize;

use super::error::Refused;

/// How often a silent stream says that it is alive, so that nothing in between takes it for dead.
pub const BEAT: Duration = Duration::from_secs(15);
/// What it says then.
pub const BEAT_TEXT: Bytes = Bytes::from_static(b":\n\n");

/// A piece, or why there are no more. The status is sent by then, so the connection just breaks off.
pub type Piece = Result<Bytes, std::io::Error>;

/// Returns an error that breaks a stream off.
pub fn broken(refused: Refused) -> std::io::Error {
    std::io::Error::other(refused.text.into_owned())
}

/// Answers with the pieces that `next` makes from a state, until it returns nothing.
pub fn unfold<S, F, W>(content_type: HeaderValue, state: S, next: F) -> Response
where
    S: Send + 'static,
    F: FnMut(S) -> W + Send + 'static,
    W: Future<Output = Option<(Piece, S)>> + Send + 'static,
{
    respond(content_type, stream::unfold(state, next))
}

fn respond(
    content_type: HeaderValue,
    pieces: impl Stream<Item = Piece> + Send + 'static,
) -> Response {
    let mut response = Response::new(Body::from_stream(pieces));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, content_type);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// The content type of a stream of events.
pub const EVENTS: HeaderValue = HeaderValue::from_static("text/event-stream");

/// Writes one event of a stream. JSON has no line breaks outside of its texts, so it is one line.
pub fn event(out: &mut Vec<u8>, id: Option<&str>, name: Option<&str>, data: &impl Serialize) {
    for (field, value) in [("id", id), ("event", name)] {
        if let Some(value) = value {
            out.extend_from_slice(field.as_bytes());
            out.extend_from_slice(b": ");
            out.extend_from_slice(value.as_bytes());
            out.push(b'\n');
        }
    }
    out.extend_from_slice(b"data: ");
    if let Err(error) = serde_json::to_writer(&mut *out, data) {
        tracing::error!(%error, "an event has no JSON form");
    }
    out.extend_from_slice(b"\n\n");
}
