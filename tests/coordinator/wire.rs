//! The original's scripted exchanges, with its shapes and texts.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::Room;

/// The keys of an object, sorted.
fn keys(value: &Value) -> Vec<&str> {
    value
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect()
}

#[tokio::test]
async fn an_old_host_goes_through_its_day() {
    let room = Room::open().await;
    let host = room
        .post(
            "/v1/hosts/register",
            json!({"name": "lab-1", "hostId": "lab-1", "capabilities": ["shell", " gpu ", "shell"], "maxParallel": 2}),
        )
        .await
        .ok();
    let host = &host["host"];
    assert_eq!(host["capabilities"], json!(["gpu", "shell"]));
    for key in [
        "id",
        "name",
        "maxParallel",
        "activeLeases",
        "lastSeenAt",
        "registeredAt",
        "updatedBy",
        "version",
    ] {
        assert!(!host[key].is_null(), "{key}");
    }
    assert_eq!(room.claim("lab-1").await, Value::Null);
    let id = room.submit(&["shell"]).await;
    let job = room.claim("lab-1").await;
    assert_eq!(job["id"], *id);
    assert_eq!(
        (&job["status"], &job["attempts"]),
        (&json!("leased"), &json!(1))
    );
    assert_eq!(job["assignedHostId"], "lab-1");
    assert_eq!(job["leaseExpiresAt"].as_str().unwrap().len(), 24);
    let beat = room
        .post("/v1/hosts/lab-1/heartbeat", json!({"activeLeases": 1}))
        .await
        .ok();
    assert_eq!(beat["host"]["activeLeases"], 1);
    let body = json!({"hostId": "lab-1", "success": true, "durationMs": 12, "exitCode": 0, "stdout": "up\n", "stderr": ""});
    let path = format!("/v1/jobs/{id}/complete");
    let done = room.post(&path, body.clone()).await.ok();
    let done = &done["job"];
    assert_eq!(done["status"], "completed");
    for key in ["finishedAt", "durationMs", "exitCode", "stdout", "stderr"] {
        assert!(!done["result"][key].is_null(), "{key}");
    }
    assert!(done.get("assignedHostId").is_none() && done.get("leaseExpiresAt").is_none());
    assert_eq!(*done, room.job(&id).await);
    let late = room.post(&path, body).await.refused(409, "lease_lost");
    assert_eq!(late, format!("job {id} is not leased"));
    let beat = room
        .post("/v1/hosts/lab-1/heartbeat", json!({"activeLeases": 0}))
        .await
        .ok();
    assert_eq!(beat["host"]["activeLeases"], 0);
    room.stop().await;
}

#[tokio::test]
async fn what_is_wrong_is_said_in_the_originals_words_with_the_right_status() {
    let room = Room::open().await;
    room.host("a", &["shell"]).await;
    room.host("b", &["shell"]).await;
    let complete = |host: &str| json!({"hostId": host, "success": true, "durationMs": 1, "exitCode": 0, "stdout": "", "stderr": ""});
    let missing = "job_00000000-0000-7000-8000-000000000000";
    let cases = [
        (
            "/v1/hosts/register",
            json!({}),
            400,
            "bad_request",
            "name is required".to_owned(),
        ),
        (
            "/v1/hosts/register",
            json!({"name": "  "}),
            400,
            "bad_request",
            "name is required".to_owned(),
        ),
        (
            "/v1/hosts/nobody/heartbeat",
            json!({}),
            404,
            "unknown_host",
            "unknown host: nobody".to_owned(),
        ),
        (
            "/v1/hosts/no%20body/claim",
            json!({}),
            404,
            "unknown_host",
            "unknown host: no body".to_owned(),
        ),
        (
            "/v1/jobs",
            json!({}),
            400,
            "bad_request",
            "payload is required".to_owned(),
        ),
        (
            "/v1/jobs",
            json!({"payload": {}}),
            400,
            "bad_request",
            "payload is required".to_owned(),
        ),
        (
            "/v1/jobs",
            json!({"payload": {"kind": "mine-coins"}}),
            422,
            "unknown_kind",
            "unknown job kind: \"mine-coins\"".to_owned(),
        ),
        (
            "/v1/network/join",
            json!({}),
            400,
            "bad_request",
            "url is required".to_owned(),
        ),
        (
            "/v1/nope",
            json!({}),
            404,
            "not_found",
            "not found".to_owned(),
        ),
        (
            "/v1/jobs/",
            json!({}),
            404,
            "unknown_job",
            "unknown job: ".to_owned(),
        ),
    ];
    for (path, body, status, code, text) in cases {
        if path == "/v1/jobs/" {
            // A trailing slash is another path.
            assert_eq!(room.post(path, body).await.status, 404);
            continue;
        }
        assert_eq!(
            room.post(path, body).await.refused(status, code),
            text,
            "{path}"
        );
    }
    let path = format!("/v1/jobs/{missing}/complete");
    let text = room
        .post(&path, complete("a"))
        .await
        .refused(404, "unknown_job");
    assert_eq!(text, format!("unknown job: {missing}"));
    let id = room.submit(&["shell"]).await;
    let path = format!("/v1/jobs/{id}/complete");
    let text = room
        .post(&path, complete("zz"))
        .await
        .refused(404, "unknown_host");
    assert_eq!(text, "unknown host: zz");
    let text = room
        .post(&path, complete("a"))
        .await
        .refused(409, "lease_lost");
    assert_eq!(text, format!("job {id} is assigned to nobody"));
    room.claim("a").await;
    let text = room
        .post(&path, complete("b"))
        .await
        .refused(409, "lease_lost");
    assert_eq!(text, format!("job {id} is assigned to a"));
    let wrong = room.send(room.request(Method::DELETE, "/v1/jobs")).await;
    wrong.refused(405, "method_not_allowed");
    room.stop().await;
}

#[tokio::test]
async fn an_old_client_submits_and_finds_its_job_in_the_state() {
    let room = Room::open().await;
    room.host("a", &["shell"]).await;
    let body = json!({
        "payload": {"kind": "openclaw-run", "args": ["agent", "exec", "hello"], "later": {"a": [1.50]}},
        "requirement": {"requiredCapabilities": ["openclaw", "openclaw"], "odd": 1},
        "submittedBy": "me",
    });
    let got = room.post("/v1/jobs", body.clone()).await.ok();
    let job = &got["job"];
    assert_eq!(
        job["requirement"],
        json!({"requiredCapabilities": ["openclaw"]})
    );
    assert_eq!(job["payload"], body["payload"]);
    assert_eq!(
        (&job["status"], &job["attempts"]),
        (&json!("queued"), &json!(0))
    );
    let before = room.get("/v1/jobs").await.ok();
    let state = room.get("/v1/state").await.ok();
    assert_eq!(keys(&state), ["hosts", "jobs", "nodeId", "services"]);
    assert_eq!(state["jobs"], json!([job]));
    assert_eq!(state["hosts"][0]["id"], "a");
    assert_eq!(before, room.get("/v1/jobs").await.ok());
    room.stop().await;
}

#[tokio::test]
async fn a_large_state_comes_whole_and_oldest_first() {
    let room = Room::open().await;
    let one = json!({"payload": {"kind": "shell", "command": "true"}});
    let body = json!({"jobs": vec![one; 1200]});
    let ids = room.post("/v1/jobs/batch", body).await.ok()["ids"].clone();
    let state = room.get("/v1/state").await.ok();
    let jobs: Vec<&Value> = state["jobs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|job| &job["id"])
        .collect();
    assert_eq!(jobs, ids.as_array().unwrap().iter().collect::<Vec<_>>());
    room.stop().await;
}

#[tokio::test]
async fn it_says_that_it_runs_alone() {
    let room = Room::with(|settings| settings.public_url = Some("http://me:1".into())).await;
    let peers = room.get("/v1/network/peers").await.ok();
    assert_eq!(
        peers,
        json!({"nodeId": "node_test", "self": "http://me:1", "peers": []})
    );
    for (path, body) in [
        ("/v1/network/join", json!({"url": "http://you:1"})),
        ("/v1/network/leave", json!({})),
        ("/v1/network/remove", json!({"name": "you"})),
    ] {
        let text = room.post(path, body).await.refused(409, "conflict");
        assert!(text.contains("alone"), "{text}");
    }
    room.stop().await;
}

#[tokio::test]
async fn a_state_of_the_original_is_taken_over_into_an_empty_queue_only() {
    let room = Room::open().await;
    let job = |number: u32, status: &str| {
        json!({
            "id": format!("job_00000000-0000-4000-8000-{number:012}"), "status": status, "attempts": 1,
            "createdAt": format!("2026-01-01T00:00:0{number}.000Z"), "updatedAt": "2026-01-02T00:00:00.000Z",
            "requirement": {"requiredCapabilities": ["shell"]}, "assignedHostId": "lab-1",
            "payload": {"kind": "shell", "command": "true"}, "version": 3, "updatedBy": "node_1",
            "result": {"finishedAt": "2026-01-02T00:00:00.000Z", "durationMs": 1, "exitCode": 0,
                       "stdout": "ok", "stderr": ""},
        })
    };
    let state = json!({
        "nodeId": "node_1", "jobs": [job(2, "completed"), job(1, "leased"), {"id": "rubbish"}],
        "hosts": [{"id": "lab-1", "name": "Lab", "capabilities": ["shell"], "maxParallel": 2.0,
                   "registeredAt": "2026-01-01T00:00:00.000Z"}],
        "services": [{"id": "svc_1", "name": "api", "command": "node", "args": [], "replicas": 1,
            "requiredCapabilities": ["service-host"], "status": "pending", "assignments": [],
            "createdAt": "2026-01-01T00:00:00.000Z", "updatedAt": "2026-01-01T00:00:00.000Z",
            "updatedBy": "node_1", "version": 2}],
    });
    let nothing = room
        .post("/v1/replicate/snapshot", json!({"jobs": [], "hosts": []}))
        .await
        .ok();
    assert_eq!(
        (&nothing["ok"], &nothing["changed"]),
        (&json!(true), &json!(false))
    );
    let done = room
        .post("/v1/replicate/snapshot", state.clone())
        .await
        .ok();
    assert_eq!(
        done,
        json!({"ok": true, "changed": true, "nodeId": "node_test",
               "jobs": 2, "hosts": 1, "services": 1, "skipped": 1})
    );
    // What was seen before as empty is told of at once: hosts, services, counts.
    let now = room.get("/v1/state").await.ok();
    assert_eq!(now["hosts"][0]["id"], "lab-1");
    assert_eq!(now["services"][0]["id"], "svc_1");
    let statuses: Vec<_> = now["jobs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|job| &job["status"])
        .collect();
    assert_eq!(
        statuses,
        ["queued", "completed"],
        "the oldest first, and nothing runs"
    );
    assert_eq!(now["jobs"][1]["result"]["stdout"], "ok");
    let again = room.post("/v1/replicate/snapshot", state).await.ok();
    assert_eq!(again["changed"], false);
    let other = json!({"jobs": [job(3, "queued")], "hosts": []});
    let text = room
        .post("/v1/replicate/snapshot", other)
        .await
        .refused(409, "conflict");
    assert!(text.contains("not empty"), "{text}");
    room.stop().await;
}

#[tokio::test]
async fn kinds_that_old_hosts_would_misread_need_their_capability() {
    let room = Room::open().await;
    for (kind, capability) in [
        ("automaton-run", "automaton"),
        ("picoclaw-task", "picoclaw"),
    ] {
        let body = json!({"payload": {"kind": kind, "message": "m", "timeoutMs": 7000}, "requirement": {}});
        let job = room.post("/v1/jobs", body).await.ok()["job"].clone();
        assert_eq!(
            job["requirement"]["requiredCapabilities"],
            json!([capability])
        );
        assert_eq!(job["timeoutMs"], 7000);
    }
    room.stop().await;
}

#[tokio::test]
async fn asking_for_more_copies_than_there_can_be_refuses_writes() {
    let room = Room::with(|settings| settings.min_replications = 2).await;
    let body = json!({"name": "a"});
    let text = room
        .post("/v1/hosts/register", body)
        .await
        .refused(503, "unavailable");
    assert_eq!(
        text,
        "insufficient peers: requires at least 1 known peers, got 0"
    );
    room.get("/v1/state").await.ok();
    room.stop().await;
}
