//! Bodies of requests, and what is read of the answers: no more than the load needs.

use serde::Deserialize;

/// A job that costs the host nothing.
pub const TRUE: &str = r#"{"payload":{"kind":"shell","command":"true"},"requirement":{"requiredCapabilities":["shell"]}}"#;

/// What each job prints.
const PRINTED: &str = r"Linux web1 6.1.0 #1 SMP x86_64 GNU/Linux\n";

/// A lease as the answer to a claim has it.
#[derive(Deserialize)]
pub struct Lease<'a> {
    /// The job.
    pub id: &'a str,
    attempts: u16,
    #[serde(rename = "leaseToken")]
    token: &'a str,
}

#[derive(Deserialize)]
struct One<'a> {
    #[serde(borrow)]
    job: Option<Lease<'a>>,
}

#[derive(Deserialize)]
struct Many<'a> {
    #[serde(borrow)]
    jobs: Vec<Lease<'a>>,
}

/// How many jobs stand where.
#[derive(Deserialize, Debug, Clone, Copy, PartialEq, Eq, Default)]
#[serde(default)]
pub struct Counts {
    /// Waiting.
    pub queued: u64,
    /// Held by a host.
    pub leased: u64,
    /// Ended well.
    pub completed: u64,
    /// Ended badly.
    pub failed: u64,
}

#[derive(Deserialize)]
struct Queue {
    counts: Counts,
}

/// Returns the body of a registration.
pub fn register(host: &str, parallel: usize) -> String {
    format!(
        r#"{{"name":"{host}","hostId":"{host}","capabilities":["shell"],"maxParallel":{parallel}}}"#
    )
}

/// Returns a batch of `count` jobs.
pub fn submit_many(job: &str, count: usize) -> String {
    let jobs = vec![job; count].join(",");
    format!(r#"{{"jobs":[{jobs}]}}"#)
}

/// Reads the answer to a claim of one job.
pub fn claimed(answer: &[u8]) -> Option<Lease<'_>> {
    serde_json::from_slice::<One<'_>>(answer).unwrap().job
}

/// Reads the answer to a claim of several jobs.
pub fn claimed_many(answer: &[u8]) -> Vec<Lease<'_>> {
    serde_json::from_slice::<Many<'_>>(answer).unwrap().jobs
}

/// Reads the counts of the queue.
pub fn counts(answer: &[u8]) -> Counts {
    serde_json::from_slice::<Queue>(answer).unwrap().counts
}

impl Lease<'_> {
    /// Returns the report that the job went well, for its own route.
    pub fn complete(&self, host: &str) -> String {
        format!(
            r#"{{"hostId":"{host}","success":true,"attempt":{},"leaseToken":"{}",{}}}"#,
            self.attempts,
            self.token,
            result()
        )
    }

    /// Returns the same as one of many.
    pub fn complete_one(&self) -> String {
        format!(
            r#"{{"jobId":"{}","attempt":{},"leaseToken":"{}","success":true,"result":{{{}}}}}"#,
            self.id,
            self.attempts,
            self.token,
            result()
        )
    }
}

/// Returns the report of many.
pub fn complete_many(leases: &[Lease<'_>]) -> String {
    let all: Vec<_> = leases.iter().map(Lease::complete_one).collect();
    format!(r#"{{"completions":[{}]}}"#, all.join(","))
}

fn result() -> String {
    format!(r#""durationMs":12,"exitCode":0,"stdout":"{PRINTED}","stderr":"""#)
}
