//! Ed25519 keys that are made for one sandbox.

use std::fmt;

use russh::keys::ssh_key::LineEnding;
use russh::keys::ssh_key::private::{Ed25519Keypair, KeypairData};
use russh::keys::{HashAlg, PrivateKey};

use crate::support::ids;
use crate::support::secret::Secret;

/// A key that cannot be made or read. Trying again does not help.
#[derive(Debug, thiserror::Error)]
#[error("{act} an SSH key")]
pub struct KeyError {
    act: &'static str,
    #[source]
    source: russh::keys::ssh_key::Error,
}

fn failed(act: &'static str) -> impl FnOnce(russh::keys::ssh_key::Error) -> KeyError {
    move |source| KeyError { act, source }
}

/// A private key with its public half.
pub struct KeyPair(PrivateKey);

impl fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("KeyPair").field(&self.fingerprint()).finish()
    }
}

impl KeyPair {
    /// Makes a fresh key.
    ///
    /// # Errors
    /// When the comment cannot be part of a key file.
    pub fn generate(comment: &str) -> Result<Self, KeyError> {
        let pair = Ed25519Keypair::from_seed(&ids::random_bytes::<32>());
        PrivateKey::new(KeypairData::Ed25519(pair), comment)
            .map(Self)
            .map_err(failed("make"))
    }

    /// Reads an OpenSSH key file without a passphrase.
    ///
    /// # Errors
    /// When the text is none.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        PrivateKey::from_openssh(text)
            .map(Self)
            .map_err(failed("read"))
    }

    /// Returns the text of the private key file.
    ///
    /// # Errors
    /// When it cannot be encoded.
    pub fn private_file(&self) -> Result<Secret, KeyError> {
        let text = self
            .0
            .to_openssh(LineEnding::LF)
            .map_err(failed("encode"))?;
        Ok(Secret::new(text.to_string()))
    }

    /// Returns the line of the public key file.
    ///
    /// # Errors
    /// When it cannot be encoded.
    pub fn public_line(&self) -> Result<String, KeyError> {
        self.0.public_key().to_openssh().map_err(failed("encode"))
    }

    /// Returns the fingerprint of the public half, as `SHA256:…`.
    pub fn fingerprint(&self) -> String {
        self.0.public_key().fingerprint(HashAlg::Sha256).to_string()
    }

    pub(super) fn private(&self) -> &PrivateKey {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_reads_back_and_shows_no_secret() {
        let made = KeyPair::generate("sandbox").unwrap();
        let file = made.private_file().unwrap();
        let read = KeyPair::parse(file.expose()).unwrap();
        assert_eq!(read.fingerprint(), made.fingerprint());
        assert!(made.fingerprint().starts_with("SHA256:"));
        assert!(made.public_line().unwrap().ends_with(" sandbox"));
        assert!(!format!("{made:?}").contains("PRIVATE"));
    }
}
