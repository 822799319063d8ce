//! Starts a runner in a channel of its own.

use std::sync::LazyLock;
use std::time::Duration;

use tokio::time::timeout;

use super::Runner;
use super::frames::{Frame, Frames};
use crate::ssh::framing::{Step, Unframer};
use crate::ssh::parked::Kept;
use crate::ssh::shell::{Code, Marker, command_line, header, script};
use crate::ssh::{Connection, Error, Event};

static LINE: LazyLock<String> =
    LazyLock::new(|| command_line(include_str!("../../../templates/runner.sh")));
static RUNNER: LazyLock<String> =
    LazyLock::new(|| script(include_str!("../../../templates/runner.pl")).join("\n"));

/// What the runner and we speak.
const VERSION: &str = "1";
/// Who has not started one by then will do so no more.
const START_LIMIT: Duration = Duration::from_secs(15);

/// Why there is no runner.
pub(super) enum Failed {
    /// The host has none; commands run in sessions of their own.
    Useless(String),
    /// No channel, or no connection.
    Lost(Error),
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self::Lost(error)
    }
}

pub(super) async fn start(connection: &Connection) -> Result<Runner, Failed> {
    let marker = Marker::fresh();
    // On stdin the login shell cannot spoil it, and no process list shows all of it.
    let size = RUNNER.len() as u64;
    let read = Code::new()
        .raw("binmode STDIN; my $s = q(); while (length($s) < ")
        .number(size)
        .raw(") { sysread(STDIN, $s, ")
        .number(size)
        .raw(" - length($s), length($s)) or exit 255 } eval $s; exit 255");
    let mut head = header(&marker, [read]);
    head.extend_from_slice(RUNNER.as_bytes());
    let mut runner = Runner::new(Kept::new(connection.exec_to_keep(&LINE).await?));
    runner.write(head.into()).await?;
    match timeout(START_LIMIT, greet(&mut runner, &marker)).await {
        Ok(Ok(())) => Ok(runner),
        Ok(Err(failed)) => Err(failed),
        Err(_) => Err(Failed::Useless("it does not start".to_owned())),
    }
}

/// Waits for its first word.
async fn greet(runner: &mut Runner, marker: &Marker) -> Result<(), Failed> {
    let useless = |why: String| Err(Failed::Useless(why));
    let mut opening = Unframer::new(marker);
    let mut complaint = String::new();
    loop {
        let event = match runner.event().await {
            Ok(event) => event,
            Err(error) => return Err(Failed::Lost(error)),
        };
        let bytes = match event {
            Event::Stdout(bytes) => match opening.push(bytes) {
                Step::Waiting => continue,
                Step::Opened { words, rest } if words.starts_with("run ") => rest,
                Step::Opened { words, .. } => return useless(words),
                Step::Payload(bytes) => bytes,
            },
            Event::Stderr(bytes) => {
                complaint = String::from_utf8_lossy(&bytes).trim().to_owned();
                continue;
            }
            Event::Exit(_) => continue,
            Event::Closed => return useless(format!("it ended: {complaint}")),
        };
        runner.frames.push(&bytes);
        match runner.frames.next() {
            Ok(None) => {}
            Ok(Some(Frame::Hello(version))) if version == VERSION => return Ok(()),
            Ok(Some(_)) | Err(_) => return useless("it says something else".to_owned()),
        }
    }
}

impl Runner {
    pub(super) fn new(kept: Kept) -> Self {
        Self {
            kept: Some(kept),
            frames: Frames::default(),
        }
    }
}
