//! A host of a test: it does with services what its test says.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::harness::Room;

/// A host that syncs.
pub struct Host {
    pub id: String,
    /// What it says of each assignment.
    pub said: BTreeMap<String, Value>,
    pub seen: Option<u64>,
    /// What new assignments become at once.
    pub becomes: &'static str,
    /// The ports it gives begin here.
    port: u16,
}

impl Host {
    /// Registers a host that may have services.
    pub async fn new(room: &Room, id: &str) -> Self {
        room.host(id, &["service-host"]).await;
        Self {
            id: id.to_owned(),
            said: BTreeMap::new(),
            seen: None,
            becomes: "ready",
            port: 3100,
        }
    }

    pub fn path(&self) -> String {
        format!("/v1/hosts/{}/services/sync", self.id)
    }

    pub fn body(&self, wait_ms: u64) -> Value {
        let said: Vec<&Value> = self.said.values().collect();
        json!({"assignments": said, "seen": self.seen, "waitMs": wait_ms})
    }

    /// Says what it has and hears what it should have.
    pub async fn sync(&mut self, room: &Room) -> Vec<Value> {
        let answer = room.post(&self.path(), self.body(0)).await.ok();
        self.heard(answer)
    }

    /// Waits for news in a task of its own; its answer goes to [`Host::heard`].
    pub fn wait(&self, room: &Room, wait_ms: u64) -> JoinHandle<Value> {
        room.later(&self.path(), self.body(wait_ms))
    }

    pub fn heard(&mut self, answer: Value) -> Vec<Value> {
        self.seen = answer["version"].as_u64();
        assert!(self.seen.is_some(), "{answer}");
        answer["assignments"].as_array().unwrap().clone()
    }

    /// Says that an assignment is in `phase`.
    pub fn say(&mut self, assignment: &Value, phase: &str) {
        let id = assignment["assignmentId"].as_str().unwrap();
        let mut report = json!({"assignmentId": id, "phase": phase});
        if matches!(phase, "starting" | "ready" | "draining") {
            report["port"] = self.port.into();
        }
        self.said.insert(id.to_owned(), report);
    }

    /// One round as a real host does it: begins what is wanted, ends what is to end, forgets the rest.
    pub async fn obey(&mut self, room: &Room) -> Vec<Value> {
        let wanted = self.sync(room).await;
        let named = |id: &String| wanted.iter().any(|one| one["assignmentId"] == **id);
        self.said.retain(|id, _| named(id));
        for one in &wanted {
            let id = one["assignmentId"].as_str().unwrap();
            if one["want"] == "drain" {
                self.say(one, "stopped");
            } else if !self.said.contains_key(id) {
                let becomes = self.becomes;
                self.say(one, becomes);
            }
        }
        wanted
    }
}

/// Asks for a service and returns its id.
pub async fn deploy(room: &Room, body: Value) -> String {
    let got = room.post("/v1/services", body).await.ok();
    got["service"]["id"].as_str().unwrap().to_owned()
}

/// Returns a service as readers see it.
pub async fn show(room: &Room, id: &str) -> Value {
    let got = room.get(&format!("/v1/services/{id}")).await.ok();
    got["service"].clone()
}

/// Returns the hosts with an assignment in `phase`, in order.
pub fn hosts_in(service: &Value, phase: &str) -> Vec<String> {
    let assignments = service["assignments"].as_array().unwrap();
    let mut hosts: Vec<String> = assignments
        .iter()
        .filter(|one| one["phase"] == phase)
        .map(|one| one["hostId"].as_str().unwrap().to_owned())
        .collect();
    hosts.sort();
    hosts
}

/// Lets the hosts obey until the service is as it should be; returns it then.
pub async fn settle(
    room: &Room,
    hosts: &mut [&mut Host],
    id: &str,
    mut holds: impl FnMut(&Value) -> bool,
) -> Value {
    let end = tokio::time::Instant::now() + crate::harness::SOON;
    loop {
        for host in &mut *hosts {
            host.obey(room).await;
        }
        let service = show(room, id).await;
        if holds(&service) {
            return service;
        }
        assert!(tokio::time::Instant::now() < end, "{service:#}");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

/// Tells whether exactly `count` replicas are ready and nothing else is there.
pub fn all_ready(service: &Value, count: usize) -> bool {
    let all = service["assignments"].as_array().unwrap();
    all.len() == count && all.iter().all(|one| one["phase"] == "ready")
}

/// Returns what does not change when the coordinator only takes note that an update is over.
pub fn lasting(service: &Value) -> Value {
    let mut service = service.clone();
    for field in ["version", "updatedAt"] {
        service[field].take();
    }
    service
}
