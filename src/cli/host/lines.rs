//! The daemon's lines on stdout, written by a thread of their own: a reader who stops reading must not stop
//! the daemon.

use std::fs::File;
use std::io::{IsTerminal, Write};
use std::os::fd::AsFd;
use std::sync::mpsc::{
    Receiver, RecvTimeoutError, SyncSender, TrySendError, channel, sync_channel,
};
use std::time::Duration;

use serde::Serialize;

use super::args::LogFormat;
use crate::cli::sanitize;
use crate::host::notice::{Hook, Notice};
use crate::support::clock::{Clock, SystemClock, Timestamp};

/// How many lines wait for a reader before they are dropped.
const MOST: usize = 4096;
/// How long the last lines may take.
const LAST: Duration = Duration::from_secs(1);

/// The printing thread.
pub struct Lines {
    /// Nothing stands for the end.
    sender: SyncSender<Option<Notice>>,
    done: Receiver<()>,
}

#[derive(Serialize)]
struct Line<'n> {
    at: Timestamp,
    host: &'n str,
    #[serde(flatten)]
    notice: &'n Notice,
}

impl Lines {
    /// Starts the thread. `name` is what the host is called.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(format: LogFormat, name: String) -> std::io::Result<Self> {
        // Not through the lock of `io::stdout()`: a blocked write must not keep others from it at the end.
        let out = File::from(std::io::stdout().as_fd().try_clone_to_owned()?);
        let (sender, receiver) = sync_channel(MOST);
        let (ended, done) = channel();
        std::thread::Builder::new()
            .name("lines".to_owned())
            .spawn(move || {
                print(format, &name, &receiver, out);
                let _ = ended.send(());
            })?;
        Ok(Self { sender, done })
    }

    /// Returns what takes notices for this thread.
    pub fn hook(&self) -> Hook {
        let sender = self.sender.clone();
        Box::new(move |notice| match sender.try_send(Some(notice)) {
            Ok(()) => {}
            Err(TrySendError::Full(notice)) => {
                tracing::debug!(?notice, "nobody reads stdout; line dropped");
            }
            Err(TrySendError::Disconnected(_)) => {}
        })
    }

    /// Waits until the last line is written, but not for ever.
    pub fn finish(self) {
        let told = self.sender.try_send(None).is_ok();
        if !told || self.done.recv_timeout(LAST) == Err(RecvTimeoutError::Timeout) {
            tracing::debug!("nobody reads stdout; last lines dropped");
        }
    }
}

fn print(format: LogFormat, host: &str, notices: &Receiver<Option<Notice>>, mut out: File) {
    let terminal = out.is_terminal();
    while let Ok(Some(notice)) = notices.recv() {
        // Lines that wait together are written together.
        let mut text = String::new();
        let mut next = Some(Some(notice));
        while let Some(Some(notice)) = next {
            text.push_str(&line(format, host, &notice, terminal));
            text.push('\n');
            next = (text.len() < 4096)
                .then(|| notices.try_recv().ok())
                .flatten();
        }
        let last = next == Some(None);
        // A reader that is gone is no reason to end the daemon.
        if out
            .write_all(text.as_bytes())
            .and_then(|()| out.flush())
            .is_err()
        {
            return;
        }
        if last {
            return;
        }
    }
}

fn line(format: LogFormat, host: &str, notice: &Notice, terminal: bool) -> String {
    match format {
        LogFormat::Json => serde_json::to_string(&Line {
            at: SystemClock.now(),
            host,
            notice,
        })
        .unwrap_or_default(),
        LogFormat::Text => {
            let text = format!("[skyclaw] {notice}");
            if terminal {
                sanitize::text(&text).into_owned()
            } else {
                // One notice is one line, whatever names it holds.
                text.replace(['\n', '\r'], " ")
            }
        }
    }
}
