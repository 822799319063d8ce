//! Many commands over one channel: a runner on the host starts one after the other.
//!
//! A session of sshd's for each command costs the host several times what most commands do. So from the second
//! command on that a connection carries at once, a channel stays open whose far end is `templates/runner.pl`. It
//! stays with the connection (see [`crate::ssh::parked`]) and is used for one command at a time. What came of a
//! command is judged elsewhere, in one place for runners and sessions.

mod frames;
mod record;
mod start;

use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use tokio::task::unconstrained;

pub(crate) use self::frames::Frame;
use self::frames::Frames;
use self::record::record;
use self::start::Failed;
use crate::fleet::remote::Command;
use crate::ssh::parked::Kept;
use crate::ssh::{Connection, Error, Event};

/// A runner is used no longer than this, because what a login sets up may have changed.
const MOST_AGE: Duration = Duration::from_secs(600);
/// And no more often, because nothing should run for ever.
const MOST_USES: u32 = 10_000;

/// A runner that belongs to one command. Dropped, it is closed, and then nothing of the command survives.
pub(crate) struct Runner {
    kept: Option<Kept>,
    frames: Frames,
}

impl std::fmt::Debug for Runner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Runner").finish_non_exhaustive()
    }
}

/// Returns a runner for `command`, if one can run it and this connection has one or should have.
///
/// # Errors
/// When the connection opens no channel.
pub(crate) async fn runner_for(
    connection: &Connection,
    command: &Command,
) -> Result<Option<Runner>, Error> {
    if !command.fits_a_runner() {
        return Ok(None);
    }
    while let Some(kept) = connection.parked().take() {
        let mut runner = Runner::new(kept);
        if runner.is_quiet() {
            return Ok(Some(runner));
        }
    }
    if !connection.parked().spend() {
        return Ok(None);
    }
    match start::start(connection).await {
        Ok(runner) => Ok(Some(runner)),
        Err(Failed::Lost(error)) => Err(error),
        Err(Failed::Useless(why)) => {
            tracing::debug!(why, "no runner there; each command gets a session");
            connection.parked().forbid();
            Ok(None)
        }
    }
}

impl Runner {
    /// Sends it a command whose processes shall carry `word`.
    pub(crate) async fn begin(
        &mut self,
        command: &Command,
        word: &str,
        grace: Duration,
    ) -> Result<(), Error> {
        if let Some(kept) = &mut self.kept {
            kept.uses += 1;
        }
        let fields = command.fields(word, grace);
        self.write(record(b'J', &fields).into()).await
    }

    /// Has it signal the command. `KILL` also reaches what has left its group.
    pub(crate) async fn order(&self, signal: &'static str) -> Result<(), Error> {
        self.write(record(b'S', signal.as_bytes()).into()).await
    }

    /// Waits for what comes next; with [`Frame::Ready`] the command is over, and with [`Frame::Gone`] it may not be.
    ///
    /// Cancel safe: what is not returned is not lost.
    ///
    /// # Errors
    /// When the connection died.
    pub(crate) async fn next(&mut self) -> Result<Frame, Error> {
        loop {
            if let Some(frame) = self.queued() {
                return Ok(frame);
            }
            match self.event().await? {
                Event::Stdout(bytes) => self.frames.push(&bytes),
                // Its own, and what the login's scripts say late.
                Event::Stderr(_) | Event::Exit(_) => {}
                Event::Closed => return Ok(Frame::Gone),
            }
        }
    }

    /// Returns what has come already.
    pub(crate) fn queued(&mut self) -> Option<Frame> {
        self.frames.next().unwrap_or_else(|_| {
            tracing::warn!("something on the host writes between the words of our runner there");
            Some(Frame::Gone)
        })
    }

    /// Closes it, and so ends the command.
    pub(crate) fn close(&mut self) {
        if let Some(kept) = self.kept.take() {
            kept.retire();
        }
    }

    /// Leaves it for the next command, after one that ended well.
    pub(crate) fn give_back(mut self, connection: &Connection) {
        let Some(kept) = self.kept.take() else {
            return;
        };
        if connection.is_closed() || !self.frames.is_empty() {
            return kept.retire();
        }
        if kept.uses >= MOST_USES || kept.opened_at.elapsed() > MOST_AGE {
            connection.parked().earn();
            return kept.retire();
        }
        connection.parked().give(kept);
    }

    async fn write(&self, bytes: Bytes) -> Result<(), Error> {
        match &self.kept {
            Some(kept) => kept.exec.stdin.write(bytes).await,
            None => Ok(()),
        }
    }

    async fn event(&mut self) -> Result<Event, Error> {
        match &mut self.kept {
            Some(kept) => kept.exec.events.next().await,
            None => Ok(Event::Closed),
        }
    }

    /// Tells whether nothing has come since it was last used, above all not its end.
    fn is_quiet(&mut self) -> bool {
        let mut context = Context::from_waker(Waker::noop());
        loop {
            // Without a budget, or it would look quiet to a task that has done much.
            let event = pin!(unconstrained(self.event()));
            match event.poll(&mut context) {
                Poll::Pending => return true,
                Poll::Ready(Ok(Event::Stderr(_))) => {}
                Poll::Ready(_) => return false,
            }
        }
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        self.close();
    }
}
