//! Makes sure that this member still leads: one round of questions for all who ask at the same time.

use std::time::Duration;

use openraft::error::{CheckIsLeaderError, RaftError};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::receive::died;
use super::types::Raft;
use crate::queue::error::Error;

/// How long answers of a majority are waited for.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// How long to wait before asking again.
const PAUSE: Duration = Duration::from_millis(50);

/// Somebody who asks.
pub type Asking = oneshot::Sender<Result<(), Error>>;

/// Answers until nobody is left who could ask.
pub async fn run(raft: Raft, mut asking: mpsc::UnboundedReceiver<Asking>) {
    while let Some(first) = asking.recv().await {
        // Whoever asks from here on has to wait for the next round: this one may begin too early for them.
        let mut waiting = vec![first];
        while let Ok(more) = asking.try_recv() {
            waiting.push(more);
        }
        let answer = round(&raft).await;
        for one in waiting {
            let _ = one.send(answer.clone());
        }
    }
}

/// Asks a majority, until it answers or patience ends.
///
/// # Errors
/// When this is not the leader or there is no majority.
pub async fn round(raft: &Raft) -> Result<(), Error> {
    let until = Instant::now() + PATIENCE;
    loop {
        let confirmed = tokio::time::timeout_at(until, raft.ensure_linearizable()).await;
        let missing = match confirmed {
            Ok(Ok(_)) => return Ok(()),
            Ok(Err(RaftError::Fatal(fatal))) => return Err(died(&fatal)),
            Ok(Err(RaftError::APIError(CheckIsLeaderError::ForwardToLeader(to)))) => {
                return Err(Error::NotLeader {
                    leader: to.leader_node.map(Box::new),
                });
            }
            Ok(Err(RaftError::APIError(CheckIsLeaderError::QuorumNotEnough(missing)))) => {
                format!("only {} answered", missing.got.len())
            }
            Err(_) => "what was agreed on is not applied yet".to_owned(),
        };
        if Instant::now() + PAUSE >= until {
            return Err(Error::NoQuorum(missing));
        }
        tokio::time::sleep(PAUSE).await;
    }
}
