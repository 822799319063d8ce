//! How a controller ends: what runs may end, for a while.

use rustix::process::Signal;
use skyclaw::protocol::JobStatus;

use crate::common::eventually;
use crate::place::{Place, SOON, out};

#[test]
fn what_runs_may_end_and_nothing_new_begins() {
    let Some(mut place) = Place::ready(&["web1"], 1) else {
        return;
    };
    let (begun, go) = (place.file("begun"), place.file("go"));
    let script = format!("touch {begun}; while [ ! -e {go} ]; do sleep 0.05; done; echo whole");
    let running = place.sh(None, &script);
    place.made("begun");
    let waiting = place.sh(None, "echo later");
    let controller = place.controller.take().unwrap();
    controller.terminate();
    controller.wait_for_line("web1: finishes what it has", SOON);
    std::fs::write(&go, "").unwrap();
    let ended = controller.wait(SOON);
    assert_eq!(ended.code, 0, "{ended}");
    place.up(&[]);
    let whole = place.wait(running);
    assert_eq!((out(&whole).as_str(), whole.attempts.get()), ("whole\n", 1));
    let later = place.wait(waiting);
    assert_eq!((out(&later).as_str(), later.attempts.get()), ("later\n", 1));
}

#[test]
fn what_does_not_end_in_time_is_ended_and_runs_again() {
    let Some(mut place) = Place::with(&["web1"], 1) else {
        return;
    };
    place.up(&["--drain-ms", "200"]);
    let (begun, go) = (place.file("begun"), place.file("go"));
    let script = format!("echo x >> {begun}; while [ ! -e {go} ]; do sleep 0.05; done; echo done");
    let running = place.sh(Some("web1"), &script);
    place.made("begun");
    let down = place.bed.run(&["fleet", "down"]);
    assert_eq!(down.code, 0, "{down}");
    assert_eq!(place.controller.take().unwrap().wait(SOON).code, 0);
    assert!(place.bed.tasks().is_empty(), "{:?}", place.bed.tasks());
    std::fs::write(&go, "").unwrap();
    place.up(&[]);
    let again = place.wait(running);
    assert_eq!(
        (again.status, again.attempts.get()),
        (JobStatus::Completed, 2)
    );
    let begun = std::fs::read_to_string(&begun).unwrap();
    assert_eq!(begun.lines().count(), 2);
}

#[test]
fn now_means_now() {
    let Some(mut place) = Place::ready(&["web1"], 1) else {
        return;
    };
    // Not even TERM ends it.
    let stubborn = place.sh(Some("web1"), crate::common::STUBBORN);
    place.bed.wait_for_stubborn();
    let down = place.bed.run(&["fleet", "down", "--now"]);
    assert_eq!(down.code, 0, "{down}");
    assert!(
        down.took < std::time::Duration::from_secs(15),
        "{:?}",
        down.took
    );
    assert_eq!(place.controller.take().unwrap().wait(SOON).code, 0);
    place.bed.assert_no_task_within(SOON);
    place.up(&[]);
    eventually(SOON, || place.record(stubborn).attempts.get() == 2);
}

#[test]
fn a_controller_that_does_not_listen_is_killed_when_it_is_to_go_now() {
    let Some(mut place) = Place::with(&["web1"], 1) else {
        return;
    };
    place.up(&[]);
    let controller = place.controller.take().unwrap();
    controller.signal(Signal::STOP);
    let down = place.bed.run(&["fleet", "down", "--now"]);
    assert_eq!(down.code, 0, "{down}");
    assert!(down.err().contains("was killed"), "{down}");
    assert_eq!(controller.wait(SOON).code, 128 + 9);
    place.up(&[]);
    place.wait_for_hosts(1);
}
