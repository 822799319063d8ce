//! The stream of events.

use reqwest::{Method, Response};

use crate::harness::{Room, done, events_until};

async fn listen(room: &Room, last: Option<&str>) -> Response {
    let mut request = room.request(Method::GET, "/v1/events");
    if let Some(last) = last {
        request = request.header("last-event-id", last);
    }
    request.send().await.unwrap()
}

#[tokio::test]
async fn what_happens_to_a_job_is_told_in_order_and_from_where_one_left() {
    let room = Room::open().await;
    let mut stream = listen(&room, None).await;
    assert_eq!(stream.headers()["content-type"], "text/event-stream");
    room.host("a", &["shell"]).await;
    let id = room.submit(&["shell"]).await;
    let job = room.claim("a").await;
    room.post(&format!("/v1/jobs/{id}/complete"), done(&job, "a"))
        .await
        .ok();
    let events = events_until(&mut stream, "job-ended").await;
    let kinds: Vec<&str> = events
        .iter()
        .map(|(_, event)| event["type"].as_str().unwrap())
        .collect();
    for kind in ["host-registered", "job-ready", "job-leased", "job-ended"] {
        assert!(kinds.contains(&kind), "{kinds:?}");
    }
    let (_, ended) = events.last().unwrap();
    assert_eq!(
        (ended["jobId"].as_str(), ended["status"].as_str()),
        (Some(&*id), Some("completed"))
    );
    let mut again = listen(&room, Some(&events[0].0)).await;
    assert_eq!(events_until(&mut again, "job-ended").await, events[1..]);
    room.stop().await;
}

#[tokio::test]
async fn an_id_of_another_start_gives_a_gap_first() {
    let room = Room::open().await;
    room.host("a", &[]).await;
    let mut stream = listen(&room, Some("ffffffff-12")).await;
    let events = events_until(&mut stream, "host-registered").await;
    assert_eq!(events[0].1["type"], "gap");
    let (_, rest) = room.stop_with(stream).await;
    assert!(rest, "a stop ends the stream");
}

#[tokio::test]
async fn only_some_kinds_come_if_so_asked() {
    let room = Room::open().await;
    let path = "/v1/events?only=job-ended,%20host-changed";
    let mut stream = room.request(Method::GET, path).send().await.unwrap();
    room.host("a", &["shell"]).await;
    let id = room.submit(&["shell"]).await;
    let job = room.claim("a").await;
    room.post(&format!("/v1/jobs/{id}/complete"), done(&job, "a"))
        .await
        .ok();
    let events = events_until(&mut stream, "job-ended").await;
    assert_eq!(events.len(), 1, "{events:?}");
    // Going on after it misses nothing of that kind.
    let again = room
        .request(Method::GET, path)
        .header("last-event-id", &events[0].0);
    let mut again = again.send().await.unwrap();
    room.post("/v1/hosts/a/drain", serde_json::json!({}))
        .await
        .ok();
    let more = events_until(&mut again, "host-changed").await;
    assert_eq!(more.len(), 1, "{more:?}");
    let wrong = room.get("/v1/events?only=nonsense").await;
    let text = wrong.refused(400, "bad_request");
    assert_eq!(text, "only: there are no events of type nonsense");
    room.stop().await;
}
