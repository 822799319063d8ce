//! Hosts that die, leave or come back, and coordinators that do.

use std::time::Duration;

use serde_json::json;
use tokio::time::{Instant, sleep};

use super::script::{Host, all_ready, deploy, hosts_in, lasting, settle, show};
use crate::harness::Room;

/// Short, but longer than a busy machine takes for a round.
const SILENCE: Duration = Duration::from_secs(4);

async fn quick() -> Room {
    Room::with(|settings| settings.service_silence = SILENCE).await
}

#[tokio::test]
async fn what_ran_on_a_host_that_fell_silent_runs_elsewhere_and_is_ended_when_it_comes_back() {
    let room = quick().await;
    let mut a = Host::new(&room, "a").await;
    a.sync(&room).await;
    let id = deploy(&room, json!({"name": "api", "command": "x"})).await;
    settle(&room, &mut [&mut a], &id, |one| all_ready(one, 1)).await;
    let silent = Instant::now();
    let mut b = Host::new(&room, "b").await;
    let moved = settle(&room, &mut [&mut b], &id, |one| {
        hosts_in(one, "ready") == ["b"]
    })
    .await;
    assert!(silent.elapsed() >= SILENCE, "it was moved too early");
    assert_eq!(moved["status"], "running");
    // It still runs there; the host hears that it is not wanted.
    assert_eq!(a.said.len(), 1);
    a.obey(&room).await;
    assert!(a.said.is_empty());
    assert_eq!(hosts_in(&show(&room, &id).await, "ready"), ["b"]);
    room.stop().await;
}

#[tokio::test]
async fn a_host_that_is_taken_out_is_dead_at_once() {
    let room = Room::open().await;
    let mut a = Host::new(&room, "a").await;
    a.sync(&room).await;
    let id = deploy(&room, json!({"name": "api", "command": "x"})).await;
    settle(&room, &mut [&mut a], &id, |one| all_ready(one, 1)).await;
    let mut b = Host::new(&room, "b").await;
    b.sync(&room).await;
    room.post("/v1/hosts/a/deregister", json!({})).await.ok();
    settle(&room, &mut [&mut b], &id, |one| {
        hosts_in(one, "ready") == ["b"]
    })
    .await;
    room.stop().await;
}

#[tokio::test]
async fn a_host_that_drains_or_leaves_is_given_nothing_new() {
    let room = Room::open().await;
    let mut a = Host::new(&room, "a").await;
    let mut b = Host::new(&room, "b").await;
    a.sync(&room).await;
    let mut leaving = b.body(0);
    leaving["leaving"] = true.into();
    room.post(&b.path(), leaving).await.ok();
    let first = deploy(&room, json!({"name": "one", "command": "x"})).await;
    let second = deploy(&room, json!({"name": "two", "command": "x"})).await;
    for id in [&first, &second] {
        let service = settle(&room, &mut [&mut a], id, |one| all_ready(one, 1)).await;
        assert_eq!(hosts_in(&service, "ready"), ["a"]);
    }
    room.post("/v1/hosts/a/drain", json!({})).await.ok();
    b.sync(&room).await;
    let third = deploy(&room, json!({"name": "three", "command": "x"})).await;
    let service = settle(&room, &mut [&mut a, &mut b], &third, |one| {
        all_ready(one, 1)
    })
    .await;
    assert_eq!(hosts_in(&service, "ready"), ["b"]);
    // What it has it keeps.
    assert_eq!(hosts_in(&show(&room, &first).await, "ready"), ["a"]);
    room.stop().await;
}

#[tokio::test]
async fn a_new_coordinator_knows_all_and_moves_nothing_before_hosts_could_be_heard() {
    let room = quick().await;
    let mut a = Host::new(&room, "a").await;
    a.sync(&room).await;
    let id = deploy(
        &room,
        json!({"name": "api", "command": "x", "secretEnv": {"K": "v"}}),
    )
    .await;
    let before = settle(&room, &mut [&mut a], &id, |one| all_ready(one, 1)).await;
    // Another host is there that could have it.
    let mut b = Host::new(&room, "b").await;
    b.sync(&room).await;
    let dir = room.stop().await;
    // Longer than hosts may be silent: nobody could be heard meanwhile.
    sleep(SILENCE + Duration::from_secs(1)).await;
    let room = Room::at(dir, |settings| settings.service_silence = SILENCE).await;
    let started = Instant::now();
    assert_eq!(lasting(&show(&room, &id).await), lasting(&before));
    // `b` is heard of and `a` is not: its part stays until it could have been.
    let moved = settle(&room, &mut [&mut b], &id, |one| {
        hosts_in(one, "ready") == ["b"]
    })
    .await;
    assert!(started.elapsed() >= SILENCE, "{moved:#}");
    let given = b.sync(&room).await;
    assert_eq!(given[0]["secretEnv"]["K"], "v");
    room.stop().await;
}

#[tokio::test]
async fn what_a_host_of_the_original_had_runs_elsewhere_when_it_is_silent() {
    let room = Room::with(|settings| settings.service_silence = Duration::from_secs(1)).await;
    room.host("old", &["service-host"]).await;
    let id = deploy(&room, json!({"name": "api", "command": "x"})).await;
    room.post("/v1/hosts/old/services/claim", json!({}))
        .await
        .ok();
    let report = json!({"hostId": "old", "status": "running", "endpoint": "http://10.0.0.7:3100"});
    room.post(&format!("/v1/services/{id}/report"), report)
        .await
        .ok();
    let mut b = Host::new(&room, "b").await;
    b.sync(&room).await;
    // While it is heard of it keeps it.
    room.post("/v1/hosts/old/heartbeat", json!({})).await.ok();
    let service = show(&room, &id).await;
    assert_eq!(service["assignments"][0]["hostId"], "old");
    settle(&room, &mut [&mut b], &id, |one| {
        hosts_in(one, "ready") == ["b"]
    })
    .await;
    room.stop().await;
}
