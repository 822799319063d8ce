//! A lost job and the only host that could run it.

use serde_json::json;
use tokio::time::timeout;

use crate::harness::{Room, SOON, lease};

/// Says that `id` is there and holds nothing, so that what it held is lost.
async fn comes_back_with_nothing(room: &Room, id: &str) {
    let body = json!({
        "name": id, "hostId": id, "capabilities": ["x"], "maxParallel": 4, "leases": [],
    });
    room.post("/v1/hosts/register", body).await.ok();
}

#[tokio::test]
async fn a_job_that_only_one_host_can_run_does_not_avoid_it() {
    let room = Room::open().await;
    room.host("a", &["x"]).await;
    // There, and of no use.
    room.host("other", &["y"]).await;
    let id = room.submit(&["x"]).await;
    room.claim("a").await;
    comes_back_with_nothing(&room, "a").await;
    let poll = room.later("/v1/hosts/a/claim", json!({"max": 1, "waitMs": 30000}));
    // Long before the time of a lease is over.
    let got = timeout(SOON, poll).await.expect("it has it again").unwrap();
    assert_eq!(got["jobs"][0]["id"], *id);
    assert_eq!(got["jobs"][0]["attempts"], 2);
    room.stop().await;
}

#[tokio::test]
async fn another_host_goes_first_for_as_long_as_it_is_there() {
    let room = Room::open().await;
    for host in ["a", "b"] {
        room.host(host, &["x"]).await;
    }
    let id = room.submit(&["x"]).await;
    let path = format!("/v1/jobs/{id}/explain");
    room.claim("a").await;
    comes_back_with_nothing(&room, "a").await;
    let why = async || room.get(&path).await.ok()["hosts"][0]["why"].clone();
    assert_eq!(
        why().await,
        "it lost the last try: others go first for a while"
    );
    // Longer than it takes to look who is there.
    let got = room
        .post("/v1/hosts/a/claim", json!({"max": 1, "waitMs": 3000}))
        .await
        .ok();
    assert_eq!(got["jobs"], json!([]));
    room.post("/v1/hosts/b/drain", json!({})).await.ok();
    assert_eq!(why().await, "it can take the job");
    let poll = room.later("/v1/hosts/a/claim", json!({"max": 1, "waitMs": 30000}));
    let got = timeout(SOON, poll).await.expect("it has it again").unwrap();
    assert_eq!(got["jobs"][0]["id"], *id);
    let released = json!({"leases": [lease(&got["jobs"][0])]});
    room.post("/v1/hosts/a/release", released).await.ok();
    room.stop().await;
}
