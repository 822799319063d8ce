//! Made, kept up, taken down.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::Duration;

use skyclaw::ssh::forward::Place;

use crate::rig::Rig;

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_private_and_leaves_nothing() {
    let Some(rig) = Rig::new() else { return };
    let mut running = rig.start();
    let Place::Socket(path) = running.up().await else {
        panic!("a server of today forwards sockets")
    };
    assert_eq!(mode(&rig.directory()), 0o700);
    assert_eq!(mode(&rig.socket()), 0o600);
    assert_eq!(mode(&rig.file()), 0o600);
    let announced = rig.announced();
    assert_eq!(announced["url"], format!("unix:{path}"));
    assert!(announced.get("token").is_none(), "{announced}");
    for _ in 0..2 {
        let visit = rig.visit(&mut running).await;
        assert!(visit.token.is_none());
    }
    running.stop().await;
    assert_eq!(rig.left(), Vec::<String>::new());
    crate::common::eventually(crate::rig::SOON, || {
        rig.server.session_processes().is_empty()
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn it_comes_back_after_whatever_ends_its_connection() {
    let Some(mut rig) = Rig::new() else { return };
    let mut running = rig.start();
    running.up().await;
    // The server's process for our session is killed: the socket's file stays behind.
    rig.server.drop_connections();
    running.up_again().await;
    rig.visit(&mut running).await;
    rig.server.restart();
    running.up_again().await;
    rig.visit(&mut running).await;
    assert_eq!(rig.left().len(), 2, "{:?}", rig.left());
    running.stop().await;
    assert_eq!(rig.left(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_is_away_is_waited_for() {
    let Some(mut rig) = Rig::new() else { return };
    rig.server.stop();
    let mut running = rig.start();
    let error = running.down().await;
    assert!(error.contains("cannot connect"), "{error}");
    rig.server.start_again();
    running.up().await;
    rig.visit(&mut running).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_wants_it_while_the_host_is_away() {
    let Some(mut rig) = Rig::new() else { return };
    rig.server.stop();
    let mut running = rig.start();
    running.down().await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_wants_it_while_the_host_takes_for_ever() {
    let bin = tempfile::tempdir().unwrap();
    let (stuck, begun) = (bin.path().join("ls"), bin.path().join("begun"));
    let script = format!("#!/bin/sh\n: >{}\nexec sleep 600\n", begun.display());
    fs::write(&stuck, script).unwrap();
    fs::set_permissions(&stuck, fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:/usr/bin:/bin", bin.path().display());
    let Some(rig) = Rig::with(|builder| builder.env("PATH", &path)) else {
        return;
    };
    let running = rig.start();
    crate::common::eventually(crate::rig::SOON, || begun.exists());
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_ends_when_nobody_takes_its_streams() {
    let Some(rig) = Rig::new() else { return };
    let mut running = rig.start();
    running.up().await;
    running.visits.close();
    let gone = |state: &_| matches!(state, skyclaw::fleet::tunnel::State::Gone);
    running.reaches(gone).await;
    assert_eq!(rig.left(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_left_over_is_removed() {
    let Some(rig) = Rig::new() else { return };
    fs::create_dir_all(rig.directory()).unwrap();
    // Others could look in, and there is a socket that nobody listens on.
    fs::set_permissions(rig.directory(), fs::Permissions::from_mode(0o755)).unwrap();
    drop(UnixListener::bind(rig.socket()).unwrap());
    fs::write(rig.file(), "{\"url\":\"unix:/elsewhere\"}").unwrap();
    let mut running = rig.start();
    running.up().await;
    assert_eq!(mode(&rig.directory()), 0o700);
    rig.visit(&mut running).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn symbolic_links_are_refused() {
    let Some(rig) = Rig::new() else { return };
    let elsewhere = rig.world.dir().join("elsewhere");
    fs::create_dir_all(&elsewhere).unwrap();
    fs::create_dir_all(rig.directory().parent().unwrap()).unwrap();
    symlink(&elsewhere, rig.directory()).unwrap();
    let mut running = rig.start();
    let error = running.down().await;
    assert!(error.contains("is a symbolic link; remove it"), "{error}");
    assert!(error.contains(rig.directory().to_str().unwrap()), "{error}");
    running.stop().await;
    assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 0);
    fs::remove_file(rig.directory()).unwrap();
    fs::create_dir(rig.directory()).unwrap();
    for path in [rig.socket(), rig.file()] {
        fs::write(elsewhere.join("victim"), "theirs").unwrap();
        symlink(elsewhere.join("victim"), &path).unwrap();
        let mut running = rig.start();
        let error = running.down().await;
        assert!(error.contains("is a symbolic link"), "{error}");
        fs::remove_file(&path).unwrap();
        // Somebody has looked at it: it goes on by itself.
        running.up().await;
        running.stop().await;
    }
    let theirs = fs::read_to_string(elsewhere.join("victim")).unwrap();
    assert_eq!(theirs, "theirs");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_makes_sockets_for_all_is_corrected() {
    let Some(rig) = Rig::with(|builder| builder.extra("StreamLocalBindMask 0111")) else {
        return;
    };
    let mut running = rig.start();
    running.up().await;
    assert_eq!(mode(&rig.socket()), 0o600);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_sockets_gives_a_port_with_a_token() {
    let forbid =
        |builder: crate::common::SshdBuilder| builder.extra("AllowStreamLocalForwarding no");
    let Some(rig) = Rig::with(forbid) else { return };
    let mut running = rig.start_with(Some(Duration::from_millis(300)));
    let first = running.up().await;
    assert!(matches!(first, Place::Port(_)), "{first:?}");
    assert_eq!(mode(&rig.file()), 0o600);
    let announced = rig.announced();
    let token = announced["token"].as_str().unwrap().to_owned();
    assert_eq!(token.len(), 64);
    let visit = rig.visit(&mut running).await;
    assert_eq!(visit.token.unwrap().expose(), token);
    // Nobody told the old server process that we are gone: it keeps the port.
    rig.server.freeze_connections();
    let second = running.up_again().await;
    assert_ne!(second, first);
    let announced = rig.announced();
    assert_eq!(announced["url"], format!("http://{second}"));
    assert_ne!(
        announced["token"], token,
        "what was sent to the old port is worth nothing"
    );
    rig.visit(&mut running).await;
    running.stop().await;
    assert_eq!(rig.left(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_forwards_nothing_says_what_to_change() {
    let Some(rig) = Rig::with(|builder| builder.extra("DisableForwarding yes")) else {
        return;
    };
    let mut running = rig.start();
    let error = running.down().await;
    assert!(error.contains("will not listen on a port"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_of_two_wins_and_keeps_its_files() {
    let Some(rig) = Rig::new() else { return };
    let mut old = rig.start();
    old.up().await;
    // The controller was started again, and the old session still lives.
    let mut new = rig.start();
    new.up().await;
    rig.visit(&mut new).await;
    let announced = rig.announced();
    old.stop().await;
    assert_eq!(rig.announced(), announced);
    rig.visit(&mut new).await;
    new.stop().await;
    assert_eq!(rig.left(), Vec::<String>::new());
}
