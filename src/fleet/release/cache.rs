//! Where downloads are kept: one directory per repository and release, one file per asset.

use std::fs;
use std::path::{Path, PathBuf};

use super::digest::Digest;
use super::error::Error;
use crate::fleet::target::Target;
use crate::support::paths;

/// The place of one asset.
pub(super) struct Slot {
    /// The asset as downloaded.
    pub(super) path: PathBuf,
}

impl Slot {
    pub(super) fn new(cache_dir: &Path, repo: &str, tag: &str, asset: &str) -> Self {
        let dir = cache_dir.join(file_name(repo)).join(file_name(tag));
        Self {
            path: dir.join(file_name(asset)),
        }
    }

    /// Makes the directory. Returns it.
    pub(super) fn make_dir(&self) -> Result<&Path, Error> {
        let dir = self.path.parent().unwrap_or(Path::new("."));
        paths::create_private_dir(dir)?;
        Ok(dir)
    }

    /// Where the program goes if the asset is an archive.
    pub(super) fn unpacked(&self) -> PathBuf {
        self.beside(".unpacked")
    }

    fn record(&self) -> PathBuf {
        self.beside(".checked")
    }

    fn beside(&self, ending: &str) -> PathBuf {
        let mut path = self.path.clone().into_os_string();
        path.push(ending);
        path.into()
    }

    /// Returns the digest that was checked when the asset was downloaded.
    pub(super) fn checked_digest(&self) -> Option<(String, Digest)> {
        let text = fs::read_to_string(self.record()).ok()?;
        let digest = text.trim().parse().ok()?;
        Some(("the record of its download".to_owned(), digest))
    }

    /// Remembers the digest of a checked download, or that this one was not checked.
    pub(super) fn remember(&self, checked: Option<Digest>) -> Result<(), Error> {
        match checked {
            Some(digest) => paths::write_private(&self.record(), format!("{digest}\n").as_bytes())?,
            None => {
                // Mostly there is none.
                let _ = fs::remove_file(self.record());
            }
        }
        Ok(())
    }
}

/// Where an archive of the user's is unpacked to: one place per file and target.
pub(super) fn unpacked_file(
    cache_dir: &Path,
    file: &Path,
    member: &str,
    target: Target,
) -> PathBuf {
    let place = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
    let key = Digest::of(place.as_os_str().as_encoded_bytes()).to_string();
    let dir = cache_dir.join("local").join(key);
    dir.join(format!("{member}-{}-{}", target.os, target.arch))
}

/// Turns a name from elsewhere into one file name: no separator, not hidden, and no two alike.
fn file_name(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for (at, byte) in name.bytes().enumerate() {
        let plain =
            byte.is_ascii_alphanumeric() || b"-_".contains(&byte) || (byte == b'.' && at > 0);
        if plain {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02x}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_in_their_directory() {
        let cases = [
            ("v0.2.9", "v0.2.9"),
            ("a/b", "a%2fb"),
            ("..", "%2e."),
            ("nightly/../..", "nightly%2f..%2f.."),
            ("ü", "%c3%bc"),
        ];
        for (name, file) in cases {
            assert_eq!(file_name(name), file);
        }
        let slot = Slot::new(Path::new("/c"), "a/b", "../x", "../../y");
        assert_eq!(slot.path, Path::new("/c/a%2fb/%2e.%2fx/%2e.%2f..%2fy"));
    }
}
