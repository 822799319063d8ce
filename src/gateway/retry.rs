//! When a request may be sent to another endpoint. Pure rules.
//!
//! What may have had an effect is sent twice only if its sender says that this does no harm. Retries have a budget,
//! or a service in trouble would get the more requests the worse it does.

use std::sync::atomic::{AtomicU32, Ordering};

use hyper::{HeaderMap, Method};

use super::health::Outcome;

/// How long a body may be to be kept for a second time.
pub const KEPT_BODY: usize = 64 << 10;

/// What counts when it is decided whether a request is sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// Sending it twice does no harm: by its method, or because its sender gave it a key.
    pub repeatable: bool,
    /// How often it may be sent besides the first time.
    pub left: u32,
    /// It came through another gateway, which does the same: if each did, one request would become very many. What was
    /// not sent at all is sent elsewhere even so.
    pub behind: bool,
}

impl Request {
    /// Returns what its head says of it.
    pub fn of(method: &Method, headers: &HeaderMap, attempts: u32) -> Self {
        let safe = matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS);
        let keyed =
            || headers.contains_key("idempotency-key") || headers.contains_key("x-idempotency-key");
        Self {
            repeatable: safe || keyed(),
            left: attempts,
            behind: super::headers::hops(headers) > 0,
        }
    }

    /// Decides whether it is sent to another endpoint after this came of it. `body_is_whole` says that its body can
    /// be sent from its start once more: there is none, nothing of it was read, or all that was is kept.
    ///
    /// To be asked before anything of an answer went to the caller, and not afterwards. Uses up a retry.
    pub fn again(&mut self, outcome: Outcome, body_is_whole: bool, budget: &Budget) -> bool {
        let wanted = match outcome {
            Outcome::CallersDoing => false,
            // Nothing was sent or done, so nothing can happen twice.
            Outcome::Unreachable | Outcome::Declined => true,
            Outcome::Broken | Outcome::Silent | Outcome::Answered(_) if self.behind => false,
            Outcome::Broken | Outcome::Silent => self.repeatable,
            Outcome::Answered(status) => Outcome::failed_with(status) && self.repeatable,
        };
        if !wanted || !body_is_whole || self.left == 0 || !budget.spend() {
            return false;
        }
        self.left -= 1;
        true
    }
}

/// A retry costs as much as this many requests earn: retries are at most a fifth of the traffic.
const COST: u32 = 5;
/// What can be saved up: 20 retries.
const MOST: u32 = 20 * COST;
/// What there is at first: 10 retries, so that a service that is rarely asked has some.
const FIRST: u32 = 10 * COST;

/// How many retries a service has left.
#[derive(Debug)]
pub struct Budget(AtomicU32);

impl Default for Budget {
    fn default() -> Self {
        Self(AtomicU32::new(FIRST))
    }
}

impl Budget {
    /// Counts a request.
    pub fn earn(&self) {
        // When all is well it is full, and nobody writes.
        if self.0.load(Ordering::Relaxed) < MOST {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn spend(&self) -> bool {
        let take = |left: u32| left.checked_sub(COST);
        self.0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
            .is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_does_no_harm_twice_is_sent_twice() {
        use Outcome::{Answered, Broken, CallersDoing, Declined, Silent, Unreachable};
        let key = |name: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(name, "1".parse().unwrap());
            headers
        };
        let none = HeaderMap::new();
        let may = |method: &Method, headers: &HeaderMap, outcome, whole| {
            Request::of(method, headers, 1).again(outcome, whole, &Budget::default())
        };
        for method in [Method::GET, Method::HEAD, Method::OPTIONS] {
            for outcome in [Unreachable, Broken, Silent, Answered(500), Answered(503)] {
                assert!(may(&method, &none, outcome, true), "{method} {outcome:?}");
                assert!(!may(&method, &none, outcome, false));
            }
            for outcome in [
                CallersDoing,
                Answered(200),
                Answered(404),
                Answered(429),
                Answered(501),
            ] {
                assert!(!may(&method, &none, outcome, true), "{method} {outcome:?}");
            }
        }
        for method in [Method::POST, Method::PUT, Method::DELETE, Method::PATCH] {
            assert!(may(&method, &none, Unreachable, true));
            assert!(may(&method, &none, Declined, true));
            assert!(!may(&method, &none, Unreachable, false));
            for outcome in [Broken, Silent, Answered(500)] {
                assert!(!may(&method, &none, outcome, true), "{method} {outcome:?}");
                for name in ["idempotency-key", "x-idempotency-key"] {
                    assert!(may(&method, &key(name), outcome, true));
                }
            }
        }
    }

    #[test]
    fn behind_another_gateway_only_what_was_not_sent_is_tried_again() {
        let mut headers = HeaderMap::new();
        headers.insert("x-skyclaw-hops", "1".parse().unwrap());
        let again = |outcome| {
            Request::of(&Method::GET, &headers, 1).again(outcome, true, &Budget::default())
        };
        assert!(again(Outcome::Unreachable));
        for outcome in [Outcome::Broken, Outcome::Silent, Outcome::Answered(508)] {
            assert!(!again(outcome), "{outcome:?}");
        }
    }

    #[test]
    fn attempts_are_counted() {
        let budget = Budget::default();
        let mut request = Request::of(&Method::GET, &HeaderMap::new(), 2);
        assert!(request.again(Outcome::Broken, true, &budget));
        assert!(request.again(Outcome::Broken, true, &budget));
        assert!(!request.again(Outcome::Broken, true, &budget));
        let mut never = Request::of(&Method::GET, &HeaderMap::new(), 0);
        assert!(!never.again(Outcome::Unreachable, true, &budget));
    }

    #[test]
    fn retries_are_a_fifth_of_the_traffic() {
        let budget = Budget::default();
        let mut retries = 0;
        for _ in 0..1000 {
            budget.earn();
            retries += u32::from(budget.spend());
        }
        assert_eq!(retries, 10 + 1000 / 5);
        for _ in 0..10_000 {
            budget.earn();
        }
        let saved = (0..100).filter(|_| budget.spend()).count();
        assert_eq!(saved, 20);
    }
}
