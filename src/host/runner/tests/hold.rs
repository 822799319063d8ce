//! Jobs that wait for a slot.

use super::*;
use crate::protocol::LeaseToken;

impl Bench {
    /// Lets a script wait for a slot.
    fn hold(&self, script: &str) -> (Arc<Orders>, Receiver<Ran>, LeaseName) {
        let task = self.script(script);
        let lease = LeaseName {
            job_id: task.job,
            attempt: task.attempt,
            lease_token: LeaseToken::NONE,
        };
        let orders = Arc::new(Orders::new(None));
        let (sender, receiver) = channel();
        let prepare: Prepare = Box::new(|| Ok(task));
        self.runner.hold(lease, work(&orders, prepare, sender));
        (orders, receiver, lease)
    }
}

#[test]
fn what_waits_runs_in_its_order_when_a_slot_is_free() {
    let bench = bench(1);
    let first = bench.start(bench.script("while [ ! -e go ]; do sleep 0.01; done; echo 1 >> ran"));
    let second = bench.hold("echo 2 >> ran");
    let third = bench.hold("echo 3 >> ran");
    assert_eq!((bench.runner.waiting(), bench.runner.room()), (2, 0));
    assert!(bench.runner.holds(&third.2));
    assert!(bench.runner.oldest().is_some());
    std::fs::write(bench.dir.path().join("go"), "").unwrap();
    for receiver in [&first.1, &second.1, &third.1] {
        assert!(wait(receiver).success);
    }
    let ran = std::fs::read_to_string(bench.dir.path().join("ran")).unwrap();
    assert_eq!(ran, "1\n2\n3\n");
    assert_eq!((bench.runner.waiting(), bench.runner.free()), (0, 1));
    // With a free slot nothing waits.
    assert!(wait(&bench.hold("exit 0").1).success);
}

#[test]
fn orders_reach_what_waits_and_what_it_becomes() {
    let bench = bench(1);
    let first = bench.start(bench.script("while [ ! -e go ]; do sleep 0.01; done"));
    let stopped = bench.hold("touch ran");
    let running = bench.hold("touch begun; sleep 600");
    stopped.0.stop(Stop::Cancel(None, None));
    std::fs::write(bench.dir.path().join("go"), "").unwrap();
    assert!(wait(&first.1).success);
    assert_eq!(wait(&stopped.1).reason, Some(Reason::Cancelled));
    assert!(!bench.dir.path().join("ran").exists());
    bench.started("begun");
    running.0.stop(Stop::Cancel(None, None));
    assert_eq!(wait(&running.1).reason, Some(Reason::Cancelled));
}

#[test]
fn what_is_cleared_never_begins() {
    let bench = bench(1);
    let first = bench.start(bench.script("while [ ! -e go ]; do sleep 0.01; done"));
    let (_, receiver, lease) = bench.hold("touch ran");
    assert_eq!(bench.runner.clear(), [lease]);
    assert!(!bench.runner.holds(&lease));
    // Nobody is left to tell what came of it.
    assert!(receiver.recv().is_err());
    std::fs::write(bench.dir.path().join("go"), "").unwrap();
    assert!(wait(&first.1).success);
    assert!(bench.run(bench.script("[ ! -e ran ]")).success);
}
