//! Runners take channels of their connection only while nobody needs them.

use std::time::Duration;

use skyclaw::ssh::upload::Upload;

use crate::bed::{Bed, STARTER, run, shell, until};

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_runner_gives_its_session_to_whoever_needs_one() {
    let Some(bed) = Bed::on(|builder| builder.extra("MaxSessions 1")) else {
        return;
    };
    let connection = bed.connect_to_runner().await;
    for n in 0..3 {
        let contents = format!("contents {n}");
        let upload = Upload::of_bytes("~/file", 0o600, contents.as_bytes());
        let sent = connection.upload(&upload, &mut contents.as_bytes()).await;
        sent.unwrap();
        let got = run(&connection, &shell("cat file")).await;
        assert_eq!(got.text(), contents);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_idle_runners_leave_room_for_all_channels() {
    let Some(bed) = Bed::new() else { return };
    let connection = bed.connect().await;
    for _ in 0..2 {
        let command = shell("sleep 0.3");
        let eight = [(); 8].map(|()| run(&connection, &command));
        let mut eight = Vec::from(eight.map(Box::pin));
        futures_util::future::join_all(eight.iter_mut()).await;
    }
    assert_eq!(bed.runners().len(), 8);
    let mut open = Vec::new();
    for _ in 0..8 {
        open.push(connection.exec("exec cat").await.unwrap());
    }
    drop(open);
    until("they gave way", || bed.runners().is_empty()).await;
}

#[tokio::test]
async fn a_runner_that_nobody_uses_is_closed() {
    let Some(bed) = Bed::new() else { return };
    let connection = bed.connect_to_runner().await;
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(20)).await;
    tokio::time::resume();
    assert_eq!(run(&connection, &shell(STARTER)).await.text(), "perl\n");
    assert_eq!(bed.runners().len(), 1);
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(31)).await;
    tokio::time::resume();
    until("it is closed", || bed.runners().is_empty()).await;
    // The next one is a first one again.
    assert_ne!(run(&connection, &shell(STARTER)).await.text(), "perl\n");
    assert_eq!(run(&connection, &shell(STARTER)).await.text(), "perl\n");
    tokio::time::pause();
    // Used in time, it is replaced all the same when it is old.
    for _ in 0..31 {
        tokio::time::advance(Duration::from_secs(20)).await;
        tokio::time::resume();
        run(&connection, &shell("true")).await;
        tokio::time::pause();
    }
    tokio::time::resume();
    let before = bed.sessions();
    run(&connection, &shell("true")).await;
    run(&connection, &shell("true")).await;
    assert!(bed.sessions() <= before + 1);
    assert!(before >= 5, "{before} sessions");
}
