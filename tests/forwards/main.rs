//! Reverse forwards: what somebody on a host connects to a socket or port there comes out here as a stream.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "helpers of tests fail by panicking, as tests do"
)]

#[path = "../common/mod.rs"]
mod common;
mod dialer;
mod limits;
mod unasked;

use std::path::PathBuf;
use std::time::Duration;

use common::{SshdBuilder, World, require_sshd};
use skyclaw::fleet::link::Link;
use skyclaw::ssh::Error;
use skyclaw::ssh::forward::{Forward, Limits, Place, Refusal, Stream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

const SOON: Duration = Duration::from_secs(20);
const MIB: usize = 1 << 20;

struct Site {
    link: Link,
    server: common::Sshd,
    world: World,
}

impl Site {
    async fn new() -> Option<Self> {
        Self::with(|builder| builder).await
    }

    async fn with(set_up: impl FnOnce(SshdBuilder) -> SshdBuilder) -> Option<Self> {
        if !require_sshd() {
            return None;
        }
        let world = World::new();
        let server = set_up(world.sshd()).start();
        let host = common::link::host(&world, &server, "alpha");
        let link = common::link::links(&world, None).open(&host).await.unwrap();
        Some(Self {
            link,
            server,
            world,
        })
    }

    fn path(&self) -> PathBuf {
        self.server.home().join("s.sock")
    }

    async fn forward(&self, limits: Limits) -> Result<Forward, Error> {
        let path = self.path();
        let path = path.to_str().unwrap();
        self.link.connection.forward_socket(path, limits).await
    }

    /// Returns both ends of a fresh stream: the one on the host, and ours.
    async fn pair(&self, forward: &mut Forward) -> (UnixStream, Stream) {
        let there = UnixStream::connect(self.path()).await.unwrap();
        (there, accept(forward).await)
    }
}

async fn accept(forward: &mut Forward) -> Stream {
    soon(forward.accept()).await.expect("a stream")
}

async fn soon<T>(future: impl Future<Output = T>) -> T {
    timeout(SOON, future).await.expect("it came in time")
}

fn refusal<T: std::fmt::Debug>(result: Result<T, Error>) -> Refusal {
    match result {
        Err(Error::ForwardRefused { why, .. }) => why,
        other => panic!("not refused: {other:?}"),
    }
}

/// Bytes that differ everywhere.
fn bytes(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed | 1;
    let next = |_| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 56) as u8
    };
    (0..length).map(next).collect()
}

async fn exchange(
    mut there: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    mut here: Stream,
) {
    let (up, down) = (bytes(1, MIB + 17), bytes(2, MIB + 3));
    let host = async {
        there.write_all(&up).await.unwrap();
        there.shutdown().await.unwrap();
        // Half closed: our answer only begins when all has come.
        let mut got = Vec::new();
        there.read_to_end(&mut got).await.unwrap();
        got
    };
    let ours = async {
        let mut got = Vec::new();
        here.read_to_end(&mut got).await.unwrap();
        here.write_all(&down).await.unwrap();
        here.shutdown().await.unwrap();
        got
    };
    let (at_host, at_us) = soon(async { tokio::join!(host, ours) }).await;
    assert!(at_us == up, "what came from the host is what was sent");
    assert!(at_host == down, "what came to the host is what was sent");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_megabyte_each_way_through_a_socket_with_half_close() {
    let Some(site) = Site::new().await else {
        return;
    };
    let mut forward = site.forward(Limits::default()).await.unwrap();
    for _ in 0..2 {
        let (there, here) = site.pair(&mut forward).await;
        exchange(there, here).await;
    }
    // What was dropped with everything said does not take a place any more.
    let mode = std::fs::metadata(site.path()).unwrap();
    assert_eq!(
        std::os::unix::fs::PermissionsExt::mode(&mode.permissions()) & 0o777,
        0o600
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_megabyte_each_way_through_a_port_that_the_server_chose() {
    let Some(site) = Site::new().await else {
        return;
    };
    let limits = Limits::default();
    let connection = &site.link.connection;
    let mut forward = connection.forward_port(0, limits).await.unwrap();
    let Place::Port(port) = *forward.place() else {
        panic!("{:?}", forward.place())
    };
    assert_ne!(port, 0);
    let there = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let here = accept(&mut forward).await;
    exchange(there, here).await;
    // A second one is another port, and the first is in use now.
    let other = connection.forward_port(0, limits).await.unwrap();
    assert_ne!(other.place(), forward.place());
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let refused = connection.forward_port(port, limits).await;
    assert_eq!(refusal(refused), Refusal::InUse);
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_streams_at_once() {
    let Some(site) = Site::new().await else {
        return;
    };
    let mut forward = site.forward(Limits::default()).await.unwrap();
    let mut clients = Vec::new();
    for number in 0..50_u64 {
        let mut there = UnixStream::connect(site.path()).await.unwrap();
        clients.push(tokio::spawn(async move {
            let sent = bytes(number, 64 << 10);
            let (mut reader, mut writer) = there.split();
            let mut got = vec![0; sent.len()];
            let (wrote, read) = tokio::join!(writer.write_all(&sent), reader.read_exact(&mut got));
            wrote.unwrap();
            read.unwrap();
            assert!(got == sent, "stream {number}");
        }));
    }
    // All are open before the first is served.
    let mut streams = Vec::new();
    for _ in 0..50 {
        streams.push(accept(&mut forward).await);
    }
    for stream in streams {
        tokio::spawn(async move {
            let (mut reader, mut writer) = tokio::io::split(stream);
            tokio::io::copy(&mut reader, &mut writer).await.unwrap();
        });
    }
    for client in clients {
        soon(client).await.unwrap();
    }
}
