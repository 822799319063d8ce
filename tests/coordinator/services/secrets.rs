//! Secrets go to the hosts that need them and to nobody else.

use reqwest::Method;
use serde_json::json;

use super::script::{Host, all_ready, deploy, settle};
use crate::harness::Room;

const SECRET: &str = "hunter2-correct-horse";

fn ask(command: &str) -> serde_json::Value {
    json!({
        "name": "api", "command": command, "env": {"SHOWN": "yes"}, "byName": true,
        "secretEnv": {"KEY": SECRET},
    })
}

#[tokio::test]
async fn no_reader_sees_them() {
    let room = Room::open().await;
    let listener = room.request(Method::GET, "/v1/events").send();
    let mut listener = listener.await.unwrap();
    let mut host = Host::new(&room, "a").await;
    host.sync(&room).await;
    let id = deploy(&room, ask("one")).await;
    settle(&room, &mut [&mut host], &id, |one| all_ready(one, 1)).await;
    // With an older form remembered as well.
    deploy(&room, ask("two")).await;
    let change = format!("/v1/services/{id}/change");
    let bodies = [
        room.post("/v1/services", ask("two")).await.ok(),
        room.get("/v1/services").await.ok(),
        room.get(&format!("/v1/services/{id}")).await.ok(),
        room.get("/v1/state").await.ok(),
        room.post(&change, json!({"action": "restart"})).await.ok(),
    ];
    for body in &bodies {
        let text = body.to_string();
        assert!(text.contains("\"KEY\":\"***\""), "{text}");
        assert!(text.contains("\"SHOWN\":\"yes\""), "{text}");
        assert!(!text.contains(SECRET), "{text}");
    }
    let logs = room.request(Method::GET, &format!("/v1/services/{id}/logs"));
    let mut logs = logs.send().await.unwrap();
    for stream in [&mut logs, &mut listener] {
        let bytes = stream.chunk().await.unwrap().unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        assert!(!text.contains(SECRET), "{text}");
    }
    room.stop().await;
}

#[tokio::test]
async fn a_host_of_the_original_gets_them_among_its_variables() {
    let room = Room::open().await;
    room.host("old", &["service-host"]).await;
    let id = deploy(&room, ask("node")).await;
    let taken = room
        .post("/v1/hosts/old/services/claim", json!({}))
        .await
        .ok();
    let env = &taken["service"]["env"];
    assert_eq!(*env, json!({"SHOWN": "yes", "KEY": SECRET}));
    let report = json!({"hostId": "old", "status": "running", "endpoint": "http://10.0.0.7:3100"});
    let path = format!("/v1/services/{id}/report");
    let told = room.post(&path, report).await.ok();
    assert!(!told.to_string().contains(SECRET), "{told}");
    assert_eq!(told["service"]["status"], "running");
    room.stop().await;
}
