//! What can go wrong between a release and a file that may be installed.

use std::io;
use std::path::PathBuf;

use crate::fleet::target::Target;
use crate::support::paths;

/// A release that could not be had. [`Error::retry_helps`] tells whether the same call may succeed later.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The repository is not written as `OWNER/NAME`.
    #[error("{0:?} is not a repository: write OWNER/NAME, as in EricGrill/picoclaw")]
    Repository(String),
    /// A base address is no HTTP address.
    #[error("{0:?} is not an address: write https://host or https://host/path")]
    Address(String),
    /// A digest is not one. Found in `--sha256`.
    #[error("{0:?} is not a SHA-256 digest: it takes 64 hexadecimal digits")]
    Digest(String),
    /// The HTTP client could not be made; a defect of this machine's set-up.
    #[error("cannot set up TLS: check the system's certificate store")]
    Client(#[source] reqwest::Error),
    /// Nothing answered, or the answer broke off before its first byte. Retrying may help.
    #[error("no answer from {url}: check the network, or install from a file with --from")]
    Unreachable {
        /// What was asked.
        url: String,
        /// Why it failed.
        #[source]
        source: reqwest::Error,
    },
    /// The transfer ended before all of it was there. Retrying may help.
    #[error("{url} was cut off after {received} bytes: try again")]
    Cut {
        /// What was asked.
        url: String,
        /// How much had arrived.
        received: u64,
        /// Why it failed, if the connection says.
        #[source]
        source: Option<reqwest::Error>,
    },
    /// There is nothing at this address. The repository may be private, or have no releases.
    #[error(
        "{url} does not exist (404): check repository and version; a private repository needs GITHUB_TOKEN"
    )]
    NotFound {
        /// What was asked.
        url: String,
    },
    /// Too many lookups without (or even with) a token. Retrying helps after the limit's reset, mostly an hour.
    #[error(
        "{url} refuses more lookups for now (rate limit): set GITHUB_TOKEN, wait, or install from a file with --from"
    )]
    RateLimited {
        /// What was asked.
        url: String,
    },
    /// The server answered with something else than success. Retrying helps for 5xx.
    #[error("{url} answered with status {status}: {hint}")]
    Status {
        /// What was asked.
        url: String,
        /// The HTTP status.
        status: u16,
        /// What to do about it.
        hint: &'static str,
    },
    /// The release's description is not what the release API sends.
    #[error("{url} did not answer with a release ({reason}): check the address of the release API")]
    NotARelease {
        /// What was asked.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The release has nothing for this system.
    #[error(
        "no asset for {target} in {tag}; looked for {looked_for}; the release offers {offers}: choose another --version, or install from a file with --from"
    )]
    NoAsset {
        /// What it should run on. Linux is not spelled out.
        target: String,
        /// The release.
        tag: String,
        /// Names we know.
        looked_for: String,
        /// Names it has.
        offers: String,
    },
    /// Nobody says what the asset's digest should be.
    #[error(
        "{asset} of {tag} has no checksum and was not fetched: give its digest with --sha256, or accept it unchecked with --insecure-no-checksum"
    )]
    NoChecksum {
        /// The asset.
        asset: String,
        /// The release.
        tag: String,
    },
    /// The content is not what it should be. Nothing of it was kept.
    #[error(
        "{what} has SHA-256 {found}, but {said_by} says {expected}: nothing was kept; the file was changed or damaged on its way, or the checksum is for another file"
    )]
    Mismatch {
        /// What was checked.
        what: String,
        /// Who says what it should be.
        said_by: String,
        /// What it should be.
        expected: String,
        /// What it is.
        found: String,
    },
    /// The address holds a password, which a host's process list would show. Nothing was asked of the host.
    #[error("{0} takes a password, which hosts are not given: leave out --fetch host")]
    SecretAddress(String),
    /// It is larger than anything we would install.
    #[error("{what} is larger than {limit} bytes: this is not the program")]
    TooLarge {
        /// What was read.
        what: String,
        /// The limit.
        limit: u64,
    },
    /// The archive cannot be read to its end.
    #[error("{what} is not a readable .tar.gz: fetch it again, or build it again")]
    Archive {
        /// The archive.
        what: String,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// The archive does not hold the one program we look for.
    #[error("{what} {reason}: it must hold exactly one regular file called {member}")]
    Member {
        /// The archive.
        what: String,
        /// What the program is called.
        member: &'static str,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// There is no build of skyclaw for such a host here.
    #[error("no skyclaw for {target} here: looked for {looked_for} in {}; put one there (scripts/release makes them), or name a release with --repo OWNER/NAME or a file with --from", dir.display())]
    NoBuild {
        /// What the host is.
        target: String,
        /// Where builds would be.
        dir: PathBuf,
        /// The names a build may have.
        looked_for: String,
    },
    /// It is no program.
    #[error("{what} is no program: it begins neither as an ELF or Mach-O file nor with `#!`")]
    NotAProgram {
        /// The file.
        what: String,
    },
    /// It is a program for something else.
    #[error("{what} is built for {built_for}, the host is {host}: choose the file for {host}")]
    WrongTarget {
        /// The file.
        what: String,
        /// What it runs on.
        built_for: String,
        /// What it should run on.
        host: String,
    },
    /// The file system refused.
    #[error("{act} {}", path.display())]
    Io {
        /// What was tried.
        act: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// The cache directory could not be made.
    #[error(transparent)]
    Paths(#[from] paths::Error),
    /// A helper thread ended early; a defect of skyclaw.
    #[error("unpacking ended unexpectedly")]
    Thread(#[from] tokio::task::JoinError),
}

impl Error {
    /// Tells whether the same call may succeed when it is made again soon.
    pub fn retry_helps(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Cut { .. } => true,
            Self::Status { status, .. } => *status >= 500,
            Self::Repository(_)
            | Self::Address(_)
            | Self::Digest(_)
            | Self::Client(_)
            | Self::NotFound { .. }
            | Self::RateLimited { .. }
            | Self::NotARelease { .. }
            | Self::NoAsset { .. }
            | Self::NoChecksum { .. }
            | Self::Mismatch { .. }
            | Self::SecretAddress(_)
            | Self::TooLarge { .. }
            | Self::Archive { .. }
            | Self::Member { .. }
            | Self::NotAProgram { .. }
            | Self::NoBuild { .. }
            | Self::WrongTarget { .. }
            | Self::Io { .. }
            | Self::Paths(_)
            | Self::Thread(_) => false,
        }
    }
}

pub(super) fn io_error(
    act: &'static str,
    path: impl Into<PathBuf>,
) -> impl FnOnce(io::Error) -> Error {
    let path = path.into();
    move |source| Error::Io { act, path, source }
}

/// Names a target as people do: Linux goes without saying.
pub(super) fn short_name(target: Target) -> String {
    match target.os {
        crate::fleet::target::Os::Linux => target.arch.to_string(),
        crate::fleet::target::Os::Darwin => target.to_string(),
    }
}
