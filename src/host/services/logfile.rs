//! The output of one service on disk: a few files of limited size, the newest called `log`.
//!
//! A disk that takes nothing does not stop the service: what it could not take is counted and said later.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::support::paths;

/// How large a file may become.
pub(super) const SIZE: u64 = 10 << 20;
/// How many there are.
pub(super) const FILES: usize = 3;

/// The files of one service's output.
#[derive(Debug)]
pub(super) struct LogFiles {
    dir: PathBuf,
    size: u64,
    open: Option<(File, u64)>,
    /// Bytes that no file took.
    lost: u64,
}

impl LogFiles {
    /// Keeps files of up to `size` bytes in `dir`, which it makes.
    pub(super) fn new(dir: &Path, size: u64) -> Self {
        Self {
            dir: dir.to_owned(),
            size,
            open: None,
            lost: 0,
        }
    }

    /// Adds to the output.
    pub(super) fn write(&mut self, bytes: &[u8]) {
        let lost = self.lost;
        let written = if lost == 0 {
            self.put(bytes)
        } else {
            let note = format!("\n[skyclaw: {lost} bytes could not be written here]\n");
            self.put(note.as_bytes()).and_then(|()| {
                self.lost = 0;
                self.put(bytes)
            })
        };
        if let Err(error) = written {
            if self.lost == 0 {
                tracing::warn!(dir = %self.dir.display(), %error, "cannot write a service's output");
            }
            self.lost = self.lost.saturating_add(bytes.len() as u64);
            // Perhaps the directory is gone: the next time looks anew.
            self.open = None;
        }
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        let (mut file, mut length) = match self.open.take() {
            Some(open) => open,
            None => self.newest()?,
        };
        if length > 0 && length.saturating_add(bytes.len() as u64) > self.size {
            drop(file);
            self.rotate()?;
            (file, length) = self.newest()?;
        }
        file.write_all(bytes)?;
        self.open = Some((file, length + bytes.len() as u64));
        Ok(())
    }

    fn newest(&self) -> io::Result<(File, u64)> {
        paths::create_private_dir(&self.dir).map_err(io::Error::other)?;
        let file = paths::append_private(&self.file(0)).map_err(io::Error::other)?;
        let length = file.metadata()?.len();
        Ok((file, length))
    }

    fn rotate(&self) -> io::Result<()> {
        for number in (1..FILES).rev() {
            match fs::rename(self.file(number - 1), self.file(number)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    fn file(&self, number: usize) -> PathBuf {
        self.dir.join(match number {
            0 => "log".to_owned(),
            number => format!("log.{number}"),
        })
    }

    /// Returns the last `lines` lines, but not more than about `most` bytes.
    pub(super) fn tail(&self, lines: usize, most: usize) -> Vec<u8> {
        let mut tail: Vec<u8> = Vec::new();
        for number in 0..FILES {
            let room = most.saturating_sub(tail.len());
            if room == 0 || lines_of(&tail) > lines {
                break;
            }
            let Ok(older) = end_of(&self.file(number), room) else {
                break;
            };
            tail.splice(0..0, older);
        }
        let cut = start_of_last(&tail, lines);
        tail.split_off(cut)
    }
}

fn lines_of(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| **byte == b'\n').count()
}

/// Returns where the last `lines` lines begin. The last one need not be whole.
fn start_of_last(bytes: &[u8], lines: usize) -> usize {
    if lines == 0 {
        return bytes.len();
    }
    let whole = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    let ends = whole.iter().enumerate().rev();
    ends.filter(|(_, byte)| **byte == b'\n')
        .nth(lines - 1)
        .map_or(0, |(at, _)| at + 1)
}

/// Returns the last `most` bytes of a file.
fn end_of(path: &Path, most: usize) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(most as u64)))?;
    let mut bytes = Vec::new();
    file.take(most as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn text(bytes: &[u8]) -> &str {
        std::str::from_utf8(bytes).unwrap()
    }

    #[test]
    fn files_are_private_and_the_oldest_goes() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("web-1");
        let mut log = LogFiles::new(&dir, 10);
        for number in 0..9 {
            log.write(format!("line {number}\n").as_bytes());
        }
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&dir), 0o700);
        assert_eq!(mode(&dir.join("log")), 0o600);
        let mut names: Vec<_> = fs::read_dir(&dir)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, ["log", "log.1", "log.2"]);
        assert_eq!(fs::read(dir.join("log")).unwrap(), b"line 8\n");
        assert_eq!(fs::read(dir.join("log.2")).unwrap(), b"line 6\n");
        // What a former life wrote is gone on with.
        let mut again = LogFiles::new(&dir, 100);
        again.write(b"more\n");
        assert_eq!(fs::read(dir.join("log")).unwrap(), b"line 8\nmore\n");
    }

    #[test]
    fn the_last_lines_are_found_over_several_files() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = LogFiles::new(dir.path(), 16);
        assert_eq!(log.tail(5, 1000), b"");
        for number in 0..6 {
            log.write(format!("line {number}\n").as_bytes());
        }
        log.write(b"part");
        assert_eq!(text(&log.tail(1, 1000)), "part");
        assert_eq!(text(&log.tail(4, 1000)), "line 3\nline 4\nline 5\npart");
        assert_eq!(text(&log.tail(0, 1000)), "");
        assert!(log.tail(100, 1000).starts_with(b"line 0") || log.tail(100, 1000).len() > 20);
        assert_eq!(text(&log.tail(100, 6)), "5\npart");
    }

    #[test]
    fn a_disk_that_takes_nothing_stops_nobody_and_is_spoken_of_later() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("web-1");
        // Something that is no directory stands in the way.
        fs::write(&place, "").unwrap();
        let mut log = LogFiles::new(&place, 1000);
        log.write(b"0123456789");
        log.write(b"0123456789");
        fs::remove_file(&place).unwrap();
        log.write(b"here again\n");
        let found = fs::read(place.join("log")).unwrap();
        assert_eq!(
            text(&found),
            "\n[skyclaw: 20 bytes could not be written here]\nhere again\n"
        );
    }
}
