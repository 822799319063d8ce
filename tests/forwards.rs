//! Reverse forwards: what somebody on a host connects to a socket or port there comes out here as a stream.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "helpers of tests fail by panicking, as tests do"
)]

mod common;

use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
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

#[tokio::test(flavor = "multi_thread")]
async fn one_stream_too_many_is_refused_until_another_ends() {
    let Some(site) = Site::new().await else {
        return;
    };
    let limits = Limits {
        streams: 2,
        ..Limits::default()
    };
    let mut forward = site.forward(limits).await.unwrap();
    let (mut one, here) = site.pair(&mut forward).await;
    let (_two, _here) = site.pair(&mut forward).await;
    let mut three = UnixStream::connect(site.path()).await.unwrap();
    let mut got = Vec::new();
    // Whether sshd ends it or resets it: nothing comes.
    let _ = soon(three.read_to_end(&mut got)).await;
    assert!(got.is_empty());
    drop(here);
    soon(one.read_to_end(&mut got)).await.unwrap();
    drop(one);
    // Its place is free when the server has heard of it.
    let mut tries = 0;
    let here = loop {
        let there = UnixStream::connect(site.path()).await.unwrap();
        match timeout(Duration::from_millis(200), forward.accept()).await {
            Ok(stream) => break stream,
            Err(_) => drop(there),
        }
        tries += 1;
        assert!(tries < 100, "no place became free");
    };
    assert!(here.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_does_not_want_to_says_so_and_the_connection_goes_on() {
    let forbid = |builder: SshdBuilder| {
        builder
            .extra("AllowStreamLocalForwarding no")
            .extra("AllowTcpForwarding no")
    };
    let Some(site) = Site::with(forbid).await else {
        return;
    };
    let limits = Limits::default();
    let error = site.forward(limits).await.unwrap_err();
    assert!(
        error.hint().unwrap().contains("AllowStreamLocalForwarding"),
        "{error}"
    );
    assert_eq!(refusal::<()>(Err(error)), Refusal::Policy);
    let connection = &site.link.connection;
    for port in [0, 18_787] {
        let refused = connection.forward_port(port, limits).await;
        assert_eq!(refusal(refused), Refusal::Policy);
    }
    let ran = connection.run("echo on", Vec::new(), 100).await.unwrap();
    assert_eq!(ran.stdout, b"on\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_in_use_or_too_long_is_told_from_a_refusal() {
    let Some(site) = Site::new().await else {
        return;
    };
    // Left over: there is a file, and nobody listens.
    drop(UnixListener::bind(site.path()).unwrap());
    let refused = site.forward(Limits::default()).await;
    assert_eq!(refusal(refused), Refusal::InUse);
    std::fs::remove_file(site.path()).unwrap();
    let _forward = site.forward(Limits::default()).await.unwrap();
    let refused = site.forward(Limits::default()).await;
    assert_eq!(refusal(refused), Refusal::InUse, "by ourselves");
    let long = site.server.home().join("x".repeat(120));
    let connection = &site.link.connection;
    let refused = connection
        .forward_socket(long.to_str().unwrap(), Limits::default())
        .await;
    assert_eq!(refusal(refused), Refusal::TooLong);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_sleeps_holds_up_nobody_and_loses_only_its_own_stream() {
    let Some(site) = Site::new().await else {
        return;
    };
    let limits = Limits {
        unread: 8 * MIB,
        ..Limits::default()
    };
    let mut forward = site.forward(limits).await.unwrap();
    let (mut fast, sleeping) = site.pair(&mut forward).await;
    // More than the window of the channel; nobody reads it.
    soon(fast.write_all(&bytes(3, 6 * MIB))).await.unwrap();
    let (there, here) = site.pair(&mut forward).await;
    exchange(there, here).await;
    let connection = &site.link.connection;
    let ran = soon(connection.run("echo on", Vec::new(), 100)).await;
    assert_eq!(ran.unwrap().stdout, b"on\n");
    // Past its limit the stream is closed at both ends.
    let ended = async { while fast.write_all(&bytes(4, MIB)).await.is_ok() {} };
    soon(ended).await;
    let mut sleeping = sleeping;
    let error = soon(sleeping.read_to_end(&mut Vec::new()))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("than was read here"), "{error}");
    let (there, here) = site.pair(&mut forward).await;
    exchange(there, here).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_is_not_left_waiting_for_a_reader_that_is_gone() {
    let Some(site) = Site::new().await else {
        return;
    };
    let mut forward = site.forward(Limits::default()).await.unwrap();
    let (there, mut here) = site.pair(&mut forward).await;
    let writing = tokio::spawn(async move {
        let piece = bytes(5, MIB);
        loop {
            if let Err(error) = here.write_all(&piece).await {
                return error;
            }
        }
    });
    // It waits for the window; then the reader goes.
    there.readable().await.unwrap();
    assert!(!writing.is_finished());
    drop(there);
    soon(writing).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn no_stream_survives_its_connection_in_silence() {
    let Some(site) = Site::new().await else {
        return;
    };
    let mut forward = site.forward(Limits::default()).await.unwrap();
    let (mut there, mut here) = site.pair(&mut forward).await;
    there.write_all(b"half a request").await.unwrap();
    let mut got = [0; 14];
    soon(here.read_exact(&mut got)).await.unwrap();
    site.server.drop_connections();
    // No end of file: what came before was not all.
    let error = soon(here.read(&mut got)).await.unwrap_err();
    assert!(error.to_string().contains("SSH connection"), "{error}");
    assert!(soon(here.write(b"x")).await.is_err());
    assert!(soon(forward.accept()).await.is_none());
    let death = soon(site.link.connection.closed()).await;
    assert!(matches!(death, Error::Lost { .. }), "{death}");
    let refused = site.forward(Limits::default()).await.unwrap_err();
    assert!(matches!(refused, Error::Lost { .. }), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelling_ends_the_listening_and_not_the_streams() {
    let Some(site) = Site::new().await else {
        return;
    };
    let mut forward = site.forward(Limits::default()).await.unwrap();
    let (there, here) = site.pair(&mut forward).await;
    let connection = &site.link.connection;
    soon(connection.cancel_forward(forward)).await.unwrap();
    assert!(UnixStream::connect(site.path()).await.is_err());
    exchange(there, here).await;
    // The file stays, as sshd leaves it.
    assert!(Path::new(&site.path()).exists());
    std::fs::remove_file(site.path()).unwrap();
    let mut forward = site.forward(Limits::default()).await.unwrap();
    let (there, here) = site.pair(&mut forward).await;
    exchange(there, here).await;
    drop(site.world);
}
