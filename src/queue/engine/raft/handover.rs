//! The lead goes from one member to another on purpose. The consensus knows no such step, so it is made of two that
//! it does know: the leader of now says that it serves no more, and another one asks for votes before it misses it.

use super::receive::died;
use super::types::Raft;
use super::{Cluster, in_none};
use crate::queue::error::Error;

impl Cluster {
    /// Has this member say of itself that it does not lead, so that nobody brings it anything new, or takes that
    /// back. It goes on keeping the others from missing a leader meanwhile.
    pub fn step_back(&self, back: bool) {
        self.core().stepping_back.send_replace(back);
    }

    /// Asks the others for their votes now, whoever leads. Does nothing in one that has no vote or leads already.
    ///
    /// # Errors
    /// When it is in no cluster, or the engine has died.
    pub async fn stand(&self) -> Result<(), Error> {
        let raft = self.raft().await.ok_or_else(in_none)?;
        let stands = raft.trigger().elect().await;
        stands.map_err(|fatal| died(&fatal))
    }

    /// Has this member never ask for votes by itself again, because it is about to end. It still gives its own.
    pub async fn retire(&self) {
        if let Some(raft) = self.raft().await {
            raft.runtime_config().elect(false);
        }
    }

    async fn raft(&self) -> Option<Raft> {
        let running = self.core().running.read().await;
        running.as_ref().map(|running| running.raft.clone())
    }
}
