//! Which nonces were used lately. What comes a second time is a replay.

use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, PoisonError};

use super::proof::Nonce;

/// How many are remembered. A proof does not depend on it: this side's own nonce is always new.
const MOST: usize = 4096;

/// Remembers nonces, this member's own and those of others.
#[derive(Debug, Default)]
pub struct Nonces(Mutex<(HashSet<Nonce>, VecDeque<Nonce>)>);

impl Nonces {
    /// Notes one. Tells whether it was new.
    pub fn note(&self, nonce: Nonce) -> bool {
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
        assert_eq!(nonces.0.lock().unwrap().0.len(), MOST);
    }
}
