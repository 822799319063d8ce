//! Services to test with.

use serde_json::json;

use crate::protocol::api::{Phase, ServiceRecord};

/// A service that wants one replica and has none.
pub fn service(id: &str, name: &str) -> ServiceRecord {
    let at = "2026-01-01T00:00:00.000Z";
    serde_json::from_value(json!({
        "id": id, "name": name, "command": "node", "args": ["server.js"], "replicas": 1, "generation": 1,
        "requiredCapabilities": ["service-host"], "status": "pending", "createdAt": at, "updatedAt": at,
        "updatedBy": "node_1", "version": 1, "assignments": [],
    }))
    .unwrap()
}

/// The same with replicas on hosts `host-1`, `host-2`, …: their generations and phases.
pub fn placed(wanted: u32, parts: &[(u64, Phase)]) -> ServiceRecord {
    let mut service = service("svc_1", "api");
    service.replicas = wanted;
    service.generation = parts
        .iter()
        .map(|(generation, _)| *generation)
        .max()
        .unwrap_or(1);
    service.assignments = parts
        .iter()
        .enumerate()
        .map(|(at, (generation, phase))| {
            serde_json::from_value(json!({
                "id": format!("asg_{at}"), "hostId": format!("host-{}", at + 1), "generation": generation,
                "phase": phase, "status": phase.status(), "updatedAt": "2026-01-01T00:00:00.000Z",
            }))
            .unwrap()
        })
        .collect();
    service
}
