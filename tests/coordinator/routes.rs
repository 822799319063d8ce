//! The description of the API and the routes that there are.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::Value;

use crate::harness::Room;

#[tokio::test]
async fn every_described_route_answers_and_the_originals_are_described() {
    let room = Room::open().await;
    let document = room.get("/v1/openapi.json").await.ok();
    let mut described = BTreeSet::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys() {
            described.insert(format!("{} {path}", method.to_uppercase()));
        }
    }
    for route in [
        "GET /health",
        "GET /v1/state",
        "POST /v1/hosts/register",
        "POST /v1/hosts/{id}/heartbeat",
        "POST /v1/hosts/{id}/claim",
        "POST /v1/jobs",
        "POST /v1/jobs/{id}/complete",
        "POST /v1/replicate/snapshot",
        "GET /v1/network/peers",
        "POST /v1/network/join",
        "POST /v1/public/jobs",
        "GET /v1/public/jobs/{id}",
        "POST /v1/jobs/batch",
        "GET /v1/events",
    ] {
        assert!(described.contains(route), "{route} is not described");
    }
    for route in &described {
        let (method, path) = route.split_once(' ').unwrap();
        let path = path.replace("{id}", "x");
        if path == "/v1/events" {
            continue;
        }
        let got = room
            .send(room.request(method.parse().unwrap(), &path))
            .await;
        assert_ne!(got.body["code"], "not_found", "{route}");
        assert_ne!(got.body["code"], "method_not_allowed", "{route}");
        // Whatever is not described for a path is not there.
        for other in ["GET", "POST", "PUT", "DELETE"] {
            let known = described.iter().any(|one| {
                let (method, shape) = one.split_once(' ').unwrap();
                method == other && fits(shape, &path)
            });
            if known || path.starts_with("/v1/public") {
                continue;
            }
            let method: Method = other.parse().unwrap();
            let got = room.send(room.request(method, &path)).await;
            assert_eq!(got.status, 405, "{other} {path}");
        }
    }
    room.stop().await;
}

/// Tells whether `path` is one that `shape` describes.
fn fits(shape: &str, path: &str) -> bool {
    let (shape, path): (Vec<_>, Vec<_>) = (shape.split('/').collect(), path.split('/').collect());
    shape.len() == path.len()
        && shape
            .iter()
            .zip(path)
            .all(|(one, other)| *one == "{id}" || *one == other)
}

#[tokio::test]
async fn references_of_the_description_lead_somewhere() {
    let room = Room::open().await;
    let document = room.get("/v1/openapi.json").await.ok();
    let mut references = Vec::new();
    collect(&document, &mut references);
    assert!(!references.is_empty());
    for reference in references {
        let pointer = reference.trim_start_matches('#');
        assert!(document.pointer(pointer).is_some(), "{reference}");
    }
    room.stop().await;
}

fn collect(value: &Value, references: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            if let Some(Value::String(reference)) = map.get("$ref") {
                references.push(reference.clone());
            }
            map.values().for_each(|value| collect(value, references));
        }
        Value::Array(list) => list.iter().for_each(|value| collect(value, references)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
