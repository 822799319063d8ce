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

    /// Takes note of how the request came out: once when the answer's head is there or will not come, and once more
    /// if the answer breaks off later.
    pub fn note(&self, outcome: Outcome) {
        let good = matches!(outcome, Outcome::CallersDoing)
            || matches!(outcome, Outcome::Answered(status) if status < 500);
        if !good {
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
mod tests {
    use std::collections::BTreeMap;

    use super::super::table::Table;
    use super::super::table::tests::record;
    use super::*;

    const RULES: Rules = Rules {
        balance: Balance::RoundRobin,
        in_flight: 1000,
        cooldown: Duration::from_secs(10),
    };

    fn service(endpoints: usize) -> Arc<Service> {
        let hosts: Vec<(String, String)> = (0..endpoints)
            .map(|at| (format!("h{at}"), format!("http://h{at}:1")))
            .collect();
        let assignments: Vec<(&str, &str, &str)> = hosts
            .iter()
            .map(|(host, url)| (host.as_str(), "running", url.as_str()))
            .collect();
        let table = Table::after(&Table::default(), &[record("svc_1", "api", &assignments)]);
        Arc::clone(table.find("api").unwrap())
    }

    /// How often each host is chosen in `times` requests that end at once.
    fn spread(service: &Arc<Service>, times: usize, key: Option<u64>) -> BTreeMap<String, usize> {
        let mut chosen = BTreeMap::new();
        for _ in 0..times {
            let pick = service.choose(&RULES, key, &[], Moment::now()).unwrap();
            *chosen
                .entry(pick.endpoint().place.host.to_string())
                .or_default() += 1;
        }
        chosen
    }

    fn expect(chosen: &[(&str, usize)]) -> BTreeMap<String, usize> {
        let chosen = chosen.iter();
        chosen
            .map(|(host, times)| ((*host).to_owned(), *times))
            .collect()
    }

    fn take_out(service: &Arc<Service>, at: usize) {
        let health = &service.endpoints[at].health;
        while health.state(Moment::now()) == State::Up {
            health.probed(false);
        }
    }

    fn cannot_connect(service: &Arc<Service>, at: usize) {
        let health = &service.endpoints[at].health;
        health.noted(
            Outcome::Unreachable,
            Moment::now(),
            Duration::from_secs(600),
        );
    }

    #[test]
    fn turns_are_even_and_the_unwell_have_none() {
        let service = service(4);
        assert_eq!(
            spread(&service, 40, None),
            expect(&[("h0", 10), ("h1", 10), ("h2", 10), ("h3", 10)])
        );
        take_out(&service, 1);
        assert_eq!(
            spread(&service, 30, None),
            expect(&[("h0", 10), ("h2", 10), ("h3", 10)])
        );
        take_out(&service, 2);
        assert_eq!(
            spread(&service, 30, None),
            expect(&[("h0", 15), ("h3", 15)]),
            "half is not over half"
        );
    }

    #[test]
    fn when_over_half_are_unwell_all_are_used_but_those_that_nobody_can_reach() {
        let service = service(4);
        for at in 0..3 {
            take_out(&service, at);
        }
        assert_eq!(spread(&service, 40, None).len(), 4);
        cannot_connect(&service, 0);
        assert_eq!(
            spread(&service, 30, None),
            expect(&[("h1", 10), ("h2", 10), ("h3", 10)])
        );
        // A retry rather takes what is well.
        let tried = [Arc::clone(&service.endpoints[1])];
        for _ in 0..5 {
            let pick = service.choose(&RULES, None, &tried, Moment::now()).unwrap();
            assert_eq!(&*pick.endpoint().place.host, "h3");
        }
        for at in 0..4 {
            cannot_connect(&service, at);
        }
        assert_eq!(spread(&service, 40, None).len(), 4, "better than nothing");
    }

    #[test]
    fn a_retry_never_goes_to_the_same_endpoint() {
        let service = service(2);
        let mut tried = Vec::new();
        for _ in 0..2 {
            let pick = service
                .choose(&RULES, Some(7), &tried, Moment::now())
                .unwrap();
            assert!(!is_among(pick.endpoint(), &tried));
            tried.push(Arc::clone(pick.endpoint()));
        }
        let none = service.choose(&RULES, Some(7), &tried, Moment::now());
        assert_eq!(none.unwrap_err(), NoPick::AllTried);
    }

    #[test]
    fn what_is_full_is_passed_over_until_a_request_ends() {
        let rules = Rules {
            in_flight: 2,
            ..RULES
        };
        for balance in [Balance::RoundRobin, Balance::LeastConnections] {
            let service = service(2);
            let rules = Rules { balance, ..rules };
            let choose = |key| service.choose(&rules, key, &[], Moment::now());
            let mut open: Vec<Pick> = (0..4).map(|_| choose(Some(1)).unwrap()).collect();
            let under_way: Vec<u32> = service
                .endpoints
                .iter()
                .map(|one| one.in_flight())
                .collect();
            assert_eq!(under_way, [2, 2], "{balance:?}");
            assert_eq!(choose(None).unwrap_err(), NoPick::Full);
            open.pop();
            assert!(choose(None).is_ok());
            open.clear();
            let under_way: Vec<u32> = service
                .endpoints
                .iter()
                .map(|one| one.in_flight())
                .collect();
            assert_eq!(under_way, [0, 0]);
        }
        assert_eq!(
            service(0)
                .choose(&RULES, None, &[], Moment::now())
                .unwrap_err(),
            NoPick::None
        );
    }

    #[test]
    fn least_connections_goes_where_little_is_under_way() {
        let service = service(3);
        let rules = Rules {
            balance: Balance::LeastConnections,
            ..RULES
        };
        let choose = || service.choose(&rules, None, &[], Moment::now()).unwrap();
        let slow: Vec<Pick> = (0..3).map(|_| choose()).collect();
        let hosts: std::collections::BTreeSet<_> = slow
            .iter()
            .map(|pick| pick.endpoint().place.host.clone())
            .collect();
        assert_eq!(hosts.len(), 3, "one each");
        let free = slow[1].endpoint().place.host.clone();
        let mut slow = slow;
        drop(slow.remove(1));
        assert_eq!(choose().endpoint().place.host, free);
    }

    #[test]
    fn a_key_belongs_to_one_endpoint_and_moves_only_when_that_goes() {
        let service = service(5);
        let of = |key: u64| {
            let chosen = spread(&service, 10, Some(key));
            assert_eq!(chosen.len(), 1, "{chosen:?}");
            chosen.into_keys().next().unwrap()
        };
        let before: Vec<String> = (0..200).map(|key| of(mix(key))).collect();
        let distinct: std::collections::BTreeSet<_> = before.iter().collect();
        assert_eq!(distinct.len(), 5, "all are used");
        take_out(&service, 2);
        for (key, host) in before.iter().enumerate() {
            let now = of(mix(key as u64));
            assert!(now == *host || host == "h2", "{key}: {host} became {now}");
            assert_ne!(now, "h2");
        }
    }
}
