//! Puts a file on a host through a plain exec channel: no scp, no SFTP server needed.
//!
//! The host checks size and SHA-256 of what arrived before it renames it into place, so half an
//! upload never replaces anything. Memory is one read buffer, whatever the file's size.

use std::io;
use std::path::Path;

use bytes::Bytes;
use sha2::{Digest, Sha256};
use tokio::io::AsyncRead;

use crate::ssh::connect::Connection;
use crate::ssh::error::Error;
use crate::ssh::exec::{Event, Exec, Stdin};
use crate::ssh::framing::{Step, Unframer};
use crate::ssh::pieces::{Local, Pieces, Stream};
use crate::ssh::shell::{Code, Marker, command_line, header};

/// Defines the function `put`, which takes the file; see [`Upload::arguments`].
pub(crate) const PUT: &str = include_str!("../../templates/put.sh");
const TEMPLATE: &str = concat!(
    include_str!("../../templates/put.sh"),
    include_str!("../../templates/upload.sh")
);
/// Error text kept from the host's shell.
const STDERR_KEPT: usize = 2048;

/// A file to send.
#[derive(Debug, Clone)]
pub struct Upload {
    /// Where it goes; `~/` means the login user's home.
    pub path: String,
    /// Its permission bits.
    pub mode: u32,
    /// Its length in bytes.
    pub size: u64,
    /// Its SHA-256 in hexadecimal.
    pub sha256: String,
    /// Where to keep what stood at `path` before, if anything.
    pub keep_old_as: Option<String>,
}

impl Upload {
    /// Describes `contents` for a file at `path`.
    pub fn of_bytes(path: impl Into<String>, mode: u32, contents: &[u8]) -> Self {
        Self {
            path: path.into(),
            mode,
            size: contents.len() as u64,
            sha256: crate::support::ids::hex(&Sha256::digest(contents)),
            keep_old_as: None,
        }
    }

    /// Returns the code that sets what `put` wants.
    pub(crate) fn arguments(&self) -> Code {
        let mut code = path_word(Code::new().raw("p="), &self.path).raw(";o=");
        code = code
            .word(format!("{:o}", self.mode).as_bytes())
            .raw(";b=")
            .number(self.size);
        code = code.raw(";h=").word(self.sha256.as_bytes()).raw(";k=");
        match &self.keep_old_as {
            Some(keep) => path_word(code, keep),
            None => code,
        }
    }
}

/// Appends a path as one word, with `~/` left to the far shell's `$HOME`.
#[must_use]
pub fn path_word(code: Code, path: &str) -> Code {
    match path.strip_prefix("~/") {
        Some(rest) => code.raw("\"$HOME\"/").word(rest.as_bytes()),
        None => code.word(path.as_bytes()),
    }
}

impl Connection {
    /// Sends `source` as `upload` describes it. Returns the absolute path on the host.
    ///
    /// # Errors
    /// [`Error::Upload`] when the host could not store it or got other bytes, else as [`Connection::exec`].
    pub async fn upload(
        &self,
        upload: &Upload,
        source: &mut (impl AsyncRead + Unpin),
    ) -> Result<String, Error> {
        self.upload_pieces(upload, &mut Stream::new(source)).await
    }

    /// Sends a local file. Returns the absolute path on the host.
    ///
    /// # Errors
    /// As [`Connection::upload`].
    pub async fn upload_file(&self, upload: &Upload, local: &Path) -> Result<String, Error> {
        let mut file = open(upload, local).await?;
        self.upload_pieces(upload, &mut file).await
    }

    async fn upload_pieces(
        &self,
        upload: &Upload,
        source: &mut impl Pieces,
    ) -> Result<String, Error> {
        let marker = Marker::fresh();
        let Exec { mut events, stdin } = self.exec(&command_line(TEMPLATE)).await?;
        let mut reply = Reply::new(&marker);
        // The host may give up halfway (disk full) and read no more: listen while sending.
        let sending = async {
            let start = header(&marker, [upload.arguments()]);
            let sent = send(&stdin, start.into(), upload.size, source).await?;
            stdin.eof().await?;
            Ok::<_, Error>(sent)
        };
        tokio::pin!(sending);
        let mut sent = false;
        while !reply.closed {
            tokio::select! {
                event = events.next() => reply.take(event?),
                result = &mut sending, if !sent => {
                    sent = true;
                    if let Err(why) = result? {
                        stdin.close().await;
                        return Err(unread(upload, &why));
                    }
                }
            }
        }
        reply.into_result(upload)
    }
}

/// Says that the local file cannot be sent.
pub(crate) fn unread(upload: &Upload, why: &io::Error) -> Error {
    failure(upload, format!("reading the local file: {why}"))
}

/// Opens the local file.
///
/// # Errors
/// [`Error::Upload`].
pub(crate) async fn open(upload: &Upload, local: &Path) -> Result<Local, Error> {
    let opened = Local::open(local).await;
    opened.map_err(|why| failure(upload, why))
}

fn failure(upload: &Upload, why: String) -> Error {
    Error::Upload {
        path: upload.path.clone(),
        why,
    }
}

/// Sends `start` and then the first `size` bytes of the file, never more: what is there may go on reading. Returns how
/// much was missing. The inner error is the local file's.
pub(crate) async fn send(
    stdin: &Stdin<'_>,
    start: Bytes,
    size: u64,
    source: &mut impl Pieces,
) -> Result<Result<u64, io::Error>, Error> {
    stdin.write(start).await?;
    let mut left = size;
    while left > 0 {
        let mut piece = match source.next().await {
            Ok(piece) => piece,
            Err(error) => return Ok(Err(error)),
        };
        if piece.is_empty() {
            break;
        }
        piece.truncate(usize::try_from(left).unwrap_or(usize::MAX));
        left -= piece.len() as u64;
        stdin.write_bulk(piece).await?;
    }
    Ok(Ok(left))
}

/// What the host answers to a file.
pub(crate) struct Reply {
    unframer: Unframer,
    words: Option<String>,
    stderr: Vec<u8>,
    pub(crate) closed: bool,
}

impl Reply {
    pub(crate) fn new(marker: &Marker) -> Self {
        Self {
            unframer: Unframer::new(marker),
            words: None,
            stderr: Vec::new(),
            closed: false,
        }
    }

    pub(crate) fn take(&mut self, event: Event) {
        match event {
            Event::Stdout(bytes) => {
                if let Step::Opened { words, .. } = self.unframer.push(bytes) {
                    self.words = Some(words);
                }
            }
            Event::Stderr(bytes) => {
                let room = STDERR_KEPT
                    .saturating_sub(self.stderr.len())
                    .min(bytes.len());
                self.stderr
                    .extend_from_slice(bytes.get(..room).unwrap_or_default());
            }
            Event::Exit(_) => {}
            Event::Closed => self.closed = true,
        }
    }

    /// Tells whether it is in place.
    pub(crate) fn is_ok(&self) -> bool {
        self.path().is_some()
    }

    fn path(&self) -> Option<&str> {
        self.words.as_deref()?.strip_prefix("ok ")
    }

    /// Returns the absolute path on the host.
    ///
    /// # Errors
    /// [`Error::Upload`] when it is not there.
    pub(crate) fn into_result(self, upload: &Upload) -> Result<String, Error> {
        match self.path() {
            Some(path) => Ok(path.to_owned()),
            None => Err(failure(upload, self.explain())),
        }
    }

    fn explain(&self) -> String {
        let stderr = String::from_utf8_lossy(&self.stderr);
        let last = stderr
            .lines()
            .rev()
            .find(|line| !line.trim().is_empty())
            .unwrap_or_default();
        let words = self
            .words
            .as_deref()
            .unwrap_or("the host's shell gave no answer");
        let (word, rest) = words.split_once(' ').unwrap_or((words, ""));
        let what = match word {
            "mkdir" => format!("cannot make directory {rest}"),
            "write" => format!("cannot write {rest}"),
            "short" => format!("only {rest} arrived"),
            "digest" => format!("other bytes arrived: SHA-256 there is {rest}"),
            "nodigest" => format!("the host cannot check it: {rest}"),
            "chmod" | "keep" | "rename" => format!("cannot {word} {rest}"),
            _ => words.to_owned(),
        };
        if last.is_empty() {
            what
        } else {
            format!("{what}: {last}")
        }
    }
}
