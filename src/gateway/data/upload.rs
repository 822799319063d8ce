//! The body of a request: handed on as it comes, counted, and kept as far as it may be sent a second time.
//!
//! The caller's side of it stays here while the connections to backends come and go; each gets a [`Part`].

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use hyper::HeaderMap;
use hyper::body::{Body, Frame, Incoming};

use super::framing;
use super::stall::Stall;
use crate::gateway::retry::KEPT_BODY;

/// What ended a body before its end. All of it is the caller's doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// It is longer than allowed.
    TooLong,
    /// It broke off, or is no body.
    Broken,
    /// Nothing came for too long, or far too little.
    Silent,
    /// The answer was complete before it.
    NotWanted,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flow {
    Open,
    Ended,
    Cut(Cut),
}

/// How a body is treated.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// How long it may be.
    pub limit: u64,
    /// How long nothing may come.
    pub idle: Duration,
    /// How long may be waited for it in all, beside a second for each KiB that came. None where nobody knows how long
    /// it will be: it may be a stream that goes on for days.
    pub wait: Option<Duration>,
    /// Whether it may have to be sent again.
    pub keep: bool,
}

/// The body of one request. Only one thread ever touches it, so nobody waits for the lock.
#[derive(Debug)]
pub struct Upload(Mutex<State>);

#[derive(Debug)]
struct State {
    from: Option<Incoming>,
    flow: Flow,
    rules: Rules,
    received: u64,
    /// How long was waited for what came.
    waited: Duration,
    /// Everything that was read, as long as `whole` is true.
    kept: Vec<Bytes>,
    whole: bool,
    trailers: Option<HeaderMap>,
    stall: Stall,
    /// Set when it is cut off: the caller may still be sending.
    lingers: Arc<AtomicBool>,
    /// The attempt whose part may read.
    attempt: u32,
    /// Who waits for the end.
    waits: Option<Waker>,
    /// Who reads.
    reads: Option<Waker>,
}

impl Upload {
    /// Returns the upload of this body; `lingers` is set when it is not read to its end.
    pub fn new(from: Incoming, rules: Rules, lingers: Arc<AtomicBool>) -> Arc<Self> {
        Arc::new(Self(Mutex::new(State {
            from: Some(from),
            flow: Flow::Open,
            received: 0,
            waited: Duration::ZERO,
            kept: Vec::new(),
            whole: true,
            trailers: None,
            stall: Stall::new(rules.idle),
            rules,
            lingers,
            attempt: 0,
            waits: None,
            reads: None,
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the body from its start, for one attempt. Those given out before end.
    pub fn part(self: &Arc<Self>) -> Part {
        let mut state = self.state();
        state.attempt += 1;
        Part {
            attempt: state.attempt,
            upload: Arc::clone(self),
            at: 0,
            trailers_sent: false,
        }
    }

    /// Tells whether it can be sent from its start once more.
    pub fn is_whole(&self) -> bool {
        self.state().whole
    }

    /// Returns what ended it early.
    pub fn cut(&self) -> Option<Cut> {
        match self.state().flow {
            Flow::Cut(cut) => Some(cut),
            Flow::Open | Flow::Ended => None,
        }
    }

    /// Tells whether all of it came.
    pub fn has_ended(&self) -> bool {
        self.state().flow == Flow::Ended
    }

    /// Returns how many bytes came.
    pub fn received(&self) -> u64 {
        self.state().received
    }

    /// Waits until nothing more will come of it; an error if that is early.
    pub async fn over(&self) -> Result<(), Cut> {
        poll_fn(|context| {
            let mut state = self.state();
            match state.flow {
                Flow::Ended => Poll::Ready(Ok(())),
                Flow::Cut(cut) => Poll::Ready(Err(cut)),
                Flow::Open => {
                    state.waits = Some(context.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }

    /// Ends it if it is not over: nobody needs the rest. Returns whether there was one.
    pub fn leave(&self) -> bool {
        let mut state = self.state();
        if state.flow != Flow::Open {
            return false;
        }
        state.cut(Cut::NotWanted);
        if let Some(reads) = state.reads.take() {
            reads.wake();
        }
        true
    }
}

impl State {
    fn end(&mut self, flow: Flow) {
        self.flow = flow;
        self.from = None;
        if let Some(waits) = self.waits.take() {
            waits.wake();
        }
    }

    fn cut(&mut self, cut: Cut) -> io::Error {
        self.end(Flow::Cut(cut));
        self.lingers.store(true, Ordering::Relaxed);
        io::Error::other("the caller's body was cut off")
    }

    fn read(&mut self, context: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let Some(from) = &mut self.from else {
            return Poll::Ready(match self.flow {
                Flow::Open | Flow::Ended => None,
                Flow::Cut(cut) => Some(Err(self.cut(cut))),
            });
        };
        let frame = match next(from, context) {
            Poll::Pending => {
                let left = self.patience();
                if self.stall.poll_within(context, left).is_ready() {
                    return Poll::Ready(Some(Err(self.cut(Cut::Silent))));
                }
                self.reads = Some(context.waker().clone());
                return Poll::Pending;
            }
            Poll::Ready(Some(Ok(frame))) => frame,
            Poll::Ready(Some(Err(_))) => {
                return Poll::Ready(Some(Err(self.cut(Cut::Broken))));
            }
            Poll::Ready(None) => {
                self.end(Flow::Ended);
                return Poll::Ready(None);
            }
        };
        // A body of known length is not asked again after its last byte.
        let last = from.is_end_stream();
        self.waited += self.stall.lasts();
        self.stall.moved();
        let frame = match frame.into_data() {
            Ok(data) => {
                self.received += data.len() as u64;
                if self.received > self.rules.limit {
                    return Poll::Ready(Some(Err(self.cut(Cut::TooLong))));
                }
                self.keep(&data);
                Frame::data(data)
            }
            Err(frame) => match frame.into_trailers() {
                Ok(mut trailers) => {
                    framing::clean_trailers(&mut trailers);
                    self.trailers = self.whole.then(|| trailers.clone());
                    self.end(Flow::Ended);
                    Frame::trailers(trailers)
                }
                Err(frame) => frame,
            },
        };
        if last && self.flow == Flow::Open {
            self.end(Flow::Ended);
        }
        Poll::Ready(Some(Ok(frame)))
    }

    /// Returns how long may be waited from now on.
    fn patience(&self) -> Duration {
        let Some(wait) = self.rules.wait else {
            return Duration::MAX;
        };
        wait.saturating_add(Duration::from_secs(self.received >> 10))
            .saturating_sub(self.waited)
    }

    fn keep(&mut self, data: &Bytes) {
        let fits = self.received <= KEPT_BODY as u64;
        if self.whole && self.rules.keep && fits {
            if !data.is_empty() {
                self.kept.push(data.clone());
            }
        } else {
            self.whole = false;
            self.kept = Vec::new();
        }
    }
}

/// Returns the next frame that holds something. HTTP/2 allows any number of empty ones: they are no sign of life, and
/// nothing may grow by them.
fn next(
    from: &mut Incoming,
    context: &mut Context<'_>,
) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
    loop {
        let polled = Pin::new(&mut *from).poll_frame(context);
        let empty = matches!(&polled, Poll::Ready(Some(Ok(frame))) if frame.data_ref().is_some_and(Bytes::is_empty));
        if !empty || from.is_end_stream() {
            return polled;
        }
    }
}

/// The body of a request on its way to one backend.
#[derive(Debug)]
pub struct Part {
    upload: Arc<Upload>,
    attempt: u32,
    /// How many of the kept pieces it has given.
    at: usize,
    trailers_sent: bool,
}

impl Part {
    /// Returns the next frame.
    pub fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let mut state = self.upload.state();
        if state.attempt != self.attempt {
            let gone = io::Error::other("the request goes another way by now");
            return Poll::Ready(Some(Err(gone)));
        }
        if let Some(kept) = state.kept.get(self.at) {
            self.at += 1;
            return Poll::Ready(Some(Ok(Frame::data(kept.clone()))));
        }
        if let Some(trailers) = state.trailers.as_ref().filter(|_| !self.trailers_sent) {
            self.trailers_sent = true;
            return Poll::Ready(Some(Ok(Frame::trailers(trailers.clone()))));
        }
        let frame = state.read(context);
        if let Poll::Ready(Some(Ok(frame))) = &frame {
            self.at = state.kept.len();
            self.trailers_sent |= frame.is_trailers();
        }
        frame
    }
}
