//! Strangers of all kinds at a member's port: each is refused, and told why.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::bed::{Peer, SOON};
use crate::common::http::{Http, Reply};
use crate::wire::{Stranger, post, post_with};

const TOKEN: &str = "correct-horse-battery";

/// Runs `act` with the address of a member, on a thread that may block.
async fn against(act: impl FnOnce(Bad) + Send + 'static) -> Peer {
    let peer = Peer::open(TOKEN).await;
    let bad = Bad { to: peer.address };
    tokio::task::spawn_blocking(move || act(bad)).await.unwrap();
    peer
}

struct Bad {
    to: std::net::SocketAddr,
}

impl Bad {
    fn connect(&self) -> Http {
        Http::connect(self.to).unwrap()
    }

    /// Says hello and returns the answer with the connection.
    fn hello(&self, stranger: &Stranger) -> (Http, Value) {
        let mut http = self.connect();
        let answer = post(&mut http, "/raft/hello", &stranger.hello()).expect(200);
        (http, answer.json())
    }

    /// Becomes a member.
    fn proven(&self, stranger: &Stranger) -> (Http, Value) {
        let (mut http, answer) = self.hello(stranger);
        let proof = json!({"proof": stranger.proof("client", &answer)});
        post(&mut http, "/raft/prove", &proof).expect(204);
        (http, answer)
    }
}

#[track_caller]
fn refused(reply: Reply, status: u16, code: &str, words: &str) {
    let reply = reply.expect(status);
    let body = reply.json();
    assert_eq!(body["code"], code, "{body}");
    assert!(body["error"].as_str().unwrap().contains(words), "{body}");
}

#[tokio::test]
async fn messages_are_for_members_only() {
    let peer = against(|bad| {
        for path in [
            "/raft/append",
            "/raft/vote",
            "/raft/snapshot",
            "/raft/double",
            "/raft/x",
            "/raft/",
            "/raft",
        ] {
            for method in ["POST", "GET", "DELETE"] {
                let reply = bad.connect().send(method, path, b"1").unwrap();
                refused(reply, 401, "unauthorized", "proved to be a member");
            }
        }
        // The token is no proof.
        let mut http = bad.connect().with("x-skyclaw-token", TOKEN);
        refused(
            post(&mut http, "/raft/append", &json!(1)),
            401,
            "unauthorized",
            "proved",
        );
        // Nor is a hello alone.
        let (mut http, _) = bad.hello(&Stranger::knows(TOKEN));
        refused(
            post(&mut http, "/raft/append", &json!(1)),
            401,
            "unauthorized",
            "proved",
        );
        let reply = bad.connect().send("GET", "/raft/hello", b"").unwrap();
        refused(reply, 405, "method_not_allowed", "");
    })
    .await;
    assert!(peer.echo.0.lock().unwrap().is_empty());
}

#[tokio::test]
async fn the_protocol_is_what_it_is_said_to_be() {
    let peer = against(|bad| {
        let stranger = Stranger::knows(TOKEN);
        let (mut http, answer) = bad.proven(&stranger);
        assert_eq!(answer["proof"], stranger.proof("server", &answer));
        let seal = stranger.seal(&answer, 1, "/raft/append", None);
        let reply = post_with(
            &mut http,
            "/raft/append",
            &[("x-skyclaw-link", &seal)],
            b"abc",
        )
        .expect(200);
        assert_eq!(reply.body, b"cba");
        let seal = stranger.seal(&answer, 2, "/v1/jobs", Some("10.1.2.3"));
        let headers = [
            ("x-skyclaw-link", seal.as_str()),
            ("x-skyclaw-as", "10.1.2.3"),
        ];
        let reply = post_with(&mut http, "/v1/jobs", &headers, b"").expect(200);
        assert_eq!(reply.body, b"10.1.2.3 true POST /v1/jobs");
    })
    .await;
    assert_eq!(peer.echo.0.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_proof_is_good_once_for_its_maker_and_its_connection() {
    let peer = against(|bad| {
        let stranger = Stranger::knows(TOKEN);
        let (mut http, first) = bad.hello(&stranger);
        let proof = json!({"proof": stranger.proof("client", &first)});
        post(&mut http, "/raft/prove", &proof).expect(204);
        refused(
            post(&mut http, "/raft/prove", &proof),
            409,
            "conflict",
            "comes once",
        );
        // Replayed on another connection, without and with a hello of its own.
        refused(
            post(&mut bad.connect(), "/raft/prove", &proof),
            409,
            "conflict",
            "after a hello",
        );
        let (mut http, _) = bad.hello(&Stranger::knows(TOKEN));
        refused(
            post(&mut http, "/raft/prove", &proof),
            401,
            "unauthorized",
            "not the secret",
        );
        // The same hello once more.
        refused(
            post(&mut bad.connect(), "/raft/hello", &stranger.hello()),
            409,
            "conflict",
            "used before",
        );
        // The member's own proof given back.
        let (mut http, answer) = bad.hello(&Stranger::knows(TOKEN));
        let reflected = json!({"proof": answer["proof"]});
        refused(
            post(&mut http, "/raft/prove", &reflected),
            401,
            "unauthorized",
            "not the secret",
        );
    })
    .await;
    assert!(peer.echo.0.lock().unwrap().is_empty());
}

#[tokio::test]
async fn one_connection_has_one_try() {
    against(|bad| {
        let stranger = Stranger::knows(TOKEN);
        let (mut http, _) = bad.hello(&stranger);
        let again = Stranger::knows(TOKEN);
        refused(
            post(&mut http, "/raft/hello", &again.hello()),
            409,
            "conflict",
            "hello on this connection already",
        );
        // A wrong proof ends the connection.
        let (mut http, _) = bad.hello(&Stranger::knows(TOKEN));
        let wrong = json!({"proof": "0".repeat(64)});
        let reply = post(&mut http, "/raft/prove", &wrong).expect(401);
        assert_eq!(reply.header("connection"), Some("close"));
        // Who is a member already says no other hello either.
        let (mut http, _) = bad.proven(&Stranger::knows(TOKEN));
        refused(
            post(&mut http, "/raft/hello", &again.hello()),
            409,
            "conflict",
            "already",
        );
    })
    .await;
}

#[tokio::test]
async fn garbage_is_refused_and_does_no_harm() {
    let peer = against(|bad| {
        for (change, words) in [
            (json!({"nonce": "short"}), "nonce"),
            (json!({"nonce": "g".repeat(64)}), "nonce"),
            (json!({"name": ""}), "name"),
            (json!({"name": "x".repeat(257)}), "name"),
            (json!({"member": "7"}), "member id"),
            (json!({"member": 7}), "invalid type"),
            (json!({"protocol": -1}), "invalid value"),
            (json!({"cluster": "x"}), "cluster id"),
            (json!({"keys": vec!["k"; 9]}), "too many keys"),
        ] {
            let mut hello = Stranger::knows(TOKEN).hello();
            for (name, value) in change.as_object().unwrap() {
                hello[name] = value.clone();
            }
            refused(
                post(&mut bad.connect(), "/raft/hello", &hello),
                400,
                "bad_request",
                words,
            );
        }
        for garbage in [&b"\x00\xff\xfe"[..], b"[]", b"{", b"", &b"[".repeat(5000)] {
            bad.connect()
                .send("POST", "/raft/hello", garbage)
                .unwrap()
                .expect(400);
            let (mut http, _) = bad.hello(&Stranger::knows(TOKEN));
            http.send("POST", "/raft/prove", garbage)
                .unwrap()
                .expect(400);
        }
        let long = vec![b' '; (16 << 10) + 1];
        for path in ["/raft/hello", "/raft/prove"] {
            let reply = bad.connect().send("POST", path, &long).unwrap();
            refused(reply, 413, "too_large", "16384");
        }
    })
    .await;
    // Whoever belongs to it is still let in.
    let links = crate::bed::links(skyclaw::queue::cluster::MemberId::random(), TOKEN);
    let double: u64 = links
        .ask(&peer.url(), "/raft/double", &4, SOON)
        .await
        .unwrap();
    assert_eq!(double, 8);
}

#[tokio::test]
async fn guessing_is_slow() {
    against(|bad| {
        let guess = || {
            let wrong = Stranger::knows("guess");
            post(&mut bad.connect(), "/raft/hello", &wrong.hello())
        };
        let began = Instant::now();
        let mut replies = Vec::new();
        while replies.len() < 40 && began.elapsed() < Duration::from_secs(20) {
            replies.push(guess());
            if replies.last().is_some_and(|reply| reply.status == 429) {
                break;
            }
        }
        for reply in &replies {
            assert!(reply.json()["proof"].is_null(), "{reply}");
        }
        let last = replies.pop().unwrap();
        refused(last.clone(), 429, "too_many", "wrong proofs");
        assert_eq!(last.header("retry-after"), Some("1"));
        // Who knows it is let in meanwhile, though it comes from the same address.
        bad.proven(&Stranger::knows(TOKEN));
    })
    .await;
}

#[tokio::test]
async fn a_strangers_request_on_a_members_connection_is_a_strangers() {
    let peer = against(|bad| {
        let stranger = Stranger::knows(TOKEN);
        let (mut http, answer) = bad.proven(&stranger);
        // As it comes through a proxy that keeps connections.
        let plain = post_with(&mut http, "/v1/state", &[], b"").expect(200);
        assert_eq!(plain.body, b"127.0.0.1 false POST /v1/state");
        let seal = stranger.seal(&answer, 1, "/v1/jobs", Some("owner"));
        let as_owner = ("x-skyclaw-as", "owner");
        let sealed = [("x-skyclaw-link", seal.as_str()), as_owner];
        let reply = post_with(&mut http, "/v1/jobs", &sealed, b"").expect(200);
        assert_eq!(reply.body, b"owner true POST /v1/jobs");
        // What went over it cannot be used a second time.
        refused(
            post_with(&mut http, "/v1/jobs", &sealed, b""),
            401,
            "unauthorized",
            "pass a request on",
        );
    })
    .await;
    assert!(peer.echo.0.lock().unwrap().is_empty());
    let peer = against(|bad| {
        let stranger = Stranger::knows(TOKEN);
        let (mut http, _) = bad.proven(&stranger);
        refused(
            post_with(&mut http, "/v1/jobs", &[("x-skyclaw-as", "owner")], b""),
            401,
            "unauthorized",
            "member",
        );
        for (count, path) in [(2, "/raft/append"), (0, "/raft/append"), (1, "/raft/vote")] {
            let (mut http, answer) = bad.proven(&Stranger::knows(TOKEN));
            let seal = stranger.seal(&answer, count, path, None);
            let reply = post_with(
                &mut http,
                "/raft/append",
                &[("x-skyclaw-link", &seal)],
                b"x",
            );
            refused(reply, 401, "unauthorized", "proved");
        }
    })
    .await;
    assert!(peer.echo.0.lock().unwrap().is_empty());
}

#[tokio::test]
async fn who_has_proved_nothing_passes_nothing_on() {
    against(|bad| {
        for on_behalf in ["owner", "127.0.0.1", "", "x"] {
            let headers = [("x-skyclaw-as", on_behalf), ("x-skyclaw-token", TOKEN)];
            let reply = post_with(&mut bad.connect(), "/v1/jobs", &headers, b"");
            refused(reply, 401, "unauthorized", "only a member of the cluster");
        }
        let stranger = Stranger::knows(TOKEN);
        let (mut http, answer) = bad.proven(&stranger);
        let seal = stranger.seal(&answer, 1, "/v1/jobs", Some("host a"));
        let headers = [
            ("x-skyclaw-link", seal.as_str()),
            ("x-skyclaw-as", "host a"),
        ];
        refused(
            post_with(&mut http, "/v1/jobs", &headers, b""),
            400,
            "bad_request",
            "neither",
        );
    })
    .await;
}
