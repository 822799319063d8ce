//! What happens between the birth of a job's process and the start of its program.

use std::time::Duration;

use crate::bed::{Bed, SOON, job, shell};
use crate::common::procs::assert_no_process_within;

#[test]
fn a_daemon_killed_while_jobs_begin_leaves_none() {
    let bed = Bed::new();
    for (round, delay) in (0..12).zip([0, 200, 400, 700, 1000, 1500].into_iter().cycle()) {
        // In the arguments of the jobs, and in the environment of whatever has yet to become one.
        let marker = format!("mk-window-{round}-");
        let host = bed.host(&marker, &[("SKYCLAW_MAX_PARALLEL", "8")]);
        let job = job(&shell(&format!("while :; do sleep 1; done; : {marker}")));
        let jobs: Vec<_> = (0..8).map(|_| bed.submit_job(&job)).collect();
        host.wait_for_line("running", SOON);
        std::thread::sleep(Duration::from_micros(delay));
        host.kill9();
        host.wait(SOON);
        assert_no_process_within(SOON, &marker);
        for job in jobs {
            bed.cancel(job);
        }
    }
}
