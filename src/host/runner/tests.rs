mod birth;
mod hold;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Instant;

use super::*;
use crate::client::holder::{Stop, Stoppable};
use crate::support::clock::{ManualClock, SteadyClock};

struct Bench {
    dir: tempfile::TempDir,
    clock: Arc<ManualClock>,
    runner: Runner,
}

/// A stand-in for the watcher that swallows what it is told.
fn bench(slots: usize) -> Bench {
    let swallow = "#!/bin/sh\nexec cat >/dev/null\n";
    bench_with(slots, tempfile::tempdir().unwrap(), swallow)
}

fn bench_with(slots: usize, dir: tempfile::TempDir, watcher: &str) -> Bench {
    let program = dir.path().join("watcher");
    std::fs::write(&program, watcher).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let watch = Watch::start(&program, dir.path(), "state", "process").unwrap();
    let clock = Arc::new(ManualClock::at(SteadyClock::start().now()));
    let seen: Arc<dyn Clock> = clock.clone();
    let runner = Runner::start(slots, &Arc::new(watch), &seen).unwrap();
    Bench { dir, clock, runner }
}

fn task(dir: &Path, script: &str) -> Task {
    Task {
        job: JobId::fresh(),
        attempt: AttemptNo::new(1),
        program: "/bin/sh".into(),
        name: "sh".to_owned(),
        args: vec!["-c".into(), script.into()],
        env: vec![("PATH".into(), "/usr/bin:/bin".into())],
        directory: dir.to_owned(),
        scratch: None,
        keep_failed: false,
        input: None,
        limit: Duration::from_secs(60),
        grace: Duration::from_millis(300),
        max_output: 1000,
    }
}

impl Bench {
    fn script(&self, script: &str) -> Task {
        task(self.dir.path(), script)
    }

    fn start(&self, task: Task) -> (Arc<Orders>, Receiver<Ran>) {
        let until = Some(self.clock.now().plus(Duration::from_secs(600)));
        let (place, orders) = self.runner.reserve(until).unwrap();
        let (sender, receiver) = channel();
        let prepare: Prepare = Box::new(|| Ok(task));
        self.runner.begin(place, work(&orders, prepare, sender));
        (orders, receiver)
    }

    fn run(&self, task: Task) -> Ran {
        wait(&self.start(task).1)
    }

    fn started(&self, name: &str) {
        let file = self.dir.path().join(name);
        let until = Instant::now() + Duration::from_secs(20);
        while !file.exists() {
            assert!(Instant::now() < until, "{name} was never made");
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

fn work(orders: &Arc<Orders>, prepare: Prepare, sender: Sender<Ran>) -> Work {
    Work {
        orders: Arc::clone(orders),
        log: None,
        prepare,
        done: Box::new(move |ran| drop(sender.send(ran))),
    }
}

fn wait(receiver: &Receiver<Ran>) -> Ran {
    receiver.recv_timeout(Duration::from_secs(20)).unwrap()
}

#[test]
fn output_and_exit_code_are_kept_apart() {
    let bench = bench(1);
    let ran = bench.run(bench.script("echo out; echo err >&2; exit 3"));
    assert_eq!((ran.success, ran.reason), (false, Some(Reason::Exit)));
    assert_eq!((ran.result.exit_code, ran.result.signal), (Some(3), None));
    assert_eq!(ran.result.stdout.bytes, b"out\n");
    assert_eq!(ran.result.stderr.bytes, b"err\n");
    assert_eq!(ran.result.error, None);
    let ran = bench.run(bench.script("exit 0"));
    assert_eq!((ran.success, ran.reason), (true, None));
}

#[test]
fn a_death_by_signal_says_which() {
    let bench = bench(1);
    let ran = bench.run(bench.script("kill -USR1 $$"));
    assert_eq!((ran.success, ran.reason), (false, Some(Reason::Exit)));
    assert_eq!((ran.result.exit_code, ran.result.signal), (None, Some(10)));
}

#[test]
fn the_limit_ends_the_whole_group_and_keeps_the_output() {
    let bench = bench(1);
    let started = Instant::now();
    let ran = bench.run(Task {
        limit: Duration::from_millis(400),
        // Ignores TERM, as does its child, which holds the pipes.
        ..bench.script("trap '' TERM; echo begun; sleep 60 & sleep 60")
    });
    assert_eq!(ran.reason, Some(Reason::Timeout));
    assert_eq!(ran.result.error.as_deref(), Some("timed out after 400ms"));
    assert_eq!(ran.result.stdout.bytes, b"begun\n");
    assert_eq!(ran.result.detail, None);
    let took = started.elapsed();
    assert!(
        took >= Duration::from_millis(700),
        "TERM, grace, KILL: {took:?}"
    );
    assert!(took < Duration::from_secs(10), "{took:?}");
}

#[test]
fn a_group_that_tidies_up_gets_its_grace_after_its_leader() {
    let bench = bench(1);
    let (orders, receiver) = bench.start(Task {
        grace: Duration::from_secs(20),
        ..bench.script(
            "(trap 'sleep 0.3; echo tidy; exit' TERM; touch ready; while :; do sleep 0.05; done) & wait",
        )
    });
    bench.started("ready");
    orders.stop(Stop::Cancel(Some("enough".into()), None));
    let ran = wait(&receiver);
    assert_eq!(ran.reason, Some(Reason::Cancelled));
    assert_eq!(ran.result.error.as_deref(), Some("cancelled: enough"));
    assert_eq!(ran.result.stdout.bytes, b"tidy\n");
}

#[test]
fn what_is_left_in_the_group_dies_with_the_leader() {
    let bench = bench(1);
    let started = Instant::now();
    let ran = bench.run(bench.script("sleep 60 & echo $!"));
    assert!(ran.success);
    assert_eq!(ran.result.detail, None);
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[test]
fn a_pipe_held_from_another_session_is_let_go() {
    let bench = bench(1);
    let started = Instant::now();
    let ran = bench.run(bench.script(
        "setsid sh -c 'touch away; exec sleep 7' & while [ ! -e away ]; do sleep 0.01; done; echo here",
    ));
    assert!(ran.success);
    assert_eq!(ran.result.stdout.bytes, b"here\n");
    assert_eq!(ran.result.detail.as_deref(), Some("pipe held"));
    let took = started.elapsed();
    assert!(
        took < Duration::from_secs(2),
        "idle pipes are let go at once: {took:?}"
    );
}

#[test]
fn a_held_pipe_that_talks_is_let_go_after_two_seconds() {
    let bench = bench(1);
    let started = Instant::now();
    let ran = bench.run(bench.script(
        "setsid sh -c 'touch away; i=0; while [ $i -lt 100 ]; do echo x; i=$((i+1)); sleep 0.04; done' & \
         while [ ! -e away ]; do sleep 0.01; done",
    ));
    assert_eq!(ran.result.detail.as_deref(), Some("pipe held"));
    let took = started.elapsed();
    assert!(
        took >= Duration::from_secs(2) && took < Duration::from_secs(4),
        "{took:?}"
    );
}

#[test]
fn much_output_is_counted_and_cut() {
    let bench = bench(1);
    let ran = bench.run(bench.script("head -c 5000000 /dev/zero; echo end"));
    assert_eq!(ran.result.stdout.total, 5_000_004);
    assert!(ran.result.stdout.truncated);
    assert!(ran.result.stdout.bytes.len() <= 1000);
    assert!(ran.result.stdout.bytes.ends_with(b"end\n"));
}

#[test]
fn a_message_comes_on_standard_input_and_otherwise_there_is_none() {
    let bench = bench(1);
    let message = "x".repeat(300_000);
    let ran = bench.run(Task {
        input: Some(message.into_bytes()),
        ..bench.script("wc -c")
    });
    assert_eq!(ran.result.stdout.bytes, b"300000\n");
    assert_eq!(bench.run(bench.script("wc -c")).result.stdout.bytes, b"0\n");
}

#[test]
fn a_lease_that_ran_out_kills_at_once() {
    let bench = bench(1);
    let (_, receiver) = bench.start(Task {
        grace: Duration::from_secs(60),
        ..bench.script("trap '' TERM; touch ready; sleep 60")
    });
    bench.started("ready");
    bench.clock.advance(Duration::from_secs(601));
    let ran = wait(&receiver);
    assert!(ran.lost);
    assert_eq!(ran.result.signal, Some(9));
}

#[test]
fn an_order_before_the_start_starts_nothing() {
    let bench = bench(1);
    let (place, orders) = bench.runner.reserve(None).unwrap();
    orders.stop(Stop::Cancel(None, None));
    let (sender, receiver) = channel();
    let task = bench.script("touch ran");
    let prepare: Prepare = Box::new(|| Ok(task));
    bench.runner.begin(place, work(&orders, prepare, sender));
    assert_eq!(wait(&receiver).reason, Some(Reason::Cancelled));
    assert!(!bench.dir.path().join("ran").exists());
}

#[test]
fn fresh_directories_are_private_and_go_with_the_job() {
    let bench = bench(1);
    let below = bench.dir.path().join("work");
    std::fs::create_dir(&below).unwrap();
    let fresh = |script: &str, keep| Task {
        scratch: Some(below.clone()),
        keep_failed: keep,
        ..bench.script(script)
    };
    let ran = bench.run(fresh(
        "stat -c %a .; mkdir a; touch a/b; chmod 500 a",
        false,
    ));
    assert_eq!(ran.result.stdout.bytes, b"700\n");
    assert_eq!(std::fs::read_dir(&below).unwrap().count(), 0);
    bench.run(fresh("touch kept; exit 1", true));
    assert_eq!(std::fs::read_dir(&below).unwrap().count(), 1);
}

#[test]
fn slots_are_given_out_once_and_come_back() {
    let bench = bench(2);
    let first = bench.start(bench.script("sleep 0.2"));
    let second = bench.start(bench.script("sleep 0.2"));
    assert!(bench.runner.reserve(None).is_none());
    wait(&first.1);
    wait(&second.1);
    assert!(bench.runner.reserve(None).is_some());
}

#[test]
fn a_fault_in_a_slot_costs_one_job_only() {
    let bench = bench(1);
    let (place, orders) = bench.runner.reserve(None).unwrap();
    let (sender, receiver) = channel();
    let prepare: Prepare = Box::new(|| panic!("on purpose"));
    bench.runner.begin(place, work(&orders, prepare, sender));
    assert_eq!(wait(&receiver).reason, Some(Reason::Lost));
    assert!(bench.run(bench.script("exit 0")).success);
}
