//! What a run tells while it goes on.

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::fleet::report::{TaskReport, Verdict};
use crate::fleet::supervise::Stream;

/// Events that may wait for the one who shows them.
const EVENT_BACKLOG: usize = 256;

/// Something to show, as it happens.
#[derive(Debug)]
pub enum RunEvent {
    /// A host took a task.
    Started {
        /// The unit of the plan.
        unit: usize,
        /// The position of the host in the plan.
        host: usize,
    },
    /// It printed something.
    Output {
        /// The unit of the plan.
        unit: usize,
        /// Which stream.
        stream: Stream,
        /// What.
        bytes: Bytes,
    },
    /// A task is over, or never ran.
    Ended {
        /// The unit of the plan.
        unit: usize,
        /// What came of it.
        report: Box<TaskReport>,
    },
    /// A task has been waiting for its host for a while.
    Waiting {
        /// Why, as far as the coordinator knows.
        why: String,
    },
    /// A host that tasks could have gone to cannot be used.
    HostDown {
        /// The position of the host in the plan.
        host: usize,
        /// Why.
        verdict: Box<Verdict>,
    },
    /// A host that should be as it was may not be, whatever came of its tasks.
    NotCleaned {
        /// The position of the host in the plan.
        host: usize,
        /// Why.
        verdict: Box<Verdict>,
    },
}

/// Returns the channel on which a run tells what happens.
pub fn channel() -> (mpsc::Sender<RunEvent>, mpsc::Receiver<RunEvent>) {
    mpsc::channel(EVENT_BACKLOG)
}

/// Tells of a task that ended before, as if it ran now: all but its end.
pub async fn tell_known(
    events: &mpsc::Sender<RunEvent>,
    unit: usize,
    host: Option<usize>,
    report: &TaskReport,
    live: bool,
) {
    let Some(host) = host else {
        return;
    };
    // Nobody listens any more only when the user left at once.
    let _ = events.send(RunEvent::Started { unit, host }).await;
    let streams = [
        (Stream::Stdout, &report.stdout),
        (Stream::Stderr, &report.stderr),
    ];
    for (stream, kept) in streams.into_iter().filter(|_| live) {
        let bytes = Bytes::from(kept.read().unwrap_or_default());
        if !bytes.is_empty() {
            let _ = events
                .send(RunEvent::Output {
                    unit,
                    stream,
                    bytes,
                })
                .await;
        }
    }
}
