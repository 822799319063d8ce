//! Updates and changes of the number of replicas while callers read and write.

use crate::common::eventually;
use crate::load::Load;
use crate::raw::{Caller, head};
use crate::story::{SOON, Story};

/// Sends a piece of a body and reads it back.
fn echo(upload: &mut Caller, piece: &str) {
    upload.say(format!("{:x}\r\n{piece}\r\n", piece.len()));
    upload.until(piece);
}

#[track_caller]
fn only_answers(story: &Story, version: &str) {
    eventually(SOON, || {
        story.gateways.iter().all(|gateway| {
            let answering = gateway.replicas(3);
            answering.len() == 3 && answering.iter().all(|one| one.version == version)
        })
    });
}

#[test]
fn nobody_notices_updates_and_changes_of_the_number_of_replicas() {
    let Some(story) = Story::begin(&["lab", "web1", "web2"]) else {
        return;
    };
    story.deploy("3", "one");
    story.until_all_answer(3);
    // One request lasts longer than the replica that answers it is wanted.
    let mut upload = Caller::to(story.gateways[0].address);
    upload.say(head("POST", "/echo", "transfer-encoding: chunked\r\n"));
    echo(&mut upload, "before");
    let old: Vec<i32> = (story.hosts.iter())
        .flat_map(|host| story.processes_of(host.name))
        .map(|process| process.pid)
        .collect();
    assert_eq!(old.len(), 3);
    let left = || {
        let all = story.hosts.iter();
        let all = all.flat_map(|host| story.processes_of(host.name));
        all.filter(|process| old.contains(&process.pid)).count()
    };
    let load = Load::of_all(&story);
    let update = story.start_deploy("3", "two");
    // All others of the old version have been left by everybody.
    eventually(SOON, || left() == 1);
    only_answers(&story, "two");
    echo(&mut upload, "after");
    assert_eq!(left(), 1);
    upload.say("0\r\n\r\n");
    upload.until("0\r\n\r\n");
    update.wait(SOON).expect_code(0);
    assert_eq!(left(), 0);
    story.deploy("3", "three");
    only_answers(&story, "three");
    for count in ["1", "3"] {
        story.says(&["service", "scale", "api", count, "--wait"]);
        story.until_all_answer(count.parse().unwrap());
    }
    let done = load.end_without_failure();
    eprintln!("{done} requests, two updates, 3 replicas to 1 to 3, none failed");
}
