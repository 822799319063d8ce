//! What can go wrong between us and a host, in the words a person needs at night.

use std::fmt;
use std::io;
use std::time::Duration;

use crate::ssh::auth::Refused;
use crate::ssh::forward::{self, Place};
use crate::ssh::known_hosts::Refusal;
use crate::support::span;

/// How far a connection had come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Turning the name into addresses.
    Resolve,
    /// Opening the TCP connection.
    Tcp,
    /// Waiting for the server's first line.
    Banner,
    /// Agreeing on keys.
    KeyExchange,
    /// Proving who we are.
    Login,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Resolve => "name lookup",
            Self::Tcp => "TCP connect",
            Self::Banner => "SSH banner",
            Self::KeyExchange => "key exchange",
            Self::Login => "login",
        })
    }
}

/// The few kinds of failure a caller acts on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// No SSH connection could be made.
    Unreachable,
    /// The server answered and did not let us in.
    Auth,
    /// The server is not who it should be.
    HostKey,
    /// The connection was there and died.
    Lost,
}

/// A failed connection, login or command start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The name has no address. Retrying helps only if name service was down.
    #[error("cannot resolve {host}")]
    Resolve {
        /// The name looked up.
        host: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// TCP failed. Retrying helps while a host boots.
    #[error("cannot connect to {address}")]
    Tcp {
        /// Where to.
        address: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A phase took too long. Retrying seldom helps.
    #[error("{} within {}", .phase.silence(), span::human(*.limit))]
    Timeout {
        /// Which phase.
        phase: Phase,
        /// The limit for the whole connection.
        limit: Duration,
    },
    /// The server closed the connection before login. Retrying helps when it was only busy.
    #[error("the server closed the connection during {phase}{}", quoted(.said))]
    ClosedEarly {
        /// During which phase.
        phase: Phase,
        /// What it said before, if anything.
        said: String,
    },
    /// What answers there does not speak SSH.
    #[error("what answers there is not an SSH server: it said `{said}`")]
    NotSsh {
        /// Its first bytes, made printable.
        said: String,
    },
    /// A host on the way could not be connected to.
    #[error("jump host {hop}")]
    Jump {
        /// Which, as `user@host:port`.
        hop: String,
        /// Why.
        #[source]
        source: Box<Error>,
    },
    /// The host key was refused. Never retried.
    #[error(transparent)]
    HostKey(#[from] Refusal),
    /// Nobody let us in. Never retried.
    #[error(transparent)]
    Auth(#[from] Refused),
    /// The connection died after login.
    #[error("connection lost: {why}")]
    Lost {
        /// What is known of the reason.
        why: String,
    },
    /// The connection died after login without a word: no packet came for several keepalives.
    #[error("connection lost: nothing came from the host for {}", span::human(*.silent_for))]
    Silent {
        /// For how long.
        silent_for: Duration,
    },
    /// The server refused to open a channel or to run the command.
    #[error("the server refused to {act}: {why}")]
    ChannelRefused {
        /// What was asked.
        act: &'static str,
        /// Its words.
        why: String,
    },
    /// The server does not listen for us.
    #[error("the server will not listen on {place} for us: {why}")]
    ForwardRefused {
        /// Where it was to.
        place: Place,
        /// Why it does not.
        why: forward::Refusal,
    },
    /// The SSH protocol went wrong.
    #[error("SSH protocol error during {phase}: {why}")]
    Protocol {
        /// During which phase.
        phase: Phase,
        /// What went wrong.
        why: String,
    },
    /// A file could not be sent.
    #[error("upload to {path} failed: {why}")]
    Upload {
        /// The file on the host.
        path: String,
        /// Why; the old file there is untouched.
        why: String,
    },
}

impl Phase {
    fn silence(self) -> &'static str {
        match self {
            Self::Resolve => "name lookup gave no answer",
            Self::Tcp => "no answer to TCP connect",
            Self::Banner => "TCP connected, but no SSH banner came",
            Self::KeyExchange => "key exchange did not finish",
            Self::Login => "login did not finish",
        }
    }
}

fn quoted(text: &str) -> String {
    if text.is_empty() {
        String::new()
    } else {
        format!(" (it said `{text}`)")
    }
}

impl Error {
    /// Returns the kind, which decides a host's status word and the exit code.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Resolve { .. }
            | Self::Tcp { .. }
            | Self::Timeout { .. }
            | Self::ClosedEarly { .. }
            | Self::NotSsh { .. }
            | Self::Protocol { .. } => Kind::Unreachable,
            Self::Jump { source, .. } => source.kind(),
            Self::HostKey(_) => Kind::HostKey,
            Self::Auth(_) => Kind::Auth,
            Self::Lost { .. }
            | Self::Silent { .. }
            | Self::ChannelRefused { .. }
            | Self::ForwardRefused { .. }
            | Self::Upload { .. } => Kind::Lost,
        }
    }

    /// Tells whether the same attempt may work a moment later: the server was busy or still booting.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::ClosedEarly { .. } => true,
            Self::Jump { source, .. } => source.is_transient(),
            Self::Tcp { source, .. } => matches!(
                source.kind(),
                io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset
            ),
            Self::Resolve { .. }
            | Self::Timeout { .. }
            | Self::NotSsh { .. }
            | Self::HostKey(_)
            | Self::Auth(_)
            | Self::Lost { .. }
            | Self::Silent { .. }
            | Self::ChannelRefused { .. }
            | Self::ForwardRefused { .. }
            | Self::Protocol { .. }
            | Self::Upload { .. } => false,
        }
    }

    /// Tells whether the server said that it has no place for one more handshake.
    pub fn is_busy(&self) -> bool {
        matches!(self, Self::ClosedEarly { phase: Phase::Banner, said }
            if said.starts_with("Exceeded MaxStartups"))
    }

    /// Tells whether the server closed before its version and said nothing.
    pub fn is_wordless(&self) -> bool {
        matches!(self, Self::ClosedEarly { phase: Phase::Banner, said } if said.is_empty())
    }

    /// Returns what the user can do next, where that is known.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Resolve { .. } => "check the `host` of this entry in the fleet file".into(),
            Self::Tcp { source, .. } if source.kind() == io::ErrorKind::ConnectionRefused => {
                "nothing listens there: is sshd running, and is the port right?".into()
            }
            Self::Tcp { .. }
            | Self::Timeout {
                phase: Phase::Tcp, ..
            } => "is the machine up, and the address right? a firewall may drop the packets".into(),
            Self::Timeout { .. } => {
                "the machine may be overloaded; --connect-timeout gives it longer".into()
            }
            Self::ClosedEarly { .. } => {
                "the server may be at its MaxStartups or penalty limit; fewer at once (-f) or a \
                 higher MaxStartups in its sshd_config helps"
                    .into()
            }
            Self::NotSsh { .. } => "check the port of this entry".into(),
            Self::Jump { source, .. } => return source.hint(),
            Self::HostKey(refusal) => refusal.hint(),
            Self::Auth(refused) => refused.hint(),
            Self::ChannelRefused { .. } => {
                "check MaxSessions and ForceCommand in the server's sshd_config".into()
            }
            Self::ForwardRefused { why, .. } => match why {
                forward::Refusal::Policy => {
                    "check AllowStreamLocalForwarding, AllowTcpForwarding and DisableForwarding in the server's \
                     sshd_config, and `restrict` before our key in its authorized_keys"
                        .into()
                }
                forward::Refusal::InUse | forward::Refusal::TooLong => return None,
            },
            Self::Silent { .. } => {
                "the host or the network on the way is gone; what ran there goes on until its sshd notices \
                 (ClientAliveInterval): look there before you run it again"
                    .into()
            }
            Self::Lost { .. } | Self::Protocol { .. } | Self::Upload { .. } => return None,
        })
    }

    /// Returns the text with its causes, on one line.
    pub fn chain(&self) -> String {
        crate::support::chain::chain(self)
    }

    pub(super) fn from_russh(error: russh::Error, phase: Phase) -> Self {
        use russh::Error as E;
        let closed = |said: &str| Self::ClosedEarly {
            phase,
            said: said.to_owned(),
        };
        match error {
            // How long that took is known to the one who set the interval.
            E::KeepaliveTimeout => Self::Silent {
                silent_for: Duration::ZERO,
            },
            E::HUP | E::Disconnect | E::SendError | E::RecvError => closed(""),
            E::IO(io)
                if matches!(
                    io.kind(),
                    io::ErrorKind::UnexpectedEof
                        | io::ErrorKind::ConnectionReset
                        | io::ErrorKind::BrokenPipe
                ) =>
            {
                closed("")
            }
            other => Self::Protocol {
                phase,
                why: other.to_string(),
            },
        }
    }
}

/// Only for the callbacks of russh, which cannot name the phase; those who know it use `from_russh`.
impl From<russh::Error> for Error {
    fn from(error: russh::Error) -> Self {
        Self::from_russh(error, Phase::KeyExchange)
    }
}
