//! A session of sshd's for one command, which runs under the remote supervisor (`templates/supervisor.sh`).

use std::borrow::Cow;
use std::sync::LazyLock;
use std::time::Duration;

use bytes::Bytes;

use super::Stream;
use super::way::Said;
use crate::fleet::remote::Command;
use crate::ssh::exec::{Events, Stdin};
use crate::ssh::framing::{Step, Unframer};
use crate::ssh::shell::{Marker, command_line, header};
use crate::ssh::{Connection, Error, Event, Exec};

static SUPERVISOR: LazyLock<String> =
    LazyLock::new(|| command_line(include_str!("../../../templates/supervisor.sh")));

/// A command in a session.
pub(super) struct Session<'c> {
    events: Events<'c>,
    pub(super) stdin: Stdin<'c>,
    stdout: Unframer,
    stderr: Unframer,
    /// Output that came with the first words.
    behind: Option<Bytes>,
}

impl<'c> Session<'c> {
    /// Starts one and sends it the command. Fails with whether anything of it may have arrived.
    pub(super) async fn open(
        connection: &'c Connection,
        command: &Command,
        marker: &Marker,
        grace: Duration,
    ) -> Result<Self, (Error, bool)> {
        let mut head = header(marker, [command.settings(grace), command.code()]);
        let mut line = Cow::Borrowed(SUPERVISOR.as_str());
        if let Some(sudo) = &command.sudo {
            // sudo reads its password from the line before ours. Where it asks for none, the supervisor
            // passes over that line, because it does not look like a marker.
            line = Cow::Owned(line.replacen("exec ", &format!("exec {} ", sudo.prefix()), 1));
            if let Some(password) = &sudo.password {
                head = [password.expose().as_bytes(), b"\n", &head].concat();
            }
        }
        let opened = connection.exec(&line).await;
        let Exec { events, stdin } = opened.map_err(|error| (error, false))?;
        let sent = stdin.write(head.into()).await;
        sent.map_err(|error| (error, true))?;
        Ok(Self {
            events,
            stdin,
            stdout: Unframer::new(marker),
            stderr: Unframer::new(marker),
            behind: None,
        })
    }

    /// Waits for what comes next. Cancel safe.
    ///
    /// # Errors
    /// When the connection died, or the server does not run the command.
    pub(super) async fn next(&mut self) -> Result<Said, Error> {
        loop {
            if let Some(bytes) = self.behind.take() {
                return Ok(Said::Output(Stream::Stdout, bytes));
            }
            let (stream, step) = match self.events.next().await? {
                Event::Stdout(bytes) => (Stream::Stdout, self.stdout.push(bytes)),
                Event::Stderr(bytes) => (Stream::Stderr, self.stderr.push(bytes)),
                Event::Exit(exit) => return Ok(Said::Exit(exit)),
                Event::Closed => return Ok(Said::Over),
            };
            return Ok(match (stream, step) {
                (_, Step::Waiting) => continue,
                (Stream::Stdout, Step::Opened { words, rest }) => {
                    self.behind = Some(rest).filter(|rest| !rest.is_empty());
                    Said::Words(words)
                }
                (Stream::Stderr, Step::Opened { rest, .. }) => Said::Output(stream, rest),
                (_, Step::Payload(bytes)) => Said::Output(stream, bytes),
            });
        }
    }

    /// Tells whether our script has said anything.
    pub(super) fn has_begun(&self) -> bool {
        self.stdout.is_open()
    }

    /// Returns what was printed instead of its words.
    pub(super) fn noise(&self) -> String {
        let said = self.stderr.noise();
        if said.is_empty() {
            return self.stdout.noise();
        }
        said
    }

    /// Returns what was printed on stdout so far.
    pub(super) fn printed(&self) -> String {
        self.stdout.noise()
    }
}
