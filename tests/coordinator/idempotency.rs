//! The same request again, also at the same moment.

use std::collections::BTreeSet;

use serde_json::json;

use crate::harness::{Room, done, lease};

#[tokio::test]
async fn fifty_equal_requests_at_once_make_one_job() {
    let room = Room::open().await;
    let body = json!({"payload": {"kind": "shell", "command": "true"}});
    let sent = (0..50).map(|_| room.post_keyed("/v1/jobs", "k1", body.clone()));
    let got = futures_util::future::join_all(sent).await;
    let fresh = got
        .iter()
        .filter(|got| got.header("idempotency-replayed").is_none())
        .count();
    assert_eq!(fresh, 1);
    let jobs: BTreeSet<String> = got
        .into_iter()
        .map(|got| got.ok()["job"].to_string())
        .collect();
    assert_eq!(jobs.len(), 1);
    assert_eq!(room.queue.counts().await.unwrap().queued, 1);
    room.stop().await;
}

#[tokio::test]
async fn bodies_are_compared_as_json_and_routes_are_apart() {
    let room = Room::open().await;
    let first = room
        .post_keyed(
            "/v1/jobs",
            "k",
            json!({"payload": {"kind": "shell", "command": "true"}, "submittedBy": "x"}),
        )
        .await
        .ok();
    let request = room
        .request(reqwest::Method::POST, "/v1/jobs")
        .header("x-idempotency-key", " k ")
        .body(r#" {"submittedBy":"x",  "payload":{"command":"true","kind":"shell"}}"#);
    let again = room.send(request).await;
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    assert_eq!(again.ok(), first);
    let text = room
        .post_keyed(
            "/v1/jobs",
            "k",
            json!({"payload": {"kind": "shell", "command": "false"}}),
        )
        .await
        .refused(409, "key_reuse");
    assert_eq!(text, "idempotency key reuse conflict for route /v1/jobs");
    let host = json!({"name": "a", "hostId": "a"});
    room.post_keyed("/v1/hosts/register", "k", host).await.ok();
    room.stop().await;
}

#[tokio::test]
async fn the_first_answer_is_given_again_after_the_job_went_on() {
    let room = Room::open().await;
    room.host("a", &["shell"]).await;
    let body = json!({"payload": {"kind": "shell", "command": "true"}});
    let first = room.post_keyed("/v1/jobs", "k", body.clone()).await.ok();
    let claimed = room
        .post_keyed("/v1/hosts/a/claim", "c", json!({}))
        .await
        .ok();
    let again = room.post_keyed("/v1/hosts/a/claim", "c", json!({})).await;
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    assert_eq!(again.ok(), claimed);
    let id = first["job"]["id"].as_str().unwrap();
    let path = format!("/v1/jobs/{id}/complete");
    let report = done(&claimed["job"], "a");
    room.post_keyed(&path, "d", report.clone()).await.ok();
    let again = room.post_keyed(&path, "d", report).await;
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    assert_eq!(again.ok()["job"]["status"], "completed");
    assert_eq!(room.post_keyed("/v1/jobs", "k", body).await.ok(), first);
    let other = done(&claimed["job"], "b");
    room.host("b", &[]).await;
    let text = room
        .post_keyed(&path, "d", other)
        .await
        .refused(409, "key_reuse");
    assert!(text.ends_with(&path), "{text}");
    room.stop().await;
}

#[tokio::test]
async fn batches_and_what_hosts_send_together_are_keyed_too() {
    let room = Room::open().await;
    room.host("a", &["shell"]).await;
    let one = json!({"payload": {"kind": "shell", "command": "true"}});
    let batch = json!({"jobs": [one, one, one], "group": {"title": "three"}});
    let first = room
        .post_keyed("/v1/jobs/batch", "b", batch.clone())
        .await
        .ok();
    let again = room.post_keyed("/v1/jobs/batch", "b", batch).await;
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    assert_eq!(again.ok(), first);
    let jobs = room.post("/v1/hosts/a/claim", json!({"max": 3})).await.ok()["jobs"].clone();
    let jobs = jobs.as_array().unwrap();
    let release = json!({"leases": [lease(&jobs[2])]});
    let gone = room
        .post_keyed("/v1/hosts/a/release", "r", release.clone())
        .await
        .ok();
    assert_eq!(gone["results"][0]["outcome"], "requeued");
    assert_eq!(
        room.post_keyed("/v1/hosts/a/release", "r", release)
            .await
            .ok(),
        gone
    );
    let completions: Vec<_> = jobs[..2]
        .iter()
        .map(|job| {
            let mut one = lease(job);
            one["success"] = json!(true);
            one["result"] = json!({"durationMs": 1, "exitCode": 0, "stdout": "", "stderr": ""});
            one
        })
        .collect();
    let many = json!({"completions": completions});
    let first = room
        .post_keyed("/v1/hosts/a/complete", "c", many.clone())
        .await
        .ok();
    let again = room.post_keyed("/v1/hosts/a/complete", "c", many).await;
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    assert_eq!(again.ok(), first);
    let other = json!({"completions": [completions[0]]});
    room.post_keyed("/v1/hosts/a/complete", "c", other)
        .await
        .refused(409, "key_reuse");
    room.stop().await;
}

#[tokio::test]
async fn a_full_queue_still_gives_the_answers_it_gave() {
    let room = Room::with(|settings| settings.max_queued = 2).await;
    let one = json!({"payload": {"kind": "shell", "command": "true"}});
    let batch = json!({"jobs": [one, one]});
    let first = room.post_keyed("/v1/jobs/batch", "b", batch.clone()).await;
    let first = first.ok();
    let full = room
        .post_keyed("/v1/jobs/batch", "other", batch.clone())
        .await;
    full.refused(429, "too_many");
    let again = room.post_keyed("/v1/jobs/batch", "b", batch).await;
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    assert_eq!(again.ok(), first);
    let reused = json!({"jobs": [one]});
    let reused = room.post_keyed("/v1/jobs/batch", "b", reused).await;
    reused.refused(409, "key_reuse");
    room.stop().await;
}

#[tokio::test]
async fn the_answer_to_results_brings_the_next_jobs_once() {
    let room = Room::open().await;
    room.host("a", &["shell"]).await;
    for _ in 0..3 {
        room.submit(&["shell"]).await;
    }
    let job = room.claim("a").await;
    let mut report = lease(&job);
    report["success"] = json!(true);
    report["result"] = json!({"finishedAt": "2026-01-01T00:00:00Z", "exitCode": 0});
    let body = json!({"completions": [report], "claim": 1});
    let path = "/v1/hosts/a/complete";
    let first = room.post_keyed(path, "k", body.clone()).await.ok();
    assert_eq!(first["results"][0]["outcome"], "ended");
    assert_eq!(first["claimed"]["jobs"].as_array().unwrap().len(), 1);
    let again = room.post_keyed(path, "k", body.clone()).await;
    assert_eq!(again.ok(), first);
    // Without a key results are told again and jobs are not given again.
    let next = room.post(path, body).await.ok();
    assert_ne!(
        next["claimed"]["jobs"][0]["id"],
        first["claimed"]["jobs"][0]["id"]
    );
    let none = room
        .post(path, json!({"completions": [], "claim": 4}))
        .await
        .ok();
    assert_eq!(none["claimed"]["jobs"], json!([]));
    let plain = room.post(path, json!({"completions": []})).await.ok();
    assert_eq!(plain["claimed"], json!(null));
    room.stop().await;
}
