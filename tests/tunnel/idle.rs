//! A tunnel that nobody uses sends signs of life and nothing else.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::common::{eventually, link};
use crate::rig::{Rig, SOON};

/// What each side sent through the proxy, piece by piece.
#[derive(Default)]
struct Sent {
    up: Vec<usize>,
    down: Vec<usize>,
}

/// Lets one connection through and counts. Returns its port.
async fn proxy(to: (String, u16), sent: Arc<Mutex<Sent>>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (client, _) = listener.accept().await.unwrap();
        let server = TcpStream::connect(to).await.unwrap();
        let (mut from_client, mut to_client) = client.into_split();
        let (mut from_server, mut to_server) = server.into_split();
        let counted = Arc::clone(&sent);
        let up = async move {
            let mut buffer = vec![0; 64 << 10];
            while let Ok(length @ 1..) = from_client.read(&mut buffer).await {
                counted.lock().unwrap().up.push(length);
                to_server.write_all(&buffer[..length]).await.unwrap();
            }
        };
        let down = async move {
            let mut buffer = vec![0; 64 << 10];
            while let Ok(length @ 1..) = from_server.read(&mut buffer).await {
                sent.lock().unwrap().down.push(length);
                to_client.write_all(&buffer[..length]).await.unwrap();
            }
        };
        tokio::join!(up, down);
    });
    port
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_tunnel_sends_signs_of_life_alone() {
    let Some(rig) = Rig::new() else { return };
    let sent = Arc::new(Mutex::new(Sent::default()));
    let port = proxy((rig.server.host(), rig.server.port()), Arc::clone(&sent)).await;
    let mut host = (*link::host(&rig.world, &rig.server, "alpha")).clone();
    host.port = Some(port);
    let mut running = rig.start_to(Arc::new(host), Some(Duration::from_millis(100)));
    running.up().await;
    // What was under way when it came up is over when the pieces begin to repeat.
    let repeats = |pieces: &[usize]| {
        let last = pieces.last_chunk::<3>();
        last.is_some_and(|last| last.iter().all(|piece| piece == &last[0]))
    };
    eventually(SOON, || {
        let sent = sent.lock().unwrap();
        repeats(&sent.up) && repeats(&sent.down)
    });
    *sent.lock().unwrap() = Sent::default();
    eventually(SOON, || {
        let sent = sent.lock().unwrap();
        sent.up.len() >= 10 && sent.down.len() >= 10
    });
    let sent = sent.lock().unwrap();
    // A question and its answer, again and again: all alike.
    for pieces in [&sent.up, &sent.down] {
        assert!(
            pieces
                .iter()
                .all(|piece| piece == &pieces[0] && *piece < 100),
            "{pieces:?}"
        );
    }
    assert!(sent.up.len().abs_diff(sent.down.len()) <= 1);
}
