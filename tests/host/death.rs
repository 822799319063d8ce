//! Nothing of a job outlives the daemon, however it ends.

use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::bed::{Bed, SOON, assert_done};
use crate::common::procs::{all_processes, assert_no_process_within, processes_with};
use crate::common::{Running, eventually};

/// Starts what is hard to get rid of: a grandchild, one that ignores TERM, one in another session, one
/// with nothing in its environment. Each has the marker in its arguments.
fn stubborn(bed: &Bed, marker: &str) -> String {
    let ready = bed.file(&format!("ready-{marker}"));
    format!(
        "sh -c 'sleep 600; : {marker} child' & \
         sh -c 'trap \"\" TERM; while :; do sleep 1; done; : {marker} deaf' & \
         setsid sh -c 'trap \"\" TERM HUP; while :; do sleep 1; done; : {marker} away' & \
         env -i /bin/sh -c 'trap \"\" TERM; while :; do sleep 1; done; : {marker} bare' & \
         while [ $(grep -l \"while :.*{marker} away\" /proc/[0-9]*/cmdline 2>/dev/null | wc -l) -lt 1 ]; do sleep 0.02; done; \
         touch {ready}; wait"
    )
}

fn watcher_of(daemon: i32) -> Option<i32> {
    all_processes()
        .into_iter()
        .find(|proc| proc.ppid == daemon && proc.cmdline.contains("host-watch"))
        .map(|proc| proc.pid)
}

fn kill9(pid: i32) {
    kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
}

/// Running processes with the marker, the coordinator's and the tests' own left out.
fn left(marker: &str) -> usize {
    processes_with(marker).len()
}

#[test]
fn a_killed_daemon_takes_its_jobs_along() {
    let bed = Bed::with_lease(2000);
    let host = bed.host("lab", &[]);
    let marker = "mk-taken-along";
    let job = bed.sh(&stubborn(&bed, marker));
    bed.made(&format!("ready-{marker}"));
    assert!(left(marker) >= 4);
    host.kill9();
    host.wait(SOON);
    assert_no_process_within(SOON, marker);
    // The next life says at once that the job is lost, so it runs again.
    let again = bed.host("lab", &[]);
    again.wait_for_line(&format!("running {job}"), SOON);
    assert_eq!(bed.look(job).attempts.get(), 2);
    again.kill9();
    again.wait(SOON);
    assert_no_process_within(SOON, marker);
}

#[test]
fn if_the_watcher_dies_too_the_next_life_cleans_up() {
    let bed = Bed::new();
    let host = bed.host("lab", &[]);
    let marker = "mk-next-life";
    let job = bed.sh(&stubborn(&bed, marker));
    bed.made(&format!("ready-{marker}"));
    // The list on disk is renewed a moment after the job began.
    let listed = || {
        std::fs::read_dir(bed.state_dir("lab"))
            .unwrap()
            .flatten()
            .filter(|entry| entry.file_name().to_string_lossy().starts_with("groups-"))
            .any(|entry| {
                let text = std::fs::read_to_string(entry.path()).unwrap_or_default();
                text.contains(&job.to_string())
            })
    };
    eventually(SOON, listed);
    kill9(watcher_of(host.pid()).unwrap());
    host.kill9();
    host.wait(SOON);
    assert!(
        left(marker) >= 3,
        "only the leader has died with the daemon"
    );
    bed.cancel(job);
    let again = bed.host("lab", &[]);
    again.wait_for_line("of a former life were ended", SOON);
    assert_no_process_within(Duration::from_secs(1), marker);
}

#[test]
fn a_new_watcher_takes_over_what_runs() {
    let bed = Bed::new();
    let host = bed.host("lab", &[("SKYCLAW_MAX_PARALLEL", "2")]);
    let marker = "mk-new-watcher";
    bed.sh(&stubborn(&bed, marker));
    bed.made(&format!("ready-{marker}"));
    let old = watcher_of(host.pid()).unwrap();
    kill9(old);
    // The next start finds out.
    assert_done(&bed.run("true"));
    assert!(watcher_of(host.pid()).is_some_and(|new| new != old));
    host.kill9();
    host.wait(SOON);
    assert_no_process_within(SOON, marker);
}

#[test]
fn what_a_job_leaves_behind_goes_soon_after_it() {
    let bed = Bed::new();
    let _host = bed.host("lab", &[]);
    let marker = "mk-left-behind";
    let away = bed.file("away");
    let job = bed.run(&format!(
        "setsid sh -c 'touch {away}; while :; do sleep 1; done; : {marker}' >/dev/null 2>&1 & \
         while [ ! -e {away} ]; do sleep 0.02; done"
    ));
    assert_done(&job);
    assert_no_process_within(SOON, marker);
}

#[test]
fn a_stopped_daemon_leaves_nothing_either() {
    let bed = Bed::new();
    let host = bed.host("lab", &[("SKYCLAW_DRAIN_MS", "100")]);
    let marker = "mk-stopped";
    let job = bed.sh(&stubborn(&bed, marker));
    bed.made(&format!("ready-{marker}"));
    host.terminate();
    host.wait(SOON).expect_code(0);
    assert_no_process_within(Duration::ZERO, marker);
    assert!(bed.hosts().is_empty(), "it deregistered");
    assert!(!bed.look(job).status.is_final(), "others may run it");
}

#[test]
fn two_daemons_do_not_share_a_directory_or_an_id() {
    let bed = Bed::new();
    let _host = bed.host("lab", &[]);
    let second = Running::start(&mut bed.host_command("lab", &[]), None).wait(SOON);
    assert!(
        second
            .expect_code(1)
            .err()
            .contains("another skyclaw host runs")
    );
    let id = bed.hosts()[0].id.to_string();
    let other = bed.file("other-state");
    let vars = [
        ("SKYCLAW_HOST_ID", id.as_str()),
        ("SKYCLAW_HOST_STATE_DIR", &other),
    ];
    let second = Running::start(&mut bed.host_command("lab", &vars), None).wait(SOON);
    assert!(
        second
            .expect_code(1)
            .err()
            .contains("another live host uses the id")
    );
}

#[test]
fn a_stopped_watcher_is_replaced_and_no_job_fails_for_it() {
    let bed = Bed::new();
    let host = bed.host("lab", &[("SKYCLAW_MAX_PARALLEL", "2")]);
    let marker = "mk-stopped-watcher";
    bed.sh(&stubborn(&bed, marker));
    bed.made(&format!("ready-{marker}"));
    let old = watcher_of(host.pid()).unwrap();
    kill_process(Pid::from_raw(old).unwrap(), Signal::STOP).unwrap();
    // Nobody has to wait for it first.
    eventually(SOON, || {
        watcher_of(host.pid()).is_some_and(|new| new != old)
    });
    assert_done(&bed.run("true"));
    host.kill9();
    host.wait(SOON);
    assert_no_process_within(SOON, marker);
}
