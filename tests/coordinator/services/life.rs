//! What people ask of services, and what their hosts do then, step by step.

use serde_json::{Value, json};

use super::script::{Host, all_ready, deploy, hosts_in, lasting, settle, show};
use crate::harness::Room;

async fn change(room: &Room, id: &str, change: Value) -> Value {
    let path = format!("/v1/services/{id}/change");
    room.post(&path, change).await.ok()["service"].clone()
}

#[tokio::test]
async fn replicas_run_on_different_hosts_and_an_update_replaces_one_at_a_time() {
    let room = Room::open().await;
    let mut a = Host::new(&room, "a").await;
    let mut b = Host::new(&room, "b").await;
    let mut ask = json!({"name": "api", "command": "v1", "replicas": 2, "byName": true});
    // Who is not there yet gets nothing.
    a.sync(&room).await;
    b.sync(&room).await;
    let id = deploy(&room, ask.clone()).await;
    let service = settle(&room, &mut [&mut a, &mut b], &id, |one| all_ready(one, 2)).await;
    assert_eq!(hosts_in(&service, "ready"), ["a", "b"]);
    ask["command"] = "v2".into();
    assert_eq!(deploy(&room, ask.clone()).await, id);
    // At every step two of any form are ready, until all are of the new one.
    let updated = settle(&room, &mut [&mut a, &mut b], &id, |one| {
        assert!(hosts_in(one, "ready").len() >= 2, "{one:#}");
        all_ready(one, 2)
            && one["assignments"]
                .as_array()
                .unwrap()
                .iter()
                .all(|each| each["generation"] == one["generation"])
    })
    .await;
    assert_eq!(updated["command"], "v2");
    assert_ne!(updated["generation"], service["generation"]);
    // The same again changes nothing.
    assert_eq!(deploy(&room, ask).await, id);
    assert_eq!(lasting(&show(&room, &id).await), lasting(&updated));
    room.stop().await;
}

#[tokio::test]
async fn an_update_that_fails_leaves_the_old_form_up() {
    let room = Room::open().await;
    let mut a = Host::new(&room, "a").await;
    a.sync(&room).await;
    let ask = |command: &str| json!({"name": "api", "command": command, "byName": true});
    let id = deploy(&room, ask("good")).await;
    settle(&room, &mut [&mut a], &id, |one| all_ready(one, 1)).await;
    a.becomes = "failed";
    deploy(&room, ask("bad")).await;
    let service = settle(&room, &mut [&mut a], &id, |one| {
        one["updateError"].is_string()
    })
    .await;
    assert_eq!(service["status"], "running");
    assert_eq!(hosts_in(&service, "ready"), ["a"]);
    room.stop().await;
}

#[tokio::test]
async fn it_is_scaled_stopped_started_restarted_and_removed() {
    let room = Room::open().await;
    let mut a = Host::new(&room, "a").await;
    let mut b = Host::new(&room, "b").await;
    a.sync(&room).await;
    b.sync(&room).await;
    let id = deploy(&room, json!({"name": "api", "command": "x"})).await;
    settle(&room, &mut [&mut a, &mut b], &id, |one| all_ready(one, 1)).await;
    let scaled = change(&room, &id, json!({"action": "scale", "replicas": 2})).await;
    assert_eq!(scaled["replicas"], 2);
    settle(&room, &mut [&mut a, &mut b], &id, |one| all_ready(one, 2)).await;
    change(&room, &id, json!({"action": "scale", "replicas": 1})).await;
    settle(&room, &mut [&mut a, &mut b], &id, |one| all_ready(one, 1)).await;
    let stopped = change(&room, &id, json!({"action": "stop"})).await;
    assert_eq!(stopped["stopped"], true);
    settle(&room, &mut [&mut a, &mut b], &id, |one| all_ready(one, 0)).await;
    change(&room, &id, json!({"action": "start"})).await;
    let before = settle(&room, &mut [&mut a, &mut b], &id, |one| all_ready(one, 1)).await;
    change(&room, &id, json!({"action": "restart"})).await;
    settle(&room, &mut [&mut a, &mut b], &id, |one| {
        all_ready(one, 1) && one["assignments"][0]["id"] != before["assignments"][0]["id"]
    })
    .await;
    change(&room, &id, json!({"action": "remove"})).await;
    room.until(async |room| {
        a.obey(room).await;
        b.obey(room).await;
        room.get(&format!("/v1/services/{id}")).await.status == 404
    })
    .await;
    let gone = room
        .post(
            &format!("/v1/services/{id}/change"),
            json!({"action": "stop"}),
        )
        .await;
    assert_eq!(gone.refused(404, "unknown_service"), "service not found");
    assert!(a.said.is_empty() && b.said.is_empty());
    room.stop().await;
}

#[tokio::test]
async fn two_that_deploy_the_same_name_at_once_make_one_service() {
    let room = Room::open().await;
    let ask = json!({"name": "api", "command": "x", "byName": true});
    let both = [
        room.later("/v1/services", ask.clone()),
        room.later("/v1/services", ask),
    ];
    let mut ids = Vec::new();
    for one in both {
        ids.push(one.await.unwrap()["service"]["id"].clone());
    }
    assert_eq!(ids[0], ids[1]);
    let all = room.get("/v1/services").await.ok();
    assert_eq!(all["services"].as_array().unwrap().len(), 1);
    // Without it each is a service of its own, as in the original.
    deploy(&room, json!({"name": "api", "command": "x"})).await;
    let all = room.get("/v1/services").await.ok();
    assert_eq!(all["services"].as_array().unwrap().len(), 2);
    room.stop().await;
}

#[tokio::test]
async fn a_key_gives_the_same_answer_again_without_secrets() {
    let room = Room::open().await;
    let ask = json!({"name": "api", "command": "x", "secretEnv": {"KEY": "hunter2"}});
    let first = room.post_keyed("/v1/services", "k", ask.clone()).await;
    let again = room.post_keyed("/v1/services", "k", ask).await;
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    let (first, again) = (first.ok(), again.ok());
    assert_eq!(first["service"]["id"], again["service"]["id"]);
    assert_eq!(again["service"]["secretEnv"]["KEY"], "***");
    let path = format!(
        "/v1/services/{}/change",
        first["service"]["id"].as_str().unwrap()
    );
    let stop = json!({"action": "restart"});
    let first = room.post_keyed(&path, "r", stop.clone()).await.ok();
    let again = room.post_keyed(&path, "r", stop).await;
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    assert_eq!(
        again.ok()["service"]["generation"],
        first["service"]["generation"]
    );
    room.stop().await;
}
