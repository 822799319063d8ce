//! The writer: one thread that commits whatever commands are waiting together.
//!
//! A commit costs one wait for the disk, however many commands it holds. While that wait goes on,
//! the next commands pile up and share the next one.

use std::borrow::Borrow;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{broadcast, oneshot};

use super::Change;
use crate::queue::command::Envelope;
use crate::queue::error::Error;
use crate::queue::store::{Applied, Store};

/// How many commands one commit holds at most: a batch must not make its first caller wait long.
const BATCH: usize = 256;

/// How many changes a slow listener may be behind.
const NEWS: usize = 4096;

/// After this long without commands the log is emptied.
const IDLE: Duration = Duration::from_secs(1);

struct Waiting {
    envelope: Envelope,
    answer: oneshot::Sender<Result<Applied, Error>>,
}

impl Borrow<Envelope> for Waiting {
    fn borrow(&self) -> &Envelope {
        &self.envelope
    }
}

/// What is sent to the writer at once: what belongs together shares a commit.
struct Posted {
    first: Waiting,
    second: Option<Waiting>,
}

/// The way to the writer thread.
pub struct Local {
    /// Taken away to tell the thread to end.
    sender: Option<Sender<Posted>>,
    thread: Option<JoinHandle<()>>,
    news: broadcast::Sender<Change>,
}

impl Local {
    /// Opens the file and starts its writer.
    ///
    /// # Errors
    /// When the file cannot be opened or there can be no more threads.
    pub fn open(path: &Path, check_always: bool) -> Result<Self, Error> {
        let store = Store::open(path, check_always)?;
        let (sender, commands) = mpsc::channel();
        let (news, _) = broadcast::channel(NEWS);
        let told = news.clone();
        let thread = std::thread::Builder::new()
            .name("queue-writer".to_owned())
            .spawn(move || write(store, &commands, &told))
            .map_err(|source| Error::Open {
                path: path.to_owned(),
                source: Arc::new(source),
            })?;
        Ok(Self {
            sender: Some(sender),
            thread: Some(thread),
            news,
        })
    }

    /// Returns a listener to what changes from now on.
    pub fn changes(&self) -> broadcast::Receiver<Change> {
        self.news.subscribe()
    }

    /// Has a command applied and answers once it is on disk.
    ///
    /// # Errors
    /// When the file fails or the writer has ended.
    pub async fn run(&self, envelope: Envelope) -> Result<Applied, Error> {
        let (first, answered) = waiting(envelope);
        self.post(Posted {
            first,
            second: None,
        })?;
        answered.await.unwrap_or(Err(Error::Closed))
    }

    /// Has two commands applied in one commit, the first one first. Each stands alone.
    pub async fn run_both(&self, first: Envelope, second: Envelope) -> [Result<Applied, Error>; 2] {
        let (first, one) = waiting(first);
        let (second, other) = waiting(second);
        let second = Some(second);
        if let Err(error) = self.post(Posted { first, second }) {
            return [Err(error.clone()), Err(error)];
        }
        let (one, other) = tokio::join!(one, other);
        [one, other].map(|answer| answer.unwrap_or(Err(Error::Closed)))
    }

    fn post(&self, posted: Posted) -> Result<(), Error> {
        let sender = self.sender.as_ref().ok_or(Error::Closed)?;
        sender.send(posted).map_err(|_| Error::Closed)
    }
}

fn waiting(envelope: Envelope) -> (Waiting, oneshot::Receiver<Result<Applied, Error>>) {
    let (answer, answered) = oneshot::channel();
    (Waiting { envelope, answer }, answered)
}

impl Drop for Local {
    fn drop(&mut self) {
        // The thread ends when it has done all that was sent and no sender is left.
        drop(self.sender.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the queue writer ended by a panic");
        }
    }
}

fn write(mut store: Store, commands: &Receiver<Posted>, news: &broadcast::Sender<Change>) {
    let mut unsaved = false;
    loop {
        let posted = if unsaved {
            match commands.recv_timeout(IDLE) {
                Ok(posted) => posted,
                Err(RecvTimeoutError::Timeout) => {
                    store.checkpoint();
                    unsaved = false;
                    continue;
                }
                Err(RecvTimeoutError::Disconnected) => return,
            }
        } else {
            match commands.recv() {
                Ok(posted) => posted,
                Err(mpsc::RecvError) => return,
            }
        };
        commit(&store, posted, commands, news);
        unsaved = true;
    }
}

/// Commits what was posted and whatever comes while the transaction is open.
fn commit(
    store: &Store,
    posted: Posted,
    commands: &Receiver<Posted>,
    news: &broadcast::Sender<Change>,
) {
    let mut waiting = vec![posted.first];
    let mut second = posted.second;
    let done = store.run(&mut waiting, |taken| {
        if second.is_some() || taken >= BATCH {
            return second.take();
        }
        let posted = commands.try_recv().ok()?;
        second = posted.second;
        Some(posted.first)
    });
    // A caller that went away (a closed request) is no reason to stop.
    for (one, answer) in waiting.into_iter().zip(done.answers) {
        let _ = one.answer.send(answer);
    }
    if news.receiver_count() > 0 {
        for change in done.changes {
            let _ = news.send(change);
        }
    }
    // The first one failed before the second one's turn came.
    if let Some(first) = second {
        let left = Posted {
            first,
            second: None,
        };
        commit(store, left, commands, news);
    }
}
