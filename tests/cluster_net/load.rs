//! Clients that ask for jobs all the while, and remember each one that was acknowledged.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use skyclaw::client::Client;
use skyclaw::protocol::api::SubmitJob;
use skyclaw::protocol::{JobId, Payload, Requirement};
use tokio::task::JoinHandle;

use crate::common::holds_within;
use crate::site::{SOON, Site};

/// How many ask at once.
const CLIENTS: usize = 4;
/// Between two jobs of one client: the hosts must keep up.
const PAUSE: Duration = Duration::from_millis(150);

/// What was acknowledged: each job, and the file its runs write to.
pub struct Load {
    acknowledged: Arc<Mutex<HashMap<JobId, String>>>,
    refused: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<()>>,
}

impl Load {
    /// Begins to submit to any member that takes it. Each job says when it begins and when it ends.
    pub fn start(site: &Site) -> Self {
        let mut load = Self {
            acknowledged: Arc::default(),
            refused: Arc::default(),
            stop: Arc::default(),
            tasks: Vec::new(),
        };
        for number in 0..CLIENTS {
            // Each prefers another member.
            let mut order: Vec<usize> = (0..site.nodes.len()).collect();
            order.rotate_left(number % site.nodes.len());
            let client = site.client_of(&order);
            let log = site.file("runs").display().to_string();
            let known = Arc::clone(&load.acknowledged);
            let (refused, stop) = (Arc::clone(&load.refused), Arc::clone(&load.stop));
            let task = async move {
                for count in 0.. {
                    if stop.load(Ordering::SeqCst) {
                        return;
                    }
                    let tag = format!("{number}-{count}");
                    submit(&client, &log, tag, &known, &refused).await;
                    tokio::time::sleep(PAUSE).await;
                }
            };
            load.tasks.push(site.runtime.spawn(task));
        }
        load
    }

    /// Returns how many were acknowledged.
    pub fn count(&self) -> usize {
        self.acknowledged.lock().unwrap().len()
    }

    /// Waits until so many more are acknowledged. Returns how long that took.
    #[track_caller]
    pub fn more(&self, count: usize) -> Duration {
        let (begun, wanted) = (Instant::now(), self.count() + count);
        let came = holds_within(SOON, || self.count() >= wanted);
        assert!(came, "writes stand still at {} of {wanted}", self.count());
        begun.elapsed()
    }

    /// Stops, and returns what was acknowledged: jobs and the tags of their runs.
    pub fn stop(self, site: &Site) -> HashMap<JobId, String> {
        self.stop.store(true, Ordering::SeqCst);
        for task in self.tasks {
            site.block_on(task).unwrap();
        }
        let refused = self.refused.load(Ordering::SeqCst);
        let acknowledged = self.acknowledged.lock().unwrap().clone();
        eprintln!(
            "{} jobs acknowledged, {refused} refused",
            acknowledged.len()
        );
        acknowledged
    }
}

async fn submit(
    client: &Client,
    log: &str,
    tag: String,
    known: &Mutex<HashMap<JobId, String>>,
    refused: &AtomicU64,
) {
    // One line each, appended at once: several may write at the same time.
    let script = format!(
        "echo {tag} $$ begin $(date +%s%N) >>{log}; sleep 0.05; echo {tag} $$ end $(date +%s%N) >>{log}"
    );
    let payload = serde_json::json!({ "kind": "shell", "command": "sh", "args": ["-c", script] });
    let job = SubmitJob {
        payload: Some(Payload::of(&payload).unwrap()),
        requirement: Some(Requirement {
            required_capabilities: vec!["shell".to_owned()],
            ..Requirement::default()
        }),
        // Deaths of hosts and leases that run out are what is tested.
        max_attempts: Some(20),
        ..SubmitJob::default()
    };
    match client.submit(&job, None).await {
        Ok(job) => {
            let before = known.lock().unwrap().insert(job.id, tag);
            assert!(before.is_none(), "one id for two jobs");
        }
        // Not acknowledged: it may be there or not.
        Err(_) => drop(refused.fetch_add(1, Ordering::SeqCst)),
    }
}
