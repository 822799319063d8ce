//! One thread, one runtime, one listening socket: it accepts callers and keeps them until they or the gateway end.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::sync::{oneshot, watch};

use super::caller::{self, Door, Place};
use super::pool;
use crate::gateway::drain::Phase;
use crate::gateway::gate::Gate;

/// After the system refused a connection, which it does when files run out.
const BREATH: Duration = Duration::from_millis(50);

/// Starts a worker; what is returned tells of its end.
///
/// # Errors
/// When the system gives no thread.
pub fn start(
    index: usize,
    gate: Arc<Gate>,
    listener: TcpListener,
) -> io::Result<oneshot::Receiver<io::Result<()>>> {
    let (tell, ended) = oneshot::channel();
    thread::Builder::new()
        .name(format!("gateway-{index}"))
        .spawn(move || {
            let _ = tell.send(run(gate, listener));
        })?;
    Ok(ended)
}

fn run(gate: Arc<Gate>, listener: TcpListener) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let served = runtime.block_on(async move {
        listener.set_nonblocking(true)?;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        tokio::select! {
            biased;
            () = gate.drain.reached(Phase::Over) => {}
            () = accept(&gate, &listener) => {}
            () = pool::sweep() => {}
        }
        Ok(())
    });
    // A lookup of a name may still run on a thread that cannot be told to stop.
    runtime.shutdown_background();
    served
}

async fn accept(gate: &Arc<Gate>, listener: &tokio::net::TcpListener) {
    let (refusing, told) = watch::channel(false);
    let door = Arc::new(Door::new(Arc::clone(gate), told));
    let accepting = async {
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => {
                    let Some(place) = Place::take(gate) else {
                        // Whoever holds it shall try another gateway, not wait for one that is full.
                        tracing::debug!(%peer, "too many connections, one was closed");
                        continue;
                    };
                    let _ = stream.set_nodelay(true);
                    tokio::spawn(caller::serve(Arc::clone(&door), stream, peer.ip(), place));
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(BREATH).await;
                }
            }
        }
    };
    let telling = async {
        gate.drain.reached(Phase::Refusing).await;
        refusing.send_replace(true);
        std::future::pending::<()>().await;
    };
    tokio::join!(accepting, telling);
}
