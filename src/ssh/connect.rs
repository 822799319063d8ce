//! From a [`Target`] to a [`Connection`]: TCP and banner first, then keys and login.
//!
//! The two halves are apart because the first only waits and the second costs CPU: a run lets many
//! hosts wait for the network at once, and few compute.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use russh::client::Config;
use russh::keys::{Algorithm, EcdsaCurve, HashAlg};
use russh::{Preferred, cipher, compression};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use crate::ssh::auth;
use crate::ssh::config::{Settings, Target};
use crate::ssh::connection::Line;
pub use crate::ssh::connection::{Connection, MOST_CHANNELS};
use crate::ssh::dial::dial_through;
pub use crate::ssh::dial::{Dialed, dial};
use crate::ssh::error::{Error, Phase};
use crate::ssh::forward::Doors;
use crate::ssh::guard::{Fate, Guard};
use crate::ssh::pace::Path;
use crate::ssh::throttle::Permit;
use crate::support::ids;

/// Tries before giving up on a server that closes before login or refuses because it is booting, and the first
/// pause between them.
const TRIES: u32 = 3;
const FIRST_PAUSE: Duration = Duration::from_millis(300);
/// A server at its `MaxStartups` is another matter: it drops whoever comes at a bad moment, often because of
/// ourselves. It is asked again until the pauses come to this much.
const MOST_PAUSED: Duration = Duration::from_secs(15);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// A server that says nothing this long gives its permit to another.
const SILENT: Duration = Duration::from_millis(400);
/// A server that has waited this long for our part is dialled again: some hang up after 20 s.
const STALE: Duration = Duration::from_secs(10);
/// A server that leaves this many questions for a sign of life unanswered is dead by the next one.
pub(super) const KEEPALIVE_MISSES: usize = 3;
/// Unread packets a channel may hold before its connection stops reading: 16 of at most 32 KiB.
const CHANNEL_BACKLOG: usize = 16;

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
        let (alive, life) = watch::channel(());
        let guard = Guard {
            _alive: alive,
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
        let exchange = russh::client::connect_stream(config, self.wire, guard);
        let mut handle = limited.run(Phase::KeyExchange, exchange).await?;
        auth::log_in(&mut handle, target, &settings.identities, &mut limited).await?;
        let line = Line::new(handle, fate);
        Ok(Connection::new(line, (path, doors), life, self.through))
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
    progress: impl FnMut() -> F,
) -> Result<Connection, Error> {
    connect_through(target, settings, None, progress).await
}

/// Connects as [`connect`] does, from the jump host `through` if there is one; see
/// [`Jumps`](crate::ssh::jump::Jumps).
///
/// # Errors
/// The last try's.
pub async fn connect_through<F: Future<Output = ()>>(
    target: &Target,
    settings: &Settings,
    through: Option<&Arc<Connection>>,
    mut progress: impl FnMut() -> F,
) -> Result<Connection, Error> {
    let (mut pause, mut paused, mut tries) = (FIRST_PAUSE, Duration::ZERO, 0);
    loop {
        let error = match try_once(target, settings, through, &mut progress).await {
            Ok(connection) => return Ok(connection),
            Err(error) => error,
        };
        // An old sshd drops without a word. Then it is throttled only if we ourselves keep it busy.
        let is_throttled =
            error.is_busy() || error.is_wordless() && settings.throttle.is_in_use(&target.host);
        let again = if is_throttled {
            paused < MOST_PAUSED
        } else {
            tries += 1;
            error.is_transient() && tries < TRIES
        };
        if !again {
            return Err(error);
        }
        tracing::debug!(host = %target.host, is_throttled, error = %error.chain(), "connect failed, trying again");
        // Full jitter: a hundred refused clients must not come back together.
        let this = pause.mul_f64(ids::fraction());
        sleep(this).await;
        paused += this;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

async fn try_once<F: Future<Output = ()>>(
    target: &Target,
    settings: &Settings,
    through: Option<&Arc<Connection>>,
    progress: &mut impl FnMut() -> F,
) -> Result<Connection, Error> {
    let (dialed, mut permit) = dial_in_turn(target, settings, through).await;
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
        dialed = dial_through(target, settings, through).await?;
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
    through: Option<&Arc<Connection>>,
) -> (Result<Dialed, Error>, Option<Permit>) {
    let permit = settings.throttle.enter(&target.host).await;
    let dialing = dial_through(target, settings, through);
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
            // AES in hardware is twice as fast as ChaCha20 where it exists, which is nearly everywhere, and of AES the
            // one with the shorter key by a third, on both sides. Servers that insist on the longer one get it.
            cipher: Cow::Borrowed(&[
                cipher::AES_128_GCM,
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
