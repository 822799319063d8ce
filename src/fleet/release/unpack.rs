//! Makes a checked program out of a file that is either the program itself or a `.tar.gz` with it inside.
//!
//! Only the one member is ever written, under a name of ours, so nothing in an archive can choose a path.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::path::{Component, Path, PathBuf};

use flate2::read::GzDecoder;
use tar::{Archive, EntryType};

use super::digest::Digest;
use super::error::{Error, io_error};
use super::magic;
use crate::fleet::target::Target;
use crate::support::paths;

/// A file with what must be true of it.
pub(super) struct Checks<'a> {
    /// What the program is called within an archive.
    pub(super) member: &'static str,
    /// What the program must run on.
    pub(super) target: Target,
    /// The digest of the file, and who says so.
    pub(super) expected: &'a [(String, Digest)],
    /// The most that it may unpack to.
    pub(super) max_bytes: u64,
}

/// The program, ready to be sent.
pub(super) struct Program {
    pub(super) path: PathBuf,
    pub(super) digest: Digest,
    pub(super) size: u64,
}

/// Checks the file at `path` and unpacks it to `unpacked` if it is an archive.
pub(super) fn prepare(path: &Path, unpacked: &Path, checks: &Checks<'_>) -> Result<Program, Error> {
    let what = path.display().to_string();
    // One handle for all steps: what was checked is what is unpacked, even if the file is replaced.
    let mut file = File::open(path).map_err(io_error("open", path))?;
    let (digest, size) = Digest::of_reader(&file).map_err(io_error("read", path))?;
    compare(&what, digest, checks.expected)?;
    let start = start_of(&mut file).map_err(io_error("read", path))?;
    if magic::is_gzip(&start) {
        return unpack(file, &what, unpacked, checks);
    }
    magic::check(&start, checks.target, &what)?;
    Ok(Program {
        path: path.to_owned(),
        digest,
        size,
    })
}

/// Checks `found` against everything that is said about it.
pub(super) fn compare(
    what: &str,
    found: Digest,
    expected: &[(String, Digest)],
) -> Result<(), Error> {
    match expected.iter().find(|(_, digest)| *digest != found) {
        None => Ok(()),
        Some((said_by, digest)) => Err(Error::Mismatch {
            what: what.to_owned(),
            said_by: said_by.clone(),
            expected: digest.to_string(),
            found: found.to_string(),
        }),
    }
}

/// Reads the first bytes and goes back to the beginning.
fn start_of(file: &mut File) -> io::Result<Vec<u8>> {
    file.rewind()?;
    let mut start = Vec::new();
    file.take(magic::ENOUGH as u64).read_to_end(&mut start)?;
    file.rewind()?;
    Ok(start)
}

fn unpack(file: File, what: &str, unpacked: &Path, checks: &Checks<'_>) -> Result<Program, Error> {
    let broken = |source: io::Error| match source.kind() {
        io::ErrorKind::FileTooLarge => Error::TooLarge {
            what: format!("{what}, unpacked,"),
            limit: checks.max_bytes,
        },
        _ => Error::Archive {
            what: what.to_owned(),
            source,
        },
    };
    let dir = unpacked.parent().unwrap_or(Path::new("."));
    paths::create_private_dir(dir)?;
    let mut temporary = tempfile::NamedTempFile::new_in(dir).map_err(io_error("write in", dir))?;
    let mut archive = Archive::new(Capped {
        inner: GzDecoder::new(io::BufReader::new(file)),
        left: checks.max_bytes,
    });
    let mut found = false;
    for entry in archive.entries().map_err(broken)? {
        let mut entry = entry.map_err(broken)?;
        let path = entry.path().map_err(broken)?.into_owned();
        if path.file_name().is_none_or(|name| name != checks.member)
            || entry.header().entry_type().is_dir()
        {
            continue;
        }
        let reason = objection(&path, entry.header().entry_type(), found);
        if let Some(reason) = reason {
            return Err(Error::Member {
                what: what.to_owned(),
                member: checks.member,
                reason,
            });
        }
        copy(&mut entry, temporary.as_file_mut(), unpacked, broken)?;
        found = true;
    }
    // The checksum of the compressed data comes after the last entry.
    io::copy(&mut archive.into_inner(), &mut io::sink()).map_err(broken)?;
    if !found {
        return Err(Error::Member {
            what: what.to_owned(),
            member: checks.member,
            reason: "lacks the program",
        });
    }
    finish(temporary, what, unpacked, checks)
}

/// Says what is wrong with a member called like the program.
fn objection(path: &Path, kind: EntryType, found_before: bool) -> Option<&'static str> {
    let plain = |part: Component<'_>| matches!(part, Component::Normal(_) | Component::CurDir);
    if !path.components().all(plain) {
        Some("has it at a path that leads out of the archive")
    } else if kind != EntryType::Regular {
        Some("has it as a link or special file")
    } else if found_before {
        Some("has more than one")
    } else {
        None
    }
}

/// Copies a member, telling trouble with the archive from trouble with our disk.
fn copy(
    from: &mut impl Read,
    to: &mut File,
    path: &Path,
    broken: impl Fn(io::Error) -> Error,
) -> Result<(), Error> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let read = from.read(&mut buffer).map_err(&broken)?;
        let Some(part) = buffer.get(..read).filter(|part| !part.is_empty()) else {
            return Ok(());
        };
        to.write_all(part).map_err(io_error("write", path))?;
    }
}

fn finish(
    mut temporary: tempfile::NamedTempFile,
    what: &str,
    unpacked: &Path,
    checks: &Checks<'_>,
) -> Result<Program, Error> {
    let file = temporary.as_file_mut();
    let start = start_of(file).map_err(io_error("read", unpacked))?;
    let name = format!("{} in {what}", checks.member);
    magic::check(&start, checks.target, &name)?;
    let (digest, size) = Digest::of_reader(&*file).map_err(io_error("read", unpacked))?;
    file.sync_all().map_err(io_error("sync", unpacked))?;
    temporary
        .persist(unpacked)
        .map_err(|failed| io_error("replace", unpacked)(failed.error))?;
    Ok(Program {
        path: unpacked.to_owned(),
        digest,
        size,
    })
}

/// Fails, instead of ending, once more than `left` bytes have come through.
struct Capped<R> {
    inner: R,
    left: u64,
}

impl<R: Read> Read for Capped<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        match self.left.checked_sub(read as u64) {
            Some(left) => {
                self.left = left;
                Ok(read)
            }
            None => Err(io::ErrorKind::FileTooLarge.into()),
        }
    }
}

#[cfg(test)]
#[path = "unpack_tests.rs"]
mod tests;
