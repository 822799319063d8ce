//! Coordinators of a cluster: one tells of the others, a leader is waited for, a frozen one is left.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::json;
use skyclaw::client::{Client, Settings, parse_url};
use skyclaw::protocol::api::{Code, Heartbeat, SubmitJob};
use skyclaw::protocol::{HostId, JobId};
use skyclaw::support::secret::Secret;
use tokio::net::TcpListener;

use crate::server::{Reply, Server, header, job_json, nobody, queue_state, refusal, settings};

const TOKEN: &str = "very-secret";
const LONG: Duration = Duration::from_secs(20);

/// What members of a cluster say, besides who they are.
type Say = Arc<dyn Fn(&str) -> Reply + Send + Sync>;

/// Some that tell of each other, and what each is asked.
struct Cluster {
    servers: Vec<Server>,
    told: Arc<Mutex<Vec<String>>>,
}

impl Cluster {
    async fn of(says: Vec<Say>) -> Self {
        let mut listeners = Vec::new();
        for _ in &says {
            listeners.push(TcpListener::bind("127.0.0.1:0").await.unwrap());
        }
        let url = |listener: &TcpListener| format!("http://{}", listener.local_addr().unwrap());
        let told = Arc::new(Mutex::new(listeners.iter().map(url).collect::<Vec<_>>()));
        let servers = listeners.into_iter().zip(says).enumerate();
        let servers = servers.map(|(number, (listener, say))| {
            let (own, told) = (url(&listener), Arc::clone(&told));
            let answer = move |request: &str| {
                let name = format!("n{number}");
                if request.starts_with("get /health") {
                    return Reply::Say(200, json!({"ok": true, "nodeId": name}).to_string());
                }
                if request.starts_with("get /v1/network/peers") {
                    let all = told.lock().unwrap().clone();
                    let peers: Vec<_> = all.iter().filter(|url| **url != own).collect();
                    let body = json!({"nodeId": name, "self": own, "peers": peers});
                    return Reply::Say(200, body.to_string());
                }
                say(request)
            };
            Server::answering(listener, Arc::new(answer))
        });
        Self {
            servers: servers.collect(),
            told,
        }
    }

    /// A client that knows the first one alone.
    fn client(&self, timeout: Duration) -> Client {
        let mut settings = Settings::new(vec![parse_url(&self.servers[0].url).unwrap()]);
        settings.token = Some(Secret::new(TOKEN.into()));
        settings.timeout = timeout;
        Client::new(settings).unwrap()
    }

    /// Returns what one was asked besides who is there.
    fn asked(&self, number: usize) -> Vec<String> {
        let mut asked = self.servers[number].asked();
        asked.retain(|one| {
            !one.starts_with("get /health") && !one.starts_with("get /v1/network/peers")
        });
        asked
    }

    /// Waits until the client knows the last one.
    async fn taught(&self, client: &Client) {
        let port = self.servers.last().unwrap().url.rsplit(':').next().unwrap();
        until(|| format!("{client:?}").contains(&format!("Some({port})"))).await;
    }
}

async fn until(holds: impl Fn() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < LONG, "it never happened");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn says(reply: Reply) -> Say {
    Arc::new(move |_| reply.clone())
}

fn job(status: &str) -> Reply {
    Reply::Say(
        200,
        json!({ "job": job_json(JobId::fresh(), status) }).to_string(),
    )
}

/// Answers at first, then is gone like a process that was killed.
fn dies() -> (Say, Arc<AtomicBool>) {
    let dead = Arc::new(AtomicBool::new(false));
    let gone = Arc::clone(&dead);
    let say = move |_: &str| match gone.load(Ordering::SeqCst) {
        true => Reply::Close,
        false => job("queued"),
    };
    (Arc::new(say), dead)
}

#[tokio::test]
async fn whoever_waits_for_a_job_goes_on_with_a_member_it_was_told_of() {
    let (first, dead) = dies();
    let cluster = Cluster::of(vec![first, says(job("completed"))]).await;
    let client = cluster.client(Duration::from_secs(10));
    let waits = client.clone();
    let waiting = tokio::spawn(async move { waits.wait(JobId::fresh(), None, LONG).await });
    cluster.taught(&client).await;
    dead.store(true, Ordering::SeqCst);
    assert!(waiting.await.unwrap().unwrap().status.is_final());
    let asked = cluster.asked(1);
    assert_eq!(header(&asked[0], "x-skyclaw-token"), Some(TOKEN));
}

#[tokio::test]
async fn a_short_question_is_one_request_and_discovery_can_be_switched_off() {
    let cluster = Cluster::of(vec![says(job("queued")), says(job("completed"))]).await;
    let client = cluster.client(Duration::from_secs(10));
    client.job(JobId::fresh()).await.unwrap();
    assert_eq!(cluster.servers[0].asked().len(), 1);
    let mut settings = Settings::new(vec![parse_url(&cluster.servers[0].url).unwrap()]);
    settings.discover = false;
    let client = Client::new(settings).unwrap();
    let patience = Duration::from_millis(300);
    let job = client.wait(JobId::fresh(), Some(patience), patience).await;
    assert!(!job.unwrap().status.is_final());
    let asked = cluster.servers[0].asked();
    assert_eq!(asked.len(), cluster.asked(0).len(), "{asked:?}");
}

#[tokio::test]
async fn addresses_that_nobody_should_be_sent_to_are_not_taken_and_few_are() {
    let (first, dead) = dies();
    let cluster = Cluster::of(vec![first, says(job("completed"))]).await;
    {
        let mut told = cluster.told.lock().unwrap();
        let good = told[1].clone();
        *told = vec![
            "http://169.254.169.254".into(),
            "ftp://x".into(),
            String::new(),
        ];
        // Nobody listens at these: were all of them asked, the good one behind them would never be.
        told.extend((0..15).map(|n| format!("http://127.0.0.1:{}", 1 + n)));
        told.push(good);
        told.extend((0..50).map(|n| format!("http://192.0.2.{n}:9")));
    }
    let client = cluster.client(Duration::from_secs(10));
    let waits = client.clone();
    let waiting = tokio::spawn(async move { waits.wait(JobId::fresh(), None, LONG).await });
    cluster.taught(&client).await;
    dead.store(true, Ordering::SeqCst);
    assert!(waiting.await.unwrap().unwrap().status.is_final());
}

#[tokio::test]
async fn a_member_that_does_not_take_our_token_is_passed_over() {
    let (first, dead) = dies();
    let stranger = says(refusal(401, "unauthorized"));
    let cluster = Cluster::of(vec![first, stranger, says(job("completed"))]).await;
    let client = cluster.client(Duration::from_secs(10));
    let waits = client.clone();
    let waiting = tokio::spawn(async move { waits.wait(JobId::fresh(), None, LONG).await });
    cluster.taught(&client).await;
    dead.store(true, Ordering::SeqCst);
    assert!(waiting.await.unwrap().unwrap().status.is_final());
    assert!(!cluster.asked(1).is_empty());
}

#[tokio::test]
async fn who_refuses_our_token_teaches_nothing() {
    let other = Server::start([queue_state()]).await;
    let peers = json!({"nodeId": "n", "peers": [other.url]}).to_string();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let answer = move |request: &str| match request.starts_with("get /health") {
        true => Reply::Say(200, json!({"ok": true, "nodeId": "n"}).to_string()),
        // Whatever else it says.
        false => Reply::Say(401, peers.clone()),
    };
    let first = Server::answering(listener, Arc::new(answer));
    let client = Client::new(Settings::new(vec![parse_url(&first.url).unwrap()])).unwrap();
    let patience = Duration::from_millis(300);
    let refused = client.wait(JobId::fresh(), Some(patience), patience).await;
    assert_eq!(refused.unwrap_err().code(), Some(Code::Unauthorized));
    let peers = |one: &String| one.starts_with("get /v1/network/peers");
    until(|| first.asked().iter().any(peers)).await;
    let known = parse_url(&other.url).unwrap().port().unwrap();
    assert!(!format!("{client:?}").contains(&format!("Some({known})")));
    assert_eq!(other.asked().len(), 0);
}

#[tokio::test]
async fn a_cluster_without_a_leader_is_waited_for_with_the_same_key() {
    let electing = json!({"error": "no leader", "code": "no_leader"}).to_string();
    let no = || Reply::SoonAgain(503, electing.clone());
    let first = Server::start([no(), no(), job("queued")]).await;
    let gone = nobody().await;
    let client = Client::new(Settings::new(
        [&gone, &first.url]
            .map(|url| parse_url(url).unwrap())
            .into(),
    ))
    .unwrap();
    client.submit(&SubmitJob::default(), None).await.unwrap();
    let asked = first.asked();
    assert_eq!(asked.len(), 3);
    let key = |request: &String| header(request, "x-idempotency-key").unwrap().to_owned();
    assert!(asked.iter().all(|one| key(one) == key(&asked[0])));
}

#[tokio::test]
async fn it_is_waited_for_no_longer_than_an_answer_may_take() {
    let electing = json!({"error": "no leader", "code": "no_leader"}).to_string();
    let server = Server::start([Reply::SoonAgain(503, electing)]).await;
    let mut settings = Settings::new(vec![parse_url(&server.url).unwrap()]);
    settings.timeout = Duration::from_secs(2);
    let error = Client::new(settings).unwrap().queue().await.unwrap_err();
    assert_eq!(error.status(), Some(503));
    assert!(server.asked().len() > 1);
    // A disk that is full is no matter of moments.
    let full = Server::start([refusal(503, "unavailable")]).await;
    let settings = Settings::new(vec![parse_url(&full.url).unwrap()]);
    Client::new(settings).unwrap().queue().await.unwrap_err();
    assert_eq!(full.asked().len(), 1);
}

#[tokio::test]
async fn a_heartbeat_that_another_member_answers_ends_the_claim_that_waits_at_a_frozen_one() {
    let host = HostId::new("h").unwrap();
    let lived = json!({"host": {}, "leases": []}).to_string();
    let jobs = json!({"jobs": [], "heartbeat": false}).to_string();
    let second: Say = Arc::new(move |request| match request.contains("/claim") {
        true => Reply::Say(200, jobs.clone()),
        false => Reply::Say(200, lived.clone()),
    });
    let frozen = Arc::new(AtomicBool::new(false));
    let ice = Arc::clone(&frozen);
    let first: Say = Arc::new(move |_| match ice.load(Ordering::SeqCst) {
        true => Reply::Silence,
        false => job("queued"),
    });
    let cluster = Cluster::of(vec![first, second]).await;
    let client = cluster.client(Duration::from_secs(30));
    let limit = Duration::from_millis(50);
    client
        .wait(JobId::fresh(), Some(limit), limit)
        .await
        .unwrap();
    cluster.taught(&client).await;
    frozen.store(true, Ordering::SeqCst);
    let claims = client.clone();
    let id = host.clone();
    let claim = tokio::spawn(async move { claims.claim(&id, 1, Some(LONG)).await });
    until(|| cluster.asked(0).iter().any(|one| one.contains("/claim"))).await;
    let begun = Instant::now();
    // Only that it was answered counts here, not what with.
    let _ = client
        .heartbeat_within(&host, &Heartbeat::default(), Duration::from_secs(1))
        .await;
    claim.await.unwrap().unwrap();
    assert!(begun.elapsed() < LONG, "it waited for the frozen one");
    assert!(cluster.asked(1).iter().any(|one| one.contains("/claim")));
}

#[tokio::test]
async fn a_stream_at_a_frozen_member_is_taken_up_at_another() {
    let event = json!({"type": "gap", "at": "2026-01-01T00:00:00.000Z"});
    let event = format!("id: 1\ndata: {event}\n\n");
    let opens = |request: &str| request.starts_with("get /v1/events");
    let first = {
        let event = event.clone();
        let answer = move |request: &str| match opens(request) {
            true => Reply::EventsAndSilence(event.clone()),
            false => Reply::Silence,
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Server::answering(listener, Arc::new(answer))
    };
    let second = {
        let answer = move |request: &str| match opens(request) {
            true => Reply::EventsAndSilence(event.clone()),
            false => queue_state(),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Server::answering(listener, Arc::new(answer))
    };
    let mut settings = settings(&[&first.url, &second.url]);
    settings.timeout = Duration::from_millis(500);
    let client = Client::new(settings).unwrap();
    let mut stream = client.events(None).await.unwrap();
    stream.next().await.unwrap();
    let waiting = tokio::spawn(async move { stream.next().await });
    // Another question finds out that nobody answers there.
    client.queue().await.unwrap();
    waiting.await.unwrap().unwrap();
    assert_eq!(first.asked().len(), 2);
    let again = second.asked().into_iter().find(|one| opens(one)).unwrap();
    assert_eq!(header(&again, "last-event-id"), Some("1"));
}
