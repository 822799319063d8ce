//! Replicas and hosts that are killed while callers read.

use std::time::{Duration, Instant};

use crate::common::{eventually, holds_within};
use crate::load::Load;
use crate::story::{SOON, Story};

/// How long it goes on, and between two kills: `SKYCLAW_TEST_LONG=1` asks for the long run.
fn lengths() -> (Duration, Duration) {
    match std::env::var_os("SKYCLAW_TEST_LONG") {
        Some(_) => (Duration::from_secs(60), Duration::from_secs(5)),
        None => (Duration::from_secs(12), Duration::from_secs(3)),
    }
}

#[test]
fn nobody_who_reads_notices_that_one_of_two_replicas_is_killed_again_and_again() {
    let Some(mut story) = Story::begin(&["lab", "web1", "web2"]) else {
        return;
    };
    story.deploy("2", "one");
    story.until_all_answer(2);
    let (length, pause) = lengths();
    let load = Load::of_gets(&story);
    let (began, mut kills) = (Instant::now(), 0);
    while began.elapsed() < length {
        // The one that has lived longest; two at once would leave nobody.
        let ready = story.ready_on();
        let victim = ready[kills % ready.len()].clone();
        let before = load.done();
        let killed_at = Instant::now();
        for process in story.processes_of(&victim) {
            process.kill9();
        }
        kills += 1;
        eventually(SOON, || {
            !story.ready_on().contains(&victim) || story.ready_on().len() > 2
        });
        // The next one comes at its time, or once both are back.
        let rest = pause.saturating_sub(killed_at.elapsed());
        let _paced = holds_within(rest, || false);
        story.until_all_answer(2);
        let back_after = killed_at.elapsed();
        eprintln!("replica {kills}, on {victim}: both answer {back_after:?} after it was killed");
        assert!(load.done() > before, "nobody was answered any more");
    }
    // And a whole host, as when its daemon crashes and is started again.
    let victim = story.ready_on()[0].clone();
    let name = story.host(&victim).name;
    story.host(name).daemon.kill9();
    eprintln!("host {victim} killed after {:?}", began.elapsed());
    let before = load.done();
    eventually(SOON, || load.done() > before + 200);
    story.start_host(name);
    story.until_all_answer(2);
    let took = began.elapsed();
    let done = load.end_without_failure();
    eprintln!("{done} requests in {took:?}, {kills} replicas and one host killed, none failed");
}
