//! One line of a `known_hosts` file: `[@marker] patterns keytype base64key [comment]`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, KeyInit, Mac};
use russh::keys::ssh_key::PublicKey;
use sha1::Sha1;
use wildmatch::WildMatch;

/// What a line says about its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Marker {
    /// The host has this key.
    None,
    /// This authority signs for the host.
    CertAuthority,
    /// This key must never be accepted.
    Revoked,
}

/// A parsed line. The key stays text: comparing text is enough, and most lines are never compared.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) marker: Marker,
    pub(super) hosts: Hosts,
    pub(super) key_type: String,
    pub(super) key: String,
}

/// Whom a line is about.
#[derive(Debug, Clone)]
pub(super) enum Hosts {
    /// Names and patterns, with those that exclude marked.
    Patterns(Vec<(bool, String)>),
    /// `|1|salt|hash`: HMAC-SHA1 of the name.
    Hashed { salt: Vec<u8>, hash: Vec<u8> },
}

impl Entry {
    /// Reads a line; `None` for blank lines, comments and lines OpenSSH would not understand.
    pub(super) fn parse(line: &str) -> Option<Self> {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            return None;
        }
        let mut words = line.split_ascii_whitespace();
        let mut first = words.next()?;
        let marker = match first {
            "@cert-authority" => Marker::CertAuthority,
            "@revoked" => Marker::Revoked,
            marker if marker.starts_with('@') => return None,
            _ => Marker::None,
        };
        if marker != Marker::None {
            first = words.next()?;
        }
        let hosts = Hosts::parse(first)?;
        let (key_type, key) = (words.next()?.to_owned(), words.next()?.to_owned());
        Some(Self {
            marker,
            hosts,
            key_type,
            key,
        })
    }

    pub(super) fn is_key(&self, key: &PublicKey) -> bool {
        key_text(key)
            .split_once(' ')
            .is_some_and(|(_, base64)| base64 == self.key)
    }

    pub(super) fn public_key(&self) -> Option<PublicKey> {
        PublicKey::from_openssh(&format!("{} {}", self.key_type, self.key)).ok()
    }
}

impl Hosts {
    fn parse(text: &str) -> Option<Self> {
        if let Some(rest) = text.strip_prefix("|1|") {
            let (salt, hash) = rest.split_once('|')?;
            let (salt, hash) = (BASE64.decode(salt).ok()?, BASE64.decode(hash).ok()?);
            return Some(Self::Hashed { salt, hash });
        }
        let patterns = text.split(',').filter(|p| !p.is_empty()).map(|pattern| {
            match pattern.strip_prefix('!') {
                Some(pattern) => (true, pattern.to_ascii_lowercase()),
                None => (false, pattern.to_ascii_lowercase()),
            }
        });
        Some(Self::Patterns(patterns.collect()))
    }

    /// Returns the only name this is about, if it is about exactly one.
    pub(super) fn single_names(&self) -> Option<Vec<&str>> {
        match self {
            Self::Patterns(patterns)
                if patterns
                    .iter()
                    .all(|(negated, p)| !negated && !p.contains(['*', '?'])) =>
            {
                Some(patterns.iter().map(|(_, p)| p.as_str()).collect())
            }
            Self::Patterns(_) | Self::Hashed { .. } => None,
        }
    }

    /// Tells whether this is about `name`, given in lower case.
    pub(super) fn matches(&self, name: &str) -> bool {
        match self {
            Self::Hashed { salt, hash } => Hmac::<Sha1>::new_from_slice(salt)
                .is_ok_and(|mac| mac.chain_update(name).verify_slice(hash).is_ok()),
            Self::Patterns(patterns) => {
                let hit = |pattern: &String| WildMatch::new(pattern).matches(name);
                // One excluding match outweighs all others, wherever it stands in the line.
                !patterns.iter().any(|(negated, p)| *negated && hit(p))
                    && patterns.iter().any(|(negated, p)| !negated && hit(p))
            }
        }
    }
}

/// Returns `type base64` of a key, as it stands in the file.
pub(super) fn key_text(key: &PublicKey) -> String {
    let text = key.to_openssh().unwrap_or_default();
    let mut words = text.split_ascii_whitespace();
    format!(
        "{} {}",
        words.next().unwrap_or_default(),
        words.next().unwrap_or_default()
    )
}
