//! A part of the coordinator that fails: the whole ends and says which, instead of serving on without it.

use std::time::Duration;

use serde_json::json;
use skyclaw::coordinator::{self, Deps, Error, Settings};
use skyclaw::protocol::api::Event;
use skyclaw::queue::{Options, Queue};
use skyclaw::support::shutdown;
use tokio::net::TcpListener;
use tokio::time::timeout;

use crate::harness::{Got, SOON, client};

/// Runs a coordinator whose hook panics at events that are `fatal`, and does what `act` says to its address.
async fn ends_with(fatal: fn(&Event) -> bool, act: impl AsyncFnOnce(String)) -> Error {
    let dir = tempfile::tempdir().unwrap();
    let queue = Queue::open(Options::new(dir.path().join("c.db"))).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let deps = Deps {
        queue,
        settings: Settings::new("node_test"),
        on_event: Some(Box::new(move |event| assert!(!fatal(event), "on purpose"))),
        cluster: None,
    };
    let (_trigger, shutdown) = shutdown::manual();
    let serving = tokio::spawn(coordinator::run(deps, listener, shutdown));
    act(base).await;
    timeout(SOON, serving)
        .await
        .expect("it ends by itself")
        .expect("without a panic of its own")
        .expect_err("and not well")
}

async fn post(base: &str, path: &str, body: serde_json::Value) -> Got {
    Got::of(
        client()
            .post(format!("{base}{path}"))
            .body(body.to_string()),
    )
    .await
}

#[tokio::test]
async fn a_dispatcher_that_fails_ends_the_coordinator() {
    let given = |event: &Event| matches!(event, Event::JobLeased { .. });
    let error = ends_with(given, async |base| {
        post(
            &base,
            "/v1/hosts/register",
            json!({"name": "a", "hostId": "a"}),
        )
        .await
        .ok();
        let url = format!("{base}/v1/hosts/a");
        let seen = async || Got::of(client().get(&url)).await.ok()["host"]["lastSeenAt"].clone();
        let before = seen().await;
        let asks = client()
            .post(format!("{base}/v1/hosts/a/claim"))
            .body(json!({"max": 1, "waitMs": 20000}).to_string())
            .timeout(Duration::from_secs(30));
        // Cut off when the coordinator ends.
        tokio::spawn(asks.send());
        let waits = async {
            while seen().await == before {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(SOON, waits).await.expect("the host asks");
        let job = json!({"payload": {"kind": "shell", "command": "true"}});
        let request = client()
            .post(format!("{base}/v1/jobs"))
            .body(job.to_string());
        let _ = request.send().await;
    })
    .await;
    assert!(
        matches!(
            error,
            Error::Part {
                part: "the dispatcher"
            }
        ),
        "{error}"
    );
    assert_eq!(
        error.to_string(),
        "a part of the coordinator has failed: the dispatcher"
    );
}

#[tokio::test]
async fn news_that_fail_end_the_coordinator() {
    let ready = |event: &Event| matches!(event, Event::JobReady { .. });
    let error = ends_with(ready, async |base| {
        let job = json!({"payload": {"kind": "shell", "command": "true"}});
        let request = client()
            .post(format!("{base}/v1/jobs"))
            .body(job.to_string());
        let _ = request.send().await;
    })
    .await;
    assert!(matches!(error, Error::Part { part: "news" }), "{error}");
}
