//! Who is let in.

use std::net::SocketAddr;

use reqwest::Method;
use serde_json::json;
use skyclaw::coordinator::Tokens;

use crate::harness::Room;

#[tokio::test]
async fn only_the_token_opens_private_routes_and_health_needs_none() {
    let room = Room::with(|settings| settings.tokens = Tokens::parse("secret-1,secret-2")).await;
    assert_eq!(
        room.get("/health").await.ok(),
        json!({"ok": true, "nodeId": "node_test"})
    );
    let with = |name: &'static str, value: &'static str| {
        room.request(Method::GET, "/v1/hosts").header(name, value)
    };
    for (name, value) in [
        ("x-skyclaw-token", "secret-1"),
        ("x-skyclaw-token", "secret-2"),
        ("authorization", "Bearer secret-1"),
    ] {
        room.send(with(name, value)).await.ok();
    }
    assert_eq!(
        room.get("/v1/hosts").await.refused(401, "unauthorized"),
        "unauthorized"
    );
    // Also where there is no route: who is not let in learns nothing.
    room.get("/v1/nope").await.refused(401, "unauthorized");
    let wrong = room.send(with("x-skyclaw-token", "secret-3")).await;
    let text = wrong.refused(401, "unauthorized");
    assert!(!text.contains("secret"));
    room.stop().await;
}

#[tokio::test]
async fn who_guesses_too_often_is_slowed_down_and_others_are_not() {
    let room = Room::with(|settings| settings.tokens = Tokens::parse("right")).await;
    let guess = || {
        room.request(Method::GET, "/v1/hosts")
            .header("x-skyclaw-token", "wrong")
    };
    let mut answers = Vec::new();
    for _ in 0..30 {
        answers.push(room.send(guess()).await);
    }
    let late = answers
        .iter()
        .find(|got| got.status == 429)
        .expect("one is too many");
    assert_eq!(late.header("retry-after"), Some("1"));
    assert_eq!(answers[0].status, 401);
    let right = room
        .request(Method::GET, "/v1/hosts")
        .header("x-skyclaw-token", "right");
    room.send(right).await.ok();
    room.stop().await;
}

#[tokio::test]
async fn without_a_token_everybody_is_let_in() {
    let room = Room::open().await;
    room.get("/v1/hosts").await.ok();
    let address: SocketAddr = room.base.trim_start_matches("http://").parse().unwrap();
    assert!(address.ip().is_loopback());
    room.stop().await;
}
