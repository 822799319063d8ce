//! What is read is not old, unless somebody asks for that.

use std::time::Duration;

use reqwest::StatusCode;

use crate::harness::{Net, job, until};

#[tokio::test]
async fn a_leader_that_is_cut_off_refuses_to_read_and_to_write() {
    let net = Net::three().await;
    let (old, one, _) = net.roles().await;
    let before = net.members[old].submit().await;
    net.members[old].cut(true);
    let new = net.leader().await;
    assert_ne!(new, old);
    let after = net.members[one].submit().await;
    // It may believe that it leads for as long as it likes; nobody gets an old answer from it.
    let began = std::time::Instant::now();
    for path in ["/v1/jobs", "/v1/state", "/v1/hosts", "/ready"] {
        let got = net.members[old].get(path).await;
        assert_eq!(
            got.status,
            StatusCode::SERVICE_UNAVAILABLE,
            "{path}: {}",
            got.body
        );
        let code = got.body["code"].as_str().unwrap();
        assert!(["no_quorum", "no_leader"].contains(&code), "{code}");
    }
    let got = net.members[old].post("/v1/jobs", job()).await;
    assert_eq!(got.status, StatusCode::SERVICE_UNAVAILABLE, "{}", got.body);
    assert!(
        began.elapsed() < Duration::from_secs(60),
        "each within its time"
    );
    let own = net.members[old]
        .get("/v1/jobs?consistency=local")
        .await
        .ok();
    assert_eq!(own["jobs"][0]["id"], before.as_str(), "what it has is old");
    net.members[old].cut(false);
    until(async || {
        let got = net.members[old].get(&format!("/v1/jobs/{after}")).await;
        got.status == 200
    })
    .await;
}

#[tokio::test]
async fn a_member_answers_from_its_own_file_when_asked_to() {
    let net = Net::three().await;
    let (leader, one, _) = net.roles().await;
    net.members[leader].host("h").await;
    let submitted = net.members[leader].submit().await;
    net.members[leader].claim("h").await;
    let follower = &net.members[one];
    let path = format!("/v1/jobs/{submitted}");
    until(async || {
        let got = follower.get(&format!("{path}?consistency=local")).await;
        got.status == 200 && got.body["job"]["status"] == "leased"
    })
    .await;
    let state = follower.get("/v1/state?consistency=local").await.ok();
    assert_eq!(state["nodeId"], follower.name(), "itself");
    assert_eq!(state["leader"], net.members[leader].name());
    assert!(state["term"].as_u64().unwrap() >= 1);
    assert!(state["appliedIndex"].as_u64().unwrap() >= 3);
    assert_eq!(state["hosts"][0]["activeLeases"], 1);
    // Hosts are heard of by the leader alone: nothing is said of what is not known.
    assert_eq!(state["hosts"][0].get("state"), None);
    assert_eq!(state["jobs"][0]["id"], submitted.as_str());
    let page = follower
        .get("/v1/jobs?consistency=local&limit=1")
        .await
        .ok();
    assert_eq!(page["jobs"][0]["updatedBy"], follower.name());
    let logs = format!("{path}/logs?consistency=local");
    assert_eq!(follower.get(&logs).await.ok()["done"], false);
    follower.get("/v1/groups?consistency=local").await.ok();
    // It does not wait for what it would not hear of.
    let waits = format!("{path}?consistency=local&waitMs=30000");
    assert_eq!(follower.get(&waits).await.ok()["job"]["status"], "leased");
    // Without the word the leader answers.
    let state = follower.get("/v1/state").await.ok();
    assert_eq!(state["hosts"][0]["state"], "live");
    assert_eq!(state["nodeId"], net.members[leader].name());
    let index = state["appliedIndex"].as_u64().unwrap();
    net.members[one].submit().await;
    let later = follower.get("/v1/state").await.ok();
    assert!(later["appliedIndex"].as_u64().unwrap() > index);
}
