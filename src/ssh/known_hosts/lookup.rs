//! All entries of all files, indexed so that a thousand hosts against a thousand lines stays cheap.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};

use russh::keys::PublicKeyOrCertificate;
use russh::keys::ssh_key::certificate::CertType;
use russh::keys::ssh_key::{Certificate, Fingerprint, HashAlg};
use wildmatch::WildMatch;

use super::entry::Marker;
use super::{Entry, Refusal, describe};

/// Where an entry stands.
#[derive(Debug, Clone)]
pub(super) struct Place {
    file: PathBuf,
    line: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file.display(), self.line)
    }
}

/// What the files say about a key.
#[derive(Debug)]
pub(super) enum Verdict {
    Known,
    Unknown,
    Changed { place: Place, known: String },
}

#[derive(Debug, Default)]
pub(super) struct Table {
    entries: Vec<(Place, Entry)>,
    /// Entries about plain names, by name.
    by_name: HashMap<String, Vec<usize>>,
    /// Entries that must be tried one by one: patterns and hashed names.
    to_try: Vec<usize>,
    lengths: HashMap<PathBuf, u64>,
    lines: HashMap<PathBuf, usize>,
}

impl Table {
    pub(super) fn add_file(&mut self, file: &Path, text: &str) {
        for line in text.lines() {
            self.push(file, line);
        }
        self.lengths.insert(file.to_owned(), text.len() as u64);
    }

    /// Takes the line that was just appended to `file`.
    pub(super) fn add_line(&mut self, file: &Path, line: &str) {
        self.push(file, line);
        *self.lengths.entry(file.to_owned()).or_default() += line.len() as u64 + 1;
    }

    pub(super) fn replace_file(&mut self, file: &Path, text: &str) {
        let kept: Vec<_> = self
            .entries
            .drain(..)
            .filter(|(place, _)| place.file != file)
            .collect();
        self.by_name.clear();
        self.to_try.clear();
        self.lines.remove(file);
        for (place, entry) in kept {
            self.index(place, entry);
        }
        self.add_file(file, text);
    }

    pub(super) fn length_of(&self, file: &Path) -> u64 {
        self.lengths.get(file).copied().unwrap_or(0)
    }

    fn push(&mut self, file: &Path, line: &str) {
        let number = self.lines.entry(file.to_owned()).or_default();
        *number += 1;
        let place = Place {
            file: file.to_owned(),
            line: *number,
        };
        if let Some(entry) = Entry::parse(line) {
            self.index(place, entry);
        }
    }

    fn index(&mut self, place: Place, entry: Entry) {
        let at = self.entries.len();
        match entry.hosts.single_names() {
            Some(names) => {
                for name in names {
                    self.by_name.entry(name.to_owned()).or_default().push(at);
                }
            }
            None => self.to_try.push(at),
        }
        self.entries.push((place, entry));
    }

    fn about(&self, name: &str) -> impl Iterator<Item = &(Place, Entry)> {
        let named = self.by_name.get(name).into_iter().flatten().copied();
        let tried = self.to_try.iter().copied();
        named
            .chain(tried)
            .filter_map(|at| self.entries.get(at))
            .filter(move |(_, entry)| entry.hosts.matches(name))
    }

    /// Returns what is marked for a host. Such lines name it without a port, also where it has one.
    fn marked(
        &self,
        name: &str,
        host: &str,
        marker: Marker,
    ) -> impl Iterator<Item = &(Place, Entry)> {
        let bare = host.to_ascii_lowercase();
        let mut seen: Vec<&(Place, Entry)> = self.about(name).collect();
        if bare != name {
            seen.extend(self.about(&bare));
        }
        seen.into_iter()
            .filter(move |(_, entry)| entry.marker == marker)
    }

    pub(super) fn expectations(&self, name: &str, host: &str) -> (Vec<String>, bool) {
        let mut types = Vec::new();
        for (_, entry) in self.about(name).filter(|(_, e)| e.marker == Marker::None) {
            types.push(entry.key_type.clone());
        }
        let authority = self
            .marked(name, host, Marker::CertAuthority)
            .next()
            .is_some();
        (types, authority)
    }

    pub(super) fn judge(
        &self,
        name: &str,
        host: &str,
        shown: &PublicKeyOrCertificate,
        now_unix: u64,
    ) -> Result<Verdict, Refusal> {
        let key = shown.public_key();
        // Also the authority that signed a certificate may be revoked.
        let signer = shown
            .certificate()
            .map(|c| c.signature_key().clone().into());
        for (place, entry) in self.marked(name, host, Marker::Revoked) {
            if entry.is_key(&key) || signer.as_ref().is_some_and(|signer| entry.is_key(signer)) {
                return Err(Refusal::Revoked {
                    host: name.to_owned(),
                    shown: describe(&key),
                    place: place.to_string(),
                });
            }
        }
        let authorities: Vec<_> = self.marked(name, host, Marker::CertAuthority).collect();
        if let Some((place, _)) = authorities.first() {
            return match shown.certificate() {
                Some(certificate) => check_certificate(certificate, host, &authorities, now_unix),
                // A key listed beside the authority still counts; trust on first use does not.
                None if self.lists(name, shown) => Ok(()),
                None => Err("it showed a bare key".to_owned()),
            }
            .map(|()| Verdict::Known)
            .map_err(|why| Refusal::Certificate {
                host: name.to_owned(),
                place: place.to_string(),
                why,
            });
        }
        if self.lists(name, shown) {
            return Ok(Verdict::Known);
        }
        // A host with any key on file is known. Another type of key is no first meeting: an
        // attacker would choose just the type that is not on file.
        Ok(
            match self.about(name).find(|(_, e)| e.marker == Marker::None) {
                Some((place, entry)) => Verdict::Changed {
                    place: place.clone(),
                    known: entry
                        .public_key()
                        .map_or_else(|| "an unreadable key".into(), |k| describe(&k)),
                },
                None => Verdict::Unknown,
            },
        )
    }

    fn lists(&self, name: &str, shown: &PublicKeyOrCertificate) -> bool {
        let key = shown.public_key();
        self.about(name)
            .any(|(_, entry)| entry.marker == Marker::None && entry.is_key(&key))
    }
}

fn check_certificate(
    certificate: &Certificate,
    host: &str,
    authorities: &[&(Place, Entry)],
    now_unix: u64,
) -> Result<(), String> {
    let trusted: Vec<Fingerprint> = authorities
        .iter()
        .filter_map(|(_, entry)| entry.public_key())
        .map(|key| key.fingerprint(HashAlg::Sha256))
        .collect();
    if certificate.cert_type() != CertType::Host {
        return Err("it is not a host certificate".into());
    }
    if now_unix < certificate.valid_after() {
        return Err("it is not valid yet; compare the clocks".into());
    }
    if now_unix >= certificate.valid_before() {
        return Err("it has expired".into());
    }
    let named = certificate.valid_principals().iter().any(|principal| {
        WildMatch::new(&principal.to_ascii_lowercase()).matches(&host.to_ascii_lowercase())
    });
    // An empty list would mean any host; OpenSSH refuses that for hosts, and so do we.
    if !named {
        return Err(format!("it is for {:?}", certificate.valid_principals()));
    }
    certificate
        .validate_at(now_unix, trusted.iter())
        .map_err(|error| format!("its signature does not hold ({error})"))
}
