//! What a server refuses, what a stream may not do to others, and how streams end.

use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::Duration;

use skyclaw::ssh::Error;
use skyclaw::ssh::forward::{Limits, Refusal};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::timeout;

use crate::common::SshdBuilder;
use crate::{MIB, Site, bytes, exchange, refusal, soon};

#[tokio::test(flavor = "multi_thread")]
async fn one_stream_too_many_is_refused_until_another_ends() {
    let Some(site) = Site::new().await else {
        return;
    };
    let limits = Limits {
        streams: 2,
        ..Limits::default()
    };
    let mut forward = site.forward(limits).await.unwrap();
    let (mut one, here) = site.pair(&mut forward).await;
    let (_two, _here) = site.pair(&mut forward).await;
    let mut three = UnixStream::connect(site.path()).await.unwrap();
    let mut got = Vec::new();
    // Whether sshd ends it or resets it: nothing comes.
    let _ = soon(three.read_to_end(&mut got)).await;
    assert!(got.is_empty());
    drop(here);
    soon(one.read_to_end(&mut got)).await.unwrap();
    drop(one);
    // Its place is free when the server has heard of it.
    let mut tries = 0;
    let here = loop {
        let there = UnixStream::connect(site.path()).await.unwrap();
        match timeout(Duration::from_millis(200), forward.accept()).await {
            Ok(stream) => break stream,
            Err(_) => drop(there),
        }
        tries += 1;
        assert!(tries < 100, "no place became free");
    };
    assert!(here.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_does_not_want_to_says_so_and_the_connection_goes_on() {
    let forbid = |builder: SshdBuilder| {
        builder
            .extra("AllowStreamLocalForwarding no")
            .extra("AllowTcpForwarding no")
    };
    let Some(site) = Site::with(forbid).await else {
        return;
    };
    let limits = Limits::default();
    let error = site.forward(limits).await.unwrap_err();
    assert!(
        error.hint().unwrap().contains("AllowStreamLocalForwarding"),
        "{error}"
    );
    assert_eq!(refusal::<()>(Err(error)), Refusal::Policy);
    let connection = &site.link.connection;
    for port in [0, 18_787] {
        let refused = connection.forward_port(port, limits).await;
        assert_eq!(refusal(refused), Refusal::Policy);
    }
    let ran = connection.run("echo on", Vec::new(), 100).await.unwrap();
    assert_eq!(ran.stdout, b"on\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_in_use_or_too_long_is_told_from_a_refusal() {
    let Some(site) = Site::new().await else {
        return;
    };
    // Left over: there is a file, and nobody listens.
    drop(UnixListener::bind(site.path()).unwrap());
    let refused = site.forward(Limits::default()).await;
    assert_eq!(refusal(refused), Refusal::InUse);
    std::fs::remove_file(site.path()).unwrap();
    let _forward = site.forward(Limits::default()).await.unwrap();
    let refused = site.forward(Limits::default()).await;
    assert_eq!(refusal(refused), Refusal::InUse, "by ourselves");
    let long = site.server.home().join("x".repeat(120));
    let connection = &site.link.connection;
    let refused = connection
        .forward_socket(long.to_str().unwrap(), Limits::default())
        .await;
    assert_eq!(refusal(refused), Refusal::TooLong);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_sleeps_holds_up_nobody_and_loses_only_its_own_stream() {
    let Some(site) = Site::new().await else {
        return;
    };
    let limits = Limits {
        unread: 8 * MIB,
        ..Limits::default()
    };
    let mut forward = site.forward(limits).await.unwrap();
    let (mut fast, sleeping) = site.pair(&mut forward).await;
    // More than the window of the channel; nobody reads it.
    soon(fast.write_all(&bytes(3, 6 * MIB))).await.unwrap();
    let (there, here) = site.pair(&mut forward).await;
    exchange(there, here).await;
    let connection = &site.link.connection;
    let ran = soon(connection.run("echo on", Vec::new(), 100)).await;
    assert_eq!(ran.unwrap().stdout, b"on\n");
    // Past its limit the stream is closed at both ends.
    let ended = async { while fast.write_all(&bytes(4, MIB)).await.is_ok() {} };
    soon(ended).await;
    let mut sleeping = sleeping;
    let error = soon(sleeping.read_to_end(&mut Vec::new()))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("than was read here"), "{error}");
    let (there, here) = site.pair(&mut forward).await;
    exchange(there, here).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_is_not_left_waiting_for_a_reader_that_is_gone() {
    let Some(site) = Site::new().await else {
        return;
    };
    let mut forward = site.forward(Limits::default()).await.unwrap();
    let (there, mut here) = site.pair(&mut forward).await;
    let writing = tokio::spawn(async move {
        let piece = bytes(5, MIB);
        loop {
            if let Err(error) = here.write_all(&piece).await {
                return error;
            }
        }
    });
    // It waits for the window; then the reader goes.
    there.readable().await.unwrap();
    assert!(!writing.is_finished());
    drop(there);
    soon(writing).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn no_stream_survives_its_connection_in_silence() {
    let Some(site) = Site::new().await else {
        return;
    };
    let mut forward = site.forward(Limits::default()).await.unwrap();
    let (mut there, mut here) = site.pair(&mut forward).await;
    there.write_all(b"half a request").await.unwrap();
    let mut got = [0; 14];
    soon(here.read_exact(&mut got)).await.unwrap();
    site.server.drop_connections();
    // No end of file: what came before was not all.
    let error = soon(here.read(&mut got)).await.unwrap_err();
    assert!(error.to_string().contains("SSH connection"), "{error}");
    assert!(soon(here.write(b"x")).await.is_err());
    assert!(soon(forward.accept()).await.is_none());
    let death = soon(site.link.connection.closed()).await;
    assert!(matches!(death, Error::Lost { .. }), "{death}");
    let refused = site.forward(Limits::default()).await.unwrap_err();
    assert!(matches!(refused, Error::Lost { .. }), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelling_ends_the_listening_and_not_the_streams() {
    let Some(site) = Site::new().await else {
        return;
    };
    let mut forward = site.forward(Limits::default()).await.unwrap();
    let (there, here) = site.pair(&mut forward).await;
    let connection = &site.link.connection;
    soon(connection.cancel_forward(forward)).await.unwrap();
    assert!(UnixStream::connect(site.path()).await.is_err());
    exchange(there, here).await;
    // The file stays, as sshd leaves it.
    assert!(Path::new(&site.path()).exists());
    std::fs::remove_file(site.path()).unwrap();
    let mut forward = site.forward(Limits::default()).await.unwrap();
    let (there, here) = site.pair(&mut forward).await;
    exchange(there, here).await;
    drop(site.world);
}
