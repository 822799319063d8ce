//! One API through two gateways: everything that HTTP can carry, while a gateway and the coordinator go.

use std::time::Duration;

use crate::common::{eventually, holds_within};
use crate::raw::{Caller, head};
use crate::story::{Gateway, SOON, Story};

/// How long nothing must move after a coordinator came back: longer than it waits for hosts.
const PEACE: Duration = Duration::from_secs(40);

/// Reads the events of a stream one by one; each is sent only after the one before was read.
fn events(story: &Story, gateway: &Gateway) -> Caller {
    let dir = tempfile::tempdir_in(story.dir.path()).unwrap();
    let mut caller = Caller::to(gateway.address);
    let path = format!("/events?dir={}", dir.path().display());
    caller.say(head("GET", &path, "accept: text/event-stream\r\n"));
    assert!(caller.until("\r\n\r\n").contains("text/event-stream"));
    caller.until("data: event 1\n\n");
    for next in 2..5 {
        std::fs::write(dir.path().join(next.to_string()), "").unwrap();
        caller.until(&format!("data: event {next}\n\n"));
    }
    caller
}

/// Opens a WebSocket.
fn socket(gateway: &Gateway) -> Caller {
    let mut caller = Caller::to(gateway.address);
    let asks = "connection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
                sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    caller.say(head("GET", "/socket", asks));
    let answer = caller.until("\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    // As RFC 6455 has it for this key.
    assert!(answer.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{answer}");
    caller
}

/// Sends a text over a WebSocket and reads it back.
fn echoes(socket: &mut Caller, text: &str) {
    let mask = [1, 2, 3, 4];
    let length = u8::try_from(text.len()).unwrap();
    let mut frame = vec![0x81, 0x80 | length];
    frame.extend(mask);
    frame.extend(
        text.bytes()
            .zip(mask.iter().cycle())
            .map(|(byte, mask)| byte ^ mask),
    );
    socket.say(frame);
    let mut answer = vec![0; 2 + text.len()];
    std::io::Read::read_exact(&mut socket.0, &mut answer).unwrap();
    assert_eq!(answer[..2], [0x81, length]);
    assert_eq!(&answer[2..], text.as_bytes());
}

/// Sends a body piece by piece, each only after the one before came back.
fn streams(gateway: &Gateway) {
    let mut caller = Caller::to(gateway.address);
    caller.say(head("POST", "/echo", "transfer-encoding: chunked\r\n"));
    for piece in ["one", "two", "three"] {
        caller.say(format!("{:x}\r\n{piece}\r\n", piece.len()));
        caller.until(piece);
    }
    caller.say("0\r\n\r\n");
    caller.until("0\r\n\r\n");
}

#[test]
fn an_api_is_served_through_whatever_gateway_is_left_and_without_a_coordinator() {
    let Some(mut story) = Story::begin(&["lab", "web1", "web2"]) else {
        return;
    };
    story.deploy("3", "one");
    story.until_all_answer(3);
    let replicas = story.gateways[0].replicas(3);
    assert_eq!(story.gateways[1].replicas(3), replicas);
    for gateway in &story.gateways {
        events(&story, gateway);
        echoes(&mut socket(gateway), "hello");
        streams(gateway);
    }
    let mut lasting = socket(&story.gateways[1]);
    echoes(&mut lasting, "before");

    let urls: Vec<String> = story.gateways.iter().map(Gateway::url).collect();
    let call = ["call", &urls.join(","), "api/who"];
    assert!(story.says(&call).contains("replica"));
    drop(story.gateways.remove(0));
    assert!(story.says(&call).contains("replica"));

    let assigned = ids(&story);
    let seen = seen(&story);
    story.coordinator.take().unwrap().kill();
    let left = &story.gateways[0];
    for _ in 0..10 {
        assert_eq!(left.replicas(3), replicas);
    }
    echoes(&mut lasting, "without a coordinator");
    assert!(story.says(&call).contains("replica"));

    story.start_coordinator();
    let all_are_back = || {
        let now = self::seen(&story);
        now.len() == 3 && now.iter().zip(&seen).all(|(now, before)| now != before)
    };
    eventually(SOON, all_are_back);
    let moved = || ids(&story) != assigned || story.ready_on().len() != 3;
    let watched = match std::env::var_os("SKYCLAW_TEST_LONG") {
        Some(_) => PEACE,
        None => Duration::ZERO,
    };
    assert!(!holds_within(watched, moved), "{:?}", story.assignments());
    story.until_all_answer(3);
    assert_eq!(story.gateways[0].replicas(3), replicas);
    echoes(&mut lasting, "after");
}

/// The assignments.
fn ids(story: &Story) -> Vec<String> {
    let all = story.assignments();
    let mut ids: Vec<String> = all.iter().map(|one| one["id"].to_string()).collect();
    ids.sort();
    ids
}

/// When each host was heard of last.
fn seen(story: &Story) -> Vec<String> {
    let hosts = story.coordinator.as_ref().unwrap().get("/v1/hosts");
    let hosts = hosts["hosts"].as_array().unwrap();
    let mut seen: Vec<(String, String)> = hosts
        .iter()
        .map(|host| (host["id"].to_string(), host["lastSeenAt"].to_string()))
        .collect();
    seen.sort();
    seen.into_iter().map(|(_, at)| at).collect()
}
