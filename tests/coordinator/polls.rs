//! Open requests: who is woken, when, and what becomes of those that went away.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use crate::harness::{Room, SOON, lease};

fn claim(id: &str) -> String {
    format!("/v1/hosts/{id}/claim")
}

fn jobs(answer: &Value) -> usize {
    answer["jobs"].as_array().unwrap().len()
}

/// Waits until `id` was heard of after `before`.
async fn heard(room: &Room, id: &str, before: &Value) {
    room.until(async |room| {
        let now = room.get(&format!("/v1/hosts/{id}")).await.ok();
        now["host"]["lastSeenAt"] != before["host"]["lastSeenAt"]
    })
    .await;
}

#[tokio::test]
async fn a_job_wakes_one_host_that_can_run_it() {
    let room = Room::open().await;
    room.host("cpu", &["shell"]).await;
    let mut polls = Vec::new();
    for id in ["gpu-1", "gpu-2", "gpu-3"] {
        room.host(id, &["gpu"]).await;
        polls.push(room.later(&claim(id), json!({"max": 2, "waitMs": 4000})));
    }
    let useless = room.later(&claim("cpu"), json!({"max": 2, "waitMs": 4000}));
    let id = room.submit(&["gpu"]).await;
    let mut got = Vec::new();
    for poll in polls {
        got.push(poll.await.unwrap());
    }
    let given: Vec<&Value> = got.iter().filter(|one| jobs(one) > 0).collect();
    assert_eq!(given.len(), 1, "{got:?}");
    assert_eq!(given[0]["jobs"][0]["id"], *id);
    assert_eq!(jobs(&useless.await.unwrap()), 0);
    room.stop().await;
}

#[tokio::test]
async fn who_waits_longest_is_served_first_and_at_once() {
    let room = Room::open().await;
    let mut polls = Vec::new();
    for id in ["a", "b", "c"] {
        let before = room.host(id, &["shell"]).await;
        polls.push((
            id,
            room.later(&claim(id), json!({"max": 1, "waitMs": 30000})),
        ));
        heard(&room, id, &before).await;
    }
    for (id, poll) in polls {
        let job = room.submit(&["shell"]).await;
        let begun = Instant::now();
        let got = timeout(SOON, poll).await.expect("it is woken").unwrap();
        assert!(begun.elapsed() < Duration::from_secs(5));
        assert_eq!(got["jobs"][0]["id"], *job, "{id}");
    }
    room.stop().await;
}

#[tokio::test]
async fn who_is_least_loaded_is_served_first() {
    let room = Room::open().await;
    // Of the four that each can run at once, `a` runs two, `b` one, and `c` none.
    let mut held = Vec::new();
    for (id, busy) in [("a", 2), ("b", 1), ("c", 0)] {
        room.host(id, &["shell"]).await;
        for _ in 0..busy {
            room.submit(&["shell"]).await;
            let got = room.post(&claim(id), json!({"max": 1})).await.ok();
            held.push((id, got["jobs"][0].clone()));
        }
    }
    let mut polls = std::collections::BTreeMap::new();
    for id in ["a", "b", "c"] {
        let before = room.get(&format!("/v1/hosts/{id}")).await.ok();
        polls.insert(
            id,
            room.later(&claim(id), json!({"max": 2, "waitMs": 30000})),
        );
        heard(&room, id, &before).await;
    }
    // What ends meanwhile counts: now it is `b` that runs nothing, and came before `c`.
    let (id, job) = held.pop().unwrap();
    let path = format!("/v1/hosts/{id}/complete");
    let completion = json!({
        "jobId": job["id"], "attempt": job["attempts"], "leaseToken": job["leaseToken"],
        "success": true, "result": {},
    });
    room.post(&path, json!({"completions": [completion]}))
        .await
        .ok();
    for id in ["b", "c", "a"] {
        let job = room.submit(&["shell"]).await;
        let poll = polls.remove(id).unwrap();
        let got = timeout(SOON, poll).await.expect("it is woken").unwrap();
        assert_eq!(got["jobs"][0]["id"], *job, "{id}");
    }
    room.stop().await;
}

#[tokio::test]
async fn many_jobs_at_once_are_shared() {
    let room = Room::open().await;
    let mut polls = Vec::new();
    for id in ["a", "b"] {
        let before = room.host(id, &["shell"]).await;
        polls.push(room.later(&claim(id), json!({"max": 4, "waitMs": 20000})));
        heard(&room, id, &before).await;
    }
    let one = json!({"payload": {"kind": "shell", "command": "true"}});
    room.post("/v1/jobs/batch", json!({"jobs": vec![one; 4]}))
        .await
        .ok();
    for poll in polls {
        let got = timeout(SOON, poll).await.expect("both are woken").unwrap();
        // Two for each, unless one job of the batch was there before the others.
        assert!((1..=3).contains(&jobs(&got)), "{got}");
    }
    room.stop().await;
}

#[tokio::test]
async fn many_jobs_at_once_wake_many_hosts() {
    let room = Room::open().await;
    let mut polls = Vec::new();
    for number in 0..20 {
        let id = format!("h{number}");
        room.host(&id, &["shell"]).await;
        polls.push(room.later(&claim(&id), json!({"max": 2, "waitMs": 20000})));
    }
    let one = json!({"payload": {"kind": "shell", "command": "true"}});
    room.post("/v1/jobs/batch", json!({"jobs": vec![one; 40]}))
        .await
        .ok();
    let mut given = 0;
    for poll in polls {
        given += jobs(&timeout(SOON, poll).await.expect("all are woken").unwrap());
    }
    // A host may have asked between two jobs of the batch, so it is not always two for each.
    let left = room.queue.counts().await.unwrap().queued;
    assert_eq!(given as u64 + left, 40);
    room.stop().await;
}

#[tokio::test]
async fn an_old_claim_answers_at_once_and_a_short_wait_ends_with_nothing() {
    let room = Room::open().await;
    room.host("a", &["shell"]).await;
    assert_eq!(
        room.post(&claim("a"), json!({})).await.ok(),
        json!({"job": null})
    );
    let begun = Instant::now();
    let got = room
        .post(&claim("a"), json!({"max": 1, "waitMs": 300}))
        .await
        .ok();
    assert_eq!(got, json!({"jobs": []}));
    assert!(begun.elapsed() >= Duration::from_millis(200));
    let old = room.post(&claim("a"), json!({"waitMs": 100})).await.ok();
    assert_eq!(old, json!({"job": null}));
    room.stop().await;
}

#[tokio::test]
async fn work_for_a_host_that_hung_up_goes_to_another() {
    let room = Room::open().await;
    let before = room.host("gone", &["shell"]).await;
    room.host("there", &["shell"]).await;
    let mut stream = TcpStream::connect(room.base.trim_start_matches("http://"))
        .await
        .unwrap();
    let body = json!({"max": 1, "waitMs": 30000}).to_string();
    let head = format!(
        "POST /v1/hosts/gone/claim HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    heard(&room, "gone", &before).await;
    drop(stream);
    let id = room.submit(&["shell"]).await;
    room.until(async |room| room.claim("there").await["id"] == *id)
        .await;
    let attempts = room.get(&format!("/v1/jobs/{id}/attempts")).await.ok();
    for one in attempts["attempts"].as_array().unwrap() {
        assert!(one["end"] != "lost", "{attempts}");
    }
    room.stop().await;
}

#[tokio::test]
async fn a_cancel_ends_the_open_poll_of_its_host() {
    let room = Room::open().await;
    room.host("a", &["shell"]).await;
    let id = room.submit(&["shell"]).await;
    let job = room.claim("a").await;
    let poll = room.later(&claim("a"), json!({"max": 0, "waitMs": 30000}));
    let body = json!({"reason": "enough", "graceMs": 3000});
    let got = room.post(&format!("/v1/jobs/{id}/cancel"), body).await.ok();
    assert_eq!(got["asked"], json!([id]));
    let got = timeout(SOON, poll).await.expect("it ends early").unwrap();
    assert_eq!(got, json!({"jobs": [], "heartbeat": true}));
    let beat = room
        .post("/v1/hosts/a/heartbeat", json!({"leases": [lease(&job)]}))
        .await
        .ok();
    let told = &beat["leases"][0];
    assert_eq!(
        (&told["state"], &told["reason"]),
        (&json!("cancel"), &json!("enough"))
    );
    assert_eq!(told["graceMs"], 3000);
    // Told once; from here on heartbeats carry it, and polls do not spin.
    let quiet = room
        .post(&claim("a"), json!({"max": 0, "waitMs": 100}))
        .await
        .ok();
    assert_eq!(quiet, json!({"jobs": []}));
    room.stop().await;
}

#[tokio::test]
async fn pause_and_drain_hold_work_back_and_their_end_wakes() {
    let room = Room::open().await;
    room.host("a", &["shell"]).await;
    for (stop, go) in [
        ("/v1/queue/pause", "/v1/queue/resume"),
        ("/v1/hosts/a/drain", "/v1/hosts/a/undrain"),
        ("/v1/hosts/a/pause", "/v1/hosts/a/resume"),
    ] {
        room.post(stop, json!({})).await.ok();
        let id = room.submit(&["shell"]).await;
        let paused = room.post(&claim("a"), json!({})).await.ok();
        assert_eq!(paused, json!({"job": null, "paused": true}), "{stop}");
        let poll = room.later(&claim("a"), json!({"max": 1, "waitMs": 30000}));
        room.post(go, json!({})).await.ok();
        let got = timeout(SOON, poll).await.expect("it is woken").unwrap();
        assert_eq!(got["jobs"][0]["id"], *id, "{go}");
        room.post(
            "/v1/hosts/a/release",
            json!({"leases": [lease(&got["jobs"][0])]}),
        )
        .await
        .ok();
        room.post(&format!("/v1/jobs/{id}/cancel"), json!({}))
            .await
            .ok();
    }
    room.stop().await;
}

#[tokio::test]
async fn a_stop_answers_open_polls_with_nothing() {
    let room = Room::open().await;
    let before = room.host("a", &["shell"]).await;
    let poll = room.later(&claim("a"), json!({"max": 1, "waitMs": 30000}));
    heard(&room, "a", &before).await;
    room.stop().await;
    let got = timeout(SOON, poll).await.expect("it is answered").unwrap();
    assert_eq!(got, json!({"jobs": []}));
}
