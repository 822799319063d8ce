//! A real `ssh-agent` of a test's own, and keys of every kind.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::wait::eventually;

/// A running agent. Dropping it ends it.
pub struct Agent {
    child: Child,
    socket: PathBuf,
}

impl Agent {
    /// Starts an agent that listens in `dir`, without keys.
    #[track_caller]
    pub fn start(dir: &Path) -> Self {
        let socket = dir.join("agent");
        let child = Command::new("ssh-agent")
            .arg("-D")
            .arg("-a")
            .arg(&socket)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("start ssh-agent");
        let agent = Self { child, socket };
        eventually(Duration::from_secs(10), || agent.socket.exists());
        agent
    }

    /// Returns the path for `SSH_AUTH_SOCK`.
    pub fn socket(&self) -> String {
        self.socket.display().to_string()
    }

    /// Hands it a key file that has no passphrase.
    #[track_caller]
    pub fn add(&self, key: &Path) {
        run(Command::new("ssh-add")
            .arg("-q")
            .arg(key)
            .env("SSH_AUTH_SOCK", &self.socket));
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _gone_already = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// Makes a key as `ssh-keygen` does with these arguments. Returns its public line.
#[track_caller]
pub fn keygen_with(path: &Path, args: &[&str]) -> String {
    let mut command = Command::new("ssh-keygen");
    command.arg("-q").args(args);
    if !args.contains(&"-N") {
        command.args(["-N", ""]);
    }
    run(command.arg("-f").arg(path));
    std::fs::read_to_string(path.with_extension("pub")).expect("read the public key")
}

/// Gives a key file a passphrase, in the form that `form` (`-m …`) says; the key stays the same.
#[track_caller]
pub fn set_passphrase(path: &Path, new: &str, form: &[&str]) {
    run(Command::new("ssh-keygen")
        .args(["-q", "-p", "-P", "", "-N", new])
        .args(form)
        .arg("-f")
        .arg(path));
}

#[track_caller]
fn run(command: &mut Command) {
    let done = command.stdin(Stdio::null()).output().expect("run it");
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(done.status.success(), "{command:?}: {said}");
}
