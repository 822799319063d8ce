//! A release's program that a host downloads itself: only its address and digest are found out here.

use super::error::Error;
use super::{Digest, MAX_BYTES, Releases, asset, http, unpack};
use crate::fleet::target::Target;

/// A program that is somewhere else, with what must be true of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remote {
    /// Where it is.
    pub url: String,
    /// The digest of what is there, which may be an archive.
    pub sha256: Digest,
    /// Whether it is a `.tar.gz` with the program inside.
    pub is_archive: bool,
    /// The size of what is there, where the release API says so.
    pub size: Option<u64>,
    /// The most that may be downloaded.
    pub max_bytes: u64,
    /// Where it comes from, for messages.
    pub source: String,
}

impl Remote {
    /// Returns the digest of the program itself, if it is known without a download.
    pub fn program_digest(&self) -> Option<Digest> {
        (!self.is_archive).then_some(self.sha256)
    }
}

impl Releases {
    /// Returns where the program for `target` is and what its digest must be. Downloads no program.
    ///
    /// # Errors
    /// When there is no such release or asset, or nobody says what its digest should be.
    pub async fn remote(&self, target: Target) -> Result<Remote, Error> {
        let release = self.release().await?;
        let tag = &release.tag_name;
        let asset = asset::choose(release, self.source.program, target)?;
        let expected = self.expectations(release, asset).await?;
        let Some((_, sha256)) = expected.first() else {
            return Err(Error::NoChecksum {
                asset: asset.name.clone(),
                tag: tag.clone(),
            });
        };
        let url = self.asset_url(asset)?;
        // Two that contradict each other cannot both be met.
        unpack::compare(&http::shown(&url), *sha256, &expected)?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Error::SecretAddress(http::shown(&url)));
        }
        Ok(Remote {
            url: url.to_string(),
            sha256: *sha256,
            is_archive: asset.name.ends_with(".tar.gz"),
            size: asset.size,
            max_bytes: self.source.max_bytes.min(MAX_BYTES),
            source: format!("{} {tag} ({})", self.source.repo, asset.name),
        })
    }
}
