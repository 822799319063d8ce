//! Deploying: what is asked for, and what comes out.

use serde_json::json;

use crate::place::{Place, bare};

#[test]
fn the_bare_id_is_printed_and_options_may_stand_behind_the_command() {
    let place = Place::quiet();
    let line = "deploy-service api node server.js --port 80 --replicas 2 --health /health";
    let words: Vec<&str> = line.split(' ').collect();
    let id = place.says(&words);
    assert!(
        id.starts_with("svc_") && !id.contains(char::is_whitespace),
        "{id}"
    );
    let service = place.service(&id);
    assert_eq!(service["name"], "api");
    assert_eq!(service["command"], "node");
    assert_eq!(service["args"], json!(["server.js", "--port", "80"]));
    assert_eq!(service["replicas"], 2);
    assert_eq!(service["health"], "/health");
    assert_eq!(service["requiredCapabilities"], json!(["service-host"]));
    let kept = [
        "deploy-service",
        "--",
        "api",
        "npm",
        "start",
        "--",
        "--replicas",
        "9",
    ];
    assert_eq!(place.says(&kept), id, "the service of that name is updated");
    let service = place.service(&id);
    assert_eq!(service["args"], json!(["start", "--", "--replicas", "9"]));
    assert_eq!(service["replicas"], 2, "the number stays if none is given");
}

#[test]
fn every_option_arrives() {
    let place = Place::quiet();
    let file = place.dir.path().join("env");
    std::fs::write(&file, "# for the demo\nFROM_FILE=yes and no\n").unwrap();
    let done = place
        .run(&[
            "service",
            "deploy",
            "web",
            "--replicas",
            "3",
            "--env",
            "A=1",
            "--env-file",
            file.to_str().unwrap(),
            "--cwd",
            "/srv",
            "--cap",
            "gpu",
            "--cap",
            "disk",
            "--restart",
            "on-failure",
            "--ready-timeout",
            "1m",
            "--drain",
            "5s",
            "--json",
            "python3",
            "-m",
            "http.server",
        ])
        .expect_code(0)
        .json();
    assert_eq!(done["schema"], 1);
    assert_eq!(done["id"], done["service"]["id"]);
    let service = place.service(done["id"].as_str().unwrap());
    for (field, value) in [
        ("args", json!(["-m", "http.server"])),
        ("env", json!({"A": "1", "FROM_FILE": "yes and no"})),
        ("cwd", json!("/srv")),
        (
            "requiredCapabilities",
            json!(["disk", "gpu", "service-host"]),
        ),
        ("restart", json!("on-failure")),
        ("readyMs", json!(60_000)),
        ("drainMs", json!(5_000)),
    ] {
        assert_eq!(service[field], value, "{field}");
    }
}

#[test]
fn what_cannot_be_meant_is_refused_before_anybody_is_asked() {
    let place = Place::quiet();
    for (words, said) in [
        (&["deploy-service", "api"][..], "CMD"),
        (&["deploy-service", "api", "node", "--replicas", "0"], "0"),
        (
            &["deploy-service", "api", "node", "--health", "health"],
            "begins with /",
        ),
        (
            &["deploy-service", "api", "node", "--env", "1=hunter2"],
            "NAME=VALUE",
        ),
        (
            &["deploy-service", "api", "node", "--env-file", "nowhere"],
            "nowhere",
        ),
        (&["deploy-service", "api", "--no-such", "node"], "--no-such"),
        (
            &["deploy-service", "api", "node", "--timeout", "5s"],
            "--wait",
        ),
        (&["service", "scale", "api", "0"], "0"),
    ] {
        let refused = place.run(words).expect_code(2);
        assert!(refused.err().contains(said), "{words:?}: {refused}");
        assert!(!refused.err().contains("hunter2"), "{refused}");
    }
    assert_eq!(place.coordinator.get("/v1/services")["services"], json!([]));
}

#[test]
fn without_a_coordinator_every_verb_says_so() {
    let dir = tempfile::tempdir().unwrap();
    // Nobody listens on a port that was just given back.
    let port = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().port()
    };
    let url = format!("http://127.0.0.1:{port}");
    for words in [
        &["deploy-service", "api", "node"][..],
        &["deploy-service", "api", "node", "--wait"],
        &["list-services"],
        &["service", "list"],
        &["service", "show", "api"],
        &["service", "logs", "api"],
        &["service", "rm", "api", "--wait"],
    ] {
        let mut command = bare(dir.path(), words);
        command.env("SKYCLAW_COORDINATOR_URL", &url);
        let out = command.output().unwrap();
        assert_eq!(out.status.code(), Some(69), "{words:?}: {out:?}");
    }
}
