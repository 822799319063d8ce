//! Bodies that nobody should send.

use serde_json::{Value, json};

use super::script::{Host, all_ready, deploy, lasting, settle, show};
use crate::harness::Room;

#[tokio::test]
async fn a_service_that_makes_no_sense_is_refused_with_the_reason() {
    let room = Room::open().await;
    let long = "x".repeat(300);
    let many: Vec<String> = (0..1001).map(|number| number.to_string()).collect();
    let large = vec!["x".repeat(100_000); 3];
    for (field, value, text) in [
        ("name", json!("a/b"), "name has a /"),
        ("name", json!("a\nb"), "name has control characters"),
        ("name", json!(".."), "name must not be .."),
        ("name", json!(long), "name is longer than 255 bytes"),
        ("name", json!("  "), "name is required"),
        (
            "command",
            json!("a\u{0}b"),
            "command has control characters",
        ),
        ("serviceId", json!("../x"), "serviceId has a /"),
        ("replicas", json!(0), "replicas must be 1 to 1000"),
        ("replicas", json!(1001), "replicas must be 1 to 1000"),
        ("health", json!("up"), "health must begin with /"),
        (
            "health",
            json!("/a b"),
            "health must be the path of a URL: ASCII without spaces and #",
        ),
        ("cwd", json!(""), "cwd is empty"),
        ("readyMs", json!(0), "readyMs must be 1 to 3600000"),
        ("drainMs", json!(3_600_001), "drainMs must be 0 to 3600000"),
        (
            "args",
            json!(["a\u{0}"]),
            "args: an argument has a NUL character",
        ),
        ("args", json!(many), "args: there are more than 1000"),
        (
            "args",
            json!(large),
            "args, env and secretEnv together are longer than 262144 bytes",
        ),
        (
            "args",
            json!(["x".repeat(131_072)]),
            "args: an argument is longer than 131072 bytes",
        ),
        (
            "env",
            json!({"A": "x".repeat(131_070)}),
            "env: A is longer than 131072 bytes",
        ),
        (
            "env",
            json!({"A=B": "x"}),
            "env: A=B is no name of a variable",
        ),
        (
            "env",
            json!({"": "x"}),
            "env: the name of a variable is empty",
        ),
        ("env", json!({"A": "x\u{0}"}), "env: A has a NUL character"),
        (
            "secretEnv",
            json!({"K": "***"}),
            "secretEnv: K is ***, which readers see in its place; send the value",
        ),
        (
            "requiredCapabilities",
            json!(["a\nb"]),
            "a required capability has control characters",
        ),
    ] {
        let mut ask = json!({"name": "api", "command": "x"});
        ask[field] = value;
        let got = room.post("/v1/services", ask).await;
        assert_eq!(got.refused(400, "bad_request"), text);
    }
    for (field, value) in [
        ("replicas", json!(-1)),
        ("replicas", json!("2")),
        ("env", json!(["A"])),
        ("restart", json!("sometimes")),
    ] {
        let mut ask = json!({"name": "api", "command": "x"});
        ask[field] = value;
        room.post("/v1/services", ask)
            .await
            .refused(400, "bad_request");
    }
    let both = json!({"name": "a", "command": "x", "env": {"K": "1"}, "secretEnv": {"K": "2"}});
    let text = room
        .post("/v1/services", both)
        .await
        .refused(400, "bad_request");
    assert_eq!(
        text,
        "K is in env and in secretEnv: it can only be in one of them"
    );
    // A secret is not repeated in what is wrong with it.
    let nul = json!({"name": "a", "command": "x", "secretEnv": {"K": "hunter2\u{0}"}});
    let text = room
        .post("/v1/services", nul)
        .await
        .refused(400, "bad_request");
    assert!(!text.contains("hunter2"), "{text}");
    let all = room.get("/v1/services").await.ok();
    assert_eq!(all, json!({"services": []}));
    room.stop().await;
}

#[tokio::test]
async fn a_change_that_makes_no_sense_is_refused() {
    let room = Room::open().await;
    let id = deploy(&room, json!({"name": "api", "command": "x"})).await;
    let path = format!("/v1/services/{id}/change");
    for body in [
        json!({}),
        json!({"action": "explode"}),
        json!({"action": "scale"}),
        json!({"action": "scale", "replicas": 0}),
        json!({"action": "scale", "replicas": 4_000_000_000u32}),
        json!([]),
    ] {
        room.post(&path, body).await.refused(400, "bad_request");
    }
    room.stop().await;
}

#[tokio::test]
async fn a_report_that_makes_no_sense_is_refused_and_that_of_others_changes_nothing() {
    let room = Room::open().await;
    let mut a = Host::new(&room, "a").await;
    let mut b = Host::new(&room, "b").await;
    a.sync(&room).await;
    let id = deploy(&room, json!({"name": "api", "command": "x"})).await;
    let service = settle(&room, &mut [&mut a], &id, |one| all_ready(one, 1)).await;
    let asg = service["assignments"][0]["id"].as_str().unwrap();
    let report = |phase: &str| json!({"assignmentId": asg, "phase": phase});
    let with = |field: &str, value: Value| {
        let mut report = report("ready");
        report[field] = value;
        report
    };
    for reports in [
        json!([report("assigned")]),
        json!([report("lost")]),
        json!([report("nonsense")]),
        json!([report("ready"), report("failed")]),
        json!([with("port", json!(0))]),
        json!([with("port", json!(70_000))]),
        json!([with("endpoint", json!("javascript:alert(1)"))]),
        json!([with("endpoint", json!("http://"))]),
        json!([with("error", json!("x".repeat(10_000)))]),
        json!([with("lastOutput", json!("x".repeat(10_000)))]),
        json!([with("assignmentId", json!(""))]),
        json!(vec![with("assignmentId", json!("x")); 1001]),
        json!({}),
    ] {
        let got = room.post(&a.path(), json!({"assignments": reports})).await;
        got.refused(400, "bad_request");
    }
    // The other host knows the id, and is not believed.
    b.said.insert(asg.to_owned(), report("failed"));
    assert_eq!(b.sync(&room).await, Vec::<Value>::new());
    let now = show(&room, &id).await;
    assert_eq!(lasting(&now), lasting(&service));
    for body in [
        json!({"assignmentId": asg, "request": 1, "data": "%%%"}),
        json!({"assignmentId": "", "request": 1, "data": ""}),
        json!({"assignmentId": asg, "data": ""}),
    ] {
        let got = room.post("/v1/hosts/a/services/logs", body).await;
        got.refused(400, "bad_request");
    }
    let body = json!({"assignmentId": asg, "request": 1, "data": ""});
    let got = room.post("/v1/hosts/nobody/services/logs", body).await;
    got.refused(404, "unknown_host");
    let wrong = json!({"hostId": "a", "status": "running", "endpoint": "file:///etc/passwd"});
    let got = room.post(&format!("/v1/services/{id}/report"), wrong).await;
    got.refused(400, "bad_request");
    room.stop().await;
}
