//! The HTTP client against servers on real sockets: who is asked, with what, and who is asked next.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

use std::time::Duration;

use serde_json::json;
use skyclaw::client::{Client, Error, JobQuery, LogEvent, LogQuery, parse_url, unix_url};
use skyclaw::protocol::api::{Code, SubmitJob};
use skyclaw::protocol::{HostId, JobId, Payload};
use skyclaw::support::secret::Secret;
use tokio::net::UnixListener;

mod members;
mod server;

use server::{Reply, Server, client, header, job_json, nobody, queue_state, refusal, settings};

#[tokio::test]
async fn who_does_not_answer_is_passed_over_and_who_answers_is_kept_to() {
    let good = Server::start([queue_state()]).await;
    let closed = nobody().await;
    let client = client(&[&closed, &good.url]);
    assert_eq!(client.queue().await.unwrap().counts.queued, 1);
    assert_eq!(client.current().unwrap(), &parse_url(&good.url).unwrap());
    client.queue().await.unwrap();
    assert_eq!(good.asked().len(), 2);
}

#[tokio::test]
async fn a_failing_coordinator_is_passed_over_with_the_same_key() {
    let id = JobId::fresh();
    let failing = Server::start([refusal(503, "unavailable")]).await;
    let breaking = Server::start([Reply::Close]).await;
    let good = Server::start([Reply::Say(
        200,
        json!({ "job": job_json(id, "queued") }).to_string(),
    )])
    .await;
    let client = client(&[&failing.url, &breaking.url, &good.url]);
    let job = SubmitJob {
        payload: Some(Payload::parse(r#"{"kind":"shell","command":"true"}"#).unwrap()),
        ..SubmitJob::default()
    };
    assert_eq!(client.submit(&job, None).await.unwrap().id, id);
    let requests = [failing.asked(), breaking.asked(), good.asked()].concat();
    // The one that broke the connection was asked once more: it may only have closed an idle one.
    assert_eq!(requests.len(), 4);
    let keys: Vec<_> = requests
        .iter()
        .map(|request| header(request, "x-idempotency-key").unwrap())
        .collect();
    assert!(keys.iter().all(|key| *key == keys[0] && key.len() == 32));
}

#[tokio::test]
async fn a_claim_is_repeated_under_its_name_and_says_how_long_it_has_waited() {
    let choosing = Reply::SoonAgain(503, json!({"error": "x", "code": "no_leader"}).to_string());
    let nothing = Reply::Say(200, json!({"jobs": []}).to_string());
    let one = Server::start([Reply::Close, choosing.clone()]).await;
    let other = Server::start([choosing, nothing]).await;
    let client = client(&[&one.url, &other.url]);
    let (host, wait) = (HostId::new("h").unwrap(), Some(Duration::from_secs(30)));
    client.claim(&host, 1, wait).await.unwrap();
    let asked = [one.asked(), other.asked()].concat();
    assert!(asked.len() >= 4, "{asked:?}");
    let names: std::collections::BTreeSet<_> = asked
        .iter()
        .map(|request| header(request, "x-skyclaw-request").unwrap())
        .collect();
    assert_eq!(names.len(), 1, "{asked:?}");
    let last = other.asked().pop().unwrap();
    let waited: u64 = header(&last, "x-skyclaw-waited").unwrap().parse().unwrap();
    assert!((50..30_000).contains(&waited), "{waited}");
    client.claim(&host, 1, wait).await.unwrap();
    let next = other.asked().pop().unwrap();
    assert!(!names.contains(header(&next, "x-skyclaw-request").unwrap()));
}

#[tokio::test]
async fn a_socket_is_a_coordinator_like_any_other() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start_at(
        &dir.path().join("50% a,b.sock"),
        [queue_state(), refusal(403, "forbidden")],
    );
    let gone = unix_url(&dir.path().join("gone.sock")).unwrap().to_string();
    let closed = nobody().await;
    // Failover goes from socket to port to socket.
    let mut settings = settings(&[&gone, &closed, &server.url]);
    settings.token = Some(Secret::new("very-secret".into()));
    let client = Client::new(settings).unwrap();
    assert_eq!(client.queue().await.unwrap().counts.queued, 1);
    let asked = server.asked();
    assert!(asked[0].starts_with("get /v1/queue http/1.1"), "{asked:?}");
    assert_eq!(header(&asked[0], "host"), Some("localhost"));
    assert_eq!(header(&asked[0], "x-skyclaw-token"), Some("very-secret"));
    assert_eq!(client.current().unwrap().as_str(), server.url);
    let refused = client.queue().await.unwrap_err().to_string();
    assert_eq!(refused, format!("no ({} answered 403)", server.url));
}

#[tokio::test]
async fn a_socket_at_which_nobody_is_is_named_with_the_cause() {
    let dir = tempfile::tempdir().unwrap();
    let stale = dir.path().join("stale.sock");
    drop(UnixListener::bind(&stale).unwrap());
    let (stale, gone) = (unix_url(&stale).unwrap(), dir.path().join("gone.sock"));
    let gone = unix_url(&gone).unwrap();
    let error = client(&[stale.as_str(), gone.as_str()]).health().await;
    assert_eq!(
        error.unwrap_err().to_string(),
        format!(
            "no coordinator could be reached: {stale}: connection refused; \
             {gone}: no such file or directory"
        )
    );
}

#[tokio::test]
async fn a_refusal_is_an_answer() {
    let first = Server::start([refusal(409, "lease_lost")]).await;
    let second = Server::start([queue_state()]).await;
    let client = client(&[&first.url, &second.url]);
    let error = client.queue().await.unwrap_err();
    assert_eq!(
        (error.status(), error.code()),
        (Some(409), Some(Code::LeaseLost))
    );
    assert_eq!(second.asked().len(), 0);
}

#[tokio::test]
async fn a_silent_coordinator_is_given_up_in_time() {
    let silent = Server::start([Reply::Silence]).await;
    let good = Server::start([queue_state()]).await;
    let mut settings = settings(&[&silent.url, &good.url]);
    settings.timeout = Duration::from_millis(200);
    let client = Client::new(settings).unwrap();
    client.queue().await.unwrap();
    assert_eq!(silent.asked().len(), 1);
}

#[tokio::test]
async fn a_long_poll_may_take_its_wait_besides() {
    let silent = Server::start([Reply::Silence]).await;
    let mut settings = settings(&[&silent.url]);
    settings.timeout = Duration::from_millis(50);
    let client = Client::new(settings).unwrap();
    let host = HostId::new("h").unwrap();
    let wait = Some(Duration::from_millis(400));
    let error = client.claim(&host, 1, wait).await.unwrap_err();
    assert!(
        error.to_string().contains("no answer within 450ms"),
        "{error}"
    );
    assert!(silent.asked()[0].contains(r#"{"max":1,"waitms":400}"#));
}

#[tokio::test]
async fn the_first_one_is_returned_to() {
    let first = Server::start([refusal(500, "internal"), queue_state()]).await;
    let second = Server::start([queue_state()]).await;
    let mut settings = settings(&[&first.url, &second.url]);
    settings.return_after = Duration::ZERO;
    let client = Client::new(settings).unwrap();
    client.queue().await.unwrap();
    assert_eq!((first.asked().len(), second.asked().len()), (1, 1));
    client.queue().await.unwrap();
    assert_eq!((first.asked().len(), second.asked().len()), (2, 1));
}

#[tokio::test]
async fn everyone_who_could_not_be_reached_is_named() {
    let (one, two) = (nobody().await, nobody().await);
    let error = client(&[&one, &two]).health().await.unwrap_err();
    let text = error.to_string();
    assert!(matches!(&error, Error::NoCoordinator { tries } if tries.len() == 2));
    assert!(
        text.contains(&one) && text.contains(&two) && text.contains("connection refused"),
        "{text}"
    );
    assert!(error.hints()[0].contains("--coordinator"));
}

#[tokio::test]
async fn the_token_goes_into_its_header_and_into_no_message() {
    let server = Server::start([refusal(401, "unauthorized")]).await;
    let mut settings = settings(&[&format!("{}/", server.url)]);
    settings.token = Some(Secret::new("very-secret".into()));
    let client = Client::new(settings).unwrap();
    let error = client.jobs(&JobQuery::default()).await.unwrap_err();
    assert!(!format!("{error:?} {client:?}").contains("very-secret"));
    let asked = &server.asked()[0];
    assert!(asked.starts_with("get /v1/jobs http/1.1"), "{asked}");
    assert_eq!(header(asked, "x-skyclaw-token"), Some("very-secret"));
}

#[tokio::test]
async fn a_followed_job_goes_on_after_a_cut() {
    let id = JobId::fresh();
    let piece = |at: u64| {
        let body = json!({"attempt": 1, "stream": "stdout", "offset": at, "dataB64": "YQ=="});
        format!("id: {at}\nevent: piece\ndata: {body}\n\n")
    };
    let end = format!(
        "event: end\ndata: {}\n\n",
        json!({ "job": job_json(id, "completed") })
    );
    let server = Server::start([
        Reply::Events(format!(": hello\n\n{}{}", piece(0), piece(1))),
        Reply::Close,
        Reply::Events(format!("{}{end}", piece(2))),
    ])
    .await;
    let client = client(&[&server.url]);
    let mut stream = client.follow_logs(id, &LogQuery::default()).await.unwrap();
    let mut offsets = Vec::new();
    let job = loop {
        match stream.next().await.unwrap() {
            LogEvent::Piece(piece) => offsets.push(piece.offset),
            LogEvent::End(job) => break job,
        }
    };
    assert_eq!((offsets, job.id), (vec![0, 1, 2], id));
    let asked = server.asked();
    assert_eq!(header(&asked[0], "accept"), Some("text/event-stream"));
    assert_eq!(header(&asked[0], "last-event-id"), None);
    assert_eq!(header(asked.last().unwrap(), "last-event-id"), Some("1"));
}

#[tokio::test]
async fn a_job_is_waited_for_through_an_outage() {
    let id = JobId::fresh();
    let say = |status| Reply::Say(200, json!({ "job": job_json(id, status) }).to_string());
    let server =
        Server::start([say("queued"), refusal(503, "unavailable"), say("completed")]).await;
    let patience = Duration::from_secs(30);
    let job = client(&[&server.url])
        .wait(id, None, patience)
        .await
        .unwrap();
    assert!(job.status.is_final());
    assert_eq!(server.asked().len(), 3);
}
