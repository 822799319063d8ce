//! A host that cannot renew its lease gives up before its coordinator does.

use std::time::Duration;

use rustix::process::Signal;
use skyclaw::protocol::Reason;
use skyclaw::protocol::api::CancelJobs;

use crate::bed::{Bed, SOON, assert_done, assert_failed, error, out};
use crate::common::eventually;
use crate::common::procs::{assert_no_process_within, processes_with};

#[test]
fn a_daemon_that_slept_past_its_lease_kills_at_once() {
    let bed = Bed::with_lease(2000);
    let host = bed.host("lab", &[]);
    let ready = bed.file("ready");
    let job = bed.sh(&format!(
        "trap '' TERM; [ $SKYCLAW_ATTEMPT = 1 ] || exit 0; touch {ready}; sleep 600; : mk-slept"
    ));
    bed.made("ready");
    host.signal(Signal::STOP);
    // The coordinator gives the job to whoever comes next.
    eventually(SOON, || {
        bed.look(job).attempts.get() == 1 && bed.look(job).assigned_host_id.is_none()
    });
    assert!(!processes_with("mk-slept").is_empty());
    host.signal(Signal::CONT);
    assert_no_process_within(Duration::from_secs(5), "mk-slept");
    let job = bed.wait(job);
    assert_done(&job);
    assert_eq!(job.attempts.get(), 2);
}

#[test]
fn a_cancelled_job_has_its_time_to_tidy_up_though_its_lease_is_short() {
    let bed = Bed::with_lease(2000);
    let _host = bed.host("lab", &[]);
    let ready = bed.file("ready");
    // Longer than a lease and shorter than the usual time.
    let job = bed.sh(&format!(
        "trap 'sleep 4; echo tidy; exit 0' TERM; touch {ready}; while :; do sleep 0.05; done"
    ));
    bed.made("ready");
    let cancel = CancelJobs {
        ids: vec![job],
        grace_ms: Some(20_000),
        ..CancelJobs::default()
    };
    bed.block_on(bed.client().cancel(&cancel)).unwrap();
    let job = bed.wait(job);
    assert_failed(&job, Reason::Cancelled);
    assert_eq!((out(&job).as_str(), error(&job)), ("tidy\n", "cancelled"));
}

#[test]
fn without_a_coordinator_a_job_ends_when_its_lease_does() {
    let mut bed = Bed::with_lease(2000);
    let _host = bed.host("lab", &[]);
    let ready = bed.file("ready");
    bed.sh(&format!("touch {ready}; sleep 600; : mk-cut-off"));
    bed.made("ready");
    bed.kill_coordinator();
    assert_no_process_within(Duration::from_secs(10), "mk-cut-off");
}

#[test]
fn an_owner_may_want_it_finished_and_offered_later() {
    let mut bed = Bed::with_lease(1500);
    let vars = [("SKYCLAW_ON_LEASE_LOST", "finish")];
    let host = bed.host("lab", &vars);
    let (ready, go) = (bed.file("ready"), bed.file("go"));
    let job = bed.sh(&format!(
        "touch {ready}; while [ ! -e {go} ]; do sleep 0.02; done; echo worth it"
    ));
    bed.made("ready");
    bed.kill_coordinator();
    // Longer than the lease; nothing shows that nothing happens but time.
    std::thread::sleep(Duration::from_secs(3));
    std::fs::write(&go, "").unwrap();
    let results = bed.state_dir("lab").join("results");
    eventually(SOON, || std::fs::read_dir(&results).unwrap().count() == 1);
    // Even the daemon may go in between.
    host.kill9();
    host.wait(SOON);
    bed.start_coordinator();
    let _again = bed.host("lab", &vars);
    let job = bed.wait(job);
    assert_done(&job);
    assert_eq!((out(&job).as_str(), job.attempts.get()), ("worth it\n", 1));
    eventually(SOON, || std::fs::read_dir(&results).unwrap().count() == 0);
}
