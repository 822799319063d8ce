//! The controller of this user on this machine, as other processes find it: a running `fleet up`.

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::client::{Client, Settings, unix_url};
use crate::support::paths;

/// How long it may take to say that it is there.
const HEALTH: Duration = Duration::from_secs(3);

/// What a running `fleet up` says about itself in a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Notice {
    /// The fleet file whose hosts it works with.
    pub fleet: PathBuf,
}

/// Returns the socket at which it serves its user.
///
/// # Errors
/// When there is no home.
pub fn socket() -> Result<PathBuf, paths::Error> {
    Ok(paths::state_dir()?.join("controller.sock"))
}

/// Returns its database.
///
/// # Errors
/// When there is no home.
pub fn database() -> Result<PathBuf, paths::Error> {
    Ok(paths::state_dir()?.join("controller.db"))
}

/// Returns the file with its [`Notice`].
///
/// # Errors
/// When there is no home.
pub fn notice_path() -> Result<PathBuf, paths::Error> {
    Ok(paths::state_dir()?.join("controller.json"))
}

/// Writes down what a `fleet up` that begins works with.
///
/// # Errors
/// When the file cannot be written.
pub fn write_notice(fleet: &Path) -> std::io::Result<()> {
    let notice = Notice { fleet: same(fleet) };
    let path = notice_path().map_err(std::io::Error::other)?;
    let text = serde_json::to_vec(&notice).map_err(std::io::Error::other)?;
    paths::write_private(&path, &text).map_err(std::io::Error::other)
}

/// Tells whether a running `fleet up` works with this fleet file.
pub fn works_with(fleet: &Path) -> bool {
    let read = || {
        let text = std::fs::read(notice_path().ok()?).ok()?;
        serde_json::from_slice::<Notice>(&text).ok()
    };
    // One that says nothing works with the usual file, as we do.
    read().is_none_or(|notice| notice.fleet == same(fleet))
}

fn same(path: &Path) -> PathBuf {
    std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
}

/// Returns a client of the `fleet up` that runs now, if one answers.
pub async fn find() -> Option<Client> {
    let socket = socket().ok()?;
    // Nearly always there is none, and that should cost nothing.
    UnixStream::connect(&socket).ok()?;
    let mut settings = Settings::new(vec![unix_url(&socket)?]);
    let usual = settings.timeout;
    settings.timeout = HEALTH;
    let probe = Client::new(settings.clone()).ok()?;
    if let Err(error) = probe.health().await {
        tracing::warn!(%error, "`fleet up` does not answer at {}", socket.display());
        return None;
    }
    settings.timeout = usual;
    Client::new(settings).ok()
}
