//! Which nonces were used lately. What comes a second time is a replay.

use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, PoisonError};

use super::proof::Nonce;

/// How many are remembered. A proof does not depend on it: this side's own nonce is always new.
const MOST: usize = 4096;

/// Remembers nonces: this member's own, and those of others, which cannot push the own ones out.
#[derive(Debug, Default)]
pub struct Nonces {
    own: Lately,
    others: Lately,
}

impl Nonces {
    /// Draws one for this side.
    pub fn draw(&self) -> Nonce {
        let nonce = Nonce::random();
        self.own.note(nonce);
        nonce
    }

    /// Tells whether this process drew it.
    pub fn is_own(&self, nonce: Nonce) -> bool {
        self.own.has(nonce)
    }

    /// Notes one that came. Tells whether it was new; an own one is a reflection.
    pub fn note(&self, nonce: Nonce) -> bool {
        !self.is_own(nonce) && self.others.note(nonce)
    }
}

#[derive(Debug, Default)]
struct Lately(Mutex<(HashSet<Nonce>, VecDeque<Nonce>)>);

impl Lately {
    fn has(&self, nonce: Nonce) -> bool {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.0.contains(&nonce)
    }

    fn note(&self, nonce: Nonce) -> bool {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (known, order) = &mut *known;
        if !known.insert(nonce) {
            return false;
        }
        order.push_back(nonce);
        if order.len() > MOST
            && let Some(oldest) = order.pop_front()
        {
            known.remove(&oldest);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_time_is_noticed_and_memory_ends() {
        let nonces = Nonces::default();
        let first = Nonce::random();
        assert!(nonces.note(first));
        assert!(!nonces.note(first));
        for _ in 0..MOST {
            assert!(nonces.note(Nonce::random()));
        }
        assert!(nonces.note(first), "forgotten by now");
        assert_eq!(nonces.others.0.lock().unwrap().0.len(), MOST);
    }

    #[test]
    fn what_comes_from_others_pushes_out_nothing_of_ones_own() {
        let nonces = Nonces::default();
        let own = nonces.draw();
        for _ in 0..=MOST {
            nonces.note(Nonce::random());
        }
        assert!(nonces.is_own(own));
        assert!(!nonces.note(own), "a reflection");
        assert!(!nonces.is_own(Nonce::random()));
    }
}
