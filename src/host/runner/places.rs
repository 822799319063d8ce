//! Which slots are free, and what is at hand for the next one.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::Work;
use crate::protocol::api::LeaseName;

/// So many jobs may be at hand for each slot. The coordinator has a limit of its own.
const PER_SLOT: usize = 2;

/// The slots and what waits for them.
pub(super) struct Places {
    state: Mutex<State>,
    most: usize,
}

struct State {
    free: Vec<usize>,
    waiting: VecDeque<Waiting>,
}

/// A job that no slot has yet.
pub(super) struct Waiting {
    pub lease: LeaseName,
    pub since: Instant,
    pub work: Work,
}

impl Places {
    /// Returns `count` free slots.
    pub(super) fn new(count: usize) -> Self {
        let state = State {
            free: (0..count).rev().collect(),
            waiting: VecDeque::new(),
        };
        Self {
            state: Mutex::new(state),
            most: count * PER_SLOT,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns how many slots are free.
    pub(super) fn free(&self) -> usize {
        self.state().free.len()
    }

    /// Returns how many jobs wait.
    pub(super) fn waiting(&self) -> usize {
        self.state().waiting.len()
    }

    /// Tells whether the job waits that this lease is for.
    pub(super) fn holds(&self, lease: &LeaseName) -> bool {
        self.state().waiting.iter().any(|job| job.lease == *lease)
    }

    /// Returns how many more may wait.
    pub(super) fn room(&self) -> usize {
        self.most.saturating_sub(self.waiting())
    }

    /// Returns since when the one waits that waits longest.
    pub(super) fn oldest(&self) -> Option<Instant> {
        self.state().waiting.front().map(|first| first.since)
    }

    /// Takes a free slot.
    pub(super) fn take(&self) -> Option<usize> {
        self.state().free.pop()
    }

    /// Takes a free slot for the job, or else lets it wait for one.
    pub(super) fn take_or_wait(&self, job: Waiting) -> Option<(usize, Work)> {
        let mut state = self.state();
        match state.free.pop() {
            Some(slot) => Some((slot, job.work)),
            None => {
                state.waiting.push_back(job);
                None
            }
        }
    }

    /// Returns what the slot is to run next; without anything it is free.
    pub(super) fn next(&self, slot: usize) -> Option<Work> {
        let mut state = self.state();
        let next = state.waiting.pop_front();
        if next.is_none() {
            state.free.push(slot);
        }
        next.map(|next| next.work)
    }

    /// Takes away all that wait.
    pub(super) fn clear(&self) -> VecDeque<Waiting> {
        std::mem::take(&mut self.state().waiting)
    }
}
