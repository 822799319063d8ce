//! Which members of a cluster can read a command. Coordinators are replaced one by one, so for a while there are
//! two versions of them, and what is in the log must be read by all.
//!
//! The rule for whoever adds a command: it says here with which protocol number it came to be, and that number is
//! raised ([`crate::queue::cluster::PROTOCOL`]). Until every member speaks it, the leader refuses to write
//! the command, and whatever asks for it is refused with the name of the member that has to be replaced first.

use super::Command;

impl Command {
    /// Returns the protocol number that a member must speak to read this.
    pub const fn since(&self) -> u32 {
        match self {
            Self::Submit { .. }
            | Self::Claim { .. }
            | Self::Renew { .. }
            | Self::Complete { .. }
            | Self::CompleteMany { .. }
            | Self::Release { .. }
            | Self::Cancel { .. }
            | Self::ExpireDue { .. }
            | Self::Readmit { .. }
            | Self::Reprieve { .. }
            | Self::RegisterHost { .. }
            | Self::SetHostMode { .. }
            | Self::ForgetHost { .. }
            | Self::GiveBack { .. }
            | Self::SetPaused { .. }
            | Self::AppendLog { .. }
            | Self::Retry { .. }
            | Self::DeployService { .. }
            | Self::ChangeService { .. }
            | Self::SyncServices { .. }
            | Self::PlaceServices { .. }
            | Self::ClaimService { .. }
            | Self::ReportService { .. }
            | Self::TakeOver { .. }
            | Self::Prune { .. } => 1,
            Self::ClaimOnce { .. } => 2,
        }
    }

    /// Returns what says the same, as far as that can be said, to members of an older protocol; nothing if nothing does.
    pub fn in_older_words(&self) -> Option<Self> {
        let Self::ClaimOnce {
            now,
            request,
            tokens,
            marks: _,
        } = self
        else {
            return None;
        };
        // Whose answer is lost then waits until its host's heartbeats do not name the leases.
        Some(Self::Claim {
            now: *now,
            request: request.clone(),
            tokens: tokens.clone(),
        })
    }
}
