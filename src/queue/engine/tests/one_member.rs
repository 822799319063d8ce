//! What the queue promises, when it writes through the log of a cluster of one.

#![allow(
    clippy::duplicate_mod,
    reason = "the same exercise on the other engine"
)]

use std::sync::LazyLock;

use super::*;
use crate::queue::cluster::{Carrier, CarryError, Kind, Member, MemberId, PROTOCOL, Role};

#[path = "again.rs"]
mod again;
#[path = "basics.rs"]
mod basics;
#[path = "hosts.rs"]
mod hosts;
#[path = "leases.rs"]
mod leases;
#[path = "pruning.rs"]
mod pruning;
#[path = "random.rs"]
mod random;
#[path = "services.rs"]
mod services;

/// Its own, so that it runs while a test waits for it to begin.
static RUNTIME: LazyLock<tokio::runtime::Runtime> = LazyLock::new(|| {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(2).enable_all().build().unwrap()
});

struct Nobody;

impl Carrier for Nobody {
    fn carry(
        &self,
        _to: MemberId,
        _at: &Member,
        _kind: Kind,
        _body: Vec<u8>,
        _within: Duration,
    ) -> futures_util::future::BoxFuture<'static, Result<Vec<u8>, CarryError>> {
        Box::pin(async { Err(CarryError::Unreachable("nobody is there".to_owned())) })
    }
}

fn open(dir: &Path) -> (Queue, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::at(Timestamp::from_millis(1_700_000_000_000)));
    let options = Options {
        clock: Arc::clone(&clock) as Arc<dyn Clock>,
        ..Options::new(dir.join("state/queue.db"))
    };
    let (opened, done) = std::sync::mpsc::channel();
    RUNTIME.spawn(async move {
        let (queue, cluster) = loop {
            match Queue::open_member(options.clone(), Arc::new(Nobody)) {
                // The one that a test just dropped is still letting go of its log.
                Err(Error::Busy { .. }) => tokio::time::sleep(Duration::from_millis(2)).await,
                opened => break opened.unwrap(),
            }
        };
        if cluster.status().role == Role::Lone {
            let me = Member {
                protocol: PROTOCOL,
                ..Member::default()
            };
            cluster.found(me).await.unwrap();
        }
        let mut watch = cluster.watch();
        let leads = watch.wait_for(|status| status.role == Role::Leader).await;
        leads.unwrap();
        opened.send(queue).unwrap();
    });
    (done.recv().unwrap(), clock)
}
