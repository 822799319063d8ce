//! Hosts: registering, taking over, leaving, and what others see.

use serde_json::json;
use skyclaw::support::clock::{Clock, SystemClock};

use crate::harness::{Room, lease};

fn instance(id: &str, state: &str) -> serde_json::Value {
    json!({
        "name": id, "hostId": id, "capabilities": ["shell"], "maxParallel": 3,
        "instance": {"stateId": state, "processId": "p"},
    })
}

#[tokio::test]
async fn a_second_machine_with_the_same_id_is_refused_and_a_successor_is_not() {
    let room = Room::open().await;
    room.post("/v1/hosts/register", instance("a", "disk-1"))
        .await
        .ok();
    let text = room
        .post("/v1/hosts/register", instance("a", "disk-2"))
        .await
        .refused(409, "host_id_in_use");
    assert!(text.contains("host id a"), "{text}");
    room.post("/v1/hosts/register", instance("a", "disk-1"))
        .await
        .ok();
    let beat = json!({"instance": {"stateId": "disk-2", "processId": "p"}});
    room.post("/v1/hosts/a/heartbeat", beat)
        .await
        .refused(409, "host_id_in_use");
    room.stop().await;
}

#[tokio::test]
async fn registering_with_leases_ends_the_others_at_once() {
    let room = Room::open().await;
    room.post("/v1/hosts/register", instance("a", "d"))
        .await
        .ok();
    let ids = [room.submit(&["shell"]).await, room.submit(&["shell"]).await];
    let kept = room.claim("a").await;
    room.claim("a").await;
    let mut again = instance("a", "d");
    again["leases"] = json!([lease(&kept)]);
    let got = room.post("/v1/hosts/register", again).await.ok();
    assert_eq!(got["leases"][0]["state"], "held");
    assert_eq!(got["host"]["activeLeases"], 1);
    assert_eq!(got["leaseMs"], 60000);
    let features = got["features"].as_array().unwrap();
    assert!(
        ["wait", "batch", "logs"]
            .iter()
            .all(|one| features.contains(&json!(one)))
    );
    assert_eq!(room.job(&ids[1]).await["status"], "queued");
    // One of the original says nothing of leases, and keeps them.
    let got = room
        .post("/v1/hosts/register", json!({"name": "a", "hostId": "a"}))
        .await
        .ok();
    assert_eq!(got["host"]["activeLeases"], 1);
    room.stop().await;
}

#[tokio::test]
async fn without_an_id_a_host_gets_one_and_keeps_its_first_registration() {
    let room = Room::open().await;
    let got = room
        .post("/v1/hosts/register", json!({"name": "x"}))
        .await
        .ok();
    let id = got["host"]["id"].as_str().unwrap();
    assert!(id.starts_with("host_"), "{id}");
    let again = room
        .post("/v1/hosts/register", json!({"name": "y", "hostId": id}))
        .await
        .ok();
    assert_eq!(again["host"]["registeredAt"], got["host"]["registeredAt"]);
    assert_eq!(again["host"]["name"], "y");
    assert!(again["host"]["version"].as_u64() > got["host"]["version"].as_u64());
    room.stop().await;
}

#[tokio::test]
async fn who_leaves_is_unknown_and_its_work_goes_to_others() {
    let room = Room::open().await;
    room.host("a", &["shell"]).await;
    room.host("b", &["shell"]).await;
    let id = room.submit(&["shell"]).await;
    room.claim("a").await;
    room.post("/v1/hosts/a/deregister", json!({})).await.ok();
    assert_eq!(room.claim("b").await["id"], *id);
    room.post("/v1/hosts/a/heartbeat", json!({}))
        .await
        .refused(404, "unknown_host");
    let hosts = room.get("/v1/hosts").await.ok();
    assert_eq!(hosts["hosts"].as_array().unwrap().len(), 1);
    room.stop().await;
}

#[tokio::test]
async fn modes_outlive_a_restart_and_clocks_are_compared() {
    let room = Room::open().await;
    room.host("a", &["shell"]).await;
    let ahead = SystemClock.now().plus(std::time::Duration::from_secs(90));
    let got = room
        .post(
            "/v1/hosts/a/heartbeat",
            json!({"now": ahead, "blocked": "hours 22-07"}),
        )
        .await
        .ok();
    let offset = got["host"]["clockOffsetMs"].as_i64().unwrap();
    assert!((80_000..=90_000).contains(&offset), "{offset}");
    assert_eq!(got["host"]["blocked"], "hours 22-07");
    assert!(got["now"].is_string());
    room.post("/v1/hosts/a/drain", json!({})).await.ok();
    let room = Room::at(room.stop().await, |_| {}).await;
    assert_eq!(
        room.get("/v1/hosts/a").await.ok()["host"]["mode"],
        "draining"
    );
    room.post("/v1/hosts/zz/drain", json!({}))
        .await
        .refused(404, "unknown_host");
    room.stop().await;
}
