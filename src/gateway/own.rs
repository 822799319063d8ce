//! The gateway's own routes: whether it is well, its numbers, the gateways it knows of.

use std::sync::{Arc, PoisonError};

use hyper::header::{AUTHORIZATION, HeaderValue};
use hyper::http::request::Parts;
use hyper::{HeaderMap, Method, StatusCode};
use serde_json::json;
use subtle::ConstantTimeEq;

use super::answer::Answer;
use super::directory::Reader;
use super::drain::Phase;
use super::gate::Gate;
use super::keys::bearer;
use super::metrics;
use super::moment::Moment;
use super::settings::MetricsFor;
use crate::protocol::api::Gateways;

impl Gate {
    pub(super) fn health(&self, reader: &mut Reader, head: &mut Parts) -> Answer {
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

    pub(super) fn numbers(&self, reader: &mut Reader, head: &Parts) -> Answer {
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

    pub(super) fn gateways(&self, head: &mut Parts) -> Answer {
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

fn only_read(method: &Method) -> Option<Answer> {
    // As the original has it: another method is another route, which there is none of.
    let reads = matches!(*method, Method::GET | Method::HEAD);
    (!reads).then(|| Answer::refused(StatusCode::NOT_FOUND, "not found"))
}

fn shown_token(headers: &HeaderMap) -> Option<&[u8]> {
    let token = headers.get("x-skyclaw-token").map(HeaderValue::as_bytes);
    token.or_else(|| {
        headers
            .get(AUTHORIZATION)
            .and_then(|value| bearer(value.as_bytes()))
    })
}
