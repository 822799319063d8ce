//! Runs one command on a connection: bytes unchanged, stdout and stderr apart, exit status or signal.
//!
//! End of file is not the end: the exit status may come after it, and output may come after the exit
//! status. Only the closed channel is the end. A command without an exit status is lost, never 0.

use std::marker::PhantomData;
use std::sync::Arc;

use bytes::Bytes;
use russh::client::Msg;
use russh::{ChannelMsg, ChannelReadHalf, ChannelWriteHalf};
use tokio::sync::OwnedSemaphorePermit;

use crate::ssh::connection::{Connection, Line};
use crate::ssh::error::Error;
use crate::ssh::pace::Pace;

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exit {
    /// It exited with this code.
    Code(u32),
    /// A signal killed it; the name is without `SIG`.
    Signal(String),
}

/// What a running command does next.
#[derive(Debug)]
pub enum Event {
    /// Output.
    Stdout(Bytes),
    /// Error output.
    Stderr(Bytes),
    /// It ended; output may still follow.
    Exit(Exit),
    /// Nothing more will come.
    Closed,
}

/// A running command. Its two ends are apart, so that one can listen while the other sends.
#[derive(Debug)]
pub struct Exec<'c> {
    /// What it says.
    pub events: Events<'c>,
    /// Its standard input.
    pub stdin: Stdin<'c>,
}

/// The receiving end of a running command.
pub struct Events<'c> {
    half: ChannelReadHalf,
    line: Line,
    refused: bool,
    pace: Arc<Pace>,
    _place: OwnedSemaphorePermit,
    _connection: PhantomData<&'c Connection>,
}

/// The sending end of a running command.
pub struct Stdin<'c> {
    half: ChannelWriteHalf<Msg>,
    pace: Arc<Pace>,
    line: Line,
    _connection: PhantomData<&'c Connection>,
}

impl std::fmt::Debug for Events<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Events")
            .field("refused", &self.refused)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Stdin<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stdin")
            .field("channel", &self.half.id())
            .finish_non_exhaustive()
    }
}

/// What a finished command left, collected by [`Connection::run`].
#[derive(Debug, Clone)]
pub struct Collected {
    /// Output, cut at the caller's limit.
    pub stdout: Vec<u8>,
    /// Error output, cut at the caller's limit.
    pub stderr: Vec<u8>,
    /// How it ended.
    pub exit: Exit,
}

impl Connection {
    /// Starts `command_line`. Its stdin stays open until [`Stdin::eof`] or [`Stdin::close`].
    ///
    /// # Errors
    /// [`Error::ChannelRefused`] or [`Error::Lost`].
    pub async fn exec(&self, command_line: &str) -> Result<Exec<'_>, Error> {
        let place = self.place().await?;
        self.exec_in(place, command_line).await
    }

    /// Starts `command_line` in a channel that is not tied to this borrow, so that it can stay open
    /// between uses; see [`Parked`](crate::ssh::parked::Parked).
    pub(crate) async fn exec_to_keep(&self, command_line: &str) -> Result<Exec<'static>, Error> {
        let place = self.place().await?;
        self.exec_in(place, command_line).await
    }

    async fn exec_in<'c>(
        &self,
        place: OwnedSemaphorePermit,
        command_line: &str,
    ) -> Result<Exec<'c>, Error> {
        let channel = self.open_channel().await?;
        channel
            .exec(true, command_line)
            .await
            .map_err(|_| self.lost())?;
        let (reader, writer) = channel.split();
        let pace = Arc::new(self.path.pace());
        Ok(Exec {
            events: Events {
                half: reader,
                line: self.line(),
                refused: false,
                pace: Arc::clone(&pace),
                _place: place,
                _connection: PhantomData,
            },
            stdin: Stdin {
                half: writer,
                pace,
                line: self.line(),
                _connection: PhantomData,
            },
        })
    }

    /// Runs `command_line` to its end with `stdin`, keeping at most `limit` bytes a stream.
    ///
    /// # Errors
    /// As [`Connection::exec`]; also [`Error::Lost`] when the connection dies or no exit status comes.
    pub async fn run(
        &self,
        command_line: &str,
        stdin: Vec<u8>,
        limit: usize,
    ) -> Result<Collected, Error> {
        let place = self.short_place().await?;
        let mut exec = self.exec_in(place, command_line).await?;
        exec.stdin.write(stdin.into()).await?;
        exec.stdin.eof().await?;
        let (mut stdout, mut stderr, mut exit) = (Vec::new(), Vec::new(), None);
        loop {
            match exec.events.next().await? {
                Event::Stdout(bytes) => keep(&mut stdout, &bytes, limit),
                Event::Stderr(bytes) => keep(&mut stderr, &bytes, limit),
                Event::Exit(how) => exit = Some(how),
                Event::Closed => break,
            }
        }
        match exit {
            Some(exit) => Ok(Collected {
                stdout,
                stderr,
                exit,
            }),
            None => Err(Error::Lost {
                why: "the command ended without an exit status".into(),
            }),
        }
    }
}

fn keep(kept: &mut Vec<u8>, bytes: &[u8], limit: usize) {
    let room = limit.saturating_sub(kept.len()).min(bytes.len());
    kept.extend_from_slice(bytes.get(..room).unwrap_or_default());
}

impl Events<'_> {
    /// Waits for what comes next. After [`Event::Closed`] there is nothing more.
    ///
    /// Cancel safe: an event not returned is not lost.
    ///
    /// # Errors
    /// [`Error::ChannelRefused`] when the server would not run the command, [`Error::Lost`] when
    /// the connection died.
    pub async fn next(&mut self) -> Result<Event, Error> {
        loop {
            let Some(message) = self.half.wait().await else {
                // The channel's sender is gone: closed in order only if the connection still lives.
                if self.line.is_closed() {
                    return Err(self.line.lost());
                }
                return Ok(Event::Closed);
            };
            match message {
                ChannelMsg::Data { data } => return Ok(Event::Stdout(data)),
                ChannelMsg::ExtendedData { data, ext: 1 } => return Ok(Event::Stderr(data)),
                ChannelMsg::ExitStatus { exit_status } => {
                    return Ok(Event::Exit(Exit::Code(exit_status)));
                }
                ChannelMsg::ExitSignal { signal_name, .. } => {
                    return Ok(Event::Exit(Exit::Signal(signal_text(&signal_name))));
                }
                ChannelMsg::Failure => self.refused = true,
                ChannelMsg::Close => {
                    if self.refused {
                        return Err(refused_command());
                    }
                    return Ok(Event::Closed);
                }
                ChannelMsg::OpenFailure(why) => {
                    return Err(Error::ChannelRefused {
                        act: "open a channel",
                        why: format!("{why:?}"),
                    });
                }
                ChannelMsg::WindowAdjusted { new_size } => self.pace.acknowledged(new_size),
                // Everything else is for servers, or says nothing about the command.
                _ => {}
            }
            if self.refused {
                return Err(refused_command());
            }
        }
    }
}

impl Stdin<'_> {
    /// Sends `bytes` to the command's stdin. Waits while the server takes no more.
    ///
    /// # Errors
    /// [`Error::Lost`] when the connection died.
    pub async fn write(&self, bytes: Bytes) -> Result<(), Error> {
        self.half
            .data_bytes(bytes)
            .await
            .map_err(|_| self.line.lost())
    }

    /// Sends `bytes` of a long stream, no faster than the server passes them on. Someone must read the
    /// events meanwhile: they bring its acknowledgements.
    ///
    /// # Errors
    /// As [`Stdin::write`].
    pub async fn write_bulk(&self, bytes: Bytes) -> Result<(), Error> {
        // What has been handed over but not sent yet is missing in the server's acknowledgements: let it go first, or
        // more is under way than the pace allows.
        tokio::task::yield_now().await;
        self.pace.take(bytes.len()).await;
        self.write(bytes).await
    }

    /// Ends the command's stdin.
    ///
    /// # Errors
    /// [`Error::Lost`] when the connection died.
    pub async fn eof(&self) -> Result<(), Error> {
        self.half.eof().await.map_err(|_| self.line.lost())
    }

    /// Closes the channel: the server closes the command's pipes.
    pub async fn close(&self) {
        let _ = self.half.close().await;
    }
}

fn refused_command() -> Error {
    Error::ChannelRefused {
        act: "run the command",
        why: "exec request failed".into(),
    }
}

fn signal_text(signal: &russh::Sig) -> String {
    use russh::Sig;
    match signal {
        Sig::ABRT => "ABRT",
        Sig::ALRM => "ALRM",
        Sig::FPE => "FPE",
        Sig::HUP => "HUP",
        Sig::ILL => "ILL",
        Sig::INT => "INT",
        Sig::KILL => "KILL",
        Sig::PIPE => "PIPE",
        Sig::QUIT => "QUIT",
        Sig::SEGV => "SEGV",
        Sig::TERM => "TERM",
        Sig::USR1 => "USR1",
        Sig::Custom(name) => name,
    }
    .to_owned()
}
