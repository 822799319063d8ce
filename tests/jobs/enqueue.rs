//! Asking for jobs.

use serde_json::{Value, json};

use crate::place::Place;

fn payload(place: &Place, id: &str) -> Value {
    place.coordinator.get(&format!("/v1/jobs/{id}"))["job"]["payload"].clone()
}

#[test]
fn what_stands_after_the_command_is_the_commands() {
    let place = Place::quiet();
    let id = place.says(&[
        "enqueue-shell",
        "--priority",
        "-7",
        "--require",
        "gpu",
        "--label",
        "zone=eu",
        "--on-host",
        "web*",
        "--timeout",
        "90",
        "--env",
        "A=b=c",
        "--cwd",
        "/srv",
        "bash",
        "-lc",
        "echo $1",
        "--wait",
        "--json",
    ]);
    assert!(id.starts_with("job_") && id.lines().count() == 1, "{id}");
    let job = &place.coordinator.get(&format!("/v1/jobs/{id}"))["job"];
    assert_eq!(
        job["payload"],
        json!({"kind": "shell", "command": "bash", "args": ["-lc", "echo $1", "--wait", "--json"],
               "cwd": "/srv", "env": {"A": "b=c"}, "timeoutMs": 90_000})
    );
    assert_eq!(
        job["requirement"],
        json!({"requiredCapabilities": ["gpu", "shell"], "labels": {"zone": "eu"}, "hosts": ["web*"]})
    );
    assert_eq!(job["priority"], -7);
}

#[test]
fn each_kind_has_its_verb_and_its_capability() {
    let place = Place::quiet();
    let cases = [
        (
            &["enqueue-automaton", "--run"][..],
            json!({"kind": "automaton-run", "args": ["--run"]}),
            "automaton",
        ),
        (
            &[
                "enqueue-openclaw",
                "--message",
                "hi",
                "agent",
                "exec",
                "--json",
            ],
            json!({"kind": "openclaw-run", "args": ["agent", "exec", "--json"], "message": "hi"}),
            "openclaw",
        ),
        (
            &["enqueue-openclaw"],
            json!({"kind": "openclaw-run"}),
            "openclaw",
        ),
        (
            &["enqueue-picoclaw", "--session", "s", "say hi"],
            json!({"kind": "picoclaw-task", "message": "say hi", "session": "s"}),
            "picoclaw",
        ),
        (
            &["job", "submit", "sh", "-c", "true"],
            json!({"kind": "shell", "command": "sh", "args": ["-c", "true"]}),
            "shell",
        ),
    ];
    for (args, wanted, capability) in cases {
        let id = place.says(args);
        assert_eq!(payload(&place, &id), wanted, "{args:?}");
        let job = &place.coordinator.get(&format!("/v1/jobs/{id}"))["job"];
        let capabilities = &job["requirement"]["requiredCapabilities"];
        assert_eq!(capabilities, &json!([capability]), "{args:?}");
    }
}

#[test]
fn the_same_key_asks_once() {
    let place = Place::quiet();
    let args = ["enqueue-shell", "--idempotency-key", "order-17", "true"];
    assert_eq!(place.says(&args), place.says(&args));
    let other = ["enqueue-shell", "--idempotency-key", "order-17", "false"];
    let refused = place.run(&other).expect_code(1);
    assert!(refused.err().contains("idempotency key"), "{refused}");
}

#[test]
fn several_jobs_are_one_group_and_each_gets_its_part() {
    let place = Place::working();
    let done = place.run(&[
        "enqueue-shell",
        "--array",
        "1-3",
        "--wait",
        "--json",
        "sh",
        "-c",
        "echo $SKYCLAW_ARRAY_INDEX-{item}",
    ]);
    let body = done.expect_code(0).json();
    assert_eq!(body["ids"].as_array().unwrap().len(), 3);
    let printed: Vec<&str> = body["jobs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|job| job["result"]["stdout"].as_str().unwrap())
        .collect();
    assert_eq!(printed, ["1-1\n", "2-2\n", "3-3\n"]);
    let group = body["group"].as_str().unwrap();
    let listed = place.says(&["job", "list", "--group", group, "--status", "completed"]);
    assert_eq!(listed.lines().count(), 4, "{listed}");
    std::fs::write(place.path().join("lines"), "a b\n\nc\n").unwrap();
    std::fs::write(place.path().join("list.json"), r#"["x", {"n": 1}]"#).unwrap();
    for (flag, file, wanted) in [
        ("--each-line", "lines", ["a b", "c"]),
        ("--from-json", "list.json", ["x", r#"{"n":1}"#]),
    ] {
        let ids = place.says(&["enqueue-shell", flag, file, "sh", "-c", "true", "{item}"]);
        let last: Vec<Value> = ids
            .lines()
            .map(|id| payload(&place, id)["args"][2].clone())
            .collect();
        assert_eq!(last, wanted, "{flag}");
    }
}

#[test]
fn the_rest_of_a_group_goes_after_so_many_failures() {
    let place = Place::working();
    let done = place
        .run(&[
            "enqueue-shell",
            "--array",
            "1-5",
            "--max-fails",
            "1",
            "--wait",
            "--json",
            "sh",
            "-c",
            "[ {index} = 1 ] && exit 1; sleep 100",
        ])
        .expect_code(1)
        .json();
    let reasons: Vec<&str> = done["jobs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|job| job["reason"].as_str().unwrap())
        .collect();
    assert_eq!(reasons[0], "exit");
    assert!(
        reasons[1..].iter().all(|reason| *reason == "cancelled"),
        "{reasons:?}"
    );
}

#[test]
fn jobs_come_from_a_file() {
    let place = Place::quiet();
    let job = json!({"payload": {"kind": "shell", "command": "true"}, "priority": 3});
    let forms = [
        (job.clone(), 1),
        (json!([job, job]), 2),
        (
            json!({"jobs": [job], "group": {"title": "t", "maxFails": 2}}),
            1,
        ),
    ];
    for (form, count) in forms {
        std::fs::write(place.path().join("jobs.json"), form.to_string()).unwrap();
        let ids = place.says(&["job", "submit", "--file", "jobs.json"]);
        assert_eq!(ids.lines().count(), count, "{form}");
    }
    for bad in ["{}", "[]", "{", r#"[{"priority": 1}]"#] {
        std::fs::write(place.path().join("jobs.json"), bad).unwrap();
        let refused = place
            .run(&["job", "submit", "--file", "jobs.json"])
            .expect_code(2);
        assert!(
            refused.err().contains("jobs.json") || bad == "[]",
            "{refused}"
        );
    }
    place
        .run(&["job", "submit", "--file", "jobs.json", "--priority", "1"])
        .expect_code(2);
}

#[test]
fn wrong_flags_are_said_before_anybody_is_asked() {
    let place = Place::quiet();
    for args in [
        &["enqueue-shell"][..],
        &["enqueue-shell", "--priority", "101", "true"],
        &["enqueue-shell", "--array", "3-1", "true"],
        &[
            "enqueue-shell",
            "--array",
            "1-2",
            "--each-line",
            "x",
            "true",
        ],
        &["enqueue-shell", "--max-fails", "1", "true"],
        &[
            "enqueue-shell",
            "--delay",
            "1s",
            "--at",
            "2026-01-01T00:00:00Z",
            "true",
        ],
        &["enqueue-shell", "--start-by", "tomorrow", "true"],
        &["enqueue-shell", "--env", "1A=x", "true"],
        &["enqueue-shell", "--follow", "--array", "1-2", "true"],
        &["enqueue-picoclaw", "--cwd", "/", "hi"],
        &["job", "wait"],
        &["job", "show", "job_7"],
    ] {
        place.run(args).expect_code(2);
    }
    assert_eq!(place.coordinator.get("/v1/queue")["counts"]["queued"], 0);
}
