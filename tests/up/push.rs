//! Jobs that are pushed: what runs, what comes back, and what ends them.

use std::collections::BTreeSet;

use serde_json::json;
use skyclaw::client::LogQuery;
use skyclaw::protocol::api::CancelJobs;
use skyclaw::protocol::{JobStatus, Reason, Requirement};

use crate::common::{eventually, scan_files};
use crate::place::{Place, SOON, error, job, out, shell};

#[test]
fn what_a_job_prints_and_how_it_ends_comes_back() {
    let Some(place) = Place::ready(&["web1"], 2) else {
        return;
    };
    let fine = place.wait(place.sh(None, "printf 'a\\377\\000b\\n'; echo oops >&2"));
    assert_eq!(fine.status, JobStatus::Completed, "{fine:?}");
    let result = fine.result.unwrap();
    assert_eq!(result.stdout.bytes, b"a\xff\0b\n");
    assert_eq!(result.stderr.bytes, b"oops\n");
    assert_eq!(
        (result.exit_code, result.detail.as_deref()),
        (Some(0), Some("ok"))
    );

    let bad = place.wait(place.sh(Some("web1"), "exit 7"));
    assert_eq!(
        (bad.status, bad.reason),
        (JobStatus::Failed, Some(Reason::Exit))
    );
    assert_eq!(bad.result.unwrap().exit_code, Some(7));

    let killed = place.wait(place.sh(None, "kill -9 $$"));
    let result = killed.result.unwrap();
    assert_eq!((result.exit_code, result.signal), (Some(137), Some(9)));

    let big = place.wait(place.sh(None, "seq 1 200000"));
    let stdout = big.result.unwrap().stdout;
    assert!(
        stdout.truncated && stdout.total == 1_288_895,
        "{}",
        stdout.total
    );
    assert!(stdout.bytes.starts_with(b"1\n2\n") && stdout.bytes.ends_with(b"199999\n200000\n"));
}

#[test]
fn environment_and_directory_are_the_jobs_or_the_hosts() {
    let Some(mut place) = Place::with(&["web1"], 1) else {
        return;
    };
    let (own, other) = (place.file("own"), place.file("other dir"));
    for dir in [&own, &other] {
        std::fs::create_dir_all(dir).unwrap();
    }
    place.fleet(&["web1"], |host| {
        host.with("workdir", own.as_str())
            .with("env", json!({ "A": "host", "B": "host" }))
    });
    place.up(&[]);
    place.wait_for_hosts(1);
    let script = "echo $A $B \"$C\"; pwd";
    let plain = place.wait(place.sh(None, script));
    assert_eq!(out(&plain), format!("host host \n{own}\n"));
    let payload = json!({
        "kind": "shell", "command": "sh", "args": ["-c", script],
        "cwd": other, "env": { "B": "job", "C": "it's \"q\" $x" },
    });
    let given = place.wait(place.submit(None, payload));
    assert_eq!(out(&given), format!("host job it's \"q\" $x\n{other}\n"));
    let gone = json!({ "kind": "shell", "command": "true", "cwd": "/no/such/place" });
    let gone = place.wait(place.submit(None, gone));
    assert!(error(&gone).contains("/no/such/place"), "{gone:?}");
}

#[test]
fn a_task_goes_to_the_agent_where_there_is_one() {
    let Some(mut place) = Place::with(&["web1"], 1) else {
        return;
    };
    place.up(&[]);
    place.wait_for_hosts(1);
    let task = place.submit(None, json!({ "kind": "picoclaw-task", "message": "hello" }));
    let explained = place.block_on(place.client().explain(task)).unwrap();
    assert_eq!(explained.hosts[0].why, "it lacks the capability picoclaw");
    // What was deployed is found when it is looked again.
    place.bed.install_picoclaw();
    place
        .controller
        .as_ref()
        .unwrap()
        .signal(rustix::process::Signal::HUP);
    let done = place.wait(task);
    assert_eq!(done.status, JobStatus::Completed, "{done:?}");
    assert!(out(&done).contains("hello"), "{}", out(&done));
}

#[test]
fn a_job_that_takes_too_long_or_is_taken_back_ends() {
    let Some(place) = Place::ready(&["web1"], 4) else {
        return;
    };
    let payload = json!({
        "kind": "shell", "command": "sh", "args": ["-c", "echo begun; exec sleep 600"],
        "timeoutMs": 1000,
    });
    let late = place.wait(place.submit(None, payload));
    assert_eq!(
        (late.status, late.reason),
        (JobStatus::Failed, Some(Reason::Timeout))
    );
    assert_eq!(
        (out(&late).as_str(), error(&late).as_str()),
        ("begun\n", "timed out after 1000ms")
    );

    let tidy = place.file("tidied");
    let taken = place.sh(
        None,
        &format!("trap 'touch {tidy}; exit 3' TERM; echo begun; while :; do sleep 0.05; done"),
    );
    // What a running job prints can be read while it runs.
    eventually(SOON, || {
        let logs = place.block_on(place.client().logs(taken, &LogQuery::default()));
        !logs.unwrap().pieces.is_empty()
    });
    let cancel = CancelJobs {
        ids: vec![taken],
        reason: Some("enough".into()),
        ..CancelJobs::default()
    };
    place.block_on(place.client().cancel(&cancel)).unwrap();
    let taken = place.wait(taken);
    assert_eq!(taken.reason, Some(Reason::Cancelled));
    assert_eq!(error(&taken), "cancelled: enough");
    assert!(
        std::path::Path::new(&tidy).exists(),
        "it had time to tidy up"
    );
    place.bed.assert_no_task_within(SOON);
}

#[test]
fn what_the_host_cannot_run_says_why() {
    let Some(place) = Place::ready(&["web1"], 1) else {
        return;
    };
    let nul = json!({ "kind": "shell", "command": "echo", "args": ["a\u{0}b"] });
    for (payload, why) in [
        (nul, "NUL"),
        (
            json!({ "kind": "openclaw-run", "message": "x" }),
            "does not run over SSH",
        ),
    ] {
        let done = place.wait(place.submit(None, payload));
        assert_eq!(done.reason, Some(Reason::NotAllowed), "{done:?}");
        assert!(error(&done).contains(why), "{done:?}");
    }
}

#[test]
fn two_hundred_jobs_over_four_slots() {
    let Some(place) = Place::ready(&["web1", "web2"], 2) else {
        return;
    };
    let client = place.client();
    let many = skyclaw::protocol::api::SubmitMany {
        jobs: (0..200)
            .map(|n| job(None, shell(&format!("echo {n}"))))
            .collect(),
        group: None,
    };
    let ids = place.block_on(client.submit_many(&many, None)).unwrap().ids;
    let mut hosts = BTreeSet::new();
    for (n, id) in ids.iter().enumerate() {
        let done = place.wait(*id);
        assert_eq!((out(&done), done.attempts.get()), (format!("{n}\n"), 1));
        let attempts = place.block_on(client.attempts(*id)).unwrap().attempts;
        hosts.insert(attempts[0].host.to_string());
    }
    assert_eq!(hosts.len(), 2, "both worked: {hosts:?}");
}

#[test]
fn jobs_of_a_connection_that_dies_are_lost_and_run_again() {
    let Some(place) = Place::ready(&["web1"], 2) else {
        return;
    };
    let (begun, go) = (place.file("begun"), place.file("go"));
    let script = format!("echo x >> {begun}; while [ ! -e {go} ]; do sleep 0.05; done; echo done");
    let again = place.sh(None, &script);
    let once = place.submit_job(skyclaw::protocol::api::SubmitJob {
        max_attempts: Some(1),
        requirement: Some(Requirement::pinned("web1")),
        ..job(None, shell("sleep 600"))
    });
    place.made("begun");
    eventually(SOON, || place.record(once).status == JobStatus::Leased);
    place.bed.server.drop_connections();
    let lost = place.wait(once);
    assert_eq!(lost.reason, Some(Reason::Lost), "{lost:?}");
    assert_eq!(lost.result.unwrap().detail.as_deref(), Some("lost"));
    std::fs::write(&go, "").unwrap();
    eventually(SOON, || place.record(again).status != JobStatus::Leased);
    // Others go first for the time of a lease, but there are none; it is allowed again after that.
    let record = place.record(again);
    assert!(record.attempts.get() >= 1, "{record:?}");
    place.wait_for_hosts(1);
}

#[test]
fn a_job_says_which_host_it_waits_for_and_why() {
    let Some(mut place) = Place::with(&["web1"], 1) else {
        return;
    };
    let dead = crate::common::RefusingPort::start();
    let hosts = [
        place.bed.server.fleet_host("web1"),
        crate::common::FleetHost::new("gone1", "127.0.0.1", dead.port()),
    ];
    place.bed.world.fleet(&hosts);
    place.up(&[]);
    place.wait_for_hosts(1);
    let stuck = place.sh(Some("gone1"), "true");
    let explain = |id| place.block_on(place.client().explain(id)).unwrap();
    eventually(SOON, || explain(stuck).summary.contains("refused"));
    let said = explain(stuck).summary;
    assert!(
        said.starts_with("gone1: it takes no work: unreachable: "),
        "{said}"
    );
    let nowhere = place.sh(Some("web9"), "true");
    assert_eq!(explain(nowhere).summary, "there is no host web9");
    // Nothing else suffers from it.
    assert_eq!(
        place.wait(place.sh(None, "true")).status,
        JobStatus::Completed
    );
}

#[test]
fn what_is_secret_in_a_job_is_nowhere_to_be_seen() {
    let Some(place) = Place::ready(&["web1"], 1) else {
        return;
    };
    const SECRET: &str = "sk-very-secret-4711";
    let (begun, go) = (place.file("begun"), place.file("go"));
    let payload = json!({
        "kind": "shell", "command": "sh",
        "args": ["-c", format!("touch {begun}; while [ ! -e {go} ]; do sleep 0.05; done; echo $API_KEY | wc -c")],
        "env": { "API_KEY": SECRET },
    });
    let sampler = crate::common::ps_snapshot();
    let job = place.submit(None, payload);
    place.made("begun");
    let seen = sampler.stop();
    assert!(!seen.iter().any(|proc| proc.cmdline.contains(SECRET)));
    let token = place.token();
    assert!(!seen.iter().any(|proc| proc.cmdline.contains(&token)));
    std::fs::write(&go, "").unwrap();
    assert_eq!(out(&place.wait(job)).trim(), (SECRET.len() + 1).to_string());
    let controller = place.controller.as_ref().unwrap();
    let said = controller.stdout_so_far() + &controller.stderr_so_far();
    assert!(!said.contains(SECRET) && !said.contains(&token), "{said}");
    let logs = place.state("");
    for hit in scan_files(&logs, &token) {
        assert!(hit.ends_with("controller.token"), "{hit:?}");
    }
}

#[test]
fn looking_at_a_host_again_costs_no_job_an_attempt() {
    let Some(place) = Place::ready(&["web1"], 2) else {
        return;
    };
    let controller = place.controller.as_ref().unwrap();
    let mut jobs = Vec::new();
    for n in 0..60 {
        controller.signal(rustix::process::Signal::HUP);
        jobs.push(place.sh(None, &format!("echo {n}")));
    }
    for (n, job) in jobs.into_iter().enumerate() {
        let done = place.wait(job);
        assert_eq!((out(&done), done.attempts.get()), (format!("{n}\n"), 1));
        let attempts = place.block_on(place.client().attempts(job)).unwrap();
        assert_eq!(attempts.attempts.len(), 1, "{attempts:?}");
    }
}
