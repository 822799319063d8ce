//! Puts a file on a host through a plain exec channel: no scp, no SFTP server needed.
//!
//! The host checks size and SHA-256 of what arrived before it renames it into place, so half an
//! upload never replaces anything. Memory is one read buffer, whatever the file's size.

use std::path::Path;

use bytes::{Bytes, BytesMut};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::ssh::connect::Connection;
use crate::ssh::error::Error;
use crate::ssh::exec::{Event, Exec, Stdin};
use crate::ssh::framing::{Step, Unframer};
use crate::ssh::shell::{Code, Marker, command_line, header};

const TEMPLATE: &str = include_str!("../../templates/upload.sh");
/// One read of the source; a few SSH packets.
const CHUNK: usize = 128 << 10;
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
        let marker = Marker::fresh();
        let mut code = path_word(Code::new().raw("p="), &upload.path).raw(";o=");
        code = code
            .word(format!("{:o}", upload.mode).as_bytes())
            .raw(";b=")
            .number(upload.size);
        code = code.raw(";h=").word(upload.sha256.as_bytes()).raw(";k=");
        if let Some(keep) = &upload.keep_old_as {
            code = path_word(code, keep);
        }
        let fail = |why: String| Error::Upload {
            path: upload.path.clone(),
            why,
        };
        let Exec { mut events, stdin } = self.exec(&command_line(TEMPLATE)).await?;
        let mut reply = Reply::new(&marker);
        // The host may give up halfway (disk full) and read no more: listen while sending.
        let sending = send(&stdin, header(&marker, [code]).into(), source);
        tokio::pin!(sending);
        let mut sent = false;
        while !reply.closed {
            tokio::select! {
                event = events.next() => reply.take(event?),
                result = &mut sending, if !sent => {
                    sent = true;
                    if let Err(why) = result? {
                        stdin.close().await;
                        return Err(fail(format!("reading the local file: {why}")));
                    }
                }
            }
        }
        match reply
            .words
            .as_deref()
            .and_then(|words| words.strip_prefix("ok "))
        {
            Some(path) => Ok(path.to_owned()),
            None => Err(fail(reply.explain())),
        }
    }

    /// Sends a local file. Returns the absolute path on the host.
    ///
    /// # Errors
    /// As [`Connection::upload`].
    pub async fn upload_file(&self, upload: &Upload, local: &Path) -> Result<String, Error> {
        let mut file = tokio::fs::File::open(local)
            .await
            .map_err(|error| Error::Upload {
                path: upload.path.clone(),
                why: format!("open {}: {error}", local.display()),
            })?;
        self.upload(upload, &mut file).await
    }
}

/// Sends the header, the file and the end of it. The inner error is the local file's.
async fn send(
    stdin: &Stdin<'_>,
    header: Bytes,
    source: &mut (impl AsyncRead + Unpin),
) -> Result<Result<(), std::io::Error>, Error> {
    stdin.write(header).await?;
    let mut buffer = BytesMut::new();
    loop {
        buffer.reserve(CHUNK);
        match source.read_buf(&mut buffer).await {
            Ok(0) => break,
            Ok(_) => stdin.write_bulk(buffer.split().freeze()).await?,
            Err(error) => return Ok(Err(error)),
        }
    }
    stdin.eof().await?;
    Ok(Ok(()))
}

struct Reply {
    unframer: Unframer,
    words: Option<String>,
    stderr: Vec<u8>,
    closed: bool,
}

impl Reply {
    fn new(marker: &Marker) -> Self {
        Self {
            unframer: Unframer::new(marker),
            words: None,
            stderr: Vec::new(),
            closed: false,
        }
    }

    fn take(&mut self, event: Event) {
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
