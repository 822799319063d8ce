//! Leases: who holds them, how they go on, and what ends them.

use std::time::Duration;

use serde_json::{Value, json};
use skyclaw::support::clock::{Clock, SystemClock, Timestamp};
use tokio::time::{Instant, sleep};

use crate::harness::{Room, done, lease};

const SHORT: Duration = Duration::from_millis(900);

async fn short() -> Room {
    Room::with(|settings| settings.lease_for = SHORT).await
}

#[tokio::test]
async fn heartbeats_of_an_old_host_keep_its_long_job() {
    let room = short().await;
    room.host("old", &["shell"]).await;
    let id = room.submit(&["shell"]).await;
    room.claim("old").await;
    let end = Instant::now() + SHORT * 4;
    while Instant::now() < end {
        room.post("/v1/hosts/old/heartbeat", json!({"activeLeases": 1}))
            .await
            .ok();
        sleep(SHORT / 6).await;
    }
    let body = json!({"hostId": "old", "success": true, "durationMs": 1, "exitCode": 0, "stdout": "", "stderr": ""});
    let got = room
        .post(&format!("/v1/jobs/{id}/complete"), body)
        .await
        .ok();
    assert_eq!(
        (&got["job"]["status"], &got["job"]["attempts"]),
        (&json!("completed"), &json!(1))
    );
    room.stop().await;
}

#[tokio::test]
async fn a_host_whose_lease_ran_out_is_not_wedged() {
    let room = short().await;
    let body = json!({"name": "old", "hostId": "old", "capabilities": ["shell"], "maxParallel": 1});
    room.post("/v1/hosts/register", body).await.ok();
    let id = room.submit(&["shell"]).await;
    room.claim("old").await;
    assert_eq!(room.claim("old").await, Value::Null, "it is full");
    room.until(async |room| room.job(&id).await["status"] == "queued")
        .await;
    // What it believes does not count.
    let beat = room
        .post("/v1/hosts/old/heartbeat", json!({"activeLeases": 1}))
        .await
        .ok();
    assert_eq!(beat["host"]["activeLeases"], 0);
    let other = room.submit(&["shell"]).await;
    room.until(async |room| room.claim("old").await["id"] == *other)
        .await;
    room.stop().await;
}

#[tokio::test]
async fn a_stale_lease_is_refused_and_its_result_kept_aside() {
    let room = short().await;
    room.host("a", &["shell"]).await;
    room.host("b", &["shell"]).await;
    let id = room.submit(&["shell"]).await;
    let first = room.claim("a").await;
    room.until(async |room| room.claim("b").await["id"] == *id)
        .await;
    let path = format!("/v1/jobs/{id}/complete");
    room.post(&path, done(&first, "a"))
        .await
        .refused(409, "lease_lost");
    let beat = room
        .post("/v1/hosts/a/heartbeat", json!({"leases": [lease(&first)]}))
        .await
        .ok();
    assert_eq!(beat["leases"][0]["state"], "lost");
    let attempts = room.get(&format!("/v1/jobs/{id}/attempts")).await.ok();
    assert_eq!(attempts["strays"][0]["stdout"], "hi\n");
    room.stop().await;
}

#[tokio::test]
async fn leases_that_never_arrived_go_back() {
    let room = Room::open().await;
    room.host("a", &["shell"]).await;
    let ids = [room.submit(&["shell"]).await, room.submit(&["shell"]).await];
    let kept = room.claim("a").await;
    room.claim("a").await;
    let beat = json!({"leases": [lease(&kept)]});
    let fresh = room.post("/v1/hosts/a/heartbeat", beat.clone()).await.ok();
    assert_eq!(
        fresh["host"]["activeLeases"], 2,
        "it may still be on its way"
    );
    room.until(async |room| {
        room.post("/v1/hosts/a/heartbeat", beat.clone()).await.ok();
        room.job(&ids[1]).await["status"] == "queued"
    })
    .await;
    assert_eq!(room.job(&ids[0]).await["status"], "leased");
    let attempts = room
        .get(&format!("/v1/jobs/{}/attempts", ids[1]))
        .await
        .ok();
    assert_eq!(attempts["attempts"][0]["end"], "released");
    room.stop().await;
}

#[tokio::test]
async fn a_restart_keeps_hosts_and_leases() {
    let room = short().await;
    room.host("a", &["shell"]).await;
    let id = room.submit(&["shell"]).await;
    let job = room.claim("a").await;
    let dir = room.stop().await;
    let room = Room::at(dir, |settings| settings.lease_for = SHORT).await;
    let hosts = room.get("/v1/hosts").await.ok();
    assert_eq!(
        (
            &hosts["hosts"][0]["state"],
            &hosts["hosts"][0]["activeLeases"]
        ),
        (&json!("down"), &json!(1))
    );
    let beat = room
        .post("/v1/hosts/a/heartbeat", json!({"leases": [lease(&job)]}))
        .await
        .ok();
    assert_eq!(beat["leases"][0]["state"], "held");
    assert_eq!(beat["host"]["state"], "live");
    let got = room
        .post(&format!("/v1/jobs/{id}/complete"), done(&job, "a"))
        .await
        .ok();
    assert_eq!(got["job"]["attempts"], 1);
    room.stop().await;
}

#[tokio::test]
async fn a_batch_of_reports_stands_one_by_one() {
    let room = Room::open().await;
    room.host("a", &["shell"]).await;
    for _ in 0..3 {
        room.submit(&["shell"]).await;
    }
    let jobs = room.post("/v1/hosts/a/claim", json!({"max": 3})).await.ok()["jobs"].clone();
    let report = |job: &Value, success: bool| {
        let mut one = lease(job);
        one["success"] = json!(success);
        one["result"] = json!({"durationMs": 1, "exitCode": if success {0} else {3}, "stdout": "", "stderr": ""});
        one
    };
    let mut forged = report(&jobs[2], true);
    forged["leaseToken"] = json!("00000000000000000000000000000000");
    let many = json!({"completions": [report(&jobs[0], true), forged, report(&jobs[1], false)]});
    let got = room.post("/v1/hosts/a/complete", many).await.ok();
    let outcomes: Vec<&Value> = got["results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| &one["outcome"])
        .collect();
    assert_eq!(outcomes, ["ended", "lease_lost", "ended"]);
    assert_eq!(got["results"][2]["reason"], "exit");
    assert_eq!(
        room.job(jobs[2]["id"].as_str().unwrap()).await["status"],
        "leased"
    );
    let host = room.get("/v1/hosts/a").await.ok();
    assert_eq!(host["host"]["activeLeases"], 1);
    room.stop().await;
}

#[tokio::test]
async fn an_old_host_whose_completion_was_lost_goes_on_working() {
    let room = short().await;
    let body = json!({"name": "old", "hostId": "old", "capabilities": ["shell"], "maxParallel": 1});
    room.post("/v1/hosts/register", body).await.ok();
    let first = room.submit(&["shell"]).await;
    let second = room.submit(&["shell"]).await;
    assert_eq!(room.claim("old").await["id"], *first);
    // Its one completion never arrives. It never lowers its number, and asks for more.
    assert_eq!(room.claim("old").await["id"], *second, "it is not full");
    let end = Instant::now() + SHORT * 3;
    while Instant::now() < end {
        room.post("/v1/hosts/old/heartbeat", json!({"activeLeases": 2}))
            .await
            .ok();
        sleep(SHORT / 6).await;
    }
    assert_eq!(room.job(&first).await["status"], "queued");
    let job = room.job(&second).await;
    assert_eq!(
        (&job["status"], &job["attempts"]),
        (&json!("leased"), &json!(1))
    );
    room.stop().await;
}

#[tokio::test]
async fn an_old_host_that_only_asks_on_does_not_keep_what_it_lost() {
    let room = short().await;
    let body = json!({"name": "old", "hostId": "old", "capabilities": ["shell"], "maxParallel": 4});
    room.post("/v1/hosts/register", body).await.ok();
    let id = room.submit(&["shell"]).await;
    room.claim("old").await;
    let end = Instant::now() + crate::harness::SOON;
    while room.job(&id).await["status"] != "queued" {
        assert!(Instant::now() < end, "its job is kept for ever");
        room.post("/v1/hosts/old/heartbeat", json!({"activeLeases": 1}))
            .await
            .ok();
        room.claim("old").await;
        sleep(SHORT / 6).await;
    }
    room.stop().await;
}

#[tokio::test]
async fn a_late_completion_counts_while_the_lease_stands() {
    let room = Room::open().await;
    room.host("old", &["shell"]).await;
    let id = room.submit(&["shell"]).await;
    room.claim("old").await;
    assert_eq!(room.claim("old").await, Value::Null);
    let body = json!({"hostId": "old", "success": true, "durationMs": 1, "exitCode": 0, "stdout": "", "stderr": ""});
    let got = room
        .post(&format!("/v1/jobs/{id}/complete"), body)
        .await
        .ok();
    assert_eq!(got["job"]["status"], "completed");
    room.stop().await;
}

#[tokio::test]
async fn a_host_that_names_its_leases_is_held_to_its_slots() {
    let room = Room::open().await;
    let body = json!({"name": "a", "hostId": "a", "capabilities": ["shell"], "maxParallel": 1, "leases": []});
    room.post("/v1/hosts/register", body).await.ok();
    room.submit(&["shell"]).await;
    room.submit(&["shell"]).await;
    assert_ne!(room.claim("a").await, Value::Null);
    assert_eq!(room.claim("a").await, Value::Null, "it is full");
    room.stop().await;
}

#[tokio::test]
async fn a_completion_after_the_lease_counts_while_the_job_waits_again() {
    let room = short().await;
    room.host("a", &["shell"]).await;
    let old = json!({"hostId": "a", "success": true, "durationMs": 1, "exitCode": 0, "stdout": "kept", "stderr": ""});
    for named in [false, true] {
        let id = room.submit(&["shell"]).await;
        let job = room.claim("a").await;
        room.until(async |room| room.job(&id).await["status"] == "queued")
            .await;
        let path = format!("/v1/jobs/{id}/complete");
        // Another host cannot speak for it.
        room.host("b", &[]).await;
        let mut other = old.clone();
        other["hostId"] = json!("b");
        let refused = room.post(&path, other).await.refused(409, "lease_lost");
        assert_eq!(refused, format!("job {id} is assigned to nobody"));
        let body = if named { done(&job, "a") } else { old.clone() };
        let got = room.post(&path, body).await.ok();
        let job = &got["job"];
        assert_eq!(
            (&job["status"], &job["attempts"]),
            (&json!("completed"), &json!(1))
        );
        let attempts = room.get(&format!("/v1/jobs/{id}/attempts")).await.ok();
        assert_eq!(
            attempts["attempts"].as_array().unwrap().len(),
            1,
            "{attempts}"
        );
    }
    room.stop().await;
}

#[tokio::test]
async fn a_cancel_leaves_a_day_at_most() {
    let room = Room::open().await;
    room.host("a", &["shell"]).await;
    let id = room.submit(&["shell"]).await;
    room.claim("a").await;
    let body = json!({"graceMs": u64::MAX});
    room.post(&format!("/v1/jobs/{id}/cancel"), body).await.ok();
    let until = room.job(&id).await["leaseExpiresAt"].clone();
    let until: Timestamp = serde_json::from_value(until).unwrap();
    assert!(until < SystemClock.now().plus(Duration::from_secs(25 * 60 * 60)));
    room.stop().await;
}
