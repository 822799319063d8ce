//! A world with a server and a fleet file: what most tests of `dispatch` and `exec` begin with.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use super::procs::{Proc, processes_with};
use super::require::require_sshd;
use super::run::{Output, Running};
use super::sshd::{Sshd, SshdBuilder};
use super::wait::{eventually, holds_within};
use super::world::{FleetHost, World};

/// Long enough for anything that is not itself a promise about time.
pub const SOON: Duration = Duration::from_secs(60);

/// Ignores TERM, and so do a child that holds its output and a grandchild that left its group.
pub const STUBBORN: &str = "trap '' TERM; (while :; do sleep 0.2; done) & setsid sh -c 'trap \"\" TERM; exec sleep 300' & \
     echo begun; while :; do sleep 0.2; done";

/// A controller and one server that stands for one or more hosts.
pub struct Bed {
    pub world: World,
    pub server: Sshd,
}

impl Bed {
    /// One host called `web1`; nothing where sshd is missing.
    pub fn one() -> Option<Self> {
        Self::named(&["web1"])
    }

    /// One server under several names.
    pub fn named(names: &[&str]) -> Option<Self> {
        Self::on(names, |builder| builder.max_startups("200"))
    }

    /// `count` names `web1`, `web2`, … for one server.
    pub fn many(count: usize) -> Option<Self> {
        let names: Vec<String> = (1..=count).map(|n| format!("web{n}")).collect();
        Self::named(&names.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// One server, set up by `set_up`, under these names.
    pub fn on(names: &[&str], set_up: impl FnOnce(SshdBuilder) -> SshdBuilder) -> Option<Self> {
        if !require_sshd() {
            return None;
        }
        let world = World::new();
        let server = set_up(world.sshd()).start();
        let bed = Self { world, server };
        let hosts: Vec<FleetHost> = names
            .iter()
            .map(|name| bed.server.fleet_host(name))
            .collect();
        bed.world.fleet(&hosts);
        Some(bed)
    }

    /// Runs skyclaw to its end.
    #[track_caller]
    pub fn run(&self, args: &[&str]) -> Output {
        self.world.skyclaw(args)
    }

    /// Runs a shell line on every host with these flags.
    #[track_caller]
    pub fn shell(&self, flags: &[&str], line: &str) -> Output {
        self.start_shell(flags, line).wait(SOON * 2)
    }

    /// Starts a shell line on every host with these flags.
    #[track_caller]
    pub fn start_shell(&self, flags: &[&str], line: &str) -> Running {
        let mut args = vec!["fleet", "exec"];
        args.extend(flags);
        args.extend(["--shell", line]);
        self.world.spawn(&args)
    }

    /// Returns what belongs to tasks on the server, wherever it has gone.
    pub fn tasks(&self) -> Vec<Proc> {
        tasks(&self.server)
    }

    /// Waits until the stubborn task and its two descendants are there.
    #[track_caller]
    pub fn wait_for_stubborn(&self) {
        eventually(SOON, || {
            let tasks = self.tasks();
            tasks.len() >= 3 && tasks.iter().any(|task| task.cmdline == "sleep 300")
        });
    }

    /// Asserts that nothing of any task is left on the server within this time.
    #[track_caller]
    pub fn assert_no_task_within(&self, deadline: Duration) {
        let gone = holds_within(deadline, || self.tasks().is_empty());
        assert!(gone, "still there after {deadline:?}: {:#?}", self.tasks());
    }

    /// Gives the server's user a fake PicoClaw that is set up, as deploy would leave it.
    pub fn install_picoclaw(&self) {
        install_picoclaw(self.server.home());
    }

    /// Installs a script below the server's home.
    pub fn install(&self, path: &str, script: &str) {
        install(self.server.home(), path, script);
    }
}

/// Returns what belongs to tasks on this server, wherever it has gone.
pub fn tasks(server: &Sshd) -> Vec<Proc> {
    let mut all = processes_with(&server.marker());
    all.retain(|proc| proc.environ.contains("SKYCLAW_TASK="));
    all
}

/// Puts the fake PicoClaw, set up, into a home.
pub fn install_picoclaw(home: &Path) {
    let fixture = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/agents/picoclaw");
    let script = std::fs::read_to_string(fixture).expect("read the fixture");
    install(home, ".local/bin/picoclaw", &script);
    std::fs::create_dir_all(home.join(".picoclaw")).expect("make its directory");
    std::fs::write(
        home.join(".picoclaw/config.json"),
        r#"{"model_list": [{"model_name": "fleet"}]}"#,
    )
    .expect("write its config");
    std::fs::write(home.join(".picoclaw/.security.yml"), "api_keys: [x]\n")
        .expect("write its keys");
}

/// Installs a script below a home.
pub fn install(home: &Path, path: &str, script: &str) {
    let path = home.join(path);
    std::fs::create_dir_all(path.parent().expect("a path below a home")).expect("make its place");
    std::fs::write(&path, script).expect("write the script");
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).expect("make it executable");
}
