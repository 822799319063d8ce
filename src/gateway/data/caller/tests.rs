//! Callers that begin and do not go on.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::gateway::Settings;

#[tokio::test(start_paused = true)]
async fn who_begins_and_asks_for_nothing_is_not_kept() {
    let gate = Arc::new(Gate::new(Settings::default(), None, None));
    let (_tell, refusing) = watch::channel(false);
    let door = Arc::new(Door::new(Arc::clone(&gate), refusing));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    for begun in ["", "PR", "PRI", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "GET /"] {
        let address = listener.local_addr().unwrap();
        let mut caller = TcpStream::connect(address).await.unwrap();
        caller.write_all(begun.as_bytes()).await.unwrap();
        let (stream, peer) = listener.accept().await.unwrap();
        let place = Place::take(&gate).unwrap();
        serve(Arc::clone(&door), stream, peer.ip(), place).await;
        let mut told = Vec::new();
        // Or a reset, where nothing was read of what it began.
        let _ = caller.read_to_end(&mut told).await;
        assert_eq!(
            gate.metrics.connections.load(Ordering::Relaxed),
            0,
            "{begun:?}"
        );
        let told = String::from_utf8_lossy(&told);
        let late = told.starts_with("HTTP/1.1 408 Request Timeout\r\n");
        assert_eq!(late, begun == "GET /", "{begun:?}: {told}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_is_too_slow_is_told_so_over_tls_as_well() {
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, ServerName};

    crate::support::tls::use_ring();
    let dir = tempfile::tempdir().unwrap();
    let [certificate, key] = ["cert", "key"].map(|name| dir.path().join(name));
    let made = std::process::Command::new("openssl")
        .args("req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes".split(' '))
        .args("-subj /CN=x -addext subjectAltName=DNS:localhost".split(' '))
        .args(["-addext", "basicConstraints=critical,CA:FALSE", "-out"])
        .arg(&certificate)
        .arg("-keyout")
        .arg(&key)
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    let shown = crate::gateway::tls::Certificate::read(&certificate, &key).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(&certificate).unwrap())
        .unwrap();
    let trusting = rustls::ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let gate = Arc::new(Gate::new(Settings::default(), None, None));
    let (_tell, refusing) = watch::channel(false);
    let door = Door::new(Arc::clone(&gate), refusing);
    let session = Arc::new(Session {
        gate,
        caller: Caller {
            peer: IpAddr::from([127, 0, 0, 1]),
            tls: true,
        },
        two: false,
        lingers: Arc::default(),
        ear: Arc::default(),
        asked: Notify::new(),
        open: OnceLock::new(),
    });
    let (near, far) = tokio::io::duplex(64 << 10);
    let served = async {
        let stream = TlsAcceptor::from(shown.config()).accept(far).await.unwrap();
        serve_http(&door, session, stream).await;
    };
    let called = async {
        let connector = tokio_rustls::TlsConnector::from(Arc::new(trusting));
        let name = ServerName::try_from("localhost").unwrap();
        let mut stream = connector.connect(name, near).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nhost: ").await.unwrap();
        let mut told = String::new();
        stream.read_to_string(&mut told).await.unwrap();
        told
    };
    let (told, ()) = tokio::join!(called, served);
    assert!(
        told.starts_with("HTTP/1.1 408 Request Timeout\r\n"),
        "{told}"
    );
}
