//! A real coordinator process on a port of its own, killed on drop.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::http::{self, Reply};

/// How to start one.
pub struct Plan {
    db: PathBuf,
    port: u16,
    args: Vec<String>,
    env: Vec<(String, String)>,
}

impl Plan {
    /// A coordinator with its database below `dir`.
    pub fn new(dir: &Path) -> Self {
        Self {
            db: dir.join("coordinator.db"),
            port: 0,
            args: Vec::new(),
            env: Vec::new(),
        }
    }

    /// On this port and no other, so that it can come back there.
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// With one more variable.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With more arguments.
    pub fn args(mut self, args: &[&str]) -> Self {
        self.args.extend(args.iter().map(|arg| (*arg).to_owned()));
        self
    }

    /// Returns the command, for those who want to see it fail.
    pub fn command(&self) -> Command {
        let dir = self.db.parent().expect("a database has a directory");
        let mut command = Command::new(env!("CARGO_BIN_EXE_skyclaw"));
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", dir)
            .current_dir(dir)
            .args(["coordinator", "--port", &self.port.to_string(), "--db"])
            .arg(&self.db)
            .args(&self.args)
            .envs(self.env.iter().cloned());
        command
    }

    /// Starts it and waits until it serves.
    #[track_caller]
    pub fn start(&self) -> Coordinator {
        let mut child = self
            .command()
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("start the coordinator");
        let mut lines = BufReader::new(child.stdout.take().expect("its stdout"));
        let mut line = String::new();
        lines.read_line(&mut line).expect("read its first line");
        let address = line.trim().rsplit("http://").next().unwrap_or_default();
        let address = address
            .parse()
            .unwrap_or_else(|_| panic!("the coordinator did not start: {line:?}"));
        // Whoever fills a pipe that nobody reads stands still.
        std::thread::spawn(move || {
            let _ = std::io::copy(&mut lines, &mut std::io::sink());
        });
        Coordinator { child, address }
    }
}

/// One that runs.
pub struct Coordinator {
    child: Child,
    pub address: SocketAddr,
}

impl Coordinator {
    /// Returns its URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Returns its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).expect("signal the coordinator");
    }

    /// Kills it as a power cut would, as far as a process can be.
    pub fn kill(mut self) {
        self.child.kill().expect("kill the coordinator");
        self.child.wait().expect("reap the coordinator");
    }

    /// Asks it to stop and returns its exit code.
    pub fn stop(mut self) -> Option<i32> {
        self.signal(Signal::TERM);
        self.child.wait().expect("reap the coordinator").code()
    }

    /// Sends one JSON request.
    #[track_caller]
    pub fn call(&self, method: &str, path: &str, body: &Value) -> Reply {
        http::call(self.address, method, path, body)
    }

    /// Sends one GET and returns the JSON of a good answer.
    #[track_caller]
    pub fn get(&self, path: &str) -> Value {
        self.call("GET", path, &Value::Null).expect(200).json()
    }

    /// Sends one POST and returns the JSON of a good answer.
    #[track_caller]
    pub fn post(&self, path: &str, body: &Value) -> Value {
        self.call("POST", path, body).expect(200).json()
    }
}

impl Drop for Coordinator {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
