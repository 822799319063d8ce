//! Why a deploy did not come to its end, on one host or before any.

use super::Component;
use super::fetch::Failure;
use super::observe::File;
use crate::fleet::agent::{config, env_file, picoclaw, security};
use crate::fleet::file::{HostName, KeyError};
use crate::fleet::service::settings;
use crate::fleet::{ephemeral, release, target};
use crate::ssh;
use crate::support::chain::chain;

/// A deploy that cannot begin. Nothing was contacted but, perhaps, the release server.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// A host has no usable API key.
    #[error("host {host}: {source}")]
    Key {
        /// The first host that needs it.
        host: HostName,
        /// What is wrong with it.
        source: KeyError,
    },
    /// A host's provider or model cannot be set up.
    #[error("host {host}: {source}")]
    Provider {
        /// The host.
        host: HostName,
        /// What is wrong.
        source: picoclaw::Error,
    },
    /// A host's key cannot be written into `.env`.
    #[error("host {host}: {source}")]
    Env {
        /// The host.
        host: HostName,
        /// What is wrong.
        source: env_file::Error,
    },
    /// The release cannot be had, or the file to install is another one.
    #[error("nothing to install")]
    Release(#[source] release::Error),
    /// A helper thread ended early; a defect of skyclaw.
    #[error("reading an API key ended unexpectedly")]
    Thread(#[from] tokio::task::JoinError),
}

/// A deploy that failed on one host.
#[derive(Debug, thiserror::Error)]
pub enum DeployError {
    /// The connection or an upload failed. What stood on the host before still stands there whole.
    #[error(transparent)]
    Ssh(#[from] ssh::Error),
    /// An ephemeral run is at work there, or has left what cannot be undone. Nothing was written.
    #[error(transparent)]
    Ephemeral(#[from] ephemeral::Error),
    /// The host's answer is not that of our script. Trying again does not help.
    #[error("the host's shell did not run our script; it said {said}")]
    Answer {
        /// What came instead.
        said: String,
    },
    /// There is no build for this host. Trying again does not help.
    #[error(transparent)]
    Target(#[from] target::Error),
    /// The program for this host cannot be had. The old one is untouched.
    #[error("get {component}: {}", chain(.source))]
    Artifact {
        /// Which program.
        component: Component,
        /// Why; shared by all hosts that need the same one.
        source: std::sync::Arc<release::Error>,
    },
    /// The host could not download its program. The old one is untouched.
    #[error("this host cannot get {component} itself: {failure}")]
    Fetch {
        /// Which program.
        component: Component,
        /// Why.
        failure: Failure,
    },
    /// The host's disk is too full. Nothing was written.
    #[error("not enough space for {component}: it needs {needed} bytes and {free} are free")]
    NoSpace {
        /// Which program.
        component: Component,
        /// Its size.
        needed: u64,
        /// What is free where it goes.
        free: u64,
    },
    /// Something else stands where a program or a file of ours goes. Nothing was written.
    #[error("{path} is in the way: {why}")]
    InTheWay {
        /// The path.
        path: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// `.env` cannot be merged.
    #[error(transparent)]
    Env(#[from] env_file::Error),
    /// `config.json` cannot be merged.
    #[error("{}", chain(.0))]
    Config(#[from] config::Error),
    /// `.security.yml` cannot be merged.
    #[error(transparent)]
    Security(#[from] security::Error),
    /// The program does not do what it should.
    #[error("{component} does not pass its test on this host ({why}): {after}")]
    SelfTest {
        /// Which program.
        component: Component,
        /// What it did instead.
        why: String,
        /// What stands there now.
        after: Undone,
    },
    /// Somebody else is changing the host. Trying again later helps.
    #[error("locked by {0}")]
    Locked(String),
    /// There is no former program to bring back. Nothing was changed.
    #[error("there is no {path}.prev to bring back")]
    NoFormer {
        /// The program.
        path: String,
    },
    /// A setting of the daemon does not fit into its file.
    #[error(transparent)]
    Unfit(#[from] settings::Unfit),
    /// The daemon does not run, or not for long.
    #[error("the host daemon does not stay up: {said}")]
    DaemonDown {
        /// What it said last.
        said: String,
    },
    /// What stood on the host before could not be put back.
    #[error("put back {path}: {why}")]
    PutBack {
        /// What.
        path: String,
        /// Why.
        why: String,
    },
    /// Settings that were not checked before the host was contacted.
    #[error(transparent)]
    Prepare(#[from] PrepareError),
}

/// What was done about a program that failed its test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Undone {
    /// The former program is back.
    Restored,
    /// There was none before, so it was removed.
    Removed,
    /// It was there before; nothing was changed.
    Left,
    /// Taking it back failed too.
    Failed(String),
}

impl std::fmt::Display for Undone {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Restored => f.write_str("the former one is back in place"),
            Self::Removed => f.write_str("it was removed"),
            Self::Left => f.write_str("it stood there before and was left alone"),
            Self::Failed(why) => write!(f, "taking it back failed too ({why})"),
        }
    }
}

impl DeployError {
    /// Returns what the user can do next, where that is known.
    pub fn hint(&self) -> Option<String> {
        let text = match self {
            Self::Ssh(ssh::Error::Upload { why, .. }) if is_full(why) => SPACE,
            Self::Ssh(error) => return error.hint(),
            Self::Ephemeral(error) => return error.hint(),
            Self::NoSpace { .. } => SPACE,
            Self::Answer { .. } => {
                "log in by hand and look: `/bin/sh -c 'echo ok'` must print ok there"
            }
            Self::Fetch { failure, .. } => failure.hint(),
            Self::InTheWay { .. } => "move it away on the host, then deploy again",
            Self::SelfTest {
                component,
                why,
                after,
            } => return Some(self_test_hint(*component, why, after)),
            Self::Prepare(PrepareError::Key { source, .. }) => return Some(source.hint()),
            Self::Locked(_) => {
                "wait for it; a lock that a crash of the host has left is taken over after 15 minutes"
            }
            Self::DaemonDown { .. } => {
                "look at ~/.config/skyclaw/host.env there; `fleet rollback --component host` brings the former program back"
            }
            Self::Target(_)
            | Self::Unfit(_)
            | Self::NoFormer { .. }
            | Self::Artifact { .. }
            | Self::Env(_)
            | Self::Config(_)
            | Self::Security(_)
            | Self::PutBack { .. }
            | Self::Prepare(_) => return None,
        };
        Some(text.to_owned())
    }
}

const SPACE: &str =
    "the old program still stands; free some space on the host (`df -h ~`), then deploy again";

fn is_full(why: &str) -> bool {
    let why = why.to_lowercase();
    why.contains("no space") || why.contains("quota")
}

fn self_test_hint(component: Component, why: &str, after: &Undone) -> String {
    if why.to_lowercase().contains("permission denied") {
        return "programs cannot run from ~/.local/bin there: is the file system mounted noexec?"
            .to_owned();
    }
    if let Some(hint) = library_hint(component, why) {
        return hint;
    }
    match after {
        Undone::Left => format!("install another {component} with --version or --from"),
        Undone::Restored | Undone::Removed | Undone::Failed(_) => format!(
            "run `~/{} {}` there with that file to see what it says; other programs of the same name exist",
            component.path(),
            component.version_argument()
        ),
    }
}

/// A loader refuses a program that was built for a newer C library, or for another one.
fn library_hint(component: Component, why: &str) -> Option<String> {
    if component != Component::Host {
        return None;
    }
    let advice = "put a build for older systems beside this program (scripts/release makes one), or give it with --from";
    if why.contains("GLIBC_") {
        return Some(format!(
            "that host has an older glibc than the program needs: {advice}"
        ));
    }
    let no_loader = why.contains("not found") || why.contains("No such file");
    no_loader.then(|| {
        format!("the program's loader is not there, as on systems with musl instead of glibc: {advice} a static one")
    })
}

/// A file of ours that is unusable, as an error.
pub(super) fn in_the_way(file: File, why: &'static str) -> DeployError {
    DeployError::InTheWay {
        path: file.path(),
        why,
    }
}
