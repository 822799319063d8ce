//! Getting work, holding it, and handing in what came of it.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::protocol::{
    AttemptNo, GroupId, HostId, JobId, JobResult, JobStatus, LeaseToken, Payload, Reason,
    Requirement,
};
use crate::support::clock::Timestamp;

/// `POST /v1/hosts/:id/claim`. Empty, it is the original's: one job or none, at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Claim {
    /// How many jobs the host takes now; the answer is then [`ClaimedMany`]. Zero waits only to be
    /// told to send a heartbeat.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<u16>,
    /// How long the answer may take if there is no work, in milliseconds; at most 30 000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait_ms: Option<u64>,
}

/// A job that the asking host may run now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct LeasedJob {
    /// Its id.
    pub id: JobId,
    /// Always `leased`.
    pub status: JobStatus,
    /// When it was submitted.
    pub created_at: Timestamp,
    /// When the lease was given, by the coordinator's clock.
    pub updated_at: Timestamp,
    /// Which try this is, under the original's name.
    pub attempts: AttemptNo,
    /// Who may run it.
    pub requirement: Requirement,
    /// What to run.
    #[schema(value_type = super::JobKind)]
    pub payload: Payload,
    /// Who asked for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub submitted_by: Option<String>,
    /// The group it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<GroupId>,
    /// How long it may run, in milliseconds, if the job says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// The asking host.
    pub assigned_host_id: HostId,
    /// When the lease runs out, by the coordinator's clock: for people. Holders count [`Self::lease_ms`].
    pub lease_expires_at: Timestamp,
    /// What to show with everything about this attempt. The original gives none: [`LeaseToken::NONE`].
    #[serde(default = "no_token")]
    pub lease_token: LeaseToken,
    /// How long the lease lasts, in milliseconds. The coordinator counts from when it gave the lease, which with
    /// [`Claim::wait_ms`] may be long after the claim came. A holder, who cannot know when that was, counts
    /// from when it *sent* the claim, which is never too late, so it should not wait for most of a lease:
    /// the host of this program waits half of one at most. The original does not say: zero.
    #[serde(default)]
    pub lease_ms: u64,
    /// Were its holder lost now, the job would have failed. So whoever cannot begin it gives it back.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub last_try: bool,
}

const fn no_token() -> LeaseToken {
    LeaseToken::NONE
}

/// The answer to a claim without `max`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct ClaimedOne {
    /// The job, or null.
    pub job: Option<LeasedJob>,
    /// There may be work, but the queue or the host is paused.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub paused: bool,
}

/// The answer to a claim with `max`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct ClaimedMany {
    /// The jobs, at most `max`.
    pub jobs: Vec<LeasedJob>,
    /// There may be work, but the queue or the host is paused.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub paused: bool,
    /// Something about the host's leases changed (a cancel): it should send a heartbeat at once.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub heartbeat: bool,
}

/// Which attempt a holder speaks of, and its proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct LeaseName {
    /// The job.
    pub job_id: JobId,
    /// Which try.
    pub attempt: AttemptNo,
    /// The token that the claim gave.
    pub lease_token: LeaseToken,
}

/// Where a lease stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum LeaseWord {
    /// Go on.
    Held,
    /// End it and report; the lease is not prolonged any more.
    Cancel,
    /// It is not yours, or no longer: stop, and drop its result.
    Lost,
}

/// The answer about one lease in a heartbeat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct LeaseState {
    /// The job.
    pub job_id: JobId,
    /// Which try.
    pub attempt: AttemptNo,
    /// Where it stands.
    pub state: LeaseWord,
    /// How long it lasts from when the heartbeat was *sent*, in milliseconds; zero if lost.
    #[serde(default)]
    pub lease_ms: u64,
    /// How long the job may tidy up if it is cancelled, in milliseconds; absent leaves that to the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grace_ms: Option<u64>,
    /// What the person said who cancelled it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// `POST /v1/jobs/:id/complete`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Complete {
    /// Who ran it.
    pub host_id: HostId,
    /// Good or bad. This counts, not the exit code.
    pub success: bool,
    /// Which try. Hosts of the original know none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<AttemptNo>,
    /// The token that the claim gave. Hosts of the original know none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease_token: Option<LeaseToken>,
    /// Why it failed; `exit` if it failed and nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// What came of it.
    #[serde(flatten)]
    pub result: JobResult,
}

/// One of many in [`CompleteMany`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CompleteOne {
    /// Which lease.
    #[serde(flatten)]
    pub lease: LeaseName,
    /// Good or bad.
    pub success: bool,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// What came of it.
    pub result: JobResult,
}

/// `POST /v1/hosts/:id/complete`: each stands alone; one that is lost does not hurt the others.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct CompleteMany {
    /// The reports; at most 1 000.
    pub completions: Vec<CompleteOne>,
    /// How many jobs the host takes next, so that it need not ask for them by itself. Nothing is waited for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim: Option<u16>,
    /// How many more it would have at hand for when those have ended, because its jobs are short. They are given only
    /// while many jobs wait and no host does, and the sender gives back what it does not begin soon. Goes with
    /// [`Self::claim`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ahead: Option<u16>,
}

/// What a completion or a release led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The job never changes again.
    Ended,
    /// It will run again.
    Requeued,
    /// The sender does not hold it; its result was put aside.
    LeaseLost,
}

/// The answer about one completion or release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CompleteResult {
    /// The job.
    pub job_id: JobId,
    /// What it led to.
    pub outcome: Outcome,
    /// Where the job stands now, if it has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<JobStatus>,
    /// Why it failed, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
}

/// The answer to [`CompleteMany`], in the order asked.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct CompletedMany {
    /// One for each.
    pub results: Vec<CompleteResult>,
    /// What was there of the jobs asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claimed: Option<ClaimedMany>,
}

/// `POST /v1/hosts/:id/release`: jobs given back unharmed, such as those a stopping host has not begun.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Release {
    /// Which.
    pub leases: Vec<LeaseName>,
    /// How long nobody should take them, in milliseconds.
    #[serde(default)]
    pub delay_ms: u64,
}

/// The answer to [`Release`], in the order asked.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct ReleasedMany {
    /// One for each.
    pub results: Vec<CompleteResult>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_hosts_completion_is_read() {
        let text = r#"{"hostId":"lab-1","success":true,"durationMs":12,"exitCode":0,"stdout":"up\n","stderr":""}"#;
        let done: Complete = serde_json::from_str(text).unwrap();
        assert_eq!(done.result.exit_code, Some(0));
        assert_eq!((done.attempt, done.lease_token), (None, None));
        assert_eq!(done.result.stdout.bytes, b"up\n");
    }

    #[test]
    fn an_old_coordinators_job_is_read() {
        let text = r#"{"job":{"id":"job_0192f0c0-0000-4000-8000-000000000000","status":"leased","version":3,
            "createdAt":"2026-01-01T00:00:00.000Z","updatedAt":"2026-01-01T00:00:00.000Z","updatedBy":"node_1",
            "attempts":1,"requirement":{"requiredCapabilities":["shell"]},"payload":{"kind":"shell","command":"true"},
            "assignedHostId":"lab-1","leaseExpiresAt":"2026-01-01T00:01:00.000Z"}}"#;
        let job = serde_json::from_str::<ClaimedOne>(text)
            .unwrap()
            .job
            .unwrap();
        assert_eq!((job.lease_token, job.lease_ms), (LeaseToken::NONE, 0));
    }

    #[test]
    fn an_old_hosts_claim_is_empty_and_gets_a_null() {
        assert_eq!(
            serde_json::from_str::<Claim>("{}").unwrap(),
            Claim::default()
        );
        let nothing = serde_json::to_string(&ClaimedOne::default()).unwrap();
        assert_eq!(nothing, r#"{"job":null}"#);
    }
}
