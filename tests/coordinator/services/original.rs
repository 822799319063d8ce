//! Services as hosts, clients and gateways of the original ask for them.

use serde_json::json;

use super::script::lasting;
use crate::harness::Room;

#[tokio::test]
async fn an_old_host_takes_a_service_and_an_old_gateway_finds_it() {
    let room = Room::open().await;
    let missing = room.post("/v1/services", json!({"command": "node"})).await;
    assert_eq!(missing.refused(400, "bad_request"), "name is required");
    let missing = room.post("/v1/services", json!({"name": "api"})).await;
    assert_eq!(missing.refused(400, "bad_request"), "command is required");
    let ask = json!({"name": "api", "command": "node", "args": ["server.js"]});
    let service = room.post("/v1/services", ask).await.ok()["service"].clone();
    let id = service["id"].as_str().unwrap().to_owned();
    assert!(id.starts_with("svc_"), "{id}");
    assert_eq!(
        (
            &service["status"],
            &service["replicas"],
            &service["assignments"]
        ),
        (&json!("pending"), &json!(1), &json!([]))
    );
    let host = json!({"name": "lab-1", "hostId": "lab-1", "capabilities": ["service-host"]});
    room.post("/v1/hosts/register", host).await.ok();
    let claim = async |host: &str| {
        let path = format!("/v1/hosts/{host}/services/claim");
        room.post(&path, json!({})).await
    };
    let unknown = claim("nobody").await.refused(404, "unknown_host");
    assert_eq!(unknown, "unknown host: nobody");
    let taken = claim("lab-1").await.ok();
    assert_eq!(taken["service"]["assignments"][0]["hostId"], "lab-1");
    let path = format!("/v1/services/{id}/report");
    let report = |host: &str| json!({"hostId": host, "status": "running", "endpoint": "http://127.0.0.1:3100"});
    let wrong = room.post(&path, report("lab-2")).await;
    let text = format!("service {id} is not assigned to host lab-2");
    assert_eq!(wrong.refused(409, "conflict"), text);
    room.post(&path, report("lab-1")).await.ok();
    let all = room.get("/v1/services").await.ok();
    let found = &all["services"][0];
    assert_eq!(found["status"], "running");
    assert_eq!(found["assignments"][0]["endpoint"], "http://127.0.0.1:3100");
    assert!(found["assignments"][0]["startedAt"].is_string());
    let one = format!("/v1/services/{id}");
    let one = room.get(&one).await.ok();
    assert_eq!(lasting(&one["service"]), lasting(found));
    let none = room.get("/v1/services/svc_no").await;
    assert_eq!(none.refused(404, "unknown_service"), "service not found");
}

#[tokio::test]
async fn without_services_an_old_host_hears_null() {
    let room = Room::open().await;
    let host = json!({"name": "lab-1", "hostId": "lab-1"});
    room.post("/v1/hosts/register", host).await.ok();
    let nothing = room.post("/v1/hosts/lab-1/services/claim", json!({})).await;
    assert_eq!(nothing.ok(), json!({"service": null}));
}
