//! What a client asked us to listen on for it, a socket or a loopback port: each connection becomes a channel
//! to the client.

use std::collections::HashMap;
use std::fs::Permissions;
use std::io;
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use russh::server::{Handle, Msg};
use russh::{Channel, Error};
use tokio::io::{AsyncRead, AsyncWrite, copy_bidirectional};
use tokio::net::{TcpListener, UnixListener};
use tokio::task::JoinHandle;

use super::Tether;

const LOOPBACK: &str = "127.0.0.1";

/// The listeners of one connection. They go when it does.
#[derive(Default)]
pub(super) struct Forwards(HashMap<String, Forward>);

struct Forward {
    socket: Option<PathBuf>,
    task: JoinHandle<()>,
}

impl Drop for Forward {
    fn drop(&mut self) {
        self.task.abort();
        if let Some(path) = &self.socket {
            let _ = std::fs::remove_file(path);
        }
    }
}

impl Forwards {
    /// Listens on the socket `path`, which must be in `home` and must not be there yet. Tells whether it does.
    pub(super) fn open_socket(
        &mut self,
        path: &str,
        home: &Path,
        client: Handle,
        tether: Tether,
    ) -> bool {
        let Some(listener) = said(path, listen(Path::new(path), home)) else {
            return false;
        };
        let name = path.to_owned();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (client, name) = (client.clone(), name.clone());
                let channel = async move { client.channel_open_forwarded_streamlocal(name).await };
                tokio::spawn(carry(stream, channel, tether.clone()));
            }
        });
        let socket = Some(path.into());
        self.0.insert(path.to_owned(), Forward { socket, task });
        true
    }

    /// Listens on a loopback port, a free one if it is 0. Returns which.
    pub(super) async fn open_port(
        &mut self,
        port: u32,
        client: Handle,
        tether: Tether,
    ) -> Option<u32> {
        let wanted = u16::try_from(port).ok()?;
        let bound = TcpListener::bind((Ipv4Addr::LOCALHOST, wanted)).await;
        let listener = said("a loopback port", bound)?;
        let port = u32::from(listener.local_addr().ok()?.port());
        let task = tokio::spawn(async move {
            while let Ok((stream, from)) = listener.accept().await {
                let client = client.clone();
                let channel = async move {
                    let from = (from.ip().to_string(), u32::from(from.port()));
                    client
                        .channel_open_forwarded_tcpip(LOOPBACK, port, from.0, from.1)
                        .await
                };
                tokio::spawn(carry(stream, channel, tether.clone()));
            }
        });
        self.0
            .insert(port.to_string(), Forward { socket: None, task });
        Some(port)
    }

    /// Listens no more on a path, or on a port in digits. Tells whether it did.
    pub(super) fn close(&mut self, name: &str) -> bool {
        self.0.remove(name).is_some()
    }
}

fn listen(path: &Path, home: &Path) -> io::Result<UnixListener> {
    let place = path.parent().unwrap_or(path).canonicalize()?;
    if !place.starts_with(home.canonicalize()?) {
        return Err(io::Error::other("it is not in the home"));
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, Permissions::from_mode(0o600))?;
    Ok(listener)
}

fn said<L>(place: &str, bound: io::Result<L>) -> Option<L> {
    bound
        .map_err(|error| tracing::debug!(place, %error, "cannot listen for the client"))
        .ok()
}

/// Carries bytes both ways until either end closes or the server is to stop.
async fn carry(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    channel: impl Future<Output = Result<Channel<Msg>, Error>>,
    mut tether: Tether,
) {
    let both = async {
        if let Ok(channel) = channel.await {
            // Whichever end fails, both are closed then.
            let _ = copy_bidirectional(&mut stream, &mut channel.into_stream()).await;
        }
    };
    tokio::select! {
        () = tether.cut() => {}
        () = both => {}
    }
}
