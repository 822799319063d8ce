//! Whoever waits and watches goes on through a change of the leader: the command line, logs, events, gateways.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;

use crate::common::eventually;
use crate::common::sshd::within;
use crate::common::{Output, Running};
use crate::site::{SOON, Site, TOKEN};

/// Starts a verb that knows this coordinator alone.
fn skyclaw(site: &Site, knows: usize, args: &[&str]) -> Running {
    let mut command = within(None, env!("CARGO_BIN_EXE_skyclaw").as_ref());
    command
        .args(args)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap())
        .env("HOME", site.dir.path())
        .env("SKYCLAW_TOKEN", TOKEN)
        .env("SKYCLAW_COORDINATOR_URL", site.nodes[knows].url())
        .current_dir(site.dir.path());
    Running::start(&mut command, None)
}

/// Starts a gateway that knows this coordinator alone.
fn gateway(site: &Site, knows: usize) -> (Running, SocketAddr) {
    let gateway = skyclaw(site, knows, &["gateway", "--port", "0"]);
    let line = gateway.wait_for_line("listening on http://", SOON);
    let address = line.rsplit("http://").next().unwrap().trim();
    (gateway, address.parse().unwrap())
}

#[test]
fn a_followed_job_goes_on_when_the_only_coordinator_that_was_named_dies() {
    let Some(mut site) = Site::three(2) else {
        return;
    };
    let leader = site.await_leader();
    let go = site.file("go").display().to_string();
    let script = format!("echo one; while [ ! -e {go} ]; do sleep 0.05; done; echo two");
    let follow = skyclaw(
        &site,
        leader,
        &["enqueue-shell", "--follow", "sh", "-c", &script],
    );
    let wait = skyclaw(
        &site,
        leader,
        &["enqueue-shell", "--wait", "--json", "sh", "-c", &script],
    );
    follow.wait_for_line("one", SOON);
    eventually(SOON, || {
        site.block_on(site.client().queue()).unwrap().counts.leased == 2
    });
    // Long enough for a client that stays to hear of the others.
    std::thread::sleep(Duration::from_secs(1));
    site.nodes[leader].kill();
    let after = site.await_leader();
    assert_ne!(after, leader);
    std::fs::write(&go, "").unwrap();
    let followed: Output = follow.wait(SOON).expect_code(0);
    assert_eq!(followed.out(), "one\ntwo\n", "each byte once");
    let waited = wait.wait(SOON).expect_code(0).json();
    assert_eq!(
        waited["job"]["attempts"], 1,
        "the running job stayed: {waited}"
    );
}

#[test]
fn a_submit_is_accepted_through_a_change_of_the_leader() {
    let Some(mut site) = Site::three(2) else {
        return;
    };
    let leader = site.await_leader();
    let other = (leader + 1) % 3;
    site.nodes[leader].kill();
    // Asked while there is no leader at all.
    let submit = skyclaw(&site, other, &["enqueue-shell", "--wait", "true"]);
    submit.wait(SOON).expect_code(0);
}

#[test]
fn gateways_that_know_different_members_agree_and_outlive_theirs() {
    let Some(mut site) = Site::three(2) else {
        return;
    };
    let leader = site.await_leader();
    let gateways = [gateway(&site, leader), gateway(&site, (leader + 1) % 3)];
    let names = |at: &(Running, SocketAddr)| {
        let health = crate::common::http::call(at.1, "GET", "/health", &Value::Null);
        health.json()["services"].to_string()
    };
    let deploy = |name: &str| {
        let deploy = a_service(name);
        site.block_on(site.client().deploy_service(&deploy))
            .unwrap();
    };
    deploy("before");
    eventually(SOON, || {
        gateways.iter().all(|one| names(one).contains("before"))
    });
    std::thread::sleep(Duration::from_secs(1));
    site.nodes[leader].kill();
    site.await_leader();
    let deploy = a_service("after");
    site.block_on(site.client().deploy_service(&deploy))
        .unwrap();
    eventually(SOON, || {
        gateways.iter().all(|one| names(one).contains("after"))
    });
}

#[test]
fn services_beside_each_coordinator_answer_gateways_on_other_machines() {
    let Some(mut site) = Site::new(3, 3) else {
        return;
    };
    for number in 0..3 {
        site.put_near(number, number);
    }
    site.start_all();
    let mut deploy = a_service("near");
    deploy.replicas = Some(3);
    site.block_on(site.client().deploy_service(&deploy))
        .unwrap();
    let endpoints = || {
        let services = site.block_on(site.client().services()).unwrap();
        let all = services[0].assignments.iter();
        let mut all: Vec<_> = all.filter_map(|one| one.endpoint.clone()).collect();
        all.sort();
        all
    };
    eventually(SOON, || endpoints().len() == 3);
    for (endpoint, node) in endpoints().iter().zip(&site.nodes) {
        let machine = format!("http://{}:", node.cable.address());
        assert!(endpoint.starts_with(&machine), "{endpoint}, not {machine}");
    }
    let (_gateway, address) = gateway(&site, 0);
    eventually(SOON, || {
        let path = "/v1/gateway/near/health";
        let ask = || crate::common::http::call(address, "GET", path, &Value::Null);
        (0..6).all(|_| ask().status == 200)
    });
}

fn a_service(name: &str) -> skyclaw::protocol::api::DeployService {
    // Something that listens at its port and is on every machine that runs the tests.
    let script = format!(
        "exec {} coordinator --insecure-no-auth --host 0.0.0.0 --port $PORT --db service.db",
        env!("CARGO_BIN_EXE_skyclaw")
    );
    let json = serde_json::json!({ "name": name, "command": "sh", "args": ["-c", script], "health": "/health" });
    serde_json::from_value(json).unwrap()
}
