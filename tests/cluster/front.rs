//! Any coordinator takes requests, whoever leads.

use std::collections::HashSet;
use std::time::Duration;

use axum::http::Request;
use bytes::Bytes;
use reqwest::Method;
use serde_json::json;
use skyclaw::client::{Client, unix_url};
use skyclaw::coordinator::cluster::{Introduction, Links, Secrets};
use skyclaw::coordinator::{Caller, Tokens};
use skyclaw::queue::cluster::{FIRST_TERM, MemberId, PROTOCOL};
use skyclaw::support::clock::{Clock, SystemClock};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::harness::{Begins, Got, Member, Net, done, id, job, until};

#[tokio::test]
async fn a_job_goes_through_three_coordinators_to_its_end() {
    let net = Net::three().await;
    let (leader, one, other) = net.roles().await;
    let [leader, one, other] = [leader, one, other].map(|at| &net.members[at]);
    one.host("h").await;
    let submitted = one.submit().await;
    let claimed = other.claim("h").await;
    assert_eq!(claimed["id"], submitted.as_str());
    let path = format!("/v1/jobs/{submitted}/complete");
    let ended = one.post(&path, done(&claimed, "h")).await.ok();
    assert_eq!(ended["job"]["status"], "completed");
    for member in [leader, one, other] {
        let seen = member.get(&format!("/v1/jobs/{submitted}")).await.ok();
        assert_eq!(seen["job"]["status"], "completed", "{}", member.name());
        let health = member.get("/health").await.ok();
        assert_eq!(health["nodeId"], member.name());
        assert_eq!(member.get("/ready").await.status, 200);
    }
    // What is wrong is said by the leader in its own words.
    let unknown = one.get("/v1/jobs/nonsense").await;
    unknown.refused(404, "unknown_job");
    let wrong = other.post("/v1/jobs", json!({"payload": {}})).await;
    assert_eq!(wrong.refused(400, "bad_request"), "payload is required");
}

#[tokio::test]
async fn a_body_of_any_length_goes_through() {
    let net = Net::three().await;
    let (_, follower, _) = net.roles().await;
    let follower = &net.members[follower];
    let jobs: Vec<_> = (0..2000)
        .map(|at| json!({"payload": {"kind": "shell", "command": "true", "args": ["x".repeat(1000), at.to_string()]}}))
        .collect();
    let body = json!({"jobs": jobs});
    assert!(body.to_string().len() > 2 << 20, "longer than what is kept");
    let ids = follower
        .post_keyed("/v1/jobs/batch", "k", body.clone())
        .await;
    let ids = ids.ok()["ids"].clone();
    assert_eq!(ids.as_array().unwrap().len(), 2000);
    let again = follower.post_keyed("/v1/jobs/batch", "k", body).await;
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    assert_eq!(again.ok()["ids"], ids);
    // The whole state comes back, in pieces.
    let state = follower.get("/v1/state").await.ok();
    assert_eq!(state["jobs"].as_array().unwrap().len(), 2000);
}

#[tokio::test]
async fn one_key_makes_one_job_whomever_it_is_shown_to() {
    let net = Net::three().await;
    net.leader().await;
    let asks = (0..50).map(|at| net.members[at % 3].post_keyed("/v1/jobs", "same", job()));
    let answers = futures_util::future::join_all(asks).await;
    let ids: HashSet<String> = answers.into_iter().map(|got| id(&got.ok())).collect();
    assert_eq!(ids.len(), 1);
    let other = json!({"payload": {"kind": "shell", "command": "false"}});
    let reused = net.members[2].post_keyed("/v1/jobs", "same", other).await;
    reused.refused(409, "key_reuse");
}

#[tokio::test]
async fn the_leader_checks_tokens_and_the_owner_needs_none_at_any_of_them() {
    let net = Net::with(3, |settings| settings.tokens = Tokens::parse("t0ken")).await;
    let (_, follower, _) = net.roles().await;
    let follower = &net.members[follower];
    follower.get("/v1/jobs").await.refused(401, "unauthorized");
    follower
        .get("/v1/jobs?consistency=local")
        .await
        .refused(401, "unauthorized");
    let shows = follower.request(Method::GET, "/v1/jobs");
    Got::of(shows.header("x-skyclaw-token", "t0ken")).await.ok();
    // Who claims to be a member, and has proved nothing, is nobody.
    let claims = follower.request(Method::GET, "/v1/jobs");
    let claims = Got::of(claims.header("x-skyclaw-as", "owner")).await;
    claims.refused(401, "unauthorized");
    let claims = follower.request(Method::POST, "/raft/append").body("x");
    Got::of(claims).await.refused(401, "unauthorized");
    let url = unix_url(&follower.socket()).unwrap();
    let owner = Client::new(skyclaw::client::Settings::new(vec![url])).unwrap();
    assert!(owner.hosts().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_stranger_is_refused_before_its_body_is_there() {
    let net = Net::with(3, |settings| settings.tokens = Tokens::parse("t0ken")).await;
    let (_, follower, _) = net.roles().await;
    let at = net.members[follower].base.strip_prefix("http://").unwrap();
    // What may be sent twice is kept until it has arrived, but not for whoever shows nothing.
    for head in ["GET /v1/jobs", "POST /v1/jobs"] {
        let mut stream = TcpStream::connect(at).await.unwrap();
        let head = format!(
            "{head} HTTP/1.1\r\nhost: a\r\nx-idempotency-key: k\r\ncontent-length: 1000000\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(&[b' '; 100_000]).await.unwrap();
        let mut answer = [0; 12];
        // Well before the time is over within which a body has to come.
        let read = timeout(Duration::from_secs(20), stream.read_exact(&mut answer)).await;
        read.expect("it is answered").unwrap();
        assert_eq!(&answer, b"HTTP/1.1 401");
    }
}

#[tokio::test]
async fn what_is_not_there_is_said_alike_by_all() {
    let net = Net::three().await;
    let (leader, follower, _) = net.roles().await;
    for member in [&net.members[leader], &net.members[follower]] {
        let wrong = member.get("/v1/network/leave").await;
        wrong.refused(405, "method_not_allowed");
        let wrong = member.post("/health", json!({})).await;
        wrong.refused(405, "method_not_allowed");
    }
}

#[tokio::test]
async fn what_was_passed_on_once_is_not_passed_on_again() {
    let net = Net::three().await;
    let (leader, follower, _) = net.roles().await;
    let follower = &net.members[follower];
    // Somebody who knows the secret and believes that this one leads.
    let links = Links::new(Secrets::of(None, &Tokens::default()));
    let (status, me) = (follower.status(), MemberId::random());
    let to = (status.id, follower.known());
    links.introduce(move || Introduction {
        member: me,
        ..Introduction::of(&status, "node_x", PROTOCOL, SystemClock.now())
    });
    let request = Request::post("/v1/jobs").header("x-idempotency-key", "k");
    let request = request.body(Bytes::from(job().to_string())).unwrap();
    let passed_on = links.forward_whole(&to, request, &Caller::Owner).await;
    let (head, body) = passed_on.unwrap().into_parts();
    assert_eq!(head.status, 503);
    let text = axum::body::to_bytes(body, 4096).await.unwrap();
    let said: serde_json::Value = serde_json::from_slice(&text).unwrap();
    assert_eq!(said["code"], "no_leader");
    let jobs = net.members[leader].get("/v1/jobs").await.ok();
    assert_eq!(jobs["jobs"], json!([]), "nobody did it");
}

#[tokio::test]
async fn a_newcomer_says_that_it_waits() {
    let waits = Member::new("node_new", Begins::Waiting, |_| {}).await;
    assert_eq!(waits.get("/health").await.ok()["nodeId"], "node_new");
    assert_eq!(
        waits.get("/v1/network/peers").await.ok()["nodeId"],
        "node_new"
    );
    for got in [
        waits.get("/v1/jobs").await,
        waits.get("/v1/jobs?consistency=local").await,
        waits.get("/ready").await,
        waits.post("/v1/jobs", job()).await,
    ] {
        assert_eq!(got.header("retry-after"), Some("1"));
        let text = got.refused(503, "unavailable");
        assert!(text.starts_with("waiting to join"), "{text}");
    }
    let mut net = Net::with(1, |_| {}).await;
    net.members[0].host("h").await;
    net.join(waits).await;
    let submitted = net.members[1].submit().await;
    assert_eq!(net.members[0].claim("h").await["id"], submitted.as_str());
}

#[tokio::test]
async fn a_lone_coordinator_becomes_a_cluster_under_its_clients() {
    let lone = Member::new("node_0", Begins::AsItWas, |_| {}).await;
    lone.host("h").await;
    let before = lone.submit().await;
    let claimed = lone.claim("h").await;
    let state = lone.get("/v1/state").await.ok();
    for field in ["appliedIndex", "term", "leader"] {
        assert!(state.get(field).is_none(), "alone it says no {field}");
    }
    // A host waits in an open request while all that happens.
    let body = json!({"max": 1, "waitMs": 20_000});
    let asks = lone.request(Method::POST, "/v1/hosts/h/claim");
    let waiting = tokio::spawn(Got::of(asks.body(body.to_string())));
    lone.found().await;
    assert_eq!(lone.status().term, FIRST_TERM);
    let mut net = Net {
        members: vec![lone],
    };
    net.join(Member::new("node_1", Begins::Waiting, |_| {}).await)
        .await;
    let path = format!("/v1/jobs/{before}/complete");
    let done = net.members[1].post(&path, done(&claimed, "h")).await.ok();
    assert_eq!(done["job"]["status"], "completed");
    let next = net.members[1].submit().await;
    let got = waiting.await.unwrap().ok();
    assert_eq!(got["jobs"][0]["id"], next.as_str(), "the wait went on");
    let mut member = net.members.swap_remove(0);
    drop(net);
    // Half of a pair is no majority: it says so, and does not hang.
    let refused = member.post("/v1/jobs", job()).await;
    assert_eq!(refused.status, 503, "{}", refused.body);
    until(async || member.get("/v1/jobs").await.status == 503).await;
    member.stop().await;
}
