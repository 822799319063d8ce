//! Puts commands into the log: whatever waits becomes one entry.
//!
//! While one entry waits for the disks of a majority, the next commands pile up and share the next one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use openraft::error::ClientWriteError;
use openraft::raft::ClientWriteResponse;
use tokio::sync::{mpsc, watch};

use super::format::{self, Builder, LONGEST};
use super::types::{Answers, Batch, Raft, Types};
use super::{MemberId, Role, Status};
use crate::protocol::Invalid;
use crate::queue::engine::local::{Posted, Waiting};
use crate::queue::engine::now::Now;
use crate::queue::error::Error;

/// How many entries are on their way at once at most.
const IN_FLIGHT: usize = 3;

/// Another entry follows one that is on its way only if this many commands wait. What waits grows together,
/// and few large entries cost the members less than many small ones: on two cores, one at a time took
/// 1.4 times as many commands of 64 callers as three.
const MANY: usize = format::MOST_COMMANDS / 2;

/// How long after leadership was lost an entry may still come to pass before its callers are told that
/// nobody knows.
const GRACE: Duration = Duration::from_millis(500);

/// What every member that ever was can read.
const FIRST: u32 = 1;

type Written = Result<ClientWriteResponse<Types>, ClientWriteError<MemberId, super::Member>>;

/// An entry that is on its way, and who waits for what.
struct Entry {
    callers: Vec<Waiting>,
    came: Result<Written, Error>,
    begun: Arc<AtomicBool>,
}

/// What puts commands into the log.
pub struct Proposer {
    /// The engine.
    pub raft: Raft,
    /// Never earlier than what was applied.
    pub now: Arc<Now>,
    /// Where this member stands.
    pub status: watch::Receiver<Status>,
    /// Commands that belong together and were taken, but did not fit into the last entry.
    pub held: Option<Posted>,
}

impl Proposer {
    /// Works until nobody is left who could send a command.
    pub async fn run(mut self, mut posted: mpsc::UnboundedReceiver<Posted>) {
        let mut flying: FuturesUnordered<BoxFuture<'static, Entry>> = FuturesUnordered::new();
        let mut is_open = true;
        while is_open || !flying.is_empty() || self.held.is_some() {
            let has_room = flying.is_empty() || (flying.len() < IN_FLIGHT && posted.len() >= MANY);
            if has_room && let Some(first) = self.held.take() {
                flying.extend(self.entry(first, &mut posted).await);
                continue;
            }
            tokio::select! {
                Some(entry) = flying.next() => self.answer(entry),
                next = posted.recv(), if has_room && is_open => match next {
                    Some(first) => flying.extend(self.entry(first, &mut posted).await),
                    None => is_open = false,
                },
            }
        }
    }

    /// Makes an entry of `first` and what else waits, and sends it off.
    async fn entry(
        &mut self,
        first: Posted,
        posted: &mut mpsc::UnboundedReceiver<Posted>,
    ) -> Option<BoxFuture<'static, Entry>> {
        let mut builder = Builder::new();
        let mut callers = Vec::new();
        let mut next = Some(first);
        while let Some(one) = next.take() {
            if one.is_abandoned() {
                // Its callers gave up while it waited: nobody would learn what came of it.
            } else if let Some(left) = self.add(one, &mut builder, &mut callers) {
                self.held = Some(left);
                break;
            }
            next = posted.try_recv().ok();
        }
        if callers.is_empty() {
            return None;
        }
        let (batch, begun) = Batch::proposed(builder.finish());
        let sent = self.raft.client_write_ff(batch).await;
        let mut status = self.status.clone();
        Some(Box::pin(async move {
            let came = match sent {
                Ok(receiver) => tokio::select! {
                    came = receiver => came.map_err(|_| lost()),
                    () = deposed(&mut status) => Err(lost()),
                },
                Err(fatal) => Err(super::receive::died(&fatal)),
            };
            Entry {
                callers,
                came,
                begun,
            }
        }))
    }

    /// Adds commands that belong together to an entry, or gives them back if it has no room for them.
    fn add(
        &self,
        mut posted: Posted,
        builder: &mut Builder,
        callers: &mut Vec<Waiting>,
    ) -> Option<Posted> {
        let mut forms = Vec::with_capacity(2);
        for one in posted.each_mut() {
            // Time goes on from what other leaders said, whatever this machine's clock says.
            one.envelope.command.not_before(self.now.told());
            if self.read_by_all(one.envelope.command.since()).is_err()
                && let Some(older) = one.envelope.command.in_older_words()
            {
                one.envelope.command = older;
            }
            let form = self
                .read_by_all(one.envelope.command.since())
                .and_then(|()| {
                    let form = format::written(&one.envelope);
                    form.map_err(|error| Invalid::new("command", error.to_string()))
                });
            forms.push(form);
        }
        let length = forms.iter().flatten().map(Vec::len).sum();
        if !builder.has_room(forms.len(), length) {
            return Some(posted);
        }
        for (one, form) in posted.into_each().zip(forms) {
            match form {
                Ok(form) if form.len() > LONGEST => {
                    let what = format!(
                        "is longer than {} MiB, the most that a cluster writes at once: send less at a time, or a \
                         state of the original while its coordinator is still alone",
                        LONGEST >> 20
                    );
                    let _ = one.answer.send(Err(Invalid::new("command", what).into()));
                }
                Ok(form) => {
                    builder.add(&form);
                    callers.push(one);
                }
                Err(invalid) => drop(one.answer.send(Err(invalid.into()))),
            }
        }
        None
    }

    /// Tells whether every member can read what came with protocol `since`.
    fn read_by_all(&self, since: u32) -> Result<(), Invalid> {
        if since <= FIRST {
            return Ok(());
        }
        match self.status.borrow().unread_by(since) {
            None => Ok(()),
            Some(member) => {
                let what = format!(
                    "cannot be read by {} at {} yet: update skyclaw there first",
                    member.name, member.url
                );
                Err(Invalid::new("command", what))
            }
        }
    }

    fn answer(&self, entry: Entry) {
        let error = match entry.came {
            Ok(Ok(written)) => {
                let Answers(answers) = written.data;
                for (caller, answer) in entry.callers.into_iter().zip(answers) {
                    let _ = caller.answer.send(answer);
                }
                return;
            }
            // It was never in our log, so it cannot come to pass.
            Ok(Err(ClientWriteError::ForwardToLeader(to)))
                if !entry.begun.load(Ordering::Acquire) =>
            {
                Error::NotLeader {
                    leader: to.leader_node.map(Box::new).or_else(|| self.leader()),
                }
            }
            Ok(Err(ClientWriteError::ForwardToLeader(_))) => lost(),
            Ok(Err(ClientWriteError::ChangeMembershipError(_))) => Error::Changing,
            Err(error) => error,
        };
        for caller in entry.callers {
            let _ = caller.answer.send(Err(error.clone()));
        }
    }

    fn leader(&self) -> Option<Box<super::Member>> {
        let status = self.status.borrow();
        status.leading().map(|(_, member)| Box::new(member.clone()))
    }
}

fn lost() -> Error {
    Error::NoQuorum(
        "leadership was lost on the way; whether the command was applied is not known".to_owned(),
    )
}

/// Waits until this member has not been the leader for a while.
async fn deposed(status: &mut watch::Receiver<Status>) {
    loop {
        if status
            .wait_for(|status| status.role != Role::Leader)
            .await
            .is_err()
        {
            return;
        }
        let back = status.wait_for(|status| status.role == Role::Leader);
        let is_back = tokio::time::timeout(GRACE, back).await.is_ok();
        if !is_back {
            return;
        }
    }
}
