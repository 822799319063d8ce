//! A relay on the way to a member that keeps every byte it sees.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

/// The relay. Dropped, it is gone.
pub struct Relay {
    pub address: SocketAddr,
    seen: Arc<Mutex<Vec<u8>>>,
    serving: JoinHandle<()>,
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Relay {
    pub async fn to(to: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let keep = Arc::clone(&seen);
        let serving = tokio::spawn(async move {
            let mut open = JoinSet::new();
            while let Ok((from, _)) = listener.accept().await {
                let Ok(to) = TcpStream::connect(to).await else {
                    continue;
                };
                let (near, far) = (from.into_split(), to.into_split());
                open.spawn(pass(near.0, far.1, Arc::clone(&keep)));
                open.spawn(pass(far.0, near.1, Arc::clone(&keep)));
            }
        });
        Self {
            address,
            seen,
            serving,
        }
    }

    /// Returns all that went through, in both directions.
    pub fn seen(&self) -> Vec<u8> {
        self.seen.lock().unwrap().clone()
    }
}

async fn pass(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    seen: Arc<Mutex<Vec<u8>>>,
) {
    let mut buffer = vec![0; 16 << 10];
    while let Ok(count) = from.read(&mut buffer).await {
        if count == 0 {
            break;
        }
        seen.lock().unwrap().extend_from_slice(&buffer[..count]);
        if to.write_all(&buffer[..count]).await.is_err() {
            break;
        }
    }
    let _ = to.shutdown().await;
}

/// Asserts that none of `words` is in `bytes`.
#[track_caller]
pub fn assert_absent(bytes: &[u8], words: &[&str]) {
    for word in words {
        let found = bytes
            .windows(word.len())
            .any(|part| part == word.as_bytes());
        assert!(!found, "{word} is in {}", String::from_utf8_lossy(bytes));
    }
}

#[track_caller]
pub fn assert_present(bytes: &[u8], word: &str) {
    let found = bytes
        .windows(word.len())
        .any(|part| part == word.as_bytes());
    assert!(found, "{word} is not in {}", String::from_utf8_lossy(bytes));
}
