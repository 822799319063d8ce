//! A request that is passed on arrives as it was, and so does its answer.

use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::body::Body;
use axum::http::{Response, StatusCode};
use axum::response::IntoResponse;
use http_body_util::BodyExt;
use skyclaw::queue::cluster::MemberId;
use tokio::net::TcpListener;

use crate::bed::{Peer, follower, handler, links, member_at, says_for_whom};
use crate::common::http::Http;
use crate::relay::Relay;

const TOKEN: &str = "correct-horse-battery";

async fn blocking<T: Send + 'static>(act: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(act).await.unwrap()
}

#[tokio::test]
async fn head_and_body_arrive_and_hops_end() {
    let shows = handler(|effective, request| async move {
        let (head, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let mut text = format!("{} {} {}\n", effective.caller, head.method, head.uri);
        let mut names: Vec<String> = head
            .headers
            .iter()
            .map(|(name, value)| format!("{name}: {}\n", value.to_str().unwrap()))
            .collect();
        names.sort();
        text.extend(names);
        text.push_str(std::str::from_utf8(&body).unwrap());
        let headers = [
            ("x-answer", "kept"),
            ("retry-after", "7"),
            ("connection", "x-private"),
            ("x-private", "ends"),
        ];
        (StatusCode::CONFLICT, headers, text).into_response()
    });
    let leader = Peer::with(TOKEN, shows).await;
    let links = links(MemberId::random(), TOKEN);
    let (front, serving) = follower(links, leader.member(), false).await;
    let reply = blocking(move || {
        let mut http = Http::connect(front)
            .unwrap()
            .with("x-skyclaw-token", TOKEN)
            .with("x-idempotency-key", "k")
            .with("connection", "keep-alive, x-mine")
            .with("x-mine", "1")
            .with("keep-alive", "timeout=5")
            .with("x-skyclaw-link", "1.00");
        http.send("PUT", "/v1/jobs/a%2Fb?x=1&y=%20", b"{\"a\":1}")
            .unwrap()
    })
    .await;
    assert_eq!(reply.status, 409, "{reply}");
    assert_eq!(reply.header("x-answer"), Some("kept"));
    assert_eq!(reply.header("retry-after"), Some("7"));
    assert_eq!(reply.header("x-private"), None);
    let text = String::from_utf8(reply.body).unwrap();
    let expected = format!(
        "127.0.0.1 PUT /v1/jobs/a%2Fb?x=1&y=%20\ncontent-length: 7\nhost: x\nx-idempotency-key: k\nx-skyclaw-token: {TOKEN}\n{{\"a\":1}}"
    );
    assert_eq!(text, expected);
    serving.abort();
}

#[tokio::test]
async fn callers_are_who_they_were_and_connections_are_kept() {
    let leader = Peer::with(TOKEN, says_for_whom()).await;
    let links = links(MemberId::random(), TOKEN);
    for (as_owner, whom) in [(true, "owner"), (false, "127.0.0.1")] {
        let (front, serving) = follower(links.clone(), leader.member(), as_owner).await;
        let replies = blocking(move || {
            let mut http = Http::connect(front).unwrap();
            let mut send = |method: &str, path: &str| http.send(method, path, b"").unwrap();
            (0..10)
                .map(|_| send("GET", "/v1/state"))
                .collect::<Vec<_>>()
        })
        .await;
        for reply in replies {
            let expected = format!("{whom} true GET /v1/state");
            assert_eq!(String::from_utf8(reply.body).unwrap(), expected);
        }
        serving.abort();
    }
    assert_eq!(leader.connections(), 1);
}

#[tokio::test]
async fn answers_without_a_body_end() {
    let empty = handler(|_, request| async move {
        match request.uri().path() {
            "/204" => StatusCode::NO_CONTENT.into_response(),
            "/304" => StatusCode::NOT_MODIFIED.into_response(),
            _ => "".into_response(),
        }
    });
    let leader = Peer::with(TOKEN, empty).await;
    let (front, serving) = follower(links(MemberId::random(), TOKEN), leader.member(), true).await;
    blocking(move || {
        let mut http = Http::connect(front).unwrap();
        for (path, status) in [("/204", 204), ("/304", 304), ("/200", 200), ("/204", 204)] {
            http.raw(format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes())
                .unwrap();
            let reply = http.reply().unwrap().expect(status);
            assert!(reply.body.is_empty());
        }
    })
    .await;
    assert_eq!(leader.connections(), 1);
    serving.abort();
}

#[tokio::test]
async fn a_member_that_came_back_is_asked_over_a_new_connection() {
    let leader = Peer::with(TOKEN, says_for_whom()).await;
    let relay = Relay::to(leader.address).await;
    let id = leader.id;
    let links = links(MemberId::random(), TOKEN);
    let (front, serving) = follower(links.clone(), (id, member_at(relay.address)), true).await;
    let get = move || {
        let mut http = Http::connect(front).unwrap();
        http.send("POST", "/v1/state", b"{}").unwrap()
    };
    blocking(get).await.expect(200);
    let address = relay.address;
    // All connections are gone, and somebody else is there.
    drop(relay);
    let other = Peer::with(TOKEN, says_for_whom()).await;
    let listener = loop {
        match TcpListener::bind(address).await {
            Ok(listener) => break listener,
            Err(_) => tokio::task::yield_now().await,
        }
    };
    let to = other.address;
    let passing = tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            let mut far = tokio::net::TcpStream::connect(to).await.unwrap();
            tokio::spawn(async move {
                let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
            });
        }
    });
    let reply = blocking(get).await;
    assert_eq!(reply.status, 503, "{reply}");
    assert!(reply.to_string().contains("another member"), "{reply}");
    assert!(reply.to_string().contains(&other.id.to_string()), "{reply}");
    passing.abort();
    serving.abort();
}

#[tokio::test]
async fn a_request_whose_answer_was_lost_may_have_been_done() {
    let asked = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    // The member reads the request and dies.
    let dies = handler(move |_, request| {
        count.fetch_add(1, Ordering::Relaxed);
        async move {
            let _ = request.into_body().collect().await;
            panic!("on purpose");
            #[allow(unreachable_code, reason = "the type of the answer")]
            Response::new(Body::empty())
        }
    });
    let leader = Peer::with(TOKEN, dies).await;
    let (front, serving) = follower(links(MemberId::random(), TOKEN), leader.member(), true).await;
    let reply = blocking(move || {
        let mut http = Http::connect(front).unwrap();
        http.send("POST", "/v1/jobs", b"{}").unwrap()
    })
    .await;
    assert_eq!(reply.status, 502, "{reply}");
    assert_eq!(asked.load(Ordering::Relaxed), 1, "and it is not sent twice");
    serving.abort();
}

#[tokio::test]
async fn an_answer_that_comes_before_the_body_was_read_arrives() {
    let refuses = handler(|_, _| async move { (StatusCode::UNAUTHORIZED, "no").into_response() });
    let leader = Peer::with(TOKEN, refuses).await;
    let (front, serving) = follower(links(MemberId::random(), TOKEN), leader.member(), true).await;
    for _ in 0..10 {
        let head = blocking(move || {
            let mut stream = std::net::TcpStream::connect(front).unwrap();
            let head = "POST /v1/jobs HTTP/1.1\r\nhost: x\r\ncontent-length: 67108864\r\n\r\n";
            stream.write_all(head.as_bytes()).unwrap();
            let piece = vec![0; 64 << 10];
            // Whoever answers early hears no more.
            while stream.write_all(&piece).is_ok() {}
            let mut answer = [0; 12];
            stream.read_exact(&mut answer).unwrap();
            String::from_utf8_lossy(&answer).into_owned()
        })
        .await;
        assert_eq!(head, "HTTP/1.1 401");
    }
    serving.abort();
}
