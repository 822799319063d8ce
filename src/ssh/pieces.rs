//! What is sent as a file, piece by piece. Memory is two read buffers, whatever its size.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use rustix::buffer::spare_capacity;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::task::{JoinHandle, spawn_blocking};

/// What is handed over at once; a few SSH packets.
const PIECE: usize = 128 << 10;
/// What is read at once: each read takes a thread of its own for a moment, which costs more than the read.
const READ: usize = 4 * PIECE;

/// Something that is sent.
pub(crate) trait Pieces {
    /// Returns the next piece; an empty one is the end.
    async fn next(&mut self) -> io::Result<Bytes>;
}

/// A stream.
#[derive(Debug)]
pub(crate) struct Stream<'s, S> {
    source: &'s mut S,
    buffer: BytesMut,
}

impl<'s, S> Stream<'s, S> {
    pub(crate) fn new(source: &'s mut S) -> Self {
        let buffer = BytesMut::new();
        Self { source, buffer }
    }
}

impl<S: AsyncRead + Unpin> Pieces for Stream<'_, S> {
    async fn next(&mut self) -> io::Result<Bytes> {
        self.buffer.reserve(PIECE);
        self.source.read_buf(&mut self.buffer).await?;
        Ok(self.buffer.split().freeze())
    }
}

/// A file on this machine. The next part of it is read while the last one is sent.
#[derive(Debug)]
pub(crate) struct Local {
    file: Arc<File>,
    at: u64,
    ahead: Option<JoinHandle<io::Result<Vec<u8>>>>,
    rest: Bytes,
}

impl Local {
    /// Opens a file.
    ///
    /// # Errors
    /// When it cannot be opened; the text names it.
    pub(crate) async fn open(path: &Path) -> Result<Self, String> {
        let opened = tokio::fs::File::open(path).await;
        let file = opened.map_err(|error| format!("open {}: {error}", path.display()))?;
        Ok(Self {
            file: Arc::new(file.into_std().await),
            at: 0,
            ahead: None,
            rest: Bytes::new(),
        })
    }

    fn read(&self) -> JoinHandle<io::Result<Vec<u8>>> {
        let (file, at) = (Arc::clone(&self.file), self.at);
        spawn_blocking(move || {
            let mut bytes = Vec::with_capacity(READ);
            rustix::io::pread(&file, spare_capacity(&mut bytes), at)?;
            Ok(bytes)
        })
    }
}

impl Pieces for Local {
    async fn next(&mut self) -> io::Result<Bytes> {
        if self.rest.is_empty() {
            let reading = self.ahead.take().unwrap_or_else(|| self.read());
            let bytes = reading.await.map_err(io::Error::other)??;
            self.at += bytes.len() as u64;
            if !bytes.is_empty() {
                self.ahead = Some(self.read());
            }
            self.rest = bytes.into();
        }
        Ok(self.rest.split_to(PIECE.min(self.rest.len())))
    }
}
