//! The two ways by which a command speaks to us: a session of its own, or a runner.

use bytes::Bytes;

use super::Stream;
use super::session::Session;
use crate::fleet::runner::{Frame, Runner};
use crate::ssh::{Error, Exit};

/// How a command was started.
pub(super) enum Way<'c> {
    Session(Box<Session<'c>>),
    Runner(Box<Runner>),
}

/// What comes from a command.
pub(super) enum Said {
    /// What became of its start.
    Words(String),
    /// It printed this.
    Output(Stream, Bytes),
    /// It ended; output may still follow.
    Exit(Exit),
    /// Nothing more will come.
    Over,
    /// Nothing more will come, but the command may still be there.
    Deserted,
}

impl From<Frame> for Said {
    fn from(frame: Frame) -> Self {
        match frame {
            Frame::Hello(text) | Frame::Words(text) => Self::Words(text),
            Frame::Output(stream, bytes) => Self::Output(stream, bytes),
            Frame::Exit(exit) => Self::Exit(exit),
            Frame::Ready => Self::Over,
            Frame::Gone => Self::Deserted,
        }
    }
}

impl Way<'_> {
    /// Waits for what comes next. Cancel safe.
    ///
    /// # Errors
    /// When the connection died.
    pub(super) async fn next(&mut self) -> Result<Said, Error> {
        match self {
            Self::Session(session) => session.next().await,
            Self::Runner(runner) => runner.next().await.map(Said::from),
        }
    }

    /// Returns what has come already, where that is known.
    pub(super) fn queued(&mut self) -> Option<Said> {
        match self {
            Self::Session(_) => None,
            Self::Runner(runner) => runner.queued().map(Said::from),
        }
    }

    /// Has the other end signal the command.
    pub(super) async fn order(&self, signal: &'static str) {
        // Who cannot be told is gone, which the events say.
        let _ = match self {
            Self::Session(session) => {
                let line = format!("{signal}\n");
                session.stdin.write(line.into()).await
            }
            Self::Runner(runner) => runner.order(signal).await,
        };
    }

    /// Leaves the other end alone, which ends what is still there.
    pub(super) async fn close(&mut self) {
        match self {
            Self::Session(session) => session.stdin.close().await,
            Self::Runner(runner) => runner.close(),
        }
    }
}
