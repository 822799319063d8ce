//! What the threads of services work with.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::drain;
use super::ports::Ports;
use super::restart::Rules;
use crate::host::kinds::Kinds;
use crate::host::notice::Notice;
use crate::host::watch::Watch;

/// What the threads of services work with.
pub(super) struct Means {
    pub kinds: Arc<Kinds>,
    pub watch: Arc<Watch>,
    pub ports: Arc<Ports>,
    pub news: News,
    pub times: Times,
    /// The directories of services that failed are kept.
    pub keep_failed: bool,
    pub tell: Arc<dyn Fn(Notice) + Send + Sync>,
}

/// The spans that services are kept by.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times {
    pub restart: Rules,
    /// Between two questions whether it is ready.
    pub probe: Duration,
    /// Between two questions whether it still is.
    pub ask_again: Duration,
    /// How long a drain takes at least.
    pub drain_least: Duration,
    /// Between two looks whether its clients have left it.
    pub drain_look: Duration,
    /// Between TERM and KILL.
    pub grace: Duration,
    /// How long killed processes may take to be gone.
    pub gone: Duration,
    /// How long its port may take to be free again before it gets another.
    pub port: Duration,
}

impl Times {
    /// What holds unless a test wants it faster.
    pub(super) const USUAL: Self = Self {
        restart: Rules::USUAL,
        probe: Duration::from_millis(150),
        ask_again: Duration::from_secs(10),
        drain_least: drain::LEAST,
        drain_look: Duration::from_millis(250),
        grace: Duration::from_secs(5),
        gone: Duration::from_secs(2),
        port: Duration::from_secs(3),
    };
}

/// Counts what the coordinator has to hear of.
pub(super) struct News(watch::Sender<u64>);

impl News {
    pub(super) fn new() -> Self {
        Self(watch::Sender::new(0))
    }

    /// Says that there is something new.
    pub(super) fn bump(&self) {
        self.0.send_modify(|count| *count += 1);
    }

    /// Returns the count and how to wait for the next.
    pub(super) fn subscribe(&self) -> watch::Receiver<u64> {
        self.0.subscribe()
    }
}
