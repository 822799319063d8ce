//! The certificate that callers are shown, and its key. Can be read anew while the gateway serves.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be read.
    #[error("read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// A file holds something else.
    #[error("{path} is no PEM file with {what}")]
    Content {
        /// The file.
        path: PathBuf,
        /// What should be in it.
        what: &'static str,
    },
    /// The key belongs to another certificate.
    #[error("the key in {key} is not the one of the certificate in {certificate}")]
    OtherKey {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
    /// Something else is wrong with them.
    #[error("the certificate in {certificate} and the key in {key} cannot be used")]
    Unusable {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// The cause.
        #[source]
        source: rustls::Error,
    },
}

/// A certificate in use. Clones are the same one.
#[derive(Debug, Clone)]
pub struct Certificate {
    files: (PathBuf, PathBuf),
    shown: Arc<Shown>,
}

#[derive(Debug)]
struct Shown(Mutex<Arc<CertifiedKey>>);

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let shown = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Some(Arc::clone(&shown))
    }
}

impl Certificate {
    /// Reads a certificate (with those above it, if any) and its key.
    ///
    /// # Errors
    /// When they cannot be read or do not fit.
    pub fn read(certificate: &Path, key: &Path) -> Result<Self, Error> {
        let shown = Arc::new(Shown(Mutex::new(Arc::new(load(certificate, key)?))));
        Ok(Self {
            files: (certificate.to_owned(), key.to_owned()),
            shown,
        })
    }

    /// Reads both files again; connections from now on are shown what is in them.
    ///
    /// # Errors
    /// When they cannot be used; what was shown so far stays.
    pub fn reload(&self) -> Result<(), Error> {
        let fresh = Arc::new(load(&self.files.0, &self.files.1)?);
        *self.shown.0.lock().unwrap_or_else(PoisonError::into_inner) = fresh;
        Ok(())
    }

    /// Returns how TLS is spoken with it: HTTP/2 if the caller can, else HTTP/1.1.
    pub fn config(&self) -> Arc<ServerConfig> {
        crate::support::tls::use_ring();
        let shown: Arc<Shown> = Arc::clone(&self.shown);
        let mut config = ServerConfig::builder()
            .with_no_client_auth()
            .with_cert_resolver(shown);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Arc::new(config)
    }
}

fn load(certificate: &Path, key: &Path) -> Result<CertifiedKey, Error> {
    let read = |path: &Path| {
        std::fs::read(path).map_err(|source| Error::Read {
            path: path.to_owned(),
            source,
        })
    };
    let content = |path: &Path, what| Error::Content {
        path: path.to_owned(),
        what,
    };
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&read(certificate)?)
        .collect::<Result<_, _>>()
        .map_err(|_| content(certificate, "certificates"))?;
    if chain.is_empty() {
        return Err(content(certificate, "a certificate"));
    }
    let private =
        PrivateKeyDer::from_pem_slice(&read(key)?).map_err(|_| content(key, "a private key"))?;
    let provider = rustls::crypto::ring::default_provider();
    CertifiedKey::from_der(chain, private, &provider).map_err(|source| {
        let (certificate, key) = (certificate.to_owned(), key.to_owned());
        match source {
            rustls::Error::InconsistentKeys(_) => Error::OtherKey { certificate, key },
            source => Error::Unusable {
                certificate,
                key,
                source,
            },
        }
    })
}
