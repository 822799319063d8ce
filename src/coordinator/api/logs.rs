//! Output of running jobs: hosts send it piece by piece, people read it, also as it comes.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::http::header::ACCEPT;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::body::{Asked, Body, LARGE};
use super::error::Refused;
use super::reply::Reply;
use super::stream::{self, BEAT, BEAT_TEXT, EVENTS, Piece as Chunk, broken};
use super::{Consistency, Shared, wire};
use crate::coordinator::Room;
use crate::protocol::api::{
    AppendLogs, AppendedLogs, JobReply, LogPage, LogPiece, LogState, LogWord, Stream,
};
use crate::protocol::{AttemptNo, JobId, JobRecord};
use crate::queue::{NewPiece, Piece};

/// How many bytes one piece may hold.
const PIECE: usize = 64 << 10;
/// How many bytes one page holds, about.
const PAGE: usize = 1 << 20;

/// Returns the routes of this file.
pub fn routes() -> OpenApiRouter<Arc<Room>> {
    OpenApiRouter::new()
        .routes(routes!(append))
        .routes(routes!(read))
}

/// Keeps output of running jobs.
#[utoipa::path(
    post, path = "/v1/hosts/{id}/logs", params(("id" = String, Path)),
    request_body = AppendLogs, responses((status = 200, body = AppendedLogs))
)]
async fn append(
    State(room): Shared,
    Path(id): Path<String>,
    Body { value, .. }: Body<AppendLogs, LARGE>,
) -> Result<Reply<AppendedLogs>, Refused> {
    let host = wire::host_id(&id)?;
    if !room.presence.contains(&host) {
        return Err(wire::unknown_host(&host));
    }
    let mut jobs: Vec<JobId> = Vec::with_capacity(value.chunks.len());
    let mut pieces = Vec::with_capacity(value.chunks.len());
    for (at, chunk) in value.chunks.into_iter().enumerate() {
        let bytes = STANDARD
            .decode(chunk.data_b64)
            .map_err(|_| Refused::bad(format!("chunks[{at}].dataB64 is not base64")))?;
        if bytes.len() > PIECE {
            return Err(Refused::bad(format!(
                "chunks[{at}] is longer than {PIECE} bytes"
            )));
        }
        jobs.push(chunk.lease.job_id);
        pieces.push(NewPiece {
            lease: wire::lease(&chunk.lease),
            stream: chunk.stream,
            offset: chunk.offset,
            bytes,
        });
    }
    let kept = room.queue.append_log(pieces).await;
    let kept = kept.map_err(|error| room.refuse(error))?;
    let results = jobs
        .iter()
        .zip(kept)
        .map(|(job_id, kept)| LogState {
            job_id: *job_id,
            state: if kept { LogWord::Stored } else { LogWord::Lost },
        })
        .collect();
    jobs.dedup();
    for job in jobs {
        room.watch.wake(job);
    }
    Ok(Reply::new(AppendedLogs { results }))
}

#[derive(Debug, Clone, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Which {
    /// Only what this try printed.
    attempt: Option<AttemptNo>,
    /// Only this stream.
    stream: Option<Stream>,
    /// Where the last page ended.
    cursor: Option<String>,
    /// About how many bytes; a mebibyte if not given, which is also the most.
    limit: Option<usize>,
}

impl Which {
    fn wants(&self, piece: &Piece) -> bool {
        self.attempt.is_none_or(|attempt| attempt == piece.attempt)
            && self.stream.is_none_or(|stream| stream == piece.stream)
    }
}

/// What a job printed. With `accept: text/event-stream` it comes as it is printed: events `piece`,
/// and `end` with the job when it has ended.
#[utoipa::path(
    get, path = "/v1/jobs/{id}/logs", params(("id" = String, Path), Which, Consistency),
    responses((status = 200, body = LogPage))
)]
async fn read(
    State(room): Shared,
    Path(id): Path<String>,
    Asked(which): Asked<Which>,
    headers: HeaderMap,
) -> Result<Response, Refused> {
    let id = wire::job_id(&id)?;
    let resumed = headers
        .get("last-event-id")
        .and_then(|value| value.to_str().ok());
    let after = match which.cursor.as_deref().or(resumed).map(str::trim) {
        None | Some("") => 0,
        Some(text) => text
            .parse()
            .map_err(|_| Refused::bad("cursor is not one that was given"))?,
    };
    let follows = headers
        .get(ACCEPT)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|accept| accept.contains("text/event-stream"));
    if follows {
        job(&room, id).await?;
        return Ok(follow(room, id, which, after));
    }
    // The job before its output: what comes after its end is not missed by calling it done.
    let ended = job(&room, id).await?.status.is_final();
    let limit = which.limit.unwrap_or(PAGE).clamp(1, PAGE);
    let found = pieces(&room, id, after, limit).await?;
    let next = found.last().map_or(after, |piece| piece.number);
    let done = ended && pieces(&room, id, next, 1).await?.is_empty();
    let page = LogPage {
        pieces: found
            .into_iter()
            .filter(|piece| which.wants(piece))
            .map(|piece| shown(piece).1)
            .collect(),
        next: next.to_string(),
        done,
    };
    Ok(Reply::new(page).into_response())
}

async fn job(room: &Room, id: JobId) -> Result<JobRecord, Refused> {
    let view = room
        .queue
        .job(id)
        .await
        .map_err(|error| room.refuse(error))?;
    view.map(|view| view.job)
        .ok_or_else(|| wire::unknown_job(id))
}

async fn pieces(room: &Room, id: JobId, after: i64, limit: usize) -> Result<Vec<Piece>, Refused> {
    let found = room.queue.log(id, after, limit).await;
    found
        .map_err(|error| room.refuse(error))?
        .ok_or_else(|| wire::unknown_job(id))
}

fn shown(piece: Piece) -> (i64, LogPiece) {
    let shown = LogPiece {
        attempt: piece.attempt,
        stream: piece.stream,
        offset: piece.offset,
        dropped: piece.dropped,
        data_b64: STANDARD.encode(&piece.bytes),
    };
    (piece.number, shown)
}

fn follow(room: Arc<Room>, id: JobId, which: Which, after: i64) -> Response {
    let begin = Some((room, which, after));
    stream::unfold(EVENTS, begin, move |state| async move {
        let (room, which, after) = state?;
        match more(&room, id, &which, after).await {
            Ok((chunk, Some(after))) => Some((Ok(chunk), Some((room, which, after)))),
            Ok((chunk, None)) => Some((Ok(chunk), None)),
            Err(refused) => Some((Chunk::Err(broken(refused)), None)),
        }
    })
}

/// Waits for more output after `after` and writes it. Says where it ends, or nothing after the last.
async fn more(
    room: &Room,
    id: JobId,
    which: &Which,
    after: i64,
) -> Result<(bytes::Bytes, Option<i64>), Refused> {
    let watcher = room.watch.on(id);
    loop {
        let news = watcher.news();
        tokio::pin!(news);
        // Before looking, or what comes between the two would be missed.
        news.as_mut().enable();
        let job = job(room, id).await?;
        let found = pieces(room, id, after, PAGE).await?;
        let mut out = Vec::new();
        let mut last = after;
        for piece in found {
            last = piece.number;
            if which.wants(&piece) {
                let (number, piece) = shown(piece);
                stream::event(&mut out, Some(&number.to_string()), Some("piece"), &piece);
            }
        }
        if last > after {
            return Ok((out.into(), Some(last)));
        }
        if job.status.is_final() {
            let body = JobReply {
                job: wire::job(job, &room.settings.node_id),
            };
            stream::event(&mut out, None, Some("end"), &body);
            return Ok((out.into(), None));
        }
        if *room.closing.borrow() {
            return Err(Refused::bad("stopping"));
        }
        if tokio::time::timeout(BEAT, news).await.is_err() {
            return Ok((BEAT_TEXT, Some(after)));
        }
    }
}
