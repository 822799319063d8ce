//! How a gateway behaves.

use std::time::Duration;

use super::choose::{Balance, Rules};
use super::forwarded::Trusted;
use super::keys::Keys;
use super::sticky::Sticky;
use super::tls::Certificate;
use crate::support::secret::Secret;

/// How long the head of a request may be, in bytes. It may have 100 lines, which is hyper's own limit.
pub const HEAD_BYTES: usize = 64 << 10;
/// How long a caller may take for the head of a request, also for its first byte.
pub const HEAD_WITHIN: Duration = Duration::from_secs(30);
/// How long a connection to a backend may take to open.
pub const CONNECT_WITHIN: Duration = Duration::from_secs(4);

/// Who may read the gateway's numbers.
#[derive(Debug, Clone, Default)]
pub enum MetricsFor {
    /// Everybody who may connect.
    #[default]
    All,
    /// Who shows this token, as `x-skyclaw-token` or as bearer.
    Token(Secret),
    /// Nobody.
    Nobody,
}

/// How a gateway behaves.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How endpoints are chosen.
    pub rules: Rules,
    /// What keeps a caller with one endpoint.
    pub sticky: Option<Sticky>,
    /// How often a request is sent again.
    pub attempts: u32,
    /// How often the list of services is read when nothing tells of changes.
    pub refresh: Duration,
    /// How endpoints are probed.
    pub probes: Probes,
    /// Who may call.
    pub keys: Keys,
    /// Whose word counts about where a request comes from.
    pub trusted: Trusted,
    /// How long the body of a request may be.
    pub body_limit: u64,
    /// How long a backend may take for the head of its answer.
    pub first_byte: Duration,
    /// How long a stream in either direction may be silent.
    pub idle: Duration,
    /// How long a caller may be waited for in all while it sends a body of known length, beside a second for each KiB
    /// of it that came. What a backend does not take is not waited for.
    pub body_wait: Duration,
    /// How many connections of callers may be open.
    pub connections: u64,
    /// What callers are shown to speak TLS with; they speak plain HTTP without.
    pub tls: Option<Certificate>,
    /// Who may read the numbers.
    pub metrics: MetricsFor,
    /// How a stop goes.
    pub stop: Stop,
}

/// How endpoints are probed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probes {
    /// How often.
    pub every: Duration,
    /// How long an answer may take.
    pub timeout: Duration,
    /// What is asked for where the service does not say.
    pub path: String,
    /// Somebody chose that path, so only 2xx will do. Otherwise it is a guess, and every answer but a failure of the
    /// server shows that there is one.
    pub path_is_chosen: bool,
}

/// How a stop goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stop {
    /// How long new requests are still taken, after `/health` says no: whoever watches it has to hear of it.
    pub taking: Duration,
    /// How long open requests may take from the beginning of the stop.
    pub open: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            rules: Rules {
                balance: Balance::RoundRobin,
                in_flight: 1000,
                cooldown: Duration::from_secs(10),
            },
            sticky: None,
            attempts: 1,
            refresh: Duration::from_secs(3),
            probes: Probes {
                every: Duration::from_secs(5),
                timeout: Duration::from_millis(1500),
                path: "/health".to_owned(),
                path_is_chosen: false,
            },
            keys: Keys::default(),
            trusted: Trusted::default(),
            body_limit: 10 << 20,
            first_byte: Duration::from_secs(30),
            idle: Duration::from_secs(300),
            body_wait: Duration::from_secs(60),
            connections: 10_000,
            tls: None,
            metrics: MetricsFor::All,
            stop: Stop {
                taking: Duration::from_secs(2),
                open: Duration::from_secs(30),
            },
        }
    }
}
