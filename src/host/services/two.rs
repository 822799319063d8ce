//! The question of [`ready`](super::ready) to a service that speaks HTTP/2 without TLS.

use std::io;
use std::net::TcpStream;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Empty;
use hyper::Request;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};

/// Returns the status that this path is answered with; nothing if the other end speaks something else.
pub(super) fn status(
    stream: TcpStream,
    port: u16,
    path: &str,
    within: Duration,
) -> io::Result<Option<u16>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let request = Request::get(format!("http://127.0.0.1:{port}{path}"))
        .header("user-agent", "skyclaw-host")
        .header("accept", "*/*")
        .body(Empty::<Bytes>::new())
        .map_err(io::Error::other)?;
    let asking = async {
        stream.set_nonblocking(true)?;
        let stream = TokioIo::new(tokio::net::TcpStream::from_std(stream)?);
        let opened = http2::handshake(TokioExecutor::new(), stream).await;
        let (mut sender, connection) = opened.map_err(io::Error::other)?;
        tokio::spawn(connection);
        let answer = sender.send_request(request).await;
        Ok(answer.ok().map(|answer| answer.status().as_u16()))
    };
    let answered = runtime.block_on(async { tokio::time::timeout(within, asking).await });
    answered.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;

    use hyper::Response;
    use hyper::service::service_fn;

    use super::*;

    const SOON: Duration = Duration::from_secs(20);

    #[test]
    fn it_is_asked_over_http_2_and_another_protocol_is_no_answer() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let serving = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            let (stream, _) = listener.accept().unwrap();
            stream.set_nonblocking(true).unwrap();
            runtime.block_on(async {
                let stream = TokioIo::new(tokio::net::TcpStream::from_std(stream).unwrap());
                let serve = service_fn(async |request: Request<hyper::body::Incoming>| {
                    assert_eq!(request.uri().path(), "/up");
                    Response::builder().status(204).body(Empty::<Bytes>::new())
                });
                let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                let _ = server.serve_connection(stream, serve).await;
            });
            let (mut other, _) = listener.accept().unwrap();
            let _ = other.read(&mut [0; 1024]);
            let _ = other.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n");
        });
        let ask = || {
            let stream = TcpStream::connect(address).unwrap();
            status(stream, address.port(), "/up", SOON)
        };
        assert_eq!(ask().unwrap(), Some(204));
        assert_eq!(ask().ok().flatten(), None);
        serving.join().unwrap();
    }
}
