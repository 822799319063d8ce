//! What all requests share, and the way in: what is answered at once, and what goes to a service.

use std::net::IpAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use hyper::header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use hyper::http::request::Parts;
use hyper::{HeaderMap, Method, StatusCode, Version};

use super::access::{AccessLog, Record};
use super::answer::Answer;
use super::cache::Cache;
use super::directory::{Directory, Reader};
use super::drain::{Drain, Phase};
use super::headers;
use super::metrics::Metrics;
use super::path::{self, Target};
use super::request_id;
use super::settings::Settings;
use super::visit::{Begun, Visit};
use crate::protocol::api::Gateway;
use crate::support::clock::{Clock, SystemClock};

/// How many gateways one request may come through: one in front of another is sensible, more is a circle.
const MOST_HOPS: u32 = 4;

/// All that requests share.
#[derive(Debug)]
pub struct Gate {
    /// How it behaves.
    pub settings: Settings,
    /// Which services there are.
    pub directory: Arc<Directory>,
    /// What was counted.
    pub metrics: Metrics,
    /// How far its end is.
    pub drain: Drain,
    /// Where requests are written down, if anywhere.
    pub log: Option<AccessLog>,
    /// Where the last list of services is kept, if it is.
    pub cache: Option<Cache>,
    pub(super) known: RwLock<Vec<Gateway>>,
}

/// Who makes a request.
#[derive(Debug, Clone, Copy)]
pub struct Caller {
    /// The other end of the connection.
    pub peer: IpAddr,
    /// Whether it came over TLS.
    pub tls: bool,
}

impl Gate {
    /// Returns one that knows of no service yet.
    pub fn new(settings: Settings, log: Option<AccessLog>, cache: Option<Cache>) -> Self {
        Self {
            settings,
            directory: Arc::default(),
            metrics: Metrics::default(),
            drain: Drain::default(),
            log,
            cache,
            known: RwLock::default(),
        }
    }

    /// Keeps which gateways there are.
    pub fn know(&self, gateways: Vec<Gateway>) {
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = gateways;
    }

    /// Lets a request in that goes to a service. Its key, if it needs one, is no longer in `head` then; the rest of
    /// its headers is as it was sent.
    ///
    /// # Errors
    /// The answer to a request that is for the gateway itself, or that goes nowhere.
    pub fn admit(
        self: &Arc<Self>,
        reader: &mut Reader,
        caller: Caller,
        head: &mut Parts,
    ) -> Result<Visit, Answer> {
        let started = Instant::now();
        let admitted = self.look(reader, caller, head, started);
        if let Err(answer) = &admitted {
            let status = Some(answer.status.as_u16());
            let others = &self.metrics.others;
            others.ended(status, started.elapsed(), 0, answer.body.len() as u64);
            self.write_down(caller, head, started, answer);
        }
        admitted
    }

    /// Writes down a request that was turned away. Own routes are asked all the time and tell nothing.
    fn write_down(&self, caller: Caller, head: &Parts, started: Instant, answer: &Answer) {
        let Some(log) = &self.log else { return };
        let own = matches!(
            path::read(&head.uri),
            Target::Health | Target::Metrics | Target::Gateways
        );
        if own {
            return;
        }
        let total = started.elapsed();
        let record = Record {
            at: SystemClock.now().minus(total),
            id: headers::given_id(&head.headers).unwrap_or_else(request_id::fresh),
            client: self.settings.trusted.client(&head.headers, caller.peer),
            key: None,
            method: head.method.clone(),
            path: head.uri.path().to_owned(),
            service: None,
            endpoint: None,
            retries: 0,
            status: Some(answer.status.as_u16()),
            first_byte: total,
            total,
            received: 0,
            sent: answer.body.len() as u64,
            error: Some("refused"),
        };
        self.tell(log, record);
    }

    pub(super) fn tell(&self, log: &AccessLog, record: Record) {
        if !log.tell(record) {
            self.metrics.unlogged.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn look(
        self: &Arc<Self>,
        reader: &mut Reader,
        caller: Caller,
        head: &mut Parts,
        started: Instant,
    ) -> Result<Visit, Answer> {
        let (name, base_len) = match path::read(&head.uri) {
            Target::Health => return Err(self.health(reader, head)),
            Target::Metrics => return Err(self.numbers(reader, head)),
            Target::Gateways => return Err(self.gateways(head)),
            Target::Nothing => return Err(Answer::refused(StatusCode::NOT_FOUND, "not found")),
            Target::Bad(why) => return Err(Answer::refused(StatusCode::BAD_REQUEST, why)),
            Target::Service { name, base, .. } => (name, base.len()),
        };
        if let Some(why) = ambiguous(head) {
            return Err(Answer::refused(StatusCode::BAD_REQUEST, why).closing());
        }
        if self.drain.phase() >= Phase::Refusing {
            return Err(Answer::refused(
                StatusCode::SERVICE_UNAVAILABLE,
                "the gateway is stopping",
            )
            .retry_after(1)
            .closing());
        }
        let hops = headers::hops(&head.headers);
        if hops >= MOST_HOPS {
            let text = format!(
                "service {name} leads in a circle: the request came through {hops} gateways"
            );
            return Err(Answer::refused(StatusCode::LOOP_DETECTED, text));
        }
        let service = reader.table().find(&name);
        let keys = &self.settings.keys;
        let key = keys.take(&mut head.headers);
        match key {
            None if !keys.is_empty() => {
                return Err(Answer::refused(StatusCode::UNAUTHORIZED, "invalid api key").closing());
            }
            Some(key) if !key.opens(&name, service.map(Arc::as_ref)) => {
                let text = format!("service {name} is not allowed for this api key");
                return Err(Answer::refused(StatusCode::FORBIDDEN, text));
            }
            Some(_) | None => {}
        }
        let Some(service) = service else {
            return Err(no_endpoints(&name));
        };
        if declared(&head.headers).is_some_and(|length| length > self.settings.body_limit) {
            return Err(self.too_large());
        }
        let key = key.map(|key| key.label.clone());
        let id = headers::given_id(&head.headers).unwrap_or_else(request_id::fresh);
        let begun = Begun {
            started,
            caller,
            key,
            id,
            hops,
            base_len,
        };
        Ok(Visit::begin(
            Arc::clone(self),
            Arc::clone(service),
            head,
            begun,
        ))
    }

    /// Counts and writes down a request that was refused before it was looked at.
    pub fn turned_away(&self, caller: Caller, head: &Parts, answer: Answer) -> Answer {
        let status = Some(answer.status.as_u16());
        let sent = answer.body.len() as u64;
        self.metrics.others.ended(status, Duration::ZERO, 0, sent);
        self.write_down(caller, head, Instant::now(), &answer);
        answer
    }

    /// Counts and writes down a request that nobody could read, and that was answered with this status.
    pub fn not_understood(&self, caller: Caller, status: StatusCode) {
        let status = Some(status.as_u16());
        self.metrics.others.ended(status, Duration::ZERO, 0, 0);
        let Some(log) = &self.log else { return };
        let record = Record {
            at: SystemClock.now(),
            id: request_id::fresh(),
            client: caller.peer,
            key: None,
            // What it asked for is not known.
            method: Method::from_bytes(b"-").unwrap_or_default(),
            path: "-".to_owned(),
            service: None,
            endpoint: None,
            retries: 0,
            status,
            first_byte: Duration::ZERO,
            total: Duration::ZERO,
            received: 0,
            sent: 0,
            error: Some("unreadable"),
        };
        self.tell(log, record);
    }

    /// Returns the answer to a body that is longer than allowed.
    pub fn too_large(&self) -> Answer {
        let text = format!("the body is longer than {} bytes", self.settings.body_limit);
        Answer::refused(StatusCode::PAYLOAD_TOO_LARGE, text).closing()
    }
}

/// Returns the answer to a call of a service that answers nowhere. One that is unknown may only be new, so it is no
/// other answer.
pub fn no_endpoints(name: &str) -> Answer {
    let text = format!("no healthy endpoints for service {name}");
    Answer::refused(StatusCode::SERVICE_UNAVAILABLE, text).retry_after(1)
}

/// Returns why two programs might understand this request differently, if they might: what one takes for a body
/// another could take for the next request.
fn ambiguous(head: &Parts) -> Option<&'static str> {
    let hosts = head.headers.get_all(HOST).iter().count();
    let lengths = head.headers.get_all(CONTENT_LENGTH).iter().count();
    if hosts > 1 || (hosts == 0 && head.version == Version::HTTP_11) {
        Some("the request must have one host header")
    } else if lengths > 1 || (lengths == 1 && head.headers.contains_key(TRANSFER_ENCODING)) {
        Some("the request must say once how long its body is")
    } else {
        None
    }
}

/// Returns how long the body says it is.
fn declared(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}
