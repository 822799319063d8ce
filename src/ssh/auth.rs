//! The login: keys from the agent and from files, offered one after the other.

mod identities;
mod key_file;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use russh::client::{AuthResult, Handle, Handler};
use russh::keys::{PrivateKey, PrivateKeyWithHashAlg, PublicKey};
use tokio::time::Instant;

use self::identities::Unusable;
use self::key_file::KeyFile;
use crate::ssh::config::Target;
use crate::ssh::error::{Error, Phase};
use crate::ssh::limited::Limited;

pub use identities::{AskPassphrase, Identities};

/// Keys offered to one server at most: sshd hangs up after `MaxAuthTries` (6) and the `none` probe
/// of some clients counts too.
const MOST_KEYS: usize = 5;

/// Why a login failed.
#[derive(Debug, thiserror::Error)]
#[error("{user} may not log in: {tried}; the server accepts {accepts}{notes}")]
pub struct Refused {
    user: String,
    tried: String,
    accepts: String,
    notes: String,
    hint: Option<String>,
}

impl Refused {
    pub(super) fn hint(&self) -> String {
        self.hint.clone().unwrap_or_else(|| {
            format!(
                "check the user name and the key: `ssh-copy-id {}@HOST` puts a key on the host, \
                 `ssh_key` in the fleet file or ssh-add names one",
                self.user
            )
        })
    }
}

/// What was tried on one connection, for the error text.
#[derive(Default)]
struct Attempts {
    tried: Vec<String>,
    offered: Vec<PublicKey>,
    notes: Vec<String>,
    hint: Option<String>,
    accepts: Option<String>,
}

impl Attempts {
    fn full(&self) -> bool {
        self.tried.len() >= MOST_KEYS
    }

    fn has_offered(&self, key: &PublicKey) -> bool {
        self.offered
            .iter()
            .any(|offered| offered.key_data() == key.key_data())
    }

    fn note(&mut self, unusable: Unusable) {
        self.notes.push(unusable.why);
        self.hint = self.hint.take().or(unusable.hint);
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
            hint: self.hint,
        }
    }
}

/// Logs in with the keys of `target`, or with the agent's and the default ones. `limited` does not
/// count the time a person takes to answer.
///
/// # Errors
/// [`Error::Auth`] when no key is accepted, another error when the connection fails meanwhile.
pub(super) async fn log_in<H: Handler<Error = Error>>(
    handle: &mut Handle<H>,
    target: &Target,
    identities: &Arc<Identities>,
    limited: &mut Limited,
) -> Result<(), Error> {
    let mut login = Login {
        handle,
        user: &target.user,
        identities,
        limited,
        attempts: Attempts::default(),
    };
    if login.run(&target.keys).await? {
        return Ok(());
    }
    Err(login.attempts.refused(&target.user).into())
}

/// A login at work. Its methods return whether we are in.
struct Login<'a, H: Handler<Error = Error>> {
    handle: &'a mut Handle<H>,
    user: &'a str,
    identities: &'a Arc<Identities>,
    limited: &'a mut Limited,
    attempts: Attempts,
}

impl<H: Handler<Error = Error>> Login<'_, H> {
    async fn run(&mut self, keys: &[PathBuf]) -> Result<bool, Error> {
        let is_explicit = !keys.is_empty();
        // Whoever names keys means these and no others, though an agent may sign for them.
        if !is_explicit && self.try_agent().await? {
            return Ok(true);
        }
        let identities = Arc::clone(self.identities);
        let files = match is_explicit {
            true => keys,
            false => &identities.default_keys,
        };
        for path in files {
            if self.attempts.full() {
                break;
            }
            if (is_explicit || path.exists()) && self.try_file(path).await? {
                return Ok(true);
            }
        }
        if self.attempts.tried.is_empty() {
            // Ask with nothing in hand: the answer names what the server would take.
            let asking = self.handle.authenticate_none(self.user);
            let result = timed(self.limited, asking).await?;
            if matches!(result, AuthResult::Success) {
                return Ok(true);
            }
            self.attempts.record(String::new(), result);
            self.attempts.tried.clear();
        }
        Ok(false)
    }

    async fn try_agent(&mut self) -> Result<bool, Error> {
        if !self.identities.has_agent() {
            return Ok(false);
        }
        let identities = Arc::clone(self.identities);
        let keys = match identities.agent_keys().await {
            Ok(keys) => keys,
            Err(why) => {
                self.attempts.note(why.into());
                return Ok(false);
            }
        };
        for key in keys {
            if self.attempts.full() {
                break;
            }
            let what = format!("agent key {}", key.comment().as_str_lossy());
            if self.offer_agents(key, what).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn try_file(&mut self, path: &Path) -> Result<bool, Error> {
        let file = match self.identities.read(path).await {
            Ok(file) => file,
            Err(unusable) => {
                self.attempts.note(unusable);
                return Ok(false);
            }
        };
        if let Some(public) = file.public()
            && self.attempts.has_offered(public)
        {
            // The agent had it, and the server did not want it. Nobody is asked for its passphrase.
            return Ok(false);
        }
        let what = path.display().to_string();
        match file {
            KeyFile::Open(key) => self.offer(key, what).await,
            KeyFile::Public(public) => {
                if self.identities.agent_holds(&public).await {
                    return self.offer_agents(&public, what).await;
                }
                self.attempts.note(Unusable {
                    why: format!(
                        "key {what} is a public key or one in hardware, and no agent holds it"
                    ),
                    hint: Some(format!("ssh-add the key that belongs to {what}")),
                });
                Ok(false)
            }
            KeyFile::Locked { text, public } => {
                if let Some(public) = public
                    && self.identities.agent_holds(&public).await
                {
                    return self.offer_agents(&public, what).await;
                }
                let asked_at = Instant::now();
                let unlocked = self.identities.unlock(path, &text).await;
                self.limited.pardon(asked_at.elapsed());
                match unlocked {
                    Ok(key) => self.offer(key, what).await,
                    Err(unusable) => {
                        self.attempts.note(unusable);
                        Ok(false)
                    }
                }
            }
        }
    }

    async fn offer(&mut self, key: Arc<PrivateKey>, what: String) -> Result<bool, Error> {
        self.attempts.offered.push(key.public_key().clone());
        let hash = self.rsa_hash(key.algorithm().is_rsa()).await?;
        let key = PrivateKeyWithHashAlg::new(key, hash);
        let asking = self.handle.authenticate_publickey(self.user, key);
        let result = timed(self.limited, asking).await?;
        Ok(self.attempts.record(what, result))
    }

    /// Offers a key that the agent signs for.
    async fn offer_agents(&mut self, key: &PublicKey, what: String) -> Result<bool, Error> {
        self.attempts.offered.push(key.clone());
        let mut agent = match self.identities.agent().await {
            Ok(agent) => agent,
            Err(why) => {
                self.attempts.note(why.into());
                return Ok(false);
            }
        };
        let hash = self.rsa_hash(key.algorithm().is_rsa()).await?;
        let asking = async {
            let signed =
                self.handle
                    .authenticate_publickey_with(self.user, key.clone(), hash, &mut agent);
            Ok(signed.await)
        };
        match self.limited.run(Phase::Login, asking).await? {
            Ok(result) => Ok(self.attempts.record(what, result)),
            Err(error) => {
                self.attempts.note(format!("{what}: {error}").into());
                Ok(false)
            }
        }
    }

    /// RSA signs with SHA-2 only: SHA-1 signatures (`ssh-rsa`) are never made.
    async fn rsa_hash(&self, is_rsa: bool) -> Result<Option<russh::keys::HashAlg>, Error> {
        if !is_rsa {
            return Ok(None);
        }
        let best = timed(self.limited, self.handle.best_supported_rsa_hash()).await?;
        Ok(best.flatten().or(Some(russh::keys::HashAlg::Sha512)))
    }
}

async fn timed<T>(
    limited: &Limited,
    work: impl Future<Output = Result<T, russh::Error>>,
) -> Result<T, Error> {
    let work = async {
        work.await
            .map_err(|error| Error::from_russh(error, Phase::Login))
    };
    limited.run(Phase::Login, work).await
}
