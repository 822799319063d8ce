//! The controller's side: a home with a key, a fleet file and known hosts, and skyclaw run in it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::run::{Output, Running};
use super::sshd::{Sshd, SshdBuilder, within};

/// Long enough for a busy machine with two cores; a test that needs less says so.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// One controller. Nothing of the person who runs the tests leaks in: no agent, no config, no variables.
pub struct World {
    dir: tempfile::TempDir,
    env: Vec<(String, String)>,
    namespace: Option<String>,
}

impl World {
    /// Makes a home with a fresh ed25519 key and empty known hosts.
    pub fn new() -> Self {
        let dir = tempfile::Builder::new()
            .prefix("skyclaw-world-")
            .tempdir()
            .expect("make the world's directory");
        let world = Self {
            dir,
            env: Vec::new(),
            namespace: None,
        };
        for sub in ["home/.ssh", "run", "tmp"] {
            std::fs::create_dir_all(world.dir.path().join(sub)).expect("make the home");
        }
        keygen(&world.key(), "controller");
        world
    }

    /// Starts to set up a server that lets this world's key in.
    pub fn sshd(&self) -> SshdBuilder {
        SshdBuilder::new(&self.public_key())
    }

    /// Returns the controller's HOME.
    pub fn home(&self) -> PathBuf {
        self.dir.path().join("home")
    }

    /// Returns the directory that holds everything of this world.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Returns the private key file.
    pub fn key(&self) -> PathBuf {
        self.home().join(".ssh/id_ed25519")
    }

    /// Returns the public key's line.
    pub fn public_key(&self) -> String {
        std::fs::read_to_string(self.home().join(".ssh/id_ed25519.pub"))
            .expect("read the public key")
    }

    /// Returns the known hosts file; it need not exist.
    pub fn known_hosts(&self) -> PathBuf {
        self.home().join(".ssh/known_hosts")
    }

    /// Adds a server's key to the known hosts.
    pub fn trust(&self, server: &Sshd) {
        self.add_known_hosts(&server.known_hosts_line());
    }

    /// Adds lines to the known hosts: other addresses of a server, or wrong keys.
    pub fn add_known_hosts(&self, lines: &str) {
        let known = std::fs::read_to_string(self.known_hosts()).unwrap_or_default();
        std::fs::write(self.known_hosts(), known + lines).expect("write known_hosts");
    }

    /// Returns where the fleet file is: the place skyclaw looks without being told.
    pub fn fleet_path(&self) -> PathBuf {
        self.home()
            .join(".openclaw/workspace/config/picoclaw-fleet.json")
    }

    /// Writes the fleet file with these hosts and no defaults.
    pub fn fleet(&self, hosts: &[FleetHost]) -> PathBuf {
        self.fleet_with(hosts, json!({}))
    }

    /// Writes the fleet file; `more` is merged into the top level (`defaults`, `groups`, …).
    pub fn fleet_with(&self, hosts: &[FleetHost], more: Value) -> PathBuf {
        let hosts: Vec<Value> = hosts.iter().map(|host| self.entry(host)).collect();
        let mut doc = Map::from_iter([("hosts".to_owned(), Value::from(hosts))]);
        if let Value::Object(more) = more {
            doc.extend(more);
        }
        let path = self.fleet_path();
        std::fs::create_dir_all(path.parent().expect("the path has a parent"))
            .expect("make the config directory");
        std::fs::write(&path, serde_json::to_vec_pretty(&doc).expect("JSON"))
            .expect("write the fleet file");
        path
    }

    /// Sets a variable for every later run.
    pub fn set_env(&mut self, name: &str, value: &str) {
        self.env.push((name.to_owned(), value.to_owned()));
    }

    /// Runs everything from now on in this network namespace.
    pub fn in_namespace(&mut self, name: &str) {
        self.namespace = Some(name.to_owned());
    }

    /// Runs skyclaw to its end, at most a minute.
    #[track_caller]
    pub fn skyclaw(&self, args: &[&str]) -> Output {
        self.spawn(args).wait(DEADLINE)
    }

    /// Runs skyclaw with these bytes on stdin.
    #[track_caller]
    pub fn skyclaw_with_stdin(&self, args: &[&str], stdin: &[u8]) -> Output {
        Running::start(self.command(args), Some(stdin.to_vec())).wait(DEADLINE)
    }

    /// Starts skyclaw and leaves it running.
    #[track_caller]
    pub fn spawn(&self, args: &[&str]) -> Running {
        Running::start(self.command(args), None)
    }

    /// Returns the prepared command, for tests that need one more variable or another directory.
    pub fn command(&self, args: &[&str]) -> OwnedCommand {
        let mut command = self.clean(env!("CARGO_BIN_EXE_skyclaw"));
        command.args(args);
        command
    }

    /// Returns any program prepared with this world's environment.
    pub fn clean(&self, program: &str) -> OwnedCommand {
        let mut command = within(self.namespace.as_deref(), program.as_ref());
        command.env_clear().current_dir(self.home());
        for kept in ["PATH", "LANG", "LC_ALL"] {
            command.envs(std::env::var_os(kept).map(|value| (kept, value)));
        }
        let home = self.home();
        command
            .env("HOME", &home)
            .env("TMPDIR", self.dir.path().join("tmp"));
        command
            .env("XDG_CONFIG_HOME", home.join(".config"))
            .env("XDG_STATE_HOME", home.join(".local/state"));
        command
            .env("XDG_DATA_HOME", home.join(".local/share"))
            .env("XDG_CACHE_HOME", home.join(".cache"));
        command.env("XDG_RUNTIME_DIR", self.dir.path().join("run"));
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        OwnedCommand(command)
    }

    /// Runs OpenSSH's client against a server: the second opinion on what the server does.
    #[track_caller]
    pub fn ssh(&self, server: &Sshd, command: &[&str]) -> Output {
        self.spawn_ssh(server, command).wait(DEADLINE)
    }

    /// Starts OpenSSH's client and leaves it running.
    #[track_caller]
    pub fn spawn_ssh(&self, server: &Sshd, command: &[&str]) -> Running {
        let mut ssh = self.ssh_client(&server.host(), server.port());
        ssh.args(command);
        Running::start(ssh, None)
    }

    /// Returns `ssh` prepared for an address. It ignores HOME and asks passwd, so every file is named here.
    pub fn ssh_client(&self, host: &str, port: u16) -> OwnedCommand {
        let mut ssh = self.clean("ssh");
        ssh.args([
            "-F",
            "none",
            "-o",
            "BatchMode=yes",
            "-o",
            "StrictHostKeyChecking=accept-new",
        ]);
        ssh.arg("-o").arg(format!(
            "UserKnownHostsFile={}",
            self.known_hosts().display()
        ));
        ssh.args(["-o", "IdentitiesOnly=yes", "-o", "ConnectTimeout=5", "-i"])
            .arg(self.key());
        ssh.args(["-p", &port.to_string(), "-l", &user_name(), host]);
        ssh
    }

    fn entry(&self, host: &FleetHost) -> Value {
        let mut fields = Map::new();
        fields.insert("name".into(), host.name.as_str().into());
        fields.insert("host".into(), host.host.as_str().into());
        fields.insert("port".into(), host.port.into());
        fields.insert("user".into(), user_name().into());
        fields.insert("ssh_key".into(), self.key().display().to_string().into());
        for (key, value) in &host.more {
            match value {
                Value::Null => fields.remove(key),
                _ => fields.insert(key.clone(), value.clone()),
            };
        }
        fields.into()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // HOME marks everything this world started; a test that minds left-overs has looked by now.
        let marker = format!("HOME={}", self.home().display());
        for left in super::procs::processes_with(&marker) {
            left.kill9();
        }
    }
}

/// A command that can be filled in chains and handed over.
pub struct OwnedCommand(Command);

impl std::ops::Deref for OwnedCommand {
    type Target = Command;
    fn deref(&self) -> &Command {
        &self.0
    }
}

impl std::ops::DerefMut for OwnedCommand {
    fn deref_mut(&mut self) -> &mut Command {
        &mut self.0
    }
}

/// One host of the fleet file.
#[derive(Clone, Debug)]
pub struct FleetHost {
    name: String,
    host: String,
    port: u16,
    more: Map<String, Value>,
}

impl FleetHost {
    /// Describes any address, a faulty one for example.
    pub fn new(name: &str, host: &str, port: u16) -> Self {
        Self {
            name: name.to_owned(),
            host: host.to_owned(),
            port,
            more: Map::new(),
        }
    }

    /// Adds or replaces a field; `null` takes one away (such as `user` or `ssh_key`).
    pub fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.more.insert(key.to_owned(), value.into());
        self
    }
}

/// Returns the name of the user who runs the tests, who is also the one to log in.
pub fn user_name() -> String {
    let shown = Command::new("id")
        .arg("-un")
        .output()
        .expect("run id")
        .stdout;
    String::from_utf8(shown)
        .expect("a user name is text")
        .trim()
        .to_owned()
}

/// Makes an ed25519 key pair without a passphrase.
pub fn keygen(path: &Path, comment: &str) {
    let mut command = Command::new("ssh-keygen");
    command
        .args(["-q", "-t", "ed25519", "-N", "", "-C", comment, "-f"])
        .arg(path);
    let made = command
        .stdin(std::process::Stdio::null())
        .output()
        .expect("run ssh-keygen");
    assert!(
        made.status.success(),
        "ssh-keygen: {}",
        String::from_utf8_lossy(&made.stderr)
    );
}
