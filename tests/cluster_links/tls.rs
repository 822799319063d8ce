//! Members whose URL is `https`: what terminates TLS in front of them must be trusted by this machine.

use std::process::Command;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use skyclaw::coordinator::cluster::{LinkError, Url};
use skyclaw::queue::cluster::MemberId;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::bed::{Peer, SOON, links};

const TOKEN: &str = "correct-horse-battery";
/// Where the inner test finds what the server shows.
const SHOWN: &str = "TEST_SHOWN";
const TRUSTED: &str = "TEST_TRUSTED";

/// What a machine trusts is read once per process, so each case is one of its own.
#[test]
fn what_stands_before_a_member_must_be_trusted() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["shown", "other"] {
        let made = Command::new("openssl")
            .args(
                "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
                    .split(' '),
            )
            .args([
                "-subj",
                &format!("/CN={name}"),
                "-addext",
                "subjectAltName=DNS:localhost",
            ])
            .args(["-addext", "basicConstraints=critical,CA:FALSE", "-out"])
            .arg(dir.path().join(format!("{name}.pem")))
            .arg("-keyout")
            .arg(dir.path().join(format!("{name}.key")))
            .output()
            .unwrap();
        assert!(made.status.success(), "{made:?}");
    }
    for (trusted, is_trusted) in [("shown", "yes"), ("other", "no")] {
        let ran = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "tls::a_member_over_tls",
                "--ignored",
                "--nocapture",
            ])
            .env("SSL_CERT_FILE", dir.path().join(format!("{trusted}.pem")))
            .env_remove("SSL_CERT_DIR")
            .env(SHOWN, dir.path().join("shown"))
            .env(TRUSTED, is_trusted)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&ran.stdout);
        assert!(ran.status.success() && said.contains("1 passed"), "{ran:?}");
    }
}

#[tokio::test]
#[ignore = "run by the test above, in a process that trusts what it says"]
async fn a_member_over_tls() {
    let shown = std::env::var(SHOWN).unwrap();
    let cert = CertificateDer::from_pem_file(format!("{shown}.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_file(format!("{shown}.key")).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let peer = Peer::open(TOKEN).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let to = peer.address;
    let serving = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut near) = acceptor.accept(stream).await else {
                    return;
                };
                let mut far = TcpStream::connect(to).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
            });
        }
    });
    let links = links(MemberId::random(), TOKEN);
    let url: Url = format!("https://localhost:{port}").parse().unwrap();
    let found = links.hello(&url).await;
    if std::env::var(TRUSTED).unwrap() == "yes" {
        assert_eq!(found.unwrap().who.member, peer.id);
        let double: u64 = links.ask(&url, "/raft/double", &21, SOON).await.unwrap();
        assert_eq!(double, 42);
    } else {
        let Err(LinkError::Unreachable { why, .. }) = found else {
            panic!("{found:?}");
        };
        assert!(why.contains("TLS"), "{why}");
        assert_eq!(peer.connections(), 0);
    }
    serving.abort();
}
