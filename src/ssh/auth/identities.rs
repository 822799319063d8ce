//! The keys of this user: in the agent, and in files that are read and decrypted once per run, however
//! many hosts use them.

use std::collections::HashMap;
use std::fmt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use russh::keys::agent::AgentIdentity;
use russh::keys::agent::client::AgentClient;
use russh::keys::{PrivateKey, PublicKey};
use tokio::net::UnixStream;
use tokio::sync::OnceCell;
use tokio::time::timeout;

use super::key_file::{self, KeyFile};
use crate::support::secret::Secret;

/// An agent that has not listed its keys by then is not asked again in this run.
const AGENT_LIMIT: Duration = Duration::from_secs(3);

/// Asks a person for the passphrase of a key file; `None` when there is nobody to ask.
pub type AskPassphrase = dyn Fn(&Path) -> Option<Secret> + Send + Sync;

/// A key that cannot be used, and what the user can do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unusable {
    pub(super) why: String,
    pub(super) hint: Option<String>,
}

impl From<String> for Unusable {
    fn from(why: String) -> Self {
        Self { why, hint: None }
    }
}

/// The keys of this user, shared by all connections of a run.
pub struct Identities {
    agent_socket: Option<PathBuf>,
    pub(super) default_keys: Vec<PathBuf>,
    ask: Box<AskPassphrase>,
    files: Mutex<HashMap<PathBuf, Arc<Cells>>>,
    agent_keys: OnceCell<Result<Vec<PublicKey>, String>>,
    /// Held while a person is asked: two questions at once would mix on the terminal.
    asking: Mutex<()>,
}

/// One file: what is in it, and what a passphrase makes of that. Each is found out once, even if a
/// hundred hosts want it at once.
#[derive(Default)]
struct Cells {
    read: OnceCell<Result<KeyFile, Unusable>>,
    unlocked: OnceCell<Result<Arc<PrivateKey>, Unusable>>,
}

impl fmt::Debug for Identities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identities")
            .field("agent_socket", &self.agent_socket)
            .field("default_keys", &self.default_keys)
            .finish_non_exhaustive()
    }
}

impl Identities {
    /// Returns the identities of a user whose agent listens at `agent_socket`.
    ///
    /// `ask` is called from a blocking thread, at most once a key file and never twice at a time.
    pub fn new(agent_socket: Option<PathBuf>, ask: Box<AskPassphrase>) -> Self {
        let default_keys = dirs::home_dir()
            .map(|home| {
                ["id_ed25519", "id_ecdsa", "id_rsa"]
                    .map(|name| home.join(".ssh").join(name))
                    .to_vec()
            })
            .unwrap_or_default();
        Self {
            agent_socket,
            default_keys,
            ask,
            files: Mutex::default(),
            agent_keys: OnceCell::new(),
            asking: Mutex::default(),
        }
    }

    /// Reads a key file. Nobody is asked.
    pub(super) async fn read(&self, path: &Path) -> Result<KeyFile, Unusable> {
        let load = || async {
            let path = path.to_owned();
            tokio::task::spawn_blocking(move || read(&path))
                .await
                .unwrap_or_else(|error| Err(error.to_string().into()))
        };
        self.cells(path).read.get_or_init(load).await.clone()
    }

    /// Decrypts a key file, for which a person is asked.
    pub(super) async fn unlock(
        self: &Arc<Self>,
        path: &Path,
        text: &Arc<str>,
    ) -> Result<Arc<PrivateKey>, Unusable> {
        let load = || async {
            let (identities, path, text) = (Arc::clone(self), path.to_owned(), Arc::clone(text));
            tokio::task::spawn_blocking(move || identities.ask_and_decrypt(&path, &text))
                .await
                .unwrap_or_else(|error| Err(error.to_string().into()))
        };
        self.cells(path).unlocked.get_or_init(load).await.clone()
    }

    fn ask_and_decrypt(&self, path: &Path, text: &str) -> Result<Arc<PrivateKey>, Unusable> {
        let name = path.display();
        let passphrase = {
            let _turn = self.asking.lock().unwrap_or_else(PoisonError::into_inner);
            (self.ask)(path)
        };
        let Some(passphrase) = passphrase else {
            return Err(Unusable {
                why: format!("key {name} has a passphrase and none was given"),
                hint: Some(format!(
                    "`ssh-add {name}` unlocks it for every run, on a terminal it is asked for"
                )),
            });
        };
        match key_file::decrypt(text, &passphrase) {
            Some(key) => Ok(Arc::new(key)),
            None => Err(format!("key {name}: wrong passphrase").into()),
        }
    }

    fn cells(&self, path: &Path) -> Arc<Cells> {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(files.entry(path.to_owned()).or_default())
    }

    /// Returns whether there may be an agent.
    pub(super) fn has_agent(&self) -> bool {
        self.agent_socket.is_some()
    }

    /// Connects to the agent.
    pub(super) async fn agent(&self) -> Result<AgentClient<UnixStream>, String> {
        let socket = self.agent_socket.as_ref().ok_or("no agent")?;
        AgentClient::connect_uds(socket)
            .await
            .map_err(|error| format!("agent: {error}"))
    }

    /// Returns the keys the agent holds; it is asked once.
    pub(super) async fn agent_keys(&self) -> Result<&[PublicKey], String> {
        let list = || async {
            match timeout(AGENT_LIMIT, self.list_agent()).await {
                Ok(listed) => listed,
                Err(_) => Err("agent: no answer".to_owned()),
            }
        };
        match self.agent_keys.get_or_init(list).await {
            Ok(keys) => Ok(keys),
            Err(why) => Err(why.clone()),
        }
    }

    async fn list_agent(&self) -> Result<Vec<PublicKey>, String> {
        let identities = self.agent().await?.request_identities().await;
        let identities = identities.map_err(|error| format!("agent: {error}"))?;
        Ok(identities
            .into_iter()
            .filter_map(|identity| match identity {
                AgentIdentity::PublicKey { mut key, comment } => {
                    key.set_comment(comment);
                    Some(key)
                }
                AgentIdentity::Certificate { .. } => None,
            })
            .collect())
    }

    /// Tells whether the agent can sign with `key`.
    pub(super) async fn agent_holds(&self, key: &PublicKey) -> bool {
        self.has_agent()
            && matches!(self.agent_keys().await, Ok(keys)
                if keys.iter().any(|held| held.key_data() == key.key_data()))
    }
}

fn read(path: &Path) -> Result<KeyFile, Unusable> {
    let name = path.display();
    let text = std::fs::read_to_string(path).map_err(|error| format!("key {name}: {error}"))?;
    let beside = std::fs::read_to_string(format!("{name}.pub")).ok();
    let found = key_file::parse(&text, beside.as_deref()).map_err(|why| Unusable {
        why: format!("key {name}: {why}"),
        hint: why.hint(path),
    })?;
    let is_secret = !matches!(found, KeyFile::Public(_));
    if let Ok(meta) = std::fs::metadata(path)
        && is_secret
        && meta.permissions().mode() & 0o077 != 0
    {
        tracing::warn!(key = %name, "key file can be read by others; chmod 600 it");
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::sync::Condvar;

    use super::*;

    /// Who asks waits for a second one to ask too, and there must be none.
    #[tokio::test(flavor = "multi_thread")]
    async fn one_question_at_a_time_and_each_once() {
        let seen = Arc::new((Mutex::new((0, 0, 0)), Condvar::new()));
        let shared = Arc::clone(&seen);
        let ask = move |_: &Path| {
            let (counts, changed) = &*shared;
            let mut now = counts.lock().unwrap();
            now.0 += 1;
            now.1 = now.0.max(now.1);
            now.2 += 1;
            changed.notify_all();
            let limit = Duration::from_millis(200);
            let waited = changed.wait_timeout_while(now, limit, |now| now.1 < 2);
            waited.unwrap().0.0 -= 1;
            None
        };
        let identities = Arc::new(Identities::new(None, Box::new(ask)));
        let text: Arc<str> = Arc::from("locked");
        let mut hosts = tokio::task::JoinSet::new();
        for key in ["/one", "/two", "/one", "/two", "/one"] {
            let (identities, text) = (Arc::clone(&identities), Arc::clone(&text));
            hosts.spawn(async move { identities.unlock(Path::new(key), &text).await });
        }
        for unlocked in hosts.join_all().await {
            assert!(unlocked.unwrap_err().why.contains("none was given"));
        }
        let (_, most, all) = *seen.0.lock().unwrap();
        assert_eq!((most, all), (1, 2), "at once, and in all");
    }
}
