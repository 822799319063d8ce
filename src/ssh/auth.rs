//! Who we are: keys from the agent, from files, and the login itself.
//!
//! A key file is read and decrypted once per run, however many hosts use it.

use std::collections::HashMap;
use std::fmt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use russh::client::{AuthResult, Handle, Handler};
use russh::keys::agent::AgentIdentity;
use russh::keys::agent::client::AgentClient;
use russh::keys::{PrivateKey, PrivateKeyWithHashAlg, PublicKey};
use tokio::net::UnixStream;
use tokio::sync::OnceCell;

use crate::ssh::config::Target;
use crate::ssh::error::{Error, Phase};
use crate::support::secret::Secret;

/// Keys offered to one server at most: sshd hangs up after `MaxAuthTries` (6) and the `none` probe
/// of some clients counts too.
const MOST_KEYS: usize = 5;

/// Asks a person for the passphrase of a key file; `None` when there is nobody to ask.
pub type AskPassphrase = dyn Fn(&Path) -> Option<Secret> + Send + Sync;

/// Why a login failed.
#[derive(Debug, thiserror::Error)]
#[error("{user} may not log in: {tried}; the server accepts {accepts}{notes}")]
pub struct Refused {
    user: String,
    tried: String,
    accepts: String,
    notes: String,
}

impl Refused {
    pub(super) fn hint(&self) -> String {
        format!(
            "check the user name and the key: `ssh-copy-id {}@HOST` puts a key on the host, \
             `ssh_key` in the fleet file or ssh-add names one",
            self.user
        )
    }
}

type LoadedKey = Result<Arc<PrivateKey>, String>;

/// The keys of this user, shared by all connections of a run.
pub struct Identities {
    agent_socket: Option<PathBuf>,
    default_keys: Vec<PathBuf>,
    ask: Box<AskPassphrase>,
    /// One cell a file, so that a passphrase is asked for once even by a hundred hosts at once.
    files: Mutex<HashMap<PathBuf, Arc<OnceCell<LoadedKey>>>>,
    agent_keys: OnceCell<Result<Vec<PublicKey>, String>>,
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
    /// `ask` is called from a blocking thread, at most once a key file.
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
        }
    }

    async fn key_file(self: &Arc<Self>, path: &Path) -> Result<Arc<PrivateKey>, String> {
        let cell = {
            let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(files.entry(path.to_owned()).or_default())
        };
        let load = || async {
            let (identities, path) = (Arc::clone(self), path.to_owned());
            tokio::task::spawn_blocking(move || load_key(&path, &identities.ask))
                .await
                .unwrap_or_else(|error| Err(error.to_string()))
        };
        cell.get_or_init(load).await.clone()
    }

    async fn agent(&self) -> Result<AgentClient<UnixStream>, String> {
        let socket = self.agent_socket.as_ref().ok_or("no agent")?;
        AgentClient::connect_uds(socket)
            .await
            .map_err(|error| format!("agent: {error}"))
    }

    async fn agent_keys(&self) -> Result<&[PublicKey], String> {
        let list = || async {
            let identities = self.agent().await?.request_identities().await;
            let identities = identities.map_err(|error| format!("agent: {error}"))?;
            Ok(identities
                .into_iter()
                .filter_map(|identity| match identity {
                    AgentIdentity::PublicKey { key, .. } => Some(key),
                    AgentIdentity::Certificate { .. } => None,
                })
                .collect())
        };
        match self.agent_keys.get_or_init(list).await {
            Ok(keys) => Ok(keys),
            Err(why) => Err(why.clone()),
        }
    }
}

/// Reads a key file in OpenSSH, PEM or PKCS#8 form, and asks for its passphrase if it has one.
fn load_key(path: &Path, ask: &AskPassphrase) -> Result<Arc<PrivateKey>, String> {
    let name = path.display();
    let text = std::fs::read_to_string(path).map_err(|error| format!("key {name}: {error}"))?;
    if let Ok(meta) = std::fs::metadata(path)
        && meta.permissions().mode() & 0o077 != 0
    {
        tracing::warn!(key = %name, "key file can be read by others; chmod 600 it");
    }
    let locked = match russh::keys::decode_secret_key(&text, None) {
        Ok(key) => return Ok(Arc::new(key)),
        Err(russh::keys::Error::KeyIsEncrypted) => true,
        // PKCS#8 and PEM tell a missing passphrase in other words.
        Err(_) if text.contains("ENCRYPTED") => true,
        Err(error) => return Err(format!("key {name}: {error}")),
    };
    debug_assert!(locked);
    let Some(passphrase) = ask(path) else {
        return Err(format!(
            "key {name} has a passphrase and there is no terminal to ask on; use ssh-add"
        ));
    };
    russh::keys::decode_secret_key(&text, Some(passphrase.expose()))
        .map(Arc::new)
        .map_err(|_| format!("key {name}: wrong passphrase"))
}

/// What was tried on one connection, for the error text.
#[derive(Default)]
struct Attempts {
    tried: Vec<String>,
    notes: Vec<String>,
    accepts: Option<String>,
}

impl Attempts {
    fn full(&self) -> bool {
        self.tried.len() >= MOST_KEYS
    }

    /// Records an answer. Returns whether it was a yes.
    fn record(&mut self, what: String, result: AuthResult) -> bool {
        self.tried.push(what);
        match result {
            AuthResult::Success => true,
            AuthResult::Failure {
                remaining_methods,
                partial_success,
            } => {
                let methods: Vec<&str> = remaining_methods.iter().map(<&str>::from).collect();
                self.accepts = Some(if methods.is_empty() {
                    "nothing more".into()
                } else {
                    methods.join(", ")
                });
                if partial_success {
                    self.notes
                        .push("the key was right, but the server wants a second method too".into());
                }
                false
            }
        }
    }

    fn refused(self, user: &str) -> Refused {
        let tried = match self.tried.len() {
            0 => "no key to offer".to_owned(),
            _ => format!("it refused {}", self.tried.join(", ")),
        };
        let notes = self.notes.iter().map(|note| format!("; {note}")).collect();
        let accepts = self.accepts.unwrap_or_else(|| "nothing we tried".into());
        Refused {
            user: user.to_owned(),
            tried,
            accepts,
            notes,
        }
    }
}

/// Logs in with the keys of `target`, or with the agent's and the default ones.
///
/// # Errors
/// [`Error::Auth`] when no key is accepted, another error when the connection fails meanwhile.
pub(super) async fn log_in<H: Handler<Error = Error>>(
    handle: &mut Handle<H>,
    target: &Target,
    identities: &Arc<Identities>,
) -> Result<(), Error> {
    let mut attempts = Attempts::default();
    let explicit = !target.keys.is_empty();
    if !explicit && with_agent(handle, target, identities, &mut attempts).await? {
        return Ok(());
    }
    let files = if explicit {
        &target.keys
    } else {
        &identities.default_keys
    };
    for path in files {
        if attempts.full() {
            break;
        }
        let key = match identities.key_file(path).await {
            Ok(key) => key,
            Err(why) => {
                if explicit || path.exists() {
                    attempts.notes.push(why);
                }
                continue;
            }
        };
        let hash = rsa_hash(handle, key.algorithm().is_rsa()).await?;
        let key = PrivateKeyWithHashAlg::new(key, hash);
        let result = handle
            .authenticate_publickey(&target.user, key)
            .await
            .map_err(login_error)?;
        if attempts.record(path.display().to_string(), result) {
            return Ok(());
        }
    }
    if attempts.tried.is_empty() {
        // Ask with nothing in hand: the answer names what the server would take.
        let result = handle
            .authenticate_none(&target.user)
            .await
            .map_err(login_error)?;
        if matches!(result, AuthResult::Success) {
            return Ok(());
        }
        attempts.record(String::new(), result);
        attempts.tried.clear();
    }
    Err(attempts.refused(&target.user).into())
}

async fn with_agent<H: Handler<Error = Error>>(
    handle: &mut Handle<H>,
    target: &Target,
    identities: &Arc<Identities>,
    attempts: &mut Attempts,
) -> Result<bool, Error> {
    if identities.agent_socket.is_none() {
        return Ok(false);
    }
    let keys = match identities.agent_keys().await {
        Ok(keys) => keys,
        Err(why) => {
            attempts.notes.push(why);
            return Ok(false);
        }
    };
    for key in keys {
        if attempts.full() {
            break;
        }
        let mut agent = match identities.agent().await {
            Ok(agent) => agent,
            Err(why) => {
                attempts.notes.push(why);
                break;
            }
        };
        let hash = rsa_hash(handle, key.algorithm().is_rsa()).await?;
        let what = format!("agent key {}", key.comment().as_str_lossy());
        match handle
            .authenticate_publickey_with(&target.user, key.clone(), hash, &mut agent)
            .await
        {
            Ok(result) => {
                if attempts.record(what, result) {
                    return Ok(true);
                }
            }
            Err(error) => attempts.notes.push(format!("{what}: {error}")),
        }
    }
    Ok(false)
}

/// RSA signs with SHA-2 only: SHA-1 signatures (`ssh-rsa`) are never made.
async fn rsa_hash<H: Handler<Error = Error>>(
    handle: &Handle<H>,
    is_rsa: bool,
) -> Result<Option<russh::keys::HashAlg>, Error> {
    if !is_rsa {
        return Ok(None);
    }
    let best = handle
        .best_supported_rsa_hash()
        .await
        .map_err(login_error)?;
    Ok(best.flatten().or(Some(russh::keys::HashAlg::Sha512)))
}

fn login_error(error: russh::Error) -> Error {
    Error::from_russh(error, Phase::Login)
}
