//! The writer: one thread that commits whatever commands are waiting together.
//!
//! A commit costs one wait for the disk, however many commands it holds. While that wait goes on,
//! the next commands pile up and share the next one.

use std::borrow::Borrow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{broadcast, oneshot, watch};

use super::Change;
use crate::queue::command::Envelope;
use crate::queue::error::Error;
use crate::queue::store::{Applied, Batch, Store};

/// How many commands one commit holds at most: a batch must not make its first caller wait long.
pub const BATCH: usize = 256;

/// How many changes a slow listener may be behind.
const NEWS: usize = 4096;

/// After this long without commands the log is emptied.
const IDLE: Duration = Duration::from_secs(1);

/// A command whose caller waits.
pub struct Waiting {
    /// What to do.
    pub envelope: Envelope,
    /// Where the answer goes.
    pub answer: oneshot::Sender<Result<Applied, Error>>,
}

impl Borrow<Envelope> for Waiting {
    fn borrow(&self) -> &Envelope {
        &self.envelope
    }
}

/// What is sent to the writer at once: what belongs together shares a commit.
pub struct Posted {
    /// What comes first.
    pub first: Waiting,
    /// What comes right after it.
    pub second: Option<Waiting>,
}

/// Where an answer comes from.
pub type Answer = oneshot::Receiver<Result<Applied, Error>>;

impl Posted {
    /// Returns one command and where its answer will come from.
    pub fn one(envelope: Envelope) -> (Self, Answer) {
        let (first, answer) = waiting(envelope);
        let second = None;
        (Self { first, second }, answer)
    }

    /// Tells whether nobody waits for an answer any more.
    pub fn is_abandoned(&self) -> bool {
        let second = self.second.as_ref();
        self.first.answer.is_closed() && second.is_none_or(|second| second.answer.is_closed())
    }

    /// Returns each of them, in order.
    pub fn each_mut(&mut self) -> impl Iterator<Item = &mut Waiting> {
        std::iter::once(&mut self.first).chain(self.second.as_mut())
    }

    /// Returns each of them, in order.
    pub fn into_each(self) -> impl Iterator<Item = Waiting> {
        std::iter::once(self.first).chain(self.second)
    }

    /// Returns two commands that belong together and where their answers will come from.
    pub fn two(first: Envelope, second: Envelope) -> (Self, [Answer; 2]) {
        let (first, one) = waiting(first);
        let (second, other) = waiting(second);
        let second = Some(second);
        (Self { first, second }, [one, other])
    }
}

fn waiting(envelope: Envelope) -> (Waiting, Answer) {
    let (answer, answered) = oneshot::channel();
    (Waiting { envelope, answer }, answered)
}

type Work = Box<dyn FnOnce(&mut Store) + Send>;

enum Order {
    Commands(Box<Posted>),
    Work(Work),
}

/// Where the file's write side is.
enum Place {
    /// With a thread of its own.
    Thread {
        /// Taken away to tell the thread to end.
        sender: Option<Sender<Order>>,
        thread: Option<JoinHandle<()>>,
    },
    /// Here: whoever writes does the work. For simulations, where nothing may run beside them.
    Here(Mutex<Store>),
}

/// The way to the writer.
pub struct Local {
    place: Place,
    news: broadcast::Sender<Change>,
    died: watch::Receiver<Option<String>>,
    path: PathBuf,
    // Kept so that the channel stays open where there is no thread.
    _dying: watch::Sender<Option<String>>,
}

impl Local {
    /// Opens the file and starts its writer; with `inline` there is no thread and callers do the work.
    ///
    /// # Errors
    /// When the file cannot be opened or there can be no more threads.
    pub fn open(path: &Path, check_always: bool, inline: bool) -> Result<Self, Error> {
        let store = Store::open(path, check_always)?;
        let (news, _) = broadcast::channel(NEWS);
        let (dying, died) = watch::channel(None);
        let place = match inline {
            true => Place::Here(Mutex::new(store)),
            false => Self::start(store, path, news.clone(), dying.clone())?,
        };
        Ok(Self {
            place,
            news,
            died,
            path: path.to_owned(),
            _dying: dying,
        })
    }

    fn start(
        store: Store,
        path: &Path,
        news: broadcast::Sender<Change>,
        dying: watch::Sender<Option<String>>,
    ) -> Result<Place, Error> {
        let (sender, orders) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("queue-writer".to_owned())
            .spawn(move || {
                let done = catch_unwind(AssertUnwindSafe(|| write(store, &orders, &news)));
                if done.is_err() {
                    tracing::error!("the queue writer ended by a panic");
                    dying.send_replace(Some("the queue's writer panicked".to_owned()));
                }
            })
            .map_err(|source| Error::Open {
                path: path.to_owned(),
                source: Arc::new(source),
            })?;
        Ok(Place::Thread {
            sender: Some(sender),
            thread: Some(thread),
        })
    }

    /// Returns the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Tells whether callers do the work themselves.
    pub const fn is_inline(&self) -> bool {
        matches!(self.place, Place::Here(_))
    }

    /// Returns a listener to what changes from now on.
    pub fn changes(&self) -> broadcast::Receiver<Change> {
        self.news.subscribe()
    }

    /// Tells what changed to whoever listens.
    pub fn tell(&self, changes: Vec<Change>) {
        tell(&self.news, changes);
    }

    /// Returns a look at why the writer ended, should it end by a fault.
    pub fn died(&self) -> watch::Receiver<Option<String>> {
        self.died.clone()
    }

    /// Has commands applied; their callers are answered once they are on disk.
    ///
    /// # Errors
    /// When the writer has ended.
    pub fn post(&self, posted: Posted) -> Result<(), Error> {
        match &self.place {
            Place::Thread { sender, .. } => {
                let sender = sender.as_ref().ok_or(Error::Closed)?;
                let sent = sender.send(Order::Commands(Box::new(posted)));
                sent.map_err(|_| Error::Closed)
            }
            Place::Here(store) => {
                let store = store.lock().unwrap_or_else(PoisonError::into_inner);
                let mut held = None;
                commit(&store, posted, &mut held, &mut || None, &self.news);
                Ok(())
            }
        }
    }

    /// Does other work with the file's write side, after everything that was sent before.
    ///
    /// # Errors
    /// What the work returns, or when the writer has ended or the work panics.
    pub async fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Store) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        match &self.place {
            Place::Thread { sender, .. } => {
                let (answer, answered) = oneshot::channel();
                let work: Work = Box::new(move |store| {
                    let _ = answer.send(work(store));
                });
                let sender = sender.as_ref().ok_or(Error::Closed)?;
                let sent = sender.send(Order::Work(work));
                sent.map_err(|_| Error::Closed)?;
                answered.await.unwrap_or(Err(Error::Closed))
            }
            Place::Here(store) => work(&mut store.lock().unwrap_or_else(PoisonError::into_inner)),
        }
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        if let Place::Thread { sender, thread } = &mut self.place {
            // The thread ends when it has done all that was sent and no sender is left.
            drop(sender.take());
            if let Some(thread) = thread.take()
                && thread.join().is_err()
            {
                tracing::error!("the queue writer ended by a panic");
            }
        }
    }
}

fn write(mut store: Store, orders: &Receiver<Order>, news: &broadcast::Sender<Change>) {
    let mut unsaved = false;
    // Taken while a batch was gathered, but none of it.
    let mut held = None;
    loop {
        let order = match held.take() {
            Some(order) => order,
            None if unsaved => match orders.recv_timeout(IDLE) {
                Ok(order) => order,
                Err(RecvTimeoutError::Timeout) => {
                    store.checkpoint();
                    unsaved = false;
                    continue;
                }
                Err(RecvTimeoutError::Disconnected) => return,
            },
            None => match orders.recv() {
                Ok(order) => order,
                Err(mpsc::RecvError) => return,
            },
        };
        match order {
            Order::Commands(posted) => {
                let mut next = || orders.try_recv().ok();
                commit(&store, *posted, &mut held, &mut next, news);
            }
            Order::Work(work) => work(&mut store),
        }
        unsaved = true;
    }
}

/// Commits what was posted and whatever commands `next` brings while the transaction is open. Other
/// work ends the batch and is left in `held`.
fn commit(
    store: &Store,
    posted: Posted,
    held: &mut Option<Order>,
    next: &mut dyn FnMut() -> Option<Order>,
    news: &broadcast::Sender<Change>,
) {
    let mut waiting = vec![posted.first];
    let mut second = posted.second;
    let done = store.run(&mut waiting, |taken| {
        if second.is_some() || taken >= BATCH || held.is_some() {
            return second.take();
        }
        match next()? {
            Order::Commands(posted) => {
                second = posted.second;
                Some(posted.first)
            }
            work @ Order::Work(_) => {
                *held = Some(work);
                None
            }
        }
    });
    answer(waiting, done, news);
    // The first one failed before the second one's turn came.
    if let Some(first) = second {
        let left = Posted {
            first,
            second: None,
        };
        commit(store, left, held, &mut || None, news);
    }
}

fn answer(waiting: Vec<Waiting>, done: Batch, news: &broadcast::Sender<Change>) {
    // A caller that went away (a closed request) is no reason to stop.
    for (one, answer) in waiting.into_iter().zip(done.answers) {
        let _ = one.answer.send(answer);
    }
    tell(news, done.changes);
}

fn tell(news: &broadcast::Sender<Change>, changes: Vec<Change>) {
    if news.receiver_count() > 0 {
        for change in changes {
            let _ = news.send(change);
        }
    }
}
