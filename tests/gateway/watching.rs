//! Which services the gateway knows of, while coordinators come and go.

use crate::backend::Backend;
use crate::common::coordinator::Plan;
use crate::common::{SOON, eventually};
use crate::site::{Gateway, Site, command};

#[test]
fn changes_are_seen_and_the_last_list_stays_while_coordinators_are_away() {
    let (one, two) = (Backend::named("one"), Backend::named("two"));
    let site = Site::new();
    let gateway = site.gateway(&[]);
    assert_eq!(
        gateway.get("/health").json()["services"],
        serde_json::json!([])
    );
    let id = site.service("api", &[&one.url()]);
    gateway.until_it_knows(&["api", &id]);
    assert_eq!(gateway.text("/v1/gateway/api/"), "one");
    // The host moves it.
    site.report(&id, "lab-1", "running", &two.url());
    eventually(SOON, || gateway.text("/v1/gateway/api/") == "two");
    site.report(&id, "lab-1", "failed", &two.url());
    eventually(SOON, || gateway.get("/v1/gateway/api/").status == 503);
    site.report(&id, "lab-1", "running", &two.url());
    eventually(SOON, || gateway.get("/v1/gateway/api/").status == 200);
    let Site {
        dir, coordinator, ..
    } = site;
    coordinator.kill();
    for _ in 0..20 {
        assert_eq!(gateway.text("/v1/gateway/api/"), "two");
    }
    drop(dir);
}

#[test]
fn a_gateway_starts_without_a_coordinator_and_finds_it_later() {
    let dir = tempfile::tempdir().unwrap();
    let coordinator = Plan::new(dir.path()).start();
    let (url, port) = (coordinator.url(), coordinator.address.port().to_string());
    coordinator.stop();
    let mut command = command(dir.path(), &url);
    let gateway = Gateway::start({
        command.args(["--refresh-ms", "100"]);
        command
    });
    gateway.get("/health").expect(200);
    let coordinator = Plan::new(dir.path()).args(&["--port", &port]).start();
    let backend = Backend::named("late");
    let service = serde_json::json!({"name": "api", "command": "node"});
    let id = coordinator.post("/v1/services", &service)["service"]["id"].clone();
    let host = serde_json::json!({"name": "h", "hostId": "h", "capabilities": ["service-host"]});
    coordinator.post("/v1/hosts/register", &host);
    coordinator.post("/v1/hosts/h/services/claim", &serde_json::json!({}));
    let report = serde_json::json!({"hostId": "h", "status": "running", "endpoint": backend.url()});
    let path = format!("/v1/services/{}/report", id.as_str().unwrap());
    coordinator.post(&path, &report);
    eventually(SOON, || gateway.get("/v1/gateway/api/").status == 200);
}
