//! One shell on the host that does what a deploy asks, step after step.
//!
//! A command costs the host a session of sshd's, a login shell and ours, several times what most steps cost. So look,
//! lock, upload and settings are functions of one script (`templates/desk.sh` says which), and each line that we send
//! calls one of them. What fails ends the script, which gives back the lock and removes what is half done.

use std::sync::LazyLock;
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::error::DeployError;
use crate::ssh::framing::{Step, Unframer};
use crate::ssh::pieces::Pieces;
use crate::ssh::shell::{Code, Marker, command_line, header};
use crate::ssh::upload::{self, PUT, Reply, Upload};
use crate::ssh::{Connection, Error, Event, Exec};
use crate::support::span;

static LINE: LazyLock<String> = LazyLock::new(|| command_line(&template()));

/// Three files of at most 256 KiB each, and noise.
const MOST_KEPT: usize = 16 << 20;
/// Error text kept from the host's shell.
const STDERR_KEPT: usize = 2048;
/// How long the script may take to end with its input.
const CLOSING: Duration = Duration::from_secs(30);

/// Returns the script that runs on the host.
pub(super) fn template() -> String {
    [
        PUT,
        include_str!("../../../templates/desk-look.sh"),
        include_str!("../../../templates/desk-lock.sh"),
        include_str!("../../../templates/desk-write.sh"),
        include_str!("../../../templates/desk.sh"),
    ]
    .concat()
}

/// What a step answered.
#[derive(Debug)]
pub(super) struct Answer {
    /// The words of its first line.
    pub(super) words: String,
    /// What came after it, for steps that say more.
    pub(super) body: Vec<u8>,
    /// What the host's shell wrote to stderr meanwhile.
    pub(super) stderr: String,
}

/// How much a step says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Says {
    Line,
    /// Up to the framed word `end`.
    Body,
}

/// The shell of one deploy. Dropping it ends it as soon as the host notices.
#[derive(Debug)]
pub(super) struct Desk<'c> {
    connection: &'c Connection,
    open: Option<(Exec<'c>, Marker)>,
}

impl<'c> Desk<'c> {
    /// Returns one that starts its shell with the first step.
    pub(super) fn new(connection: &'c Connection) -> Self {
        let open = None;
        Self { connection, open }
    }

    pub(super) fn connection(&self) -> &'c Connection {
        self.connection
    }

    /// Calls a function that answers with one line.
    ///
    /// # Errors
    /// When the connection dies, no answer of ours comes, or none within `limit`. Then the shell has ended.
    pub(super) async fn ask(&mut self, code: Code, limit: Duration) -> Result<Answer, DeployError> {
        self.step(code, Says::Line, limit).await
    }

    /// Calls `look`.
    ///
    /// # Errors
    /// As [`Desk::ask`].
    pub(super) async fn ask_long(
        &mut self,
        code: Code,
        limit: Duration,
    ) -> Result<Answer, DeployError> {
        self.step(code, Says::Body, limit).await
    }

    /// Calls `put` and sends the file.
    ///
    /// # Errors
    /// As [`Connection::upload`]; then the shell has ended.
    pub(super) async fn put(
        &mut self,
        upload: &Upload,
        file: &mut impl Pieces,
    ) -> Result<(), DeployError> {
        let (reply, sent) = {
            let code = upload.arguments().raw(";put");
            let (exec, marker, start) = self.begin(code).await?;
            let mut reply = Reply::new(marker);
            let Exec { events, stdin } = exec;
            let sending = async {
                let sent = upload::send(stdin, start, upload.size, file).await?;
                // Who waits for the rest of a file that has become shorter would wait for ever.
                if !matches!(sent, Ok(0)) {
                    stdin.eof().await?;
                }
                Ok::<_, Error>(sent)
            };
            tokio::pin!(sending);
            let mut sent = None;
            // After a refusal until the end: its reason may come behind it.
            while !(reply.closed || reply.is_ok() && sent.is_some()) {
                tokio::select! {
                    event = events.next() => reply.take(event?),
                    result = &mut sending, if sent.is_none() => sent = Some(result?),
                }
            }
            (reply, sent)
        };
        if !reply.is_ok() {
            self.open = None;
        }
        if let Some(Err(why)) = sent {
            return Err(upload::unread(upload, &why).into());
        }
        Ok(reply.into_result(upload).map(drop)?)
    }

    /// Does something in another session, which some servers allow only when there is no desk.
    ///
    /// # Errors
    /// Those of `act`.
    pub(super) async fn beside<T, F: Future<Output = Result<T, DeployError>>>(
        &mut self,
        act: impl Fn(&'c Connection) -> F,
    ) -> Result<T, DeployError> {
        match act(self.connection).await {
            Err(DeployError::Ssh(Error::ChannelRefused { .. })) if self.open.is_some() => {
                self.close().await;
                act(self.connection).await
            }
            result => result,
        }
    }

    /// Ends the shell and returns when it has ended, and whatever it held is free.
    pub(super) async fn close(&mut self) {
        let Some((mut exec, _)) = self.open.take() else {
            return;
        };
        // Should that fail, the connection is gone and the shell with it.
        if exec.stdin.eof().await.is_err() {
            return;
        }
        let closed =
            async { while !matches!(exec.events.next().await, Ok(Event::Closed) | Err(_)) {} };
        let _ = tokio::time::timeout(CLOSING, closed).await;
    }

    /// Ends the shell without waiting for that: it holds nothing.
    pub(super) async fn leave(&mut self) {
        if let Some((exec, _)) = self.open.take() {
            let _ = exec.stdin.eof().await;
        }
    }

    /// Returns the shell, started if need be, and what is to be sent to call a function.
    async fn begin(&mut self, code: Code) -> Result<(&mut Exec<'c>, &Marker, Bytes), Error> {
        let is_new = self.open.is_none();
        let (exec, marker) = match &mut self.open {
            Some(open) => open,
            none => none.insert((self.connection.exec(&LINE).await?, Marker::fresh())),
        };
        let line = match is_new {
            true => header(marker, [code]),
            false => code.into_line(),
        };
        Ok((exec, marker, line.into()))
    }

    async fn step(
        &mut self,
        code: Code,
        says: Says,
        limit: Duration,
    ) -> Result<Answer, DeployError> {
        let (exec, marker, line) = self.begin(code).await?;
        let asking = async {
            exec.stdin.write(line).await?;
            hear(exec, marker, says).await
        };
        let heard = tokio::time::timeout(limit, asking).await;
        match heard {
            Ok(Ok((answer, Over::No))) => Ok(answer),
            Ok(Ok((answer, Over::Yes))) => {
                self.open = None;
                Ok(answer)
            }
            Ok(Err(error)) => {
                self.open = None;
                Err(error)
            }
            Err(_) => {
                self.open = None;
                let why = format!("no answer within {}", span::human(limit));
                Err(Error::Lost { why }.into())
            }
        }
    }
}

/// Whether the shell ended with its answer.
enum Over {
    Yes,
    No,
}

async fn hear(
    exec: &mut Exec<'_>,
    marker: &Marker,
    says: Says,
) -> Result<(Answer, Over), DeployError> {
    let mut opening = Unframer::new(marker);
    let end = format!("{} end\n", marker.reply()).into_bytes();
    let (mut words, mut body, mut stderr) = (None, BytesMut::new(), Vec::new());
    let over = loop {
        match exec.events.next().await? {
            Event::Stdout(bytes) => match opening.push(bytes) {
                Step::Waiting => continue,
                Step::Opened { words: said, rest } => {
                    words = Some(said);
                    body.extend_from_slice(&rest);
                }
                Step::Payload(bytes) if body.len() < MOST_KEPT => body.extend_from_slice(&bytes),
                Step::Payload(_) => {}
            },
            Event::Stderr(bytes) => {
                let room = STDERR_KEPT.saturating_sub(stderr.len()).min(bytes.len());
                stderr.extend_from_slice(bytes.get(..room).unwrap_or_default());
                continue;
            }
            Event::Exit(_) => continue,
            Event::Closed => break Over::Yes,
        }
        match (says, words.as_deref()) {
            (Says::Body, Some(_)) if body.ends_with(&end) => {
                body.truncate(body.len() - end.len());
                break Over::No;
            }
            // After a refusal until the end: its reason may come behind it.
            (Says::Line, Some(words)) if goes_on(words) => break Over::No,
            _ => {}
        }
    };
    let stderr = String::from_utf8_lossy(&stderr).into_owned();
    let Some(words) = words else {
        // A login script may have printed our own input back, which nobody should see.
        let complaint = match stderr.contains(marker.as_str()) {
            true => "",
            false => stderr.trim(),
        };
        let said = format!("{} {complaint}", opening.noise());
        let said = format!("`{}`", said.trim());
        if says == Says::Body {
            return Err(DeployError::Answer { said });
        }
        let why = format!("the login shell did not run our script; it said {said}");
        return Err(Error::Lost { why }.into());
    };
    let body = body.to_vec();
    Ok((
        Answer {
            words,
            body,
            stderr,
        },
        over,
    ))
}

/// Tells whether the shell waits for the next step after this answer.
fn goes_on(words: &str) -> bool {
    let word = words.split(' ').next().unwrap_or_default();
    matches!(word, "ok" | "locked" | "noprintf")
}
