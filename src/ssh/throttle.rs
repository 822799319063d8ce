//! How many handshakes run at once, overall and per address.
//!
//! A server drops connections at random past its `MaxStartups` (10 by default), and a key exchange
//! costs both sides CPU, so handshakes start in limited numbers. The limit is no constant: it grows
//! while every handshake succeeds and halves when a server closes on us, so it is neither what makes
//! a large run slow nor what makes a small server drop us.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

/// Handshakes at once at the start of a run, and the floor and ceiling of the limit.
const OVERALL: Range = Range {
    start: 30,
    least: 4,
    most: 256,
};
/// The same per address: under the `MaxStartups 10:30:100` of a stock sshd.
const PER_ADDRESS: Range = Range {
    start: 8,
    least: 1,
    most: 64,
};

struct Range {
    start: usize,
    least: usize,
    most: usize,
}

#[derive(Debug)]
struct Lane {
    limit: usize,
    in_use: usize,
    /// Successes since the limit last changed.
    streak: usize,
}

impl Lane {
    fn new(range: &Range) -> Self {
        Self {
            limit: range.start,
            in_use: 0,
            streak: 0,
        }
    }

    fn is_full(&self) -> bool {
        self.in_use >= self.limit
    }

    fn settle(&mut self, went_well: Option<bool>, range: &Range) {
        self.in_use = self.in_use.saturating_sub(1);
        let Some(went_well) = went_well else {
            return;
        };
        if !went_well {
            self.limit = (self.limit / 2).max(range.least);
            self.streak = 0;
            return;
        }
        self.streak += 1;
        // A whole window went well: try a quarter more.
        if self.streak >= self.limit {
            self.limit = (self.limit + self.limit.div_ceil(4)).min(range.most);
            self.streak = 0;
        }
    }
}

#[derive(Debug)]
struct State {
    overall: Lane,
    addresses: HashMap<String, Lane>,
}

/// Hands out permits for handshakes.
#[derive(Debug)]
pub struct Throttle {
    state: Mutex<State>,
    freed: Notify,
}

/// The right to do one handshake. Dropped without a word it counts as neither good nor bad luck.
#[derive(Debug)]
pub struct Permit {
    throttle: Arc<Throttle>,
    address: String,
    went_well: Option<bool>,
}

impl Default for Throttle {
    fn default() -> Self {
        let state = State {
            overall: Lane::new(&OVERALL),
            addresses: HashMap::new(),
        };
        Self {
            state: Mutex::new(state),
            freed: Notify::new(),
        }
    }
}

impl Throttle {
    /// Waits until one more handshake with `address` may start.
    pub async fn enter(self: &Arc<Self>, address: &str) -> Permit {
        loop {
            // Listen before looking, or a permit freed in between would wake nobody.
            let freed = self.freed.notified();
            if self.try_enter(address) {
                return Permit {
                    throttle: Arc::clone(self),
                    address: address.to_owned(),
                    went_well: None,
                };
            }
            freed.await;
        }
    }

    /// Tells whether a handshake with `address` is under way.
    pub fn is_in_use(&self, address: &str) -> bool {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let lane = state.addresses.get(address);
        lane.is_some_and(|lane| lane.in_use > 0)
    }

    fn try_enter(&self, address: &str) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.overall.is_full() {
            return false;
        }
        let lane = state
            .addresses
            .entry(address.to_owned())
            .or_insert_with(|| Lane::new(&PER_ADDRESS));
        if lane.is_full() {
            return false;
        }
        lane.in_use += 1;
        state.overall.in_use += 1;
        true
    }

    fn leave(&self, address: &str, went_well: Option<bool>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.overall.settle(went_well, &OVERALL);
        if let Some(lane) = state.addresses.get_mut(address) {
            lane.settle(went_well, &PER_ADDRESS);
            if lane.in_use == 0 && lane.limit >= PER_ADDRESS.start {
                // Nothing to remember: keep the table as small as the set of busy or touchy servers.
                state.addresses.remove(address);
            }
        }
        drop(state);
        self.freed.notify_waiters();
    }
}

impl Permit {
    /// Tells how the handshake went: `false` when the server closed on us before login.
    pub fn finish(mut self, went_well: bool) {
        self.went_well = Some(went_well);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.throttle.leave(&self.address, self.went_well);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_address_gets_no_more_than_its_share() {
        let throttle = Arc::new(Throttle::default());
        let mut held = Vec::new();
        for _ in 0..PER_ADDRESS.start {
            held.push(throttle.enter("a").await);
        }
        assert!(
            !throttle.try_enter("a"),
            "a ninth handshake with one server must wait"
        );
        let other = throttle.enter("b").await;
        held.pop();
        let again = throttle.enter("a").await;
        drop((held, other, again));
    }

    #[tokio::test]
    async fn a_server_that_closes_on_us_gets_fewer_and_then_more_again() {
        let throttle = Arc::new(Throttle::default());
        throttle.enter("a").await.finish(false);
        let limit = |t: &Throttle| t.state.lock().unwrap().addresses.get("a").map(|l| l.limit);
        assert_eq!(limit(&throttle), Some(4));
        for _ in 0..4 {
            throttle.enter("a").await.finish(true);
        }
        assert_eq!(limit(&throttle), Some(5));
    }

    #[tokio::test]
    async fn the_overall_limit_grows_while_all_goes_well() {
        let throttle = Arc::new(Throttle::default());
        for n in 0..OVERALL.start {
            throttle.enter(&n.to_string()).await.finish(true);
        }
        assert!(throttle.state.lock().unwrap().overall.limit > OVERALL.start);
        assert!(throttle.state.lock().unwrap().addresses.is_empty());
    }
}
