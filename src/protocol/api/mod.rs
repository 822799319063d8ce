//! What travels between a coordinator and those who talk to it: bodies of requests and answers.
//!
//! The original's shapes, with our fields beside them. A field that the original does not know is
//! left out or ignored by it, so old hosts and clients read these answers and we read theirs.
//! Times are those of the sender's clock unless a field's text says otherwise; no two clocks are compared.

pub mod claim;
pub mod error;
pub mod event;
pub mod group;
pub mod host;
pub mod job;
pub mod kind;
pub mod log;
pub mod network;
pub mod repeat;
pub mod service;
pub mod submit;

pub use claim::{
    Claim, ClaimedMany, ClaimedOne, Complete, CompleteMany, CompleteOne, CompleteResult,
    CompletedMany, LeaseName, LeaseState, LeaseWord, LeasedJob, Outcome, Release, ReleasedMany,
};
pub use error::{Code, ErrorBody};
pub use event::Event;
pub use group::{GroupReply, Groups};
pub use host::{
    Facts, Heartbeat, HeartbeatReply, HostMode, HostRecord, HostReply, HostState, Hosts, Instance,
    OpenclawProfile, Register, Registered,
};
pub use job::{
    CancelJobs, CancelledJobs, Explained, Health, HostVerdict, JobAttempts, JobPage, JobReply,
    JobWire, QueueState, Retried, RetryJobs, Standing, State,
};
pub use kind::JobKind;
pub use log::{AppendLogs, AppendedLogs, LogChunk, LogPage, LogPiece, LogState, LogWord, Stream};
pub use network::{Imported, Join, PeerRecord, PeerRole, Peers, RemovePeer};
pub use service::{
    Assignment, AssignmentReport, ChangeService, DRAIN_MS, DeployService, Gateway, Gateways,
    HIDDEN, KeptLogs, Phase, READY_MS, ReportService, Restart, ServiceLogPiece, ServiceOutput,
    ServiceRecord, ServiceReply, ServiceStatus, Services, Speaks, SyncServices, SyncedServices,
    TakenOutput, Want, WantedAssignment, WantedLogs,
};
pub use submit::{GroupRequest, SubmitJob, SubmitMany, SubmittedMany};
