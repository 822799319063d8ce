//! Streams through a member that does not lead, and through a change of leaders.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use skyclaw::client::{Client, LogEvent, LogQuery, Settings};
use skyclaw::protocol::JobId;
use tokio::time::timeout;

use crate::harness::{Net, SOON, done, events_until, until};

#[tokio::test]
async fn events_come_through_a_follower_and_a_new_leader_tells_of_a_gap() {
    let mut net = Net::three().await;
    let (leader, one, other) = net.roles().await;
    let listen = net.members[one].request(Method::GET, "/v1/events");
    let mut stream = listen.send().await.unwrap();
    assert_eq!(stream.headers()["content-type"], "text/event-stream");
    net.members[other].host("h").await;
    let events = events_until(&mut stream, "host-registered").await;
    let (last, _) = events.last().unwrap();
    net.members[leader].kill().await;
    // It ends, however: the listener comes back.
    timeout(SOON, async {
        while let Ok(Some(_)) = stream.chunk().await {}
    })
    .await
    .expect("the stream of the dead leader ends");
    let listen = net.members[one].request(Method::GET, "/v1/events");
    let listen = listen.header("last-event-id", last);
    let mut stream = listen.send().await.unwrap();
    net.members[other].submit().await;
    let events = events_until(&mut stream, "job-ready").await;
    assert_eq!(events[0].1["type"], "gap", "{events:?}");
}

#[tokio::test]
async fn who_heard_of_nothing_yet_is_told_of_the_gap_as_well() {
    let mut net = Net::three().await;
    let (leader, one, other) = net.roles().await;
    let urls = [&net.members[one].base, &net.members[other].base];
    let urls = urls.map(|url| skyclaw::client::parse_url(url).unwrap());
    let client = Client::new(Settings::new(urls.to_vec())).unwrap();
    let mut events = client.events(None).await.unwrap();
    let next = tokio::spawn(async move {
        let event = events.next().await.unwrap();
        (event.event.kind(), events)
    });
    // The stream is open, which its reader can only know from its first bytes.
    let probe = net.members[one].request(Method::GET, "/v1/events");
    let mut probe = probe.send().await.unwrap();
    let first = probe.chunk().await.unwrap().unwrap();
    assert!(first.starts_with(b"id: "), "{first:?}");
    net.members[leader].kill().await;
    let (kind, _events) = timeout(SOON, next).await.expect("it is told").unwrap();
    assert_eq!(kind, "gap");
}

#[tokio::test]
async fn a_followed_log_and_a_wait_for_a_job_go_on_through_a_change() {
    let mut net = Net::three().await;
    let (leader, one, other) = net.roles().await;
    net.members[one].host("h").await;
    let id = net.members[one].submit().await;
    let job = net.members[one].claim("h").await;
    let chunk = |text: &str, offset: u64| {
        use base64::Engine as _;
        let data = base64::engine::general_purpose::STANDARD.encode(text);
        json!({"chunks": [{
            "jobId": id, "attempt": job["attempts"], "leaseToken": job["leaseToken"],
            "stream": "stdout", "offset": offset, "dataB64": data,
        }]})
    };
    let logs = "/v1/hosts/h/logs";
    net.members[one].post(logs, chunk("one\n", 0)).await.ok();
    let url = skyclaw::client::parse_url(&net.members[one].base).unwrap();
    let client = Client::new(Settings::new(vec![url])).unwrap();
    let number: JobId = id.parse().unwrap();
    let mut stream = client
        .follow_logs(number, &LogQuery::default())
        .await
        .unwrap();
    let LogEvent::Piece(first) = stream.next().await.unwrap() else {
        panic!("output comes first")
    };
    let waits = net.members[other].request(Method::GET, &format!("/v1/jobs/{id}?waitMs=30000"));
    let waiting = tokio::spawn(waits.send());
    net.members[leader].kill().await;
    net.leader().await;
    net.members[one].post(logs, chunk("two\n", 4)).await.ok();
    let complete = format!("/v1/jobs/{id}/complete");
    until(async || {
        let got = net.members[other]
            .post_keyed(&complete, "d", done(&job, "h"))
            .await;
        got.status == 200
    })
    .await;
    let bytes = |piece: &skyclaw::protocol::api::LogPiece| {
        use base64::Engine as _;
        let engine = base64::engine::general_purpose::STANDARD;
        engine.decode(&piece.data_b64).unwrap()
    };
    let mut printed = bytes(&first);
    let end = loop {
        match timeout(SOON, stream.next())
            .await
            .expect("it goes on")
            .unwrap()
        {
            LogEvent::Piece(piece) => printed.extend(bytes(&piece)),
            LogEvent::End(job) => break job,
        }
    };
    assert_eq!(String::from_utf8(printed).unwrap(), "one\ntwo\n");
    assert_eq!(end.id, number);
    let answer = waiting.await.unwrap().unwrap().text().await.unwrap();
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!(answer["job"]["status"], "completed");
}

#[tokio::test]
async fn a_wait_that_outlives_its_leader_ends_when_it_would_have() {
    let mut net = Net::three().await;
    let (leader, one, other) = net.roles().await;
    let id = net.members[one].submit().await;
    let path = format!("/v1/jobs/{id}?waitMs=10000");
    // Who says that it has waited is believed.
    let waits = net.members[leader].request(Method::GET, &path);
    let waits = waits.header("x-skyclaw-waited", "10000").send();
    let began = std::time::Instant::now();
    assert_eq!(waits.await.unwrap().status(), 200);
    assert!(began.elapsed() < Duration::from_secs(8));
    let began = std::time::Instant::now();
    let waiting = tokio::spawn(net.members[other].request(Method::GET, &path).send());
    tokio::time::sleep(Duration::from_secs(6)).await;
    net.members[leader].kill().await;
    let answer = waiting.await.unwrap().unwrap();
    assert_eq!(answer.status(), 200);
    // Begun anew it would be six seconds and ten, and the choice of a leader.
    let took = began.elapsed();
    assert!((9..16).contains(&took.as_secs()), "{took:?}");
}
