//! An SSH server on loopback: one listener plays one machine with a home of its own.
//!
//! It runs commands and listens for its clients, on sockets in that home and on loopback ports; nothing else: no
//! terminal, no other forwarding, no file transfer protocol. One user may log in, with one key. Everything started through it ends with it.

mod exec;
mod forward;
mod gate;
mod keys;
mod processes;
mod session;

use std::io;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use russh::keys::PublicKey;
use russh::server::Config;
use russh::{MethodKind, MethodSet, Preferred, compression};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};

pub use keys::{KeyError, KeyPair};
pub use processes::end_with_variable;

use gate::{Gate, GatedStream};
use session::Session;

/// A refused login costs an attacker this much time, whatever the reason.
const REJECTION: Duration = Duration::from_millis(100);

/// What the clients of a server see of it, shared by the servers of one sandbox.
#[derive(Clone)]
pub struct Identity {
    config: Arc<Config>,
    client: Arc<PublicKey>,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity").finish_non_exhaustive()
    }
}

impl Identity {
    /// Returns the identity of servers that show `host` and let in who holds `client`.
    pub fn new(host: &KeyPair, client: &KeyPair) -> Self {
        let config = Config {
            methods: MethodSet::from(&[MethodKind::PublicKey][..]),
            auth_rejection_time: REJECTION,
            // OpenSSH asks with `none` first, to learn which methods there are.
            auth_rejection_time_initial: Some(Duration::ZERO),
            keys: vec![host.private().clone()],
            preferred: Preferred {
                compression: std::borrow::Cow::Borrowed(&[compression::NONE]),
                ..Preferred::DEFAULT
            },
            // A task may be silent for hours.
            inactivity_timeout: None,
            ..Config::default()
        };
        Self {
            config: Arc::new(config),
            client: Arc::new(client.private().public_key().clone()),
        }
    }
}

/// The one who may log in, and what commands find.
#[derive(Debug, Clone)]
pub struct Account {
    /// The login name.
    pub user: String,
    /// The home; commands start in it.
    pub home: PathBuf,
    /// All variables commands get, besides `HOME`, `USER`, `LOGNAME`, `SHELL` and `SSH_CONNECTION`.
    pub environment: Vec<(String, String)>,
}

/// A listening server.
#[derive(Debug)]
pub struct Server {
    port: u16,
    stop: watch::Sender<bool>,
    alive: mpsc::Receiver<()>,
}

/// What every connection and command of a server holds on to: while one is there, the server is not
/// stopped.
#[derive(Debug, Clone)]
pub(super) struct Tether {
    stopped: watch::Receiver<bool>,
    _alive: mpsc::Sender<()>,
}

impl Tether {
    /// Waits until the server is to stop.
    pub(super) async fn cut(&mut self) {
        // A server that is gone without a word has stopped too.
        let _ = self.stopped.wait_for(|stopped| *stopped).await;
    }
}

impl Server {
    /// Listens on a free loopback port and serves until [`Server::stop`] or drop.
    ///
    /// # Errors
    /// When there is no free port or no free file descriptor.
    pub async fn start(identity: &Identity, account: Account) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let port = listener.local_addr()?.port();
        let (stop, stopped) = watch::channel(false);
        let (_alive, alive) = mpsc::channel(1);
        let tether = Tether { stopped, _alive };
        tokio::spawn(serve(listener, identity.clone(), Arc::new(account), tether));
        Ok(Self { port, stop, alive })
    }

    /// Returns the port it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Asks it to close the port, cut the connections and kill the commands; does not wait.
    pub fn cut(&self) {
        self.stop.send_replace(true);
    }

    /// Does as [`Server::cut`] and waits until it is done.
    pub async fn stop(mut self) {
        self.cut();
        // Nobody sends: this returns when the last holder of a tether is gone.
        let _ = self.alive.recv().await;
    }
}

async fn serve(
    listener: TcpListener,
    identity: Identity,
    account: Arc<Account>,
    mut tether: Tether,
) {
    loop {
        let stopping = tether.clone();
        let accepted = tokio::select! {
            () = tether.cut() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                tokio::spawn(converse(
                    stream,
                    identity.clone(),
                    Arc::clone(&account),
                    stopping,
                ));
            }
            // Out of file descriptors: others close theirs in a moment.
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::select! {
                    () = tether.cut() => return,
                    () = tokio::time::sleep(REJECTION) => {}
                }
            }
        }
    }
}

/// Serves one connection to its end.
async fn converse(
    stream: TcpStream,
    identity: Identity,
    account: Arc<Account>,
    mut tether: Tether,
) {
    // Without this the small packets of a handshake wait for each other's acknowledgement.
    let _ = stream.set_nodelay(true);
    let place = (stream.peer_addr().ok(), stream.local_addr().ok());
    let gate = Arc::new(Gate::default());
    let session = Session::new(
        identity.client,
        account,
        place,
        Arc::clone(&gate),
        tether.clone(),
    );
    let stream = GatedStream::new(stream, Arc::clone(&gate));
    let started = tokio::select! {
        () = tether.cut() => return,
        started = russh::server::run_stream(identity.config, stream, session) => started,
    };
    let mut running = match started {
        Ok(running) => running,
        Err(error) => return tracing::debug!(%error, "no SSH client"),
    };
    let ended = tokio::select! {
        ended = &mut running => ended,
        () = tether.cut() => {
            gate.cut();
            running.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "connection ended");
    }
}
