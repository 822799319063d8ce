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
    let made = CONFIG.get_or_init(|| {
        use_ring();
        match ClientConfig::with_platform_verifier() {
            Ok(mut config) => {
                config.alpn_protocols = vec![b"http/1.1".to_vec()];
                Some(Arc::new(config))
            }
            Err(error) => {
                tracing::error!(%error, "certificates of servers cannot be checked");
                None
            }
        }
    });
    made.clone()
}
