//! HTTP/2 in front: in the clear by its first bytes, over TLS by agreement.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2;
use hyper::{Request, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use crate::backend::{Backend, text};
use crate::site::Site;
use crate::tls::{certificate, trusting};

/// Sends three requests at once over one connection and returns the texts of their answers.
async fn ask<I>(io: I, limit: usize) -> Vec<(u16, String)>
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(io))
        .await
        .unwrap();
    tokio::spawn(connection);
    let send = |method: &'static str, body: String| {
        let mut sender = sender.clone();
        async move {
            let request = Request::builder()
                .method(method)
                .uri("http://named.example/v1/gateway/api/x")
                .header("cookie", "a=1")
                .header("cookie", "b=2")
                .body(Full::new(Bytes::from(body)))
                .unwrap();
            let answer = sender.send_request(request).await.unwrap();
            assert_eq!(answer.version(), Version::HTTP_2);
            let status = answer.status().as_u16();
            let body = answer.into_body().collect().await.unwrap().to_bytes();
            (status, String::from_utf8(body.to_vec()).unwrap())
        }
    };
    let (one, two, three) = tokio::join!(
        send("GET", String::new()),
        send("POST", "hello".to_owned()),
        send("PUT", "x".repeat(limit + 1)),
    );
    vec![one, two, three]
}

#[test]
fn many_requests_share_a_connection_in_the_clear_and_over_tls() {
    let backend = Backend::with(|seen| {
        let cookie = seen.header("cookie").unwrap_or_default();
        let host = seen.header("x-forwarded-host").unwrap_or_default();
        text(
            200,
            format!("{} {cookie} {host} {}", seen.method, seen.body.len()),
        )
    });
    let site = Site::new();
    site.service("api", &[&backend.url()]);
    let plain = site.gateway(&["--max-body", "100000"]);
    let (cert, key) = certificate(site.dir.path(), "front");
    let (cert_file, key_file) = (cert.to_str().unwrap(), key.to_str().unwrap());
    let args = [
        "--max-body",
        "100000",
        "--tls-cert",
        cert_file,
        "--tls-key",
        key_file,
    ];
    let over_tls = site.gateway(&args);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let check = |answers: Vec<(u16, String)>| {
        assert_eq!(answers[0], (200, "GET a=1; b=2 named.example 0".to_owned()));
        assert_eq!(
            answers[1],
            (200, "POST a=1; b=2 named.example 5".to_owned())
        );
        assert_eq!(answers[2].0, 413, "{}", answers[2].1);
    };
    runtime.block_on(async {
        check(ask(TcpStream::connect(plain.address).await.unwrap(), 100_000).await);
        let connector = tokio_rustls::TlsConnector::from(trusting(&cert, &[b"h2"]));
        let stream = TcpStream::connect(over_tls.address).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        check(ask(connector.connect(name, stream).await.unwrap(), 100_000).await);
    });
}
