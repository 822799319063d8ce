//! Typed HTTP client of a coordinator: one method per route, failover over several coordinators,
//! idempotency keys, long polls, followed streams.
//!
//! It stays with the coordinator that last answered. A connection error, no answer in time or a
//! status from 500 on sends the same request, with the same idempotency key, to the next one; a
//! status from 400 to 499 is an answer and goes to the caller. Coordinators of a cluster tell of each
//! other (`learn.rs`), so that one address is enough for whoever stays long enough to hear of it, and
//! a cluster that is about to choose a leader is waited for (`send.rs`).

mod address;
mod ask;
mod choice;
mod error;
mod events;
mod file;
mod gateway;
pub mod holder;
mod judge;
mod learn;
mod members;
mod neighbour;
mod request;
mod routes;
mod send;
mod settings;
mod sse;
mod stream;
mod verdict;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::HeaderValue;

pub use address::{parse_url, socket, unix_url};
pub use choice::RETURN_AFTER;
pub use error::{Error, Tried};
pub use events::{EventStream, JobEvent, LogEvent, LogStream, ServiceLogStream};
pub use file::Fault;
pub use gateway::{Call, CallError, DEFAULT_GATEWAY, GatewayClient};
pub use request::RequestName;
pub use routes::hosts::HostOrder;
pub use routes::jobs::{JobQuery, LogQuery};
pub use routes::services::ServiceLogQuery;
pub use settings::{DEFAULT_URL, Given, Settings, SettingsError};
pub use sse::{Message, Parser};

use file::CoordinatorFile;
use learn::Lesson;
use members::Members;
use settings::{bearer, header};

/// The address of a coordinator.
pub use reqwest::Url;

/// Asks coordinators. Cheap to clone; clones share connections and the choice of a coordinator.
#[derive(Clone, Debug)]
pub struct Client {
    shared: Arc<Shared>,
    /// Says where the coordinator is; `shared` knows of none then.
    file: Option<Arc<CoordinatorFile>>,
}

#[derive(Debug)]
struct Shared {
    urls: Vec<Url>,
    /// How each of them is reached, in the same order, and those that were learned of.
    members: Members,
    lesson: Lesson,
    token: Option<HeaderValue>,
    api_key: Option<HeaderValue>,
    timeout: Duration,
    /// The loopback port that must not be another user's.
    own_port: Option<u16>,
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
        if settings.urls.is_empty() {
            return Err(Error::NoCoordinator { tries: Vec::new() });
        }
        Ok(Self {
            shared: Arc::new(Shared::new(settings)?),
            file: None,
        })
    }

    /// Makes a client of the coordinator that the file at `path` names, which is read again whenever that
    /// one does not answer. There need not be a file yet.
    ///
    /// # Errors
    /// [`Error::File`] when there is one that cannot be used.
    pub fn of_file(path: PathBuf) -> Result<Self, Error> {
        Ok(Self {
            shared: Arc::new(Shared::new(Settings::new(Vec::new()))?),
            file: Some(Arc::new(CoordinatorFile::open(path)?)),
        })
    }

    /// Tells whether a file says where the coordinator is: then it costs next to nothing to look often.
    pub fn has_file(&self) -> bool {
        self.file.is_some()
    }

    /// Returns the coordinators, in the order given; none if a file names it.
    pub fn urls(&self) -> &[Url] {
        &self.shared.urls
    }

    /// Returns the coordinator that is asked first now; none if it is one that another told of.
    pub fn current(&self) -> Option<&Url> {
        let current = self.shared.members.current()?;
        self.shared.urls.iter().find(|url| **url == current.url)
    }
}

impl Shared {
    fn new(settings: Settings) -> Result<Self, Error> {
        crate::support::tls::use_ring();
        Ok(Self {
            members: Members::of(&settings.urls, settings.return_after)?,
            lesson: Lesson::new(settings.discover),
            token: settings.token.as_ref().map(header).transpose()?,
            api_key: settings.api_key.as_ref().map(bearer).transpose()?,
            timeout: settings.timeout,
            urls: settings.urls,
            own_port: None,
        })
    }
}
