//! Who is not let in, and what is said about it on both sides.

use serde_json::{Value, json};

use crate::common::{Running, scan_files};
use crate::site::{Node, SOON, counted, settled};

#[test]
fn one_with_something_in_it_does_not_join() {
    let [mut a, mut b] = Node::all(["a", "b"]);
    b.start();
    b.submit("of its own");
    b.stop();
    a.start();
    b.told_of(&[&a.url()]);
    let ended = Running::start(b.command(), None).wait(SOON).expect_code(1);
    for text in ["is not empty", "SKYCLAW_PEER_URLS", "move the database"] {
        assert!(ended.err().contains(text), "{text}: {ended}");
    }
    assert_eq!(counted(&a), (0, 0));
    // What it has is still served.
    b.env("SKYCLAW_PEER_URLS", "").start();
    assert_eq!(b.get("/v1/jobs")["jobs"].as_array().map(Vec::len), Some(1));
}

#[test]
fn another_secret_keeps_a_coordinator_out_and_is_never_shown() {
    let [mut a, mut b] = Node::all(["a", "b"]);
    a.env("SKYCLAW_CLUSTER_SECRET", "hush-of-the-first").start();
    b.env("SKYCLAW_CLUSTER_SECRET", "hush-of-the-second")
        .told_of(&[&a.url()])
        .start();
    let line = b.logs("waits to join a cluster");
    assert!(line.contains("secret"), "{line}");
    a.logs("does not know the secret");
    assert_eq!(counted(&a), (0, 0));
    for node in [&a, &b] {
        let pid = node.running().pid();
        for file in ["cmdline", "environ"] {
            let bytes = std::fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
            assert!(
                !String::from_utf8_lossy(&bytes).contains("hush-of"),
                "{file}"
            );
        }
        assert!(!node.running().stderr_so_far().contains("hush-of"));
    }
    let dir = b.db();
    assert!(scan_files(dir.parent().unwrap(), "hush-of").is_empty());
    // With the right one, from a file, it gets in.
    b.stop();
    let file = b.db().with_extension("secret");
    std::fs::write(&file, "hush-of-the-first\n").unwrap();
    b.env("SKYCLAW_CLUSTER_SECRET", "")
        .env("SKYCLAW_CLUSTER_SECRET_FILE", file.to_str().unwrap())
        .start();
    settled(&[&a, &b], 2, 2);
}

#[test]
fn the_token_is_secret_enough_and_a_wrong_one_is_not() {
    let [mut a, mut b, mut c] = Node::all(["a", "b", "c"]);
    a.env("SKYCLAW_TOKEN", "of-everybody").start();
    b.env("SKYCLAW_TOKEN", "of-nobody")
        .told_of(&[&a.url()])
        .start();
    b.logs("waits to join a cluster");
    // Both while it is changed.
    c.env("SKYCLAW_TOKEN", "of-everybody")
        .told_of(&[&a.url()])
        .start();
    settled(&[&a, &c], 2, 2);
    assert_eq!(counted(&b), (0, 0));
}

#[test]
fn without_any_secret_nobody_elsewhere_is_joined_by_mistake() {
    let mut a = Node::new("a");
    a.told_of(&["http://192.0.2.7:8787"]);
    let ended = Running::start(a.command(), None).wait(SOON).expect_code(2);
    assert!(ended.err().contains("--insecure-no-auth"), "{ended}");
    a.arg("--insecure-no-auth").start();
    a.logs("waits to join a cluster");
}

#[test]
fn a_name_that_is_in_use_is_refused_on_both_sides() {
    let [mut a, mut b, mut c] = Node::all(["a", "b", "b"]);
    a.start();
    b.told_of(&[&a.url()]).start();
    settled(&[&a, &b], 2, 2);
    c.told_of(&[&a.url()]).start();
    let ended = c.ended().expect_code(1);
    assert!(
        ended.err().contains("another coordinator is called b"),
        "{ended}"
    );
    a.logs("a coordinator was not taken in");
    settled(&[&a, &b], 2, 2);
}

#[test]
fn what_does_not_speak_the_protocol_is_a_conflict() {
    let mut a = Node::new("a");
    a.start();
    // Whatever answers there, it is no coordinator of ours.
    let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", other.local_addr().unwrap());
    let answers = std::thread::spawn(move || {
        use std::io::{Read, Write};
        let (mut stream, _) = other.accept().unwrap();
        let mut asked = [0; 4096];
        let read = stream.read(&mut asked).unwrap();
        let body = "{\"error\":\"not found\"}";
        let head = format!(
            "HTTP/1.1 404 Not Found\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        stream
            .write_all(format!("{head}{body}").as_bytes())
            .unwrap();
        String::from_utf8_lossy(&asked[..read]).into_owned()
    });
    let refused = a
        .call("POST", "/v1/network/join", &json!({"url": url}))
        .expect(409)
        .json();
    assert!(
        refused["error"].as_str().unwrap().contains("cannot join"),
        "{refused}"
    );
    let asked = answers.join().unwrap();
    assert!(!asked.contains("x-skyclaw-token"), "{asked}");
    for (body, status) in [
        (json!({}), 400),
        (json!({"url": " "}), 400),
        (json!({"url": "nonsense"}), 400),
        (json!({"url": "http://169.254.169.254/"}), 409),
    ] {
        a.call("POST", "/v1/network/join", &body).expect(status);
    }
    for (path, body) in [
        ("/v1/network/leave", Value::Null),
        ("/v1/network/remove", json!({"name": "b"})),
    ] {
        a.call("POST", path, &body).expect(409);
    }
}
