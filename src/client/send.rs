//! One request: to the coordinators in turn until one answers, with the same key on every try.

use std::sync::Arc;
use std::time::Duration;

use reqwest::Response;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use serde::de::DeserializeOwned;

use super::address::Reach;
use super::ask::Ask;
use super::error::{Error, Tried, refusal};
use super::file::may_have_moved;
use super::neighbour::stranger_at;
use super::{Client, Shared};
use crate::support::chain::chain;

/// More than this is no answer of a coordinator's single route (a state of very many jobs may be large).
const LONGEST_ANSWER: usize = 256 << 20;

/// Why one coordinator gave no answer.
enum NoAnswer {
    /// The connection ended under the request; a fresh one may hold.
    Broken(String),
    Other(String),
}

impl Client {
    /// Sends and reads the JSON answer.
    pub(super) async fn ask<T: DeserializeOwned>(&self, ask: Ask) -> Result<T, Error> {
        let ask = &ask;
        let send = |shared: Arc<Shared>| async move {
            let limit = shared.timeout + ask.wait;
            let (index, body) = shared.in_turn(ask, limit, read_all).await?;
            serde_json::from_slice(&body).map_err(|source| Error::Answer {
                url: shared.shown(index),
                source,
            })
        };
        self.where_it_is(ask, send).await
    }

    /// Sends and hands over the answer as soon as its head is there; the body is read by the caller.
    pub(super) async fn open(&self, ask: Ask) -> Result<Response, Error> {
        let ask = &ask;
        let send = |shared: Arc<Shared>| async move {
            let limit = shared.timeout + ask.wait;
            let head = |response: Response| async { Ok(response) };
            Ok(shared.in_turn(ask, limit, head).await?.1)
        };
        self.where_it_is(ask, send).await
    }

    /// Sends to the coordinators that are known. If a file names them and they do not answer, looks there
    /// for others and sends once more.
    async fn where_it_is<T, F>(
        &self,
        ask: &Ask,
        send: impl Fn(Arc<Shared>) -> F,
    ) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let Some(file) = &self.file else {
            return send(Arc::clone(&self.shared)).await;
        };
        let known = file.coordinator()?;
        let error = match send(Arc::clone(&known)).await {
            Err(error) if may_have_moved(&error) => error,
            done => return done,
        };
        match file.other_than(&known)? {
            Some(other) if ask.may_be_repeated() => send(other).await,
            Some(_) | None => Err(error),
        }
    }
}

impl Shared {
    /// Asks one coordinator after another until one gives an answer that is not a failure of its own.
    async fn in_turn<T, F>(
        &self,
        ask: &Ask,
        limit: Duration,
        read: impl Fn(Response) -> F,
    ) -> Result<(usize, T), Error>
    where
        F: Future<Output = Result<T, reqwest::Error>>,
    {
        let mut tries = Vec::new();
        let mut last_refusal = None;
        for index in self.choice.order() {
            let Some(reach) = self.reaches.get(index) else {
                continue;
            };
            match self.patiently(ask, reach, limit, &read).await {
                Ok(Ok(value)) => {
                    self.choice.worked(index);
                    return Ok((index, value));
                }
                Ok(Err(refused)) if refused.status().is_some_and(|status| status < 500) => {
                    self.choice.worked(index);
                    return Err(refused);
                }
                Ok(Err(refused)) => {
                    tracing::debug!(url = reach.shown, error = %refused, "coordinator failed, asking the next");
                    last_refusal = Some(refused);
                }
                Err(NoAnswer::Broken(cause) | NoAnswer::Other(cause)) => {
                    tracing::debug!(
                        url = reach.shown,
                        cause,
                        "no answer, asking the next coordinator"
                    );
                    tries.push(Tried {
                        url: reach.shown.clone(),
                        cause,
                    });
                }
            }
        }
        // Who answered says more than who did not.
        Err(last_refusal.unwrap_or(Error::NoCoordinator { tries }))
    }

    /// Asks one coordinator, once more on a fresh connection if the first one broke.
    async fn patiently<T, F>(
        &self,
        ask: &Ask,
        reach: &Reach,
        limit: Duration,
        read: &impl Fn(Response) -> F,
    ) -> Result<Result<T, Error>, NoAnswer>
    where
        F: Future<Output = Result<T, reqwest::Error>>,
    {
        let once = || async {
            match tokio::time::timeout(limit, self.once(ask, reach, read)).await {
                Ok(done) => done,
                Err(_) => Err(NoAnswer::Other(format!(
                    "no answer within {}",
                    crate::support::span::human(limit)
                ))),
            }
        };
        match once().await {
            // A connection that was kept open may have been closed by the other side just now.
            Err(NoAnswer::Broken(_)) if ask.may_be_repeated() => once().await,
            done => done,
        }
    }

    async fn once<T, F>(
        &self,
        ask: &Ask,
        reach: &Reach,
        read: &impl Fn(Response) -> F,
    ) -> Result<Result<T, Error>, NoAnswer>
    where
        F: Future<Output = Result<T, reqwest::Error>>,
    {
        // Before each request, for the tunnel may have gone just now.
        if let Some(port) = self.own_port
            && let Some(user) = stranger_at(port)
        {
            let cause = format!("another user ({user}) listens there, and nothing is sent");
            return Err(NoAnswer::Other(cause));
        }
        let mut request = reach
            .http
            .request(ask.method.clone(), ask.url(&reach.base))
            .header(ACCEPT, HeaderValue::from_static(ask.accept));
        request = match (&self.api_key, &self.token) {
            (Some(key), _) if ask.public => request.header(AUTHORIZATION, key),
            (_, Some(token)) if !ask.public => request.header("x-skyclaw-token", token),
            (_, _) => request,
        };
        if let Some(key) = &ask.key {
            request = request.header("x-idempotency-key", key);
        }
        if let Some(body) = &ask.body {
            request = request
                .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
                .body(body.clone());
        }
        if let Some(id) = &ask.last_event {
            request = request.header("last-event-id", id);
        }
        let response = request.send().await.map_err(cause)?;
        let status = response.status();
        if status.is_success() {
            return read(response).await.map(Ok).map_err(cause);
        }
        let retry_after = response
            .headers()
            .get(RETRY_AFTER)
            .and_then(|value| value.to_str().ok()?.trim().parse().ok())
            .map(Duration::from_secs);
        let body = read_all(response).await.map_err(cause)?;
        Ok(Err(refusal(
            reach.shown.clone(),
            status.as_u16(),
            &body,
            retry_after,
        )))
    }

    fn shown(&self, index: usize) -> String {
        self.reaches
            .get(index)
            .map_or_else(String::new, |reach| reach.shown.clone())
    }
}

async fn read_all(mut response: Response) -> Result<Vec<u8>, reqwest::Error> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        body.extend_from_slice(&chunk);
        if body.len() > LONGEST_ANSWER {
            // Cut off: it will not be understood, which is what the caller is told.
            break;
        }
    }
    Ok(body)
}

/// Says in a few words why there was no answer; the address stands beside it anyway.
fn cause(error: reqwest::Error) -> NoAnswer {
    let error = error.without_url();
    if error.is_timeout() {
        return NoAnswer::Other("no connection within 4s".to_owned());
    }
    let mut source: Option<&dyn std::error::Error> = Some(&error);
    while let Some(inner) = source {
        if let Some(io) = inner.downcast_ref::<std::io::Error>()
            && error.is_connect()
        {
            return NoAnswer::Other(plain(&io.to_string()));
        }
        source = inner.source();
    }
    let text = plain(&chain(&error));
    if error.is_connect() {
        NoAnswer::Other(text)
    } else {
        NoAnswer::Broken(text)
    }
}

/// Drops the number that the system adds to its errors.
fn plain(text: &str) -> String {
    let text = text.split(" (os error").next().unwrap_or(text);
    let mut chars = text.chars();
    match chars.next() {
        Some(first) => first.to_lowercase().chain(chars).collect(),
        None => String::new(),
    }
}
