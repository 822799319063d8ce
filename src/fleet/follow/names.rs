//! Which host of the fleet a coordinator's host is, and whether those that are waited for are there.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::attend::Shared;
use super::{Course, Place};
use crate::fleet::recall;
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

/// What to do about a host that tasks wait for.
#[derive(Debug)]
pub(super) enum Step {
    /// Look whether we reach it ourselves: that tells more than its absence.
    Try(usize),
    /// Nobody waits for it any longer.
    GiveUp(usize, Verdict),
}

/// How long `fleet up` may take to see that a host is back that we reach.
const NOTICE: Duration = Duration::from_secs(30);

/// Knows since when hosts are away.
#[derive(Debug)]
pub(super) struct Roll {
    /// How long one may be away before nobody waits for it; none = for ever.
    patience: Option<Duration>,
    began: Instant,
    away: HashMap<usize, Instant>,
    /// Were there at some time.
    met: HashSet<usize>,
    /// Were tried since they went away.
    tried: HashSet<usize>,
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
            tried: HashSet::new(),
            out: HashSet::new(),
        }
    }

    /// Tells whether this host was given up.
    pub(super) fn is_out(&self, at: usize) -> bool {
        self.out.contains(&at)
    }

    /// Takes note that nobody waits for this host any longer.
    pub(super) fn give_up(&mut self, at: usize) {
        self.out.insert(at);
    }

    /// Takes note that we reach it: `fleet up` will soon.
    pub(super) fn reached(&mut self, at: usize) {
        let later = NOTICE.saturating_sub(self.patience.unwrap_or_default());
        self.away.insert(at, Instant::now() + later);
    }

    /// Compares with the coordinator's hosts and returns what to do about those that are not there.
    pub(super) fn call(
        &mut self,
        course: &Course,
        waiting: &[&Place],
        hosts: &[HostRecord],
    ) -> Vec<Step> {
        let mut steps = Vec::new();
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
            let is_here =
                |host: &&HostRecord| host.state == HostState::Live && why_away(host).is_none();
            if let Some(here) = known().find(is_here) {
                self.away.remove(&at);
                self.tried.remove(&at);
                self.met.insert(at);
                steps.extend(lacks(here, needs).map(|verdict| Step::GiveUp(at, verdict)));
                continue;
            }
            // One that was never met is away since the run began.
            let since = match self.met.contains(&at) {
                true => Instant::now(),
                false => self.began,
            };
            let since = *self.away.entry(at).or_insert(since);
            if course.reach.is_some() && self.tried.insert(at) {
                steps.push(Step::Try(at));
            } else if self
                .patience
                .is_some_and(|patience| since.elapsed() >= patience)
            {
                steps.push(Step::GiveUp(at, not_there(known().next())));
            }
        }
        for step in &steps {
            if let Step::GiveUp(at, _) = step {
                self.out.insert(*at);
            }
        }
        steps
    }
}

fn lacks(host: &HostRecord, needs: Option<&'static str>) -> Option<Verdict> {
    let needs = needs.filter(|needs| !host.capabilities.iter().any(|has| has == needs))?;
    Some(Verdict {
        hint: Some(recall::INSTALL.to_owned()),
        ..Verdict::because(Status::Missing, format!("{needs} is not installed"))
    })
}

/// A worker of `fleet up` says why it takes nothing: `unreachable: connection refused`.
fn why_away(host: &HostRecord) -> Option<(Status, &str)> {
    let (word, text) = host.blocked.as_deref()?.split_once(": ")?;
    match Status::from_word(word)? {
        status @ (Status::Unreachable | Status::Auth | Status::HostKey) => Some((status, text)),
        Status::Ok
        | Status::Failed
        | Status::Timeout
        | Status::Missing
        | Status::Lost
        | Status::Cancelled
        | Status::Skipped => None,
    }
}

fn not_there(known: Option<&HostRecord>) -> Verdict {
    if let Some((status, why)) = known.and_then(why_away) {
        return Verdict::because(status, why);
    }
    let why = match known {
        None => "`fleet up` has no connection to it".to_owned(),
        Some(host) => format!(
            "`fleet up` has heard nothing of it since {}",
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
