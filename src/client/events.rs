//! Streams that go on when the connection does not: what a job prints, and what happens.

use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;

use super::Client;
use super::ask::Ask;
use super::error::{Error, Tried};
use super::sse::{Message, Parser};
use super::stream::Opened;
use crate::protocol::JobRecord;
use crate::protocol::api::{Event, JobReply, LogPiece, ServiceLogPiece};

/// A connection that lasted this long was a good one, even if nothing happened: jobs can be silent.
const LASTED: Duration = Duration::from_secs(10);
/// Pauses between attempts to go on; after the last one the stream fails.
const PAUSES: [Duration; 6] = [
    Duration::from_millis(100),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
    Duration::from_secs(8),
];

/// A stream of events of one route. After a cut it goes on behind the last event it got.
#[derive(Debug)]
struct Followed {
    client: Client,
    ask: Ask,
    open: Option<Opened>,
    parser: Parser,
    last_id: Option<String>,
    opened_at: Instant,
    /// How often in a row it was cut soon.
    in_vain: usize,
    /// The pauses before it is taken up again; without any it ends with its connection.
    pauses: &'static [Duration],
}

impl Followed {
    /// Opens the stream, so that what is refused is refused at once.
    async fn open(client: &Client, ask: Ask, last_id: Option<String>) -> Result<Self, Error> {
        let mut followed = Self {
            client: client.clone(),
            ask,
            open: None,
            parser: Parser::default(),
            last_id,
            opened_at: Instant::now(),
            in_vain: 0,
            pauses: &PAUSES,
        };
        followed.reopen().await?;
        Ok(followed)
    }

    async fn reopen(&mut self) -> Result<(), Error> {
        if let Some(id) = self.parser.last_id() {
            self.last_id = Some(id.to_owned());
        }
        let ask = self.ask.clone().events(self.last_id.clone());
        self.parser = Parser::default();
        self.open = Some(self.client.open(ask).await?);
        self.opened_at = Instant::now();
        Ok(())
    }

    async fn next(&mut self) -> Result<Message, Error> {
        loop {
            if let Some(message) = self.parser.next_message() {
                self.last_id = message.id.clone().or(self.last_id.take());
                self.in_vain = 0;
                return Ok(message);
            }
            let cause = match self.read().await {
                Ok(()) => continue,
                Err(cause) => cause,
            };
            if self.open.take().is_some() && self.opened_at.elapsed() > LASTED {
                self.in_vain = 0;
            }
            let Some(pause) = self.pauses.get(self.in_vain) else {
                let url = self.url();
                return Err(Error::NoCoordinator {
                    tries: vec![Tried { url, cause }],
                });
            };
            self.in_vain += 1;
            tracing::debug!(cause, "the stream was cut, going on");
            tokio::time::sleep(*pause).await;
            match self.reopen().await {
                Err(error) if error.retry_helps() && self.in_vain < self.pauses.len() => {}
                done => done?,
            }
        }
    }

    /// Returns the coordinator that answers.
    fn url(&self) -> String {
        match &self.open {
            Some(open) => open.url().to_owned(),
            None => self
                .client
                .current()
                .map(ToString::to_string)
                .unwrap_or_default(),
        }
    }

    /// Opens a stream that ends when its connection does.
    async fn open_once(client: &Client, ask: Ask) -> Result<Self, Error> {
        let mut followed = Self::open(client, ask, None).await?;
        followed.pauses = &[];
        Ok(followed)
    }

    /// Reads a piece into the parser.
    async fn read(&mut self) -> Result<(), String> {
        let Some(open) = &mut self.open else {
            return Err("not connected".to_owned());
        };
        match open.chunk().await? {
            Some(bytes) => {
                self.parser.push(&bytes);
                Ok(())
            }
            None => Err("the stream ended".to_owned()),
        }
    }

    fn understood<T: DeserializeOwned>(&self, data: &str) -> Result<T, Error> {
        serde_json::from_str(data).map_err(|source| Error::Answer {
            url: self.url(),
            source,
        })
    }
}

/// What a followed job does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogEvent {
    /// It printed something.
    Piece(LogPiece),
    /// It ended; nothing follows.
    End(Box<JobRecord>),
}

/// What a job prints, from the start or from where the query said, until it ends.
#[derive(Debug)]
pub struct LogStream(Followed);

impl LogStream {
    pub(super) async fn open(client: &Client, ask: Ask) -> Result<Self, Error> {
        Followed::open(client, ask, None).await.map(Self)
    }

    /// Waits for what comes next. Safe to be dropped and called again. After a cut connection pieces
    /// may come twice; their offsets tell.
    ///
    /// # Errors
    /// When the stream was cut and could not be taken up again for about 16 s, or was refused then.
    pub async fn next(&mut self) -> Result<LogEvent, Error> {
        loop {
            let message = self.0.next().await?;
            match message.event.as_str() {
                "piece" => return self.0.understood(&message.data).map(LogEvent::Piece),
                "end" => {
                    // Not one untagged type for both forms: a payload is raw JSON, which that cannot read.
                    let wrapped = serde_json::from_str::<JobReply>(&message.data);
                    let job = match wrapped {
                        Ok(reply) => reply.job,
                        Err(_) => self.0.understood(&message.data)?,
                    };
                    return Ok(LogEvent::End(Box::new(job)));
                }
                // A newer coordinator may say more; it is not for us.
                _ => {}
            }
        }
    }
}

/// What a service prints. Nothing of it is kept anywhere but on its hosts, so a cut stream does not go on.
#[derive(Debug)]
pub struct ServiceLogStream(Followed);

impl ServiceLogStream {
    pub(super) async fn open(client: &Client, ask: Ask) -> Result<Self, Error> {
        Followed::open_once(client, ask).await.map(Self)
    }

    /// Waits for what comes next; nothing at the end. Safe to be dropped and called again.
    ///
    /// # Errors
    /// When the stream was cut.
    pub async fn next(&mut self) -> Result<Option<ServiceLogPiece>, Error> {
        loop {
            let message = self.0.next().await?;
            match message.event.as_str() {
                "piece" => return self.0.understood(&message.data).map(Some),
                "end" => return Ok(None),
                // A newer coordinator may say more; it is not for us.
                _ => {}
            }
        }
    }
}

/// An event and where to go on after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobEvent {
    /// For `last-event-id`.
    pub id: Option<String>,
    /// What happened.
    pub event: Event,
}

/// What happens at a coordinator, for as long as it is asked.
#[derive(Debug)]
pub struct EventStream(Followed);

impl EventStream {
    pub(super) async fn open(
        client: &Client,
        ask: Ask,
        after: Option<String>,
    ) -> Result<Self, Error> {
        Followed::open(client, ask, after).await.map(Self)
    }

    /// Opens a stream that ends when its connection does.
    pub(super) async fn open_once(client: &Client, ask: Ask) -> Result<Self, Error> {
        Followed::open_once(client, ask).await.map(Self)
    }

    /// Waits for what comes next. Safe to be dropped and called again. Events of kinds that are not
    /// known here are passed over.
    ///
    /// # Errors
    /// As [`LogStream::next`].
    pub async fn next(&mut self) -> Result<JobEvent, Error> {
        loop {
            let message = self.0.next().await?;
            match serde_json::from_str(&message.data) {
                Ok(event) => {
                    return Ok(JobEvent {
                        id: message.id,
                        event,
                    });
                }
                Err(error) => tracing::debug!(%error, "an event that is not understood"),
            }
        }
    }
}
