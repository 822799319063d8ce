//! A request before it goes anywhere: route, body, key, and how long its answer may take.

use std::time::Duration;

use bytes::Bytes;
use reqwest::{Method, Url};
use serde::Serialize;

use super::RequestName;
use super::error::Error;
use crate::support::ids;

const JSON: &str = "application/json";

/// A request before it goes anywhere.
#[derive(Debug, Clone)]
pub(super) struct Ask {
    pub(super) method: Method,
    pub(super) path: Vec<String>,
    pub(super) query: Vec<(&'static str, String)>,
    pub(super) body: Option<Bytes>,
    pub(super) key: Option<String>,
    /// Doing it twice under this name is the same as doing it once.
    pub(super) name: Option<RequestName>,
    /// What the coordinator itself is asked to wait.
    pub(super) wait: Duration,
    /// How long one coordinator may take if there are others to ask.
    pub(super) each: Option<Duration>,
    pub(super) public: bool,
    pub(super) accept: &'static str,
    pub(super) last_event: Option<String>,
}

impl Ask {
    /// Asks for something.
    pub(super) fn get<'p>(path: impl IntoIterator<Item = &'p str>) -> Self {
        Self {
            method: Method::GET,
            path: path.into_iter().map(str::to_owned).collect(),
            query: Vec::new(),
            body: None,
            key: None,
            name: None,
            wait: Duration::ZERO,
            each: None,
            public: false,
            accept: JSON,
            last_event: None,
        }
    }

    /// Asks for a change.
    pub(super) fn post<'p, B: Serialize>(
        path: impl IntoIterator<Item = &'p str>,
        body: &B,
    ) -> Result<Self, Error> {
        let body = serde_json::to_vec(body).map_err(Error::Request)?;
        Ok(Self {
            method: Method::POST,
            body: Some(body.into()),
            ..Self::get(path)
        })
    }

    /// Makes it safe to send more than once: with `key`, or a fresh one.
    pub(super) fn keyed(mut self, key: Option<&str>) -> Self {
        self.key = Some(key.map_or_else(ids::random_hex::<16>, str::to_owned));
        self
    }

    /// Says that it is safe to send more than once, as it is: under `name`, or a fresh one.
    pub(super) fn named(mut self, name: Option<&RequestName>) -> Self {
        self.name = Some(name.cloned().unwrap_or_else(RequestName::fresh));
        self
    }

    pub(super) fn query<V: ToString>(mut self, name: &'static str, value: Option<V>) -> Self {
        if let Some(value) = value {
            self.query.push((name, value.to_string()));
        }
        self
    }

    pub(super) fn waiting(mut self, wait: Duration) -> Self {
        self.wait = wait;
        self
    }

    /// Asks for something that is wanted within this time, so that there is some left for another coordinator.
    pub(super) fn within(mut self, limit: Duration) -> Self {
        self.each = Some(limit / 2);
        self
    }

    /// Asks for a stream of events, after the one with this id.
    pub(super) fn events(mut self, after: Option<String>) -> Self {
        self.accept = "text/event-stream";
        self.last_event = after;
        self
    }

    pub(super) fn public(mut self) -> Self {
        self.public = true;
        self
    }

    pub(super) fn url(&self, base: &Url) -> Url {
        let mut url = base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(&self.path);
        }
        if !self.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&self.query);
        }
        url
    }

    /// Whether the answer, or what follows on it, is waited for: whoever asks will be there for a while.
    pub(super) fn is_patient(&self) -> bool {
        !self.wait.is_zero() || self.accept != JSON
    }

    /// Whether a coordinator may have done it and lost only the answer without harm.
    pub(super) fn may_be_repeated(&self) -> bool {
        self.key.is_some() || self.name.is_some() || self.method == Method::GET
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_stay_one_segment_below_the_base() {
        let ask = Ask::get(["v1", "hosts", "a/b %c", "claim"]).query("limit", Some(5));
        for (base, url) in [
            (
                "http://h:1",
                "http://h:1/v1/hosts/a%2Fb%20%25c/claim?limit=5",
            ),
            (
                "http://h/cell",
                "http://h/cell/v1/hosts/a%2Fb%20%25c/claim?limit=5",
            ),
        ] {
            assert_eq!(ask.url(&Url::parse(base).unwrap()).as_str(), url);
        }
    }
}
