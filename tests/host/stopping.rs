//! How a daemon ends when it is asked to.

use std::time::{Duration, Instant};

use crate::bed::{Bed, SOON, assert_done};
use crate::common::eventually;

#[test]
fn what_runs_may_end_and_nothing_new_begins() {
    let bed = Bed::new();
    let host = bed.host("lab", &[]);
    let (ready, go) = (bed.file("ready"), bed.file("go"));
    let job = bed.sh(&format!(
        "touch {ready}; while [ ! -e {go} ]; do sleep 0.02; done"
    ));
    bed.made("ready");
    host.terminate();
    host.wait_for_line("stopping, 1 running", SOON);
    let later = bed.sh("true");
    std::fs::write(&go, "").unwrap();
    host.wait(SOON).expect_code(0);
    assert_done(&bed.look(job));
    assert_eq!(bed.look(later).attempts.get(), 0);
}

#[test]
fn a_second_signal_does_not_wait() {
    let bed = Bed::new();
    let host = bed.host("lab", &[]);
    let ready = bed.file("ready");
    let job = bed.sh(&format!("trap '' TERM; touch {ready}; sleep 600"));
    bed.made("ready");
    let started = Instant::now();
    host.interrupt();
    host.wait_for_line("stopping", SOON);
    host.interrupt();
    host.wait(SOON).expect_code(0);
    assert!(started.elapsed() < Duration::from_secs(8));
    eventually(SOON, || bed.look(job).assigned_host_id.is_none());
}
