//! A fleet to try things on: SSH hosts on loopback, each with a home of its own, served by this process.
//!
//! No substitute for OpenSSH's `sshd` where it matters how a real server behaves.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::ssh::server::{Account, Identity, KeyError, KeyPair, Server, end_with_variable};
use crate::support::limits::raise_open_files;
use crate::support::paths;

/// The variable the fleet file names as the source of the agents' API key, so that no real key is taken.
pub const KEY_VARIABLE: &str = "SKYCLAW_SANDBOX_KEY";
/// Set in everything that runs on a sandbox host, to the host's home: this is how it is found again.
const MARK_VARIABLE: &str = "SKYCLAW_SANDBOX";
/// Stands in a directory that is a sandbox's.
const MARK_FILE: &str = ".skyclaw-sandbox";
/// Where the standard programs are, on NixOS too.
const PATH: &str =
    "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/run/current-system/sw/bin";
/// Open files: the process's own, and per host a listener, a connection and the pipes of two commands.
const OWN_FILES: u64 = 256;
const FILES_PER_HOST: u64 = 12;

/// A sandbox that cannot be made or removed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The directory holds something else. Choose another.
    #[error("{} is not empty and not a sandbox", .0.display())]
    NotEmpty(PathBuf),
    /// The file is there already. Choose another, or remove it.
    #[error("{} is there already", .0.display())]
    Exists(PathBuf),
    /// Files could not be made.
    #[error(transparent)]
    Place(#[from] paths::Error),
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
    /// A key could not be made or read.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// No port or no file descriptor was left.
    #[error("listen for host {host}")]
    Listen {
        /// Which host.
        host: String,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
}

fn io_error(act: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Io { act, path, source }
}

/// What is asked for.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// How many hosts.
    pub hosts: usize,
    /// Where everything goes; none = a temporary directory.
    pub dir: Option<PathBuf>,
    /// Where the fleet file goes besides.
    pub config_out: Option<PathBuf>,
    /// Whether files stay after the end.
    pub keep: bool,
}

/// One host of a running sandbox.
#[derive(Debug)]
pub struct SandboxHost {
    /// Its name in the fleet file.
    pub name: String,
    /// Its port on 127.0.0.1; it stays the same after the host was killed.
    pub port: u16,
    /// Its home directory.
    pub home: PathBuf,
    /// None once it was killed.
    server: Option<Server>,
}

/// A running sandbox. Dropping it ends it too, without waiting.
#[derive(Debug)]
pub struct Sandbox {
    fleet_path: PathBuf,
    hosts: Vec<SandboxHost>,
    place: Place,
}

impl Sandbox {
    /// Makes homes, keys and the fleet file, and starts to listen. Returns when all hosts do.
    ///
    /// # Errors
    /// When a file cannot be made or no port is left; nothing stays behind then.
    pub async fn start(options: Options) -> Result<Self, Error> {
        if let Some(path) = options.config_out.as_ref().filter(|path| path.exists()) {
            return Err(Error::Exists(path.clone()));
        }
        raise_file_limit(options.hosts);
        let mut place = Place::make(options.dir.as_deref(), options.keep)?;
        let host_key = place.key("host_ed25519", "skyclaw-sandbox-host")?;
        let client_key = place.key("id_ed25519", "skyclaw-sandbox")?;
        let identity = Identity::new(&host_key, &client_key);
        let mut hosts = Vec::with_capacity(options.hosts);
        for number in 1..=options.hosts {
            hosts.push(place.host(&format!("sandbox{number}"), &identity).await?);
        }
        let fleet = place.fleet_file(&hosts, &host_key);
        let fleet_path = place.dir.join("fleet.json");
        write(&fleet_path, &fleet)?;
        place.ssh_files(&hosts, &host_key)?;
        if let Some(path) = options.config_out {
            write(&path, &fleet)?;
            place.outside = Some(path);
        }
        Ok(Self {
            fleet_path,
            hosts,
            place,
        })
    }

    /// Returns the fleet file, as an absolute path.
    pub fn fleet_path(&self) -> &Path {
        &self.fleet_path
    }

    /// Returns the directory that holds everything.
    pub fn dir(&self) -> &Path {
        &self.place.dir
    }

    /// Returns a configuration file for OpenSSH's `ssh -F` that knows the hosts by name.
    pub fn ssh_config(&self) -> PathBuf {
        self.place.dir.join("ssh_config")
    }

    /// Returns the hosts, in the order of the fleet file, killed ones included.
    pub fn hosts(&self) -> &[SandboxHost] {
        &self.hosts
    }

    /// Ends one host at once, as a power cut would: its port, connections and processes. Its files
    /// stay. Returns false if there is no such host, or no longer.
    pub async fn kill_host(&mut self, name: &str) -> bool {
        let Some(host) = self.hosts.iter_mut().find(|host| host.name == name) else {
            return false;
        };
        let Some(server) = host.server.take() else {
            return false;
        };
        server.stop().await;
        // The mark ends in a slash, so that sandbox1 is not taken for sandbox10.
        end_processes(format!("{MARK_VARIABLE}={}/", host.home.display())).await;
        true
    }

    /// Ends all hosts and everything that runs on them, and removes what was made.
    ///
    /// # Errors
    /// When the directory cannot be removed.
    pub async fn stop(mut self) -> Result<(), Error> {
        for host in &self.hosts {
            if let Some(server) = &host.server {
                server.cut();
            }
        }
        for host in &mut self.hosts {
            if let Some(server) = host.server.take() {
                server.stop().await;
            }
        }
        end_processes(self.mark()).await;
        self.place.remove()
    }

    /// Returns how the variable of everything in this sandbox begins.
    fn mark(&self) -> String {
        format!("{MARK_VARIABLE}={}/", self.place.dir.display())
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        let mut running = false;
        for host in &mut self.hosts {
            running |= host.server.take().map(|server| server.cut()).is_some();
        }
        if running {
            end_with_variable(&self.mark());
        }
    }
}

async fn end_processes(mark: String) {
    // Reading the process table is file work. A panic in there is not worth another one.
    let _ = tokio::task::spawn_blocking(move || end_with_variable(&mark)).await;
}

/// The files of a sandbox, removed on drop.
#[derive(Debug)]
struct Place {
    dir: PathBuf,
    /// Whether the directory itself is ours to remove.
    made: bool,
    keep: bool,
    user: String,
    /// The fleet file elsewhere.
    outside: Option<PathBuf>,
    removed: bool,
}

impl Place {
    fn make(wanted: Option<&Path>, keep: bool) -> Result<Self, Error> {
        let (dir, made) = match wanted {
            None => {
                let made = tempfile::Builder::new()
                    .prefix("skyclaw-sandbox-")
                    .tempdir()
                    .map_err(io_error("make a directory in", &std::env::temp_dir()))?;
                (made.keep(), true)
            }
            Some(dir) => {
                let made = !dir.exists();
                if !made && !is_free(dir)? {
                    return Err(Error::NotEmpty(dir.to_owned()));
                }
                paths::create_private_dir(dir)?;
                (dir.to_owned(), made)
            }
        };
        // Hosts start in their homes, so a relative path would mean something else there.
        let dir = dir.canonicalize().map_err(io_error("find", &dir))?;
        let place = Self {
            user: crate::fleet::link::local_user(),
            dir,
            made,
            keep,
            outside: None,
            removed: false,
        };
        paths::create_private(&place.dir.join(MARK_FILE), b"")?;
        Ok(place)
    }

    /// Returns the key in `name`, made if there is none.
    fn key(&self, name: &str, comment: &str) -> Result<KeyPair, Error> {
        let path = self.dir.join(name);
        match fs::read_to_string(&path) {
            Ok(text) => return Ok(KeyPair::parse(&text)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(io_error("read", &path)(error)),
        }
        let key = KeyPair::generate(comment)?;
        write(&path, key.private_file()?.expose())?;
        let public = key.public_line()?;
        write(
            &self.dir.join(format!("{name}.pub")),
            &format!("{public}\n"),
        )?;
        Ok(key)
    }

    async fn host(&self, name: &str, identity: &Identity) -> Result<SandboxHost, Error> {
        let home = self.dir.join("hosts").join(name);
        let temporary = home.join(".tmp");
        paths::create_private_dir(&temporary)?;
        let text = |path: &Path| path.display().to_string();
        let mut environment = vec![
            ("PATH".to_owned(), PATH.to_owned()),
            // What is left in here goes with the sandbox.
            ("TMPDIR".to_owned(), text(&temporary)),
            (MARK_VARIABLE.to_owned(), text(&home) + "/"),
        ];
        for name in ["LANG", "LC_ALL", "TZ"] {
            environment.extend(std::env::var(name).map(|value| (name.to_owned(), value)));
        }
        let account = Account {
            user: self.user.clone(),
            home: home.clone(),
            environment,
        };
        let server = Server::start(identity, account)
            .await
            .map_err(|source| Error::Listen {
                host: name.to_owned(),
                source,
            })?;
        Ok(SandboxHost {
            name: name.to_owned(),
            port: server.port(),
            home,
            server: Some(server),
        })
    }

    fn fleet_file(&self, hosts: &[SandboxHost], host_key: &KeyPair) -> String {
        let pinned = host_key.fingerprint();
        let hosts: Vec<Value> = hosts
            .iter()
            .map(|host| json!({ "name": host.name, "host": "127.0.0.1", "port": host.port }))
            .collect();
        let fleet = json!({
            "hosts": hosts,
            "defaults": {
                "user": self.user,
                "ssh_key": self.dir.join("id_ed25519"),
                "host_key": pinned,
                "provider": "anthropic",
                "api_key_env": KEY_VARIABLE,
            },
        });
        format!("{fleet:#}\n")
    }

    /// Writes what OpenSSH's client needs, so that `ssh -F ssh_config sandbox1` works.
    fn ssh_files(&self, hosts: &[SandboxHost], host_key: &KeyPair) -> Result<(), Error> {
        let known = self.dir.join("known_hosts");
        write(&known, &format!("sandbox {}\n", host_key.public_line()?))?;
        let mut config = format!(
            "Host *\n  HostName 127.0.0.1\n  User {}\n  IdentityFile \"{}\"\n  IdentitiesOnly yes\n  \
             HostKeyAlias sandbox\n  UserKnownHostsFile \"{}\"\n  StrictHostKeyChecking yes\n",
            self.user,
            self.dir.join("id_ed25519").display(),
            known.display()
        );
        for host in hosts {
            config.push_str(&format!("Host {}\n  Port {}\n", host.name, host.port));
        }
        write(&self.dir.join("ssh_config"), &config)
    }

    fn remove(&mut self) -> Result<(), Error> {
        if std::mem::replace(&mut self.removed, true) || self.keep {
            return Ok(());
        }
        if let Some(path) = &self.outside {
            match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(io_error("remove", path)(error));
                }
                Ok(()) | Err(_) => {}
            }
        }
        let removed = if self.made {
            fs::remove_dir_all(&self.dir)
        } else {
            empty(&self.dir)
        };
        removed.map_err(io_error("remove", &self.dir))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Err(error) = self.remove() {
            tracing::warn!(%error, "the sandbox's files stay");
        }
    }
}

/// Tells whether a sandbox may be made in the existing `dir`: it is empty, or one was kept there.
fn is_free(dir: &Path) -> Result<bool, Error> {
    let mut entries = fs::read_dir(dir).map_err(io_error("read", dir))?;
    Ok(entries.next().is_none() || dir.join(MARK_FILE).exists())
}

fn empty(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            fs::remove_dir_all(entry.path())?;
        } else {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

fn write(path: &Path, text: &str) -> Result<(), Error> {
    Ok(paths::write_private(path, text.as_bytes())?)
}

/// Allows as many open files as the hosts need. What is missing shows as a refused connection.
fn raise_file_limit(hosts: usize) {
    let hosts = u64::try_from(hosts).unwrap_or(u64::MAX);
    raise_open_files(
        FILES_PER_HOST
            .saturating_mul(hosts)
            .saturating_add(OWN_FILES),
    );
}
