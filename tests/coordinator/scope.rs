//! What a host may do over its tunnel, route by route, and what it may not.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::{Value, json};
use skyclaw::coordinator::Keys;

use crate::guest::{Guest, host, submitting};
use crate::harness::{Got, Room, done, lease};

const TEXT: &str = "over its tunnel a host may only act for itself";

/// Two hosts, each at work on a job, and a job that waits. The tunnel is that of `a`.
struct World {
    room: Room,
    tunnel: Guest,
    a: Value,
    b: Value,
    waiting: String,
    /// A service that each of the two runs, as hosts of the original do.
    services: [String; 2],
}

impl World {
    async fn new() -> Self {
        let room = Room::with(|settings| settings.keys = Keys::parse("k").unwrap()).await;
        for id in ["a", "b"] {
            room.host(id, &[id]).await;
            room.submit(&[id]).await;
        }
        let waiting = room.submit(&["nobody"]).await;
        let (a, b) = (room.claim("a").await, room.claim("b").await);
        let mut services = Vec::new();
        for id in ["a", "b"] {
            let ask = json!({"name": id, "command": "x", "requiredCapabilities": [id]});
            let got = room.post("/v1/services", ask).await.ok();
            services.push(got["service"]["id"].as_str().unwrap().to_owned());
            let path = format!("/v1/hosts/{id}/services/claim");
            let got = room.post(&path, json!({})).await.ok();
            assert_eq!(got["service"]["name"], id);
        }
        let tunnel = room.guest(&host("a"));
        Self {
            services: services.try_into().unwrap(),
            room,
            tunnel,
            a,
            b,
            waiting,
        }
    }

    /// What must not change whatever `a` asks for.
    async fn others(&self) -> Value {
        let id = self.b["id"].as_str().unwrap();
        let mut host = self.room.get("/v1/hosts/b").await.ok();
        host["host"]["lastSeenAt"].take();
        json!({
            "job": self.room.job(id).await,
            "attempts": self.room.get(&format!("/v1/jobs/{id}/attempts")).await.ok(),
            "logs": self.room.get(&format!("/v1/jobs/{id}/logs")).await.ok(),
            "waiting": self.room.job(&self.waiting).await,
            "service": self.room.get(&format!("/v1/services/{}", self.services[1])).await.ok(),
            "host": host,
        })
    }

    fn path(&self, job: &Value, rest: &str) -> String {
        format!("/v1/jobs/{}{rest}", job["id"].as_str().unwrap())
    }

    /// What the host does itself on a route that is open to it, and what is not its own on that route.
    fn cases(&self, route: &str) -> Option<(Ask, Vec<Ask>)> {
        let (own, other) = (lease(&self.a), lease(&self.b));
        // The other's try with a made-up token, and with the right one.
        let mut guessed = other.clone();
        guessed["leaseToken"].clone_from(&own["leaseToken"]);
        let result = json!({"durationMs": 1, "stdout": "", "stderr": ""});
        let batch = |path: &str, key: &str, one: &dyn Fn(&Value) -> Value| {
            let ask = |host: &str, leases: &[&Value]| {
                let list: Vec<Value> = leases.iter().map(|lease| one(lease)).collect();
                Ask(path.replace("{id}", host), json!({ key: list }))
            };
            let others = vec![
                ask("b", &[]),
                ask("b", &[&other]),
                ask("b", &[&own]),
                ask("a", &[&other]),
                ask("a", &[&own, &other]),
                ask("a", &[&guessed]),
                ask("%62", &[]),
            ];
            Some((ask("a", &[&own]), others))
        };
        let with = |lease: &Value, more: Value| {
            let mut both = lease.clone();
            let more = more.as_object().unwrap().clone();
            both.as_object_mut().unwrap().extend(more);
            both
        };
        match route {
            "GET /health" => Some((Ask("/health".into(), Value::Null), vec![])),
            "POST /v1/hosts/register" => {
                let ask = |name: &str, id: Option<&str>, leases: &[&Value]| {
                    let mut body = json!({"name": name, "leases": leases, "capabilities": ["a"]});
                    if let Some(id) = id {
                        body["hostId"] = id.into();
                    }
                    Ask("/v1/hosts/register".into(), body)
                };
                let others = vec![
                    ask("b", Some("b"), &[]),
                    ask("b", Some("a"), &[&own]),
                    ask("b", None, &[]),
                    ask("A", Some("a"), &[&own]),
                    ask("a", Some("b"), &[]),
                    ask("a", Some("c"), &[]),
                    ask("a", Some("host_c"), &[]),
                    ask("a", Some("a"), &[&own, &other]),
                    ask("a", None, &[&other]),
                    ask("a", None, &[&own]),
                    ask("", Some("a"), &[&own]),
                ];
                Some((ask(" a ", Some("a"), &[&own]), others))
            }
            "POST /v1/hosts/{id}/heartbeat" => {
                batch("/v1/hosts/{id}/heartbeat", "leases", &Value::clone)
            }
            "POST /v1/hosts/{id}/release" => {
                batch("/v1/hosts/{id}/release", "leases", &Value::clone)
            }
            "POST /v1/hosts/{id}/complete" => {
                let one = |lease: &Value| with(lease, json!({"success": true, "result": result}));
                batch("/v1/hosts/{id}/complete", "completions", &one)
            }
            "POST /v1/hosts/{id}/logs" => {
                let piece = json!({"stream": "stdout", "offset": 0, "dataB64": "aGk="});
                let one = |lease: &Value| with(lease, piece.clone());
                batch("/v1/hosts/{id}/logs", "chunks", &one)
            }
            "POST /v1/hosts/{id}/claim" | "POST /v1/hosts/{id}/deregister" => {
                let (_, shape) = route.split_once(' ').unwrap();
                let ask = |id: &str| Ask(shape.replace("{id}", id), json!({"max": 1}));
                Some((ask("a"), vec![ask("b"), ask("%62")]))
            }
            "POST /v1/hosts/{id}/services/sync"
            | "POST /v1/hosts/{id}/services/claim"
            | "POST /v1/hosts/{id}/services/logs" => {
                let (_, shape) = route.split_once(' ').unwrap();
                // Whose assignment it is, is for the queue and the relay to know.
                let body =
                    json!({"assignments": [], "assignmentId": "x", "request": 1, "data": ""});
                let ask = |id: &str| Ask(shape.replace("{id}", id), body.clone());
                Some((ask("a"), vec![ask("b"), ask("%62")]))
            }
            "POST /v1/services/{id}/report" => {
                let ask = |service: usize, host: &str| {
                    let path = format!("/v1/services/{}/report", self.services[service]);
                    Ask(path, json!({"hostId": host, "status": "running"}))
                };
                Some((ask(0, "a"), vec![ask(0, "b"), ask(1, "b")]))
            }
            "POST /v1/jobs/{id}/complete" => {
                let ask = |job: &Value, body: Value| Ask(self.path(job, "/complete"), body);
                let plain = json!({"hostId": "a", "success": true, "stdout": "", "stderr": ""});
                let mut later = done(&self.b, "a");
                later["attempt"] = 7.into();
                let others = vec![
                    ask(&self.b, done(&self.b, "b")),
                    ask(&self.b, done(&self.b, "a")),
                    ask(&self.b, done(&self.a, "a")),
                    ask(&self.b, later),
                    ask(&self.b, plain.clone()),
                    ask(&self.a, done(&self.a, "b")),
                    Ask(format!("/v1/jobs/{}/complete", self.waiting), plain),
                ];
                Some((ask(&self.a, done(&self.a, "a")), others))
            }
            "GET /v1/jobs/{id}" => {
                let ask = |job: &Value, rest: &str| Ask(self.path(job, rest), Value::Null);
                let others = vec![
                    ask(&self.b, ""),
                    ask(&self.a, "?waitMs=1"),
                    Ask(format!("/v1/jobs/{}", self.waiting), Value::Null),
                ];
                Some((ask(&self.a, ""), others))
            }
            _ => None,
        }
    }
}

/// Where to, and with what.
#[derive(Debug, Clone)]
struct Ask(String, Value);

impl Ask {
    async fn of(&self, guest: &Guest, method: &Method) -> Got {
        let mut request = guest.request(method.clone(), &self.0);
        if !self.1.is_null() {
            request = request.body(self.1.to_string());
        }
        Got::of(request).await
    }
}

/// Every route of the description, and that of the description.
async fn routes(room: &Room) -> BTreeSet<String> {
    let document = room.get("/v1/openapi.json").await.ok();
    let mut routes = BTreeSet::from(["GET /v1/openapi.json".to_owned()]);
    for (path, methods) in document["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys() {
            routes.insert(format!("{} {path}", method.to_uppercase()));
        }
    }
    assert!(routes.len() > 30, "{routes:?}");
    routes
}

#[tokio::test]
async fn a_host_may_act_for_itself_on_a_few_routes_and_all_else_is_closed() {
    let world = World::new().await;
    let before = world.others().await;
    let mut open = BTreeSet::new();
    for route in routes(&world.room).await {
        let (method, shape) = route.split_once(' ').unwrap();
        let method: Method = method.parse().unwrap();
        if let Some((_, others)) = world.cases(&route) {
            for ask in others {
                let got = ask.of(&world.tunnel, &method).await;
                assert_eq!(got.status, 403, "{method} {ask:?}: {}", got.body);
                assert_eq!(got.refused(403, "forbidden"), TEXT);
            }
            open.insert(route);
            continue;
        }
        // Not for itself either, whatever it sends.
        let ids = ["a", "b", world.a["id"].as_str().unwrap(), &world.waiting];
        for id in ids {
            let ask = Ask(
                shape.replace("{id}", id),
                json!({"hostId": "a", "ids": [id]}),
            );
            let got = ask.of(&world.tunnel, &method).await;
            assert_eq!(got.status, 403, "{method} {ask:?}: {}", got.body);
            assert_eq!(got.refused(403, "forbidden"), TEXT);
        }
    }
    assert_eq!(open.len(), 14, "{open:?}");
    assert_eq!(world.others().await, before);
    world.room.stop().await;
    // What it may do for itself changes its own, so each is done in a world of its own.
    for route in open {
        let world = World::new().await;
        let before = world.others().await;
        let (method, _) = route.split_once(' ').unwrap();
        let (own, _) = world.cases(&route).unwrap();
        let got = own.of(&world.tunnel, &method.parse().unwrap()).await;
        assert_eq!(got.status, 200, "{route}: {}", got.body);
        assert_eq!(world.others().await, before, "{route}");
        world.room.stop().await;
    }
}

#[tokio::test]
async fn what_is_no_route_is_closed_too() {
    let world = World::new().await;
    for (method, path) in [
        ("GET", "/nope"),
        ("DELETE", "/v1/jobs"),
        ("PUT", "/v1/hosts/register"),
        ("HEAD", "/v1/state"),
        ("OPTIONS", "/v1/public/jobs"),
        ("GET", "/v1/hosts/a/claim"),
        ("POST", "/v1/hosts/a/claim/"),
        ("POST", "//v1/hosts/a/claim"),
        ("GET", "/v1/hosts/../state"),
    ] {
        let request = world.tunnel.request(method.parse().unwrap(), path);
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 403, "{method} {path}");
    }
    world.room.stop().await;
}

#[tokio::test]
async fn with_tunnel_submit_jobs_may_be_submitted_and_read_and_nothing_more() {
    let world = World::new().await;
    let submitter = world.room.guest(&submitting("a"));
    let mut opened = BTreeSet::new();
    for route in routes(&world.room).await {
        let (method, shape) = route.split_once(' ').unwrap();
        let body = json!({
            "jobs": [], "hostId": "b", "name": "b", "leases": [lease(&world.b)], "status": "running",
        });
        let id = if shape.starts_with("/v1/jobs") {
            world.b["id"].as_str().unwrap()
        } else {
            "b"
        };
        let ask = Ask(shape.replace("{id}", id), body);
        let got = ask.of(&submitter, &method.parse().unwrap()).await;
        if got.status != 403 {
            opened.insert(route);
        }
    }
    let wanted = [
        "GET /health",
        "GET /v1/jobs",
        "GET /v1/jobs/{id}",
        "GET /v1/jobs/{id}/attempts",
        "GET /v1/jobs/{id}/explain",
        "GET /v1/jobs/{id}/logs",
        "POST /v1/jobs",
        "POST /v1/jobs/batch",
        // Malformed, which is looked at before whose it is.
        "POST /v1/jobs/{id}/complete",
    ];
    assert_eq!(opened, wanted.map(ToOwned::to_owned).into());
    let job = json!({"payload": {"kind": "shell", "command": "true"}});
    submitter.post("/v1/jobs", &job).await.ok();
    world
        .tunnel
        .post("/v1/jobs", &job)
        .await
        .refused(403, "forbidden");
    world.room.stop().await;
}
