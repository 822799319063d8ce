//! Leaders change: nothing that was acknowledged is lost, and whoever asks again gets the same.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use crate::harness::{Begins, Got, Net, SOON, done, id, job, until};

/// Asks for a job through `at` until there is one, as a host does. What one request gives may have been lost with a
/// leader; then the next one gives another.
fn polls(net: &Net, at: usize) -> JoinHandle<Value> {
    let (client, base) = (net.members[at].client.clone(), net.members[at].base.clone());
    tokio::spawn(async move {
        for number in 0.. {
            let request = client
                .post(format!("{base}/v1/hosts/h/claim"))
                .header("x-idempotency-key", format!("poll-{number}"))
                .body(json!({"max": 1, "waitMs": 30_000}).to_string());
            let got = Got::of(request).await;
            if let Some(job) = got.body["jobs"].get(0) {
                return job.clone();
            }
            assert!([200, 503].contains(&got.status.as_u16()), "{}", got.body);
        }
        unreachable!("numbers do not end")
    })
}

#[tokio::test]
async fn a_job_that_comes_while_the_leader_dies_is_given_to_whoever_waits() {
    let mut net = Net::three().await;
    let (leader, one, other) = net.roles().await;
    net.members[one].host("h").await;
    let waiting = polls(&net, one);
    let first = net.members[other].submit().await;
    net.members[leader].kill().await;
    let second = patiently(async || net.members[other].post_keyed("/v1/jobs", "s", job()).await);
    let second = id(&second.await);
    // The first may be lost with the answer that gave it, until the host says that it does not have it.
    let given = timeout(SOON * 3, waiting)
        .await
        .expect("it is given one")
        .unwrap();
    let given = given["id"].as_str().unwrap();
    assert!(
        [first.as_str(), second.as_str()].contains(&given),
        "{given}"
    );
}

#[tokio::test]
async fn a_wait_that_is_open_when_the_leader_dies_gets_the_next_job() {
    let mut net = Net::three().await;
    let (leader, one, other) = net.roles().await;
    let registered = net.members[one].host("h").await["host"].clone();
    let waiting = polls(&net, one);
    until(async || seen(&net, leader).await["lastSeenAt"] != registered["lastSeenAt"]).await;
    net.members[leader].kill().await;
    let next = net.leader().await;
    // A new leader knows of no host before it is heard of.
    until(async || seen(&net, next).await["state"] == "live").await;
    let submitted = net.members[other].submit().await;
    let got = timeout(SOON, waiting).await.expect("it is given").unwrap();
    assert_eq!(got["id"], submitted.as_str());
}

#[tokio::test]
async fn who_asked_without_a_key_is_told_that_it_may_have_been_done() {
    let mut net = Net::three().await;
    let (leader, one, _) = net.roles().await;
    let registered = net.members[one].host("h").await["host"].clone();
    let (client, base) = (
        net.members[one].client.clone(),
        net.members[one].base.clone(),
    );
    let waiting = tokio::spawn(async move {
        let body = json!({"max": 1, "waitMs": 30_000}).to_string();
        Got::of(client.post(format!("{base}/v1/hosts/h/claim")).body(body)).await
    });
    until(async || seen(&net, leader).await["lastSeenAt"] != registered["lastSeenAt"]).await;
    net.members[leader].kill().await;
    let got = timeout(SOON, waiting).await.expect("it ends").unwrap();
    assert_eq!(got.header("retry-after"), Some("1"));
    let text = got.refused(503, "no_leader");
    assert!(text.contains("may have been done"), "{text}");
}

/// Asks until it is answered well. Nobody refuses before the time is over that a leader may take.
async fn patiently(ask: impl AsyncFn() -> Got) -> Value {
    loop {
        let began = Instant::now();
        let got = ask().await;
        if got.status == 200 {
            return got.body;
        }
        assert_eq!(got.status, 503, "{}", got.body);
        assert!(began.elapsed() >= Duration::from_secs(4), "{}", got.body);
    }
}

/// Returns what a member says of the host.
async fn seen(net: &Net, at: usize) -> Value {
    net.members[at].get("/v1/hosts/h").await.body["host"].clone()
}

#[tokio::test]
async fn a_claim_that_is_repeated_after_the_change_gives_the_same_lease() {
    let mut net = Net::three().await;
    let (leader, one, other) = net.roles().await;
    net.members[one].host("h").await;
    net.members[one].submit().await;
    net.members[one].submit().await;
    let path = "/v1/hosts/h/claim";
    let body = json!({"max": 1});
    let first = net.members[leader]
        .post_keyed(path, "c-1", body.clone())
        .await;
    let first = first.ok()["jobs"][0].clone();
    let submitted = net.members[leader]
        .post_keyed("/v1/jobs", "s-1", job())
        .await;
    let submitted = id(&submitted.ok());
    let complete = format!("/v1/jobs/{}/complete", first["id"].as_str().unwrap());
    net.members[leader].kill().await;
    let claims = async || {
        net.members[other]
            .post_keyed(path, "c-1", body.clone())
            .await
    };
    let again = patiently(claims).await["jobs"][0].clone();
    assert_eq!(
        (&again["id"], &again["leaseToken"]),
        (&first["id"], &first["leaseToken"])
    );
    let same = net.members[one].post_keyed("/v1/jobs", "s-1", job()).await;
    assert_eq!(id(&same.ok()), submitted);
    // The lease still counts, and a repeated report of it does, too.
    for member in [one, other] {
        let ended = net.members[member]
            .post_keyed(&complete, "d-1", done(&first, "h"))
            .await;
        assert_eq!(ended.ok()["job"]["status"], "completed");
    }
    // The old leader comes back as one of the others and knows all of it.
    net.members[leader].start(Begins::AsItWas).await;
    until(async || {
        let got = net.members[leader]
            .get(&format!("/v1/jobs/{submitted}"))
            .await;
        got.status == 200
    })
    .await;
}

#[tokio::test]
async fn leases_get_a_fresh_full_time_from_a_new_leader() {
    let mut net = Net::with(3, |settings| settings.lease_for = Duration::from_secs(40)).await;
    let (leader, one, other) = net.roles().await;
    net.members[one].host("h").await;
    net.members[one].submit().await;
    let claimed = net.members[one].claim("h").await;
    net.members[leader].kill().await;
    net.leader().await;
    let path = format!("/v1/jobs/{}", claimed["id"].as_str().unwrap());
    let job = net.members[other].get(&path).await.ok()["job"].clone();
    assert_eq!(job["status"], "leased");
    let until = |job: &serde_json::Value| job["leaseExpiresAt"].as_str().unwrap().to_owned();
    assert!(until(&job) > until(&claimed), "{job} {claimed}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_while_leaders_die_under_load() {
    let mut net = Net::three().await;
    net.leader().await;
    let bases: Vec<String> = net
        .members
        .iter()
        .map(|member| member.base.clone())
        .collect();
    let stop = Arc::new(AtomicBool::new(false));
    let acknowledged = Arc::new(AtomicUsize::new(0));
    let writers = (0..8).map(|writer| {
        let (stop, count) = (Arc::clone(&stop), Arc::clone(&acknowledged));
        tokio::spawn(write(writer, bases.clone(), stop, count))
    });
    let writers: Vec<_> = writers.collect();
    for _ in 0..2 {
        let leader = net.leader().await;
        net.members[leader].kill().await;
        net.leader().await;
        net.members[leader].start(Begins::AsItWas).await;
        until(async || net.members[leader].status().leader.is_some()).await;
        let some = acknowledged.load(Ordering::SeqCst) + 20;
        until(async || acknowledged.load(Ordering::SeqCst) >= some).await;
    }
    stop.store(true, Ordering::SeqCst);
    let mut acknowledged = Vec::new();
    for writer in writers {
        acknowledged.extend(writer.await.unwrap());
    }
    let leader = net.leader().await;
    let state = net.members[leader].get("/v1/state").await.ok();
    let jobs = state["jobs"].as_array().unwrap();
    let there: HashSet<&str> = jobs.iter().map(|job| job["id"].as_str().unwrap()).collect();
    let distinct: HashSet<&String> = acknowledged.iter().collect();
    assert_eq!(
        distinct.len(),
        acknowledged.len(),
        "no two keys share a job"
    );
    for id in &acknowledged {
        assert!(there.contains(id.as_str()), "{id} is lost");
    }
    assert_eq!(there.len(), acknowledged.len(), "and no key has made two");
}

/// Submits one job after the other, each until it is acknowledged. Returns their ids.
async fn write(
    writer: usize,
    bases: Vec<String>,
    stop: Arc<AtomicBool>,
    count: Arc<AtomicUsize>,
) -> Vec<String> {
    let client = crate::harness::client();
    let mut ids = Vec::new();
    let mut at = writer;
    while !stop.load(Ordering::SeqCst) {
        let key = format!("{writer}-{}", ids.len());
        loop {
            let base = &bases[at % bases.len()];
            let request = client
                .post(format!("{base}/v1/jobs"))
                .header("x-idempotency-key", &key)
                .body(job().to_string());
            match request.send().await {
                Ok(answer) if answer.status() == 200 => {
                    let text = answer.text().await.unwrap();
                    ids.push(id(&serde_json::from_str(&text).unwrap()));
                    count.fetch_add(1, Ordering::SeqCst);
                    break;
                }
                Ok(answer) => {
                    assert_eq!(answer.status(), 503);
                    at += 1;
                }
                // Dead, or died just now.
                Err(_) => at += 1,
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    ids
}

#[tokio::test]
async fn a_client_of_a_follower_sees_the_death_of_a_leader_only_as_a_delay() {
    let mut net = Net::three().await;
    let (leader, one, other) = net.roles().await;
    net.members[one].host("h").await;
    net.members[leader].kill().await;
    // At once, while nobody leads: with a key, and as a read.
    tokio::join!(
        patiently(async || net.members[one].post_keyed("/v1/jobs", "k", job()).await),
        patiently(async || net.members[other].get("/v1/hosts").await),
    );
    // Nor is one without a key lost that was not sent yet.
    patiently(async || net.members[one].post("/v1/jobs", job()).await).await;
}

#[tokio::test]
async fn without_a_majority_everything_says_so_in_time() {
    let mut net = Net::three().await;
    let (leader, one, other) = net.roles().await;
    net.members[one].host("h").await;
    let own = "/v1/state?consistency=local";
    until(async || net.members[one].get(own).await.body["hosts"][0]["id"] == "h").await;
    net.members[leader].kill().await;
    net.members[other].kill().await;
    let began = std::time::Instant::now();
    let left = &net.members[one];
    let (write, read) = tokio::join!(left.post("/v1/jobs", job()), left.get("/v1/jobs"));
    assert!(began.elapsed() < Duration::from_secs(30));
    for got in [write, read] {
        assert_eq!(got.header("retry-after"), Some("1"));
        got.refused(503, "no_leader");
    }
    left.get("/health").await.ok();
    left.get("/v1/network/peers").await.ok();
    let hosts = left.get(own).await.ok()["hosts"].clone();
    assert_eq!(hosts[0]["id"], "h");
}
