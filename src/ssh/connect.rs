//! From a [`Target`] to a [`Connection`]: TCP and banner first, then keys and login.
//!
//! The two halves are apart because the first only waits and the second costs CPU: a run lets many
//! hosts wait for the network at once, and few compute.

use std::borrow::Cow;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use russh::client::{Config, Handle, Msg};
use russh::keys::{Algorithm, EcdsaCurve, HashAlg};
use russh::{Channel, Preferred, cipher, compression};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, sleep, timeout};

use crate::ssh::auth;
use crate::ssh::config::{Settings, Target};
use crate::ssh::error::{Error, Phase};
use crate::ssh::forward::Doors;
use crate::ssh::guard::{Fate, Guard};
use crate::ssh::limited::Limited;
use crate::ssh::pace::Path;
use crate::ssh::socket::Socket;
use crate::ssh::throttle::Permit;
use crate::support::ids;

/// Tries before giving up on a server that is busy or booting, and the first pause between them.
const TRIES: u32 = 3;
const FIRST_PAUSE: Duration = Duration::from_millis(300);
/// A server without a free place for a handshake is asked again until the pauses come to this much.
const MOST_PAUSED: Duration = Duration::from_secs(15);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// A server that says nothing this long gives its permit to another.
const SILENT: Duration = Duration::from_millis(400);
/// A server that has waited this long for our part is dialled again: some hang up after 20 s.
const STALE: Duration = Duration::from_secs(10);
/// A server that leaves this many questions for a sign of life unanswered is dead by the next one.
pub(super) const KEEPALIVE_MISSES: usize = 3;
/// Channels open at once on one connection, under the `MaxSessions 10` of a stock sshd.
const MOST_CHANNELS: usize = 8;
/// One more for short questions: whether a task has left something behind is asked while tasks hold
/// all the others.
const SPARE_CHANNELS: usize = 1;
/// A channel that the server refuses is asked for again this long: it counts a session until all that
/// it left behind is gone, which may be after we have closed it.
const CHANNEL_PATIENCE: Duration = Duration::from_secs(5);
const CHANNEL_PAUSE: Duration = Duration::from_millis(20);
/// Unread packets a channel may hold before its connection stops reading: 16 of at most 32 KiB.
const CHANNEL_BACKLOG: usize = 16;

/// A TCP connection on which an SSH server has spoken.
#[derive(Debug)]
pub struct Dialed {
    stream: TcpStream,
    round_trip: Duration,
    limited: Limited,
}

/// Opens a TCP connection and waits until the server says something.
///
/// # Errors
/// [`Error::Resolve`], [`Error::Tcp`], [`Error::Timeout`], [`Error::ClosedEarly`], [`Error::NotSsh`].
pub async fn dial(target: &Target, settings: &Settings) -> Result<Dialed, Error> {
    let limited = Limited::start(settings.connect_timeout);
    let addresses = limited.run(Phase::Resolve, resolve(target)).await?;
    let (stream, round_trip) = limited.run(Phase::Tcp, open_tcp(&addresses)).await?;
    limited.run(Phase::Banner, wait_for_banner(&stream)).await?;
    Ok(Dialed {
        stream,
        round_trip,
        limited,
    })
}

async fn resolve(target: &Target) -> Result<Vec<SocketAddr>, Error> {
    if let Ok(ip) = target.host.parse() {
        return Ok(vec![SocketAddr::new(ip, target.port)]);
    }
    let fail = |source| Error::Resolve {
        host: target.host.clone(),
        source,
    };
    let found = tokio::net::lookup_host((target.host.as_str(), target.port))
        .await
        .map_err(fail)?;
    let addresses: Vec<SocketAddr> = found.collect();
    if addresses.is_empty() {
        return Err(fail(io::Error::new(io::ErrorKind::NotFound, "no address")));
    }
    Ok(addresses)
}

/// Returns the stream and how long its handshake took, which is one round trip.
async fn open_tcp(addresses: &[SocketAddr]) -> Result<(TcpStream, Duration), Error> {
    let mut last = None;
    for address in addresses {
        let began = Instant::now();
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok((stream, began.elapsed())),
            Err(source) => {
                last = Some(Error::Tcp {
                    address: address.to_string(),
                    source,
                })
            }
        }
    }
    Err(last.unwrap_or_else(|| Error::Tcp {
        address: String::new(),
        source: io::Error::new(io::ErrorKind::NotFound, "no address"),
    }))
}

/// Servers speak first. What they say is only looked at here; the SSH layer reads it again.
async fn wait_for_banner(stream: &TcpStream) -> Result<(), Error> {
    let mut start = [0; 64];
    let closed = |said: &str| Error::ClosedEarly {
        phase: Phase::Banner,
        said: said.to_owned(),
    };
    match stream.peek(&mut start).await {
        Ok(0) => Err(closed("")),
        Err(error) => Err(closed(&error.to_string())),
        Ok(length) => {
            let said = String::from_utf8_lossy(start.get(..length).unwrap_or_default());
            let said = said.trim_end();
            // What OpenSSH answers past MaxStartups and under PerSourcePenalties.
            if said.starts_with("Exceeded MaxStartups")
                || said.starts_with("Not allowed at this time")
            {
                return Err(closed(said));
            }
            // RFC 4253, 4.2 lets a server send other lines before its version, but text only.
            let texty = said
                .bytes()
                .all(|b| b == b'\r' || b == b'\n' || b == b'\t' || b >= b' ');
            if said.starts_with("HTTP/") || !texty {
                return Err(Error::NotSsh {
                    said: said.escape_debug().take(60).collect(),
                });
            }
            Ok(())
        }
    }
}

impl Dialed {
    /// Checks the host key, agrees on keys and logs in.
    ///
    /// # Errors
    /// As the phases name them; see [`Error`].
    pub async fn log_in(self, target: &Target, settings: &Settings) -> Result<Connection, Error> {
        let mut limited = self.limited;
        let fate = Arc::new(Fate::default());
        let path = Arc::new(Path::new(self.round_trip));
        let doors = Arc::new(Doors::default());
        let guard = Guard {
            host: target.host.clone(),
            port: target.port,
            pinned: target.pinned.clone(),
            known_hosts: Arc::clone(&settings.known_hosts),
            keepalive: settings.keepalive.unwrap_or_default(),
            fate: Arc::clone(&fate),
            path: Arc::clone(&path),
            doors: Arc::clone(&doors),
        };
        let config = Arc::new(config_for(target, settings));
        let exchange = russh::client::connect_stream(config, Socket::open(self.stream), guard);
        let mut handle = limited.run(Phase::KeyExchange, exchange).await?;
        auth::log_in(&mut handle, target, &settings.identities, &mut limited).await?;
        Ok(Connection {
            handle,
            channels: Semaphore::new(MOST_CHANNELS),
            spare: Semaphore::new(SPARE_CHANNELS),
            fate,
            path,
            doors,
        })
    }
}

/// Connects, waiting for a place among the handshakes and trying again while that can help.
///
/// `progress` is called when the server has answered, before anything costly starts.
///
/// # Errors
/// The last try's.
pub async fn connect<F: Future<Output = ()>>(
    target: &Target,
    settings: &Settings,
    mut progress: impl FnMut() -> F,
) -> Result<Connection, Error> {
    let (mut pause, mut paused) = (FIRST_PAUSE, Duration::ZERO);
    for attempt in 1.. {
        let error = match try_once(target, settings, &mut progress).await {
            Ok(connection) => return Ok(connection),
            Err(error) => error,
        };
        let again = if error.is_busy() {
            paused < MOST_PAUSED
        } else {
            error.is_transient() && attempt < TRIES
        };
        if !again {
            return Err(error);
        }
        tracing::debug!(host = %target.host, attempt, error = %error.chain(), "connect failed, trying again");
        // Full jitter: a hundred refused clients must not come back together.
        let this = pause.mul_f64(ids::fraction());
        sleep(this).await;
        paused += this;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
    unreachable!("the loop ends at the last try")
}

async fn try_once<F: Future<Output = ()>>(
    target: &Target,
    settings: &Settings,
    progress: &mut impl FnMut() -> F,
) -> Result<Connection, Error> {
    let (dialed, mut permit) = dial_in_turn(target, settings).await;
    let mut dialed = dialed?;
    let answered = Instant::now();
    {
        let progressing = progress();
        tokio::pin!(progressing);
        tokio::select! {
            biased;
            () = &mut progressing => {}
            // Whoever makes us wait may itself wait for a permit.
            () = std::future::ready(()) => {
                permit = None;
                progressing.await;
            }
        }
    }
    let permit = match permit {
        Some(permit) => permit,
        None => settings.throttle.enter(&target.host).await,
    };
    let waited = answered.elapsed();
    // A server gives up on us after its LoginGraceTime; ours was no time of the server's.
    if waited > STALE {
        dialed = dial(target, settings).await?;
    } else {
        dialed.limited.pardon(waited);
    }
    let result = dialed.log_in(target, settings).await;
    permit.finish(!matches!(result, Err(Error::ClosedEarly { .. })));
    result
}

/// Dials with a permit: from the first packet on we take one of the server's `MaxStartups`. A server
/// that is silent does not keep its permit from others.
async fn dial_in_turn(
    target: &Target,
    settings: &Settings,
) -> (Result<Dialed, Error>, Option<Permit>) {
    let permit = settings.throttle.enter(&target.host).await;
    let dialing = dial(target, settings);
    tokio::pin!(dialing);
    match timeout(SILENT, &mut dialing).await {
        Ok(Err(error @ Error::ClosedEarly { .. })) => {
            permit.finish(false);
            (Err(error), None)
        }
        Ok(result) => (result, Some(permit)),
        Err(_) => {
            drop(permit);
            (dialing.await, None)
        }
    }
}

fn config_for(target: &Target, settings: &Settings) -> Config {
    let (listed, authority) = settings.known_hosts.expectations(&target.host, target.port);
    Config {
        keepalive_interval: settings.keepalive,
        keepalive_max: KEEPALIVE_MISSES,
        channel_buffer_size: CHANNEL_BACKLOG,
        preferred: Preferred {
            key: host_key_order(&listed),
            host_key_certificates: if authority {
                host_key_order(&[])
            } else {
                Cow::Borrowed(&[])
            },
            // AES in hardware is twice as fast as ChaCha20 where it exists, which is nearly everywhere.
            cipher: Cow::Borrowed(&[
                cipher::AES_256_GCM,
                cipher::CHACHA20_POLY1305,
                cipher::AES_256_CTR,
                cipher::AES_192_CTR,
                cipher::AES_128_CTR,
            ]),
            compression: Cow::Borrowed(&[compression::NONE]),
            ..Preferred::DEFAULT
        },
        ..Config::default()
    }
}

/// Returns the host key types in our order, with those on file for this host first: a server with
/// several keys must show the one we can check.
fn host_key_order(listed: &[String]) -> Cow<'static, [Algorithm]> {
    let all = [
        Algorithm::Ed25519,
        Algorithm::Ecdsa {
            curve: EcdsaCurve::NistP256,
        },
        Algorithm::Ecdsa {
            curve: EcdsaCurve::NistP384,
        },
        Algorithm::Ecdsa {
            curve: EcdsaCurve::NistP521,
        },
        Algorithm::Rsa {
            hash: Some(HashAlg::Sha512),
        },
        Algorithm::Rsa {
            hash: Some(HashAlg::Sha256),
        },
    ];
    let on_file = |algorithm: &Algorithm| {
        // In known_hosts an RSA key is `ssh-rsa` whatever hash it signs with.
        let name = if algorithm.clone().is_rsa() {
            "ssh-rsa"
        } else {
            algorithm.as_str()
        };
        listed.iter().any(|key_type| key_type == name)
    };
    let (mut first, rest): (Vec<_>, Vec<_>) = all.into_iter().partition(on_file);
    first.extend(rest);
    Cow::Owned(first)
}

/// A live, authenticated connection. Dropping it closes it.
pub struct Connection {
    handle: Handle<Guard>,
    channels: Semaphore,
    spare: Semaphore,
    fate: Arc<Fate>,
    pub(super) path: Arc<Path>,
    doors: Arc<Doors>,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection")
            .field("closed", &self.is_closed())
            .finish_non_exhaustive()
    }
}

impl Connection {
    /// Tells whether the connection is gone.
    pub fn is_closed(&self) -> bool {
        self.handle.is_closed()
    }

    /// Returns what is known of the end of a connection that is gone.
    pub fn death(&self) -> Error {
        self.lost()
    }

    /// Says goodbye. The server ends everything that still runs on this connection.
    pub async fn close(&self) {
        let _ = self
            .handle
            .disconnect(russh::Disconnect::ByApplication, "", "")
            .await;
    }

    /// Waits for the right to open a channel.
    pub(super) async fn place(&self) -> Result<SemaphorePermit<'_>, Error> {
        // The semaphore is never closed.
        self.channels.acquire().await.map_err(|_| self.lost())
    }

    /// Waits for the right to open a channel for a moment.
    pub(super) async fn short_place(&self) -> Result<SemaphorePermit<'_>, Error> {
        match self.channels.try_acquire() {
            Ok(place) => Ok(place),
            Err(_) => self.spare.acquire().await.map_err(|_| self.lost()),
        }
    }

    pub(super) async fn open_channel(&self) -> Result<Channel<Msg>, Error> {
        let patient_until = Instant::now() + CHANNEL_PATIENCE;
        let mut pause = CHANNEL_PAUSE;
        loop {
            let asked = Instant::now();
            let why = match self.handle.channel_open_session().await {
                Ok(channel) => {
                    self.path.answered(asked.elapsed());
                    return Ok(channel);
                }
                Err(russh::Error::ChannelOpenFailure(why)) => why,
                Err(_) => return Err(self.lost()),
            };
            // Nothing has started, so asking again does no harm.
            if Instant::now() + pause > patient_until {
                return Err(Error::ChannelRefused {
                    act: "open a channel",
                    why: format!("{why:?}"),
                });
            }
            sleep(pause).await;
            pause *= 2;
        }
    }

    pub(super) fn handle(&self) -> &Handle<Guard> {
        &self.handle
    }

    pub(super) fn doors(&self) -> &Arc<Doors> {
        &self.doors
    }

    pub(super) fn lost(&self) -> Error {
        self.fate.error()
    }
}
