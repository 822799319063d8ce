//! SHA-256 digests: as values and in checksum files.

use std::fmt;
use std::io::{self, Read};
use std::str::FromStr;

use sha2::{Digest as _, Sha256};

use super::error::Error;
use crate::support::ids;

/// A SHA-256 digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// Returns the digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// Reads `input` to its end. Returns its digest and its size.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn of_reader(mut input: impl Read) -> io::Result<(Self, u64)> {
        let mut hash = Sha256::new();
        let mut size = 0;
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let read = input.read(&mut buffer)?;
            let Some(part) = buffer.get(..read).filter(|part| !part.is_empty()) else {
                return Ok((Self(hash.finalize().into()), size));
            };
            hash.update(part);
            size += part.len() as u64;
        }
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&ids::hex(&self.0))
    }
}

impl FromStr for Digest {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let fail = || Error::Digest(text.to_owned());
        let digits = text.strip_prefix("sha256:").unwrap_or(text);
        if digits.len() != 64 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(fail());
        }
        let mut bytes = [0; 32];
        for (at, byte) in bytes.iter_mut().enumerate() {
            let pair = digits.get(at * 2..at * 2 + 2).ok_or_else(fail)?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| fail())?;
        }
        Ok(Self(bytes))
    }
}

/// Finds the digest of `asset` in a checksum file: lines of digest and name, as `sha256sum` writes them.
pub(super) fn find(checksums: &str, asset: &str) -> Option<Digest> {
    checksums.lines().find_map(|line| {
        let (digest, name) = line.trim().split_once(char::is_whitespace)?;
        let name = name.trim_start();
        // A star marks binary mode; some tools write the path that they were given.
        let name = name.strip_prefix('*').unwrap_or(name);
        let name = name.strip_prefix("./").unwrap_or(name);
        (name == asset).then(|| digest.parse().ok()).flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn digests_read_back() {
        let digest = Digest::of(b"");
        assert_eq!(digest.to_string(), EMPTY);
        for text in [
            EMPTY.to_owned(),
            EMPTY.to_uppercase(),
            format!("sha256:{EMPTY}"),
        ] {
            assert_eq!(text.parse::<Digest>().unwrap(), digest);
        }
        for text in [
            "",
            "sha512:00",
            &EMPTY[1..],
            &format!("{EMPTY}0"),
            &"é".repeat(32),
        ] {
            assert!(text.parse::<Digest>().is_err(), "{text}");
        }
    }

    #[test]
    fn finds_the_line_of_an_asset() {
        let file = format!(
            "# c\n{}  other\n{EMPTY} *a.tar.gz\nnonsense  b\n{EMPTY}  ./c\n",
            "0".repeat(64)
        );
        assert_eq!(find(&file, "a.tar.gz"), Some(Digest::of(b"")));
        assert_eq!(find(&file, "c"), Some(Digest::of(b"")));
        for missing in ["b", "a", "tar.gz", ""] {
            assert_eq!(find(&file, missing), None, "{missing}");
        }
    }
}
