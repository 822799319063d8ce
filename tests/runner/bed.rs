//! A server, a connection to it, and commands on that connection.

use std::sync::Arc;
use std::time::Duration;

use skyclaw::fleet::capture::Capture;
use skyclaw::fleet::remote::Command;
use skyclaw::fleet::supervise::{self, Finished, Limits, NotStarted, Sink};
use skyclaw::ssh::auth::Identities;
use skyclaw::ssh::known_hosts::KnownHosts;
use skyclaw::ssh::{Connection, Exit, HostKeyPolicy, Settings, Target, connect};
use skyclaw::support::shutdown;

use crate::common::{self, Proc, SshdBuilder, World, require_program, require_sshd};

/// Prints who started it: `perl` for a runner, else the server.
pub const STARTER: &str = "cat /proc/$PPID/comm";

pub struct Bed {
    pub world: World,
    pub server: common::Sshd,
}

pub struct Run {
    pub finished: Finished,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
}

impl Run {
    /// All that must not depend on how it was started.
    pub fn outcome(&self) -> (Option<Exit>, Option<NotStarted>, Vec<u8>, Vec<u8>, bool) {
        let finished = &self.finished;
        assert!(finished.lost.is_none(), "{finished:?}");
        (
            finished.exit.clone(),
            finished.not_started.clone(),
            self.stdout.clone(),
            self.stderr.clone(),
            finished.pipe_held,
        )
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }
}

impl Bed {
    pub fn new() -> Option<Self> {
        Self::on(|builder| builder)
    }

    pub fn on(set_up: impl FnOnce(SshdBuilder) -> SshdBuilder) -> Option<Self> {
        (require_sshd() && require_program("perl")).then(|| {
            let world = World::new();
            let server = set_up(world.sshd()).start();
            Self { world, server }
        })
    }

    pub async fn connect(&self) -> Connection {
        let target = Target {
            host: self.server.host(),
            port: self.server.port(),
            user: common::world::user_name(),
            keys: vec![self.world.key()],
            pinned: None,
        };
        let settings = Settings {
            connect_timeout: Some(Duration::from_secs(20)),
            known_hosts: Arc::new(KnownHosts::load(
                HostKeyPolicy::AcceptNew,
                Some(self.world.known_hosts()),
                &[],
            )),
            identities: Arc::new(Identities::new(None, Box::new(|_| None))),
            keepalive: None,
            throttle: Arc::default(),
        };
        connect::connect(&target, &settings, || async {})
            .await
            .unwrap()
    }

    /// Connects, and sees to it that the next command meets a runner.
    pub async fn connect_to_runner(&self) -> Connection {
        let connection = self.connect().await;
        run(&connection, &shell("true")).await;
        assert_eq!(run(&connection, &shell(STARTER)).await.text(), "perl\n");
        connection
    }

    /// Returns how many sessions the server has begun.
    pub fn sessions(&self) -> usize {
        self.server.log().matches("Starting session").count()
    }

    /// Returns the runners that are there.
    pub fn runners(&self) -> Vec<Proc> {
        let mut all = common::processes_with(&self.server.marker());
        all.retain(|proc| proc.cmdline.starts_with("perl -e ") && !is_task(proc));
        all
    }

    /// Returns what belongs to tasks.
    pub fn tasks(&self) -> Vec<Proc> {
        let mut all = common::processes_with(&self.server.marker());
        all.retain(is_task);
        all
    }
}

fn is_task(proc: &Proc) -> bool {
    proc.environ.contains("SKYCLAW_TASK=")
}

pub fn shell(script: &str) -> Command {
    Command {
        words: vec!["sh".into(), "-c".into(), script.into()],
        ..Command::default()
    }
}

pub fn limits(timeout: Duration) -> Limits {
    Limits {
        timeout: Some(timeout),
        deadline: None,
        grace: Duration::from_secs(1),
    }
}

/// Runs a command that has a minute.
pub async fn run(connection: &Connection, command: &Command) -> Run {
    run_within(connection, command, Duration::from_secs(60)).await
}

pub async fn run_within(connection: &Connection, command: &Command, timeout: Duration) -> Run {
    let (_trigger, mut stop) = shutdown::manual();
    let dir = tempfile::tempdir().unwrap();
    let mut sink = Sink {
        stdout: Capture::new(None, dir.path().join("out")),
        stderr: Capture::new(None, dir.path().join("err")),
        live: None,
    };
    let finished = supervise::run(connection, command, limits(timeout), &mut sink, &mut stop).await;
    Run {
        finished,
        stdout: sink.stdout.read_all().unwrap(),
        stderr: sink.stderr.read_all().unwrap(),
    }
}

/// Waits for a condition without holding up the connection.
pub async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..1500 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("still not after half a minute: {what}");
}
