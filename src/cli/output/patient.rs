//! Writes to a stream whose reader may stop reading, and can still be told to leave.
//!
//! A blocked `write` cannot be called back, so nothing is written before there is room for it.

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::support::shutdown::{Shutdown, Urgency};

/// A pipe that is ready takes at least this much without blocking (`PIPE_BUF`).
const FITS: usize = 4096;
/// How often a blocked writer looks whether it should leave.
const LOOK: Duration = Duration::from_millis(100);

/// The writer.
pub struct Writer<W> {
    stream: W,
    leave: Arc<OnceLock<Shutdown>>,
}

impl<W: Write + AsFd> Writer<W> {
    /// Returns one for `stream` that gives up when what is in `leave` says so.
    pub fn new(stream: W, leave: Arc<OnceLock<Shutdown>>) -> Self {
        Self { stream, leave }
    }

    fn wait_for_room(&self) -> io::Result<()> {
        let look = Timespec::try_from(LOOK).map_err(io::Error::other)?;
        loop {
            let mut fds = [PollFd::new(&self.stream, PollFlags::OUT)];
            match poll(&mut fds, Some(&look)) {
                Ok(0) => {}
                // Also an error or a reader that is gone: the write says which.
                Ok(_) => return Ok(()),
                Err(error) if error == rustix::io::Errno::INTR => {}
                Err(error) => return Err(error.into()),
            }
            let leave = self.leave.get();
            if leave.is_some_and(|shutdown| shutdown.urgency() >= Urgency::Now) {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
        }
    }
}

impl<W: Write + AsFd> Write for Writer<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let piece = bytes.get(..FITS).unwrap_or(bytes);
        self.wait_for_room()?;
        self.stream.write_all(piece)?;
        // Nothing may stay behind, or the next piece would be larger than what there is room for.
        self.stream.flush()?;
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}
