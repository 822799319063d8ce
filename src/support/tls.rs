//! The crypto provider of the process, chosen once, and what certificates of others are checked with.

use std::sync::{Arc, Once, OnceLock};

use rustls::ClientConfig;
use rustls_platform_verifier::ConfigVerifierExt;

/// Makes ring the process's crypto provider, unless another part did so already. Without one no
/// HTTP client can be built.
pub fn use_ring() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // The only failure is that there is one already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
}

/// Returns what speaks TLS to a server of HTTP/1.1 that this machine trusts, read once; nothing if it has no
/// certificates.
pub fn http1_client() -> Option<Arc<ClientConfig>> {
    static CONFIG: OnceLock<Option<Arc<ClientConfig>>> = OnceLock::new();
    CONFIG.get_or_init(|| client(&[b"http/1.1"])).clone()
}

/// The same for a server that may speak HTTP/2 instead; what was agreed on is to be asked for after the handshake.
pub fn http2_client() -> Option<Arc<ClientConfig>> {
    static CONFIG: OnceLock<Option<Arc<ClientConfig>>> = OnceLock::new();
    CONFIG.get_or_init(|| client(&[b"h2", b"http/1.1"])).clone()
}

fn client(protocols: &[&[u8]]) -> Option<Arc<ClientConfig>> {
    use_ring();
    match ClientConfig::with_platform_verifier() {
        Ok(mut config) => {
            config.alpn_protocols = protocols.iter().map(|one| one.to_vec()).collect();
            Some(Arc::new(config))
        }
        Err(error) => {
            tracing::error!(%error, "certificates of servers cannot be checked");
            None
        }
    }
}
