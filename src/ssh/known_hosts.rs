//! Who a server must be: the user's and the system's `known_hosts`, in the format of OpenSSH.
//!
//! Files are read once per run. A key that is listed passes, a host with another key is refused in
//! every policy, and an unknown host is remembered, refused or let through as the policy says.

mod entry;
mod lookup;

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use russh::keys::PublicKeyOrCertificate;
use russh::keys::ssh_key::{HashAlg, PublicKey};
use rustix::fs::{FlockOperation, flock};

use crate::ssh::config::HostKeyPolicy;
use crate::support::paths;
use entry::Entry;
use lookup::{Table, Verdict};

/// Why a server was not believed.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The host is known with another key.
    #[error(
        "HOST KEY CHANGED for {host}: the server shows {shown}, but {place} has {known}. \
         Somebody may be listening in, or the machine was reinstalled"
    )]
    Changed {
        /// The name looked up.
        host: String,
        /// Algorithm and fingerprint of the server's key.
        shown: String,
        /// Fingerprint on file.
        known: String,
        /// File and line.
        place: String,
    },
    /// The key is on the list of keys not to trust.
    #[error("the host key {shown} of {host} is marked @revoked in {place}")]
    Revoked {
        /// The name looked up.
        host: String,
        /// Algorithm and fingerprint of the server's key.
        shown: String,
        /// File and line.
        place: String,
    },
    /// Nobody vouched for the host and the policy says to refuse then.
    #[error("the host key {shown} of {host} is not known")]
    Unknown {
        /// The name looked up.
        host: String,
        /// Algorithm and fingerprint of the server's key.
        shown: String,
    },
    /// A certificate authority is named for this host and its word is missing or bad.
    #[error("{host} must show a certificate of the authority in {place}: {why}")]
    Certificate {
        /// The name looked up.
        host: String,
        /// File and line of the authority.
        place: String,
        /// What is wrong.
        why: String,
    },
    /// The list itself cannot be read, so nobody can be checked.
    #[error("cannot check host keys: cannot read {}: {why}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
}

impl Refusal {
    pub(super) fn hint(&self) -> String {
        match self {
            Self::Changed { host, place, .. } => format!(
                "if you know why it changed, delete that line ({place}), for example with \
                 `ssh-keygen -R '{host}'`, and run again"
            ),
            Self::Revoked { .. } => "this key must not be used; give the machine a new one".into(),
            Self::Unknown { .. } => {
                "compare the fingerprint, then add it with `ssh-keyscan` or run once with \
                 --host-key accept-new"
                    .into()
            }
            Self::Certificate { .. } => {
                "have the authority sign this host's key again, or remove its @cert-authority line"
                    .into()
            }
            Self::Unreadable { path, .. } => {
                format!("make {} a file this user can read", path.display())
            }
        }
    }
}

#[derive(Debug)]
struct State {
    table: Table,
    /// Names accepted in this run, so that two hosts of one name are told once.
    accepted: HashSet<String>,
}

/// The known hosts of one run.
#[derive(Debug)]
pub struct KnownHosts {
    policy: HostKeyPolicy,
    /// Where new keys go; none = remember them for this process only.
    user_file: Option<PathBuf>,
    state: Result<Mutex<State>, (PathBuf, String)>,
}

impl KnownHosts {
    /// Reads the user's files and the system's.
    pub fn load_default(policy: HostKeyPolicy) -> Self {
        let ssh_dir = dirs::home_dir().map(|home| home.join(".ssh"));
        let user_file = ssh_dir.as_ref().map(|dir| dir.join("known_hosts"));
        let mut files: Vec<PathBuf> = user_file.iter().cloned().collect();
        files.extend(ssh_dir.map(|dir| dir.join("known_hosts2")));
        files.push("/etc/ssh/ssh_known_hosts".into());
        files.push("/etc/ssh/ssh_known_hosts2".into());
        Self::load(policy, user_file, &files)
    }

    /// Reads `files`; new keys go to `user_file`. A file that is missing is empty; one that cannot
    /// be read makes every check fail, because a pin in it would be ignored silently.
    pub fn load(policy: HostKeyPolicy, user_file: Option<PathBuf>, files: &[PathBuf]) -> Self {
        let mut table = Table::default();
        let mut broken = None;
        for file in files {
            match std::fs::read(file) {
                Ok(bytes) => table.add_file(file, &String::from_utf8_lossy(&bytes)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => broken = broken.or(Some((file.clone(), error.to_string()))),
            }
        }
        let state = match broken {
            Some(broken) => Err(broken),
            None => Ok(Mutex::new(State {
                table,
                accepted: HashSet::new(),
            })),
        };
        Self {
            policy,
            user_file,
            state,
        }
    }

    fn state(&self) -> Result<std::sync::MutexGuard<'_, State>, Refusal> {
        match &self.state {
            Ok(state) => Ok(state.lock().unwrap_or_else(PoisonError::into_inner)),
            Err((path, why)) => Err(Refusal::Unreadable {
                path: path.clone(),
                why: why.clone(),
            }),
        }
    }

    /// Returns what is on file for a host: its key types, best asked for first, and whether an
    /// authority vouches for it, which means that a certificate must be asked for.
    pub fn expectations(&self, host: &str, port: u16) -> (Vec<String>, bool) {
        self.state().map_or_else(
            |_| (Vec::new(), false),
            |state| state.table.expectations(&lookup_name(host, port), host),
        )
    }

    /// Decides about the key or certificate a server has shown.
    ///
    /// # Errors
    /// When the server must not be believed.
    pub fn check(
        &self,
        host: &str,
        port: u16,
        shown: &PublicKeyOrCertificate,
        now_unix: u64,
    ) -> Result<(), Refusal> {
        let name = lookup_name(host, port);
        let key = shown.public_key();
        let mut state = self.state()?;
        match state.table.judge(&name, host, shown, now_unix)? {
            Verdict::Known => Ok(()),
            Verdict::Changed { place, known } => Err(Refusal::Changed {
                host: name,
                shown: describe(&key),
                known,
                place: place.to_string(),
            }),
            Verdict::Unknown => match self.policy {
                HostKeyPolicy::Off => Ok(()),
                HostKeyPolicy::Strict => Err(Refusal::Unknown {
                    host: name,
                    shown: describe(&key),
                }),
                HostKeyPolicy::AcceptNew => self.accept(&mut state, &name, host, &key, now_unix),
            },
        }
    }

    fn accept(
        &self,
        state: &mut State,
        name: &str,
        host: &str,
        key: &PublicKey,
        now_unix: u64,
    ) -> Result<(), Refusal> {
        let line = format!("{name} {}", entry::key_text(key));
        let path = self
            .user_file
            .clone()
            .unwrap_or_else(|| "(this run)".into());
        if self.user_file.is_some() {
            let mut file = open_locked(&path).map_err(|error| Refusal::Unreadable {
                path: path.clone(),
                why: error.to_string(),
            })?;
            // Another process may have accepted this host since we read the file; then its entry,
            // not ours, is what the user trusts.
            if let Some(news) = read_if_grown(&mut file, state.table.length_of(&path)) {
                state.table.replace_file(&path, &news);
                let shown = PublicKeyOrCertificate::from(key.clone());
                match state.table.judge(name, host, &shown, now_unix)? {
                    Verdict::Known => return Ok(()),
                    Verdict::Changed { place, known } => {
                        return Err(Refusal::Changed {
                            host: name.to_owned(),
                            shown: describe(key),
                            known,
                            place: place.to_string(),
                        });
                    }
                    Verdict::Unknown => {}
                }
            }
            if let Err(error) = append_line(&mut file, &line) {
                tracing::warn!(file = %path.display(), %error, "cannot remember host key; it holds for this run only");
            }
        }
        state.table.add_line(&path, &line);
        if state.accepted.insert(name.to_owned()) {
            tracing::warn!(host = name, key = %describe(key), "new host key accepted and remembered");
        }
        Ok(())
    }
}

/// Compares a server with the fingerprint the fleet file pins it to.
///
/// # Errors
/// When it is another key.
pub(super) fn check_pinned(
    host: &str,
    pinned: &str,
    shown: &PublicKeyOrCertificate,
) -> Result<(), Refusal> {
    let key = shown.public_key();
    if key.fingerprint(HashAlg::Sha256).to_string() == pinned.trim_end_matches('=') {
        return Ok(());
    }
    Err(Refusal::Changed {
        host: host.to_owned(),
        shown: describe(&key),
        known: pinned.to_owned(),
        place: "`host_key` of the fleet file".into(),
    })
}

/// Returns the name under which OpenSSH files a host: bare at port 22, else `[host]:port`.
fn lookup_name(host: &str, port: u16) -> String {
    let host = host.to_ascii_lowercase();
    if port == 22 {
        host
    } else {
        format!("[{host}]:{port}")
    }
}

fn describe(key: &PublicKey) -> String {
    format!("{} {}", key.algorithm(), key.fingerprint(HashAlg::Sha256))
}

fn open_locked(path: &Path) -> io::Result<File> {
    if let Some(dir) = path.parent() {
        paths::create_private_dir(dir).map_err(io::Error::other)?;
    }
    let file = OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)?;
    // Held until the file is closed; other skyclaw processes wait here.
    flock(&file, FlockOperation::LockExclusive)?;
    Ok(file)
}

fn read_if_grown(file: &mut File, known_length: u64) -> Option<String> {
    if file.metadata().ok()?.len() == known_length {
        return None;
    }
    let mut bytes = Vec::new();
    file.rewind().ok()?;
    file.read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

fn append_line(file: &mut File, line: &str) -> io::Result<()> {
    // A file that ends without a newline would swallow our line into its last one.
    let length = file.metadata()?.len();
    let mut last = [b'\n'];
    if length > 0 {
        file.seek(io::SeekFrom::Start(length - 1))?;
        file.read_exact(&mut last)?;
    }
    let text = if last == *b"\n" {
        format!("{line}\n")
    } else {
        format!("\n{line}\n")
    };
    file.write_all(text.as_bytes())
}

#[cfg(test)]
mod tests;
