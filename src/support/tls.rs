//! The crypto provider of the process, chosen once.

use std::sync::Once;

/// Makes ring the process's crypto provider, unless another part did so already. Without one no
/// HTTP client can be built.
pub fn use_ring() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // The only failure is that there is one already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
}
