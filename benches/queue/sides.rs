//! The two that are compared, behind one face: callers must not notice which they drive.

use std::path::Path;
use std::time::Duration;

use skyclaw::protocol::{HostId, JobResult, Output, Payload};
use skyclaw::queue::{ClaimRequest, Claimant, NewJob, Options, Queue, Report, Submit, Verdict};

use crate::bare;

/// What each job is asked to do.
pub const PAYLOAD: &str = r#"{"kind":"shell","command":"uname -a && uptime"}"#;

/// What each job prints.
pub const PRINTED: &[u8] = b"Linux web1 6.1.0 #1 SMP x86_64 GNU/Linux\n";

/// How long a lease lasts.
pub const LEASE: Duration = Duration::from_secs(60);

/// A queue that can be measured.
pub trait Side: Clone + Send + Sync + 'static {
    /// Opens or makes the file.
    fn open(path: &Path) -> Self;
    /// Puts `count` jobs in at once.
    fn fill(&self, count: u64) -> impl Future<Output = ()> + Send;
    /// Puts one job in.
    fn submit(&self) -> impl Future<Output = ()> + Send;
    /// Takes one job for `host` and reports it done.
    fn claim_and_complete(&self, host: &str) -> impl Future<Output = ()> + Send;
}

/// The queue of this crate.
#[derive(Clone)]
pub struct Ours(pub Queue);

/// Returns a job that any host may run.
pub fn job() -> NewJob {
    NewJob::new(Payload::parse(PAYLOAD).unwrap())
}

/// Returns a claim of one job for `host`.
pub fn asks(host: &str) -> ClaimRequest {
    ClaimRequest {
        claimants: vec![Claimant::new(HostId::new(host).unwrap())],
        group: None,
        lease_for: LEASE,
    }
}

/// Returns the report of a job that went well.
pub fn went_well() -> Report {
    Report {
        verdict: Verdict::Succeeded,
        result: JobResult {
            exit_code: Some(0),
            duration_ms: 12,
            stdout: Output::of(PRINTED.to_vec(), 1024),
            ..JobResult::default()
        },
    }
}

impl Side for Ours {
    fn open(path: &Path) -> Self {
        Self(Queue::open(Options::new(path)).unwrap())
    }

    async fn fill(&self, count: u64) {
        let jobs = (0..count).map(|_| job()).collect();
        self.0
            .submit(Submit { group: None, jobs }, None)
            .await
            .unwrap();
    }

    async fn submit(&self) {
        let jobs = vec![job()];
        self.0
            .submit(Submit { group: None, jobs }, None)
            .await
            .unwrap();
    }

    async fn claim_and_complete(&self, host: &str) {
        let given = self.0.claim(asks(host)).await.unwrap().pop().unwrap();
        self.0.complete(given.lease(), went_well()).await.unwrap();
    }
}

/// A loop over the file and nothing else.
#[derive(Clone)]
pub struct Bare(bare::Writer);

impl Side for Bare {
    fn open(path: &Path) -> Self {
        // Makes the tables, so that both sides write into the very same ones.
        drop(Ours::open(path));
        Self(bare::Writer::open(path))
    }

    async fn fill(&self, count: u64) {
        self.0.insert(count).await;
    }

    async fn submit(&self) {
        self.0.insert(1).await;
    }

    async fn claim_and_complete(&self, host: &str) {
        let given = self.0.claim(host).await.unwrap();
        assert!(self.0.complete(given).await);
    }
}
