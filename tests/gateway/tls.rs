//! TLS in front.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use rustix::process::Signal;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, Stream};

use crate::backend::{Backend, text};
use crate::common::{SOON, eventually};
use crate::site::{Gateway, Site, command};

/// Makes a certificate for localhost, and its key.
pub fn certificate(dir: &Path, name: &str) -> (PathBuf, PathBuf) {
    let (cert, key) = (
        dir.join(format!("{name}.pem")),
        dir.join(format!("{name}.key")),
    );
    let made = Command::new("openssl")
        .args(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2".split(' '),
        )
        .args([
            "-subj",
            &format!("/CN={name}"),
            "-addext",
            "subjectAltName=DNS:localhost",
        ])
        .args(["-addext", "basicConstraints=critical,CA:FALSE", "-out"])
        .arg(&cert)
        .arg("-keyout")
        .arg(&key)
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    (cert, key)
}

/// Returns a client that trusts this certificate alone and speaks these protocols.
pub fn trusting(cert: &Path, protocols: &[&[u8]]) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(cert).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|one| one.to_vec()).collect();
    Arc::new(config)
}

fn get(gateway: &Gateway, cert: &Path) -> std::io::Result<String> {
    let name = ServerName::try_from("localhost").unwrap();
    let mut tls = ClientConnection::new(trusting(cert, &[b"http/1.1"]), name).unwrap();
    let mut socket = TcpStream::connect(gateway.address)?;
    let mut stream = Stream::new(&mut tls, &mut socket);
    stream.write_all(b"GET /v1/gateway/api/ HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

fn arguments(cert: &Path, key: &Path) -> [String; 4] {
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    [
        "--tls-cert".to_owned(),
        text(cert),
        "--tls-key".to_owned(),
        text(key),
    ]
}

#[test]
fn callers_are_served_over_tls_and_a_new_certificate_is_taken_without_a_stop() {
    let backend = Backend::with(|seen| text(200, seen.header("x-forwarded-proto").unwrap()));
    let site = Site::new();
    site.service("api", &[&backend.url()]);
    let (cert, key) = certificate(site.dir.path(), "first");
    let args = arguments(&cert, &key);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let gateway = site.gateway(&args);
    assert!(get(&gateway, &cert).unwrap().ends_with("\r\n\r\nhttps"));
    let (other, other_key) = certificate(site.dir.path(), "second");
    assert!(get(&gateway, &other).is_err(), "not trusted");
    // A key that does not fit changes nothing.
    std::fs::copy(&other, &cert).unwrap();
    gateway.signal(Signal::HUP);
    std::fs::copy(&other_key, &key).unwrap();
    gateway.signal(Signal::HUP);
    eventually(SOON, || get(&gateway, &other).is_ok());
}

#[test]
fn what_does_not_fit_is_said_before_anything_is_served() {
    let site = Site::new();
    let dir = site.dir.path();
    let ((cert, _), (_, key)) = (certificate(dir, "one"), certificate(dir, "two"));
    let refused = |args: &[String]| {
        let ran = command(dir, &site.coordinator.url())
            .args(args)
            .output()
            .unwrap();
        assert_eq!(ran.status.code(), Some(2), "{ran:?}");
        String::from_utf8(ran.stderr).unwrap()
    };
    let told = refused(&arguments(&cert, &key));
    assert!(
        told.contains("two.key is not the one of the certificate in"),
        "{told}"
    );
    let told = refused(&arguments(&cert, &dir.join("none")));
    assert!(told.contains("none"), "{told}");
    let told = refused(&arguments(&key, &key));
    assert!(told.contains("is no PEM file with a certificate"), "{told}");
    let told = refused(&arguments(&cert, &key)[..2]);
    assert!(told.contains("--tls-key"), "{told}");
}
