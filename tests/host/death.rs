//! Nothing of a job outlives the daemon, however it ends.

use std::process::Command;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::bed::{Bed, SOON, assert_done};
use crate::common::procs::{all_processes, assert_no_process_within, processes_with};
use crate::common::{Running, eventually, require_mounts, require_program};

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
    let marker = "mk-deaf-watcher";
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

/// Leaves a process with a session of its own and nothing in its environment.
fn bare(bed: &Bed, marker: &str) -> String {
    let file = bed.file(&format!("there-{marker}"));
    format!(
        "(env -i setsid /bin/sh -c 'trap \"\" HUP TERM; : >{file}; while :; do /bin/sleep 1; done; : {marker}' \
         >/dev/null 2>&1 &); while [ ! -e {file} ]; do sleep 0.02; done"
    )
}

#[test]
fn what_left_session_and_environment_goes_with_its_job() {
    let bed = Bed::new();
    let host = bed.host("lab", &[("SKYCLAW_MAX_PARALLEL", "2")]);
    let (first, second) = ("mk-bare-first", "mk-bare-second");
    let go = bed.file("go");
    let ready = bed.file("ready");
    let running = bed.sh(&format!(
        "{}; touch {ready}; while [ ! -e {go} ]; do sleep 0.02; done",
        bare(&bed, first)
    ));
    bed.made("ready");
    assert_done(&bed.run(&bare(&bed, second)));
    // What the running job left may be of use to it.
    let alive = || {
        let found = processes_with(first);
        found.iter().any(|proc| proc.cmdline.starts_with("/bin/sh"))
    };
    assert!(alive());
    std::fs::write(&go, "").unwrap();
    assert_done(&bed.wait(running));
    assert_no_process_within(SOON, first);
    assert_no_process_within(SOON, second);
    let zombies = || {
        let ended = |pid: &i32| {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            stat.contains(") Z ")
        };
        let list = format!("/proc/{0}/task/{0}/children", host.pid());
        let text = std::fs::read_to_string(list).unwrap();
        let pids = text.split_whitespace().map(|pid| pid.parse().unwrap());
        pids.filter(ended).count()
    };
    eventually(SOON, || zombies() == 0);
}

#[test]
fn what_left_session_and_environment_dies_with_the_daemon() {
    let bed = Bed::new();
    let host = bed.host("lab", &[]);
    let marker = "mk-bare-killed";
    let job = bed.sh(&format!("{}; sleep 600", bare(&bed, marker)));
    let listed = || {
        let entries = std::fs::read_dir(bed.state_dir("lab")).unwrap().flatten();
        entries
            .filter(|entry| entry.file_name().to_string_lossy().starts_with("groups-"))
            .any(|entry| {
                let text = std::fs::read_to_string(entry.path()).unwrap_or_default();
                text.contains(&job.to_string()) && text.matches("\"pid\"").count() >= 2
            })
    };
    // The daemon looks once a second, and the watcher writes down what it is told.
    eventually(SOON, listed);
    host.kill9();
    host.wait(SOON);
    assert_no_process_within(SOON, marker);
}

/// The same command as a container's first process would start it: in the session 0 of a world of its own.
fn contained(command: &Command) -> Command {
    let mut outer = Command::new("unshare");
    outer.args(["--pid", "--fork", "--kill-child", "--mount-proc"]);
    outer.args(["sh", "-c", "\"$@\" & wait", "sh"]);
    outer.arg(command.get_program()).args(command.get_args());
    outer.env_clear();
    for (name, value) in command.get_envs() {
        outer.env(name, value.unwrap_or_default());
    }
    outer
}

#[test]
fn strays_go_in_a_container_too() {
    if !require_mounts() || !require_program("unshare") {
        return;
    }
    let bed = Bed::new();
    let host = Running::start(&mut contained(&bed.host_command("lab", &[])), None);
    host.wait_for_line("host registered", SOON);
    let marker = "mk-bare-contained";
    assert_done(&bed.run(&bare(&bed, marker)));
    assert_no_process_within(SOON, marker);
    assert!(!host.stderr_so_far().contains("panicked"));
}

#[test]
fn a_process_whose_main_thread_has_ended_is_found() {
    if !require_program("python3") {
        return;
    }
    let bed = Bed::new();
    let _host = bed.host("lab", &[("SKYCLAW_ALLOWED_COMMANDS", "sh")]);
    let pid = bed.file("pid");
    let script = format!(
        "import ctypes, os, threading, time\n\
         threading.Thread(target=lambda: time.sleep(600)).start()\n\
         open('{pid}.new', 'w').write(str(os.getpid()))\n\
         os.rename('{pid}.new', '{pid}')\n\
         ctypes.CDLL(None).pthread_exit(None)"
    );
    let file = bed.file("script.py");
    std::fs::write(&file, script).unwrap();
    assert_done(&bed.run(&format!(
        "sh -c 'setsid python3 {file} >/dev/null 2>&1 & :'; \
         while [ ! -e {pid} ]; do sleep 0.02; done; \
         while ! grep -q ') Z ' /proc/$(cat {pid})/stat; do sleep 0.02; done"
    )));
    let pid = bed.made("pid");
    eventually(SOON, || {
        !std::path::Path::new(&format!("/proc/{pid}/task")).exists()
    });
}
