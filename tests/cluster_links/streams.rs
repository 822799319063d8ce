//! Long bodies and open streams through a member that passes them on.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::body::Body;
use axum::response::IntoResponse;
use bytes::Bytes;
use http_body_util::BodyExt;
use skyclaw::queue::cluster::MemberId;
use tokio::sync::mpsc;

use crate::bed::{Dropped, Peer, SOON, follower, handler, links, until};

const TOKEN: &str = "correct-horse-battery";
const LONG: usize = 100 << 20;

/// Returns how much memory this process holds, in bytes.
fn memory() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS"))
        .unwrap();
    let kib: usize = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kib << 10
}

fn request(to: SocketAddr, text: &str) -> BufReader<TcpStream> {
    let mut stream = TcpStream::connect(to).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream.write_all(text.as_bytes()).unwrap();
    BufReader::new(stream)
}

fn skip_head(stream: &mut impl BufRead) -> String {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        let read = stream.read_line(&mut head).unwrap();
        assert_ne!(read, 0, "it ended: {head}");
    }
    head
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn long_bodies_pass_both_ways_without_being_kept() {
    let most = Arc::new(AtomicUsize::new(0));
    let watch = Arc::clone(&most);
    let counts = handler(move |_, request| {
        let watch = Arc::clone(&watch);
        async move {
            let mut body = request.into_body();
            let mut count = 0;
            while let Some(Ok(frame)) = body.frame().await {
                count += frame.data_ref().map_or(0, Bytes::len);
                watch.fetch_max(memory(), Ordering::Relaxed);
            }
            let piece = Bytes::from(vec![b'd'; 64 << 10]);
            let pieces = (0..count / piece.len()).map(move |_| {
                watch.fetch_max(memory(), Ordering::Relaxed);
                Ok::<_, std::io::Error>(piece.clone())
            });
            Body::from_stream(futures_util::stream::iter(pieces)).into_response()
        }
    });
    let leader = Peer::with(TOKEN, counts).await;
    let (front, serving) = follower(links(MemberId::random(), TOKEN), leader.member(), true).await;
    let (before, received) = tokio::task::spawn_blocking(move || {
        let before = memory();
        let head = format!("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: {LONG}\r\n\r\n");
        let mut stream = request(front, &head);
        let piece = vec![b'u'; 64 << 10];
        for _ in 0..LONG / piece.len() {
            stream.get_mut().write_all(&piece).unwrap();
        }
        let head = skip_head(&mut stream);
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        let mut received = 0;
        loop {
            let mut line = String::new();
            stream.read_line(&mut line).unwrap();
            let size = u64::from_str_radix(line.trim(), 16).unwrap();
            let copied =
                std::io::copy(&mut (&mut stream).take(size), &mut std::io::sink()).unwrap();
            assert_eq!(copied, size);
            stream.read_line(&mut line).unwrap();
            received += size;
            if size == 0 {
                return (before, received);
            }
        }
    })
    .await
    .unwrap();
    assert_eq!(received, LONG as u64);
    let grown = most.load(Ordering::Relaxed).saturating_sub(before);
    assert!(grown < LONG / 3, "it grew by {} MiB", grown >> 20);
    serving.abort();
}

/// A member whose answer is a stream that the test feeds.
struct Fed {
    leader: Peer,
    lines: mpsc::Sender<Result<Bytes, std::io::Error>>,
    gone: Arc<AtomicUsize>,
}

async fn fed() -> Fed {
    let (lines, stream) = mpsc::channel(1);
    let stream = Arc::new(Mutex::new(Some(stream)));
    let gone = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&gone);
    let streams = handler(move |_, _| {
        let mut stream = stream.lock().unwrap().take().unwrap();
        let held = Dropped(Arc::clone(&count));
        async move {
            let lines = futures_util::stream::poll_fn(move |context| {
                let _held = &held;
                stream.poll_recv(context)
            });
            (
                [("content-type", "text/event-stream")],
                Body::from_stream(lines),
            )
                .into_response()
        }
    });
    Fed {
        leader: Peer::with(TOKEN, streams).await,
        lines,
        gone,
    }
}

/// Opens the stream through `front` and reads its head.
async fn open(front: SocketAddr) -> BufReader<TcpStream> {
    let open = move || {
        let mut stream = request(front, "GET /v1/events HTTP/1.1\r\nhost: x\r\n\r\n");
        let head = skip_head(&mut stream);
        assert!(head.contains("text/event-stream"), "{head}");
        stream
    };
    tokio::task::spawn_blocking(open).await.unwrap()
}

/// Feeds one line and returns the stream once it has arrived.
async fn passes(
    fed: &Fed,
    mut stream: BufReader<TcpStream>,
    line: &'static str,
) -> BufReader<TcpStream> {
    fed.lines
        .send(Ok(Bytes::from_static(line.as_bytes())))
        .await
        .unwrap();
    let read = move || {
        let mut chunk = String::new();
        while !chunk.contains(line) {
            assert_ne!(
                stream.read_line(&mut chunk).unwrap(),
                0,
                "it ended: {chunk}"
            );
        }
        stream
    };
    tokio::task::spawn_blocking(read).await.unwrap()
}

#[tokio::test]
async fn each_line_of_a_stream_passes_at_once() {
    let fed = fed().await;
    let (front, serving) =
        follower(links(MemberId::random(), TOKEN), fed.leader.member(), true).await;
    let mut stream = open(front).await;
    // The next line is not made before this one has arrived.
    for line in ["data: 1\n", "data: 2\n", ": still here\n", "data: 3\n"] {
        stream = passes(&fed, stream, line).await;
    }
    // The caller leaves, and the member notices.
    assert_eq!(fed.gone.load(Ordering::Relaxed), 0);
    drop(stream);
    until(|| fed.gone.load(Ordering::Relaxed) == 1).await;
    serving.abort();
}

#[tokio::test]
async fn a_caller_that_leaves_while_it_waits_leaves_everywhere() {
    let (begun, gone) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (count, dropped) = (Arc::clone(&begun), Arc::clone(&gone));
    let waits = handler(move |_, request| {
        let held = Dropped(Arc::clone(&dropped));
        let count = Arc::clone(&count);
        async move {
            let _ = request.into_body().collect().await;
            count.fetch_add(1, Ordering::Relaxed);
            let _held = held;
            std::future::pending().await
        }
    });
    let leader = Peer::with(TOKEN, waits).await;
    let (front, serving) = follower(links(MemberId::random(), TOKEN), leader.member(), false).await;
    let poll = "POST /v1/hosts/a/claim HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}";
    let streams: Vec<_> = (0..4).map(|_| request(front, poll)).collect();
    until(|| begun.load(Ordering::Relaxed) == 4).await;
    assert_eq!(gone.load(Ordering::Relaxed), 0);
    drop(streams);
    until(|| gone.load(Ordering::Relaxed) == 4).await;
    serving.abort();
}

#[tokio::test]
async fn a_stream_that_is_cut_off_does_not_look_whole() {
    let fed = fed().await;
    let links = links(MemberId::random(), TOKEN);
    let (front, serving) = follower(links.clone(), fed.leader.member(), true).await;
    let stream = open(front).await;
    let mut stream = passes(&fed, stream, "data: 1\n").await;
    links.cut(MemberId::random());
    stream = passes(&fed, stream, "data: 2\n").await;
    links.cut(fed.leader.id);
    let rest = tokio::task::spawn_blocking(move || {
        let mut rest = String::new();
        let ended = stream.read_to_string(&mut rest);
        (ended.is_ok(), rest)
    });
    let (_, rest) = rest.await.unwrap();
    assert!(
        !rest.contains("0\r\n\r\n"),
        "the last chunk would say that it is whole: {rest:?}"
    );
    until(|| fed.gone.load(Ordering::Relaxed) == 1).await;
    serving.abort();
}

#[tokio::test]
async fn a_member_that_dies_in_a_stream_does_not_make_it_look_whole() {
    let Fed {
        leader,
        lines,
        gone,
    } = fed().await;
    let fed = Fed {
        leader,
        lines,
        gone,
    };
    let (front, serving) =
        follower(links(MemberId::random(), TOKEN), fed.leader.member(), true).await;
    let stream = open(front).await;
    let mut stream = passes(&fed, stream, "data: 1\n").await;
    drop(fed);
    let rest = tokio::task::spawn_blocking(move || {
        let mut rest = String::new();
        let _ = stream.read_to_string(&mut rest);
        rest
    });
    let rest = rest.await.unwrap();
    assert!(!rest.ends_with("0\r\n\r\n"), "{rest:?}");
    serving.abort();
}
