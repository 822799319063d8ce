//! Typed HTTP client of a coordinator: one method per route, failover over several coordinators,
//! idempotency keys, long polls, followed streams.
//!
//! It stays with the coordinator that last answered. A connection error, no answer in time or a
//! status from 500 on sends the same request, with the same idempotency key, to the next one; a
//! status from 400 to 499 is an answer and goes to the caller.

mod address;
mod ask;
mod choice;
mod error;
mod events;
pub mod holder;
mod routes;
mod send;
mod settings;
mod sse;

use std::sync::Arc;
use std::time::Duration;

use reqwest::header::HeaderValue;

pub use address::{parse_url, socket, unix_url};
pub use choice::RETURN_AFTER;
pub use error::{Error, Tried};
pub use events::{EventStream, JobEvent, LogEvent, LogStream};
pub use routes::hosts::HostOrder;
pub use routes::jobs::{JobQuery, LogQuery};
pub use settings::{DEFAULT_URL, Given, Settings, SettingsError};
pub use sse::{Message, Parser};

use address::Reach;
use choice::Choice;
use settings::{bearer, header};

/// The address of a coordinator.
pub use reqwest::Url;

/// Asks coordinators. Cheap to clone; clones share connections and the choice of a coordinator.
#[derive(Clone, Debug)]
pub struct Client {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    urls: Vec<Url>,
    /// How each of them is reached, in the same order.
    reaches: Vec<Reach>,
    token: Option<HeaderValue>,
    api_key: Option<HeaderValue>,
    timeout: Duration,
    choice: Choice,
}

/// How long a connection may take to open. A machine that is gone says nothing at all, and the next
/// coordinator should not have to wait for it as long as for an answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(4);

impl Client {
    /// Makes a client. Nothing is contacted yet.
    ///
    /// # Errors
    /// When there is no address, a token cannot stand in a header, or the system gives no HTTP client.
    pub fn new(settings: Settings) -> Result<Self, Error> {
        crate::support::tls::use_ring();
        if settings.urls.is_empty() {
            return Err(Error::NoCoordinator { tries: Vec::new() });
        }
        Ok(Self {
            shared: Arc::new(Shared {
                reaches: Reach::all(&settings.urls)?,
                token: settings.token.as_ref().map(header).transpose()?,
                api_key: settings.api_key.as_ref().map(bearer).transpose()?,
                timeout: settings.timeout,
                choice: Choice::new(settings.urls.len(), settings.return_after),
                urls: settings.urls,
            }),
        })
    }

    /// Returns the coordinators, in the order given.
    pub fn urls(&self) -> &[Url] {
        &self.shared.urls
    }

    /// Returns the coordinator that is asked first now.
    pub fn current(&self) -> Option<&Url> {
        self.shared.urls.get(self.shared.choice.current())
    }
}
