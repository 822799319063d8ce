//! Which of several idle hosts is asked first: what is known of their machines, and their weights.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use skyclaw::coordinator::{Caller, Said};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::harness::{Room, SOON, lease};

async fn register(room: &Room, id: &str, more: Value) {
    let mut body = json!({"name": id, "hostId": id, "capabilities": ["x"], "maxParallel": 4});
    for (key, value) in more.as_object().unwrap() {
        body[key] = value.clone();
    }
    room.post("/v1/hosts/register", body).await.ok();
}

/// Begins to wait as `id` and returns once the coordinator knows.
async fn wait(room: &Room, id: &str) -> JoinHandle<Value> {
    let path = format!("/v1/hosts/{id}");
    let seen = async || room.get(&path).await.ok()["host"]["lastSeenAt"].clone();
    let before = seen().await;
    // Points in time are told apart by milliseconds.
    tokio::time::sleep(Duration::from_millis(2)).await;
    let poll = room.later(&format!("{path}/claim"), json!({"max": 1, "waitMs": 30000}));
    room.until(async |_| seen().await != before).await;
    poll
}

#[tokio::test]
async fn of_idle_hosts_the_one_whose_machine_does_least_is_first_then_the_nearest() {
    let room = Room::open().await;
    let facts =
        |load: f64, latency: u32| json!({"facts": {"cpus": 2, "load": load, "latencyMs": latency}});
    let hosts = [
        ("busy", facts(7.0, 1)),
        ("unknown", json!({})),
        ("far", facts(0.1, 300)),
        ("idle", facts(0.1, 3)),
    ];
    let mut polls = BTreeMap::new();
    for (id, facts) in hosts {
        register(&room, id, facts).await;
        polls.insert(id, wait(&room, id).await);
    }
    for id in ["idle", "far", "unknown", "busy"] {
        let job = room.submit(&["x"]).await;
        let got = timeout(SOON, polls.remove(id).unwrap()).await;
        let got = got.expect("it is its turn").unwrap();
        assert_eq!(got["jobs"][0]["id"], *job, "{id}");
    }
    room.stop().await;
}

#[tokio::test]
async fn what_a_heartbeat_tells_of_the_machine_counts() {
    let room = Room::open().await;
    for id in ["a", "b"] {
        register(&room, id, json!({})).await;
    }
    let facts = json!({"facts": {"cpus": 1, "load": 9.0}});
    room.post("/v1/hosts/a/heartbeat", facts).await.ok();
    let (first, second) = (wait(&room, "a").await, wait(&room, "b").await);
    let job = room.submit(&["x"]).await;
    let got = timeout(SOON, second).await.expect("a is loaded").unwrap();
    assert_eq!(got["jobs"][0]["id"], *job);
    room.submit(&["x"]).await;
    assert_eq!(
        timeout(SOON, first).await.unwrap().unwrap()["jobs"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    room.stop().await;
}

#[tokio::test]
async fn idle_hosts_get_their_share_by_weight() {
    let room = Room::open().await;
    register(&room, "light", json!({})).await;
    register(&room, "heavy", json!({"weight": 3})).await;
    let mut polls = BTreeMap::new();
    for id in ["light", "heavy"] {
        polls.insert(id, wait(&room, id).await);
    }
    let mut given = BTreeMap::new();
    for _ in 0..12 {
        room.submit(&["x"]).await;
        let who = async {
            loop {
                if let Some((id, _)) = polls.iter().find(|(_, poll)| poll.is_finished()) {
                    return *id;
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let id = timeout(SOON, who).await.expect("one is asked");
        let got = polls.remove(id).unwrap().await.unwrap();
        let mut report = lease(&got["jobs"][0]);
        report["success"] = true.into();
        report["result"] = json!({});
        let path = format!("/v1/hosts/{id}/complete");
        room.post(&path, json!({"completions": [report]}))
            .await
            .ok();
        *given.entry(id).or_insert(0) += 1;
        polls.insert(id, wait(&room, id).await);
    }
    assert_eq!(given, BTreeMap::from([("heavy", 9), ("light", 3)]));
    room.stop().await;
}

#[tokio::test]
async fn the_weight_of_a_host_behind_a_tunnel_is_what_is_said_here() {
    let room = Room::open().await;
    let said = |weight| Caller::Host {
        name: "a".to_owned(),
        may_submit: false,
        said: Some(Said {
            labels: BTreeMap::new(),
            capabilities: None,
            slots: 4,
            weight,
        }),
        token: None,
    };
    let body = json!({"name": "a", "hostId": "a", "maxParallel": 4, "weight": 1000});
    let light = room.guest(&said(1));
    light.post("/v1/hosts/register", &body).await.ok();
    let claim = json!({"max": 1});
    light.post("/v1/hosts/a/claim", &claim).await.ok();
    // Another word about it reaches it when it asks for work.
    let heavy = room.guest(&said(2));
    heavy
        .post("/v1/hosts/a/claim", &claim)
        .await
        .refused(404, "unknown_host");
    heavy.post("/v1/hosts/register", &body).await.ok();
    heavy.post("/v1/hosts/a/claim", &claim).await.ok();
    room.stop().await;
}
