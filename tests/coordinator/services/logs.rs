//! What a service prints, from its hosts to whoever reads it just now.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::{Method, Response};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::script::{Host, all_ready, deploy, settle};
use crate::harness::{Room, SOON};

/// A reader of the stream.
struct Reader {
    stream: Response,
    text: String,
}

impl Reader {
    async fn open(room: &Room, id: &str, query: &str) -> Self {
        let path = format!("/v1/services/{id}/logs{query}");
        let stream = room.request(Method::GET, &path).send().await.unwrap();
        assert_eq!(stream.status(), 200);
        assert_eq!(stream.headers()["content-type"], "text/event-stream");
        Self {
            stream,
            text: String::new(),
        }
    }

    /// Reads until `holds` of what came: the output, the errors, and whether it ended.
    async fn until(&mut self, holds: impl Fn(&str, &[String], bool) -> bool) {
        let read = async {
            loop {
                let (output, errors, ended) = self.all();
                if holds(&output, &errors, ended) {
                    return;
                }
                let bytes = self.stream.chunk().await.unwrap();
                let bytes = bytes.unwrap_or_else(|| panic!("it ended: {}", self.text));
                self.text.push_str(std::str::from_utf8(&bytes).unwrap());
            }
        };
        if timeout(SOON, read).await.is_err() {
            panic!("it never came: {}", self.text);
        }
    }

    fn all(&self) -> (String, Vec<String>, bool) {
        let (mut output, mut errors, mut ended) = (Vec::new(), Vec::new(), false);
        // The last block may not be whole.
        for block in self
            .text
            .split_inclusive("\n\n")
            .filter(|one| one.ends_with("\n\n"))
        {
            ended |= block.starts_with("event: end");
            let Some(data) = block.lines().find_map(|line| line.strip_prefix("data: ")) else {
                continue;
            };
            let piece: Value = serde_json::from_str(data).unwrap();
            if let Some(data) = piece["data"].as_str() {
                output.extend(STANDARD.decode(data).unwrap());
            }
            if let Some(error) = piece["error"].as_str() {
                errors.push(error.to_owned());
            }
        }
        (String::from_utf8(output).unwrap(), errors, ended)
    }
}

/// Waits until the host hears that output is wanted; returns the assignment then.
async fn asked(room: &Room, host: &mut Host) -> Value {
    let end = tokio::time::Instant::now() + SOON;
    loop {
        let wanted = host.sync(room).await;
        if let Some(one) = wanted.into_iter().find(|one| one["logs"].is_object()) {
            return one;
        }
        assert!(tokio::time::Instant::now() < end, "nothing is wanted");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Sends output as the host; tells whether more is wanted.
async fn send(room: &Room, host: &Host, asked: &Value, text: &str, end: bool) -> bool {
    let body = json!({
        "assignmentId": asked["assignmentId"], "request": asked["logs"]["request"],
        "data": STANDARD.encode(text), "end": end,
    });
    let path = format!("/v1/hosts/{}/services/logs", host.id);
    let taken = room.post(&path, body).await.ok();
    taken["wanted"].as_bool().unwrap()
}

async fn one_host(room: &Room) -> (Host, String) {
    let mut host = Host::new(room, "a").await;
    host.sync(room).await;
    let id = deploy(room, json!({"name": "api", "command": "x"})).await;
    settle(room, &mut [&mut host], &id, |one| all_ready(one, 1)).await;
    (host, id)
}

#[tokio::test]
async fn a_reader_wakes_the_host_and_gets_the_last_lines() {
    let room = Room::open().await;
    let (mut host, id) = one_host(&room).await;
    let wanted = host.sync(&room).await;
    assert_eq!(wanted[0]["logs"], Value::Null, "nobody reads");
    let waits = host.wait(&room, 30_000);
    let mut reader = Reader::open(&room, &id, "?tail=3").await;
    let answer = timeout(SOON, waits).await.expect("it is woken").unwrap();
    let wanted = host.heard(answer);
    let logs = &wanted[0]["logs"];
    assert_eq!((&logs["tail"], &logs["follow"]), (&json!(3), &json!(false)));
    assert!(send(&room, &host, &wanted[0], "one\ntwo\n", false).await);
    assert!(!send(&room, &host, &wanted[0], "three\n", true).await);
    reader
        .until(|output, errors, ended| output == "one\ntwo\nthree\n" && errors.is_empty() && ended)
        .await;
    // It is over, so nothing is wanted any more.
    let wanted = host.sync(&room).await;
    assert_eq!(wanted[0]["logs"], Value::Null);
    room.stop().await;
}

#[tokio::test]
async fn followers_hear_what_comes_and_late_ones_what_was() {
    let room = Room::open().await;
    let (mut host, id) = one_host(&room).await;
    let mut first = Reader::open(&room, &id, "?tail=9&follow=1&replica=a").await;
    let wanted = asked(&room, &mut host).await;
    assert_eq!(wanted["logs"]["follow"], true);
    send(&room, &host, &wanted, "1\n2\n3\n", false).await;
    first.until(|output, _, _| output == "1\n2\n3\n").await;
    let mut late = Reader::open(&room, &id, "?tail=1&follow=true").await;
    late.until(|output, _, _| output == "3\n").await;
    send(&room, &host, &wanted, "4\n", false).await;
    first.until(|output, _, _| output == "1\n2\n3\n4\n").await;
    late.until(|output, _, _| output == "3\n4\n").await;
    // Both go; then nothing is wanted, and what is sent is not kept.
    drop((first, late));
    room.until(async |room| host.sync(room).await[0]["logs"].is_null())
        .await;
    assert!(!send(&room, &host, &wanted, "5\n", false).await);
    room.stop().await;
}

#[tokio::test]
async fn a_reader_that_is_too_slow_is_dropped_with_a_word_and_others_are_not() {
    let room = Room::open().await;
    let (mut host, id) = one_host(&room).await;
    let mut slow = Reader::open(&room, &id, "?follow=1").await;
    let wanted = asked(&room, &mut host).await;
    let line = format!("{}\n", "x".repeat(255 << 10));
    // Nobody reads: the system's buffers and ours fill.
    let mut sent = 0;
    while send(&room, &host, &wanted, &line, false).await && sent < 200 {
        sent += 1;
        let mut other = Reader::open(&room, &id, "?tail=1").await;
        other.until(|_, _, ended| ended).await;
        if sent >= 40 {
            break;
        }
    }
    slow.until(|_, errors, _| errors.iter().any(|error| error.contains("too slow")))
        .await;
    room.stop().await;
}

#[tokio::test]
async fn a_host_that_does_not_answer_is_given_up_with_a_word() {
    let room = Room::open().await;
    let (_host, id) = one_host(&room).await;
    let mut reader = Reader::open(&room, &id, "").await;
    reader
        .until(|_, errors, ended| errors == ["host a does not ask what is wanted of it"] && ended)
        .await;
    room.stop().await;
}

#[tokio::test]
async fn replicas_that_begin_later_are_followed_too_until_the_service_is_gone() {
    let room = Room::open().await;
    let (mut host, id) = one_host(&room).await;
    let mut reader = Reader::open(&room, &id, "?follow=1").await;
    let first = asked(&room, &mut host).await;
    send(&room, &host, &first, "old\n", false).await;
    let change = format!("/v1/services/{id}/change");
    room.post(&change, json!({"action": "restart"})).await.ok();
    let mut again = first.clone();
    let end = tokio::time::Instant::now() + SOON;
    while again["assignmentId"] == first["assignmentId"] {
        assert!(tokio::time::Instant::now() < end);
        let wanted = host.obey(&room).await;
        let new = wanted
            .into_iter()
            .find(|one| one["logs"].is_object() && one["assignmentId"] != first["assignmentId"]);
        again = new.unwrap_or(again);
    }
    send(&room, &host, &again, "new\n", false).await;
    reader.until(|output, _, _| output == "old\nnew\n").await;
    room.post(&change, json!({"action": "remove"})).await.ok();
    room.until(async |room| {
        host.obey(room).await;
        room.get(&format!("/v1/services/{id}")).await.status == 404
    })
    .await;
    reader.until(|_, _, ended| ended).await;
    room.stop().await;
}

#[tokio::test]
async fn only_its_own_host_speaks_for_an_assignment() {
    let room = Room::open().await;
    let (mut host, id) = one_host(&room).await;
    let mut reader = Reader::open(&room, &id, "").await;
    let wanted = asked(&room, &mut host).await;
    let other = Host::new(&room, "b").await;
    assert!(!send(&room, &other, &wanted, "forged\n", true).await);
    let mut stale = wanted.clone();
    stale["logs"]["request"] = 1.into();
    assert!(!send(&room, &host, &stale, "stale\n", true).await);
    send(&room, &host, &wanted, "true\n", true).await;
    reader
        .until(|output, _, ended| output == "true\n" && ended)
        .await;
    let none = room
        .get(&format!("/v1/services/{id}/logs?replica=zz"))
        .await;
    let text = none.refused(404, "unknown_service");
    assert_eq!(text, "service api has no replica zz");
    let none = room.get("/v1/services/nope/logs").await;
    assert_eq!(none.refused(404, "unknown_service"), "service not found");
    let bad = room
        .get(&format!("/v1/services/{id}/logs?follow=maybe"))
        .await;
    bad.refused(400, "bad_request");
    room.stop().await;
}

#[tokio::test]
async fn a_stop_of_the_coordinator_ends_the_stream() {
    let room = Room::open().await;
    let (_host, id) = one_host(&room).await;
    let reader = Reader::open(&room, &id, "?follow=1").await;
    let (_, ended) = room.stop_with(reader.stream).await;
    assert!(ended);
}
