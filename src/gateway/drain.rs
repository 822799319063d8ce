//! The end of a gateway: who asks hears at once that it goes, new requests are refused a little later, open ones get
//! their time.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use tokio::sync::{Notify, watch};

/// How far the end is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Phase {
    /// It serves.
    #[default]
    Serving,
    /// It says that it goes and still serves.
    Leaving,
    /// It takes nothing new.
    Refusing,
    /// Whatever is open is cut off.
    Over,
}

/// Where the end is known and open requests are counted.
#[derive(Debug)]
pub struct Drain {
    phase: watch::Sender<Phase>,
    /// The same for every request, which must not wait for a lock.
    at: AtomicU8,
    open: AtomicU64,
    none_open: Notify,
}

impl Default for Drain {
    fn default() -> Self {
        Self {
            phase: watch::Sender::new(Phase::Serving),
            at: AtomicU8::new(0),
            open: AtomicU64::new(0),
            none_open: Notify::new(),
        }
    }
}

impl Drain {
    /// Returns how far the end is.
    pub fn phase(&self) -> Phase {
        match self.at.load(Ordering::Acquire) {
            0 => Phase::Serving,
            1 => Phase::Leaving,
            2 => Phase::Refusing,
            _ => Phase::Over,
        }
    }

    /// Goes on to `phase`.
    pub fn enter(&self, phase: Phase) {
        self.at.store(phase as u8, Ordering::Release);
        self.phase.send_replace(phase);
    }

    /// Waits until the end is at least as far as `phase`.
    pub async fn reached(&self, phase: Phase) {
        let mut phases = self.phase.subscribe();
        if phases.wait_for(|now| *now >= phase).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Returns how many requests are open.
    pub fn open(&self) -> u64 {
        self.open.load(Ordering::Relaxed)
    }

    pub(super) fn begun(&self) {
        self.open.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn ended(&self) {
        if self.open.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.none_open.notify_waiters();
        }
    }

    /// Waits until no request is open.
    pub async fn all_ended(&self) {
        loop {
            let told = self.none_open.notified();
            if self.open.load(Ordering::Acquire) == 0 {
                return;
            }
            told.await;
        }
    }
}
