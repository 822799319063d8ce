//! What a host is like: one question, one answer, nothing changed there.
//!
//! The answer is read as it comes, so that a program that hangs when asked for its version costs
//! us its version and not the host.

mod parse;

use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use crate::fleet::file::Host;
use crate::fleet::link::Links;
use crate::ssh::exec::Events;
use crate::ssh::framing::{Step, Unframer};
use crate::ssh::shell::{Code, Marker, command_line, header};
use crate::ssh::{Connection, Error, Event, Exec};
use crate::support::clock::{Clock, SystemClock, Timestamp};
use crate::support::span;

static PROBE: LazyLock<String> =
    LazyLock::new(|| command_line(include_str!("../../templates/probe.sh")));

/// Seconds a program on the host may take to tell its version.
const VERSION_SECONDS: u64 = 4;
/// The whole answer must be there by then; three programs may use up their seconds.
const LIMIT: Duration = Duration::from_secs(12);
/// More than any honest answer: a few lines, and the first 4 KiB of two programs.
const MOST_KEPT: usize = 256 << 10;

/// What was seen of a host. What is absent could not be found out.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Observed {
    /// Operating system and processor, as `uname -sm` says.
    pub uname: Option<String>,
    /// The agent.
    pub agent: Agent,
    /// Whether the agent has its configuration.
    pub has_config: bool,
    /// Whether there is a file with its key.
    pub has_key: bool,
    /// The host daemon.
    pub daemon: Option<Daemon>,
    /// Load of the last minute.
    pub load1: Option<f64>,
    /// Processors.
    pub cpus: Option<u32>,
    /// Memory that can be had, in bytes.
    pub free_memory: Option<u64>,
    /// Room on the disk of the home directory, in bytes.
    pub free_disk: Option<u64>,
    /// How far its clock is ahead of ours, in milliseconds.
    pub clock_offset_ms: Option<i64>,
    /// Running tasks of ours.
    pub running: Option<u32>,
    /// The mark of an ephemeral run that is gone and has not been undone.
    pub abandoned: Option<String>,
    /// The last task, if the host knows.
    pub last_task: Option<String>,
    /// From the question to the first word of the answer.
    pub latency: Duration,
}

/// What is where the agent should be.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Agent {
    /// PicoClaw.
    Installed {
        /// Its version.
        version: String,
    },
    /// Nothing.
    #[default]
    Missing,
    /// Something that does not answer as PicoClaw does.
    Unknown {
        /// What is wrong with it.
        why: &'static str,
    },
}

/// The host daemon as installed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Daemon {
    /// Its version, if it told.
    pub version: Option<String>,
    /// What the service manager says of it: `active`, `inactive`, …; `installed` if nobody manages it.
    pub state: String,
}

/// Asks a host what it is like. One round trip on an open connection.
///
/// # Errors
/// [`Error::ChannelRefused`] or [`Error::Lost`]; also when the login shell does not run our script.
pub async fn probe(connection: &Connection) -> Result<Observed, Error> {
    let marker = Marker::fresh();
    let Exec { mut events, stdin } = connection.exec(&PROBE).await?;
    let mut answer = Answer::new(&marker);
    let code = Code::new()
        .raw("last() { l=$!; }; k=")
        .number(VERSION_SECONDS);
    let question = async {
        stdin.write(header(&marker, [code]).into()).await?;
        stdin.eof().await?;
        answer.listen(&mut events).await
    };
    match tokio::time::timeout(LIMIT, question).await {
        Ok(result) => result?,
        // What came by then is worth having; see `Answer::finish` for nothing at all.
        Err(_) => stdin.close().await,
    }
    answer.finish()
}

/// Asks all `hosts`, as many at once as the links allow. The answers are in the order of `hosts`.
pub async fn probe_all(links: &Links, hosts: &[Arc<Host>]) -> Vec<Result<Observed, Error>> {
    let answers: Mutex<Vec<Option<Result<Observed, Error>>>> =
        Mutex::new(hosts.iter().map(|_| None).collect());
    let ask = |_, host: Arc<Host>, links: Links| async move {
        let link = links.open(&host).await?;
        probe(&link.connection).await
    };
    links
        .each(hosts, ask, |at, result| {
            let mut answers = answers.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(place) = answers.get_mut(at) {
                *place = Some(result);
            }
        })
        .await;
    let answers = answers.into_inner().unwrap_or_else(PoisonError::into_inner);
    let unasked = || {
        Err(Error::Lost {
            why: "the host was not asked".into(),
        })
    };
    answers
        .into_iter()
        .map(|answer| answer.unwrap_or_else(unasked))
        .collect()
}

struct Answer<'m> {
    marker: &'m Marker,
    unframer: Unframer,
    body: Vec<u8>,
    stderr: Vec<u8>,
    asked_at: (Instant, Timestamp),
    /// The words of the first line and how long they took to come.
    first: Option<(String, Duration)>,
    complete: bool,
}

impl<'m> Answer<'m> {
    fn new(marker: &'m Marker) -> Self {
        Self {
            marker,
            unframer: Unframer::new(marker),
            body: Vec::new(),
            stderr: Vec::new(),
            asked_at: (Instant::now(), SystemClock.now()),
            first: None,
            complete: false,
        }
    }

    async fn listen(&mut self, events: &mut Events<'_>) -> Result<(), Error> {
        let last = format!("{} end\n", self.marker.reply());
        loop {
            match events.next().await? {
                Event::Stdout(bytes) => self.take(bytes),
                Event::Stderr(bytes) => keep(&mut self.stderr, &bytes),
                Event::Exit(_) => {}
                Event::Closed => return Ok(()),
            }
            if self.body.ends_with(last.as_bytes()) {
                self.complete = true;
                return Ok(());
            }
        }
    }

    fn take(&mut self, bytes: Bytes) {
        match self.unframer.push(bytes) {
            Step::Waiting => {}
            Step::Opened { words, rest } => {
                self.first = Some((words, self.asked_at.0.elapsed()));
                keep(&mut self.body, &rest);
            }
            Step::Payload(bytes) => keep(&mut self.body, &bytes),
        }
    }

    fn finish(self) -> Result<Observed, Error> {
        let Some((words, latency)) = self.first else {
            let stderr = String::from_utf8_lossy(&self.stderr);
            let said = format!("{} {}", self.unframer.noise(), stderr.trim());
            let said: String = said.trim().chars().take(300).collect();
            let why = if said.is_empty() {
                format!(
                    "logged in, but the login shell ran nothing within {}",
                    span::human(LIMIT)
                )
            } else {
                format!("the login shell did not run our script; it said `{said}`")
            };
            return Err(Error::Lost { why });
        };
        let body = String::from_utf8_lossy(&self.body);
        let mut seen = parse::observed(&body, &self.marker.reply());
        seen.latency = latency;
        // The host read its clock about halfway between our question and its first word.
        let middle = self.asked_at.1.plus(latency / 2);
        let there = words.strip_prefix("probe ").and_then(parse::time);
        seen.clock_offset_ms = there.map(|there| there - middle.as_millis());
        if !self.complete {
            tracing::debug!("the host's answer ended early");
        }
        Ok(seen)
    }
}

fn keep(kept: &mut Vec<u8>, bytes: &[u8]) {
    let room = MOST_KEPT.saturating_sub(kept.len()).min(bytes.len());
    kept.extend_from_slice(bytes.get(..room).unwrap_or_default());
}
