//! openraft's own exercise for stores.

use openraft::testing::{StoreBuilder, Suite};

use super::super::fault::Fault;
use super::super::log::Log;
use super::super::state::{OwnCluster, State};
use super::super::types::{StorageError, Types};
use crate::queue::engine::local::Local;
use crate::queue::engine::now::Now;
use crate::queue::store::Journal;
use crate::support::clock::SystemClock;
use std::sync::Arc;

struct Stores {
    inline: bool,
}

impl StoreBuilder<Types, Log, State, tempfile::TempDir> for Stores {
    async fn build(&self) -> Result<(tempfile::TempDir, Log, State), StorageError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("queue.db");
        let fault = Fault::new();
        let local = Arc::new(Local::open(&path, false, self.inline).unwrap());
        let journal = Journal::open(&path).unwrap();
        let log = Log::start(journal, &path, self.inline, fault.clone()).unwrap();
        let state = State {
            local,
            now: Arc::new(Now::new(Arc::new(SystemClock))),
            cluster: OwnCluster::default(),
            fault,
        };
        Ok((dir, log, state))
    }
}

#[test]
fn our_stores_pass_the_exercise_of_openraft() {
    Suite::test_all(Stores { inline: false }).unwrap();
}

#[test]
fn our_stores_pass_it_without_threads() {
    Suite::test_all(Stores { inline: true }).unwrap();
}
