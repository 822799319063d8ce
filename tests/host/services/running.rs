//! How services begin, what they get, and what becomes of those that cannot run.

use std::os::unix::fs::PermissionsExt;

use skyclaw::protocol::api::{Phase, Restart, WantedAssignment};

use super::script::{Script, base, command, host, sh, web};
use super::{get, is_free};
use crate::bed::{Bed, SOON};
use crate::common::procs::{all_processes, assert_no_process_within};
use crate::common::scan_files;

#[test]
fn services_run_side_by_side_on_ports_of_their_own() {
    let bed = Bed::without_coordinator();
    let script = Script::serve(&bed);
    script.want(web("one"));
    script.want(WantedAssignment {
        // Whoever accepts is ready.
        health: None,
        ..web("two")
    });
    let url = "http://lab.example/";
    let _host = host(&bed, &[("SKYCLAW_SERVICE_HOST_PUBLIC_BASE_URL", url)]);
    let one = script.until_phase("one", Phase::Ready);
    let two = script.until_phase("two", Phase::Ready);
    let (first, second) = (one.port.unwrap(), two.port.unwrap());
    assert_ne!(first, second);
    assert!(first >= base() && second >= base());
    assert_eq!(one.endpoint.unwrap(), format!("http://lab.example:{first}"));
    for (port, name) in [(first, "one"), (second, "two")] {
        let variable = |name: &str| get(port, &format!("/env?{name}"));
        assert_eq!(variable("TEST_SERVICE"), name);
        assert_eq!(variable("PORT"), port.to_string());
        assert_eq!(variable("SKYCLAW_PORT"), port.to_string());
        assert_eq!(variable("SKYCLAW_SERVICE_NAME"), name);
        assert_eq!(variable("SKYCLAW_SERVICE_ID"), format!("svc-{name}"));
        assert_eq!(
            variable("SKYCLAW_TOKEN"),
            "-",
            "nothing of the daemon's own"
        );
        assert_eq!(get(port, "/stdin"), "0");
    }
    let home = get(first, "/cwd");
    let mode = std::fs::metadata(&home).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700, "{home}");
    assert_ne!(home, get(second, "/cwd"));
    let shown = bed.ask_host("lab", &["jobs"]).expect_code(0).out();
    assert!(
        shown.contains("SERVICE") && shown.contains(&first.to_string()),
        "{shown}"
    );
}

#[test]
fn what_may_not_run_fails_with_a_reason_and_harms_nobody() {
    let bed = Bed::without_coordinator();
    let script = Script::serve(&bed);
    let _host = host(&bed, &[]);
    script.want(command("forbidden", "cat"));
    script.want(command("missing", "not-on-this-machine"));
    script.want(WantedAssignment {
        cwd: Some("/no/such/place".into()),
        ..web("nowhere")
    });
    let mut preload = web("preload");
    preload
        .secret_env
        .insert("LD_PRELOAD".into(), "/tmp/x.so".into());
    script.want(preload);
    script.want(WantedAssignment {
        health: Some("no path".into()),
        ..web("pathless")
    });
    script.want(web("good"));
    let table = [
        ("forbidden", "command not allowed: cat"),
        ("missing", "spawn not-on-this-machine ENOENT"),
        ("nowhere", "directory does not exist: /no/such/place"),
        ("preload", "environment variable not allowed: LD_PRELOAD"),
        ("pathless", "health path"),
    ];
    for (id, why) in table {
        let report = script.until_phase(id, Phase::Failed);
        let error = report.error.unwrap();
        assert!(error.contains(why), "{error}");
        assert_eq!(report.port, None);
    }
    script.until_phase("good", Phase::Ready);
}

#[test]
fn who_does_not_answer_in_time_is_ended_and_its_last_words_are_told() {
    let bed = Bed::without_coordinator();
    let script = Script::serve(&bed);
    let host = host(&bed, &[]);
    let mut slow = web("slow");
    slow.ready_ms = 1500;
    slow.env
        .insert("TEST_HEALTHY_FILE".into(), bed.file("never"));
    script.want(slow);
    let report = script.until_phase("slow", Phase::Failed);
    let error = report.error.unwrap();
    assert!(error.starts_with("not ready within"), "{error}");
    assert!(error.contains("answered 503"), "{error}");
    assert!(report.last_output.unwrap().contains("slow says hello"));
    assert_no_process_within(SOON, "TEST_SERVICE=slow");
    host.wait_for_line("service slow is failed: not ready within", SOON);
}

#[test]
fn it_is_ready_only_once_it_says_so() {
    let bed = Bed::without_coordinator();
    let script = Script::serve(&bed);
    let _host = host(&bed, &[]);
    let mut warm = web("warm");
    let file = bed.file("warm");
    warm.env.insert("TEST_HEALTHY_FILE".into(), file.clone());
    script.want(warm);
    let port = script.until("warm", |report| report.port.is_some()).port;
    crate::common::eventually(SOON, || !is_free(port.unwrap()));
    assert_eq!(script.report("warm").unwrap().phase, Phase::Starting);
    std::fs::write(file, "").unwrap();
    script.until_phase("warm", Phase::Ready);
}

#[test]
fn a_strangers_port_is_passed_over() {
    let bed = Bed::without_coordinator();
    let script = Script::serve(&bed);
    let strangers: Vec<_> = (base()..base() + 2)
        .filter_map(|port| std::net::TcpListener::bind(("127.0.0.1", port)).ok())
        .collect();
    let _host = host(&bed, &[]);
    script.want(web("web"));
    let port = script.until_phase("web", Phase::Ready).port.unwrap();
    assert!(port >= base() + 2);
    drop(strangers);
}

#[test]
fn what_ends_is_started_again_after_a_pause_on_the_same_port() {
    let bed = Bed::without_coordinator();
    let script = Script::serve(&bed);
    let _host = host(&bed, &[]);
    let go = bed.file("go");
    let text = format!("[ -e {go} ] || {{ echo broken; exit 3; }}; exec $WEB");
    script.want(sh("shaky", &text));
    let report = script.until_phase("shaky", Phase::Backoff);
    assert_eq!(report.error.as_deref(), Some("exited with code 3"));
    assert_eq!(report.last_output.as_deref(), Some("broken"));
    assert!(report.restarts >= 1);
    std::fs::write(&go, "").unwrap();
    let ready = script.until_phase("shaky", Phase::Ready);
    assert_eq!(ready.port, report.port);
    assert_eq!((ready.error, ready.last_output), (None, None));
}

#[test]
fn what_is_not_to_be_started_again_is_not() {
    let bed = Bed::without_coordinator();
    let script = Script::serve(&bed);
    let _host = host(&bed, &[]);
    let once = |name: &str, restart, code: u8| WantedAssignment {
        restart,
        ..sh(name, &format!("exit {code}"))
    };
    script.want(once("well", Restart::OnFailure, 0));
    script.want(once("done", Restart::Never, 0));
    script.want(once("bad", Restart::Never, 4));
    script.until_phase("well", Phase::Stopped);
    script.until_phase("done", Phase::Stopped);
    let bad = script.until_phase("bad", Phase::Failed);
    assert_eq!(bad.error.as_deref(), Some("exited with code 4"));
    assert_eq!(bad.port, None);
}

#[test]
fn secrets_reach_the_process_and_nothing_else() {
    let bed = Bed::without_coordinator();
    let script = Script::serve(&bed);
    let host = host(&bed, &[("RUST_LOG", "skyclaw=trace")]);
    let secret = "s3cr3t-of-this-test";
    let mut wanted = sh("safe", "echo key=$THE_SECRET; exit 3");
    wanted.secret_env.insert("THE_SECRET".into(), secret.into());
    script.want(wanted);
    let mut wanted = web("web");
    wanted.secret_env.insert("THE_SECRET".into(), secret.into());
    script.want(wanted);
    let port = script.until_phase("web", Phase::Ready).port.unwrap();
    assert_eq!(get(port, "/env?THE_SECRET"), secret);
    let told = script.until("safe", |report| report.last_output.is_some());
    assert_eq!(told.last_output.as_deref(), Some("key=***"));
    let shown: Vec<_> = all_processes()
        .into_iter()
        .filter(|process| process.cmdline.contains(secret))
        .collect();
    assert!(shown.is_empty(), "{shown:?}");
    // Nor is it in what the program itself prints.
    let log = bed.state_dir("lab").join("services/safe-safe/log");
    assert!(std::fs::read_to_string(log).unwrap().contains("key=***\n"));
    let found = scan_files(bed.dir.path(), secret);
    assert!(found.is_empty(), "{found:?}");
    host.terminate();
    let output = host.wait(SOON).expect_code(0);
    assert!(!output.out().contains(secret) && !output.err().contains(secret));
}

#[test]
fn a_host_that_is_told_not_to_runs_none() {
    let bed = Bed::without_coordinator();
    let script = Script::serve(&bed);
    script.want(web("web"));
    let capable = ("SKYCLAW_CAPABILITIES", "shell,service-host");
    let host = host(&bed, &[("SKYCLAW_SERVICE_HOST_ENABLED", "0"), capable]);
    host.terminate();
    host.wait(SOON).expect_code(0);
    let state = script.state();
    assert_eq!(state.syncs, 0);
    assert_eq!(state.capabilities, ["shell"]);
}
