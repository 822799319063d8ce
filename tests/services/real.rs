//! The whole way with real hosts and a real program: deployed, called, read, updated, kept when an update fails, removed.

use std::net::SocketAddr;

use serde_json::Value;

use crate::common::Running;
use crate::common::http::call;
use crate::place::{Place, SOON};

/// This test binary, told by a variable to be a small web server.
#[allow(dead_code, reason = "its arguments name it as the tests of hosts do")]
#[path = "../host/services/program.rs"]
mod program;

/// Arguments that make this binary serve.
const ARGS: [&str; 4] = ["--exact", "real::program::serve", "--nocapture", "--quiet"];

/// A host that may run this binary and `sh`, with ports out of the way of other tests and of the system's own.
fn host(place: &Place, name: &str, offset: u16) -> Running {
    let own = std::env::current_exe().unwrap();
    let base = 20_000 + u16::try_from(std::process::id() % 600).unwrap() * 20 + offset;
    let mut command = place.command(&["host", "--name", name]);
    command
        .env("SKYCLAW_ALLOWED_COMMANDS", format!("{},sh", own.display()))
        .env("SKYCLAW_SERVICE_BASE_PORT", base.to_string())
        .env("SKYCLAW_GRACE_MS", "500");
    let running = Running::start(&mut command, None);
    running.wait_for_line("host registered", SOON);
    running
}

/// What the replicas answer that are ready now.
fn answers(service: &Value, path: &str) -> Vec<String> {
    let replicas = service["assignments"].as_array().unwrap().iter();
    let ready = replicas.filter(|one| one["phase"] == "ready");
    ready
        .map(|one| {
            let endpoint = one["endpoint"].as_str().unwrap();
            let address: SocketAddr = endpoint.strip_prefix("http://").unwrap().parse().unwrap();
            let reply = call(address, "GET", path, &Value::Null).expect(200);
            String::from_utf8(reply.body).unwrap()
        })
        .collect()
}

#[test]
fn a_service_lives_its_life_on_two_hosts() {
    let place = Place::quiet();
    let hosts = [host(&place, "lab", 0), host(&place, "web1", 10)];
    let own = std::env::current_exe().unwrap();
    let mut line = vec!["deploy-service", "api", own.to_str().unwrap()];
    line.extend(ARGS);
    line.extend(["--health", "/health", "--wait", "--drain", "10s"]);
    let deploy = |more: &[&str]| {
        let words = [&line[..], more].concat();
        place.run(&words)
    };
    let first = deploy(&["--replicas", "2", "--env", "TEST_SERVICE=one"]).expect_code(0);
    let id = first.out().trim().to_owned();
    let service = place.service(&id);
    assert_eq!(answers(&service, "/env?TEST_SERVICE"), ["one", "one"]);
    let logs = place.says(&["service", "logs", "api"]);
    for host in ["lab", "web1"] {
        assert!(logs.contains(&format!("{host} | one says hello")), "{logs}");
    }
    let one = place.says(&["service", "logs", "api", "--replica", "lab"]);
    assert!(
        one.contains("one says hello") && !one.contains('|'),
        "{one}"
    );

    let second = deploy(&["--env", "TEST_SERVICE=two"]).expect_code(0);
    assert_eq!(second.out().trim(), id, "it is the same service");
    assert!(second.err().contains("the old one is draining"), "{second}");
    assert_eq!(
        answers(&place.service(&id), "/env?TEST_SERVICE"),
        ["two", "two"]
    );

    let words = [
        "deploy-service",
        "api",
        "sh",
        "-c",
        "echo out of luck; exit 3",
        "--restart",
        "never",
        "--wait",
    ];
    let failed = place.run(&words).expect_code(1);
    assert!(failed.err().contains("out of luck"), "{failed}");
    assert_eq!(
        answers(&place.service(&id), "/env?TEST_SERVICE"),
        ["two", "two"]
    );
    let table = place.says(&["service", "list"]);
    assert!(
        table.contains("api\t2/2\tupdate failed\thttp://127.0.0.1:"),
        "{table}"
    );

    assert_eq!(
        place.says(&["service", "scale", "api", "1", "--wait"]),
        "api update failed 1/1"
    );
    assert_eq!(
        place.says(&["service", "rm", "api", "--wait"]),
        "api removed"
    );
    assert_eq!(place.says(&["service", "list"]).lines().count(), 1);
    for host in hosts {
        host.terminate();
        host.wait(SOON);
    }
}
