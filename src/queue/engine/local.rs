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

/// The way to the writer thread.
pub struct Local {
    /// Taken away to tell the thread to end.
    sender: Option<Sender<Waiting>>,
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
        let (answer, answered) = oneshot::channel();
        let sender = self.sender.as_ref().ok_or(Error::Closed)?;
        sender
            .send(Waiting { envelope, answer })
            .map_err(|_| Error::Closed)?;
        answered.await.unwrap_or(Err(Error::Closed))
    }
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

fn write(mut store: Store, commands: &Receiver<Waiting>, news: &broadcast::Sender<Change>) {
    let mut unsaved = false;
    loop {
        let first = if unsaved {
            match commands.recv_timeout(IDLE) {
                Ok(first) => first,
                Err(RecvTimeoutError::Timeout) => {
                    store.checkpoint();
                    unsaved = false;
                    continue;
                }
                Err(RecvTimeoutError::Disconnected) => return,
            }
        } else {
            match commands.recv() {
                Ok(first) => first,
                Err(mpsc::RecvError) => return,
            }
        };
        commit(&store, first, commands, news);
        unsaved = true;
    }
}

/// Commits `first` and whatever comes while the transaction is open.
fn commit(
    store: &Store,
    first: Waiting,
    commands: &Receiver<Waiting>,
    news: &broadcast::Sender<Change>,
) {
    let mut waiting = vec![first];
    let done = store.run(&mut waiting, |taken| {
        (taken < BATCH).then(|| commands.try_recv().ok()).flatten()
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
}
