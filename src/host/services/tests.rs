//! Services with fast pauses and without a coordinator: what takes minutes with the usual ones.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::instance::Status;
use super::means::{Means, News, Times};
use super::ports::Ports;
use super::restart::Rules;
use super::table::Services;
use crate::host::allow::Allowed;
use crate::host::environment::Environment;
use crate::host::kinds::Kinds;
use crate::host::notice::Notice;
use crate::host::watch::Watch;
use crate::protocol::api::{Phase, SyncedServices, Want, WantedAssignment};

const SOON: Duration = Duration::from_secs(20);

struct Bench {
    services: Services,
    notices: Arc<Mutex<Vec<Phase>>>,
    dir: tempfile::TempDir,
}

impl Bench {
    fn new(times: Times) -> Self {
        let dir = tempfile::tempdir().unwrap();
        // A stand-in for the watcher that swallows what it is told.
        let program = dir.path().join("watcher");
        std::fs::write(&program, "#!/bin/sh\nexec cat >/dev/null\n").unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let watch = Watch::start(&program, dir.path(), "state", "process").unwrap();
        let notices = Arc::new(Mutex::new(Vec::new()));
        let told = Arc::clone(&notices);
        let tell = move |notice| {
            if let Notice::Service { phase, .. } = notice {
                told.lock().unwrap().push(phase);
            }
        };
        let own = BTreeMap::from([("PATH".to_owned(), "/usr/bin:/bin".to_owned())]);
        let means = Means {
            kinds: Arc::new(Kinds::bare(
                Allowed::resolve(["sh"], None, "/usr/bin:/bin"),
                Environment::new(&own, &[], &[], watch.mark()),
            )),
            watch: Arc::new(watch),
            ports: Arc::new(Ports::new(18_000)),
            news: News::new(),
            times,
            keep_failed: false,
            tell: Arc::new(tell),
        };
        Self {
            services: Services::with(dir.path().join("services"), None, means),
            notices,
            dir,
        }
    }

    fn want(&self, wanted: &[&WantedAssignment]) {
        let assignments = wanted.iter().map(|wanted| (*wanted).clone()).collect();
        let answer = SyncedServices {
            assignments,
            version: 1,
            ..SyncedServices::default()
        };
        self.services.apply(answer, false);
    }

    fn status(&self) -> Status {
        self.services.instance("asg").unwrap().status()
    }

    #[track_caller]
    fn until(&self, holds: impl Fn(&Status) -> bool) -> Status {
        let until = Instant::now() + SOON;
        loop {
            let status = self.status();
            if holds(&status) {
                return status;
            }
            assert!(Instant::now() < until, "{status:?}");
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.services.end_all();
        let until = Instant::now() + SOON;
        let over = || {
            let instance = self.services.instance("asg");
            instance.is_none_or(|instance| instance.is_over())
        };
        while !over() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

fn times() -> Times {
    let millis = Duration::from_millis;
    Times {
        restart: Rules {
            first: millis(1),
            most: millis(8),
            healthy: millis(200),
            crashes: 5,
            within: SOON,
            loop_pause: millis(40),
        },
        probe: millis(5),
        ask_again: millis(25),
        drain_least: millis(10),
        drain_look: millis(5),
        grace: millis(200),
        gone: millis(500),
        port: millis(100),
    }
}

fn script(text: &str) -> WantedAssignment {
    WantedAssignment {
        assignment_id: "asg".into(),
        want: Want::Run,
        service_id: "svc".into(),
        name: "web".into(),
        generation: 1,
        command: "sh".into(),
        args: vec!["-c".into(), text.into()],
        cwd: None,
        env: BTreeMap::new(),
        secret_env: BTreeMap::new(),
        health: None,
        restart: Default::default(),
        protocol: None,
        ready_ms: 20_000,
        drain_ms: 1000,
        logs: None,
    }
}

#[test]
fn who_ends_all_the_time_is_in_a_crash_loop_and_still_tried() {
    let bench = Bench::new(times());
    let tries = bench.dir.path().join("tries");
    let text = format!("echo x >>{}; echo why; exit 7", tries.display());
    bench.want(&[&script(&text)]);
    let status = bench.until(|status| status.phase == Phase::CrashLoop && status.restarts >= 7);
    assert_eq!(status.error.as_deref(), Some("exited with code 7"));
    assert_eq!(status.last_output.as_deref(), Some("why"));
    assert!(std::fs::read_to_string(tries).unwrap().lines().count() >= 7);
    let told = bench.notices.lock().unwrap();
    let backoffs = told.iter().filter(|phase| **phase == Phase::Backoff);
    assert_eq!(backoffs.count(), 4);
}

#[test]
fn an_end_during_a_pause_is_heard_at_once() {
    let mut slow = times();
    slow.restart.first = Duration::from_secs(3600);
    slow.restart.most = Duration::from_secs(3600);
    let bench = Bench::new(slow);
    bench.want(&[&script("exit 1")]);
    bench.until(|status| status.phase == Phase::Backoff);
    bench.want(&[]);
    let status = bench.until(|status| status.over);
    assert_eq!((status.phase, status.port), (Phase::Stopped, None));
    // Only now may it be forgotten.
    let useless = bench.services.apply(SyncedServices::default(), false);
    assert_eq!(useless.len(), 1);
    assert!(bench.services.instance("asg").is_none());
}

#[test]
fn the_last_failure_stays_to_be_looked_at() {
    let bench = Bench::new(times());
    let failing = |id: &str| WantedAssignment {
        assignment_id: id.into(),
        restart: crate::protocol::api::Restart::Never,
        ..script("echo why; exit 1")
    };
    let fail_as = |name: &str, id: &str| {
        let wanted = WantedAssignment {
            name: name.into(),
            ..failing(id)
        };
        bench.want(&[&wanted]);
        let instance = bench.services.instance(id).unwrap();
        let until = Instant::now() + SOON;
        while !instance.is_over() {
            assert!(Instant::now() < until);
            std::thread::sleep(Duration::from_millis(2));
        }
        let useless = bench.services.apply(SyncedServices::default(), false);
        assert!(bench.services.instance(id).is_none());
        (instance.dir.clone(), useless)
    };
    let (first, useless) = fail_as("web", "asg");
    assert!(useless.is_empty() && first.join("log").exists());
    let (second, useless) = fail_as("web", "asg2");
    assert_eq!(useless, [first]);
    // But not of every service there ever was.
    for number in 1..20 {
        let name = format!("other{number}");
        assert_eq!(
            fail_as(&name, &name).1,
            [""; 0].map(std::path::PathBuf::from)
        );
    }
    assert_eq!(fail_as("last", "last").1, [second]);
}

#[test]
fn who_does_not_obey_is_killed() {
    let bench = Bench::new(times());
    bench.want(&[&script("trap '' TERM; echo up; while :; do sleep 1; done")]);
    let said = || {
        let output = &bench.services.instance("asg").unwrap().output;
        output.tail(1) == b"up\n"
    };
    bench.until(|_| said());
    bench.want(&[]);
    let status = bench.until(|status| status.over);
    assert_eq!(status.phase, Phase::Stopped);
}

#[test]
fn who_leaves_begins_nothing_new() {
    let bench = Bench::new(times());
    let answer = SyncedServices {
        assignments: vec![script("exit 1")],
        version: 1,
        ..SyncedServices::default()
    };
    bench.services.apply(answer, true);
    assert!(bench.services.instance("asg").is_none());
}

#[test]
fn all_that_a_service_prints_is_kept_and_its_directory_goes() {
    let bench = Bench::new(times());
    let wanted = WantedAssignment {
        restart: crate::protocol::api::Restart::Never,
        ..script(
            "pwd; touch left-behind; i=0; while [ $i -lt 3000 ]; do echo line $i; i=$((i+1)); done; echo err >&2",
        )
    };
    bench.want(&[&wanted]);
    let status = bench.until(|status| status.over);
    assert_eq!(status.phase, Phase::Stopped);
    let instance = bench.services.instance("asg").unwrap();
    let text = String::from_utf8(instance.output.tail(10_000)).unwrap();
    let lines: Vec<&str> = text.lines().filter(|line| *line != "err").collect();
    assert_eq!(lines.len(), 3001);
    assert_eq!(lines.last(), Some(&"line 2999"));
    assert!(text.contains("err\n"));
    let home = std::path::Path::new(lines[0]);
    assert!(home.starts_with(&instance.dir) && !home.exists());
}

#[test]
fn one_that_ceases_to_answer_is_not_ready_until_it_answers_again() {
    use std::io::{Read, Write};
    use std::sync::atomic::{AtomicBool, Ordering};

    let bench = Bench::new(times());
    let told = bench.dir.path().join("port");
    let told = told.display();
    // The test answers in its place.
    let text = format!("echo $PORT >{told}.new; mv {told}.new {told}; exec sleep 600");
    bench.want(&[&WantedAssignment {
        health: Some("/health".into()),
        ..script(&text)
    }]);
    let until = Instant::now() + SOON;
    let port: u16 = loop {
        assert!(Instant::now() < until);
        match std::fs::read_to_string(told.to_string()) {
            Ok(port) => break port.trim().parse().unwrap(),
            Err(_) => std::thread::sleep(Duration::from_millis(2)),
        }
    };
    let listener = std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
    let well = Arc::new(AtomicBool::new(true));
    let is_well = Arc::clone(&well);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.read(&mut [0; 1024]);
            let status = if is_well.load(Ordering::SeqCst) {
                200
            } else {
                500
            };
            let _ = stream.write_all(format!("HTTP/1.1 {status} X\r\n\r\n").as_bytes());
        }
    });
    bench.until(|status| status.phase == Phase::Ready);
    well.store(false, Ordering::SeqCst);
    let ill = bench.until(|status| status.phase == Phase::Starting);
    let why = ill.error.unwrap();
    assert!(
        why.contains("answers no more") && why.contains("500"),
        "{why}"
    );
    assert_eq!(ill.port, Some(port), "its process goes on");
    well.store(true, Ordering::SeqCst);
    let again = bench.until(|status| status.phase == Phase::Ready);
    assert_eq!((again.error, again.restarts), (None, 0));
}
