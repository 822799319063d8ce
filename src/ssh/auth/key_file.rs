//! What is in a key file. Pure: text in, key out; it asks nobody and opens nothing.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use russh::keys::{self, PrivateKey, PublicKey};

use crate::support::secret::Secret;

/// A key file, read as far as it goes without a passphrase.
#[derive(Debug, Clone)]
pub(super) enum KeyFile {
    /// A private key that can sign at once.
    Open(Arc<PrivateKey>),
    /// A private key under a passphrase, with its public half where that is known.
    Locked {
        /// The whole file.
        text: Arc<str>,
        /// Whose private half it is.
        public: Option<PublicKey>,
    },
    /// A public key, or a key in hardware: only an agent can sign for it.
    Public(PublicKey),
}

/// Why a file is of no use as a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Unreadable {
    /// It is none, or damaged.
    Broken(String),
    /// It is encrypted in a way of old that we do not read.
    OldCipher(String),
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Broken(why) => f.write_str(why),
            Self::OldCipher(cipher) => {
                write!(
                    f,
                    "its encryption ({cipher} in a PEM file) is not supported"
                )
            }
        }
    }
}

impl Unreadable {
    /// Returns what the user can do about it.
    pub(super) fn hint(&self, path: &Path) -> Option<String> {
        match self {
            Self::Broken(_) => None,
            Self::OldCipher(_) => Some(format!(
                "`ssh-keygen -p -f {}` writes it anew in OpenSSH's own form, `ssh-add` hands it to the agent",
                path.display()
            )),
        }
    }
}

impl KeyFile {
    /// Returns the public half, where it is known.
    pub(super) fn public(&self) -> Option<&PublicKey> {
        match self {
            Self::Open(key) => Some(key.public_key()),
            Self::Locked { public, .. } => public.as_ref(),
            Self::Public(key) => Some(key),
        }
    }
}

/// Reads a file in OpenSSH, PEM or PKCS#8 form. `beside` is what stands in its `.pub` file.
pub(super) fn parse(text: &str, beside: Option<&str>) -> Result<KeyFile, Unreadable> {
    if let Ok(public) = PublicKey::from_openssh(text.trim()) {
        return Ok(KeyFile::Public(public));
    }
    if let Some(cipher) = old_cipher(text) {
        return Err(Unreadable::OldCipher(cipher.to_owned()));
    }
    match keys::decode_secret_key(text, None) {
        Ok(key) if is_in_hardware(&key) => Ok(KeyFile::Public(key.public_key().clone())),
        Ok(key) => Ok(KeyFile::Open(Arc::new(key))),
        // PKCS#8 and PEM tell a missing passphrase in other words than OpenSSH's form.
        Err(error)
            if matches!(error, keys::Error::KeyIsEncrypted) || text.contains("ENCRYPTED") =>
        {
            // OpenSSH's form has the public half in the clear.
            let inside = PrivateKey::from_openssh(text).map(|key| key.public_key().clone());
            let public = inside
                .ok()
                .or_else(|| PublicKey::from_openssh(beside?.trim()).ok());
            Ok(KeyFile::Locked {
                text: Arc::from(text),
                public,
            })
        }
        Err(error) => Err(Unreadable::Broken(error.to_string())),
    }
}

/// Returns the key, if the passphrase is right.
pub(super) fn decrypt(text: &str, passphrase: &Secret) -> Option<PrivateKey> {
    keys::decode_secret_key(text, Some(passphrase.expose())).ok()
}

fn is_in_hardware(key: &PrivateKey) -> bool {
    key.algorithm().as_str().starts_with("sk-")
}

/// Returns the cipher of a PEM file of old, unless the SSH library reads it: RSA under AES-128, which
/// is what `ssh-keygen -m PEM` writes.
fn old_cipher(text: &str) -> Option<&str> {
    let info = text
        .lines()
        .find_map(|line| line.strip_prefix("DEK-Info: "))?;
    let cipher = info.split(',').next().unwrap_or(info);
    let is_rsa = text.contains("-----BEGIN RSA PRIVATE KEY-----");
    (!is_rsa || cipher != "AES-128-CBC").then_some(cipher)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_key_is_told_apart() {
        let public =
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ me\n";
        assert!(matches!(parse(public, None), Ok(KeyFile::Public(_))));
        assert!(matches!(parse("hello", None), Err(Unreadable::Broken(_))));
        let old = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: DES-EDE3-CBC,AA\n\nAAAA\n-----END RSA PRIVATE KEY-----\n";
        let why = parse(old, None).unwrap_err();
        assert_eq!(why, Unreadable::OldCipher("DES-EDE3-CBC".into()));
        let hint = why.hint(Path::new("/k")).unwrap();
        assert!(hint.contains("ssh-keygen -p -f /k"), "{hint}");
    }
}
