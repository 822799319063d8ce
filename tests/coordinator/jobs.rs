//! Looking at jobs, waiting, cancelling, retrying, reading what they print.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::harness::{Room, SOON, done, lease};

#[tokio::test]
async fn a_list_is_filtered_and_paged() {
    let room = Room::open().await;
    room.host("a", &["shell"]).await;
    let ids: Vec<String> =
        futures_util::future::join_all((0..5).map(|_| room.submit(&["shell"]))).await;
    let claimed = room.claim("a").await;
    let queued = room.get("/v1/jobs?status=queued&limit=3").await.ok();
    assert_eq!(queued["jobs"].as_array().unwrap().len(), 3);
    let next = queued["next"].as_str().unwrap();
    let rest = room
        .get(&format!("/v1/jobs?status=queued&limit=3&cursor={next}"))
        .await
        .ok();
    assert_eq!(rest["jobs"].as_array().unwrap().len(), 1);
    assert!(rest.get("next").is_none());
    let held = room.get("/v1/jobs?host=a&kind=shell").await.ok();
    assert_eq!(held["jobs"][0]["id"], claimed["id"]);
    assert!(ids.iter().any(|id| claimed["id"] == *id));
    for bad in [
        "/v1/jobs?status=odd",
        "/v1/jobs?cursor=x",
        "/v1/jobs?limit=-1",
    ] {
        room.get(bad).await.refused(400, "bad_request");
    }
    room.stop().await;
}

#[tokio::test]
async fn a_wait_ends_with_the_job_or_with_its_time() {
    let room = Room::open().await;
    room.host("a", &["shell"]).await;
    let id = room.submit(&["shell"]).await;
    let early = room.get(&format!("/v1/jobs/{id}?waitMs=100")).await.ok();
    assert_eq!(early["job"]["status"], "queued");
    let job = room.claim("a").await;
    let path = format!("/v1/jobs/{id}?waitMs=30000");
    let request = room.request(reqwest::Method::GET, &path);
    let waiting = tokio::spawn(async move { request.send().await.unwrap().text().await.unwrap() });
    let path = format!("/v1/jobs/{id}/complete");
    room.post(&path, done(&job, "a")).await.ok();
    let got = timeout(SOON, waiting).await.expect("it ends").unwrap();
    let got: Value = serde_json::from_str(&got).unwrap();
    assert_eq!(got["job"]["status"], "completed");
    assert_eq!(got["job"]["result"]["stdout"], "hi\n");
    room.stop().await;
}

#[tokio::test]
async fn cancel_and_retry_say_what_became_of_each() {
    let room = Room::open().await;
    room.host("a", &["shell"]).await;
    let running = room.submit(&["shell"]).await;
    room.claim("a").await;
    let waiting = room.submit(&["shell"]).await;
    let missing = "job_00000000-0000-7000-8000-000000000000";
    let body = json!({"ids": [running, waiting, missing], "reason": "enough"});
    let got = room.post("/v1/jobs/cancel", body).await.ok();
    assert_eq!(
        got,
        json!({"ended": [waiting], "asked": [running], "alreadyEnded": [], "unknown": [missing]})
    );
    let job = room.job(&waiting).await;
    assert_eq!(
        (&job["status"], &job["reason"]),
        (&json!("failed"), &json!("cancelled"))
    );
    assert_eq!(job["cancel"]["reason"], "enough");
    let got = room
        .post(
            "/v1/jobs/retry",
            json!({"ids": [running, waiting, missing]}),
        )
        .await
        .ok();
    assert_eq!(got["notEnded"], json!([running]));
    assert_eq!(got["unknown"], json!([missing]));
    let again = got["retried"][0][1].as_str().unwrap();
    assert_eq!(room.job(again).await["retryOf"], *waiting);
    room.post(&format!("/v1/jobs/{missing}/cancel"), json!({}))
        .await
        .refused(404, "unknown_job");
    room.post("/v1/jobs/cancel", json!({}))
        .await
        .refused(400, "bad_request");
    room.stop().await;
}

#[tokio::test]
async fn a_batch_is_all_or_nothing_and_has_one_group() {
    let room = Room::open().await;
    let good = json!({"payload": {"kind": "shell", "command": "true"}});
    let bad = json!({"payload": {"kind": "shell"}});
    let text = room
        .post("/v1/jobs/batch", json!({"jobs": [good, bad]}))
        .await
        .refused(400, "bad_request");
    assert!(text.starts_with("jobs[1]: "), "{text}");
    room.post("/v1/jobs/batch", json!({"jobs": []}))
        .await
        .refused(400, "bad_request");
    assert_eq!(room.queue.counts().await.unwrap().total(), 0);
    let body = json!({"jobs": [good, good], "group": {"kind": "array", "title": "two"}});
    let got = room.post("/v1/jobs/batch", body).await.ok();
    let group = got["group"].as_str().unwrap();
    let listed = room.get(&format!("/v1/jobs?group={group}")).await.ok();
    let ids: Vec<&Value> = listed["jobs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|job| &job["id"])
        .collect();
    assert_eq!(json!(ids), got["ids"]);
    let got = room
        .post("/v1/jobs/cancel", json!({"group": group}))
        .await
        .ok();
    assert_eq!(got["ended"].as_array().unwrap().len(), 2);
    let unknown = json!({"group": "00000000-0000-7000-8000-000000000000"});
    room.post("/v1/jobs/cancel", unknown)
        .await
        .refused(404, "unknown_group");
    room.stop().await;
}

#[tokio::test]
async fn an_explanation_names_the_first_reason_for_each_host() {
    let room = Room::open().await;
    room.host("cpu", &["shell"]).await;
    room.host("busy", &["gpu"]).await;
    room.host("off", &["gpu"]).await;
    room.post("/v1/hosts/off/drain", json!({})).await.ok();
    for _ in 0..4 {
        room.submit(&["gpu"]).await;
    }
    room.post("/v1/hosts/busy/claim", json!({"max": 4}))
        .await
        .ok();
    let id = room.submit(&["gpu"]).await;
    let got = room.get(&format!("/v1/jobs/{id}/explain")).await.ok();
    let why = |host: &str| {
        let hosts = got["hosts"].as_array().unwrap();
        let one = hosts.iter().find(|one| one["hostId"] == host).unwrap();
        assert_eq!(one["canRun"], false);
        one["why"].as_str().unwrap().to_owned()
    };
    assert_eq!(why("cpu"), "it lacks the capability gpu");
    assert_eq!(why("busy"), "it is full: 4 of 4 jobs");
    assert_eq!(why("off"), "it is draining");
    assert_eq!(got["summary"], "no host can take it now");
    room.stop().await;
}

#[tokio::test]
async fn output_is_kept_and_followed() {
    let room = Room::open().await;
    room.host("a", &["shell"]).await;
    let id = room.submit(&["shell"]).await;
    let job = room.claim("a").await;
    let chunk = |offset: usize, text: &str| {
        let mut one = lease(&job);
        one["stream"] = json!("stdout");
        one["offset"] = json!(offset);
        one["dataB64"] = json!(STANDARD.encode(text));
        json!({"chunks": [one]})
    };
    let path = format!("/v1/jobs/{id}/logs");
    let got = room.post("/v1/hosts/a/logs", chunk(0, "one\n")).await.ok();
    assert_eq!(got["results"][0]["state"], "stored");
    let request = room
        .request(reqwest::Method::GET, &path)
        .header("accept", "text/event-stream");
    let mut stream = request.send().await.unwrap();
    let mut seen = String::new();
    let read = async |stream: &mut reqwest::Response, seen: &mut String, what: &str| {
        timeout(SOON, async {
            while !seen.contains(what) {
                let bytes = stream.chunk().await.unwrap().expect("it goes on");
                seen.push_str(std::str::from_utf8(&bytes).unwrap());
            }
        })
        .await
        .unwrap_or_else(|_| panic!("no {what} in {seen}"));
    };
    read(&mut stream, &mut seen, &STANDARD.encode("one\n")).await;
    room.post("/v1/hosts/a/logs", chunk(4, "two\n")).await.ok();
    read(&mut stream, &mut seen, &STANDARD.encode("two\n")).await;
    let page = room.get(&path).await.ok();
    assert_eq!(
        (page["pieces"].as_array().unwrap().len(), &page["done"]),
        (2, &json!(false))
    );
    room.post(&format!("/v1/jobs/{id}/complete"), done(&job, "a"))
        .await
        .ok();
    read(&mut stream, &mut seen, "event: end").await;
    let next = page["next"].as_str().unwrap();
    let page = room.get(&format!("{path}?cursor={next}")).await.ok();
    assert_eq!((&page["pieces"], &page["done"]), (&json!([]), &json!(true)));
    let late = room
        .post("/v1/hosts/a/logs", chunk(8, "three\n"))
        .await
        .ok();
    assert_eq!(late["results"][0]["state"], "lost");
    let mut bad = chunk(0, "");
    bad["chunks"][0]["dataB64"] = json!("%%");
    room.post("/v1/hosts/a/logs", bad)
        .await
        .refused(400, "bad_request");
    room.stop().await;
}

#[tokio::test]
async fn too_many_waiting_jobs_are_refused_until_some_are_taken() {
    let room = Room::with(|settings| settings.max_queued = 3).await;
    room.host("a", &["shell"]).await;
    for _ in 0..3 {
        room.submit(&["shell"]).await;
    }
    let body = json!({"payload": {"kind": "shell", "command": "true"}});
    let full = room.post("/v1/jobs", body.clone()).await;
    assert_eq!(full.header("retry-after"), Some("1"));
    full.refused(429, "too_many");
    room.claim("a").await;
    room.until(async |room| room.post("/v1/jobs", body.clone()).await.status == 200)
        .await;
    room.stop().await;
}

#[tokio::test]
async fn delayed_jobs_come_when_it_is_time() {
    let room = Room::open().await;
    room.host("a", &["shell"]).await;
    let body =
        json!({"payload": {"kind": "shell", "command": "true"}, "delayMs": 700, "priority": 5});
    let job = room.post("/v1/jobs", body).await.ok()["job"].clone();
    assert!(job["notBefore"].is_string());
    assert_eq!(room.claim("a").await, Value::Null);
    let got = room
        .post("/v1/hosts/a/claim", json!({"max": 1, "waitMs": 20000}))
        .await
        .ok();
    assert_eq!(got["jobs"][0]["id"], job["id"]);
    let odd = json!({"payload": {"kind": "shell", "command": "true"}, "priority": 101});
    room.post("/v1/jobs", odd).await.refused(400, "bad_request");
    tokio::time::sleep(Duration::ZERO).await;
    room.stop().await;
}

#[tokio::test]
async fn half_a_character_does_not_cost_a_result() {
    let room = Room::open().await;
    room.host("a", &["shell"]).await;
    let cut = |lease: &str| {
        format!(r#"{{{lease}"durationMs":1,"exitCode":0,"stdout":"cut \ud83d","stderr":"\ude00"}}"#)
    };
    let id = room.submit(&["shell"]).await;
    room.claim("a").await;
    let request = room
        .request(reqwest::Method::POST, &format!("/v1/jobs/{id}/complete"))
        .body(cut(r#""hostId":"a","success":true,"#));
    let got = room.send(request).await.ok();
    let result = &got["job"]["result"];
    assert_eq!(
        (&result["stdout"], &result["stderr"]),
        (&json!("cut \u{fffd}"), &json!("\u{fffd}"))
    );
    room.submit(&["shell"]).await;
    let job = room.claim("a").await;
    let many = format!(
        r#"{{"completions":[{{"jobId":{},"attempt":1,"leaseToken":{},"success":true,"result":{}}}]}}"#,
        job["id"],
        job["leaseToken"],
        cut("")
    );
    let request = room
        .request(reqwest::Method::POST, "/v1/hosts/a/complete")
        .body(many);
    let got = room.send(request).await.ok();
    assert_eq!(got["results"][0]["outcome"], "ended");
    room.stop().await;
}
