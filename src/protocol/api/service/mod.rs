//! Processes that should always run somewhere: the original's shapes, with our fields beside them.

pub mod ask;
pub mod gateway;
pub mod logs;
pub mod record;
pub mod report;
pub mod sync;

pub use ask::{ChangeService, DeployService};
pub use gateway::{Gateway, Gateways};
pub use logs::{ServiceLogPiece, ServiceOutput, TakenOutput, WantedLogs};
pub use record::{
    Assignment, DRAIN_MS, HIDDEN, Phase, READY_MS, Restart, ServiceRecord, ServiceReply,
    ServiceStatus, Services,
};
pub use report::ReportService;
pub use sync::{AssignmentReport, SyncServices, SyncedServices, Want, WantedAssignment};
