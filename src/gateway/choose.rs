//! Which endpoint a request goes to. Allocates nothing and takes no lock.
//!
//! This is where control and data path meet: [`Service::choose`] gives a [`Pick`], which counts as one request under
//! way for as long as it lives; [`Pick::note`] says how it came out.

use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::endpoint::Endpoint;
use super::health::{Outcome, State};
use super::moment::Moment;
use super::sticky::mix;
use super::table::Service;

/// How endpoints take turns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Balance {
    /// One after the other.
    #[default]
    RoundRobin,
    /// The one with the fewest requests under way.
    LeastConnections,
}

impl FromStr for Balance {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "round-robin" => Ok(Self::RoundRobin),
            "least-conn" => Ok(Self::LeastConnections),
            _ => Err("write round-robin or least-conn"),
        }
    }
}

/// The rules of choosing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// How endpoints take turns.
    pub balance: Balance,
    /// How many requests may be under way to one endpoint.
    pub in_flight: u32,
    /// How long an endpoint is left alone after it failed.
    pub cooldown: Duration,
}

/// Why there is no endpoint for a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoPick {
    /// The service has none.
    None,
    /// All that would do have as many requests as they may.
    Full,
    /// Each was tried.
    AllTried,
}

/// An endpoint for one request. It counts as under way until this is dropped, so it belongs where the end of the
/// answer's body is seen.
#[derive(Debug)]
pub struct Pick {
    service: Arc<Service>,
    endpoint: Arc<Endpoint>,
    cooldown: Duration,
}

impl Pick {
    /// Returns the endpoint.
    pub const fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }

    /// Returns the service.
    pub const fn service(&self) -> &Arc<Service> {
        &self.service
    }

    /// Takes note of how the request came out. To be said once: when it is known that it failed, or else at the end of
    /// the answer, because a good head is no good answer yet.
    pub fn note(&self, outcome: Outcome) {
        if !outcome.is_fine() {
            self.endpoint.count_failure();
        }
        let left_alone = self
            .endpoint
            .health
            .noted(outcome, Moment::now(), self.cooldown);
        if left_alone {
            tracing::info!(
                service = self.service.name,
                endpoint = self.endpoint.identity.url,
                ?outcome,
                "an endpoint is left alone for a while"
            );
        }
    }
}

impl Drop for Pick {
    fn drop(&mut self) {
        self.endpoint.leave();
    }
}

impl Service {
    /// Chooses an endpoint that is not among `tried`; by `key`, if there is one, otherwise by turns.
    ///
    /// Endpoints that are not well are passed over, unless that is more than half of them: then the cause is rather
    /// something else, and the rest should not have to carry everything. What could not be connected to a moment
    /// ago is used only when there is nothing else, and a retry prefers what is well even then.
    ///
    /// # Errors
    /// When there is no endpoint to be had.
    pub fn choose(
        self: &Arc<Self>,
        rules: &Rules,
        key: Option<u64>,
        tried: &[Arc<Endpoint>],
        now: Moment,
    ) -> Result<Pick, NoPick> {
        if self.endpoints.is_empty() {
            return Err(NoPick::None);
        }
        let worst = self.worst_allowed(tried, now).ok_or(NoPick::AllTried)?;
        let fits = |endpoint: &Arc<Endpoint>| {
            worst.admits(endpoint.health.state(now)) && !is_among(endpoint, tried)
        };
        let endpoint = key
            .and_then(|key| self.by_key(key, rules, fits))
            .or_else(|| self.by_turns(rules, fits))
            .ok_or(NoPick::Full)?;
        Ok(Pick {
            service: Arc::clone(self),
            endpoint: Arc::clone(endpoint),
            cooldown: rules.cooldown,
        })
    }

    /// Returns the worst state that is good enough now; `None` if every endpoint was tried.
    fn worst_allowed(&self, tried: &[Arc<Endpoint>], now: Moment) -> Option<Allowed> {
        let (mut unwell, mut untried_up, mut untried_reachable, mut untried) = (0, 0, 0, 0);
        for endpoint in &self.endpoints {
            let state = endpoint.health.state(now);
            unwell += usize::from(state != State::Up);
            if !is_among(endpoint, tried) {
                untried += 1;
                untried_up += usize::from(state == State::Up);
                untried_reachable += usize::from(state != State::Unreachable);
            }
        }
        let panic = unwell * 2 > self.endpoints.len();
        if untried == 0 {
            None
        } else if untried_up > 0 && (!panic || !tried.is_empty()) {
            Some(Allowed::Up)
        } else if untried_reachable > 0 {
            Some(Allowed::Reachable)
        } else {
            Some(Allowed::All)
        }
    }

    fn by_key(
        &self,
        key: u64,
        rules: &Rules,
        fits: impl Fn(&Arc<Endpoint>) -> bool,
    ) -> Option<&Arc<Endpoint>> {
        let best = self
            .endpoints
            .iter()
            .filter(|endpoint| fits(endpoint))
            .max_by_key(|endpoint| mix(endpoint.hash ^ key))?;
        best.enter(rules.in_flight).then_some(best)
    }

    fn by_turns(
        &self,
        rules: &Rules,
        fits: impl Fn(&Arc<Endpoint>) -> bool,
    ) -> Option<&Arc<Endpoint>> {
        let candidates = || self.endpoints.iter().filter(|endpoint| fits(endpoint));
        let count = candidates().count().max(1);
        let start = self.life.turn.fetch_add(1, Ordering::Relaxed) % count;
        let in_turn = || candidates().cycle().skip(start).take(count);
        match rules.balance {
            Balance::RoundRobin => in_turn().find(|endpoint| endpoint.enter(rules.in_flight)),
            // Of equals the one whose turn it is.
            Balance::LeastConnections => in_turn()
                .min_by_key(|endpoint| endpoint.in_flight())
                .filter(|endpoint| endpoint.enter(rules.in_flight)),
        }
    }
}

/// How bad a chosen endpoint may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Allowed {
    Up,
    Reachable,
    All,
}

impl Allowed {
    const fn admits(self, state: State) -> bool {
        match self {
            Self::Up => matches!(state, State::Up),
            Self::Reachable => !matches!(state, State::Unreachable),
            Self::All => true,
        }
    }
}

fn is_among(endpoint: &Arc<Endpoint>, tried: &[Arc<Endpoint>]) -> bool {
    tried.iter().any(|one| Arc::ptr_eq(one, endpoint))
}

#[cfg(test)]
mod tests;
