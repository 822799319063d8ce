//! Hosts that come through tunnels, side by side: whose key, whose lease, whose id.

use std::process::Command;

use reqwest::Method;
use serde_json::json;
use skyclaw::client::unix_url;

use crate::common::Running;
use crate::guest::{host, labelled, submitting};
use crate::harness::{Got, Room, SOON, done, lease};

#[tokio::test]
async fn the_same_key_of_two_callers_is_two_keys() {
    let room = Room::open().await;
    let (a, b) = (room.guest(&submitting("a")), room.guest(&submitting("b")));
    let job = json!({"payload": {"kind": "shell", "command": "true"}});
    let id = |got: Got| got.ok()["job"]["id"].clone();
    let first = id(room.post_keyed("/v1/jobs", "k", job.clone()).await);
    let of_a = id(a.post_keyed("/v1/jobs", "k", &job).await);
    let of_b = id(b.post_keyed("/v1/jobs", "k", &job).await);
    assert!(first != of_a && of_a != of_b && of_b != first);
    assert_eq!(id(a.post_keyed("/v1/jobs", "k", &job).await), of_a);
    // Nor can one spoil another's key by using it first.
    for (guest, name) in [(&a, "a"), (&b, "b")] {
        let body = json!({"name": name, "hostId": name});
        let got = guest
            .post_keyed("/v1/hosts/register", "k", &body)
            .await
            .ok();
        assert_eq!(got["host"]["name"], name);
    }
    room.stop().await;
}

#[tokio::test]
async fn who_lost_a_lease_hears_so_and_cannot_touch_the_next_one() {
    let room = Room::open().await;
    for id in ["a", "b"] {
        room.host(id, &["x"]).await;
    }
    room.submit(&["x"]).await;
    let first = room.claim("a").await;
    let released = json!({"leases": [lease(&first)]});
    let tunnel = room.guest(&host("a"));
    tunnel.post("/v1/hosts/a/release", &released).await.ok();
    let second = room.claim("b").await;
    assert_eq!(second["id"], first["id"]);
    let old = json!({"leases": [lease(&first)]});
    let beat = tunnel.post("/v1/hosts/a/heartbeat", &old).await.ok();
    assert_eq!(beat["leases"][0]["state"], "lost");
    let path = format!("/v1/jobs/{}/complete", first["id"].as_str().unwrap());
    let late = tunnel.post(&path, &done(&first, "a")).await;
    late.refused(409, "lease_lost");
    // By its id alone, or with what the other was given.
    let alone = json!({"hostId": "a", "success": true, "stdout": "", "stderr": ""});
    tunnel.post(&path, &alone).await.refused(403, "forbidden");
    let stolen = tunnel.post(&path, &done(&second, "a")).await;
    stolen.refused(403, "forbidden");
    assert_eq!(
        room.job(first["id"].as_str().unwrap()).await["status"],
        "leased"
    );
    room.post(&path, done(&second, "b")).await.ok();
    room.stop().await;
}

#[tokio::test]
async fn an_id_stays_with_the_name_that_registered_it_first() {
    let room = Room::open().await;
    let (a, b) = (room.guest(&host("a")), room.guest(&host("b")));
    let id = "host_0192f0c0-0000-7000-8000-000000000001";
    let named = |name: &str| json!({"name": name, "hostId": id});
    a.post("/v1/hosts/register", &named("a")).await.ok();
    for path in ["/v1/hosts/register", &format!("/v1/hosts/{id}/claim")] {
        b.post(path, &named("b")).await.refused(403, "forbidden");
    }
    a.post("/v1/hosts/register", &named("a")).await.ok();
    // Forgotten, it says so, as it does to others, and may be anybody's.
    a.post(&format!("/v1/hosts/{id}/deregister"), &json!({}))
        .await
        .ok();
    let gone = b
        .post(&format!("/v1/hosts/{id}/heartbeat"), &json!({}))
        .await;
    gone.refused(404, "unknown_host");
    b.post("/v1/hosts/register", &named("b")).await.ok();
    a.post("/v1/hosts/register", &named("a"))
        .await
        .refused(403, "forbidden");
    room.stop().await;
}

#[tokio::test]
async fn labels_and_slots_are_what_is_said_here_and_not_what_the_host_says() {
    let room = Room::open().await;
    let tunnel = room.guest(&labelled("a", &[("zone", "eu")], 2));
    let body = json!({
        "name": "a", "hostId": "a", "labels": {"zone": "us", "gpu": "yes"}, "maxParallel": 500,
        "capabilities": ["x"],
    });
    let got = tunnel.post("/v1/hosts/register", &body).await.ok();
    assert_eq!(got["host"]["labels"], json!({"zone": "eu"}));
    assert_eq!(got["host"]["maxParallel"], 2);
    for _ in 0..6 {
        room.submit(&["x"]).await;
    }
    let many = json!({"max": 500});
    let claimed = tunnel.post("/v1/hosts/a/claim", &many).await.ok();
    assert_eq!(claimed["jobs"].as_array().unwrap().len(), 2);
    let one = &claimed["jobs"][0];
    let mut report = lease(one);
    report["success"] = true.into();
    report["result"] = json!({"durationMs": 1, "stdout": "", "stderr": ""});
    let handed_in = json!({"completions": [report], "claim": 500});
    let got = tunnel.post("/v1/hosts/a/complete", &handed_in).await.ok();
    let more = &got["claimed"]["jobs"];
    assert_eq!(more.as_array().unwrap().len(), 2, "{got}");
    // Other words about it reach it: it is to register again, and then has them.
    let changed = room.guest(&labelled("a", &[("zone", "us")], 1));
    let refused = changed.post("/v1/hosts/a/claim", &many).await;
    refused.refused(404, "unknown_host");
    let mut again = body;
    again["leases"] = json!([lease(&claimed["jobs"][1])]);
    let got = changed.post("/v1/hosts/register", &again).await.ok();
    assert_eq!(got["host"]["labels"], json!({"zone": "us"}));
    assert_eq!(got["host"]["maxParallel"], 1);
    assert_eq!(got["leases"][0]["state"], "held");
    changed.post("/v1/hosts/a/claim", &many).await.ok();
    room.stop().await;
}

#[tokio::test]
async fn no_id_is_taken_that_work_for_another_name_would_go_to() {
    let room = Room::open().await;
    let odd = "host_0192f0c0-0000-7000-8000-000000000002";
    let body = json!({"name": odd, "hostId": "elsewhere"});
    room.post("/v1/hosts/register", body).await.ok();
    let a = room.guest(&host("a"));
    for id in [odd, "b", "elsewhere"] {
        let body = json!({"name": "a", "hostId": id});
        let got = a.post("/v1/hosts/register", &body).await;
        got.refused(403, "forbidden");
    }
    // Without an id it is given one.
    let got = a
        .post("/v1/hosts/register", &json!({"name": "a"}))
        .await
        .ok();
    assert!(got["host"]["id"].as_str().unwrap().starts_with("host_"));
    room.stop().await;
}

#[tokio::test]
async fn a_host_does_not_fill_the_coordinator_with_itself() {
    let room = Room::open().await;
    let a = room.guest(&host("a"));
    let one = json!({"name": "a"});
    for _ in 0..100 {
        a.post("/v1/hosts/register", &one).await.ok();
    }
    let text = a.post("/v1/hosts/register", &one).await;
    let text = text.refused(429, "too_many");
    assert!(text.contains("skyclaw host remove"), "{text}");
    // Those that are there may come again, and others may come.
    let known = room.get("/v1/hosts").await.ok()["hosts"][7]["id"].clone();
    let again = json!({"name": "a", "hostId": known});
    a.post("/v1/hosts/register", &again).await.ok();
    let b = room.guest(&host("b"));
    b.post("/v1/hosts/register", &json!({"name": "b"}))
        .await
        .ok();
    room.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_needs_nothing_that_is_closed_to_it() {
    let room = Room::with(|settings| settings.lease_for = std::time::Duration::from_secs(2)).await;
    let home = room.dir();
    let mut command = Command::new(env!("CARGO_BIN_EXE_skyclaw"));
    let url = unix_url(&room.relay(&host("lab"))).unwrap();
    command
        .args(["host", "--name", "lab", "--coordinator", url.as_str()])
        .env_clear()
        .env("HOME", &home)
        .env("PATH", "/usr/bin:/bin")
        .current_dir(&home);
    let daemon = Running::start(&mut command, None);
    room.until(async |room| room.get("/v1/hosts").await.ok()["hosts"][0]["name"] == "lab")
        .await;
    let submit = async |script: &str| {
        let payload = json!({"kind": "shell", "command": "sh", "args": ["-c", script]});
        let got = room.post("/v1/jobs", json!({ "payload": payload })).await;
        got.ok()["job"]["id"].as_str().unwrap().to_owned()
    };
    // Long enough for its lease to be renewed, and its output to come while it runs.
    let long = submit("echo begun; exec sleep 600").await;
    let short = submit("exit 4").await;
    let printed = async |room: &Room| {
        let logs = room.get(&format!("/v1/jobs/{long}/logs")).await.ok();
        !logs["pieces"].as_array().unwrap().is_empty()
    };
    room.until(printed).await;
    let before = room.job(&long).await["leaseExpiresAt"].clone();
    room.until(async |room| room.job(&long).await["leaseExpiresAt"] != before)
        .await;
    let path = format!("/v1/jobs/{long}/cancel");
    room.send(room.request(Method::POST, &path)).await.ok();
    for job in [&long, &short] {
        room.until(async |room| room.job(job).await["status"] == "failed")
            .await;
    }
    assert_eq!(room.job(&short).await["result"]["exitCode"], 4);
    daemon.terminate();
    let ended = tokio::task::spawn_blocking(move || daemon.wait(SOON));
    let ended = ended.await.unwrap();
    assert!(!ended.err().contains("403"), "{ended}");
    assert_eq!(room.get("/v1/hosts").await.ok()["hosts"], json!([]));
    room.stop().await;
}
