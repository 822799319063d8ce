//! One request: to the coordinators in turn until one answers, with the same key on every try. While they are
//! choosing a leader it is sent again and again, as long as its answer may take.

use std::sync::Arc;
use std::time::{Duration, Instant};

use reqwest::Response;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use serde::de::DeserializeOwned;

use super::address::Reach;
use super::ask::Ask;
use super::error::{Error, Tried, refusal};
use super::file::may_have_moved;
use super::neighbour::stranger_at;
use super::stream::Opened;
use super::verdict::{NoAnswer, cause, is_failure, soon};
use super::{Client, Shared};
use crate::protocol::api::repeat::{REQUEST, WAITED};
use crate::support::backoff::jittered;

/// More than this is no answer of a coordinator's single route (a state of very many jobs may be large).
const LONGEST_ANSWER: usize = 256 << 20;

/// Who has waited for less than this says nothing of it.
const FRESH: Duration = Duration::from_millis(50);

/// The longest pause before it is asked again.
const PAUSE: Duration = Duration::from_secs(1);

impl Client {
    /// Sends and reads the JSON answer.
    pub(super) async fn ask<T: DeserializeOwned>(&self, ask: Ask) -> Result<T, Error> {
        let ask = &ask;
        let send = |shared: Arc<Shared>| async move {
            let (reach, body) = shared.in_turn(ask, read_all).await?;
            serde_json::from_slice(&body).map_err(|source| Error::Answer {
                url: reach.shown.clone(),
                source,
            })
        };
        self.where_it_is(ask, send).await
    }

    /// Sends and hands over the answer as soon as its head is there; the body is read by the caller.
    pub(super) async fn open(&self, ask: Ask) -> Result<Opened, Error> {
        let ask = &ask;
        let send = |shared: Arc<Shared>| async move {
            let head = |response: Response| async { Ok(response) };
            let (reach, response) = shared.in_turn(ask, head).await?;
            Ok(Opened::new(shared, reach, response))
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
    /// Asks until there is an answer, or no use in asking. What a cluster cannot do while it has no leader it can do
    /// a moment later; that is waited for as long as the answer may take.
    async fn in_turn<T, F>(
        self: &Arc<Self>,
        ask: &Ask,
        read: impl Fn(Response) -> F,
    ) -> Result<(Arc<Reach>, T), Error>
    where
        F: Future<Output = Result<T, reqwest::Error>>,
    {
        let limit = self.timeout + ask.wait;
        let began = Instant::now();
        // Before the one that is asked dies under a long wait.
        self.learn_beside(ask);
        loop {
            let error = match self.round(ask, (began, limit), &read).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            let Some(pause) = soon(&error).map(|pause| jittered(pause.min(PAUSE))) else {
                return Err(error);
            };
            if began.elapsed() + pause >= limit {
                return Err(error);
            }
            tracing::debug!(%error, "asking again in a moment");
            tokio::time::sleep(pause).await;
        }
    }

    /// Asks one coordinator after another until one gives an answer that is not a failure of its own.
    async fn round<T, F>(
        &self,
        ask: &Ask,
        time: (Instant, Duration),
        read: &impl Fn(Response) -> F,
    ) -> Result<(Arc<Reach>, T), Error>
    where
        F: Future<Output = Result<T, reqwest::Error>>,
    {
        let mut tries = Vec::new();
        let mut silent: Vec<Arc<Reach>> = Vec::new();
        let mut last_refusal = None;
        for reach in self.members.in_order() {
            let answer = self.patiently(ask, &reach, time, read).await;
            match answer {
                Ok(Err(refused)) if is_failure(&refused, &reach) => {
                    tracing::debug!(url = reach.shown, error = %refused, "coordinator failed, asking the next");
                    last_refusal = Some(refused);
                }
                Ok(answer) => {
                    self.members.worked(&reach);
                    for other in &silent {
                        other.silent.notify_waiters();
                    }
                    return answer.map(|value| (reach, value));
                }
                Err(why) => {
                    if matches!(why, NoAnswer::Silent(_)) {
                        silent.push(Arc::clone(&reach));
                    }
                    let (NoAnswer::Broken(cause)
                    | NoAnswer::Silent(cause)
                    | NoAnswer::Other(cause)) = why;
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
            self.lesson.is_stale();
        }
        // Who answered says more than who did not.
        Err(last_refusal.unwrap_or(Error::NoCoordinator { tries }))
    }

    /// Asks one coordinator, once more on a fresh connection if the first one broke.
    async fn patiently<T, F>(
        &self,
        ask: &Ask,
        reach: &Reach,
        (began, limit): (Instant, Duration),
        read: &impl Fn(Response) -> F,
    ) -> Result<Result<T, Error>, NoAnswer>
    where
        F: Future<Output = Result<T, reqwest::Error>>,
    {
        let each = ask.each.filter(|_| self.members.are_several());
        let limit = each.map_or(limit, |each| each.min(limit));
        let once = || async {
            tokio::select! {
                biased;
                done = tokio::time::timeout(limit, self.once(ask, reach, began, read)) => match done {
                    Ok(done) => done,
                    Err(_) => Err(NoAnswer::Silent(format!(
                        "no answer within {}",
                        crate::support::span::human(limit)
                    ))),
                },
                cause = self.falls_silent(reach) => Err(NoAnswer::Silent(cause)),
            }
        };
        match once().await {
            // A connection that was kept open may have been closed by the other side just now.
            Err(NoAnswer::Broken(_)) if ask.may_be_repeated() => once().await,
            done => done,
        }
    }

    pub(super) async fn once<T, F>(
        &self,
        ask: &Ask,
        reach: &Reach,
        began: Instant,
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
        if let Some(name) = &ask.name {
            request = request.header(REQUEST, name.as_str());
        }
        let waited = began.elapsed();
        if !ask.wait.is_zero() && waited > FRESH {
            let millis = u64::try_from(waited.as_millis()).unwrap_or(u64::MAX);
            request = request.header(WAITED, millis);
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
        reach.heard();
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
}

pub(super) async fn read_all(mut response: Response) -> Result<Vec<u8>, reqwest::Error> {
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
