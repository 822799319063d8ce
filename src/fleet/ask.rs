//! Asks a host something with one of our templates, in one round trip, and returns its framed answer.

use std::time::Duration;

use bytes::Bytes;

use crate::ssh::framing::{Step, Unframer};
use crate::ssh::shell::{Code, Marker, command_line, header};
use crate::ssh::{Connection, Error, Exit};

/// The most of an answer that is kept, in bytes; what a login script prints before it counts too.
const MOST_KEPT: usize = 16 << 20;
/// How much of the shell's complaints a message shows, in characters.
const COMPLAINT_SHOWN: usize = 200;

/// What a template answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The words on the marker line.
    pub words: String,
    /// What came after it.
    pub body: String,
    /// What the host's shell wrote to stderr.
    pub stderr: String,
    /// How the shell ended.
    pub exit: Exit,
}

/// Runs `template` with `code` and returns what it answered after the marker.
///
/// # Errors
/// [`Error::Lost`] when the connection dies, no framed answer comes or `limit` passes.
pub async fn ask(
    connection: &Connection,
    template: &str,
    code: Code,
    limit: Duration,
) -> Result<Answer, Error> {
    let marker = Marker::fresh();
    let stdin = header(&marker, [code]);
    let line = command_line(template);
    let running = connection.run(&line, stdin, MOST_KEPT);
    let collected = match tokio::time::timeout(limit, running).await {
        Ok(collected) => collected?,
        Err(_) => {
            let why = format!("no answer within {}", crate::support::span::human(limit));
            return Err(Error::Lost { why });
        }
    };
    let stderr = String::from_utf8_lossy(&collected.stderr).into_owned();
    let mut unframer = Unframer::new(&marker);
    match unframer.push(Bytes::from(collected.stdout)) {
        Step::Opened { words, rest } => Ok(Answer {
            words,
            body: String::from_utf8_lossy(&rest).into_owned(),
            stderr,
            exit: collected.exit,
        }),
        Step::Waiting | Step::Payload(_) => {
            // A login script may have printed our own input back, which nobody should see.
            let complaint: String = match stderr.contains(marker.as_str()) {
                true => String::new(),
                false => stderr.trim().chars().take(COMPLAINT_SHOWN).collect(),
            };
            let said = format!("{} {complaint}", unframer.noise());
            let why = format!(
                "the login shell did not run our script; it said `{}`",
                said.trim()
            );
            Err(Error::Lost { why })
        }
    }
}
