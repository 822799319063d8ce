//! What all requests share, and the way in: what is answered at once, and what goes to a service.

use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Instant;

use hyper::header::{CONTENT_LENGTH, HeaderValue};
use hyper::http::request::Parts;
use hyper::{HeaderMap, Method, StatusCode};
use serde_json::json;
use subtle::ConstantTimeEq;

use super::access::AccessLog;
use super::answer::Answer;
use super::directory::{Directory, Reader};
use super::drain::{Drain, Phase};
use super::headers;
use super::keys::bearer;
use super::metrics::{self, Metrics};
use super::moment::Moment;
use super::path::{self, Target};
use super::request_id;
use super::settings::{MetricsFor, Settings};
use super::visit::{Begun, Visit};
use crate::protocol::api::{Gateway, Gateways};

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
    known: RwLock<Vec<Gateway>>,
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
    pub fn new(settings: Settings, log: Option<AccessLog>) -> Self {
        Self {
            settings,
            directory: Arc::default(),
            metrics: Metrics::default(),
            drain: Drain::default(),
            log,
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
        }
        admitted
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
        if self.drain.phase() >= Phase::Refusing {
            return Err(Answer::refused(
                StatusCode::SERVICE_UNAVAILABLE,
                "the gateway is stopping",
            )
            .retry_after(1)
            .closing());
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
            base_len,
        };
        Ok(Visit::begin(
            Arc::clone(self),
            Arc::clone(service),
            head,
            begun,
        ))
    }

    /// Counts a request that was refused before it was known where it goes.
    pub fn turned_away(&self, answer: Answer) -> Answer {
        let status = Some(answer.status.as_u16());
        let others = &self.metrics.others;
        others.ended(
            status,
            std::time::Duration::ZERO,
            0,
            answer.body.len() as u64,
        );
        answer
    }

    /// Returns the answer to a body that is longer than allowed.
    pub fn too_large(&self) -> Answer {
        let text = format!("the body is longer than {} bytes", self.settings.body_limit);
        Answer::refused(StatusCode::PAYLOAD_TOO_LARGE, text).closing()
    }

    fn health(&self, reader: &mut Reader, head: &mut Parts) -> Answer {
        if let Some(no) = only_read(&head.method) {
            return no;
        }
        if self.drain.phase() > Phase::Serving {
            let value = json!({ "ok": false, "error": "the gateway is stopping", "services": [] });
            return Answer::json(StatusCode::SERVICE_UNAVAILABLE, &value).closing();
        }
        let table = reader.table();
        let mut services = table.answering();
        if !self.settings.keys.is_empty() {
            // Who may call nothing need not know what there is.
            let key = self.settings.keys.take(&mut head.headers);
            services.retain(|name| {
                key.is_some_and(|key| key.opens(name, table.find(name).map(Arc::as_ref)))
            });
        }
        Answer::json(StatusCode::OK, &json!({ "ok": true, "services": services }))
    }

    fn numbers(&self, reader: &mut Reader, head: &Parts) -> Answer {
        if let Some(no) = only_read(&head.method) {
            return no;
        }
        let allowed = match &self.settings.metrics {
            MetricsFor::All => true,
            MetricsFor::Nobody => false,
            MetricsFor::Token(token) => shown_token(&head.headers)
                .is_some_and(|shown| token.expose().as_bytes().ct_eq(shown).into()),
        };
        if !allowed {
            return Answer::refused(StatusCode::UNAUTHORIZED, "unauthorized");
        }
        let text = metrics::text(&self.metrics, reader.table(), Moment::now());
        Answer {
            body: text.into(),
            content_type: metrics::CONTENT_TYPE,
            ..Answer::json(StatusCode::OK, &())
        }
    }

    fn gateways(&self, head: &mut Parts) -> Answer {
        if let Some(no) = only_read(&head.method) {
            return no;
        }
        let keys = &self.settings.keys;
        if !keys.is_empty() && keys.take(&mut head.headers).is_none() {
            return Answer::refused(StatusCode::UNAUTHORIZED, "invalid api key");
        }
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let gateways = known.clone();
        Answer::json(StatusCode::OK, &Gateways { gateways })
    }
}

/// Returns the answer to a call of a service that answers nowhere. One that is unknown may only be new, so it is no
/// other answer.
pub fn no_endpoints(name: &str) -> Answer {
    let text = format!("no healthy endpoints for service {name}");
    Answer::refused(StatusCode::SERVICE_UNAVAILABLE, text).retry_after(1)
}

fn only_read(method: &Method) -> Option<Answer> {
    // As the original has it: another method is another route, which there is none of.
    let reads = matches!(*method, Method::GET | Method::HEAD);
    (!reads).then(|| Answer::refused(StatusCode::NOT_FOUND, "not found"))
}

fn shown_token(headers: &HeaderMap) -> Option<&[u8]> {
    let token = headers.get("x-skyclaw-token").map(HeaderValue::as_bytes);
    token.or_else(|| {
        headers
            .get(hyper::header::AUTHORIZATION)
            .and_then(|value| bearer(value.as_bytes()))
    })
}

/// Returns how long the body says it is.
fn declared(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}
