//! Keeps what a task prints without letting it fill memory or disk.
//!
//! Per stream: the first megabyte in memory, then a file in the run's directory, up to a cap; past the
//! cap only the count goes on.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::PathBuf;

use bytes::Bytes;

use crate::protocol::{Ends, Output};

/// What one stream may hold in memory.
const IN_MEMORY: usize = 1 << 20;

/// One stream of one task.
#[derive(Debug)]
pub struct Capture {
    /// The most that is kept, in bytes; none = everything.
    cap: Option<u64>,
    spool_path: PathBuf,
    memory: Vec<u8>,
    spool: Option<File>,
    kept: u64,
    total: u64,
    /// Set where only the ends are wanted; then nothing else is kept.
    ends: Option<Ends>,
}

impl Capture {
    /// Returns an empty capture that spools to `spool_path` if it must.
    pub fn new(cap: Option<u64>, spool_path: PathBuf) -> Self {
        Self {
            cap,
            spool_path,
            memory: Vec::new(),
            spool: None,
            kept: 0,
            total: 0,
            ends: None,
        }
    }

    /// Returns an empty capture that keeps `limit` bytes from both ends, all of them in memory.
    pub fn of_ends(limit: usize) -> Self {
        Self {
            ends: Some(Ends::new(limit)),
            ..Self::new(Some(0), PathBuf::new())
        }
    }

    /// Returns what a capture of ends has kept.
    pub fn into_ends(self) -> Output {
        self.ends.map(Ends::finish).unwrap_or_default()
    }

    /// Takes the next bytes.
    ///
    /// # Errors
    /// When the spool file cannot be written; the bytes are then counted but not kept.
    pub fn push(&mut self, bytes: &Bytes) -> io::Result<()> {
        self.total += bytes.len() as u64;
        if let Some(ends) = &mut self.ends {
            ends.push(bytes);
            return Ok(());
        }
        let room = self
            .cap
            .map_or(u64::MAX, |cap| cap.saturating_sub(self.kept));
        let take = usize::try_from(room).unwrap_or(usize::MAX).min(bytes.len());
        let bytes = bytes.get(..take).unwrap_or_default();
        if bytes.is_empty() {
            return Ok(());
        }
        if self.spool.is_none() && self.memory.len() + bytes.len() <= IN_MEMORY {
            self.memory.extend_from_slice(bytes);
        } else {
            self.spool_file()?.write_all(bytes)?;
        }
        self.kept += bytes.len() as u64;
        Ok(())
    }

    fn spool_file(&mut self) -> io::Result<&mut File> {
        if self.spool.is_none() {
            let mut file = {
                use std::os::unix::fs::OpenOptionsExt;
                if let Some(dir) = self.spool_path.parent() {
                    crate::support::paths::create_private_dir(dir).map_err(io::Error::other)?;
                }
                let mut options = File::options();
                options
                    .read(true)
                    .write(true)
                    .create(true)
                    .truncate(true)
                    .mode(0o600);
                options.open(&self.spool_path)?
            };
            file.write_all(&self.memory)?;
            self.memory = Vec::new();
            self.spool = Some(file);
        }
        self.spool
            .as_mut()
            .ok_or_else(|| io::Error::other("spool file"))
    }

    /// Forgets all that came.
    pub fn clear(&mut self) {
        *self = Self::new(self.cap, self.spool_path.clone());
    }

    /// Moves what is in memory to the file too, and returns where all of it is now.
    pub fn spill(&mut self) -> Option<PathBuf> {
        match self.spool_file() {
            Ok(_) => Some(self.spool_path.clone()),
            Err(error) => {
                tracing::warn!(%error, path = %self.spool_path.display(), "cannot keep output on disk");
                None
            }
        }
    }

    /// Returns how much came in all.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Tells whether something that came was not kept.
    pub fn is_cut(&self) -> bool {
        self.kept < self.total
    }

    /// Returns at most `head` bytes from the start and `tail` from the end; whole if that covers it.
    ///
    /// # Errors
    /// When the spool file cannot be read.
    pub fn ends(&mut self, head: usize, tail: usize) -> io::Result<(Vec<u8>, Vec<u8>)> {
        let kept = usize::try_from(self.kept).unwrap_or(usize::MAX);
        if kept <= head + tail {
            return Ok((self.read_at(0, kept)?, Vec::new()));
        }
        Ok((
            self.read_at(0, head)?,
            self.read_at((kept - tail) as u64, tail)?,
        ))
    }

    /// Returns everything that was kept.
    ///
    /// # Errors
    /// When the spool file cannot be read.
    pub fn read_all(&mut self) -> io::Result<Vec<u8>> {
        let kept = usize::try_from(self.kept).unwrap_or(usize::MAX);
        self.read_at(0, kept)
    }

    fn read_at(&mut self, from: u64, length: usize) -> io::Result<Vec<u8>> {
        match &mut self.spool {
            None => {
                let start = usize::try_from(from).unwrap_or(usize::MAX);
                Ok(self
                    .memory
                    .get(start..start + length)
                    .unwrap_or_default()
                    .to_vec())
            }
            Some(file) => {
                let mut bytes = Vec::with_capacity(length);
                file.seek(SeekFrom::Start(from))?;
                Read::by_ref(file)
                    .take(length as u64)
                    .read_to_end(&mut bytes)?;
                file.seek(SeekFrom::End(0))?;
                Ok(bytes)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(cap: Option<u64>, chunks: usize) -> (tempfile::TempDir, Capture) {
        let dir = tempfile::tempdir().unwrap();
        let mut capture = Capture::new(cap, dir.path().join("run/a.out"));
        for n in 0..chunks {
            capture.push(&Bytes::from(vec![n as u8; 100_000])).unwrap();
        }
        (dir, capture)
    }

    #[test]
    fn small_output_stays_in_memory() {
        let (dir, mut capture) = filled(None, 10);
        assert!(!dir.path().join("run").exists());
        assert_eq!(capture.read_all().unwrap().len(), 1_000_000);
        assert!(!capture.is_cut());
    }

    #[test]
    fn large_output_is_spooled_byte_for_byte() {
        let (_dir, mut capture) = filled(None, 30);
        assert!(capture.memory.is_empty());
        let all = capture.read_all().unwrap();
        assert!(
            all.chunks(100_000)
                .enumerate()
                .all(|(n, chunk)| chunk.iter().all(|b| *b == n as u8))
        );
        let (head, tail) = capture.ends(5, 3).unwrap();
        assert_eq!((head, tail), (vec![0; 5], vec![29; 3]));
        capture.push(&Bytes::from_static(b"end")).unwrap();
        assert!(
            capture.read_all().unwrap().ends_with(b"end"),
            "reading does not move the writing end"
        );
    }

    #[test]
    fn past_the_cap_only_the_count_goes_on() {
        let (_dir, mut capture) = filled(Some(1_500_000), 30);
        assert!(capture.is_cut());
        assert_eq!(capture.total(), 3_000_000);
        assert_eq!(capture.read_all().unwrap().len(), 1_500_000);
    }
}
