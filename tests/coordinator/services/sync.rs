//! The open request of a host: what wakes it, what it says, and how it ends.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

use super::script::{Host, deploy, show};
use crate::harness::{Room, SOON};

/// Waits until `host` was heard of after `before`.
async fn heard(room: &Room, host: &Host, before: &Value) {
    let path = format!("/v1/hosts/{}", host.id);
    room.until(async |room| {
        let now = room.get(&path).await.ok();
        now["host"]["lastSeenAt"] != *before
    })
    .await;
}

async fn last_seen(room: &Room, host: &Host) -> Value {
    // What comes next comes in another millisecond, or it could not be told from this.
    tokio::time::sleep(Duration::from_millis(2)).await;
    let got = room.get(&format!("/v1/hosts/{}", host.id)).await.ok();
    got["host"]["lastSeenAt"].clone()
}

#[tokio::test]
async fn a_deploy_reaches_the_host_that_waits_and_no_other() {
    let room = Room::open().await;
    room.host("b", &["gpu"]).await;
    let mut a = Host::new(&room, "a").await;
    let mut b = Host::new(&room, "b").await;
    room.host("b", &["gpu"]).await;
    assert_eq!(a.sync(&room).await, Vec::<Value>::new());
    b.sync(&room).await;
    let before = last_seen(&room, &b).await;
    let (for_a, for_b) = (a.wait(&room, 30_000), b.wait(&room, 30_000));
    heard(&room, &b, &before).await;
    let ask = json!({
        "name": "api", "command": "node", "args": ["server.js"], "env": {"A": "1"},
        "secretEnv": {"KEY": "hunter2"}, "health": "/up", "readyMs": 9000,
    });
    let begun = Instant::now();
    let id = deploy(&room, ask).await;
    let answer = timeout(SOON, for_a).await.expect("it is woken").unwrap();
    // Otherwise its time was over.
    assert!(begun.elapsed() < Duration::from_secs(8));
    assert!(!for_b.is_finished(), "what does not concern it wakes it");
    let wanted = a.heard(answer);
    let one = &wanted[0];
    assert_eq!(wanted.len(), 1);
    for (field, value) in [
        ("want", json!("run")),
        ("serviceId", json!(id)),
        ("name", json!("api")),
        ("command", json!("node")),
        ("args", json!(["server.js"])),
        ("env", json!({"A": "1"})),
        ("secretEnv", json!({"KEY": "hunter2"})),
        ("health", json!("/up")),
        ("readyMs", json!(9000)),
    ] {
        assert_eq!(one[field], value, "{field}");
    }
    a.say(one, "starting");
    a.sync(&room).await;
    assert_eq!(show(&room, &id).await["status"], "pending");
    a.say(one, "ready");
    a.sync(&room).await;
    let service = show(&room, &id).await;
    assert_eq!(service["status"], "running");
    let assignment = &service["assignments"][0];
    assert_eq!(assignment["endpoint"], "http://127.0.0.1:3100");
    assert_eq!(assignment["phase"], "ready");
    assert!(assignment["startedAt"].is_string(), "{assignment}");
    for_b.abort();
    room.stop().await;
}

#[tokio::test]
async fn it_is_answered_at_once_unless_it_has_seen_all() {
    let room = Room::open().await;
    let mut host = Host::new(&room, "a").await;
    host.sync(&room).await;
    deploy(&room, json!({"name": "api", "command": "x"})).await;
    room.until(async |room| !host.sync(room).await.is_empty())
        .await;
    let begun = Instant::now();
    let ask = |host: &Host| host.wait(&room, 30_000);
    // Whatever it has seen is not this.
    let seen = host.seen.replace(1);
    let wanted = ask(&host).await.unwrap();
    assert_eq!(wanted["version"], json!(seen));
    let wanted = host.heard(wanted);
    // What it says is new.
    host.say(&wanted[0], "ready");
    let answer = ask(&host).await.unwrap();
    host.heard(answer);
    assert!(begun.elapsed() < Duration::from_secs(8));
    // Saying the same again is no news: it waits, and so long only that it counts as alive.
    let begun = Instant::now();
    let answer = ask(&host).await.unwrap();
    assert!(begun.elapsed() > Duration::from_secs(5));
    assert_eq!(answer["version"], json!(host.seen));
    room.stop().await;
}

#[tokio::test]
async fn a_stop_of_the_coordinator_ends_the_wait_and_its_version_outlives_it() {
    let room = Room::open().await;
    let mut host = Host::new(&room, "a").await;
    deploy(&room, json!({"name": "api", "command": "x"})).await;
    room.until(async |room| !host.sync(room).await.is_empty())
        .await;
    let before = last_seen(&room, &host).await;
    let waits = host.wait(&room, 30_000);
    heard(&room, &host, &before).await;
    let begun = Instant::now();
    let dir = room.stop().await;
    let answer = waits.await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(8));
    assert_eq!(answer["version"], json!(host.seen));
    let room = Room::at(dir, |_| {}).await;
    let seen = host.seen;
    host.sync(&room).await;
    assert_eq!(host.seen, seen);
    room.stop().await;
}

#[tokio::test]
async fn who_is_not_known_is_to_register_again() {
    let room = Room::open().await;
    let path = "/v1/hosts/lab-9/services/sync";
    let text = room
        .post(path, json!({}))
        .await
        .refused(404, "unknown_host");
    assert_eq!(text, "unknown host: lab-9");
    // Also one that is taken out while it waits.
    let mut host = Host::new(&room, "a").await;
    host.sync(&room).await;
    let before = last_seen(&room, &host).await;
    let waits = host.wait(&room, 30_000);
    heard(&room, &host, &before).await;
    room.post("/v1/hosts/a/deregister", json!({})).await.ok();
    let answer = timeout(SOON, waits).await.expect("it is woken").unwrap();
    assert_eq!(answer["code"], "unknown_host");
    room.stop().await;
}

#[tokio::test]
async fn while_nothing_changes_nothing_is_written() {
    let room = Room::open().await;
    let mut host = Host::new(&room, "a").await;
    let id = deploy(&room, json!({"name": "api", "command": "x"})).await;
    super::script::settle(&room, &mut [&mut host], &id, |one| {
        super::script::all_ready(one, 1)
    })
    .await;
    // The queue empties its log when it is idle; after that only a write changes the files.
    let files = || {
        let db = Room::db(&room.dir());
        let log = db.with_extension("db-wal");
        let size = std::fs::metadata(log).map_or(0, |log| log.len());
        (std::fs::metadata(db).unwrap().modified().unwrap(), size)
    };
    room.until(async |_| files().1 == 0).await;
    let (before, version) = (files(), show(&room, &id).await["version"].clone());
    let stream = room
        .request(Method::GET, "/v1/events?only=service-changed")
        .send();
    let mut stream = stream.await.unwrap();
    stream.chunk().await.unwrap();
    // Several rounds of whatever looks by itself once a second.
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(3) {
        let answer = host.wait(&room, 500).await.unwrap();
        host.heard(answer);
    }
    assert_eq!(files(), before);
    assert_eq!(show(&room, &id).await["version"], version);
    let change = json!({"action": "stop"});
    room.post(&format!("/v1/services/{id}/change"), change)
        .await
        .ok();
    let bytes = timeout(SOON, stream.chunk()).await.unwrap().unwrap();
    let text = String::from_utf8(bytes.unwrap().to_vec()).unwrap();
    // The first event there is is that of the stop.
    assert!(text.contains("\"type\":\"service-changed\""), "{text}");
    assert!(text.contains(&id), "{text}");
    room.stop().await;
}
