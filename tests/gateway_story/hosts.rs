//! Hosts that leave: one that says so, and one that dies.

use std::time::{Duration, Instant};

use crate::common::eventually;
use crate::load::Load;
use crate::story::{SOON, Story};

#[test]
fn replicas_move_from_a_host_that_stops_and_from_one_that_dies() {
    let Some(mut story) = Story::begin(&["lab", "web1", "web2"]) else {
        return;
    };
    story.deploy("2", "one");
    story.until_all_answer(2);
    let load = Load::of_all(&story);
    let leaving = story.ready_on()[0].clone();
    let at = story.hosts.iter().position(|host| host.name == leaving);
    let host = story.hosts.remove(at.unwrap());
    host.daemon.terminate();
    host.daemon.wait(SOON).expect_code(0);
    // Those that write have seen no failure either.
    let of_all = load.end_without_failure();
    story.until_all_answer(2);
    assert!(!story.ready_on().contains(&leaving));

    let load = Load::of_gets(&story);
    let dying = story.ready_on()[0].clone();
    let processes = story.processes_of(&dying);
    assert!(!processes.is_empty());
    let at = story.hosts.iter().position(|host| host.name == dying);
    let host = story.hosts.remove(at.unwrap());
    host.daemon.kill9();
    let died_at = Instant::now();
    eventually(SOON, || {
        processes.iter().all(|process| {
            let left = crate::common::procs::all_processes();
            left.iter().all(|one| one.pid != process.pid)
        })
    });
    let rest = story.hosts[0].name;
    eventually(SOON, || {
        let ready = story.ready_on();
        ready.len() == 2 && ready.iter().all(|host| host == rest)
    });
    let moved_within = died_at.elapsed();
    // It is to take 30 s at most; the rest is for a machine that is busy.
    assert!(moved_within < Duration::from_secs(40), "{moved_within:?}");
    story.until_all_answer(2);
    let of_gets = load.end_without_failure();
    eprintln!(
        "{of_all} requests while a host stopped, {of_gets} while one died, none failed; moved within {moved_within:?}"
    );
}
