//! Which services the gateway knows of, while coordinators come and go.

use std::sync::{Arc, Mutex};

use rustix::process::Signal;
use serde_json::json;

use crate::backend::{Backend, text};
use crate::common::{SOON, eventually};
use crate::site::{Gateway, Site, command};

#[test]
fn changes_are_seen_and_the_last_list_stays_while_coordinators_are_away() {
    let (one, two) = (Backend::named("one"), Backend::named("two"));
    let site = Site::new();
    let cache = site.dir.path().join("services");
    let cached = ["--cache", cache.to_str().unwrap()];
    let gateway = site.gateway(&cached);
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
    // And for one that starts only now, once it is written down.
    eventually(SOON, || {
        std::fs::read_to_string(&cache).is_ok_and(|list| list.contains(&two.url()))
    });
    drop(gateway);
    let nobody = "http://127.0.0.1:1";
    let fresh = Gateway::start(command(dir.path(), nobody));
    fresh.get("/v1/gateway/api/").expect(503);
    let mut kept = command(dir.path(), nobody);
    kept.args(["--cache", cache.to_str().unwrap()]);
    assert_eq!(Gateway::start(kept).text("/v1/gateway/api/"), "two");
    drop(dir);
}

#[test]
fn a_gateway_starts_although_no_coordinator_answers_and_hears_later() {
    let backend = Backend::named("late");
    let site = Site::new();
    site.service("api", &[&backend.url()]);
    site.coordinator.signal(Signal::STOP);
    let gateway = site.gateway(&[]);
    gateway.get("/health").expect(200);
    let reply = gateway.get("/v1/gateway/api/").expect(503);
    assert_eq!(reply.header("retry-after"), Some("1"));
    site.coordinator.signal(Signal::CONT);
    eventually(SOON, || gateway.get("/v1/gateway/api/").status == 200);
}

#[test]
fn a_coordinator_that_tells_of_no_changes_is_asked_again_and_again() {
    // As one of the original: it knows no events and no gateways.
    let one = Backend::named("one");
    let list = Arc::new(Mutex::new(json!({"services": []})));
    let served = Arc::clone(&list);
    let old = Backend::with(move |seen| match seen.target.as_str() {
        "/v1/services" => text(200, served.lock().unwrap().to_string()),
        _ => text(404, r#"{"error": "not found"}"#),
    });
    let dir = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(command(dir.path(), &old.url()));
    let at = "2026-01-01T00:00:00.000Z";
    *list.lock().unwrap() = json!({"services": [{
        "id": "svc_1", "name": "api", "command": "node", "args": [], "replicas": 1,
        "requiredCapabilities": ["service-host"], "status": "running", "createdAt": at,
        "updatedAt": at, "updatedBy": "node_1", "version": 3,
        "assignments": [{"hostId": "h", "status": "running", "updatedAt": at, "endpoint": one.url(), "startedAt": at}],
    }]});
    gateway.until_it_knows(&["api", "svc_1"]);
    assert_eq!(gateway.text("/v1/gateway/svc_1/"), "one");
    let own = gateway.get("/v1/gateways").expect(200).json();
    assert_eq!(own["gateways"][0]["url"], gateway.url());
}
