//! The time that a command carries.

use super::Command;
use crate::support::clock::Timestamp;

impl Command {
    /// Returns when it is to happen.
    pub const fn time(&self) -> Timestamp {
        match self {
            Self::Submit { now, .. }
            | Self::Claim { now, .. }
            | Self::Renew { now, .. }
            | Self::Complete { now, .. }
            | Self::CompleteMany { now, .. }
            | Self::Release { now, .. }
            | Self::Cancel { now, .. }
            | Self::ExpireDue { now, .. }
            | Self::Readmit { now, .. }
            | Self::RegisterHost { now, .. }
            | Self::SetHostMode { now, .. }
            | Self::ForgetHost { now, .. }
            | Self::GiveBack { now, .. }
            | Self::SetPaused { now, .. }
            | Self::AppendLog { now, .. }
            | Self::Retry { now, .. }
            | Self::DeployService { now, .. }
            | Self::ChangeService { now, .. }
            | Self::SyncServices { now, .. }
            | Self::PlaceServices { now, .. }
            | Self::ClaimService { now, .. }
            | Self::ReportService { now, .. }
            | Self::Prune { now, .. }
            | Self::Reprieve { now } => *now,
        }
    }

    /// Sees to it that it does not happen before `earliest`.
    pub fn not_before(&mut self, earliest: Timestamp) {
        match self {
            Self::Submit { now, .. }
            | Self::Claim { now, .. }
            | Self::Renew { now, .. }
            | Self::Complete { now, .. }
            | Self::CompleteMany { now, .. }
            | Self::Release { now, .. }
            | Self::Cancel { now, .. }
            | Self::ExpireDue { now, .. }
            | Self::Readmit { now, .. }
            | Self::RegisterHost { now, .. }
            | Self::SetHostMode { now, .. }
            | Self::ForgetHost { now, .. }
            | Self::GiveBack { now, .. }
            | Self::SetPaused { now, .. }
            | Self::AppendLog { now, .. }
            | Self::Retry { now, .. }
            | Self::DeployService { now, .. }
            | Self::ChangeService { now, .. }
            | Self::SyncServices { now, .. }
            | Self::PlaceServices { now, .. }
            | Self::ClaimService { now, .. }
            | Self::ReportService { now, .. }
            | Self::Prune { now, .. }
            | Self::Reprieve { now } => *now = (*now).max(earliest),
        }
    }
}
