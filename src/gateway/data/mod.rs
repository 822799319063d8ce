//! The data path: connections of callers, requests to backends, bytes in between.
//!
//! ```text
//!  worker ──► caller ──► forward ──► send ──► lease ─┬► pool      idle connections, for one request each ─┬► connect
//!  one thread  one        one         its      what   └► channels  shared ones, of HTTP/2 ─────────────────┘  a new one
//!  per core    connection request     tries    it goes over
//!                          │ upload: what the caller sends    download: what it gets    tunnel: after an upgrade
//! ```
//!
//! It knows nothing of services and health; it asks the gate and tells it what it sees. A request stays on the thread
//! that accepted it, its backend's connection included, so nothing here waits for another thread.

mod alarm;
mod ask;
mod caller;
mod channel;
mod channels;
mod connect;
mod download;
mod forward;
mod framing;
mod guarded;
mod heads;
mod inlet;
mod lease;
mod pool;
mod send;
mod stall;
mod streams;
mod tunnel;
mod upload;
mod worker;

use std::io;
use std::net::TcpListener;
use std::sync::Arc;

use tokio::task::JoinSet;

pub use ask::ask;

use super::drain::Phase;
use super::gate::Gate;

/// What hyper may hold of one direction of one connection. More is a little faster with large bodies and costs slow
/// callers' memory.
const BUFFER: usize = 256 << 10;

/// Serves each listener on a thread of its own until the gate's end is over.
///
/// # Errors
/// When a listener cannot be used, or a thread ends before its time.
pub async fn serve(gate: Arc<Gate>, listeners: Vec<TcpListener>) -> io::Result<()> {
    // Whoever stops to wait for this does not want threads to go on.
    let _over = EndsThreads(Arc::clone(&gate));
    let mut threads = JoinSet::new();
    for (index, listener) in listeners.into_iter().enumerate() {
        let ended = worker::start(index, Arc::clone(&gate), listener)?;
        threads.spawn(async move {
            ended
                .await
                .unwrap_or_else(|_| Err(io::Error::other("a thread of the gateway ended badly")))
        });
    }
    let mut served = Ok(());
    while let Some(ended) = threads.join_next().await {
        let ended = ended.unwrap_or_else(|error| Err(io::Error::other(error)));
        if ended.is_err() {
            // The others would go on, and with them a part of the port that nobody serves.
            gate.drain.enter(Phase::Over);
        }
        served = served.and(ended);
    }
    served
}

struct EndsThreads(Arc<Gate>);

impl Drop for EndsThreads {
    fn drop(&mut self) {
        self.0.drain.enter(Phase::Over);
    }
}
