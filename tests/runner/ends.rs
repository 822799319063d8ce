//! How a command of a runner is ended, and that nothing of it survives.

use std::time::Duration;

use skyclaw::fleet::capture::Capture;
use skyclaw::fleet::remote::Command;
use skyclaw::fleet::report::{Status, Verdict};
use skyclaw::fleet::supervise::{self, Ended, Sink};
use skyclaw::ssh::Exit;
use skyclaw::support::shutdown::{self, Cause};

use crate::bed::{Bed, STARTER, limits, run, run_within, shell, until};
use crate::common::STUBBORN;

#[tokio::test(flavor = "multi_thread")]
async fn a_timeout_ends_even_those_who_ignore_term_and_the_next_command_is_not_disturbed() {
    let Some(bed) = Bed::new() else { return };
    let connection = bed.connect_to_runner().await;
    let got = run_within(&connection, &shell(STUBBORN), Duration::from_millis(500)).await;
    assert_eq!(got.finished.ended, Some(Ended::TimedOut));
    assert_eq!(got.stdout, b"begun\n");
    assert_eq!(run(&connection, &shell("echo next")).await.text(), "next\n");
    until("nothing of it is left", || bed.tasks().is_empty()).await;
    // Those who heed it end as they like.
    let polite = "trap 'echo bye; exit 9' TERM; while :; do sleep 0.1; done";
    run(&connection, &shell("true")).await;
    let got = run_within(&connection, &shell(polite), Duration::from_millis(300)).await;
    assert_eq!(got.finished.ended, Some(Ended::TimedOut));
    assert_eq!(
        (got.text().as_str(), got.finished.exit),
        ("bye\n", Some(Exit::Code(9)))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_timeout_what_left_the_group_is_ended_too() {
    let Some(bed) = Bed::new() else { return };
    for script in [
        "sh -c 'trap \"\" TERM; while :; do sleep 1; done' >/dev/null 2>&1 & wait",
        "setsid sleep 300 >/dev/null 2>&1 & wait",
        "setsid sleep 300 & wait",
    ] {
        let connection = bed.connect_to_runner().await;
        let got = run_within(&connection, &shell(script), Duration::from_millis(300)).await;
        assert_eq!(got.finished.ended, Some(Ended::TimedOut), "{script}");
        until(script, || bed.tasks().is_empty()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_is_called_off_ends_and_its_runner_with_it() {
    let Some(bed) = Bed::new() else { return };
    let connection = bed.connect_to_runner().await;
    let (trigger, mut stop) = shutdown::manual();
    let dir = tempfile::tempdir().unwrap();
    let (live, mut seen) = tokio::sync::mpsc::channel(8);
    let mut sink = Sink {
        stdout: Capture::new(None, dir.path().join("out")),
        stderr: Capture::new(None, dir.path().join("err")),
        live: Some((0, live)),
    };
    let command = shell(STUBBORN);
    let limits = limits(Duration::from_secs(60));
    let running = supervise::run(&connection, &command, limits, &mut sink, &mut stop);
    let stopping = async {
        seen.recv().await;
        trigger.ask(Cause::Interrupt);
    };
    let (finished, ()) = tokio::join!(running, stopping);
    assert_eq!(
        (finished.ended, finished.exit),
        (Some(Ended::Stopped), Some(Exit::Signal("KILL".into())))
    );
    until("nothing is left", || {
        bed.tasks().is_empty() && bed.runners().is_empty()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn background_output_is_read_for_a_while_then_cut_and_never_reaches_the_next() {
    let Some(bed) = Bed::new() else { return };
    for holder in [
        "(while :; do echo LATE; sleep 0.05; done) & echo first",
        "setsid sh -c 'while :; do echo LATE; echo LATE >&2; sleep 0.05; done' & echo first",
    ] {
        let connection = bed.connect_to_runner().await;
        let held = run(&connection, &shell(holder)).await;
        assert!(held.finished.pipe_held, "{:?}", held.finished);
        assert_eq!(held.finished.ended, None);
        assert_eq!(held.finished.exit, Some(Exit::Code(0)));
        for n in 0..5 {
            let next = run(&connection, &shell(&format!("echo {n}"))).await;
            assert_eq!((next.text(), next.stderr), (format!("{n}\n"), vec![]));
        }
        until("the holder is ended", || bed.tasks().is_empty()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_command_leaves_silently_lives_on_unless_asked_and_survives_its_runner() {
    let Some(bed) = Bed::new() else { return };
    let connection = bed.connect_to_runner().await;
    let leave = "sleep 300 >/dev/null 2>&1 & setsid sleep 300 >/dev/null 2>&1 & echo done";
    let strict = Command {
        end_leftovers: true,
        ..shell(leave)
    };
    let ended = run(&connection, &strict).await;
    assert_eq!(ended.text(), "done\n");
    assert_eq!(run(&connection, &shell(STARTER)).await.text(), "perl\n");
    until("what it left is ended", || bed.tasks().is_empty()).await;
    run(&connection, &shell(leave)).await;
    drop(connection);
    until("the runner is gone", || bed.runners().is_empty()).await;
    let left = bed.tasks();
    assert_eq!(left.len(), 2, "as with ssh: {left:?}");
    left.iter().for_each(|proc| proc.kill9());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runner_that_is_killed_loses_its_command_and_nothing_of_that_is_left() {
    let Some(bed) = Bed::new() else { return };
    let connection = bed.connect_to_runner().await;
    let begun = async {
        until("the stubborn task is there", || bed.tasks().len() >= 3).await;
        bed.runners().iter().for_each(|runner| runner.kill9());
    };
    let command = shell(STUBBORN);
    let (got, ()) = tokio::join!(run(&connection, &command), begun);
    let verdict = Verdict::of_finished(&got.finished);
    assert_eq!(verdict.status, Status::Lost, "{:?}", got.finished);
    assert!(!connection.is_closed());
    until("nothing of it is left", || bed.tasks().is_empty()).await;
    // The connection is none the worse.
    for n in 0..3 {
        let next = run(&connection, &shell(&format!("echo {n}"))).await;
        assert_eq!(next.text(), format!("{n}\n"));
    }
    // One that dies while it is idle costs at most the command that is sent before its end is heard of.
    bed.runners().iter().for_each(|runner| runner.kill9());
    until("it is dead", || bed.runners().is_empty()).await;
    let next = run(&connection, &shell("echo on")).await;
    let verdict = Verdict::of_finished(&next.finished);
    assert!(
        next.text() == "on\n" || verdict.status == Status::Lost,
        "{:?}",
        next.finished
    );
    assert_eq!(run(&connection, &shell("echo on")).await.text(), "on\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_goes_away_takes_the_command_with_it() {
    let Some(bed) = Bed::new() else { return };
    for cut in ["ours", "theirs"] {
        let connection = bed.connect_to_runner().await;
        let command = shell(STUBBORN);
        let begun = until("the stubborn task is there", || bed.tasks().len() >= 3);
        if cut == "ours" {
            tokio::select! {
                _ = run(&connection, &command) => panic!("it ended by itself"),
                () = begun => {}
            }
            drop(connection);
        } else {
            let cutting = async {
                begun.await;
                bed.server.drop_connections();
            };
            let (got, ()) = tokio::join!(run(&connection, &command), cutting);
            assert!(got.finished.lost.is_some(), "{:?}", got.finished);
        }
        until(cut, || {
            crate::common::processes_with(&bed.server.marker()).is_empty()
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_is_dropped_halfway_is_ended() {
    let Some(bed) = Bed::new() else { return };
    let connection = bed.connect_to_runner().await;
    let command = shell(STUBBORN);
    tokio::select! {
        _ = run(&connection, &command) => panic!("it ended by itself"),
        () = until("the stubborn task is there", || bed.tasks().len() >= 3) => {}
    }
    until("it is ended", || bed.tasks().is_empty()).await;
    assert_eq!(run(&connection, &shell("echo on")).await.text(), "on\n");
}
