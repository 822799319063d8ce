//! The asking side of links between members: finds out who is at a URL, and asks.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use reqwest::Url;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use super::connection::{Link, Means, Unanswered};
use super::door::MESSAGE;
use super::error::LinkError;
use super::hello::{Hello, Identity, Introduction};
use super::live::Lives;
use super::moved::Moved;
use super::nonces::Nonces;
use super::outgoing::Outgoing;
use super::place::Place;
use super::pool::Pool;
use super::prove::refusal;
use super::secret::Secrets;
use crate::queue::cluster::MemberId;

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// How this member reaches others. Clones share their connections.
#[derive(Clone)]
pub struct Links(Arc<Inner>);

struct Inner {
    secrets: Secrets,
    identity: OnceLock<Arc<dyn Identity>>,
    nonces: Nonces,
    lives: Arc<Lives>,
    pool: Arc<Pool>,
    moved: Moved,
}

impl std::fmt::Debug for Links {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Links").finish_non_exhaustive()
    }
}

/// What is sent in one piece.
pub struct Message {
    /// Where to.
    pub path: String,
    /// What it is.
    pub kind: HeaderValue,
    /// The body.
    pub bytes: Bytes,
}

impl Links {
    /// Returns links that know this secret. Nothing is asked before [`Links::introduce`].
    pub fn new(secrets: Secrets) -> Self {
        Self(Arc::new(Inner {
            secrets,
            identity: OnceLock::new(),
            nonces: Nonces::default(),
            lives: Arc::default(),
            pool: Arc::default(),
            moved: Moved::default(),
        }))
    }

    /// Says who this member is. Only the first time counts. Should not hold what itself holds these links, such as the
    /// cluster, or neither is ever dropped.
    pub fn introduce(&self, identity: impl Identity) {
        let _ = self.0.identity.set(Arc::new(identity));
    }

    /// Returns what this member says of itself, if it knows by now.
    pub fn introduction(&self) -> Option<Introduction> {
        self.0.identity.get().map(|identity| identity.introduce())
    }

    /// Returns what the members know in common.
    pub fn secrets(&self) -> &Secrets {
        &self.0.secrets
    }

    /// Returns where members were found that are not where the log says.
    pub fn moved(&self) -> &Moved {
        &self.0.moved
    }

    pub(super) fn nonces(&self) -> &Nonces {
        &self.0.nonces
    }

    pub(super) fn pool(&self) -> &Arc<Pool> {
        &self.0.pool
    }

    /// Finds out who is at a URL, over a new connection, and has both sides prove themselves.
    ///
    /// # Errors
    /// When nobody is there who can.
    pub async fn hello(&self, url: &Url) -> Result<Hello, LinkError> {
        let (link, hello) = self.open(place(url)?).await?;
        self.0.pool.put(link);
        Ok(hello)
    }

    /// Sends JSON to the member at a URL and returns its answer. `within` is for all of it.
    ///
    /// # Errors
    /// When it was not asked, did not answer, or refused.
    pub async fn ask<A: Serialize + Sync, B: DeserializeOwned>(
        &self,
        url: &Url,
        path: &str,
        body: &A,
        within: Duration,
    ) -> Result<B, LinkError> {
        let Ok(bytes) = serde_json::to_vec(body) else {
            let why = "it has no JSON form";
            return Err(LinkError::Unfit { why });
        };
        let message = Message {
            path: path.to_owned(),
            kind: JSON,
            bytes: bytes.into(),
        };
        let answer = self.exchange(url, None, message, within).await?;
        let text: &[u8] = if answer.is_empty() { b"null" } else { &answer };
        serde_json::from_slice(text).map_err(|error| LinkError::Lost {
            url: url.to_string(),
            why: format!("it is not what was asked for: {error}"),
        })
    }

    /// Cuts off everything that is under way to `member`: it was found dead, or leads no more.
    pub fn cut(&self, member: MemberId) {
        self.0.pool.forget(member);
        self.0.lives.cut(member);
    }

    async fn open(&self, place: Place) -> Result<(Link, Hello), LinkError> {
        let Some(me) = self.introduction() else {
            return Err(LinkError::Unreachable {
                url: place.key,
                why: "this coordinator is still starting".to_owned(),
            });
        };
        let means = Means {
            secrets: &self.0.secrets,
            me,
            nonces: &self.0.nonces,
            lives: &self.0.lives,
        };
        Link::open(place, means).await
    }

    /// Returns a connection to whoever is at `url`, who must be `member` if one is meant. `fresh`: a new one.
    pub(super) async fn line(
        &self,
        url: &Url,
        member: Option<MemberId>,
        fresh: bool,
    ) -> Result<Link, LinkError> {
        let place = place(url)?;
        if !fresh && let Some(link) = self.0.pool.take(&place.key, member).await {
            return Ok(link);
        }
        let key = place.key.clone();
        let (link, hello) = self.open(place).await?;
        let found = hello.who.member;
        if member.is_some_and(|member| member != found) {
            self.0.pool.put(link);
            return Err(LinkError::Another {
                url: key,
                found: found.to_string(),
            });
        }
        Ok(link)
    }

    /// Sends a message and returns the body of a good answer.
    ///
    /// # Errors
    /// When there is none.
    pub(super) async fn exchange(
        &self,
        url: &Url,
        member: Option<MemberId>,
        message: Message,
        within: Duration,
    ) -> Result<Bytes, LinkError> {
        let sent = AtomicBool::new(false);
        match timeout(within, self.exchanged(url, member, message, &sent)).await {
            Ok(exchanged) => exchanged,
            Err(_) if sent.load(Ordering::Relaxed) => Err(LinkError::Lost {
                url: url.to_string(),
                why: "it did not come in time".to_owned(),
            }),
            Err(_) => Err(LinkError::Unreachable {
                url: url.to_string(),
                why: "there was none in time".to_owned(),
            }),
        }
    }

    async fn exchanged(
        &self,
        url: &Url,
        member: Option<MemberId>,
        message: Message,
        sent: &AtomicBool,
    ) -> Result<Bytes, LinkError> {
        let lost = |why: String| LinkError::Lost {
            url: url.to_string(),
            why,
        };
        let mut fresh = false;
        let (link, answer) = loop {
            let mut link = self.line(url, member, fresh).await?;
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, message.kind.clone());
            sent.store(true, Ordering::Relaxed);
            let body = Outgoing::Whole(Some(message.bytes.clone()));
            match link.send(&Method::POST, &message.path, headers, body).await {
                Ok(answer) => break (link, answer),
                // The other side closed it while it lay idle.
                Err(Unanswered::Unsent(_)) if link.reused => fresh = true,
                Err(Unanswered::Unsent(_)) => {
                    return Err(LinkError::Unreachable {
                        url: url.to_string(),
                        why: "it broke off before anything was sent".to_owned(),
                    });
                }
                Err(Unanswered::Lost(why)) => return Err(lost(why)),
            }
            sent.store(false, Ordering::Relaxed);
        };
        let status = answer.status();
        let bytes = Limited::new(answer.into_body(), MESSAGE)
            .collect()
            .await
            .map_err(|error| lost(error.to_string()))?
            .to_bytes();
        if link.was_cut() {
            return Err(lost("it was cut off".to_owned()));
        }
        if status != StatusCode::UNAUTHORIZED {
            self.0.pool.put(link);
        }
        if status.is_success() {
            return Ok(bytes);
        }
        let (code, text) = refusal(status, &bytes);
        Err(LinkError::Answer {
            status: status.as_u16(),
            code,
            text,
        })
    }
}

fn place(url: &Url) -> Result<Place, LinkError> {
    Place::of(url).map_err(|why| LinkError::Address {
        url: url.to_string(),
        why: why.to_owned(),
    })
}
