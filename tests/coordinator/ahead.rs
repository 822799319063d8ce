//! Who hands in results may ask for more jobs than it can begin: when it gets them, and how many.

use serde_json::{Value, json};

use crate::harness::Room;

async fn fill(room: &Room, count: usize) {
    let one = json!({
        "payload": {"kind": "shell", "command": "true"},
        "requirement": {"requiredCapabilities": ["shell"]},
    });
    let body = json!({"jobs": vec![one; count]});
    room.post("/v1/jobs/batch", body).await.ok();
}

/// Asks for `now` jobs and `ahead` more; returns how many came.
async fn ask(room: &Room, now: u16, ahead: u16) -> usize {
    let body = json!({"completions": [], "claim": now, "ahead": ahead});
    let answer = room.post("/v1/hosts/a/complete", body).await.ok();
    answer["claimed"]["jobs"].as_array().unwrap().len()
}

async fn queued(room: &Room) -> u64 {
    let counts: Value = room.get("/v1/queue").await.ok();
    let counts = counts.get("counts").unwrap_or(&counts);
    counts["queued"].as_u64().unwrap()
}

#[tokio::test]
async fn two_for_each_slot_while_many_more_wait() {
    let room = Room::open().await;
    // It has four slots.
    room.host("a", &["shell"]).await;
    fill(&room, 100).await;
    assert_eq!(ask(&room, 0, 0).await, 0);
    assert_eq!(ask(&room, 0, 500).await, 8);
    assert_eq!(ask(&room, 2, 3).await, 5);
    room.until(async |room| ask(room, 0, 1).await == 0).await;
    // Those that are left belong to whoever can begin them at once.
    let left = queued(&room).await;
    assert!((1..=32).contains(&left), "{left}");
    assert_eq!(ask(&room, 1, 8).await, 1);
    room.stop().await;
}

#[tokio::test]
async fn nothing_ahead_while_another_host_waits_for_work() {
    let room = Room::open().await;
    room.host("a", &["shell"]).await;
    room.host("idle", &["gpu"]).await;
    fill(&room, 200).await;
    // To wait for cancels is not to be idle.
    let listens = room.later("/v1/hosts/a/claim", json!({"max": 0, "waitMs": 30_000}));
    assert_eq!(ask(&room, 0, 2).await, 2);
    let waits = room.later("/v1/hosts/idle/claim", json!({"max": 1, "waitMs": 30_000}));
    room.until(async |room| ask(room, 0, 1).await == 0).await;
    assert_eq!(ask(&room, 1, 8).await, 1);
    assert!(queued(&room).await > 64);
    waits.abort();
    room.until(async |room| ask(room, 0, 1).await == 1).await;
    listens.abort();
    room.stop().await;
}

#[tokio::test]
async fn a_job_that_would_fail_if_it_were_lost_says_so() {
    let room = Room::open().await;
    room.host("a", &["shell"]).await;
    for (tries, last) in [(1, json!(true)), (2, json!(null))] {
        let job = json!({
            "payload": {"kind": "shell", "command": "true"}, "maxAttempts": tries,
            "requirement": {"requiredCapabilities": ["shell"]},
        });
        room.post("/v1/jobs", job).await.ok();
        assert_eq!(room.claim("a").await["lastTry"], last);
    }
    room.stop().await;
}
