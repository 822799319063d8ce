//! A real OpenSSH server on loopback, with a home, a host key and a log of its own.
//!
//! Three things keep a session away from the person who runs the tests:
//! `SetEnv HOME=…` (sshd applies it after its own HOME), a forced command that enters that home as a login
//! would (sshd itself changes to the home in passwd) and then hands the client's command line to the shell, and
//! a marker variable by which everything a session left behind is found and killed on drop.

use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::procs::{self, Proc};
use super::require;
use super::wait::holds_within;
use super::world::{FleetHost, World};

/// Every process of a session carries this variable; its value is the server's directory.
const MARKER: &str = "SKYCLAW_TEST_SSHD";

/// The login shell that a host pretends to have. Passwd cannot be edited, so the forced command runs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shell {
    /// The first `bash`, else `sh`, whatever the user's real login shell is.
    Default,
    Bash,
    Dash,
    /// `busybox sh`, as on Alpine and on routers.
    Busybox,
    Mksh,
    Zsh,
    Fish,
    Tcsh,
}

impl Shell {
    /// Returns the program that must be installed.
    pub fn program(self) -> &'static str {
        match self {
            Self::Default => require::on_path("bash").map_or("sh", |_| "bash"),
            Self::Bash => "bash",
            Self::Dash => "dash",
            Self::Busybox => "busybox",
            Self::Mksh => "mksh",
            Self::Zsh => "zsh",
            Self::Fish => "fish",
            Self::Tcsh => "tcsh",
        }
    }

    fn command(self) -> &'static str {
        if self == Self::Busybox {
            "busybox sh"
        } else {
            self.program()
        }
    }
}

/// How a server is to be set up. `World::sshd` makes one.
#[derive(Clone)]
pub struct SshdBuilder {
    listen: IpAddr,
    authorized: String,
    options: Vec<String>,
    env: Vec<(String, String)>,
    banner: Option<String>,
    noise: Option<String>,
    shell: Shell,
    tmpfs: Option<&'static str>,
    namespace: Option<(String, u16)>,
}

impl SshdBuilder {
    /// Starts from a server that lets this public key in.
    pub fn new(public_key: &str) -> Self {
        Self {
            listen: Ipv4Addr::LOCALHOST.into(),
            authorized: public_key.to_owned(),
            options: Vec::new(),
            env: Vec::new(),
            banner: None,
            noise: None,
            shell: Shell::Default,
            tmpfs: None,
            namespace: None,
        }
    }

    /// Sets MaxStartups, as "start:rate:full" or a plain number.
    pub fn max_startups(self, value: &str) -> Self {
        self.extra(&format!("MaxStartups {value}"))
    }

    /// Listens on this address; 0.0.0.0 answers on all of 127/8.
    pub fn listen(mut self, addr: &str) -> Self {
        self.listen = addr.parse().expect("an IP address");
        self
    }

    /// Shows a text before login.
    pub fn banner(mut self, text: &str) -> Self {
        self.banner = Some(text.to_owned());
        self
    }

    /// Adds a line of `sshd_config`. It comes first, and the first value wins; `SetEnv` goes through `env`.
    pub fn extra(mut self, line: &str) -> Self {
        assert!(
            !line.trim_start().starts_with("SetEnv"),
            "sshd reads only one SetEnv line: use env()"
        );
        self.options.push(line.to_owned());
        self
    }

    /// Sets a variable in every session.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Makes the login write this to stdout before every command's own output, as a noisy rc file does.
    pub fn rc_noise(mut self, text: &str) -> Self {
        self.noise = Some(text.to_owned());
        self
    }

    /// Runs commands with another login shell.
    pub fn shell(mut self, shell: Shell) -> Self {
        self.shell = shell;
        self
    }

    /// Puts the home on a tmpfs of 64 KiB. Ask `require_mounts()` first.
    pub fn full_disk(self) -> Self {
        self.disk("64k")
    }

    /// Puts the home on a tmpfs of that size. Ask `require_mounts()` first.
    pub fn disk(mut self, size: &'static str) -> Self {
        self.tmpfs = Some(size);
        self
    }

    /// Runs in a network namespace, where this port is surely free.
    pub fn in_namespace(mut self, name: &str, port: u16) -> Self {
        self.namespace = Some((name.to_owned(), port));
        self
    }

    /// Lets nobody in: every key is refused.
    pub fn user_auth_rejecting(mut self) -> Self {
        self.authorized.clear();
        self
    }

    /// Starts the server and returns when it listens.
    #[track_caller]
    pub fn start(self) -> Sshd {
        let dir = tempfile::Builder::new()
            .prefix("skyclaw-sshd-")
            .tempdir()
            .expect("make the server's directory");
        let home = dir.path().join("home");
        std::fs::create_dir(&home).expect("make the home");
        let mounted = self.tmpfs.is_some();
        if let Some(size) = self.tmpfs {
            assert!(
                require::mount_tmpfs(&home, size),
                "cannot mount a tmpfs: ask require_mounts() first"
            );
        }
        if require::is_root() {
            // The privilege separation directory, which Debian makes only in the service's unit.
            std::fs::create_dir_all("/run/sshd").expect("make /run/sshd");
        }
        let mut server = Sshd {
            dir,
            home,
            port: 0,
            listen: self.listen,
            namespace: self.namespace.as_ref().map(|(name, _)| name.clone()),
            child: None,
            mounted,
        };
        server.write_host_key();
        server.write("authorized_keys", &self.authorized);
        for tries_left in (0..20).rev() {
            server.port = match &self.namespace {
                Some((_, port)) => *port,
                None => free_port(self.listen),
            };
            server.write("sshd_config", &self.config(&server));
            match server.launch() {
                Ok(()) => return server,
                // Between our look and sshd's bind somebody else took the port.
                Err(log) if tries_left > 0 && log.contains("Address already in use") => {}
                Err(log) => panic!("sshd did not start:\n{log}"),
            }
        }
        unreachable!("the last try returns or panics")
    }

    fn config(&self, server: &Sshd) -> String {
        let dir = server.dir.path().display();
        let home = server.home.display();
        if let Some(text) = &self.banner {
            server.write("banner", text);
        }
        server.write("noise", self.noise.as_deref().unwrap_or_default());
        server.write("login", &self.login_script(server));
        let login = server.dir.path().join("login");
        std::fs::set_permissions(&login, PermissionsExt::from_mode(0o755))
            .expect("make the login script executable");
        // SHLVL keeps an outer bash from reading ~/.bashrc, so that only the emulated login does.
        let mut env = format!("HOME={home} {MARKER}={dir} SHLVL=9");
        for (name, value) in &self.env {
            env.push_str(&format!(" \"{name}={value}\""));
        }
        let extra = self.options.join("\n");
        let banner = self
            .banner
            .as_ref()
            .map(|_| format!("Banner {dir}/banner"))
            .unwrap_or_default();
        let (listen, port) = (self.listen, server.port);
        let pam = if account_is_locked() { "yes" } else { "no" };
        format!(
            "Port {port}\nListenAddress {listen}\nLogLevel VERBOSE\nSetEnv {env}\n{extra}\n{banner}\n\
             HostKey {dir}/host_key\nAuthorizedKeysFile {dir}/authorized_keys\nForceCommand exec {dir}/login\n\
             StrictModes no\nPidFile none\nUsePAM {pam}\nUseDNS no\nPermitRootLogin prohibit-password\n\
             PasswordAuthentication no\nKbdInteractiveAuthentication no\nPrintMotd no\nPrintLastLog no\n\
             Subsystem sftp internal-sftp\n"
        )
    }

    fn login_script(&self, server: &Sshd) -> String {
        let shell = self.shell.command();
        let noise = server.dir.path().join("noise");
        let noise = noise.display();
        // The command leaves the environment: a test that looks there must find only what skyclaw put there.
        format!(
            "#!/bin/sh\ncd \"$HOME\" || exit 97\n[ ! -s {noise} ] || cat {noise}\ncommand=$SSH_ORIGINAL_COMMAND\n\
             unset SSH_ORIGINAL_COMMAND SHLVL OLDPWD\n[ -z \"$command\" ] || exec {shell} -c \"$command\"\n\
             exec {shell}\n"
        )
    }
}

/// A running server. Dropping it ends it and every process of its sessions.
pub struct Sshd {
    dir: tempfile::TempDir,
    home: PathBuf,
    port: u16,
    listen: IpAddr,
    namespace: Option<String>,
    child: Option<Child>,
    mounted: bool,
}

impl Sshd {
    /// Returns the port it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns the address a client connects to.
    pub fn host(&self) -> String {
        if self.listen.is_unspecified() {
            "127.0.0.1".to_owned()
        } else {
            self.listen.to_string()
        }
    }

    /// Returns HOME of its sessions.
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// Returns what it logged so far (LogLevel VERBOSE).
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// Returns the id of the listening process.
    pub fn pid(&self) -> i32 {
        self.child
            .as_ref()
            .map(|child| child.id().cast_signed())
            .expect("the server is running")
    }

    /// Returns the text by which every process of its sessions can be found in its environment.
    pub fn marker(&self) -> String {
        format!("{MARKER}={}", self.dir.path().display())
    }

    /// Returns what runs in its sessions now, left-overs included (sshd's own processes are not).
    pub fn session_processes(&self) -> Vec<Proc> {
        procs::processes_with(&self.marker())
    }

    /// Returns "SHA256:…" of its host key.
    pub fn host_key_fingerprint(&self) -> String {
        let key = self.dir.path().join("host_key.pub");
        let shown = Command::new("ssh-keygen")
            .arg("-lf")
            .arg(key)
            .output()
            .expect("run ssh-keygen")
            .stdout;
        let shown = String::from_utf8(shown).expect("ssh-keygen speaks ASCII");
        shown
            .split_whitespace()
            .nth(1)
            .expect("bits, fingerprint, comment")
            .to_owned()
    }

    /// Returns the public half of its host key, as "ssh-ed25519 AAAA…".
    pub fn host_key(&self) -> String {
        let text = std::fs::read_to_string(self.dir.path().join("host_key.pub"))
            .expect("read the host key");
        text.split_whitespace()
            .take(2)
            .collect::<Vec<_>>()
            .join(" ")
    }

    /// Returns the line that `known_hosts` needs for it.
    pub fn known_hosts_line(&self) -> String {
        format!("[{}]:{} {}\n", self.host(), self.port, self.host_key())
    }

    /// Returns an entry for the fleet file; the world adds user and key.
    pub fn fleet_host(&self, name: &str) -> FleetHost {
        FleetHost::new(name, &self.host(), self.port)
    }

    /// Replaces the list of keys that may log in; takes effect with the next login.
    pub fn authorize(&self, public_keys: &str) {
        self.write("authorized_keys", public_keys);
    }

    /// Starts anew under the same port with another host key, as a rebuilt machine does.
    #[track_caller]
    pub fn replace_host_key_and_restart(&mut self) {
        self.stop();
        self.write_host_key();
        self.start_again();
    }

    /// Ends the server and all sessions and starts it anew under the same port.
    #[track_caller]
    pub fn restart(&mut self) {
        self.stop();
        self.start_again();
    }

    /// Starts a stopped server again under the same port.
    #[track_caller]
    pub fn start_again(&mut self) {
        let mut last = String::new();
        let started = holds_within(Duration::from_secs(10), || {
            self.launch().map_err(|log| last = log).is_ok()
        });
        assert!(started, "sshd did not start again:\n{last}");
    }

    /// Ends the listener and every connection and session: the machine lost its power.
    pub fn stop(&mut self) {
        // Connections leave the listener's process group (sshd calls setsid), so they are found by parentage.
        let mut doomed = self.child.as_ref().map_or_else(Vec::new, |child| {
            procs::descendants(child.id().cast_signed())
        });
        if let Some(mut child) = self.child.take() {
            let _gone_already = child.kill();
            let _reaped = child.wait();
        }
        doomed.extend(self.session_processes());
        for proc in &doomed {
            proc.kill9();
        }
        // A killed session may have forked just before; look until nothing is left.
        holds_within(Duration::from_secs(5), || {
            let left = self.session_processes();
            left.iter().for_each(Proc::kill9);
            left.is_empty()
        });
    }

    /// Ends the connections but keeps the listener: the cable was pulled and plugged in again.
    pub fn drop_connections(&self) {
        self.connections().iter().for_each(Proc::kill9);
    }

    /// Stops the processes of all connections and keeps them and the listener: every packet is taken and none
    /// is answered, as behind a cable that was cut without a word.
    pub fn freeze_connections(&self) {
        self.connections().iter().for_each(Proc::freeze);
    }

    /// Ends the listener alone: who is connected stays, and nobody else gets in.
    pub fn close_the_door(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _gone_already = child.kill();
            let _reaped = child.wait();
        }
    }

    /// Returns the processes of connections, one for each where sshd does not give up its rights.
    pub fn connections(&self) -> Vec<Proc> {
        let mut procs = procs::descendants(self.pid());
        procs.retain(|proc| proc.cmdline.starts_with("sshd"));
        procs
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.dir.path().join(name), text)
            .unwrap_or_else(|error| panic!("write {name}: {error}"));
    }

    fn write_host_key(&self) {
        let key = self.dir.path().join("host_key");
        let _none_before = std::fs::remove_file(&key);
        super::world::keygen(&key, "host");
    }

    /// Returns when the server listens, or with its log when it gave up.
    fn launch(&mut self) -> Result<(), String> {
        let before = self.log().len();
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.dir.path().join("log"));
        // It stays in the test's process group, so that whoever kills a hanging test's group gets the server too.
        let sshd = require::sshd_path().expect("require_sshd() was asked");
        let mut command = within(self.namespace.as_deref(), sshd.as_os_str());
        command
            .args(["-D", "-e", "-f"])
            .arg(self.dir.path().join("sshd_config"));
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log.expect("open the log"));
        let mut child = command.spawn().expect("start sshd");
        let fresh = |server: &Self| server.log().get(before..).unwrap_or_default().to_owned();
        let mut ended = false;
        // No test connection: it would count against MaxStartups and show up in the log.
        let listening = holds_within(Duration::from_secs(20), || {
            ended = child.try_wait().is_ok_and(|status| status.is_some());
            ended || fresh(self).contains("Server listening on")
        });
        if ended || !listening {
            let _gone_already = child.kill();
            let _reaped = child.wait();
            return Err(fresh(self));
        }
        self.child = Some(child);
        Ok(())
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        self.stop();
        if self.mounted {
            require::unmount(&self.home);
        }
        if std::thread::panicking() {
            eprintln!("--- sshd on port {}\n{}---", self.port, self.log());
        }
    }
}

/// Returns the command that runs `program` in a network namespace, or where we are. Its process id is the program's.
pub fn within(namespace: Option<&str>, program: &std::ffi::OsStr) -> Command {
    let Some(namespace) = namespace else {
        return Command::new(program);
    };
    let mut command = Command::new("ip");
    command.args(["netns", "exec", namespace]).arg(program);
    command
}

/// Returns whether passwd locks the account ("!"), as images without a root password do: without PAM sshd would
/// refuse it even with a key. Only root can see that, and only root's sshd looks.
fn account_is_locked() -> bool {
    let shadow = std::fs::read_to_string("/etc/shadow").unwrap_or_default();
    shadow
        .lines()
        .any(|line| line.starts_with(&format!("{}:!", super::world::user_name())))
}

fn free_port(addr: IpAddr) -> u16 {
    let probe = TcpListener::bind((addr, 0)).and_then(|listener| listener.local_addr());
    probe.expect("a free port").port()
}
