//! Taking over a state of the original that somebody sends: in steps that fit into the log, and again without harm.

use std::time::Duration;

use super::{Queue, mixed_up};
use crate::queue::command::{Command, Idempotency, Original, Outcome, TakenOver};
use crate::queue::error::Error;
use crate::support::ids;

/// How many records one step holds at most.
const RECORDS: usize = 500;
/// About how many bytes of jobs.
const BYTES: usize = 1 << 20;
/// How long a state that was sent again is known to be the same.
const REMEMBERED_FOR: Duration = Duration::from_secs(24 * 3600);

impl Queue {
    /// Takes over `original`, whose text has this `hash`, into an empty queue. Sent again after it broke off, it goes on where it
    /// was; the second value tells whether anything was written now. Nothing is returned, and nothing written, if
    /// there is something else in the queue already.
    ///
    /// # Errors
    /// When the file fails; part of it may then be taken over.
    pub async fn take_over(
        &self,
        original: Original,
        hash: [u8; 32],
    ) -> Result<Option<(TakenOver, bool)>, Error> {
        let (mut all, mut changed) = (TakenOver::default(), false);
        let name = ids::hex(&hash);
        for (number, part) in parts(original).into_iter().enumerate() {
            let key = Idempotency {
                key: format!("take over\n{name}\n{number}"),
                body_hash: hash,
                expires_at: self.now().plus(REMEMBERED_FOR),
            };
            // Not remembered where nothing was done, or the same state would be refused once there is room for it.
            let command = Command::TakeOver {
                now: self.now(),
                first: number == 0,
                seed: ids::random_bytes(),
                original: part,
            };
            let known = self.remembers(key.clone()).await?;
            if number == 0 && !known && !self.is_vacant().await? {
                return Ok(None);
            }
            let applied = self.apply_keyed(command, Some(key)).await?;
            let replayed = applied.replayed;
            match applied.outcome {
                Outcome::TakenOver(Some(taken)) => {
                    changed |= !replayed && taken.jobs + taken.hosts + taken.services > 0;
                    all.add(taken);
                }
                Outcome::TakenOver(None) => return Ok(None),
                other => return Err(mixed_up(&other)),
            }
        }
        Ok(Some((all, changed)))
    }

    /// Tells whether nobody has asked anything of this queue yet.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub async fn is_vacant(&self) -> Result<bool, Error> {
        self.read(crate::queue::store::Reader::is_vacant).await
    }
}

/// Returns the same in steps, at least one.
fn parts(original: Original) -> Vec<Original> {
    let mut all = Vec::new();
    // Hosts and services come first: jobs may be theirs. Their records are short.
    let mut part = Original {
        hosts: original.hosts,
        services: original.services,
        jobs: Vec::new(),
    };
    let mut bytes = 0;
    for job in original.jobs {
        let result = job.result.as_ref();
        let outputs = result.map_or(0, |result| {
            result.stdout.bytes.len() + result.stderr.bytes.len()
        });
        let length = job.payload.as_str().len() + outputs;
        if part.jobs.len() >= RECORDS || (bytes > 0 && bytes + length > BYTES) {
            all.push(std::mem::take(&mut part));
            bytes = 0;
        }
        bytes += length;
        part.jobs.push(job);
    }
    all.push(part);
    all
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::queue::Options;
    use crate::queue::command::Envelope;

    fn original(jobs: u32) -> Original {
        let job = |number: u32| {
            serde_json::from_value(json!({
                "id": format!("job_00000000-0000-4000-8000-{number:012}"), "status": "queued",
                "createdAt": "2026-01-01T00:00:00.000Z", "updatedAt": "2026-01-01T00:00:00.000Z",
                "payload": {"kind": "shell", "command": "true"},
            }))
            .unwrap()
        };
        Original {
            jobs: (0..jobs).map(job).collect(),
            ..Original::default()
        }
    }

    #[test]
    fn steps_hold_all_of_it_in_order() {
        for (jobs, steps) in [(0, 1), (1, 1), (500, 1), (501, 2), (1700, 4)] {
            let whole = original(jobs);
            let parts = parts(whole.clone());
            assert_eq!(parts.len(), steps, "{jobs}");
            let all: Vec<_> = parts.into_iter().flat_map(|part| part.jobs).collect();
            assert_eq!(all, whole.jobs);
        }
    }

    #[tokio::test]
    async fn what_broke_off_goes_on_when_the_same_comes_again() {
        let dir = tempfile::tempdir().unwrap();
        let queue = Queue::open(Options::new(dir.path().join("queue.db"))).unwrap();
        let (whole, hash) = (original(1200), [7; 32]);
        // The first step, and then whoever took it over died.
        let first = Command::TakeOver {
            now: queue.now(),
            first: true,
            seed: [0; 16],
            original: parts(whole.clone()).remove(0),
        };
        let key = Idempotency {
            key: format!("take over\n{}\n0", ids::hex(&hash)),
            body_hash: hash,
            expires_at: queue.now().plus(REMEMBERED_FOR),
        };
        let envelope = Envelope {
            command: first,
            idempotency: Some(key),
        };
        queue.apply(envelope).await.unwrap();
        assert!(!queue.is_vacant().await.unwrap());
        let other = queue.take_over(original(1), [8; 32]).await.unwrap();
        assert_eq!(other, None, "something else is not mixed into it");
        let (taken, changed) = queue.take_over(whole.clone(), hash).await.unwrap().unwrap();
        assert_eq!((taken.jobs, taken.skipped, changed), (1200, 0, true));
        assert_eq!(queue.counts().await.unwrap().queued, 1200);
        let (taken, changed) = queue.take_over(whole, hash).await.unwrap().unwrap();
        assert_eq!((taken.jobs, changed), (1200, false));
    }
}
