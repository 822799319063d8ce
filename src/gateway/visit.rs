//! One request on its way to a service and back: what the control side knows of it. The data path moves the bytes
//! and says what it sees; see the drawing in `mod.rs`.

use std::sync::Arc;
use std::time::Instant;

use hyper::header::{HOST, HeaderMap, HeaderValue, SET_COOKIE};
use hyper::http::request::Parts;
use hyper::http::response;
use hyper::http::uri::PathAndQuery;
use hyper::{Method, StatusCode, Uri};

use super::access::Record;
use super::answer::Answer;
use super::choose::{NoPick, Pick};
use super::endpoint::{Endpoint, Speech};
use super::gate::{Caller, Gate, no_endpoints};
use super::headers::{self, Origin};
use super::health::Outcome;
use super::moment::Moment;
use super::path;
use super::retry;
use super::sticky::Belonging;
use super::table::Service;
use crate::support::clock::{Clock, SystemClock};

/// What is known of a request before it is known where it goes.
pub(super) struct Begun {
    pub(super) started: Instant,
    pub(super) caller: Caller,
    pub(super) key: Option<String>,
    pub(super) id: HeaderValue,
    /// How many gateways it came through before.
    pub(super) hops: u32,
    /// How much of the path names the service.
    pub(super) base_len: usize,
}

/// A request to a service, from its head until the last byte of the answer. When it is dropped it is counted and
/// written to the access log.
#[derive(Debug)]
pub struct Visit {
    gate: Arc<Gate>,
    service: Arc<Service>,
    belonging: Belonging,
    retry: retry::Request,
    tried: Vec<Arc<Endpoint>>,
    caller: Caller,
    /// Who made it, behind proxies that are believed.
    client: std::net::IpAddr,
    key: Option<String>,
    id: HeaderValue,
    hops: u32,
    method: Method,
    uri: Uri,
    base_len: usize,
    started: Instant,
    answered: Option<(StatusCode, Instant)>,
    last: Option<Arc<Endpoint>>,
    retries: u32,
    error: Option<&'static str>,
    /// Bytes of the request's body so far.
    pub received: u64,
    /// Bytes of the answer's body so far.
    pub sent: u64,
}

impl Visit {
    pub(super) fn begin(
        gate: Arc<Gate>,
        service: Arc<Service>,
        head: &Parts,
        begun: Begun,
    ) -> Self {
        gate.drain.begun();
        service.life.budget.earn();
        let settings = &gate.settings;
        let base = head.uri.path().get(..begun.base_len).unwrap_or("/");
        let belonging = settings
            .sticky
            .as_ref()
            .map(|sticky| sticky.of(&head.headers, base))
            .unwrap_or_default();
        Self {
            belonging,
            retry: retry::Request::of(&head.method, &head.headers, settings.attempts),
            client: settings.trusted.client(&head.headers, begun.caller.peer),
            tried: Vec::new(),
            caller: begun.caller,
            key: begun.key,
            id: begun.id,
            hops: begun.hops,
            method: head.method.clone(),
            uri: head.uri.clone(),
            base_len: begun.base_len,
            started: begun.started,
            answered: None,
            last: None,
            retries: 0,
            error: None,
            received: 0,
            sent: 0,
            gate,
            service,
        }
    }

    /// Returns what all requests share.
    pub const fn gate(&self) -> &Arc<Gate> {
        &self.gate
    }

    /// Tells whether its body is kept as far as it was read, up to [`retry::KEPT_BODY`]: it may have to be sent again,
    /// because that does no harm, or because an endpoint can say that it did nothing about it.
    pub fn keeps_body(&self) -> bool {
        let mut endpoints = self.service.endpoints.iter();
        self.is_repeatable() || endpoints.any(|one| one.place.speech != Speech::One)
    }

    /// Tells whether sending it twice does no harm.
    pub const fn is_repeatable(&self) -> bool {
        self.retry.repeatable
    }

    /// Chooses where it goes now.
    ///
    /// # Errors
    /// The answer, when there is no endpoint to be had.
    pub fn pick(&mut self) -> Result<Pick, Answer> {
        let rules = &self.gate.settings.rules;
        let key = self.belonging.key;
        let pick = self
            .service
            .choose(rules, key, &self.tried, Moment::now())
            .map_err(|none| match none {
                NoPick::None | NoPick::AllTried => no_endpoints(&self.service.name),
                NoPick::Full => {
                    let name = &self.service.name;
                    let text = format!("all endpoints of service {name} are busy");
                    Answer::refused(StatusCode::SERVICE_UNAVAILABLE, text).retry_after(1)
                }
            })?;
        self.last = Some(Arc::clone(pick.endpoint()));
        Ok(pick)
    }

    /// Returns the target of the request to this endpoint.
    pub fn target(&self, endpoint: &Endpoint) -> Option<PathAndQuery> {
        let whole = self.uri.path_and_query()?.as_str();
        let rest = whole.get(self.base_len..)?;
        path::behind(&endpoint.place.prefix, rest).try_into().ok()
    }

    /// Changes its headers to those that its service may see, all but `host`. To be done once, before anything is
    /// sent; see [`headers::to_backend`].
    pub fn clean(&self, headers: &mut HeaderMap) {
        let origin = Origin {
            peer: self.caller.peer,
            trusted: self.gate.settings.trusted.believes(self.caller.peer),
            tls: self.caller.tls,
            id: &self.id,
            hops: self.hops,
        };
        headers::to_backend(headers, &origin);
    }

    /// Puts in what only this endpoint should see.
    pub fn address(headers: &mut HeaderMap, endpoint: &Endpoint) {
        headers.insert(HOST, endpoint.place.authority.clone());
    }

    /// Takes note of what came of sending it to `pick`, unless that is an answer whose end is yet to be seen, and decides
    /// whether it is to go to another endpoint: then [`Visit::pick`] comes next. `body_is_whole` is explained at [`retry::Request::again`].
    pub fn came(&mut self, pick: &Pick, outcome: Outcome, body_is_whole: bool) -> bool {
        if !outcome.is_fine() {
            pick.note(outcome);
        }
        self.error = word(outcome);
        let others = self.service.endpoints.len() > self.tried.len() + 1;
        if !others
            || !self
                .retry
                .again(outcome, body_is_whole, &self.service.life.budget)
        {
            return false;
        }
        self.tried.push(Arc::clone(pick.endpoint()));
        self.retries += 1;
        self.service.life.counts.retried();
        true
    }

    /// Takes note that this is answered, and changes a backend's headers to those that the caller may see.
    pub fn answers(&mut self, head: &mut response::Parts) {
        headers::to_caller(&mut head.headers, &self.id);
        if let Some(cookie) = self.belonging.cookie.take() {
            head.headers.append(SET_COOKIE, cookie);
        }
        self.answered = Some((head.status, Instant::now()));
    }

    /// Takes note that the gateway itself answers this.
    pub fn refuses(&mut self, answer: Answer) -> Answer {
        self.answered = Some((answer.status, Instant::now()));
        self.sent = answer.body.len() as u64;
        answer
    }

    /// Returns the answer when the last endpoint gave none.
    pub fn failed(&self, outcome: Outcome, cause: &str) -> Answer {
        let status = match outcome {
            Outcome::Silent => StatusCode::GATEWAY_TIMEOUT,
            Outcome::CallersDoing => StatusCode::BAD_REQUEST,
            Outcome::Unreachable | Outcome::Broken | Outcome::Answered(_) => {
                StatusCode::BAD_GATEWAY
            }
            Outcome::Declined => StatusCode::SERVICE_UNAVAILABLE,
        };
        let name = &self.service.name;
        Answer::refused(status, format!("service {name}: {cause}"))
    }

    /// Takes note of what ended it before its end.
    pub const fn broke(&mut self, why: &'static str) {
        self.error = Some(why);
    }
}

const fn word(outcome: Outcome) -> Option<&'static str> {
    match outcome {
        Outcome::Unreachable => Some("unreachable"),
        Outcome::Declined => Some("declined"),
        Outcome::Broken => Some("broken"),
        Outcome::Silent => Some("silent"),
        Outcome::CallersDoing => Some("caller"),
        Outcome::Answered(_) => None,
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        let first_byte = match self.answered {
            Some((_, at)) => at.duration_since(self.started),
            None => self.started.elapsed(),
        };
        let status = self.answered.map(|(status, _)| status.as_u16());
        let counts = &self.service.life.counts;
        counts.ended(status, first_byte, self.received, self.sent);
        if let Some(log) = &self.gate.log {
            let total = self.started.elapsed();
            let record = Record {
                at: SystemClock.now().minus(total),
                id: self.id.clone(),
                client: self.client,
                key: self.key.take(),
                method: self.method.clone(),
                path: self.uri.path().to_owned(),
                service: Some(self.service.name.clone()),
                endpoint: self.last.as_ref().map(|last| last.identity.url.clone()),
                retries: self.retries,
                status,
                first_byte,
                total,
                received: self.received,
                sent: self.sent,
                // Nobody ends an unanswered one but who made it.
                error: self.error.or(status.is_none().then_some("caller")),
            };
            self.gate.tell(log, record);
        }
        self.gate.drain.ended();
    }
}
