//! Which connections to which member are open, so that all to one can be cut off at once.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::task::AbortHandle;

use crate::queue::cluster::MemberId;

/// All open connections.
#[derive(Debug, Default)]
pub struct Lives(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    /// How many there ever were.
    count: u64,
    open: HashMap<u64, One>,
}

#[derive(Debug)]
struct One {
    to: MemberId,
    task: AbortHandle,
    cut: Arc<AtomicBool>,
}

impl Lives {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Cuts off all to `member`, and whatever is under way on them.
    pub fn cut(&self, member: MemberId) {
        for one in self.known().open.values() {
            if one.to == member {
                // First: what ends by it must not look whole.
                one.cut.store(true, Ordering::Release);
                one.task.abort();
            }
        }
    }
}

/// One connection, known while this value lives and cut off with it.
#[derive(Debug)]
pub struct Live {
    lives: Arc<Lives>,
    number: u64,
    task: AbortHandle,
    cut: Arc<AtomicBool>,
}

impl Live {
    /// Makes the connection that `task` drives known.
    pub fn enter(lives: Arc<Lives>, to: MemberId, task: AbortHandle) -> Self {
        let cut = Arc::new(AtomicBool::new(false));
        let number = {
            let mut known = lives.known();
            known.count += 1;
            let number = known.count;
            let one = One {
                to,
                task: task.clone(),
                cut: Arc::clone(&cut),
            };
            known.open.insert(number, one);
            number
        };
        Self {
            lives,
            number,
            task,
            cut,
        }
    }

    /// Tells whether it was cut off. A body whose connection is gone ends like a whole one.
    pub fn was_cut(&self) -> bool {
        self.cut.load(Ordering::Acquire)
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.task.abort();
        self.lives.known().open.remove(&self.number);
    }
}
