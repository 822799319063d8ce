//! The thread that owns the log's file: whatever waits to be written shares one wait for the disk.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;

use openraft::storage::LogFlushed;
use tokio::sync::oneshot;

use super::fault::Fault;
use super::types::Types;
use crate::queue::error::Error;
use crate::queue::store::{Edit, Journal, Line};

/// How many writes share one commit at most.
const TOGETHER: usize = 64;

/// Who is told when a write is on disk.
pub enum Told {
    /// openraft, which does not wait meanwhile.
    Raft(LogFlushed<Types>),
    /// Somebody who waits.
    Caller(oneshot::Sender<Result<(), Error>>),
}

impl Told {
    fn tell(self, done: Result<(), Error>) {
        match self {
            Self::Raft(flushed) => flushed.log_io_completed(done.map_err(std::io::Error::other)),
            Self::Caller(caller) => {
                let _ = caller.send(done);
            }
        }
    }
}

type Read = Box<dyn FnOnce(&Journal) + Send>;

enum Order {
    Write(Vec<Edit>, Told),
    Read(Read),
}

enum Place {
    Thread {
        /// Taken away to tell the thread to end.
        sender: Option<Sender<Order>>,
        thread: Option<JoinHandle<()>>,
    },
    Here(Option<Journal>),
}

/// The way to the log's file.
pub struct Disk {
    place: Mutex<Place>,
    inline: bool,
    fault: Fault,
}

impl Disk {
    /// Starts the thread; with `inline` callers do the work themselves.
    ///
    /// # Errors
    /// When there can be no more threads.
    pub fn start(journal: Journal, inline: bool, fault: Fault) -> Result<Self, Error> {
        let place = match inline {
            true => Place::Here(Some(journal)),
            false => {
                let path = journal.path().to_owned();
                let (sender, orders) = mpsc::channel();
                let reported = fault.clone();
                let thread = std::thread::Builder::new()
                    .name("raft-log".to_owned())
                    .spawn(move || {
                        let done =
                            catch_unwind(AssertUnwindSafe(|| serve(journal, &orders, &reported)));
                        if done.is_err() {
                            reported.report("the writer of the cluster's log panicked".to_owned());
                        }
                    })
                    .map_err(|source| Error::Open {
                        path,
                        source: std::sync::Arc::new(source),
                    })?;
                Place::Thread {
                    sender: Some(sender),
                    thread: Some(thread),
                }
            }
        };
        Ok(Self {
            place: Mutex::new(place),
            inline,
            fault,
        })
    }

    /// Tells whether callers do the work themselves.
    pub const fn is_inline(&self) -> bool {
        self.inline
    }

    /// Has the changes made after all earlier ones, and `told` told when they are on disk.
    pub fn write(&self, edits: Vec<Edit>, told: Told) {
        let mut place = self.place.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *place {
            Place::Thread { sender, .. } => {
                let order = Order::Write(edits, told);
                let lost = match sender {
                    Some(sender) => sender.send(order).err().map(|lost| lost.0),
                    None => Some(order),
                };
                if let Some(Order::Write(_, told)) = lost {
                    told.tell(Err(Error::Closed));
                }
            }
            Place::Here(journal) => {
                let done = match journal {
                    Some(journal) => journal.edit(&edits),
                    None => Err(Error::Closed),
                };
                told.tell(done);
            }
        }
    }

    /// Has the changes made and waits until they are on disk.
    ///
    /// # Errors
    /// When the file fails or is closed.
    pub async fn write_and_wait(&self, edits: Vec<Edit>) -> Result<(), Error> {
        let (caller, told) = oneshot::channel();
        self.write(edits, Told::Caller(caller));
        told.await.unwrap_or(Err(Error::Closed))
    }

    /// Returns entries; see [`Journal::lines`].
    ///
    /// # Errors
    /// When the file cannot be read or is closed.
    pub async fn lines(&self, from: u64, before: u64, most: u64) -> Result<Vec<Line>, Error> {
        let (caller, told) = oneshot::channel();
        {
            let place = self.place.lock().unwrap_or_else(PoisonError::into_inner);
            match &*place {
                Place::Thread { sender, .. } => {
                    let sender = sender.as_ref().ok_or(Error::Closed)?;
                    let read: Read = Box::new(move |journal| {
                        let _ = caller.send(journal.lines(from, before, most));
                    });
                    let sent = sender.send(Order::Read(read));
                    sent.map_err(|_| Error::Closed)?;
                }
                Place::Here(journal) => {
                    let journal = journal.as_ref().ok_or(Error::Closed)?;
                    return journal.lines(from, before, most);
                }
            }
        }
        told.await.unwrap_or(Err(Error::Closed))
    }

    /// Writes what was sent and lets go of the file.
    pub fn close(&self) {
        let thread = {
            let mut place = self.place.lock().unwrap_or_else(PoisonError::into_inner);
            match &mut *place {
                Place::Thread { sender, thread } => {
                    drop(sender.take());
                    thread.take()
                }
                Place::Here(journal) => {
                    drop(journal.take());
                    None
                }
            }
        };
        if thread.is_some_and(|thread| thread.join().is_err()) {
            self.fault
                .report("the writer of the cluster's log panicked".to_owned());
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.close();
    }
}

fn serve(mut journal: Journal, orders: &Receiver<Order>, fault: &Fault) {
    // Taken while writes were gathered, but none of them.
    let mut held = None;
    loop {
        let order = match held.take() {
            Some(order) => order,
            None => match orders.recv() {
                Ok(order) => order,
                Err(mpsc::RecvError) => return,
            },
        };
        match order {
            Order::Read(read) => read(&journal),
            Order::Write(edits, told) => {
                let mut writes = vec![(edits, told)];
                while writes.len() < TOGETHER && held.is_none() {
                    match orders.try_recv() {
                        Ok(Order::Write(edits, told)) => writes.push((edits, told)),
                        Ok(read @ Order::Read(_)) => held = Some(read),
                        Err(_) => break,
                    }
                }
                let done = journal.edit(writes.iter().flat_map(|(edits, _)| edits));
                if let Err(error) = &done {
                    fault.report(crate::support::chain::chain(error));
                }
                for (_, told) in writes {
                    told.tell(done.clone());
                }
            }
        }
    }
}
