//! The public API: what each key may do and see.

use reqwest::Method;
use serde_json::{Value, json};
use skyclaw::coordinator::{Keys, Tokens};

use crate::harness::{Got, Room};

const KEYS: &str =
    "k-site:site, k-shell:ops:openclaw|shell:shell, k-env:lab:openclaw:env, k-pico:pico:picoclaw";

async fn room() -> Room {
    Room::with(|settings| {
        settings.keys = Keys::parse(KEYS).unwrap();
        settings.tokens = Tokens::parse("private");
    })
    .await
}

async fn submit(room: &Room, key: &str, body: Value) -> Got {
    let request = room
        .request(Method::POST, "/v1/public/jobs")
        .header("x-api-key", key)
        .body(body.to_string());
    room.send(request).await
}

fn run() -> Value {
    json!({"payload": {"kind": "openclaw-run", "args": ["agent"]}})
}

#[tokio::test]
async fn a_key_gets_jobs_with_its_own_capabilities_and_sees_only_its_own() {
    let room = room().await;
    let got = submit(&room, "k-shell", run()).await.ok();
    let job = &got["job"];
    assert_eq!(
        job["requirement"]["requiredCapabilities"],
        json!(["openclaw", "shell"])
    );
    assert!(job.get("submittedBy").is_none());
    let id = job["id"].as_str().unwrap();
    let see = |key: &'static str| {
        room.request(Method::GET, &format!("/v1/public/jobs/{id}"))
            .header("authorization", format!("Bearer {key}"))
    };
    let seen = room.send(see("k-shell")).await.ok();
    assert!(seen["job"].get("submittedBy").is_none());
    assert_eq!(
        room.send(see("k-site")).await.refused(404, "unknown_job"),
        "job not found"
    );
    let inside = room
        .request(Method::GET, &format!("/v1/jobs/{id}"))
        .header("x-skyclaw-token", "private");
    assert_eq!(
        room.send(inside).await.ok()["job"]["submittedBy"],
        "public:ops"
    );
    room.stop().await;
}

#[tokio::test]
async fn an_empty_requirement_does_not_escape_the_key() {
    let room = room().await;
    for requirement in [
        json!({}),
        json!({"requiredCapabilities": []}),
        json!({"requiredCapabilities": [" "]}),
    ] {
        let mut body = run();
        body["requirement"] = requirement;
        let job = submit(&room, "k-site", body).await.ok()["job"].clone();
        assert_eq!(
            job["requirement"]["requiredCapabilities"],
            json!(["openclaw"])
        );
    }
    room.stop().await;
}

#[tokio::test]
async fn what_a_key_may_not_do_is_forbidden() {
    let room = room().await;
    let mut gpu = run();
    gpu["requirement"] = json!({"requiredCapabilities": ["gpu"]});
    let text = submit(&room, "k-site", gpu).await.refused(403, "forbidden");
    assert_eq!(
        text,
        "requested capabilities are not allowed for this api key"
    );
    let shell = json!({"payload": {"kind": "shell", "command": "id"}});
    let text = submit(&room, "k-site", shell.clone())
        .await
        .refused(403, "forbidden");
    assert_eq!(text, "shell jobs are not allowed for this api key");
    submit(&room, "k-shell", shell).await.ok();
    let pico = json!({"payload": {"kind": "picoclaw-task", "message": "m"}});
    submit(&room, "k-site", pico.clone())
        .await
        .refused(403, "forbidden");
    submit(&room, "k-pico", pico).await.ok();
    for (field, value) in [
        ("env", json!({"LD_PRELOAD": "x"})),
        ("cwd", json!("/")),
        ("openclawDir", json!("/")),
    ] {
        let mut body = run();
        body["payload"][field] = value;
        submit(&room, "k-site", body.clone())
            .await
            .refused(403, "forbidden");
        submit(&room, "k-env", body).await.ok();
    }
    room.stop().await;
}

#[tokio::test]
async fn off_wrong_and_too_fast_are_told_apart() {
    let off = Room::open().await;
    let text = submit(&off, "k", run()).await.refused(503, "unavailable");
    assert_eq!(text, "public api is disabled");
    let preflight = off
        .send(off.request(Method::OPTIONS, "/v1/public/jobs"))
        .await;
    assert_eq!(
        (preflight.status.as_u16(), preflight.body),
        (204, Value::Null)
    );
    off.stop().await;
    let room = room().await;
    let text = submit(&room, "k-none", run())
        .await
        .refused(401, "unauthorized");
    assert_eq!(text, "invalid api key");
    let mut refused = None;
    for _ in 0..80 {
        let got = submit(&room, "k-site", run()).await;
        if got.status == 429 {
            refused = Some(got);
            break;
        }
        got.ok();
    }
    assert!(refused.unwrap().header("retry-after").is_some());
    submit(&room, "k-env", run()).await.ok();
    room.stop().await;
}

#[tokio::test]
async fn origins_are_named_only_when_one_is_set() {
    let room = room().await;
    let got = submit(&room, "k-site", run()).await;
    assert!(got.header("access-control-allow-origin").is_none());
    room.stop().await;
    let room =
        Room::with(|settings| settings.cors_origin = Some("https://site.example".into())).await;
    for request in [
        room.request(Method::OPTIONS, "/v1/public/jobs/x"),
        room.request(Method::POST, "/v1/public/jobs"),
    ] {
        let got = room.send(request).await;
        assert_eq!(
            got.header("access-control-allow-origin"),
            Some("https://site.example")
        );
        assert_eq!(
            got.header("access-control-allow-methods"),
            Some("GET,POST,OPTIONS")
        );
    }
    room.stop().await;
}

#[tokio::test]
async fn keys_of_two_owners_do_not_meet() {
    let room = room().await;
    let keyed = |key: &'static str, args: Value| {
        room.request(Method::POST, "/v1/public/jobs")
            .header("x-api-key", key)
            .header("x-idempotency-key", "same")
            .body(json!({"payload": {"kind": "openclaw-run", "args": args}}).to_string())
    };
    let one = room.send(keyed("k-site", json!(["a"]))).await.ok();
    let other = room.send(keyed("k-env", json!(["b"]))).await.ok();
    assert_ne!(one["job"]["id"], other["job"]["id"]);
    let again = room.send(keyed("k-site", json!(["a"]))).await;
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    assert_eq!(again.ok()["job"], one["job"]);
    room.stop().await;
}

#[tokio::test]
async fn nobody_submits_in_the_name_of_a_key() {
    let room = Room::open().await;
    let job =
        json!({"payload": {"kind": "shell", "command": "true"}, "submittedBy": " public:site"});
    let refused = room.post("/v1/jobs", job.clone()).await;
    refused.refused(400, "bad_request");
    let many = room.post("/v1/jobs/batch", json!({"jobs": [job]})).await;
    let text = many.refused(400, "bad_request");
    assert!(text.starts_with("jobs[0]: submittedBy"), "{text}");
    room.stop().await;
}
