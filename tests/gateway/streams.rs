//! Bodies both ways: they go on as they come, and no faster than they are taken.

use std::io::{ErrorKind, Read, Write};
use std::sync::Mutex;
use std::sync::mpsc::channel;
use std::time::Duration;

use crate::raw::{Caller, Raw, head, ok};
use crate::site::{Gateway, Site};

const CHUNKED: &str =
    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";

fn gateway_for(site: &Site, backend: &Raw, args: &[&str]) -> Gateway {
    site.service("api", &[&backend.url()]);
    site.gateway(args)
}

#[test]
fn an_event_is_there_before_the_next_one_is_sent() {
    let (go, wait) = channel::<()>();
    let wait = Mutex::new(wait);
    let backend = Raw::new(move |talk| {
        talk.say(CHUNKED);
        talk.say("9\r\ndata: 1\n\n\r\n");
        wait.lock().unwrap().recv().unwrap();
        talk.say("9\r\ndata: 2\n\n\r\n0\r\n\r\n")
    });
    let site = Site::new();
    let gateway = gateway_for(&site, &backend, &[]);
    let mut caller = Caller::to(gateway.address);
    caller.say(head("GET", "/events", ""));
    caller.until("data: 1\n\n");
    go.send(()).unwrap();
    caller.until("data: 2\n\n\r\n0\r\n\r\n");
}

#[test]
fn a_piece_of_an_upload_arrives_before_the_next_one_is_sent() {
    let (tell, told) = channel();
    let tell = Mutex::new(tell);
    let backend = Raw::new(move |talk| {
        for _ in 0..2 {
            let (size, data) = (talk.line(), talk.line());
            tell.lock().unwrap().send(format!("{size}{data}")).unwrap();
        }
        assert_eq!(
            (talk.line(), talk.line()),
            ("0\r\n".to_owned(), "\r\n".to_owned())
        );
        talk.say(ok("got it"))
    });
    let site = Site::new();
    let gateway = gateway_for(&site, &backend, &[]);
    let mut caller = Caller::to(gateway.address);
    caller.say(head("PUT", "/", "transfer-encoding: chunked\r\n"));
    for piece in ["3\r\none\r\n", "3\r\ntwo\r\n"] {
        caller.say(piece);
        assert_eq!(told.recv_timeout(Duration::from_secs(60)).unwrap(), piece);
    }
    caller.say("0\r\n\r\n");
    caller.until("got it");
}

#[test]
fn an_expected_continue_comes_before_the_body_and_an_early_no_instead_of_it() {
    let backend = Raw::new(|talk| {
        assert!(!talk.head.contains("expect"), "{}", talk.head);
        let body = talk.bytes(5);
        talk.say(ok(&String::from_utf8(body).unwrap()))
    });
    let site = Site::new();
    let gateway = gateway_for(&site, &backend, &["--max-body", "1000"]);
    let expects = |length| {
        head(
            "POST",
            "/",
            &format!("expect: 100-continue\r\ncontent-length: {length}\r\n"),
        )
    };
    let mut caller = Caller::to(gateway.address);
    caller.say(expects(5));
    assert!(caller.until("\r\n\r\n").starts_with("HTTP/1.1 100 "));
    caller.say("hello");
    caller.until("hello");
    let mut caller = Caller::to(gateway.address);
    caller.say(expects(1001));
    assert!(caller.until("\r\n\r\n").starts_with("HTTP/1.1 413 "));
}

#[test]
fn trailers_go_both_ways() {
    let backend = Raw::new(|talk| {
        while talk.line() != "0\r\n" {}
        let asked = talk.line();
        talk.line();
        talk.say("HTTP/1.1 200 OK\r\ntrailer: x-sum\r\ntransfer-encoding: chunked\r\n\r\n");
        talk.say(format!(
            "{:x}\r\n{asked}\r\n0\r\nx-sum: 42\r\n\r\n",
            asked.len()
        ))
    });
    let site = Site::new();
    let gateway = gateway_for(&site, &backend, &[]);
    let mut caller = Caller::to(gateway.address);
    let headers = "te: trailers\r\ntrailer: x-check\r\ntransfer-encoding: chunked\r\n";
    caller.say(head("POST", "/", headers));
    caller.say("1\r\na\r\n0\r\nx-check: 7\r\n\r\n");
    let answer = caller.until("\r\n0\r\nx-sum: 42\r\n\r\n");
    assert!(answer.contains("x-check: 7"), "{answer}");
}

#[test]
fn old_callers_pipelines_and_heads_are_understood() {
    let backend = Raw::new(|talk| {
        let body = if talk.head.starts_with("HEAD") {
            ""
        } else {
            "body"
        };
        talk.say(format!(
            "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n{body}"
        ))
    });
    let site = Site::new();
    let gateway = gateway_for(&site, &backend, &[]);
    let mut caller = Caller::to(gateway.address);
    caller.say(head("HEAD", "/", ""));
    assert!(caller.until("\r\n\r\n").contains("content-length: 4"));
    caller.say(
        [
            head("GET", "/1", ""),
            head("HEAD", "/2", ""),
            head("GET", "/3", ""),
        ]
        .concat(),
    );
    caller.until("\r\n\r\nbody");
    caller.until("\r\n\r\n");
    caller.until("\r\n\r\nbody");
    let mut old = Caller::to(gateway.address);
    old.say("GET /v1/gateway/api/ HTTP/1.0\r\n\r\n");
    let answer = old.rest();
    assert!(
        answer.starts_with("HTTP/1.0 200 ") && answer.ends_with("\r\n\r\nbody"),
        "{answer}"
    );
}

const MUCH: usize = 100 << 20;
/// What sockets between two processes may hold, and more.
const HELD: usize = 40 << 20;

/// Writes until nothing is taken for a while; returns how much that was.
fn fill(to: &mut impl Write, left: &mut usize) -> usize {
    let piece = vec![b'x'; 64 << 10];
    let mut written = 0;
    while *left > 0 {
        match to.write(&piece[..piece.len().min(*left)]) {
            Ok(count) => {
                written += count;
                *left -= count;
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                break;
            }
            Err(error) => panic!("{error} after {written}"),
        }
    }
    written
}

#[test]
fn a_slow_reader_slows_the_service_and_costs_no_memory() {
    let (tell, full) = channel();
    let tell = Mutex::new(tell);
    let backend = Raw::new(move |talk| {
        talk.say(format!("HTTP/1.1 200 OK\r\ncontent-length: {MUCH}\r\n\r\n"));
        let mut socket = talk.socket();
        let mut left = MUCH;
        socket
            .set_write_timeout(Some(Duration::from_secs(2)))
            .unwrap();
        tell.lock()
            .unwrap()
            .send(fill(&mut socket, &mut left))
            .unwrap();
        socket.set_write_timeout(None).unwrap();
        fill(&mut socket, &mut left);
        true
    });
    let site = Site::new();
    let gateway = gateway_for(&site, &backend, &[]);
    let before = gateway.memory("VmHWM");
    let mut caller = Caller::to(gateway.address);
    caller.say(head("GET", "/", ""));
    caller.until("\r\n\r\n");
    let held = full.recv_timeout(Duration::from_secs(60)).unwrap();
    assert!(
        held < HELD,
        "{held} bytes were taken from the service that nobody read"
    );
    let mut body = Read::take(&mut caller.0, MUCH as u64);
    assert_eq!(
        std::io::copy(&mut body, &mut std::io::sink()).unwrap(),
        MUCH as u64
    );
    let grown = gateway.memory("VmHWM") - before;
    assert!(grown < 16 << 20, "{grown} bytes more");
}

#[test]
fn a_slow_service_slows_the_caller_and_costs_no_memory() {
    let (go, wait) = channel::<()>();
    let wait = Mutex::new(wait);
    let backend = Raw::new(move |talk| {
        wait.lock().unwrap().recv().unwrap();
        assert_eq!(talk.bytes(MUCH).len(), MUCH);
        talk.say(ok("all"))
    });
    let site = Site::new();
    let gateway = gateway_for(&site, &backend, &["--max-body", &(MUCH + 1).to_string()]);
    let before = gateway.memory("VmHWM");
    let mut caller = Caller::to(gateway.address);
    caller.say(head("POST", "/", &format!("content-length: {MUCH}\r\n")));
    let socket = caller.0.get_mut();
    let mut left = MUCH;
    socket
        .set_write_timeout(Some(Duration::from_secs(2)))
        .unwrap();
    let held = fill(socket, &mut left);
    assert!(
        held < HELD,
        "{held} bytes were taken from the caller that nobody read"
    );
    go.send(()).unwrap();
    socket.set_write_timeout(None).unwrap();
    fill(socket, &mut left);
    caller.until("\r\n\r\nall");
    let grown = gateway.memory("VmHWM") - before;
    assert!(grown < 16 << 20, "{grown} bytes more");
}
