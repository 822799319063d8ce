//! Processes that should always run somewhere: the original's shapes, with our fields beside them.

pub mod ask;
pub mod gateway;
mod hidden;
pub mod kept;
pub mod logs;
pub mod record;
pub mod report;
pub mod sync;

pub use ask::{ChangeService, DeployService};
pub use gateway::{Gateway, Gateways};
pub use hidden::HIDDEN;
pub use kept::{FailedOn, Form, Kept};
pub use logs::{ServiceLogPiece, ServiceOutput, TakenOutput, WantedLogs};
pub use record::{
    Assignment, DRAIN_MS, Phase, READY_MS, Restart, ServiceRecord, ServiceReply, ServiceStatus,
    Services, Speaks,
};
pub use report::ReportService;
pub use sync::{AssignmentReport, KeptLogs, SyncServices, SyncedServices, Want, WantedAssignment};
