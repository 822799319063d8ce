//! Servers that only pretend to be members: they get an introduction, and never a token or a request.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::body::Body;
use axum::http::{Request, Response};
use axum::response::IntoResponse;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use skyclaw::coordinator::Caller;
use skyclaw::coordinator::cluster::{ForwardError, LinkError, Links};
use skyclaw::queue::cluster::MemberId;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::bed::{Peer, SOON, follower, links, member_at, url};
use crate::common::http::Http;
use crate::relay::{Relay, assert_absent};

const TOKEN: &str = "correct-horse-battery";

/// Answers each request with what `answer` makes of its path and body; keeps the paths.
async fn fake(
    answer: impl Fn(&str, &Value) -> Response<Body> + Clone + Send + Sync + 'static,
) -> (SocketAddr, Arc<Mutex<Vec<String>>>, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let keep = Arc::clone(&asked);
    let serving = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (answer, keep) = (answer.clone(), Arc::clone(&keep));
            let service = service_fn(move |request: Request<Incoming>| {
                let (answer, keep) = (answer.clone(), Arc::clone(&keep));
                async move {
                    let path = request.uri().path().to_owned();
                    keep.lock().unwrap().push(path.clone());
                    let bytes = request.into_body().collect().await.unwrap().to_bytes();
                    let body = serde_json::from_slice(&bytes).unwrap_or_default();
                    // It may ask somebody else meanwhile.
                    let answering = tokio::task::spawn_blocking(move || answer(&path, &body));
                    Ok::<_, Infallible>(answering.await.unwrap())
                }
            });
            tokio::spawn(async move {
                let _ = http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    });
    (address, asked, serving)
}

fn claims(member: &str, nonce: &str, key: &Value, proof: &str) -> Response<Body> {
    let body = json!({
        "protocol": 1, "member": member, "name": "fake", "role": "leader", "now": 0,
        "nonce": nonce, "key": key, "proof": proof,
    });
    body.to_string().into_response()
}

/// Asks whoever is at `at` in every way, and asserts that it is not believed.
async fn is_not_believed(links: &Links, at: SocketAddr) {
    let found = links.hello(&url(at)).await;
    assert!(
        matches!(found, Err(LinkError::Unproven { .. })),
        "{found:?}"
    );
    let asked = links
        .ask::<_, u64>(
            &url(at),
            "/raft/join",
            &json!({"secret": "in the body"}),
            SOON,
        )
        .await;
    assert!(asked.is_err());
}

#[tokio::test]
async fn who_answers_without_a_proof_gets_neither_token_nor_request() {
    let answers: [fn(&str, &Value) -> Response<Body>; 7] = [
        |_, _| "".into_response(),
        |_, _| "<html>a router</html>".into_response(),
        |_, body| body.to_string().into_response(),
        // The key that was named, and a guess.
        |_, body| {
            claims(
                &"a".repeat(16),
                &"1".repeat(64),
                &body["keys"][0],
                &"0".repeat(64),
            )
        },
        // The asker's own nonce given back.
        |_, body| {
            let nonce = body["nonce"].as_str().unwrap();
            claims(&"a".repeat(16), nonce, &body["keys"][0], &"0".repeat(64))
        },
        // Another secret's name.
        |_, _| {
            claims(
                &"a".repeat(16),
                &"1".repeat(64),
                &json!("0123456789abcdef"),
                &"0".repeat(64),
            )
        },
        |_, _| {
            let there = [("location", "http://127.0.0.1:1/raft/hello")];
            (axum::http::StatusCode::TEMPORARY_REDIRECT, there, "").into_response()
        },
    ];
    for (number, answer) in answers.into_iter().enumerate() {
        let (address, asked, serving) = fake(answer).await;
        let relay = Relay::to(address).await;
        let links = links(MemberId::random(), TOKEN);
        is_not_believed(&links, relay.address).await;
        let leader = (MemberId::random(), member_at(relay.address));
        let (front, following) = follower(links, leader, false).await;
        let reply = tokio::task::spawn_blocking(move || {
            let mut http = Http::connect(front).unwrap().with("x-skyclaw-token", TOKEN);
            http.send("POST", "/v1/jobs", b"{\"command\":\"a private thing\"}")
                .unwrap()
        });
        let reply = reply.await.unwrap();
        assert_eq!(reply.status, 503, "{number}: {reply}");
        for path in asked.lock().unwrap().iter() {
            assert_eq!(path, "/raft/hello", "{number}");
        }
        let seen = relay.seen();
        let words = [
            TOKEN,
            "/v1/jobs",
            "a private thing",
            "in the body",
            "x-skyclaw-as",
            "/raft/prove",
        ];
        assert_absent(&seen, &words);
        following.abort();
        serving.abort();
    }
}

#[tokio::test]
async fn a_hello_that_is_sent_back_to_its_maker_proves_nothing() {
    // The fake hands the hello to a true member, as its own or under another number.
    let truth = Peer::open(TOKEN).await;
    for renamed in [false, true] {
        let (to, me) = (truth.address, truth.id.to_string());
        let (address, _, serving) = fake(move |path, body| {
            let mut body = body.clone();
            if renamed && path == "/raft/hello" {
                body["member"] = json!("b".repeat(16));
            }
            let mut http = Http::connect(to).unwrap();
            let reply = http
                .send("POST", path, body.to_string().as_bytes())
                .unwrap();
            let mut said: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
            if renamed && said["member"] == me {
                said["member"] = json!("c".repeat(16));
            }
            let status = axum::http::StatusCode::from_u16(reply.status).unwrap();
            (status, said.to_string()).into_response()
        })
        .await;
        let found = truth.links.hello(&url(address)).await;
        let error = found.unwrap_err();
        if renamed {
            assert!(
                error.to_string().contains("the nonce was used before"),
                "{error}"
            );
        } else {
            assert!(matches!(error, LinkError::Myself { .. }), "{error:?}");
        }
        serving.abort();
    }
}

#[tokio::test]
async fn a_member_that_takes_another_number_on_the_way_is_not_believed() {
    // Even a true proof is over the true number.
    let truth = Peer::open(TOKEN).await;
    let to = truth.address;
    let (address, asked, serving) = fake(move |path, body| {
        let mut http = Http::connect(to).unwrap();
        let reply = http
            .send("POST", path, body.to_string().as_bytes())
            .unwrap();
        let mut said = reply.json();
        said["member"] = json!("c".repeat(16));
        said.to_string().into_response()
    })
    .await;
    let links = links(MemberId::random(), TOKEN);
    is_not_believed(&links, address).await;
    let error = links.hello(&url(address)).await.unwrap_err();
    assert!(
        error.to_string().contains("does not know the secret"),
        "{error}"
    );
    assert!(
        asked
            .lock()
            .unwrap()
            .iter()
            .all(|path| path == "/raft/hello")
    );
    serving.abort();
}

#[tokio::test]
async fn who_says_nothing_is_not_waited_for() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap();
    let links = links(MemberId::random(), TOKEN);
    let found = links.hello(&url(address)).await;
    let Err(LinkError::Unproven { why, .. }) = found else {
        panic!("{found:?}");
    };
    assert!(why.contains("in time"), "{why}");
}

#[tokio::test]
async fn a_request_that_was_not_sent_is_given_back_whole() {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nobody = free.local_addr().unwrap();
    drop(free);
    let truth = Peer::open(TOKEN).await;
    let dead = (MemberId::random(), member_at(nobody));
    let alive = truth.member();
    let links = links(MemberId::random(), TOKEN);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let front = listener.local_addr().unwrap();
    let serving = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let service = service_fn(move |request: Request<Incoming>| {
            let (links, dead, alive) = (links.clone(), dead.clone(), alive.clone());
            async move {
                let host = Caller::Host {
                    name: "a".to_owned(),
                    may_submit: false,
                    said: None,
                    token: None,
                };
                let refused = links.forward(&alive, request, &host).await;
                let Err(ForwardError::Unsent {
                    request,
                    why: LinkError::Unfit { .. },
                }) = refused
                else {
                    panic!("{refused:?}");
                };
                let refused = links.forward(&dead, *request, &Caller::Owner).await;
                let Err(ForwardError::Unsent { request, why }) = refused else {
                    panic!("{refused:?}");
                };
                assert!(matches!(why, LinkError::Unreachable { .. }), "{why:?}");
                assert!(request.headers().contains_key("x-kept"));
                let mut another = alive.clone();
                another.0 = MemberId::random();
                let refused = links.forward(&another, *request, &Caller::Owner).await;
                let Err(ForwardError::Unsent { request, why }) = refused else {
                    panic!("{refused:?}");
                };
                assert!(matches!(why, LinkError::Another { .. }), "{why:?}");
                Ok::<_, Infallible>(
                    links
                        .forward(&alive, *request, &Caller::Owner)
                        .await
                        .unwrap(),
                )
            }
        });
        let _ = http1::Builder::new()
            .serve_connection(TokioIo::new(stream), service)
            .await;
    });
    let reply = tokio::task::spawn_blocking(move || {
        let mut http = Http::connect(front).unwrap().with("x-kept", "1");
        http.send("POST", "/v1/jobs?x=1", b"{}").unwrap()
    });
    let reply = reply.await.unwrap().expect(200);
    assert_eq!(reply.body, b"owner true POST /v1/jobs?x=1");
    serving.abort();
}
