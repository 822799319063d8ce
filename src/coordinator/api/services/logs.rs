//! `GET /v1/services/:id/logs`: what a service prints, from all its hosts or one of them, as it comes.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Deserialize;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::super::Shared;
use super::super::body::Asked;
use super::super::error::Refused;
use super::super::stream::{self, BEAT, BEAT_TEXT, EVENTS};
use super::unknown;
use crate::coordinator::Room;
use crate::coordinator::presence::STALE_AFTER;
use crate::coordinator::services::relay::{Inbox, Source, Word};
use crate::protocol::api::{Assignment, Code, Phase, ServiceLogPiece, ServiceRecord};

/// How many lines come first if nothing is said.
const TAIL: u32 = 100;
/// How many lines may be asked for.
const LONGEST: u32 = 100_000;
/// How often is looked who is there and who is gone.
const LOOK: Duration = Duration::from_secs(1);

/// Returns the routes of this file.
pub fn routes() -> OpenApiRouter<Arc<Room>> {
    OpenApiRouter::new().routes(routes!(read))
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Which {
    /// How many of the latest lines of each replica come first; 100 if not given.
    tail: Option<u32>,
    /// `1` or `true`: what comes later as well, also that of replicas that begin later.
    follow: Option<String>,
    /// Only this replica: the id of its assignment, or of its host.
    replica: Option<String>,
}

/// What a service prints. Events `piece`; `end` when nothing follows.
#[utoipa::path(
    get, path = "/v1/services/{id}/logs", params(("id" = String, Path), Which),
    responses((status = 200, content_type = "text/event-stream", body = ServiceLogPiece))
)]
async fn read(
    State(room): Shared,
    Path(id): Path<String>,
    Asked(which): Asked<Which>,
) -> Result<Response, Refused> {
    let service = room.desk.get(&id).ok_or_else(unknown)?;
    let follow = match which.follow.as_deref().map(str::trim) {
        Some("1" | "true") => true,
        None | Some("" | "0" | "false") => false,
        Some(_) => return Err(Refused::bad("follow must be 1 or 0")),
    };
    let replica = which.replica.filter(|text| !text.trim().is_empty());
    if let Some(replica) = &replica
        && !service.assignments.iter().any(|one| is(one, replica))
    {
        let text = format!("service {} has no replica {replica}", service.name);
        return Err(Refused::new(Code::UnknownService, text));
    }
    let Some(inbox) = room.desk.relay.open() else {
        return Err(
            Refused::new(Code::TooMany, "too many readers of service logs")
                .retry_after(Duration::from_secs(5)),
        );
    };
    let closing = room.closing.subscribe();
    let mut reader = Reader {
        room,
        inbox,
        service: id,
        replica,
        tail: which.tail.unwrap_or(TAIL).min(LONGEST),
        follow,
        read: HashMap::new(),
        last: HashMap::new(),
        over: false,
        wrote: Instant::now(),
        closing,
    };
    let mut first = Vec::new();
    reader.look(&mut first);
    let begin = (reader, Some(Bytes::from(first)));
    Ok(stream::unfold(
        EVENTS,
        begin,
        |(mut reader, first)| async move {
            let piece = match first {
                // Sends the headers, so that the reader knows that it listens.
                Some(first) if first.is_empty() => BEAT_TEXT,
                Some(first) => first,
                None => reader.next().await?,
            };
            Some((Ok(piece), (reader, None)))
        },
    ))
}

fn is(assignment: &Assignment, replica: &str) -> bool {
    assignment.id == replica || assignment.host_id.as_str() == replica
}

/// Somebody who reads what a service prints.
struct Reader {
    room: Arc<Room>,
    inbox: Arc<Inbox>,
    service: String,
    replica: Option<String>,
    tail: u32,
    follow: bool,
    /// Every assignment that was begun with, and whether more may come from there.
    read: HashMap<Source, bool>,
    /// The last lines of those that are over, in case their hosts have nothing of them any more.
    last: HashMap<Source, String>,
    /// Nothing is written any more.
    over: bool,
    wrote: Instant,
    closing: watch::Receiver<bool>,
}

impl Reader {
    /// Returns what is written next; nothing at the end.
    async fn next(&mut self) -> Option<Bytes> {
        if self.over {
            return None;
        }
        let inbox = Arc::clone(&self.inbox);
        loop {
            let news = inbox.news();
            tokio::pin!(news);
            // Before looking, or what comes between the two would be missed.
            news.as_mut().enable();
            let mut out = Vec::new();
            self.take(&mut out);
            if out.is_empty() {
                self.look(&mut out);
            }
            if out.is_empty() && self.wrote.elapsed() >= BEAT {
                out.extend_from_slice(&BEAT_TEXT);
            }
            if !out.is_empty() {
                self.wrote = Instant::now();
                return Some(out.into());
            }
            let closing = &mut self.closing;
            tokio::select! {
                () = news => {}
                () = sleep(LOOK) => {}
                _ = async { closing.wait_for(|closing| *closing).await.is_ok() } => return None,
            }
        }
    }

    /// Writes what has come.
    fn take(&mut self, out: &mut Vec<u8>) {
        let (words, slow) = self.inbox.take();
        for word in words {
            match word {
                Word::Bytes(from, bytes) => {
                    self.last.remove(&from);
                    piece(out, &from, Some(STANDARD.encode(bytes)), None);
                }
                Word::End(from) => {
                    self.write_last(out, &from);
                    piece(out, &from, None, None);
                    self.read.insert(from, false);
                }
            }
        }
        if slow {
            let text = "the reader was too slow: what came meanwhile is not there any more";
            for from in self.open() {
                self.give_up(out, from, text.to_owned());
            }
            self.end(out);
        }
    }

    fn end(&mut self, out: &mut Vec<u8>) {
        stream::event(out, None, Some("end"), &serde_json::json!({}));
        self.over = true;
    }

    /// Begins with replicas that are new, gives up those whose host is gone, and ends when all have ended.
    fn look(&mut self, out: &mut Vec<u8>) {
        let service = self.room.desk.get(&self.service);
        if let Some(service) = &service
            && (self.follow || self.read.is_empty())
        {
            self.begin_new(service, out);
        }
        for from in self.open() {
            if let Some(why) = self.trouble(&from, service.as_deref()) {
                let text = format!("host {} {why}", from.host);
                self.give_up(out, from, text);
            }
        }
        let may_come = self.follow && service.is_some();
        if !may_come && self.open().is_empty() {
            self.end(out);
        }
    }

    fn begin_new(&mut self, service: &ServiceRecord, out: &mut Vec<u8>) {
        for one in &service.assignments {
            let from = Source {
                assignment: one.id.as_str().into(),
                host: one.host_id.clone(),
            };
            let asked = self.replica.as_ref();
            if asked.is_some_and(|asked| !is(one, asked)) || self.read.contains_key(&from) {
                continue;
            }
            self.read.insert(from.clone(), true);
            let host = &from.host;
            if one.id.is_empty() {
                let text = format!("host {host} is one of the original and keeps no logs");
                self.give_up(out, from, text);
            } else if one.phase == Some(Phase::Lost) {
                let text = format!("host {host} is not heard of");
                self.give_up(out, from, text);
            } else {
                let is_over = one.phase.is_some_and(Phase::is_over);
                if is_over && let Some(last) = &one.last_output {
                    self.last.insert(from.clone(), last.clone());
                }
                let relay = &self.room.desk.relay;
                relay.join(&from, &self.inbox, self.tail, self.follow && !is_over);
                self.room.desk.nudge(&from.host);
            }
        }
    }

    fn open(&self) -> Vec<Source> {
        let read = self.read.iter();
        let open = read.filter(|(_, open)| **open);
        open.map(|(from, _)| from.clone()).collect()
    }

    fn trouble(&self, from: &Source, service: Option<&ServiceRecord>) -> Option<&'static str> {
        if let Some(why) = self.room.desk.relay.trouble(from) {
            return Some(why);
        }
        let silent = self.room.presence.silent(&from.host);
        if silent.is_none_or(|silent| silent > STALE_AFTER) {
            return Some("is not heard of");
        }
        let there = service.is_some_and(|service| {
            let mut all = service.assignments.iter();
            all.any(|one| *one.id == *from.assignment)
        });
        (!there).then_some("has nothing of it any more")
    }

    /// Writes the last lines of what is over if nothing else came.
    fn write_last(&mut self, out: &mut Vec<u8>, from: &Source) -> bool {
        let last = self.last.remove(from);
        if let Some(last) = &last {
            piece(out, from, Some(STANDARD.encode(last)), None);
        }
        last.is_some()
    }

    fn give_up(&mut self, out: &mut Vec<u8>, from: Source, why: String) {
        let why = (!self.write_last(out, &from)).then_some(why);
        piece(out, &from, None, why);
        if self.room.desk.relay.leave(&from, &self.inbox) {
            self.room.desk.nudge(&from.host);
        }
        self.read.insert(from, false);
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        for host in self.room.desk.relay.close(&self.inbox) {
            self.room.desk.nudge(&host);
        }
    }
}

fn piece(out: &mut Vec<u8>, from: &Source, data: Option<String>, error: Option<String>) {
    let piece = ServiceLogPiece {
        assignment_id: from.assignment.as_ref().to_owned(),
        host_id: from.host.clone(),
        data,
        error,
    };
    stream::event(out, None, Some("piece"), &piece);
}
