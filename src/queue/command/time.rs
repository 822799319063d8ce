//! The time that a command carries.

use super::Command;
use crate::support::clock::Timestamp;

/// Finds the time in a command, to be read or changed as the command is borrowed.
macro_rules! time_in {
    ($command:expr) => {
        match $command {
            Command::Submit { now, .. }
            | Command::Claim { now, .. }
            | Command::ClaimOnce { now, .. }
            | Command::Renew { now, .. }
            | Command::Complete { now, .. }
            | Command::CompleteMany { now, .. }
            | Command::Release { now, .. }
            | Command::Cancel { now, .. }
            | Command::ExpireDue { now, .. }
            | Command::Readmit { now, .. }
            | Command::RegisterHost { now, .. }
            | Command::SetHostMode { now, .. }
            | Command::ForgetHost { now, .. }
            | Command::GiveBack { now, .. }
            | Command::SetPaused { now, .. }
            | Command::AppendLog { now, .. }
            | Command::Retry { now, .. }
            | Command::DeployService { now, .. }
            | Command::ChangeService { now, .. }
            | Command::SyncServices { now, .. }
            | Command::PlaceServices { now, .. }
            | Command::ClaimService { now, .. }
            | Command::ReportService { now, .. }
            | Command::TakeOver { now, .. }
            | Command::Prune { now, .. }
            | Command::Reprieve { now } => now,
        }
    };
}

impl Command {
    /// Returns when it is to happen.
    pub const fn time(&self) -> Timestamp {
        *time_in!(self)
    }

    /// Sees to it that it does not happen before `earliest`.
    pub fn not_before(&mut self, earliest: Timestamp) {
        let time = time_in!(self);
        *time = (*time).max(earliest);
    }
}
