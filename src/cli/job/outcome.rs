//! What a job's end means for the exit code of whoever waited for it.

use crate::cli::exit::Exit;
use crate::protocol::{JobRecord, JobStatus, Reason};

/// Returns the exit code that stands for the job: its own where it ran to an end, 128 + signal for a
/// death by signal, 124 for its limit, 1 for everything else that kept it from ending well.
pub fn exit_of(job: &JobRecord) -> Exit {
    match job.status {
        JobStatus::Completed => Exit::Success,
        // Nobody asks before the end, except when the wait is over.
        JobStatus::Queued | JobStatus::Leased => Exit::TimedOut,
        JobStatus::Failed if job.reason == Some(Reason::Timeout) => Exit::TimedOut,
        JobStatus::Failed => {
            let own = job.result.as_ref().and_then(|result| {
                let by_signal = result.signal.and_then(|signal| 128_i32.checked_add(signal));
                u8::try_from(result.exit_code.or(by_signal)?).ok()
            });
            match own {
                Some(code) if code != 0 => Exit::Remote(code),
                Some(_) | None => Exit::Failed,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::JobResult;

    fn job(status: &str, reason: &str, code: Option<i32>, signal: Option<i32>) -> JobRecord {
        let mut job: JobRecord = serde_json::from_str(&format!(
            r#"{{"id":"job_00000000-0000-4000-8000-000000000000","status":"{status}",
            "createdAt":"2026-01-01T00:00:00.000Z","updatedAt":"2026-01-01T00:00:00.000Z","attempts":1,
            "requirement":{{"requiredCapabilities":[]}},"payload":{{}},"priority":0}}"#
        ))
        .unwrap();
        job.reason = Reason::ALL.into_iter().find(|one| one.as_str() == reason);
        job.result = Some(JobResult {
            exit_code: code,
            signal,
            ..JobResult::default()
        });
        job
    }

    #[test]
    fn a_job_passes_its_code_on() {
        let cases = [
            (job("completed", "", Some(0), None), 0),
            (job("failed", "exit", Some(3), None), 3),
            (job("failed", "exit", None, Some(9)), 137),
            (job("failed", "dead", Some(7), None), 7),
            (job("failed", "timeout", None, Some(15)), 124),
            (job("failed", "lost", None, None), 1),
            (job("failed", "exit", Some(0), None), 1),
            (job("failed", "exit", Some(3000), None), 1),
            (job("leased", "", None, None), 124),
        ];
        for (job, code) in cases {
            assert_eq!(exit_of(&job).code(), code, "{job:?}");
        }
    }
}
