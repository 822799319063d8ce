//! Streams an asset to disk and lets it into the cache only when it is whole and its digest is right.

use std::io::Write;
use std::ops::ControlFlow;
use std::path::Path;

use reqwest::{Response, Url};
use sha2::{Digest as _, Sha256};
use tempfile::NamedTempFile;

use super::cache::Slot;
use super::digest::Digest;
use super::error::{Error, io_error};
use super::http::{self, Http};
use super::unpack;

const BINARY: &str = "application/octet-stream";

/// A checksum file has some dozens of lines.
const MAX_CHECKSUMS: u64 = 1024 * 1024;

/// How much may come.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    pub(super) max_bytes: u64,
    /// What the release API says that the size is.
    pub(super) announced: Option<u64>,
}

/// Downloads `url` into `slot`. Until all is checked the content has another name, and it is removed on
/// failure; so two processes may download the same asset at once.
pub(super) async fn to_slot(
    http: &Http,
    url: &Url,
    slot: &Slot,
    limits: Limits,
    expected: &[(String, Digest)],
) -> Result<(), Error> {
    let dir = slot.make_dir()?;
    let mut tries = http.tries();
    let (temporary, digest) = loop {
        let received = match http.ask(url, BINARY).await {
            Ok(response) => receive(response, url, new_file(dir)?, limits).await,
            Err(error) => Err(error),
        };
        if let ControlFlow::Break(done) = tries.after(received).await {
            break done?;
        }
    };
    unpack::compare(&http::shown(url), digest, expected)?;
    temporary
        .as_file()
        .sync_all()
        .map_err(io_error("sync", &slot.path))?;
    temporary
        .persist(&slot.path)
        .map_err(|failed| io_error("replace", &slot.path)(failed.error))?;
    slot.remember((!expected.is_empty()).then_some(digest))
}

fn new_file(dir: &Path) -> Result<NamedTempFile, Error> {
    NamedTempFile::new_in(dir).map_err(io_error("write in", dir))
}

async fn receive(
    mut response: Response,
    url: &Url,
    mut temporary: NamedTempFile,
    limits: Limits,
) -> Result<(NamedTempFile, Digest), Error> {
    let too_large = || Error::TooLarge {
        what: http::shown(url),
        limit: limits.max_bytes,
    };
    let announced = response.content_length().or(limits.announced);
    if announced.is_some_and(|length| length > limits.max_bytes) {
        return Err(too_large());
    }
    let mut hash = Sha256::new();
    let mut received: u64 = 0;
    let cut = |received, source| Error::Cut {
        url: http::shown(url),
        received,
        source,
    };
    while let Some(chunk) = response
        .chunk()
        .await
        .map_err(|error| cut(received, Some(error.without_url())))?
    {
        received += chunk.len() as u64;
        if received > limits.max_bytes {
            return Err(too_large());
        }
        hash.update(&chunk);
        // A chunk is at most some kilobytes, so this blocks no longer than other work between two awaits.
        temporary
            .write_all(&chunk)
            .map_err(io_error("write", temporary.path()))?;
    }
    if announced.is_some_and(|length| received < length) {
        return Err(cut(received, None));
    }
    Ok((temporary, Digest(hash.finalize().into())))
}

/// Downloads a checksum file.
pub(super) async fn checksum_file(http: &Http, url: &Url) -> Result<String, Error> {
    let bytes = http.read(url, BINARY, MAX_CHECKSUMS).await?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
