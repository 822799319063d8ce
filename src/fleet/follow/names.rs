//! Which host of the fleet a coordinator's host is, and whether those that are waited for are there.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::attend::Shared;
use super::{Course, Place};
use crate::fleet::report::{Status, Verdict};
use crate::protocol::HostId;
use crate::protocol::api::{HostRecord, HostState, JobKind};

/// The positions of hosts, by the coordinator's id.
#[derive(Debug, Default)]
pub(super) struct Names(Mutex<HashMap<HostId, Option<usize>>>);

impl Names {
    /// Returns the position of a host, asking the coordinator for its name if need be.
    pub(super) async fn position(&self, shared: &Shared, id: &HostId) -> Option<usize> {
        if let Some(known) = self.lock().get(id) {
            return *known;
        }
        let by_word = |word: &str| {
            shared
                .course
                .names
                .iter()
                .position(|name| name.as_str() == word)
        };
        match shared.client.hosts().await {
            Ok(hosts) => {
                let mut known = self.lock();
                for host in hosts {
                    known.insert(host.id, by_word(&host.name));
                }
                *known
                    .entry(id.clone())
                    .or_insert_with(|| by_word(id.as_str()))
            }
            Err(error) => {
                tracing::debug!(%error, "the coordinator's hosts cannot be listed");
                by_word(id.as_str())
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<HostId, Option<usize>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Knows since when hosts are away.
#[derive(Debug)]
pub(super) struct Roll {
    /// How long one may be away before nobody waits for it; none = for ever.
    patience: Option<Duration>,
    began: Instant,
    away: HashMap<usize, Instant>,
    /// Were there at some time.
    met: HashSet<usize>,
    /// Given up.
    out: HashSet<usize>,
}

impl Roll {
    /// Returns a roll that nobody was called from yet.
    pub(super) fn new(patience: Option<Duration>) -> Self {
        Self {
            patience,
            began: Instant::now(),
            away: HashMap::new(),
            met: HashSet::new(),
            out: HashSet::new(),
        }
    }

    /// Tells whether this host was given up.
    pub(super) fn is_out(&self, at: usize) -> bool {
        self.out.contains(&at)
    }

    /// Compares with the coordinator's hosts and returns those that nobody waits for any longer, with
    /// the reason; each once.
    pub(super) fn call(
        &mut self,
        course: &Course,
        waiting: &[&Place],
        hosts: &[HostRecord],
    ) -> Vec<(usize, Verdict)> {
        let mut given_up = Vec::new();
        let needs = waiting.first().and_then(|place| place.capability());
        for (at, name) in course.names.iter().enumerate() {
            let concerned = waiting
                .iter()
                .any(|place| place.host.is_none_or(|host| host == at));
            if !concerned || self.out.contains(&at) {
                continue;
            }
            // Of several with one name the one that is there counts.
            let known = || hosts.iter().filter(|host| host.name == name.as_str());
            let here = known().find(|host| host.state == HostState::Live);
            let verdict = match here {
                Some(here) => {
                    self.away.remove(&at);
                    self.met.insert(at);
                    lacks(here, needs)
                }
                None => {
                    // One that was never met is away since the run began.
                    let since = match self.met.contains(&at) {
                        true => Instant::now(),
                        false => self.began,
                    };
                    let since = *self.away.entry(at).or_insert(since);
                    self.patience
                        .filter(|patience| since.elapsed() >= *patience)
                        .map(|_| not_there(known().next()))
                }
            };
            if let Some(verdict) = verdict {
                self.out.insert(at);
                given_up.push((at, verdict));
            }
        }
        given_up
    }
}

fn lacks(host: &HostRecord, needs: Option<&'static str>) -> Option<Verdict> {
    let needs = needs.filter(|needs| !host.capabilities.iter().any(|has| has == needs))?;
    Some(Verdict {
        hint: Some(match needs {
            "picoclaw" => {
                "run `skyclaw fleet deploy`, or dispatch with --deploy-missing".to_owned()
            }
            _ => "install it on the host, or choose another --agent".to_owned(),
        }),
        ..Verdict::because(Status::Missing, format!("{needs} is not installed"))
    })
}

fn not_there(known: Option<&HostRecord>) -> Verdict {
    let why = match known {
        None => "`fleet up` has no connection to it".to_owned(),
        Some(host) => format!(
            "`fleet up` has had no connection to it since {}",
            host.last_seen_at
        ),
    };
    Verdict {
        hint: Some("`skyclaw fleet status` tells whether it can be reached".to_owned()),
        ..Verdict::because(Status::Unreachable, why)
    }
}

impl Place {
    /// Returns what a host must be able to do for this task, beyond running a command.
    pub(super) fn capability(&self) -> Option<&'static str> {
        let kind: JobKind = serde_json::from_str(self.payload.as_str()).ok()?;
        (!matches!(kind, JobKind::Shell { .. })).then(|| kind.capability())
    }
}
