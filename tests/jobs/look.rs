//! Looking at jobs, hosts and the queue, and deciding about them.

use serde_json::Value;

use crate::place::{Place, SOON};

#[test]
fn jobs_are_listed_shown_explained_cancelled_and_asked_for_again() {
    let place = Place::working();
    let id = place.says(&["enqueue-shell", "--require", "gpu", "sh", "-c", "true"]);
    let list = place.says(&["job", "list", "--status", "queued"]);
    let row = list.lines().nth(1).unwrap();
    assert!(
        row.starts_with(&id) && row.ends_with("sh -c true"),
        "{list}"
    );
    let why = place.says(&["job", "explain", &id]);
    assert!(why.contains("lab\tno\t") && why.contains("gpu"), "{why}");
    let shown = place.says(&["job", "show", id.trim_start_matches("job_")]);
    assert!(shown.contains("gpu, shell"), "{shown}");
    let cancelled = place.says(&["job", "cancel", &id, "--reason", "no gpu here"]);
    assert_eq!(cancelled, format!("{id} cancelled"));
    let again = place.says(&["job", "cancel", &id]);
    assert!(again.ends_with("had ended before"), "{again}");
    let result = place.run(&["job", "result", &id]).expect_code(1);
    assert!(result.err().contains("failed/cancelled"), "{result}");
    let new = place.says(&["job", "retry", &id]);
    assert_ne!(new, id);
    let not_ended = place.run(&["job", "retry", &new]).expect_code(1);
    assert!(not_ended.err().contains("has not ended"), "{not_ended}");
    let nobody = "job_00000000-0000-4000-8000-000000000000";
    for verb in [
        "show", "wait", "result", "logs", "explain", "cancel", "retry",
    ] {
        let unknown = place.run(&["job", verb, nobody]).expect_code(1);
        assert!(unknown.out().is_empty(), "{unknown}");
    }
}

#[test]
fn a_running_job_is_cancelled() {
    let place = Place::working();
    let waiting = place.start(&["enqueue-shell", "-F", "sh", "-c", "echo up; sleep 100"]);
    waiting.wait_for_line("up", SOON);
    let id = waiting.stderr_so_far();
    let id = id.trim().trim_start_matches("skyclaw: ").to_owned();
    let told = place.says(&["job", "cancel", "--grace", "1s", &id]);
    assert!(told.contains("its host is told"), "{told}");
    let done = waiting.wait(SOON);
    assert!(done.err().contains("failed/cancelled"), "{done}");
    assert_ne!(done.code, 0);
}

#[test]
fn dead_jobs_are_found() {
    let place = Place::working();
    let id = place
        .run(&["enqueue-shell", "--wait", "sh", "-c", "exit 5"])
        .expect_code(5);
    let failed = place.says(&["job", "list", "--reason", "exit", "--ndjson"]);
    let event: Value = serde_json::from_str(&failed).unwrap();
    assert_eq!(
        (&event["schema"], &event["event"]),
        (&1.into(), &"job".into())
    );
    assert_eq!(event["job"]["id"], id.out().trim());
    let dead = place
        .run(&["job", "list", "--dead", "--json"])
        .expect_code(0);
    assert_eq!(dead.json()["jobs"], serde_json::json!([]));
}

#[test]
fn hosts_are_listed_and_drained() {
    let mut place = Place::working();
    place.add_host("web1");
    let list = place.says(&["host", "list"]);
    assert_eq!(list.lines().count(), 3, "{list}");
    assert_eq!(place.says(&["host", "drain", "lab"]), "lab live, draining");
    // Only the other one takes it.
    let job = place.run(&["enqueue-shell", "--wait", "--json", "sh", "-c", "true"]);
    assert_eq!(job.expect_code(0).json()["job"]["status"], "completed");
    assert_eq!(place.says(&["host", "pause", "w*"]), "web1 live, paused");
    let id = place.says(&["enqueue-shell", "sh", "-c", "true"]);
    let why = place.says(&["job", "explain", &id]);
    assert!(why.contains("drain") && why.contains("pause"), "{why}");
    let both = place
        .run(&["host", "resume", "web1", "--json"])
        .expect_code(0);
    assert_eq!(both.json()["hosts"][0]["mode"], "active");
    place.run(&["job", "wait", &id]).expect_code(0);
    let shown = place.says(&["host", "show", "lab"]);
    assert!(shown.contains("live, draining"), "{shown}");
    let unknown = place.run(&["host", "drain", "nobody"]).expect_code(2);
    assert!(unknown.err().contains("no host `nobody`"), "{unknown}");
}

#[test]
fn a_paused_queue_gives_nothing_out() {
    let place = Place::working();
    place.says(&["queue", "pause"]);
    let id = place.says(&["enqueue-shell", "sh", "-c", "true"]);
    let state = place
        .run(&["queue", "show", "--json"])
        .expect_code(0)
        .json();
    assert_eq!(
        (&state["paused"], &state["counts"]["queued"]),
        (&true.into(), &1.into())
    );
    place.says(&["queue", "resume"]);
    place.run(&["job", "wait", &id]).expect_code(0);
}

#[test]
fn events_are_told_and_resumed() {
    let place = Place::working();
    let listening = place.start(&["events", "--ndjson"]);
    // Whatever happened before is not told, so somebody has to ask until the listener is there.
    crate::common::eventually(SOON, || {
        place.says(&["enqueue-shell", "sh", "-c", "true"]);
        let told = listening.stdout_so_far();
        told.lines().count() > 2 && told.contains("job-ended")
    });
    listening.interrupt();
    let told = listening.wait(SOON).expect_code(130).out();
    let first: Value = serde_json::from_str(told.lines().next().unwrap()).unwrap();
    let second: Value = serde_json::from_str(told.lines().nth(1).unwrap()).unwrap();
    let after = first["id"].as_str().unwrap();
    let again = place.says(&["events", "--after", after, "-n", "1", "--ndjson"]);
    assert_eq!(serde_json::from_str::<Value>(&again).unwrap(), second);
}
