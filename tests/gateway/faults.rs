//! Backends that misbehave, and callers that leave: what is answered, and whom it counts against.

use std::io::Write;
use std::net::Shutdown;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::time::Duration;

use crate::common::{SOON, eventually};
use crate::raw::{Caller, Raw, head, ok};
use crate::site::{Gateway, Site, error};

#[test]
fn answers_that_are_none_become_a_bad_gateway() {
    for (bytes, cause) in [
        ("SSH-2.0-OpenSSH_9.2\r\n", "its answer is not HTTP"),
        (
            "HTTP/1.1 200 OK\r\nbad header\r\n\r\n",
            "its answer is not HTTP",
        ),
        ("HTTP/1.1 20", "it closed the connection without an answer"),
        ("", "it closed the connection without an answer"),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
            "its answer is not HTTP",
        ),
    ] {
        let backend = Raw::saying(bytes);
        let (_site, gateway) = Site::alone(&backend.url(), &["--retries", "0"]);
        let reply = gateway.get("/v1/gateway/api/").expect(502);
        assert_eq!(error(&reply), format!("service api: {cause}"), "{bytes:?}");
        assert_eq!(gateway.failures(), 1, "{bytes:?}");
    }
}

#[test]
fn two_lengths_in_an_answer_are_not_passed_on() {
    let both =
        "HTTP/1.1 200 OK\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n";
    let backend = Raw::saying(both);
    let (_site, gateway) = Site::alone(&backend.url(), &["--retries", "0"]);
    gateway.get("/v1/gateway/api/").expect(502);
}

#[test]
fn who_never_answers_is_given_up_also_if_it_says_so_for_ever() {
    let hints = Raw::new(|talk| {
        while talk.say("HTTP/1.1 103 Early Hints\r\n\r\n") {
            std::thread::sleep(Duration::from_millis(20));
        }
        false
    });
    let silent = Raw::new(|talk| {
        talk.rest();
        false
    });
    for backend in [silent, hints] {
        let (_site, gateway) = Site::alone(
            &backend.url(),
            &["--first-byte-ms", "500", "--retries", "0"],
        );
        let reply = gateway.get("/v1/gateway/api/").expect(504);
        assert_eq!(error(&reply), "service api: it gave no answer in time");
        assert_eq!(gateway.failures(), 1);
    }
}

#[test]
fn the_time_for_an_answer_begins_when_the_body_has_ended() {
    let backend = Raw::new(|talk| {
        talk.bytes(8);
        talk.say(ok("fine"))
    });
    let (_site, gateway) = Site::alone(&backend.url(), &["--first-byte-ms", "400"]);
    let mut caller = Caller::to(gateway.address);
    caller.say(head("POST", "/", "content-length: 8\r\n"));
    for _ in 0..8 {
        // Eight of these are much longer than the limit; none of them is.
        std::thread::sleep(Duration::from_millis(150));
        caller.say("x");
    }
    assert!(caller.until("fine").starts_with("HTTP/1.1 200 "));
}

#[test]
fn an_answer_that_breaks_off_does_so_for_the_caller_and_counts_against_the_endpoint() {
    for bytes in [
        "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\nzz\r\n",
    ] {
        let backend = Raw::saying(bytes);
        let (_site, gateway) = Site::alone(&backend.url(), &[]);
        let mut caller = Caller::to(gateway.address);
        caller.say(head("GET", "/", ""));
        let answer = caller.rest();
        assert!(
            answer.starts_with("HTTP/1.1 200 ") && answer.contains("half"),
            "{answer}"
        );
        assert!(!answer.ends_with("0\r\n\r\n"), "{answer}");
        eventually(SOON, || gateway.failures() == 1);
    }
}

#[test]
fn a_connection_that_was_closed_while_idle_costs_nobody_a_request() {
    // Keeps the connection as far as its answers tell, and closes it.
    let backend = Raw::saying("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
    let (_site, gateway) = Site::alone(&backend.url(), &["--retries", "0"]);
    let mut http = gateway.connect();
    for _ in 0..20 {
        let reply = http.send("GET", "/v1/gateway/api/", b"").unwrap();
        assert_eq!(reply.expect(200).body, b"ok");
    }
    assert_eq!(gateway.failures(), 0);
}

#[test]
fn what_may_have_had_an_effect_is_not_sent_again_when_its_connection_breaks() {
    let backend = Raw::new(|talk| {
        let length = talk.head.contains("content-length: 1");
        let _ = talk.bytes(usize::from(length));
        match talk.head.contains("/first") {
            true => talk.say(ok("first")),
            // On the connection that was kept.
            false => {
                let _ = talk.socket().shutdown(Shutdown::Both);
                false
            }
        }
    });
    let (_site, gateway) = Site::alone(&backend.url(), &[]);
    let once = |method: &str, header: &str| {
        gateway.get("/v1/gateway/api/first").expect(200);
        let before = backend.served();
        let mut http = gateway.connect();
        if !header.is_empty() {
            http = http.with(header, "1");
        }
        http.send(method, "/v1/gateway/api/second", b"x")
            .unwrap()
            .expect(502);
        backend.served() - before
    };
    // The workers keep their connections apart, so the second one may open its own.
    assert_eq!(once("POST", ""), 1);
    assert!(once("POST", "idempotency-key") <= 2);
    assert!(once("GET", "") <= 2);
}

#[test]
fn a_body_is_sent_again_whole_or_not_at_all() {
    let seen = Mutex::new(Vec::new());
    let count = AtomicUsize::new(0);
    let (tell, told) = channel();
    let tell = Mutex::new(tell);
    let serve = std::sync::Arc::new(move |talk: &mut crate::raw::Talk| {
        let length = talk
            .head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "));
        let body = talk.bytes(length.unwrap().parse().unwrap());
        seen.lock().unwrap().push(body.len());
        tell.lock().unwrap().send(body).unwrap();
        let first = count.fetch_add(1, Ordering::SeqCst).is_multiple_of(2);
        talk.say(if first {
            "HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n".to_owned()
        } else {
            ok("taken")
        })
    });
    let (one, two) = (std::sync::Arc::clone(&serve), serve);
    let backends = [
        Raw::new(move |talk| one(talk)),
        Raw::new(move |talk| two(talk)),
    ];
    let site = Site::new();
    site.service("api", &[&backends[0].url(), &backends[1].url()]);
    let gateway = site.gateway(&[]);
    let send = |body: &[u8]| {
        let mut http = gateway.connect().with("idempotency-key", "1");
        http.send("POST", "/v1/gateway/api/", body).unwrap()
    };
    let small = vec![b's'; 60 << 10];
    assert_eq!(send(&small).expect(200).body, b"taken");
    for _ in 0..2 {
        assert!(told.recv_timeout(SOON).unwrap() == small);
    }
    // Too long to be kept: what the service said is what is heard.
    send(&vec![b'l'; 70 << 10]).expect(503);
}

#[test]
fn a_caller_that_leaves_takes_its_request_along_and_nobody_is_blamed() {
    let (tell, told) = channel();
    let tell = Mutex::new(tell);
    let backend = Raw::new(move |talk| {
        if talk.head.contains("/streams") {
            talk.say("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n");
        }
        tell.lock().unwrap().send("asked").unwrap();
        talk.rest();
        tell.lock().unwrap().send("left").unwrap();
        false
    });
    let (_site, gateway) = Site::alone(&backend.url(), &[]);
    for _ in 0..3 {
        for path in ["/waits", "/streams"] {
            let mut caller = Caller::to(gateway.address);
            caller.say(head("GET", path, ""));
            assert_eq!(told.recv_timeout(SOON).unwrap(), "asked");
            drop(caller);
            assert_eq!(told.recv_timeout(SOON).unwrap(), "left", "{path}");
        }
    }
    assert_eq!(gateway.failures(), 0);
}

#[test]
fn a_caller_that_sends_nothing_more_is_told_so_and_nobody_is_blamed() {
    let backend = Raw::new(|talk| {
        talk.rest();
        false
    });
    let (_site, gateway) = Site::alone(&backend.url(), &["--idle-ms", "500"]);
    let mut caller = Caller::to(gateway.address);
    caller.say(head("POST", "/", "content-length: 8\r\n"));
    caller.say("half");
    assert!(caller.rest().starts_with("HTTP/1.1 408 "));
    assert_eq!(gateway.failures(), 0);
}

#[test]
fn a_refused_upload_is_heard_of_by_who_still_sends() {
    let backend = Raw::new(|talk| {
        talk.rest();
        false
    });
    let (_site, gateway) = Site::alone(&backend.url(), &["--max-body", "100000"]);
    let mut caller = Caller::to(gateway.address);
    caller.say(head("POST", "/", "transfer-encoding: chunked\r\n"));
    let piece = format!("10000\r\n{}\r\n", "x".repeat(0x1_0000));
    for _ in 0..64 {
        caller.say(&piece);
    }
    let answer = caller.until("\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    assert!(answer.contains("connection: close"), "{answer}");
    assert_eq!(gateway.failures(), 0);
}

#[test]
fn an_answer_before_the_end_of_the_request_arrives_although_the_backend_takes_no_more() {
    // It closes with most of the body unread, so its answer is followed by a reset.
    let answer =
        "HTTP/1.1 413 Payload Too Large\r\ncontent-length: 3\r\nconnection: close\r\n\r\nbig";
    let backend = Raw::saying(answer);
    let (_site, gateway) = Site::alone(&backend.url(), &["--retries", "0"]);
    let length = 8 << 20;
    for _ in 0..10 {
        let mut caller = Caller::to(gateway.address);
        caller.say(head(
            "POST",
            "/",
            &format!("connection: close\r\ncontent-length: {length}\r\n"),
        ));
        caller.say(vec![0; length]);
        let all = caller.rest();
        assert!(
            all.starts_with("HTTP/1.1 413 ") && all.ends_with("big"),
            "{all}"
        );
    }
    assert_eq!(gateway.failures(), 0);
}

#[test]
fn an_endpoint_whose_answers_all_break_off_is_left_alone() {
    let broken = Raw::saying("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf");
    let well = Raw::new(|talk| talk.say(ok("whole")));
    let site = Site::new();
    site.service("api", &[&broken.url(), &well.url()]);
    let gateway = site.gateway(&["--cooldown-ms", "600000"]);
    let mut halves = 0;
    for _ in 0..20 {
        let mut caller = Caller::to(gateway.address);
        caller.say(head("GET", "/", "connection: close\r\n"));
        halves += usize::from(caller.rest().ends_with("half"));
    }
    assert_eq!((halves, broken.served()), (3, 3));
}

#[test]
fn a_body_that_drips_is_given_up_and_one_without_an_end_is_not() {
    let backend = Raw::new(|talk| {
        if talk.head.contains("content-length") {
            talk.rest();
            return false;
        }
        while talk.line() != "0\r\n" {}
        talk.line();
        talk.say(ok("taken"))
    });
    let (_site, gateway) = Site::alone(&backend.url(), &["--body-wait-ms", "300"]);
    let mut caller = Caller::to(gateway.address);
    caller.say(head("POST", "/", "content-length: 100000\r\n"));
    let mut drips = caller.0.get_ref().try_clone().unwrap();
    let dripping = std::thread::spawn(move || {
        while drips.write_all(b"x").is_ok() {
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    let answer = caller.until("\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    caller.0.get_ref().shutdown(Shutdown::Both).unwrap();
    dripping.join().unwrap();
    assert_eq!(gateway.failures(), 0);

    let mut caller = Caller::to(gateway.address);
    caller.say(head("POST", "/", "transfer-encoding: chunked\r\n"));
    for _ in 0..40 {
        // All of these are much longer than the limit.
        std::thread::sleep(Duration::from_millis(20));
        caller.say("1\r\nx\r\n");
    }
    caller.say("0\r\n\r\n");
    assert!(caller.until("taken").starts_with("HTTP/1.1 200 "));
}

#[test]
fn a_circle_of_gateways_has_an_end() {
    let site = Site::new();
    let logs = ["one", "two"];
    let gateways = logs.map(|log| site.gateway(&["--access-log", log]));
    let back = gateways
        .each_ref()
        .map(|one| format!("{}/v1/gateway/api", one.url()));
    site.service("api", &[&back[0], &back[1]]);
    // Their probes go round as well, and find nobody.
    let circles = |one: &Gateway| one.get("/v1/gateway/api/first").status == 508;
    eventually(SOON, || gateways.iter().all(circles));
    let reply = gateways[0].get("/v1/gateway/api/round").expect(508);
    assert!(error(&reply).contains("in a circle"), "{reply}");
    let passed = || -> usize {
        let read = |log| std::fs::read_to_string(site.dir.path().join(log)).unwrap();
        logs.map(|log| read(log).matches("/round").count())
            .iter()
            .sum()
    };
    eventually(SOON, || passed() >= 5);
    // Here, and four times for each of two endpoints: nobody in the circle tries again by itself.
    assert!(passed() <= 9, "{}", passed());
}
