//! Which nonces were used lately. What comes a second time is a replay.

use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::proof::Nonce;

/// How many are remembered. A proof does not depend on it: this side's own nonce is always new.
const MOST: usize = 4096;

/// Remembers nonces: this member's own while they are in use, and those of others.
#[derive(Debug, Default)]
pub struct Nonces {
    own: Mutex<HashSet<Nonce>>,
    others: Mutex<(HashSet<Nonce>, VecDeque<Nonce>)>,
}

/// A nonce of this side, which is its own until this is dropped.
pub struct Drawn<'n> {
    nonces: &'n Nonces,
    /// The nonce.
    pub nonce: Nonce,
}

impl Drop for Drawn<'_> {
    fn drop(&mut self) {
        self.nonces.own().remove(&self.nonce);
        // One that comes back later is a reflection.
        self.nonces.note(self.nonce);
    }
}

impl Nonces {
    fn own(&self) -> MutexGuard<'_, HashSet<Nonce>> {
        self.own.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Draws one for this side.
    pub fn draw(&self) -> Drawn<'_> {
        let nonce = Nonce::random();
        self.own().insert(nonce);
        Drawn {
            nonces: self,
            nonce,
        }
    }

    /// Tells whether this process drew it and uses it now.
    pub fn is_own(&self, nonce: Nonce) -> bool {
        self.own().contains(&nonce)
    }

    /// Notes one that came. Tells whether it was new.
    pub fn note(&self, nonce: Nonce) -> bool {
        if self.is_own(nonce) {
            return false;
        }
        let mut known = self.others.lock().unwrap_or_else(PoisonError::into_inner);
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
        assert_eq!(nonces.others.lock().unwrap().0.len(), MOST);
    }

    #[test]
    fn what_comes_from_others_pushes_out_nothing_of_ones_own() {
        let nonces = Nonces::default();
        let drawn = nonces.draw();
        let own = drawn.nonce;
        let more: Vec<_> = (0..=MOST).map(|_| nonces.draw()).collect();
        for _ in 0..=MOST {
            nonces.note(Nonce::random());
        }
        assert!(nonces.is_own(own));
        assert!(!nonces.note(own), "a reflection");
        assert!(!nonces.is_own(Nonce::random()));
        drop(more);
        drop(drawn);
        assert!(!nonces.is_own(own), "it is used no more");
        assert!(!nonces.note(own), "still a reflection");
    }
}
