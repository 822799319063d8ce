//! Gateways that say where they are.

use serde_json::json;

use crate::guest::host;
use crate::harness::Room;

#[tokio::test]
async fn gateways_are_listed_by_address_and_a_later_word_replaces_an_earlier() {
    let room = Room::open().await;
    assert_eq!(room.get("/v1/gateways").await.ok(), json!({"gateways": []}));
    let two = json!({"id": "g2", "url": "http://b.example:8790", "name": "second"});
    let one = json!({"id": "g1", "url": "http://a.example:8790"});
    room.post("/v1/gateways", two.clone()).await.ok();
    let all = room.post("/v1/gateways", one.clone()).await.ok();
    assert_eq!(all, json!({"gateways": [one, two]}));
    let moved = json!({"id": "g1", "url": "https://z.example"});
    room.post("/v1/gateways", moved.clone()).await.ok();
    let all = room.get("/v1/gateways").await.ok();
    assert_eq!(all, json!({"gateways": [two, moved]}));
    room.stop().await;
}

#[tokio::test]
async fn what_is_no_gateway_is_refused() {
    let room = Room::open().await;
    for body in [
        json!({}),
        json!({"id": "", "url": "http://a"}),
        json!({"id": "g", "url": "a:8790"}),
        json!({"id": "g", "url": "ftp://a"}),
        json!({"id": "g", "url": "http://"}),
        json!({"id": "g", "url": format!("http://{}", "x".repeat(5000))}),
        json!({"id": "g\n", "url": "http://a"}),
        json!({"id": "g", "url": "http://a", "name": "\u{1b}[31m"}),
    ] {
        let got = room.post("/v1/gateways", body).await;
        got.refused(400, "bad_request");
    }
    let guest = room.guest(&host("a"));
    let body = json!({"id": "g", "url": "http://a"});
    guest
        .post("/v1/gateways", &body)
        .await
        .refused(403, "forbidden");
    assert_eq!(room.get("/v1/gateways").await.ok(), json!({"gateways": []}));
    room.stop().await;
}
