//! Commands and webhooks that are told of ended jobs, and groups that had enough.

use serde_json::{Value, json};
use skyclaw::coordinator::{Hooks, Webhook};
use skyclaw::support::secret::Secret;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::timeout;

use crate::harness::{Room, SOON, done};

async fn end_one(room: &Room) -> String {
    room.host("a", &["shell"]).await;
    let id = room.submit(&["shell"]).await;
    let job = room.claim("a").await;
    let path = format!("/v1/jobs/{id}/complete");
    room.post(&path, done(&job, "a")).await.ok();
    id
}

#[tokio::test]
async fn a_command_gets_the_job_on_its_standard_input() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("told");
    let command = format!("cat > {0}.part && mv {0}.part {0}", file.display());
    let room = Room::with(|settings| {
        settings.hooks = Hooks {
            command: Some(command),
            webhook: None,
        };
    })
    .await;
    let id = end_one(&room).await;
    room.until(async |_| file.exists()).await;
    let told: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    assert_eq!(
        (told["job"]["id"].as_str(), told["job"]["status"].as_str()),
        (Some(&*id), Some("completed"))
    );
    room.stop().await;
}

/// Answers one request with `status` and returns it whole.
async fn answer(listener: &TcpListener, status: &str) -> String {
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut text = String::new();
    let mut buffer = [0; 4096];
    loop {
        let read = stream.read(&mut buffer).await.unwrap();
        text.push_str(std::str::from_utf8(&buffer[..read]).unwrap());
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length: usize = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "))
                .unwrap()
                .parse()
                .unwrap();
            if body.len() >= length {
                break;
            }
        }
    }
    let head = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    text
}

#[tokio::test]
async fn a_webhook_is_signed_and_tried_again() {
    use hmac::{Hmac, KeyInit, Mac};

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let room = Room::with(|settings| {
        settings.hooks.webhook = Some(Webhook {
            url: url.parse().unwrap(),
            secret: Some(Secret::new("s3cret".to_owned())),
        });
    })
    .await;
    let id = end_one(&room).await;
    let first = timeout(SOON, answer(&listener, "500 Oops")).await.unwrap();
    let second = timeout(SOON, answer(&listener, "204 No Content"))
        .await
        .unwrap();
    let (head, body) = second.split_once("\r\n\r\n").unwrap();
    assert_eq!(first.split_once("\r\n\r\n").unwrap().1, body);
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(b"s3cret").unwrap();
    mac.update(body.as_bytes());
    let digest: String = mac
        .finalize()
        .into_bytes()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert!(
        head.contains(&format!("x-skyclaw-signature: sha256={digest}")),
        "{head}"
    );
    let told: Value = serde_json::from_str(body).unwrap();
    assert_eq!(told["job"]["id"], *id);
    room.stop().await;
}

#[tokio::test]
async fn a_webhook_that_hangs_holds_up_no_command() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("told");
    // Connections come in and nobody answers.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let command = format!("cat >/dev/null; echo told >> {}", file.display());
    let room = Room::with(|settings| {
        settings.hooks = Hooks {
            command: Some(command),
            webhook: Some(Webhook {
                url: url.parse().unwrap(),
                secret: None,
            }),
        };
    })
    .await;
    for _ in 0..10 {
        end_one(&room).await;
    }
    let told = || std::fs::read_to_string(&file).unwrap_or_default();
    room.until(async |_| told().lines().count() == 10).await;
    room.stop().await;
}

#[tokio::test]
async fn a_group_ends_when_too_many_of_its_jobs_failed() {
    let room = Room::open().await;
    room.host("a", &["shell"]).await;
    let one = json!({"payload": {"kind": "shell", "command": "false"}});
    let body = json!({"jobs": vec![one; 6], "group": {"maxFails": 2}});
    let ids = room.post("/v1/jobs/batch", body).await.ok()["ids"].clone();
    for _ in 0..2 {
        let job = room.claim("a").await;
        let mut report = done(&job, "a");
        report["success"] = json!(false);
        report["exitCode"] = json!(1);
        let path = format!("/v1/jobs/{}/complete", job["id"].as_str().unwrap());
        let got = room.post(&path, report).await.ok();
        assert_eq!(got["job"]["reason"], "exit");
    }
    let last = ids[5].as_str().unwrap();
    room.until(async |room| room.job(last).await["reason"] == "cancelled")
        .await;
    assert_eq!(room.claim("a").await, Value::Null);
    room.stop().await;
}
